//! The machine: builds, checks and keeps blocks of an EVM ledger.

mod adopt;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use bletchley_ledger::{
    Block, BlockMeta, CommitError, DelegationRecord, EXTENSION_VERSION, ExecuteError, Executed, Extension,
    Head, IndexEntry, Machine, Prepared, ProposeContext, ProposeError, RecordError,
};
use bletchley_primitives::{BlockHash, Bytes, Height};
use revm::context_interface::result::InvalidTransaction;
use rustc_hash::FxHashSet;
use std::sync::{Arc, OnceLock};

use crate::{
    block::{EvmBlock, Kept, decode_header},
    body,
    core::{Core, HeadBlock, extension_matches},
    delegate::{self, Session, Source},
    execute::{BlockOutcome, BlockRun, Reader, TxFailure},
    header::{self, Frame, Results},
    held::{Base, Held, HeldBlock},
    pool::Selection,
    receipts::{self, MinedReceipt, ReceiptsSeal},
    state::{BlockView, Overrides, StageError, Staged},
    trie::ordered_root,
    tx::{self, RecoveredTx, TxError},
};

/// Transactions that did not fit into what was left of a block before building stops.
const MISFITS_MAX: usize = 64;

/// Blocks from this size on have their roots computed on several threads.
const PARALLEL_TXS_MIN: usize = 64;

/// What needs no state: decoded, signers known.
struct PreparedBlock {
    header: Header,
    hash: BlockHash,
    extension: Extension,
    overrides: Option<Arc<Overrides>>,
    record: Arc<DelegationRecord>,
    txs: Vec<Arc<RecoveredTx>>,
    block: Block,
}

/// The machine of an EVM ledger.
pub struct EvmMachine {
    core: Arc<Core>,
}

impl std::fmt::Debug for EvmMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvmMachine").field("ledger", &self.core.ledger).finish_non_exhaustive()
    }
}

/// A block whose transactions ran.
struct Ran {
    outcome: BlockOutcome<Reader<BlockView>>,
    txs: Vec<Arc<RecoveredTx>>,
}

/// Everything about an executed block but its consensus.
struct Sealed {
    header: Header,
    receipts: Vec<MinedReceipt>,
    staged: Staged,
}

impl EvmMachine {
    pub(crate) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Runs what the pool offers on the head. Nothing is changed but the pool, which loses what can never run. Above the
    /// head the block is empty: the pool does not know what the blocks below it hold.
    fn build(
        &self,
        frame: &Frame,
        base: &Base,
        overrides: Option<Arc<Overrides>>,
    ) -> Result<Ran, ProposeError> {
        let core = &*self.core;
        let height = base.parent.height().next();
        let internal = |problem: String| ProposeError::Internal { height, problem };
        let bounds = Selection {
            txs_max: body::BLOCK_TXS_MAX,
            size_bytes_max: body::PICK_SIZE_BYTES_MAX,
            gas_limit: frame.gas_limit,
        };
        let (selected, changes, wakes) = {
            let pool = core.pool.lock();
            let selected = if base.is_head() { pool.select(&bounds) } else { Vec::new() };
            (selected, pool.changes(), pool.wakes())
        };
        let source = Source::Build { delegate: core.delegate.clone(), receipts: Vec::new() };
        let session = Session::new(source, core.place(frame));
        let reader = core.reader_above(core.state.block_view(overrides), base.above.clone());
        let mut run = BlockRun::begin(reader, frame, core.genesis.chain_id, session, selected.len())
            .map_err(internal)?;
        let mut included = Vec::with_capacity(selected.len());
        let mut left_out = LeftOut::default();
        for tx in selected {
            if run.is_full() || left_out.misfits >= MISFITS_MAX {
                break;
            }
            if left_out.senders.contains(&tx.sender) {
                continue;
            }
            match run.run(&tx) {
                Ok(()) => {
                    core.prefetcher.learn(&tx, run.delegated());
                    included.push(tx);
                }
                Err(TxFailure::Fatal(problem)) => return Err(internal(problem)),
                Err(TxFailure::Record(error)) => return Err(internal(error.to_string())),
                Err(failure) => left_out.note(core, tx, failure),
            }
        }
        left_out.settle(core, wakes);
        if base.is_head() && included.is_empty() && left_out.dropped.is_empty() {
            core.pool.lock().starve(changes);
        }
        Ok(Ran { outcome: run.finish(), txs: included })
    }

