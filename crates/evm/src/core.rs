//! What the machine and the readers of one ledger share.

use alloy_consensus::Header;
use alloy_primitives::U256;
use bletchley_ledger::{
    Anchor, Block, BlockMeta, Delegate, Extension, Head, Place, ReadError, SharedStore, StoredBlock,
};
use bletchley_primitives::{BlockHash, Bytes, Height, LedgerId, TimestampMs};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    admit::Admission,
    arrivals::{Claims, Listeners, Recent},
    block::{self, BlockCache, EvmBlock, Kept},
    dev::DevState,
    execute::{Above, Reader},
    genesis::{Fork, Genesis, GenesisError},
    header::{self, Frame},
    held::Held,
    pool::{Pool, PoolLimits, SenderAccount},
    prefetch::Prefetcher,
    receipts::MinedReceipt,
    state::{AllocAccount, BlockView, State, StateOptions},
    tx::{RecoveredTx, TxRules},
};

/// Small table of the store that this crate owns.
const TABLE: &str = "evm";
/// Key of the ledger's identity in it.
const LEDGER_KEY: &[u8] = b"ledger";

/// Hears of what happens on a ledger. Calls come from the thread that caused them; they must be short.
pub trait Observer: Send + Sync + 'static {
    /// A block became the head. It is durable and visible.
    fn committed(&self, _block: &Arc<EvmBlock>, _receipts: &Arc<Vec<MinedReceipt>>) {}
    /// A transaction entered the pool.
    fn pooled(&self, _tx: &Arc<RecoveredTx>) {}
    /// A development ledger went back to this height.
    fn rewound(&self, _to: Height) {}
}

