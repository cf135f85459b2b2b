//! The token machine behind the Machine seam, and its way in: submitted transactions.

use crate::above::Pending;
use crate::anchored::{Anchoring, RootBlocks};
use crate::block::{Base, Delta, Frame, Run, transactions_root};
use crate::header::{Header, split_body};
use crate::limits::{PROPOSE_SIZE_BYTES_MAX, PROPOSE_TRANSACTIONS_MAX, SUBMIT_BATCH_MAX};
use crate::lock::LockError;
use crate::mempool::{BlockChanges, Origin, Pool, SubmitError};
use crate::rules::RuleError;
use crate::state::{EntryRevision, State, unpack};
use crate::stored::{anchor_of, damaged, load};
use crate::transaction::{Checked, TransactionError};
use crate::tree::OutputTree;
use crate::{OutputRef, header};
use bletchley_ledger::{
    Anchor, AppendError, Block, BlockMeta, CommitError, ExecuteError, Executed, Extension, Head, Location,
    Machine, Prepared, ProposeContext, ProposeError, ReadError, Section, SharedStore, StoredBlock,
};
use bletchley_primitives::{Address, BlockHash, Bytes, Height, LedgerId, TimestampMs, TxId};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// What a token ledger starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The ledger: the digest of its genesis document.
    pub ledger: LedgerId,
    /// Time of block 0.
    pub time_ms: TimestampMs,
}

impl Genesis {
    /// Header of block 0.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            version: header::HEADER_VERSION,
            ledger: self.ledger,
            height: Height(0),
            parent: BlockHash::default(),
            time_ms: self.time_ms,
            transactions_root: transactions_root(&[]),
            state_root: OutputTree::default().state_root(),
            extension: Extension::digest(&Extension::at(self.time_ms).encode()),
            receipts: header::receipts_digest(&header::encode_receipts(&[])),
            proposer: Address::ZERO,
        }
    }

    /// Block 0 as a store keeps it.
    #[must_use]
    pub fn block(&self) -> StoredBlock {
        let header = self.header();
        StoredBlock {
            meta: BlockMeta {
                height: Height(0),
                hash: header.hash(),
                parent: header.parent,
                time_ms: self.time_ms,
            },
            block: Block {
                header: header.encode_bytes(),
                body: header::encode_body(&[]),
                extension: Extension::at(self.time_ms).encode(),
            },
            receipts: header::encode_receipts(&[]),
            diff: Bytes::new(),
            certificate: Bytes::new(),
            index: Vec::new(),
        }
    }

    fn head(&self) -> Head {
        let header = self.header();
        Head { height: Height(0), hash: header.hash(), state_root: header.state_root, time_ms: self.time_ms }
    }
}

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store holds another ledger.
    #[error(
        "the data folder holds a ledger whose block 0 is {found}, but this genesis gives {expected}; choose the right folder or genesis"
    )]
    Genesis {
        /// Hash of the stored block 0.
        found: BlockHash,
        /// Hash of the genesis block.
        expected: BlockHash,
    },
    /// The store could not be read, or what it holds is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Block 0 could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// What a committed block brought, for those who follow the ledger.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The block.
    pub head: Head,
    /// Its transactions, in order.
    pub transactions: Vec<TxId>,
    /// Registry entries that it made or changed, in order.
    pub entries: Vec<EntryRevision>,
}

/// Refusals of one batch that are looked into on disk, so that refusing stays cheap.
const EXPLAINED_MAX: usize = 8;

type Listener = Box<dyn Fn(&Committed) + Send + Sync>;

struct PreparedBlock {
    header: Header,
    hash: BlockHash,
    anchor: Anchor,
    transactions: Vec<Arc<Checked>>,
}

/// Hears of transactions of this node's own clients: [`TokenMachine::on_local`].
type LocalListener = Box<dyn Fn(&[Bytes]) + Send + Sync>;

/// A token ledger. Locks are taken in the order state, pool, pending.
pub struct TokenMachine {
    pub(crate) genesis: Genesis,
    pub(crate) store: SharedStore,
    anchoring: Anchoring,
    state: RwLock<State>,
    pub(crate) pool: Mutex<Pool>,
    pending: Mutex<Pending>,
    listeners: RwLock<Vec<Listener>>,
    waking: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
    local: RwLock<Vec<LocalListener>>,
}

