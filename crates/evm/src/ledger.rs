//! An EVM ledger as the rest of a node uses it: submit, read, call, trace. Cheap to clone; every method may be called from
//! any thread, and none of them waits for a block.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::TransactionRequest;
use bletchley_ledger::{Anchor, Delegate, Extension, Head, Machine, ReadError, SharedStore};
use bletchley_primitives::{BlockHash, Height, LedgerId, TimestampMs};
use std::sync::Arc;

use crate::{
    admit::{self, Submitted},
    block::EvmBlock,
    core::{Core, Observer, OpenError},
    dev::{self, DevHandle},
    genesis::{Fork, Genesis},
    machine::EvmMachine,
    pool::{Dropped, Origin, PoolContent, PoolLimits, PoolStatus, SubmitError},
    prefetch,
    read::{BlockRef, LookupError},
    receipts::MinedReceipt,
    state::{AccountProof, ProofError},
    tx::{ClaimedTx, RecoveredTx},
};

/// Where a transaction is.
#[derive(Clone, Debug)]
pub enum TxPlace {
    /// In the pool.
    Pending,
    /// In a block.
    Mined {
        /// The block.
        block: Arc<EvmBlock>,
        /// Position among its transactions.
        index: usize,
    },
}

/// A transaction and where it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The transaction.
    pub tx: Arc<RecoveredTx>,
    /// Where it is.
    pub place: TxPlace,
}

/// A receipt with its surroundings.
#[derive(Clone, Debug)]
pub struct FoundReceipt {
    /// The block.
    pub block: Arc<EvmBlock>,
    /// All receipts of the block.
    pub receipts: Arc<Vec<MinedReceipt>>,
    /// Position of the transaction.
    pub index: usize,
    /// Logs of the block before this transaction's.
    pub first_log_index: usize,
}

impl FoundReceipt {
    /// The receipt.
    #[must_use]
    pub fn receipt(&self) -> Option<&MinedReceipt> {
        self.receipts.get(self.index)
    }

    /// The transaction.
    #[must_use]
    pub fn tx(&self) -> Option<&Arc<RecoveredTx>> {
        self.block.transactions.get(self.index)
    }
}

/// Why a proof could not be given.
#[derive(Debug, thiserror::Error)]
pub enum ProofLookupError {
    /// The block or its state is not here.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The proof was not made.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// An EVM ledger.
#[derive(Clone)]
pub struct EvmLedger {
    pub(crate) core: Arc<Core>,
    machine: Arc<EvmMachine>,
}

impl std::fmt::Debug for EvmLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvmLedger").field("ledger", &self.core.ledger).finish_non_exhaustive()
    }
}

