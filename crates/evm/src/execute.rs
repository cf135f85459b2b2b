//! Runs the transactions of one block: one virtual machine, one journal, one final state.

use alloy_consensus::Transaction as _;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{Address, B256, Bytes, U256};
use bletchley_ledger::{RecordError, SharedStore};
use bletchley_primitives::Height;
use revm::{
    Context, Database, DatabaseRef, ExecuteEvm, SystemCallEvm,
    context::{BlockEnv, CfgEnv, Evm, FrameStack, Journal, TxEnv},
    context_interface::result::{EVMError, InvalidTransaction},
    database_interface::DBErrorMarker,
    handler::{EthFrame, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode, EvmState},
};
use std::sync::Arc;

use crate::{
    delegate::{Halt, Precompiles, Session},
    header::Frame,
    receipts::MinedReceipt,
    tx::RecoveredTx,
};

/// Why state could not be read during execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DbError {
    #[error("reading state: {0}")]
    State(String),
    #[error("reading the hash of block {0}: {1}")]
    BlockHash(u64, String),
}

impl DBErrorMarker for DbError {}

/// Hashes of blocks that are executed above the head, and that no store holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Above {
    first: Height,
    hashes: Arc<[B256]>,
}

impl Above {
    /// Of the blocks from `first` on.
    pub(crate) fn new(first: Height, hashes: Vec<B256>) -> Self {
        Self { first, hashes: hashes.into() }
    }

    fn get(&self, number: u64) -> Option<B256> {
        let index = number.checked_sub(self.first.0).and_then(|index| usize::try_from(index).ok())?;
        self.hashes.get(index).copied()
    }
}

/// What the virtual machine reads: a view of the state, and the hashes of earlier blocks.
#[derive(Clone)]
pub(crate) struct Reader<V> {
    pub(crate) view: V,
    pub(crate) store: SharedStore,
    pub(crate) above: Above,
}