impl std::fmt::Debug for TokenMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMachine")
            .field("ledger", &self.genesis.ledger)
            .field("head", &self.head())
            .finish()
    }
}

impl TokenMachine {
    /// Opens the ledger that the store holds: its last snapshot, then the changes of later blocks. An empty store gets
    /// the genesis block.
    ///
    /// # Errors
    /// [`OpenError`] when the store holds another ledger, or cannot be read.
    pub fn open(genesis: Genesis, store: SharedStore) -> Result<Self, OpenError> {
        Self::open_with(genesis, store, Anchoring::default())
    }

    /// As [`Self::open`], for a ledger whose blocks name the state of their consortium's root ledger.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn anchored(
        genesis: Genesis,
        store: SharedStore,
        root: Arc<dyn RootBlocks>,
    ) -> Result<Self, OpenError> {
        Self::open_with(genesis, store, Anchoring::to(root))
    }

    fn open_with(genesis: Genesis, store: SharedStore, anchoring: Anchoring) -> Result<Self, OpenError> {
        let first = genesis.block();
        let Some(head) = store.head() else {
            store.append(&first)?;
            return Ok(Self::at(genesis, store, State::empty(genesis.head()), anchoring));
        };
        let found = store.meta(Height(0))?.ok_or_else(|| damaged(Height(0), "there is no block 0"))?;
        if found.hash != first.meta.hash {
            return Err(OpenError::Genesis { found: found.hash, expected: first.meta.hash });
        }
        let state = load(&store, head)?;
        Ok(Self::at(genesis, store, state, anchoring))
    }

    /// A machine at genesis, to replay the blocks that a store holds. The store serves it for looking up earlier
    /// transactions only; nothing else in it is believed, and nothing is written.
    #[must_use]
    pub fn replay(genesis: Genesis, store: SharedStore) -> Self {
        Self::at(genesis, store, State::empty(genesis.head()), Anchoring::default())
    }

    fn at(genesis: Genesis, store: SharedStore, state: State, anchoring: Anchoring) -> Self {
        Self {
            genesis,
            store,
            anchoring,
            state: RwLock::new(state),
            pool: Mutex::new(Pool::default()),
            pending: Mutex::new(Pending::default()),
            listeners: RwLock::new(Vec::new()),
            waking: RwLock::new(Vec::new()),
            local: RwLock::new(Vec::new()),
        }
    }

    /// The ledger's id.
    #[must_use]
    pub const fn ledger(&self) -> LedgerId {
        self.genesis.ledger
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Calls `listener` after each commit, on the thread that commits; it must be quick and must not commit itself.
    pub fn on_commit(&self, listener: impl Fn(&Committed) + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(listener));
    }

    /// Calls `listener` after transactions entered the mempool, on the thread that submitted; it must be quick.
    pub fn on_submit(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.waking.write().push(Box::new(listener));
    }

    /// Calls `listener` with the canonical bytes of transactions that entered the mempool from this node's clients, once
    /// for each call that submitted some, on the thread that submitted; it must be quick.
    pub fn on_local(&self, listener: impl Fn(&[Bytes]) + Send + Sync + 'static) {
        self.local.write().push(Box::new(listener));
    }

    /// Takes in one transaction.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is changed then.
    pub fn submit(&self, bytes: &[u8]) -> Result<TxId, SubmitError> {
        let mut results = self.submit_batch(&[bytes]);
        results.pop().unwrap_or(Err(SubmitError::Batch(0)))
    }

    /// Takes in transactions, in their order; signatures are recovered together and in parallel. Each one stands or
    /// falls alone.
    pub fn submit_batch<B: AsRef<[u8]> + Sync>(&self, batch: &[B]) -> Vec<Result<TxId, SubmitError>> {
        if batch.len() > SUBMIT_BATCH_MAX {
            return batch.iter().map(|_| Err(SubmitError::Batch(batch.len()))).collect();
        }
        let checked = Checked::decode_all(self.genesis.ledger, batch, |_| None);
        let mut results = self.admit(checked, Origin::Local);
        let refused = results.iter_mut().filter_map(|result| result.as_mut().err());
        for error in refused.filter(|error| matches!(error, SubmitError::Rule { .. })).take(EXPLAINED_MAX) {
            if let Some(better) = self.explain(error) {
                *error = better;
            }
        }
        results
    }

    /// Takes in transactions that another member sent. They are checked as a client's are, but no listener of
    /// [`Self::on_local`] hears of them, and they have room in a part of the mempool only
    /// ([`crate::limits::POOL_PEER_TRANSACTIONS_MAX`]). Signatures are recovered only of those that do not wait already, are
    /// not final, and spend what there is to spend. One outcome each, in order.
    pub fn submit_from_peers<B: AsRef<[u8]> + Sync>(&self, batch: &[B]) -> Vec<Result<TxId, SubmitError>> {
        if batch.len() > SUBMIT_BATCH_MAX {
            return batch.iter().map(|_| Err(SubmitError::Batch(batch.len()))).collect();
        }
        let decoded: Vec<_> =
            batch.iter().map(|bytes| Checked::decode(self.genesis.ledger, bytes.as_ref())).collect();
        // What a transaction earlier in the batch makes can be spent by a later one.
        let made: FxHashSet<TxId> = decoded.iter().flatten().map(|tx| tx.id).collect();
        let needless: Vec<Option<SubmitError>> = {
            let state = self.state.read();
            let pool = self.pool.lock();
            let refusal = |tx: &Checked| {
                let chained = tx.tx.body.inputs.iter().any(|input| made.contains(&input.tx));
                if chained { None } else { pool.needless(&state, &*self.store, tx) }
            };
            decoded.into_iter().map(|tx| tx.map_or_else(|e| Some(e.into()), |tx| refusal(&tx))).collect()
        };
        let wanted: Vec<&B> =
            batch.iter().zip(&needless).filter(|(_, refusal)| refusal.is_none()).map(|(tx, _)| tx).collect();
        let wanted: Vec<&[u8]> = wanted.into_iter().map(AsRef::as_ref).collect();
        let checked = Checked::decode_all(self.genesis.ledger, &wanted, |_| None);
        let mut admitted = self.admit(checked, Origin::Peer).into_iter();
        let outcome = |refusal: Option<SubmitError>| match refusal {
            Some(refusal) => Err(refusal),
            None => admitted.next().unwrap_or(Err(SubmitError::Batch(0))),
        };
        needless.into_iter().map(outcome).collect()
    }

    fn admit(
        &self,
        checked: Vec<Result<Checked, TransactionError>>,
        origin: Origin,
    ) -> Vec<Result<TxId, SubmitError>> {
        let mut accepted: Vec<Bytes> = Vec::new();
        let results: Vec<Result<TxId, SubmitError>> = {
            let state = self.state.read();
            let mut pool = self.pool.lock();
            let admit = |tx: Result<Checked, TransactionError>| {
                let tx = Arc::new(tx?);
                let id = pool.admit(&state, &*self.store, Arc::clone(&tx), origin)?;
                accepted.push(tx.bytes.clone());
                Ok(id)
            };
            checked.into_iter().map(admit).collect()
        };
        if !accepted.is_empty() {
            if origin == Origin::Local {
                self.local.read().iter().for_each(|listener| listener(&accepted));
            }
            self.waking.read().iter().for_each(|listener| listener());
        }
        results
    }

    /// Says more about a refusal than the rules can see: what spent the output, or that the transaction is final.
    fn explain(&self, error: &SubmitError) -> Option<SubmitError> {
        let SubmitError::Rule { id, source } = error else { return None };
        if matches!(self.store.locate(id.0), Ok(Some(location)) if location.height <= self.head().height) {
            return Some(SubmitError::Final(*id));
        }
        let RuleError::NotUnspent(output) = **source else { return None };
        let by = self.spender_of(&output).ok().flatten()?;
        Some(SubmitError::Rule { id: *id, source: Box::new(RuleError::DoubleSpend { output, by }) })
    }

    /// Index in the output tree of an output on the ledger, spent or not.
    pub(crate) fn index_of(&self, output: &OutputRef) -> Result<Option<u64>, ReadError> {
        let Some(Location { height, position }) = self.store.locate(output.tx.0)? else { return Ok(None) };
        let Some(receipts) = self.store.section(height, Section::Receipts)? else { return Ok(None) };
        let first = header::decode_receipts(&receipts).map_err(|e| damaged(height, e))?;
        Ok(first.get(position as usize).and_then(|first| first.checked_add(u64::from(output.position))))
    }

    /// The final transaction that spent an output.
    pub(crate) fn spender_of(&self, output: &OutputRef) -> Result<Option<TxId>, ReadError> {
        let Some(index) = self.index_of(output)? else { return Ok(None) };
        let packed = usize::try_from(index).ok().and_then(|at| self.state.read().spenders.get(at).copied());
        match packed.and_then(unpack) {
            Some(location) => Ok(self.transaction_at(location)?.map(|(id, _)| id)),
            None => Ok(None),
        }
    }

    /// Runs a block on its parent and holds it; none if the parent is neither the head nor a block above it that leads
    /// down to the head.
    fn run_on<E>(
        &self,
        parent: BlockHash,
        run: impl FnOnce(Base<'_>) -> Result<(Executed, Delta), E>,
    ) -> Option<Result<Executed, E>> {
        let state = self.state.read();
        if parent == state.head.hash {
            return Some(run(Base::head(&state)).map(|(executed, delta)| {
                self.pending.lock().keep(executed.meta.hash, delta);
                executed
            }));
        }
        let mut pending = self.pending.lock();
        let (base, above) = pending.base(&state, parent)?;
        let ran = run(Base { state: base, final_height: state.head.height, above });
        Some(ran.map(|(executed, delta)| {
            pending.keep(executed.meta.hash, delta);
            executed
        }))
    }

    const fn frame(&self, proposer: Address, anchor: Anchor) -> Frame {
        Frame { ledger: self.genesis.ledger, proposer, anchor }
    }

    /// The block of the root ledger that the block at `height` names; the default on a ledger that stands for itself.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn anchor(&self, height: Height) -> Result<Option<Anchor>, ReadError> {
        if height > self.head().height {
            return Ok(None);
        }
        anchor_of(&self.store, height).map(Some)
    }

    /// Runs a checked block over its parent's state.
    fn run_prepared(&self, block: &PreparedBlock, base: Base<'_>) -> Result<(Executed, Delta), ExecuteError> {
        let PreparedBlock { header, hash, anchor, transactions } = block;
        let height = header.height;
        let parent = base.state.head;
        if height != parent.height.next() {
            return Err(mismatch(height, "height", height, parent.height.next()));
        }
        if header.ledger != self.genesis.ledger {
            return Err(mismatch(height, "ledger", header.ledger, self.genesis.ledger));
        }
        if header.time_ms < parent.time_ms {
            return Err(mismatch(height, "time", header.time_ms, format!("{} or later", parent.time_ms)));
        }
        self.anchoring.check(height, anchor, &base.state.anchor)?;
        let mut run = Run::new(base, &*self.store, header.time_ms);
        for (position, tx) in transactions.iter().enumerate() {
            let applied = run.apply(tx);
            applied.map_err(|e| ExecuteError::Transaction { height, position, problem: e.to_string() })?;
        }
        let (executed, delta) = run.finish(&self.frame(header.proposer, *anchor));
        if header.state_root != executed.state_root {
            return Err(mismatch(height, "state root", header.state_root, executed.state_root));
        }
        let receipts = header::receipts_digest(&executed.receipts);
        if header.receipts != receipts {
            return Err(mismatch(height, "receipts digest", header.receipts, receipts));
        }
        if *hash != executed.meta.hash {
            return Err(mismatch(height, "hash", hash, executed.meta.hash));
        }
        Ok((executed, delta))
    }

    /// Fills a block from the pool. What cannot happen any more leaves the pool, what is early stays.
    fn fill<'a>(&'a self, state: &'a State, time_ms: TimestampMs) -> Run<'a> {
        let candidates =
            self.pool.lock().candidates(time_ms, PROPOSE_TRANSACTIONS_MAX, PROPOSE_SIZE_BYTES_MAX);
        let mut run = Run::new(Base::head(state), &*self.store, time_ms);
        let mut skipped: FxHashSet<TxId> = FxHashSet::default();
        let (mut early, mut dead) = (Vec::new(), Vec::new());
        for tx in &candidates {
            if !skipped.is_empty() && tx.tx.body.inputs.iter().any(|input| skipped.contains(&input.tx)) {
                skipped.insert(tx.id);
                continue;
            }
            match run.apply(tx) {
                Ok(()) => {}
                Err(error) => {
                    skipped.insert(tx.id);
                    match &error {
                        RuleError::Locked { source: LockError::NotYet { deadline_ms }, .. } => {
                            early.push((tx.id, *deadline_ms));
                        }
                        _ => {
                            tracing::debug!(id = %tx.id, %error, "a waiting transaction can no longer happen");
                            dead.push(tx.id);
                        }
                    }
                }
            }
        }
        if !early.is_empty() || !dead.is_empty() {
            let mut pool = self.pool.lock();
            pool.postpone(&early);
            pool.drop_all(state, &*self.store, dead);
        }
        run
    }
}

