//! Calls that leave nothing behind: `eth_call` and what is built on it.

use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Bytes, Log, TxKind, U256};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use bletchley_crypto::Domain;
use bletchley_ledger::{CallId, Place, Refusal, SignedReceipt};
use revm::{
    ExecuteEvm, InspectEvm, Inspector,
    context::{BlockEnv, TxEnv},
    context_interface::{
        either::Either,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction},
    },
};
use revm_inspectors::access_list::AccessListInspector;
use rustc_hash::FxHashMap;

use crate::{
    core::Core,
    delegate::{Session, Source},
    execute::{DbError, Reader, Vm, VmContext, vm},
    ledger::EvmLedger,
    overlay::{self, Overlay, OverrideError},
    read::{BlockRef, LookupError, Seen},
    state::StateView,
    tx::recover_authorizations,
};

const READ_DOMAIN: Domain = Domain("bletchley/evm/read/1");

/// Most gas that a call may use, as in geth: a reader cannot keep a thread longer than that.
pub const CALL_GAS_MAX: u64 = 50_000_000;

/// How often an access list is gathered anew because it changed what was touched.
const ACCESS_LIST_ROUNDS_MAX: usize = 8;

/// Why a call did not run.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The block or its state is not here.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The overrides cannot be applied.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// Two ways to pay.
    #[error("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")]
    TwoPrices,
    /// The transaction that is asked about could not be one.
    #[error("{}", describe(.0))]
    Invalid(InvalidTransaction),
    /// It fails whatever gas it gets.
    #[error("execution reverted{}", reason_suffix(.0))]
    Reverted(Bytes),
    /// It fails for lack of gas, or for another reason than a revert.
    #[error("{0}")]
    Halted(String),
    /// It needs more gas than it may have.
    #[error("gas required exceeds allowance ({0})")]
    Allowance(u64),
    /// State could not be read.
    #[error("{0}")]
    State(String),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// It returned this (the code, if it created a contract).
    Returned(Bytes),
    /// It reverted with this.
    Reverted(Bytes),
    /// It ran out of gas, or did what no code may; in words.
    Halted(String),
}

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub end: CallEnd,
    /// Gas it used.
    pub gas_used: u64,
    /// What it logged.
    pub logs: Vec<Log>,
}

impl CallOutcome {
    /// The output of a call that returned.
    ///
    /// # Errors
    /// [`CallError::Reverted`] and [`CallError::Halted`].
    pub fn into_output(self) -> Result<Bytes, CallError> {
        match self.end {
            CallEnd::Returned(output) => Ok(output),
            CallEnd::Reverted(output) => Err(CallError::Reverted(output)),
            CallEnd::Halted(reason) => Err(CallError::Halted(reason)),
        }
    }
}

/// An access list that makes a transaction touch nothing cold, and what the transaction then uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessListOutcome {
    /// The list.
    pub access_list: AccessList,
    /// Gas used with it.
    pub gas_used: u64,
    /// Why the transaction fails, if it does.
    pub error: Option<String>,
}

fn reason_suffix(output: &Bytes) -> String {
    revert_reason(output).map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The reason in revert data: `Error(string)`, `Panic(uint256)` or `CryptletFailed(uint8,string)`.
#[must_use]
pub fn revert_reason(output: &[u8]) -> Option<String> {
    crate::delegate::failure_reason(output).or_else(|| {
        let reason = alloy_sol_types::decode_revert_reason(output)?;
        Some(reason.strip_prefix("revert: ").map_or(reason.clone(), ToOwned::to_owned))
    })
}

/// A refusal in geth's words, where tools look for them.
fn describe(invalid: &InvalidTransaction) -> String {
    match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance} want {fee}")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => "max fee per gas less than block base fee".to_owned(),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".to_owned()
        }
        InvalidTransaction::CreateInitCodeSizeLimit => "max initcode size exceeded".to_owned(),
        InvalidTransaction::NonceTooLow { tx, state } => {
            format!("nonce too low: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::NonceTooHigh { tx, state } => {
            format!("nonce too high: next nonce {state}, tx nonce {tx}")
        }
        other => other.to_string(),
    }
}