impl EvmLedger {
    /// Opens the ledger that `store` holds, or begins it with the genesis document when the store is empty. The state is
    /// loaded and its root compared with the head's header. The mempool starts empty: it is not kept across restarts.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(
        genesis: Genesis,
        store: SharedStore,
        delegate: Arc<dyn Delegate>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        Self::with_limits(genesis, store, delegate, observer, PoolLimits::default())
    }

    /// As [`Self::new`], with other bounds of the mempool.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn with_limits(
        genesis: Genesis,
        store: SharedStore,
        delegate: Arc<dyn Delegate>,
        observer: Arc<dyn Observer>,
        limits: PoolLimits,
    ) -> Result<Self, OpenError> {
        let core = Core::open(genesis, store, delegate, observer, limits)?;
        let machine = Arc::new(EvmMachine::new(core.clone()));
        Ok(Self { core, machine })
    }

    /// The machine, for an engine.
    #[must_use]
    pub fn machine(&self) -> Arc<EvmMachine> {
        self.machine.clone()
    }

    /// The ledger's identity.
    #[must_use]
    pub fn id(&self) -> LedgerId {
        self.core.ledger
    }

    /// Chain id that transactions are signed for.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.core.genesis.chain_id
    }

    /// The genesis document.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.core.genesis
    }

    /// The rules in force.
    #[must_use]
    pub fn fork(&self) -> Fork {
        self.core.genesis.fork
    }

    /// The newest committed block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.machine.head()
    }

    /// The oldest height whose state can be read.
    #[must_use]
    pub fn oldest_state(&self) -> Height {
        self.core.state.oldest()
    }

    /// The height that a reader means by a reference; the head's for "pending".
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn resolve(&self, at: BlockRef) -> Result<Height, LookupError> {
        self.core.height_of(at)
    }

    /// Header of the block at a height; none above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn header(&self, height: Height) -> Result<Option<Header>, ReadError> {
        self.core.header_at(height)
    }

    /// The block at a height; none above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn block(&self, height: Height) -> Result<Option<Arc<EvmBlock>>, ReadError> {
        Ok(self.core.kept(height)?.map(|kept| kept.block))
    }

    /// The receipts of the block at a height; none above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn receipts(&self, height: Height) -> Result<Option<Arc<Vec<MinedReceipt>>>, ReadError> {
        Ok(self.core.kept(height)?.map(|kept| kept.receipts))
    }

    /// The extension of the block at a height (time in milliseconds, delegation record); none above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn extension(&self, height: Height) -> Result<Option<Extension>, ReadError> {
        self.core.extension_at(height)
    }

    /// The state of the registry's ledger that the block at a height names, the default where there is no registry; none
    /// above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn anchor(&self, height: Height) -> Result<Option<Anchor>, ReadError> {
        self.core.anchor_at(height)
    }

    /// Height of the block with this hash.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        let head = self.core.head().height();
        Ok(self.core.store.height_of(hash)?.filter(|height| *height <= head))
    }

    /// A transaction, in the pool or in a block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn transaction(&self, hash: B256) -> Result<Option<Found>, ReadError> {
        if let Some(tx) = self.core.pool.lock().get(&hash) {
            return Ok(Some(Found { tx, place: TxPlace::Pending }));
        }
        let Some(found) = self.receipt(hash)? else { return Ok(None) };
        let place = TxPlace::Mined { block: found.block.clone(), index: found.index };
        Ok(found.tx().cloned().map(|tx| Found { tx, place }))
    }

    /// What became of a transaction; none while it is in no block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn receipt(&self, hash: B256) -> Result<Option<FoundReceipt>, ReadError> {
        let Some(location) = self.core.store.locate(hash)? else { return Ok(None) };
        let Some(kept) = self.core.kept(location.height)? else { return Ok(None) };
        let index = location.position as usize;
        let first_log_index = kept.receipts.iter().take(index).map(|receipt| receipt.logs.len()).sum();
        let found = FoundReceipt { block: kept.block, receipts: kept.receipts, index, first_log_index };
        Ok(found.tx().is_some_and(|tx| tx.hash == hash).then_some(found))
    }

    /// Takes a signed transaction in; gives its hash.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, raw: Bytes) -> Result<B256, SubmitError> {
        let outcome = admit::submit(&self.core, vec![(raw, None)], Origin::Local).outcomes.pop();
        outcome.unwrap_or(Err(SubmitError::AlreadyKnown)).map(|tx| tx.hash)
    }

    /// Takes signed transactions in, all in one go: signers are recovered in parallel. One outcome each, in order.
    #[must_use]
    pub fn submit_batch(&self, raws: &[Bytes]) -> Vec<Result<B256, SubmitError>> {
        let raws = raws.iter().map(|raw| (raw.clone(), None)).collect();
        self.admit(raws, Origin::Local).0
    }

    /// Takes in signed transactions that another member sent, all in one go. They are checked as a client's are, but no
    /// listener of [`Self::on_local`] hears of them, no delegated call is started for them, and they have room in a part
    /// of the mempool only ([`PoolLimits::peer_txs_max`]). One that is in the pool or in one of the last blocks costs no
    /// recovery, and is refused as known. One outcome each, in order; the caller bounds how many it takes from whom.
    #[must_use]
    pub fn submit_from_peers(&self, raws: &[Bytes]) -> Vec<Result<B256, SubmitError>> {
        self.submit_claimed(raws.iter().map(|raw| (raw.clone(), None)).collect()).0
    }

    /// As [`Self::submit_from_peers`], with claims of who signed: true ones make it faster, false ones change nothing. Gives
    /// besides which of them, in order, came with a false claim.
    #[must_use]
    pub fn submit_claimed(&self, raws: Vec<ClaimedTx>) -> (Vec<Result<B256, SubmitError>>, Vec<usize>) {
        self.admit(raws, Origin::Peer)
    }

    /// Hears who is claimed to have signed transactions that another member sent and that [`Self::submit_claimed`] will take in:
    /// a block that has them before is checked by the same claims.
    pub fn note_claims(&self, txs: &[ClaimedTx]) {
        self.core.claims.note(txs);
    }

    fn admit(&self, raws: Vec<ClaimedTx>, origin: Origin) -> (Vec<Result<B256, SubmitError>>, Vec<usize>) {
        let Submitted { outcomes, false_claims } = admit::submit(&self.core, raws, origin);
        (outcomes.into_iter().map(|outcome| outcome.map(|tx| tx.hash)).collect(), false_claims)
    }

    /// Whether a transaction waits in the mempool.
    #[must_use]
    pub fn is_pooled(&self, hash: &B256) -> bool {
        self.core.pool.lock().contains(hash)
    }

    /// Calls `listener` with the canonical bytes of transactions that entered the mempool from this node's clients, and with
    /// the keys that signed them, once for each call that submitted some, on the thread that submitted; it must be quick.
    pub fn on_local(&self, listener: impl Fn(&[ClaimedTx]) + Send + Sync + 'static) {
        self.core.local.add(Box::new(listener));
    }

    /// Takes a transaction of an impersonated sender in. Missing nonce, gas and fees are filled in.
    ///
    /// # Errors
    /// [`SubmitError`], above all when the sender is not impersonated, as on any ledger that is no development ledger.
    pub fn submit_unsigned(&self, from: Address, request: &TransactionRequest) -> Result<B256, SubmitError> {
        if !self.dev().is_some_and(|dev| dev.is_impersonated(&from)) {
            return Err(SubmitError::NotImpersonated(from));
        }
        self.submit(dev::unsigned(self, from, request)?)
    }

    /// Counts of the mempool.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        self.core.pool.lock().status()
    }

    /// Everything in the mempool.
    #[must_use]
    pub fn pool_content(&self) -> PoolContent {
        self.core.pool.lock().content()
    }

    /// The sender's next nonce, its pending transactions counted.
    #[must_use]
    pub fn pool_nonce(&self, sender: &Address) -> u64 {
        let pooled = self.core.pool.lock().next_nonce(sender);
        let account = self.core.state.latest().account(sender).ok().flatten();
        pooled.unwrap_or_default().max(account.map_or(0, |account| account.nonce))
    }

    /// Transactions that left the mempool without entering a block, with the reason; the last ones only.
    #[must_use]
    pub fn pool_dropped(&self) -> Vec<Dropped> {
        self.core.pool.lock().dropped()
    }

    /// Gives transactions that wait for a delegated call another chance; whether there were any. The fabric's owner calls
    /// this when a call has finished, and then asks the engine for a block.
    pub fn wake_deferred(&self) -> bool {
        self.core.pool.lock().wake_deferred()
    }

    /// Tells the ledger the time, which it never asks for: prefetched calls and readers of "pending" take it for the next
    /// block's.
    pub fn note_time(&self, now: TimestampMs) {
        self.core.note_time(now);
    }

    /// Simulates a transaction so that its delegated calls start. The ledger does this by itself for what enters the pool.
    pub fn prefetch(&self, tx: &RecoveredTx) {
        prefetch::prefetch(&self.core, tx);
    }

    /// An account's balance in wei.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn balance(&self, address: &Address, at: BlockRef) -> Result<U256, LookupError> {
        Ok(self.core.view(at)?.account(address)?.unwrap_or_default().balance)
    }

    /// An account's nonce; for "pending" the mempool is counted in.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn nonce(&self, address: &Address, at: BlockRef) -> Result<u64, LookupError> {
        if at == BlockRef::Pending {
            return Ok(self.pool_nonce(address));
        }
        Ok(self.core.view(at)?.account(address)?.unwrap_or_default().nonce)
    }

    /// An account's code.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn code(&self, address: &Address, at: BlockRef) -> Result<Bytes, LookupError> {
        Ok(self.core.view(at)?.code(address)?)
    }

    /// A storage slot.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn storage(&self, address: &Address, slot: &U256, at: BlockRef) -> Result<U256, LookupError> {
        Ok(self.core.view(at)?.slot(address, slot)?)
    }

    /// Proof of an account and some of its slots (EIP-1186), against the state root of the block that is meant.
    ///
    /// # Errors
    /// [`ProofLookupError`].
    pub fn proof(
        &self,
        address: Address,
        slots: &[U256],
        at: BlockRef,
    ) -> Result<AccountProof, ProofLookupError> {
        let height = self.core.height_of(at)?;
        Ok(self.core.state.proof(height, address, slots)?)
    }

    /// The most gas that one transaction may ask for.
    #[must_use]
    pub fn tx_gas_limit_max(&self) -> u64 {
        self.core.admission.tx_gas_limit_max()
    }

    /// Controls of a development ledger; none on every other.
    #[must_use]
    pub fn dev(&self) -> Option<DevHandle> {
        self.core.genesis.dev.then(|| DevHandle::new(self.core.clone()))
    }
}