/// An observer that listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Why a ledger did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The genesis document cannot be right.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The data belongs to another ledger.
    #[error(
        "the data folder holds ledger {found}, this genesis document makes ledger {expected}; \
         point the node at its own data folder, or start anew with an empty one"
    )]
    OtherLedger {
        /// Identity in the store (the genesis block's hash where it holds none).
        found: LedgerId,
        /// Identity of the document.
        expected: LedgerId,
    },
    /// The state does not have the root that the head's header names.
    #[error(
        "the state after block {height} has root {found}, its header says {expected}; \
         restore this data folder from another member's copy"
    )]
    Root {
        /// Height of the head.
        height: Height,
        /// Root of the state that was loaded.
        found: alloy_primitives::B256,
        /// Root in the header.
        expected: alloy_primitives::B256,
    },
    /// The state could not be loaded.
    #[error(transparent)]
    State(#[from] crate::state::OpenError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger's identity could not be kept or read.
    #[error(transparent)]
    Table(#[from] bletchley_ledger::TableError),
    /// The genesis block could not be kept.
    #[error(transparent)]
    Append(#[from] bletchley_ledger::AppendError),
}

/// The newest committed block, or one that another is to stand on.
#[derive(Clone, Debug)]
pub(crate) struct HeadBlock {
    pub(crate) hash: BlockHash,
    pub(crate) header: Header,
    pub(crate) time_ms: TimestampMs,
    /// The registry state that it names; anchors never go back.
    pub(crate) anchor: Anchor,
}

impl HeadBlock {
    /// A block as its children see it.
    pub(crate) fn of(block: &EvmBlock) -> Self {
        Self {
            hash: block.hash,
            header: block.header.clone(),
            time_ms: block.time_ms(),
            anchor: block.extension.record.anchor,
        }
    }

    pub(crate) const fn height(&self) -> Height {
        Height(self.header.number)
    }

    pub(crate) const fn head(&self) -> Head {
        Head {
            height: self.height(),
            hash: self.hash,
            state_root: self.header.state_root,
            time_ms: self.time_ms,
        }
    }
}

/// What the machine and the readers of one ledger share.
///
/// Locks are taken in this order: `held`, `pool`, `recent`, `head`, then those inside `state`.
pub(crate) struct Core {
    pub(crate) genesis: Genesis,
    pub(crate) ledger: LedgerId,
    pub(crate) rules: TxRules,
    pub(crate) state: State,
    pub(crate) store: SharedStore,
    pub(crate) delegate: Arc<dyn Delegate>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) held: Mutex<Held>,
    pub(crate) cache: Mutex<BlockCache>,
    pub(crate) dev: Mutex<DevState>,
    pub(crate) prefetcher: Prefetcher,
    pub(crate) admission: Admission,
    /// Who hears of what this node's clients submit.
    pub(crate) local: Listeners,
    /// Transactions that became final lately.
    pub(crate) recent: Recent,
    pub(crate) claims: Claims,
    head: RwLock<Arc<HeadBlock>>,
    /// The latest time that anyone's clock told: what prefetched calls take for their block's, a development ledger's
    /// offset added.
    time_hint_ms: AtomicU64,
}

impl Core {
    pub(crate) fn open(
        genesis: Genesis,
        store: SharedStore,
        delegate: Arc<dyn Delegate>,
        observer: Arc<dyn Observer>,
        limits: PoolLimits,
    ) -> Result<Arc<Self>, OpenError> {
        genesis.validate()?;
        let id = genesis.ledger_id();
        let accounts = if store.head().is_none() { genesis.accounts() } else { BTreeMap::new() };
        let alloc = accounts.into_iter().map(|(address, account)| {
            let storage =
                account.storage.iter().map(|(slot, value)| (U256::from_be_bytes(slot.0), (*value).into()));
            let account = AllocAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage: storage.collect(),
                code: account.code,
            };
            (address, account)
        });
        let options = StateOptions { archive: genesis.archive, ..StateOptions::default() };
        let opened = State::open(alloc, &*store, options)?;
        if let Some(diff) = opened.genesis_diff {
            // The identity goes first: a crash between the two leaves an empty store, which starts anew.
            let value = Bytes::copy_from_slice(id.0.as_slice());
            store.table_write(TABLE, &[(Bytes::from_static(LEDGER_KEY), Some(value))])?;
            store.append(&genesis_block(&genesis, opened.root, diff))?;
        }
        let head = read_head(&genesis, id, &store)?;
        if opened.root != head.header.state_root {
            return Err(OpenError::Root {
                height: head.height(),
                found: opened.root,
                expected: head.header.state_root,
            });
        }
        let base_fee = header::next_base_fee(genesis.base_fee, &head.header);
        let rules =
            TxRules { chain_id: genesis.chain_id, set_code: genesis.fork != Fork::Cancun, dev: genesis.dev };
        Ok(Arc::new(Self {
            ledger: id,
            rules,
            state: opened.state,
            store,
            delegate,
            observer,
            pool: Mutex::new(Pool::new(limits, base_fee)),
            held: Mutex::new(Held::default()),
            cache: Mutex::new(BlockCache::default()),
            dev: Mutex::new(DevState::default()),
            prefetcher: Prefetcher::default(),
            local: Listeners::default(),
            recent: Recent::default(),
            claims: Claims::default(),
            admission: Admission::new(genesis.fork.spec(), genesis.gas_limit),
            time_hint_ms: AtomicU64::new(head.time_ms.0),
            head: RwLock::new(Arc::new(head)),
            genesis,
        }))
    }

    pub(crate) fn head(&self) -> Arc<HeadBlock> {
        self.head.read().clone()
    }

    /// Makes `head` visible together with the state that `change` makes.
    pub(crate) fn move_head<E>(
        &self,
        head: HeadBlock,
        change: impl FnOnce(&State) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut current = self.head.write();
        change(&self.state)?;
        *current = Arc::new(head);
        Ok(())
    }

    /// The head, and what `read` takes from the state while that is the head's.
    pub(crate) fn at_head<T>(&self, read: impl FnOnce(&State) -> T) -> (Arc<HeadBlock>, T) {
        let head = self.head.read();
        (head.clone(), read(&self.state))
    }

    pub(crate) fn note_time(&self, time_ms: TimestampMs) {
        self.time_hint_ms.fetch_max(time_ms.0, Ordering::Relaxed);
    }

    /// The block after `head` that names `anchor`, as far as it is known before anything ran.
    pub(crate) fn next_frame(
        &self,
        head: &HeadBlock,
        time_ms: TimestampMs,
        beneficiary: alloy_primitives::Address,
        anchor: &Anchor,
    ) -> Frame {
        Frame {
            parent: head.hash,
            height: head.height().next(),
            time_ms: time_ms.max(head.time_ms),
            beneficiary,
            gas_limit: self.genesis.gas_limit_at(self.delegate.protocol_version(anchor)),
            base_fee: header::next_base_fee(self.genesis.base_fee, &head.header),
            fork: self.genesis.fork,
        }
    }

    /// The frame for readers of "pending": the next block, at the latest time that anyone told.
    pub(crate) fn pending_frame(&self, head: &HeadBlock) -> Frame {
        let told = TimestampMs(self.time_hint_ms.load(Ordering::Relaxed));
        let time_ms = if self.genesis.dev { self.dev.lock().time(told) } else { told };
        self.next_frame(head, time_ms, head.header.beneficiary, &head.anchor)
    }

    pub(crate) fn place(&self, frame: &Frame) -> Place {
        Place { ledger: self.ledger, height: frame.height, parent: frame.parent, time_ms: frame.time_ms }
    }

    pub(crate) fn reader<V>(&self, view: V) -> Reader<V> {
        self.reader_above(view, Above::default())
    }

    /// A reader that also knows the hashes of blocks above the head.
    pub(crate) fn reader_above<V>(&self, view: V, above: Above) -> Reader<V> {
        Reader { view, store: self.store.clone(), above }
    }

    /// A sender's account in the committed state, or with pending interventions on a development ledger.
    pub(crate) fn sender_account(view: &BlockView, sender: &alloy_primitives::Address) -> SenderAccount {
        let account = view.account(sender).unwrap_or_default();
        SenderAccount { nonce: account.nonce, balance: account.balance }
    }

    /// A block with its receipts, from the cache or the store.
    pub(crate) fn kept(&self, height: Height) -> Result<Option<Kept>, ReadError> {
        if height > self.head().height() {
            return Ok(None);
        }
        if let Some(kept) = self.cache.lock().get(height) {
            return Ok(Some(kept));
        }
        let kept = block::read(&*self.store, height, &self.rules)?;
        if let Some(kept) = &kept {
            self.cache.lock().put(kept.clone());
        }
        Ok(kept)
    }

    /// Brings the pool up to date with a block, whoever proposed it.
    pub(crate) fn advance_pool(&self, block: &EvmBlock) {
        use alloy_consensus::Transaction as _;
        let mut next_nonces: FxHashMap<alloy_primitives::Address, u64> = FxHashMap::default();
        for tx in &block.transactions {
            next_nonces.insert(tx.sender, tx.tx.nonce().saturating_add(1));
        }
        let base_fee = header::next_base_fee(self.genesis.base_fee, &block.header);
        self.recent.put(block);
        self.pool.lock().advance(&next_nonces, base_fee);
    }
}

