//! What the tests share: a store in memory, and a ledger that makes a block of whatever is submitted.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    AppendError, BlockMeta, DiffReader, Executed, FoldError, Location, Machine, ProposeContext, ReadError,
    Section, SharedStore, SnapshotReader, Store, StoredBlock, TableError, TruncateError,
};
use bletchley_primitives::{Address, B256, BlockHash, Bytes, Height, LedgerId, TimestampMs, TxId};
use bletchley_token::{
    AssetId, CompositeRecord, Entry, Genesis, Lock, OutputRef, SignedTx, SubmitError, TokenId, TokenMachine,
    TokenRecord, TxBuilder,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Inner {
    blocks: Vec<StoredBlock>,
    located: HashMap<B256, Location>,
    snapshot: Option<(Height, Rows)>,
}

/// Keeps blocks in memory, and folds snapshots as a real store does.
#[derive(Default)]
pub struct MemoryStore(Mutex<Inner>);

struct Snapshot(Height, Rows);

impl SnapshotReader for Snapshot {
    fn height(&self) -> Height {
        self.0
    }
    fn len(&self) -> u64 {
        self.1.len() as u64
    }
    fn for_each(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ReadError> {
        self.1.iter().for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

impl Store for MemoryStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        let mut inner = self.0.lock().unwrap();
        assert_eq!(block.meta.height.0, inner.blocks.len() as u64);
        assert!(block.index.is_sorted());
        for entry in &block.index {
            inner.located.insert(entry.key, Location { height: block.meta.height, position: entry.position });
        }
        inner.blocks.push(block.clone());
        Ok(())
    }
    fn head(&self) -> Option<BlockMeta> {
        self.0.lock().unwrap().blocks.last().map(|b| b.meta)
    }
    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        Ok(self.block(height)?.map(|b| b.meta))
    }
    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.lock().unwrap().blocks.get(height.0 as usize).map(|b| b.section(section).clone()))
    }
    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError> {
        Ok(self.0.lock().unwrap().blocks.get(height.0 as usize).cloned())
    }
    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        Ok(self.0.lock().unwrap().blocks.iter().find(|b| b.meta.hash == hash).map(|b| b.meta.height))
    }
    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError> {
        Ok(self.0.lock().unwrap().located.get(&key).copied())
    }
    fn truncate(&self, _height: Height) -> Result<(), TruncateError> {
        Err(TruncateError::Forbidden)
    }
    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        let inner = self.0.lock().unwrap();
        Ok(inner
            .snapshot
            .clone()
            .map(|(height, rows)| Box::new(Snapshot(height, rows)) as Box<dyn SnapshotReader>))
    }
    fn fold(&self, height: Height) -> Result<(), FoldError> {
        let mut inner = self.0.lock().unwrap();
        let (mut next, mut rows) = match inner.snapshot.take() {
            Some((at, rows)) => (at.0 as usize + 1, rows),
            None => (0, BTreeMap::new()),
        };
        while next <= height.0 as usize {
            for change in DiffReader::new(&inner.blocks[next].diff).unwrap() {
                match change.unwrap() {
                    (key, Some(value)) => rows.insert(key.to_vec(), value.to_vec()),
                    (key, None) => rows.remove(key),
                };
            }
            next += 1;
        }
        inner.snapshot = Some((height, rows));
        Ok(())
    }
    fn table_get(&self, _table: &str, _key: &[u8]) -> Result<Option<Bytes>, TableError> {
        Ok(None)
    }
    fn table_write(&self, _table: &str, _changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        Ok(())
    }
    fn table_range(
        &self,
        _t: &str,
        _f: &[u8],
        _to: &[u8],
        _limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        Ok(Vec::new())
    }
}

pub const LEDGER: LedgerId = LedgerId(B256::repeat_byte(0x1d));
pub const GENESIS: Genesis = Genesis { ledger: LEDGER, time_ms: TimestampMs(1_000) };

pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(name.as_bytes())
}

pub fn lock(name: &str) -> Lock {
    Lock::key(key(name).address())
}

pub fn address(name: &str) -> Address {
    key(name).address()
}

/// A machine with its store and a clock of its own.
pub struct Ledger {
    pub machine: TokenMachine,
    pub store: SharedStore,
    pub now_ms: Mutex<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    pub fn new() -> Self {
        Self::open(Arc::new(MemoryStore::default()))
    }

    pub fn open(store: SharedStore) -> Self {
        let machine = TokenMachine::open(GENESIS, store.clone()).unwrap();
        let now_ms = Mutex::new(machine.head().time_ms.0);
        Self { machine, store, now_ms }
    }

    pub fn reopen(&self) -> Self {
        Self::open(self.store.clone())
    }