    /// Roots, header and diff of a block that ran; state shows none of it yet.
    fn seal(
        &self,
        frame: &Frame,
        ran: Ran,
        extension: &[u8],
    ) -> Result<(Sealed, Vec<Arc<RecoveredTx>>), StageError> {
        let Ran { outcome, txs } = ran;
        let BlockOutcome { database, state, receipts, gas_used, .. } = outcome;
        let roots: OnceLock<(B256, ReceiptsSeal)> = OnceLock::new();
        let find_roots = || {
            roots.get_or_init(|| {
                let raws: Vec<&[u8]> = txs.iter().map(|tx| tx.raw.as_ref()).collect();
                (ordered_root(&raws), receipts::seal(&receipts))
            });
        };
        let stage = || self.core.state.stage(database.view, state);
        let staged = if txs.len() >= PARALLEL_TXS_MIN {
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| find_roots());
                stage()
            })?
        } else {
            stage()?
        };
        find_roots();
        let Some((transactions_root, seal)) = roots.into_inner() else {
            return Err(StageError::Moved);
        };
        let header = frame.seal(&Results {
            state_root: staged.root,
            transactions_root,
            receipts_root: seal.root,
            logs_bloom: seal.bloom,
            gas_used,
            extension: Extension::digest(extension),
        });
        Ok((Sealed { header, receipts, staged }, txs))
    }

    /// Holds a sealed block until it is committed or discarded, and describes it.
    fn hold(
        &self,
        held: &mut Held,
        sealed: Sealed,
        hash: BlockHash,
        txs: Vec<Arc<RecoveredTx>>,
        extension: Extension,
        block: Block,
    ) -> Executed {
        let Sealed { header, receipts, staged } = sealed;
        let mut index: Vec<IndexEntry> =
            txs.iter().zip(0u32..).map(|(tx, position)| IndexEntry { key: tx.hash, position }).collect();
        index.sort_unstable();
        let executed = Executed {
            meta: BlockMeta {
                height: Height(header.number),
                hash,
                parent: BlockHash(header.parent_hash),
                time_ms: extension.time_ms,
            },
            state_root: staged.root,
            receipts: receipts::encode(&receipts),
            diff: staged.diff.clone(),
            index,
            transactions: u32::try_from(txs.len()).unwrap_or(u32::MAX),
            block,
        };
        let size_bytes =
            executed.block.header.len() + executed.block.body.len() + executed.block.extension.len();
        let block = Arc::new(EvmBlock { hash, header, transactions: txs, extension, size_bytes });
        held.put(&self.core, HeldBlock { kept: Kept { block, receipts: Arc::new(receipts) }, staged });
        executed
    }

    fn run_prepared(
        &self,
        frame: &Frame,
        base: &Base,
        prepared: &PreparedBlock,
    ) -> Result<BlockOutcome<Reader<BlockView>>, ExecuteError> {
        let core = &*self.core;
        let height = frame.height;
        let internal = |problem: String| ExecuteError::Internal { height, problem };
        let record = |source: RecordError| ExecuteError::Record { height, source };
        let place = core.place(frame);
        if *prepared.record != DelegationRecord::default() {
            core.delegate.check(&prepared.record, &place).map_err(record)?;
        }
        let source = Source::Record { record: prepared.record.clone(), cursor: 0 };
        let overrides = if base.is_head() {
            prepared.overrides.clone()
        } else {
            base.layer(&prepared.extension.interventions).map_err(|error| internal(error.to_string()))?
        };
        let reader = core.reader_above(core.state.block_view(overrides), base.above.clone());
        let session = Session::new(source, place);
        let mut run = BlockRun::begin(reader, frame, core.genesis.chain_id, session, prepared.txs.len())
            .map_err(internal)?;
        for (position, tx) in prepared.txs.iter().enumerate() {
            let refused = |problem: String| ExecuteError::Transaction { height, position, problem };
            run.run(tx).map_err(|failure| match failure {
                TxFailure::NoRoom { left } => refused(format!(
                    "its gas limit {} exceeds the {left} that the block has left",
                    alloy_consensus::Transaction::gas_limit(&tx.tx)
                )),
                TxFailure::Invalid(invalid) => refused(invalid.to_string()),
                TxFailure::Record(error) => record(error),
                TxFailure::Deferred => internal("a call was polled while a block was checked".to_owned()),
                TxFailure::Fatal(problem) => internal(problem),
            })?;
        }
        let outcome = run.finish();
        outcome.session.finish_record().map_err(record)?;
        Ok(outcome)
    }

    /// What must hold before anything runs: the block continues the head or a block above it, in time and by the rules.
    fn frame_of(&self, held: &Held, prepared: &PreparedBlock) -> Result<(Frame, Base), ExecuteError> {
        let header = &prepared.header;
        let height = Height(header.number);
        let head = self.core.head();
        let parent = BlockHash(header.parent_hash);
        let base = held.base(&head, parent).filter(|base| height == base.parent.height().next());
        let base = base.ok_or(ExecuteError::NotOnHead { height, parent, head: head.hash })?;
        let parent = &base.parent;
        let time_ms = prepared.extension.time_ms;
        let mismatch = |field: &'static str, found: String, expected: String| {
            Err(ExecuteError::Mismatch { height, field, found, expected })
        };
        if time_ms < parent.time_ms {
            return mismatch("time_ms", time_ms.to_string(), format!("{} or later", parent.time_ms));
        }
        if !prepared.extension.interventions.is_empty() && !self.core.genesis.dev {
            let found = prepared.extension.interventions.len().to_string();
            return mismatch("interventions", found, "0: this is no development ledger".to_owned());
        }
        let anchor = prepared.record.anchor;
        if !anchor.follows(&parent.anchor) {
            let source = RecordError::Backwards { height: anchor.height, parent: parent.anchor.height };
            return Err(ExecuteError::Record { height, source });
        }
        Ok((self.core.next_frame(parent, time_ms, header.beneficiary, &anchor), base))
    }

    /// Takes signers that the pool already knows, and recovers the others, with the claims that came with them.
    fn recover(&self, raws: Vec<Bytes>) -> Vec<Result<Arc<RecoveredTx>, TxError>> {
        let raws = self.core.claims.join(raws);
        let (arrivals, _) = tx::recover_batch(raws, &self.core.rules, || {
            let pool = self.core.pool.lock();
            move |hash: &B256| pool.get(hash)
        });
        arrivals.into_iter().map(|arrival| arrival.map(tx::Arrival::into_tx)).collect()
    }
}