fn genesis_block(genesis: &Genesis, root: alloy_primitives::B256, diff: Bytes) -> StoredBlock {
    let header = genesis.header(root);
    let extension = genesis.extension();
    StoredBlock {
        meta: BlockMeta {
            height: Height(0),
            hash: BlockHash(header.hash_slow()),
            parent: BlockHash::default(),
            time_ms: genesis.time_ms,
        },
        block: Block {
            header: alloy_rlp::encode(&header).into(),
            body: crate::body::encode(&[]),
            extension: extension.encode(),
        },
        receipts: crate::receipts::encode(&[]),
        diff,
        certificate: Bytes::new(),
        index: Vec::new(),
    }
}

/// The head that the store holds; its genesis block must be this document's, as far as that shows without the accounts.
fn read_head(genesis: &Genesis, id: LedgerId, store: &SharedStore) -> Result<HeadBlock, OpenError> {
    let missing = |height: Height| {
        OpenError::Read(ReadError::Damaged {
            place: format!("block {height}"),
            problem: "it is missing".to_owned(),
        })
    };
    let first = block::read_header(&**store, Height(0))?.ok_or_else(|| missing(Height(0)))?;
    let found = BlockHash(first.hash_slow());
    let expected = genesis.header(first.state_root).hash_slow();
    let kept = store.table_get(TABLE, LEDGER_KEY)?;
    if found.0 != expected || kept.as_ref().is_some_and(|kept| kept.as_ref() != id.0.as_slice()) {
        let found = kept
            .filter(|kept| kept.len() == 32)
            .map_or(found.0, |kept| alloy_primitives::B256::from_slice(&kept));
        return Err(OpenError::OtherLedger { found: LedgerId(found), expected: id });
    }
    let meta = store.head().ok_or_else(|| missing(Height(0)))?;
    block::read_head(&**store, meta)?.ok_or_else(|| missing(meta.height))
}

/// The extension that a header commits to, decoded.
pub(crate) fn extension_matches(header: &Header, extension: &[u8]) -> bool {
    header.extra_data.as_ref() == Extension::digest(extension).as_slice()
}