    pub fn submit(&self, tx: &SignedTx) -> Result<TxId, SubmitError> {
        self.machine.submit(&tx.bytes)
    }

    pub fn set_time(&self, ms: u64) {
        *self.now_ms.lock().unwrap() = ms;
    }

    pub fn context(&self) -> ProposeContext {
        let mut now = self.now_ms.lock().unwrap();
        *now += 1;
        ProposeContext {
            parent: self.machine.head().hash,
            time_ms: TimestampMs(*now),
            proposer: address("proposer"),
            allow_empty: false,
        }
    }

    pub fn propose(&self) -> Option<Executed> {
        self.machine.propose(&self.context()).unwrap()
    }

    pub fn keep(&self, executed: &Executed) {
        self.store.append(&executed.clone().into_stored(Bytes::new())).unwrap();
        self.machine.commit(executed.meta.hash).unwrap();
    }

    /// Makes a block of all that waits.
    pub fn block(&self) -> Executed {
        let executed = self.propose().expect("something waits");
        self.keep(&executed);
        executed
    }

    /// Submits and makes a block.
    pub fn run(&self, tx: SignedTx) -> SignedTx {
        let id = self.submit(&tx).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(id, tx.id);
        let block = self.block();
        assert_eq!(block.transactions, 1);
        tx
    }

    pub fn refused(&self, tx: &SignedTx) -> SubmitError {
        self.submit(tx).expect_err("it must be refused")
    }

    pub fn held(&self, token: TokenId) -> OutputRef {
        self.machine.token(token).unwrap().output.expect("it is held").reference
    }

    pub fn owner(&self, token: TokenId) -> Option<Lock> {
        self.machine.token(token).unwrap().output.map(|unspent| unspent.output.lock)
    }
}

/// Five blocks with every kind of action.
pub fn story(ledger: &Ledger) -> Vec<Executed> {
    let acme = key("acme");
    let issue = |serial: &str| {
        TxBuilder::issue_thing(LEDGER, acme.address(), "part", serial, lock("acme")).unwrap().sign(&[&acme])
    };
    let id = |serial: &str| TokenRecord::thing(acme.address(), "part", serial).unwrap().id();
    let mut blocks = Vec::new();
    let mut block = |txs: &[&SignedTx]| {
        for tx in txs {
            ledger.submit(tx).unwrap();
        }
        blocks.push(ledger.block());
    };
    let (one, two, three) = (issue("1"), issue("2"), issue("3"));
    let defined = TxBuilder::define_asset(LEDGER, acme.address(), "EUR", 2, lock("acme")).sign(&[&acme]);
    let euro = AssetId::of(acme.address(), "EUR", 2);
    let minted = TxBuilder::issue_amount(LEDGER, euro, 500, (defined.output(0), lock("acme")), lock("ann"))
        .sign(&[&acme]);
    block(&[&one, &two, &three, &defined, &minted]);
    let parts = [(id("1"), one.output(0)), (id("2"), two.output(0))];
    let compose =
        TxBuilder::compose(LEDGER, acme.address(), "whole", "1", 0, "whole", &parts, lock("acme")).unwrap();
    let compose = compose.sign(&[&acme]);
    let whole = CompositeRecord::assemble(acme.address(), "whole", "1", 0, &[id("1"), id("2")]).unwrap().id();
    let sold = TxBuilder::transfer(LEDGER).spend(compose.output(0)).token(whole, lock("bob")).sign(&[&acme]);
    block(&[&compose, &sold]);
    let paid = TxBuilder::transfer(LEDGER).spend(minted.output(1)).amount(euro, 200, lock("bob")).amount(
        euro,
        300,
        lock("ann"),
    );
    let paid = paid.sign(&[&key("ann")]);
    let entry = Entry {
        namespace: "n".into(),
        name: "e".into(),
        version: "1".into(),
        payload: Bytes::from_static(b"p"),
    };
    let registered = TxBuilder::register(LEDGER, acme.address(), entry, None, lock("acme")).sign(&[&acme]);
    block(&[&paid, &registered]);
    let apart = TxBuilder::decompose(LEDGER, (whole, sold.output(0)), &[id("1"), id("2")], &lock("bob"))
        .sign(&[&key("bob")]);
    let redeemed =
        TxBuilder::redeem(LEDGER, euro, 200, (minted.output(0), lock("acme"))).spend(paid.output(0));
    block(&[&apart, &redeemed.sign(&[&acme, &key("bob")])]);
    let retired =
        TxBuilder::retire(LEDGER, &[(id("3"), three.output(0))]).compensating(three.id).sign(&[&acme]);
    block(&[&retired]);
    blocks
}