/// Transactions that were tried and did not enter the block.
#[derive(Default)]
struct LeftOut {
    /// Senders whose later transactions cannot run either.
    senders: FxHashSet<Address>,
    deferred: Vec<Address>,
    dropped: Vec<(Arc<RecoveredTx>, String)>,
    misfits: usize,
}

impl LeftOut {
    fn note(&mut self, core: &Core, tx: Arc<RecoveredTx>, failure: TxFailure) {
        match failure {
            TxFailure::NoRoom { .. } => {
                self.misfits += 1;
                self.senders.insert(tx.sender);
            }
            TxFailure::Deferred => {
                core.prefetcher.learn(&tx, true);
                self.deferred.push(tx.sender);
                self.senders.insert(tx.sender);
            }
            // A gap before it, which its sender may yet close.
            TxFailure::Invalid(InvalidTransaction::NonceTooHigh { .. }) => {
                self.senders.insert(tx.sender);
            }
            // Its place is taken; the sender's next transactions may fit.
            TxFailure::Invalid(invalid @ InvalidTransaction::NonceTooLow { .. }) => {
                self.dropped.push((tx, invalid.to_string()));
            }
            TxFailure::Invalid(invalid) => {
                self.senders.insert(tx.sender);
                self.dropped.push((tx, invalid.to_string()));
            }
            TxFailure::Record(_) | TxFailure::Fatal(_) => {}
        }
    }