fn decode_error(part: &'static str) -> impl Fn(bletchley_primitives::DecodeError) -> ExecuteError {
    move |source| ExecuteError::Decode { part, source }
}

fn mismatch(
    height: Height,
    field: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> ExecuteError {
    ExecuteError::Mismatch { height, field, found: found.to_string(), expected: expected.to_string() }
}

impl Machine for TokenMachine {
    fn name(&self) -> &'static str {
        "utxo"
    }

    fn head(&self) -> Head {
        self.state.read().head
    }

    fn ready(&self) -> usize {
        self.pool.lock().ready()
    }

    fn propose(&self, context: &ProposeContext) -> Result<Option<Executed>, ProposeError> {
        let proposed = self.run_on(context.parent, |base| {
            let time_ms = context.time_ms.max(base.state.head.time_ms);
            let anchor = self.anchoring.next(&base.state.anchor).ok_or(())?;
            let run = if base.is_head() {
                self.fill(base.state, time_ms)
            } else {
                Run::new(base, &*self.store, time_ms)
            };
            if run.len() == 0 && !context.allow_empty {
                return Err(());
            }
            Ok(run.finish(&self.frame(context.proposer, anchor)))
        });
        Ok(proposed.and_then(Result::ok))
    }

    fn prepare(&self, block: Block) -> Result<Prepared, ExecuteError> {
        let header = Header::decode_bytes(&block.header).map_err(decode_error("header"))?;
        let height = header.height;
        let extension = Extension::decode(&block.extension).map_err(decode_error("extension"))?;
        let Some(anchor) = self.anchoring.read(&extension, header.time_ms) else {
            let expected = "the block's time and, beside a root ledger, its anchor";
            return Err(mismatch(height, "extension", "something else", expected));
        };
        let digest = Extension::digest(&block.extension);
        if header.extension != digest {
            return Err(mismatch(height, "extension digest", header.extension, digest));
        }
        let items = split_body(&block.body).map_err(decode_error("body"))?;
        let known = |tx: &Checked| self.pool.lock().signers(&tx.id, &tx.leaf);
        let mut transactions = Vec::with_capacity(items.len());
        for (position, tx) in Checked::decode_all(self.genesis.ledger, &items, known).into_iter().enumerate()
        {
            let tx =
                tx.map_err(|e| ExecuteError::Transaction { height, position, problem: e.to_string() })?;
            transactions.push(Arc::new(tx));
        }
        let root = transactions_root(&transactions);
        if header.transactions_root != root {
            return Err(mismatch(height, "transactions root", header.transactions_root, root));
        }
        let hash = header.hash();
        Ok(Prepared(Box::new(PreparedBlock { header, hash, anchor, transactions })))
    }

    fn execute(&self, prepared: Prepared) -> Result<Executed, ExecuteError> {
        let head = self.head();
        let prepared = prepared.0.downcast::<PreparedBlock>().map_err(|_| {
            let problem = "it was prepared by another machine".to_owned();
            ExecuteError::Internal { height: head.height.next(), problem }
        })?;
        let (height, parent) = (prepared.header.height, prepared.header.parent);
        self.run_on(parent, |base| self.run_prepared(&prepared, base))
            .unwrap_or(Err(ExecuteError::NotOnHead { height, parent, head: head.hash }))
    }

    fn commit(&self, hash: BlockHash) -> Result<(), CommitError> {
        let mut state = self.state.write();
        let taken = self.pending.lock().take_child(state.head.hash, hash);
        let mut delta = taken.ok_or(CommitError::Unknown(hash))?;
        let changes = BlockChanges::of(&delta);
        state.commit(&mut delta);
        self.pool.lock().committed(&state, &*self.store, &changes);
        drop(state);
        let committed = Committed {
            head: delta.head,
            transactions: changes.transactions.iter().map(|tx| tx.id).collect(),
            entries: std::mem::take(&mut delta.entries),
        };
        for listener in &*self.listeners.read() {
            listener(&committed);
        }
        Ok(())
    }

    fn discard(&self, hash: BlockHash) {
        self.pending.lock().discard(hash);
    }
}