impl<V: DatabaseRef> DatabaseRef for Reader<V> {
    type Error = DbError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        self.view.basic_ref(address).map_err(|error| DbError::State(error.to_string()))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        self.view.code_by_hash_ref(code_hash).map_err(|error| DbError::State(error.to_string()))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, DbError> {
        self.view.storage_ref(address, index).map_err(|error| DbError::State(error.to_string()))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DbError> {
        if let Some(hash) = self.above.get(number) {
            return Ok(hash);
        }
        match self.store.meta(Height(number)) {
            Ok(meta) => Ok(meta.map(|meta| meta.hash.0).unwrap_or_default()),
            Err(error) => Err(DbError::BlockHash(number, error.to_string())),
        }
    }
}

impl<V: DatabaseRef> Database for Reader<V> {
    type Error = DbError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, DbError> {
        self.code_by_hash_ref(code_hash)
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, DbError> {
        self.storage_ref(address, index)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DbError> {
        self.block_hash_ref(number)
    }
}

/// Surroundings of the virtual machine.
pub(crate) type VmContext<D> = Context<BlockEnv, TxEnv, CfgEnv, D, Journal<D>, ()>;

/// The virtual machine with the delegate in it.
pub(crate) type Vm<D, I = ()> = Evm<
    VmContext<D>,
    I,
    EthInstructions<EthInterpreter, VmContext<D>>,
    Precompiles,
    EthFrame<EthInterpreter>,
>;

/// A virtual machine over `database`, for the rules of `spec`.
pub(crate) fn vm<D: Database, I>(
    database: D,
    spec: SpecId,
    chain_id: u64,
    block: BlockEnv,
    session: Session,
    inspector: I,
) -> Vm<D, I> {
    let mut cfg = CfgEnv::new_with_spec(spec).with_chain_id(chain_id);
    cfg.set_spec_and_mainnet_gas_params(spec);
    // Blobs are refused before they get here; the check that revm would make needs no count.
    let context = Context::<BlockEnv, TxEnv, CfgEnv, D, Journal<D>, ()>::new(database, spec)
        .with_cfg(cfg)
        .with_block(block);
    Evm {
        ctx: context,
        inspector,
        instruction: EthInstructions::new_mainnet_with_spec(spec),
        precompiles: Precompiles::new(spec, session),
        frame_stack: FrameStack::new_prealloc(8),
    }
}

/// Why a transaction did not run. What it had changed is undone.
#[derive(Debug)]
pub(crate) enum TxFailure {
    /// The block has less gas left than the transaction may use.
    NoRoom { left: u64 },
    /// It cannot stand in any block now.
    Invalid(InvalidTransaction),
    /// A delegated call is still running.
    Deferred,
    /// The block's record does not answer its delegated calls.
    Record(RecordError),
    /// State could not be read, or the block's surroundings are wrong.
    Fatal(String),
}

/// One block's execution.
pub(crate) struct BlockRun<D: Database> {
    vm: Vm<D>,
    gas_limit: u64,
    base_fee: u64,
    gas_used: u64,
    receipts: Vec<MinedReceipt>,
}

/// What a block's execution leaves behind.
pub(crate) struct BlockOutcome<D> {
    pub(crate) database: D,
    pub(crate) state: EvmState,
    pub(crate) session: Session,
    pub(crate) receipts: Vec<MinedReceipt>,
    pub(crate) gas_used: u64,
}

/// Does what the rules ask for before a block's first transaction: the parent's hash goes into the history contract
/// (EIP-2935). The beacon root of EIP-4788 has no contract here, so that its call is without effect.
pub(crate) fn before_transactions<D: Database<Error = DbError>, I>(
    vm: &mut Vm<D, I>,
    frame: &Frame,
) -> Result<(), String> {
    if !frame.fork.has_history_contract() {
        return Ok(());
    }
    let parent = Bytes::copy_from_slice(frame.parent.0.as_slice());
    match vm.system_call_one(HISTORY_STORAGE_ADDRESS, parent) {
        Ok(result) if result.is_success() => Ok(()),
        Ok(result) => Err(format!("the history contract (EIP-2935) failed: {result:?}")),
        Err(error) => Err(format!("the history contract (EIP-2935) failed: {error}")),
    }
}

/// Sets what differs between transactions: an impersonated sender may have code.
pub(crate) fn admit_sender<D: Database, I>(vm: &mut Vm<D, I>, tx: &RecoveredTx) {
    vm.ctx.cfg.disable_eip3607 = tx.impersonated;
}

impl<D: Database<Error = DbError>> BlockRun<D> {
    pub(crate) fn begin(
        database: D,
        frame: &Frame,
        chain_id: u64,
        session: Session,
        txs_expected: usize,
    ) -> Result<Self, String> {
        let mut vm = vm(database, frame.fork.spec(), chain_id, frame.env(), session, ());
        before_transactions(&mut vm, frame)?;
        Ok(Self {
            vm,
            gas_limit: frame.gas_limit,
            base_fee: frame.base_fee,
            gas_used: 0,
            receipts: Vec::with_capacity(txs_expected),
        })
    }

    /// Runs one transaction; a failure leaves the block as it was before it.
    pub(crate) fn run(&mut self, tx: &RecoveredTx) -> Result<(), TxFailure> {
        let left = self.gas_limit.saturating_sub(self.gas_used);
        if tx.tx.gas_limit() > left && self.gas_used > 0 {
            return Err(TxFailure::NoRoom { left });
        }
        self.vm.precompiles.session.begin(tx.hash, tx.sender);
        admit_sender(&mut self.vm, tx);
        let result = match self.vm.transact_one(tx.env()) {
            Ok(result) => result,
            Err(error) => return Err(self.failed(error)),
        };
        let gas_used = result.gas().tx_gas_used();
        self.gas_used = self.gas_used.saturating_add(gas_used);
        self.receipts.push(MinedReceipt {
            tx_type: tx.tx.tx_type() as u8,
            success: result.is_success(),
            gas_used,
            cumulative_gas_used: self.gas_used,
            effective_gas_price: tx.effective_gas_price(self.base_fee),
            sender: tx.sender,
            contract: tx.created(),
            logs: result.into_logs(),
        });
        Ok(())
    }

    fn failed(&mut self, error: EVMError<DbError, InvalidTransaction>) -> TxFailure {
        let session = &mut self.vm.precompiles.session;
        session.abandon();
        match (session.take_halt(), error) {
            (Some(Halt::Pending), _) => TxFailure::Deferred,
            (Some(Halt::Record(error)), _) => TxFailure::Record(error),
            (None, EVMError::Transaction(invalid)) => TxFailure::Invalid(invalid),
            (None, error) => TxFailure::Fatal(error.to_string()),
        }
    }

    /// Whether the last transaction made a delegated call.
    pub(crate) const fn delegated(&self) -> bool {
        self.vm.precompiles.session.delegated()
    }

    /// Whether no transaction could still fit.
    pub(crate) const fn is_full(&self) -> bool {
        self.gas_limit.saturating_sub(self.gas_used) < 21_000
    }

    pub(crate) fn finish(mut self) -> BlockOutcome<D> {
        let state = self.vm.finalize();
        BlockOutcome {
            database: self.vm.ctx.journaled_state.database,
            state,
            session: self.vm.precompiles.session,
            receipts: self.receipts,
            gas_used: self.gas_used,
        }
    }
}