    /// `wakes` was counted before the first transaction ran: an answer that came since then may be the one waited for.
    fn settle(&self, core: &Core, wakes: u64) {
        if self.dropped.is_empty() && self.deferred.is_empty() {
            return;
        }
        let mut pool = core.pool.lock();
        for (tx, reason) in &self.dropped {
            tracing::debug!(hash = %tx.hash, reason, "a transaction became invalid and leaves the pool");
            pool.drop_invalid(tx, reason.clone());
        }
        if pool.wakes() == wakes {
            self.deferred.iter().for_each(|sender| pool.defer(*sender));
        }
    }
}

impl Machine for EvmMachine {
    fn name(&self) -> &'static str {
        "evm"
    }

    fn head(&self) -> Head {
        self.core.head().head()
    }

    fn ready(&self) -> usize {
        self.core.pool.lock().ready()
    }

    fn propose(&self, context: &ProposeContext) -> Result<Option<Executed>, ProposeError> {
        let core = &*self.core;
        let mut held = core.held.lock();
        // The parent may have been forgotten since the engine last heard of it: then there is nothing to build on.
        let Some(base) = held.base(&core.head(), context.parent) else { return Ok(None) };
        let dev_time = core.genesis.dev.then(|| core.dev.lock().time(context.time_ms));
        core.note_time(context.time_ms);
        let pending = (core.genesis.dev && base.is_head()).then(|| core.state.pending()).flatten();
        let height = base.parent.height().next();
        let internal = |problem: String| ProposeError::Internal { height, problem };
        let overrides = if base.is_head() {
            pending.clone()
        } else {
            base.layer(&[]).map_err(|error| internal(error.to_string()))?
        };
        // Taken before the first call is polled: the fabric answers as of this anchor.
        let anchor = core.delegate.anchor();
        if !anchor.follows(&base.parent.anchor) {
            let (ours, parent) = (anchor.height, base.parent.anchor.height);
            tracing::warn!(%ours, %parent, "the registry here is behind the parent's anchor: no block until it has caught up");
            return Ok(None);
        }
        let time_ms = dev_time.unwrap_or(context.time_ms);
        let frame = core.next_frame(&base.parent, time_ms, context.proposer, &anchor);
        let mut ran = self.build(&frame, &base, overrides)?;
        if ran.txs.is_empty() && !context.allow_empty {
            return Ok(None);
        }
        let receipts = ran.outcome.session.take_receipts();
        let extension = Extension {
            version: EXTENSION_VERSION,
            time_ms: frame.time_ms,
            record: DelegationRecord { anchor, receipts },
            interventions: pending.map(|pending| pending.interventions().to_vec()).unwrap_or_default(),
        };
        let extension_bytes = extension.encode();
        let body = body::encode(&ran.txs);
        let (sealed, txs) =
            self.seal(&frame, ran, &extension_bytes).map_err(|error| internal(error.to_string()))?;
        let header: Bytes = alloy_rlp::encode(&sealed.header).into();
        let hash = BlockHash(alloy_primitives::keccak256(&header));
        let block = Block { header, body, extension: extension_bytes };
        if core.genesis.dev && base.is_head() {
            core.dev.lock().proposed(context.time_ms);
        }
        Ok(Some(self.hold(&mut held, sealed, hash, txs, extension, block)))
    }

    fn prepare(&self, block: Block) -> Result<Prepared, ExecuteError> {
        let decode = |part: &'static str| move |source| ExecuteError::Decode { part, source };
        let header = decode_header(&block.header).map_err(decode("header"))?;
        let height = Height(header.number);
        let extension = Extension::decode(&block.extension).map_err(decode("extension"))?;
        if !extension_matches(&header, &block.extension) {
            return Err(ExecuteError::Mismatch {
                height,
                field: "extraData",
                found: header.extra_data.to_string(),
                expected: Extension::digest(&block.extension).to_string(),
            });
        }
        delegate::check_bounds(&extension.record)
            .map_err(|source| ExecuteError::Record { height, source })?;
        let overrides =
            Overrides::decode(&extension.interventions).map_err(|error| ExecuteError::Decode {
                part: "extension",
                source: bletchley_primitives::DecodeError::Malformed(error.to_string()),
            })?;
        let raws = body::decode(&block.body).map_err(decode("body"))?;
        let txs = self
            .recover(raws)
            .into_iter()
            .enumerate()
            .map(|(position, tx)| {
                tx.map_err(|error| ExecuteError::Transaction { height, position, problem: error.to_string() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let hash = BlockHash(alloy_primitives::keccak256(&block.header));
        let record = Arc::new(extension.record.clone());
        Ok(Prepared(Box::new(PreparedBlock { header, hash, extension, overrides, record, txs, block })))
    }

    fn execute(&self, prepared: Prepared) -> Result<Executed, ExecuteError> {
        let core = &*self.core;
        let prepared = prepared.0.downcast::<PreparedBlock>().map_err(|_| ExecuteError::Internal {
            height: self.head().height.next(),
            problem: "the block was prepared by another machine".to_owned(),
        })?;
        let mut held = core.held.lock();
        let (frame, base) = self.frame_of(&held, &prepared)?;
        let outcome = self.run_prepared(&frame, &base, &prepared)?;
        let PreparedBlock { header, hash, extension, txs, block, .. } = *prepared;
        let ran = Ran { outcome, txs };
        let (sealed, txs) = self
            .seal(&frame, ran, &block.extension)
            .map_err(|error| ExecuteError::Internal { height: frame.height, problem: error.to_string() })?;
        if let Err(error) = header::check(&header, &sealed.header) {
            core.state.discard(sealed.staged);
            return Err(error);
        }
        Ok(self.hold(&mut held, sealed, hash, txs, extension, block))
    }

    fn adopts(&self) -> bool {
        true
    }

    fn inspect(
        &self,
        block: Block,
        receipts: Bytes,
        diff: Bytes,
        vouched: bool,
    ) -> Result<Prepared, ExecuteError> {
        self.inspect_block(block, &receipts, diff, vouched)
    }

    fn adopt(&self, inspected: Prepared) -> Result<Executed, ExecuteError> {
        self.adopt_block(inspected)
    }

    fn commit(&self, hash: BlockHash) -> Result<(), CommitError> {
        let core = &*self.core;
        let mut held = core.held.lock();
        let HeldBlock { kept, staged } =
            held.take_child(core.head().hash, hash).ok_or(CommitError::Unknown(hash))?;
        // The others stand on the old head; what they staged must be gone before the tries move.
        held.discard_all(core);
        let block = &kept.block;
        let head = HeadBlock::of(block);
        core.move_head(head, |state| state.commit(staged, block.height())).map_err(|error| {
            tracing::error!(%hash, %error, "an executed block could not be committed");
            CommitError::Unknown(hash)
        })?;
        core.advance_pool(block);
        core.cache.lock().put(kept.clone());
        drop(held);
        core.observer.committed(&kept.block, &kept.receipts);
        Ok(())
    }

    fn discard(&self, hash: BlockHash) {
        self.core.held.lock().discard(&self.core, hash);
    }
}