pub(crate) fn describe_halt(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".to_owned(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".to_owned(),
        HaltReason::InvalidJump => "invalid jump destination".to_owned(),
        HaltReason::StackUnderflow => "stack underflow".to_owned(),
        HaltReason::StackOverflow => "stack limit reached".to_owned(),
        HaltReason::CreateCollision => "contract address collision".to_owned(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".to_owned(),
        HaltReason::CallNotAllowedInsideStatic | HaltReason::StateChangeDuringStaticCall => {
            "write protection".to_owned()
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn call_error(error: EVMError<DbError, InvalidTransaction>) -> CallError {
    match error {
        EVMError::Transaction(invalid) => CallError::Invalid(invalid),
        other => CallError::State(other.to_string()),
    }
}

/// What a reader's calls execute on.
pub(crate) type ReadDb = Reader<Overlay<StateView>>;

/// Answers of live delegated calls, kept for as long as one request runs.
pub(crate) type Memo = FxHashMap<CallId, Result<SignedReceipt, Refusal>>;

/// A request, ready to be executed any number of times.
pub(crate) struct Simulation<'a> {
    core: &'a Core,
    pub(crate) database: ReadDb,
    pub(crate) block: BlockEnv,
    place: Place,
    memo: Memo,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(
        core: &'a Core,
        at: BlockRef,
        state: Option<StateOverride>,
        block: Option<&BlockOverrides>,
    ) -> Result<Self, CallError> {
        let Seen { frame, view } = core.see(at)?;
        let database = core.reader(Overlay::new(view, state)?);
        let mut env = frame.env();
        overlay::apply_block(&mut env, block);
        Ok(Self { core, database, block: env, place: core.place(&frame), memo: Memo::default() })
    }

    /// The transaction that a request describes.
    pub(crate) fn env(&self, request: &TransactionRequest) -> Result<TxEnv, CallError> {
        let dynamic = request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
        if request.gas_price.is_some() && dynamic {
            return Err(CallError::TwoPrices);
        }
        let authorizations = request.authorization_list.as_deref().unwrap_or_default();
        let tx_type = if !authorizations.is_empty() {
            4
        } else if dynamic {
            2
        } else {
            u8::from(request.access_list.is_some())
        };
        let tip = request.max_priority_fee_per_gas.unwrap_or_default();
        Ok(TxEnv {
            tx_type,
            caller: request.from.unwrap_or_default(),
            gas_limit: request.gas.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX),
            gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or(tip),
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: request.input.input().cloned().unwrap_or_default(),
            nonce: request.nonce.unwrap_or_default(),
            chain_id: Some(self.core.genesis.chain_id),
            access_list: request.access_list.clone().unwrap_or_default(),
            gas_priority_fee: (dynamic || tx_type == 4).then_some(tip),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: recover_authorizations(authorizations)
                .into_iter()
                .map(Either::Right)
                .collect(),
        })
    }

    pub(crate) fn vm<I>(&mut self, env: &TxEnv, inspector: I) -> Vm<ReadDb, I> {
        let source =
            Source::Live { delegate: self.core.delegate.clone(), memo: std::mem::take(&mut self.memo) };
        let mut session = Session::new(source, self.place);
        let to = env.kind.to().copied().unwrap_or_default();
        let transaction = READ_DOMAIN.digest(&[
            self.place.parent.0.as_slice(),
            env.caller.as_slice(),
            to.as_slice(),
            &env.value.to_be_bytes::<32>(),
            &env.data,
        ]);
        session.begin(transaction, env.caller);
        let spec = self.core.genesis.fork.spec();
        let mut vm = vm(
            self.database.clone(),
            spec,
            self.core.genesis.chain_id,
            self.block.clone(),
            session,
            inspector,
        );
        let cfg = &mut vm.ctx.cfg;
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        cfg.disable_block_gas_limit = true;
        cfg.disable_base_fee = env.gas_price == 0;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        vm
    }

    /// Takes back the answers of delegated calls, for the next execution.
    pub(crate) fn keep<I>(&mut self, vm: Vm<ReadDb, I>) {
        self.memo = vm.precompiles.session.into_memo();
    }

    /// Runs the transaction, leaving nothing behind.
    pub(crate) fn run(&mut self, env: TxEnv) -> Result<ExecutionResult, CallError> {
        let mut vm = self.vm(&env, ());
        let result = vm.transact_one(env).map_err(call_error);
        self.keep(vm);
        result
    }

    fn inspect<I: Inspector<VmContext<ReadDb>>>(
        &mut self,
        env: TxEnv,
        inspector: I,
    ) -> Result<(ExecutionResult, I), CallError> {
        let mut vm = self.vm(&env, inspector);
        let result = vm.inspect_one_tx(env).map_err(call_error)?;
        let (vm, inspector) = split_inspector(vm);
        self.keep(vm);
        Ok((result, inspector))
    }
}

/// Takes the inspector out of a virtual machine.
pub(crate) fn split_inspector<I>(vm: Vm<ReadDb, I>) -> (Vm<ReadDb, ()>, I) {
    let without = Vm {
        ctx: vm.ctx,
        inspector: (),
        instruction: vm.instruction,
        precompiles: vm.precompiles,
        frame_stack: vm.frame_stack,
    };
    (without, vm.inspector)
}

pub(crate) fn outcome(result: ExecutionResult) -> CallOutcome {
    let gas_used = result.gas().tx_gas_used();
    match result {
        ExecutionResult::Success { logs, output, .. } => {
            CallOutcome { end: CallEnd::Returned(output.into_data()), gas_used, logs }
        }
        ExecutionResult::Revert { output, logs, .. } => {
            CallOutcome { end: CallEnd::Reverted(output), gas_used, logs }
        }
        ExecutionResult::Halt { reason, logs, .. } => {
            CallOutcome { end: CallEnd::Halted(describe_halt(&reason)), gas_used, logs }
        }
    }
}

impl EvmLedger {
    /// Runs a call on the state of a block and leaves nothing behind. Cryptlets that it calls run live.
    ///
    /// # Errors
    /// [`CallError`] when it could not run. A call that reverts has run: see [`CallOutcome::into_output`].
    pub fn call(
        &self,
        request: &TransactionRequest,
        at: BlockRef,
        state: Option<StateOverride>,
        block: Option<&BlockOverrides>,
    ) -> Result<CallOutcome, CallError> {
        let mut simulation = Simulation::new(&self.core, at, state, block)?;
        let env = simulation.env(request)?;
        simulation.run(env).map(outcome)
    }

    /// What a transaction touches, as an access list, and the gas it uses with it (`eth_createAccessList`).
    ///
    /// # Errors
    /// [`CallError`].
    pub fn create_access_list(
        &self,
        request: &TransactionRequest,
        at: BlockRef,
        state: Option<StateOverride>,
    ) -> Result<AccessListOutcome, CallError> {
        let mut simulation = Simulation::new(&self.core, at, state, None)?;
        let mut env = simulation.env(request)?;
        env.tx_type = env.tx_type.max(1);
        // The list changes what is cold, and so what a contract that looks at its gas does: repeat until it stands.
        let mut rounds = 0;
        loop {
            rounds += 1;
            let inspector = AccessListInspector::new(env.access_list.clone());
            let (result, inspector) = simulation.inspect(env.clone(), inspector)?;
            let access_list = inspector.into_access_list();
            if access_list == env.access_list || rounds >= ACCESS_LIST_ROUNDS_MAX {
                let gas_used = result.gas().tx_gas_used();
                let error = outcome(result).into_output().err().map(|error| error.to_string());
                return Ok(AccessListOutcome { access_list, gas_used, error });
            }
            env.access_list = access_list;
        }
    }
}

/// What a sender can pay for in gas, at the price it offers.
pub(crate) fn affordable_gas(balance: U256, env: &TxEnv) -> Option<u64> {
    if env.gas_price == 0 {
        return None;
    }
    let left = balance.saturating_sub(env.value);
    Some((left / U256::from(env.gas_price)).saturating_to())
}
