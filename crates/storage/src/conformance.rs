//! What every [`Store`] must do, checked the same way for each implementation; for tests.
//!
//! A check panics with what it found. Blocks are made from a seed, so that a failure can be repeated.
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

use bletchley_ledger::{
    AppendError, Block, BlockMeta, DiffReader, DiffWriter, FoldError, IndexEntry, Location, Section,
    SharedStore, Store, StoredBlock, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs, keccak256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// Bytes, fewer than `bound`.
    pub fn bytes(&mut self, bound: u64) -> Bytes {
        let count = self.below(bound);
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// The block after `head`, made from a seed: a few transactions, receipts, a diff over few keys.
#[must_use]
pub fn next_block(head: Option<BlockMeta>, numbers: &mut Numbers) -> StoredBlock {
    let height = head.map_or(Height(0), |head| head.height.next());
    let header = numbers.bytes(200);
    let hash =
        BlockHash(keccak256([height.0.to_be_bytes().as_slice(), &numbers.next().to_be_bytes()].concat()));
    let transactions = numbers.below(12);
    let mut index: Vec<IndexEntry> = (0..transactions)
        .map(|position| IndexEntry {
            key: keccak256(numbers.next().to_be_bytes()),
            position: position as u32,
        })
        .collect();
    index.sort_unstable();
    let mut diff = DiffWriter::default();
    for _ in 0..numbers.below(20) {
        let key = [b"key".as_slice(), &[numbers.below(40) as u8]].concat();
        if numbers.below(4) == 0 { diff.delete(&key) } else { diff.put(&key, &numbers.bytes(60)) }
    }
    StoredBlock {
        meta: BlockMeta {
            height,
            hash,
            parent: head.map_or(BlockHash::default(), |head| head.hash),
            time_ms: TimestampMs(1_700_000_000_000 + height.0 * 250),
        },
        block: Block { header, body: numbers.bytes(transactions * 80 + 1), extension: numbers.bytes(30) },
        receipts: numbers.bytes(transactions * 40 + 1),
        diff: diff.finish(),
        certificate: numbers.bytes(100),
        index,
    }
}

/// A chain of `count` blocks.
#[must_use]
pub fn chain(count: usize, seed: u64) -> Vec<StoredBlock> {
    let mut numbers = Numbers::new(seed);
    let mut blocks: Vec<StoredBlock> = Vec::new();
    for _ in 0..count {
        blocks.push(next_block(blocks.last().map(|block| block.meta), &mut numbers));
    }
    blocks
}

/// The state after `blocks`, as their diffs say.
#[must_use]
pub fn state_of(blocks: &[StoredBlock]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for block in blocks {
        for change in DiffReader::new(&block.diff).expect("a diff") {
            match change.expect("a canonical diff") {
                (key, Some(value)) => state.insert(key.to_vec(), value.to_vec()),
                (key, None) => state.remove(key),
            };
        }
    }
    state
}

/// Checks that `store` holds exactly `blocks`, by every way of reading.
pub fn assert_holds(store: &dyn Store, blocks: &[StoredBlock]) {
    assert_eq!(store.head(), blocks.last().map(|block| block.meta), "head");
    for block in blocks {
        let StoredBlock { meta, .. } = block;
        assert_eq!(store.meta(meta.height).expect("meta"), Some(*meta));
        assert_eq!(store.block(meta.height).expect("block").as_ref(), Some(block));
        for section in Section::ALL {
            let read = store.section(meta.height, section).expect("section");
            assert_eq!(
                read.as_ref(),
                Some(block.section(section)),
                "{} of block {}",
                section.name(),
                meta.height
            );
        }
        assert_eq!(store.height_of(meta.hash).expect("height_of"), Some(meta.height));
        for entry in &block.index {
            let expected = Location { height: meta.height, position: entry.position };
            assert_eq!(store.locate(entry.key).expect("locate"), Some(expected), "block {}", meta.height);
        }
    }
    let above = Height(blocks.len() as u64);
    for height in [above, Height(above.0 + 1), Height(u64::MAX)] {
        assert_eq!(store.meta(height).expect("meta"), None);
        assert_eq!(store.section(height, Section::Body).expect("section"), None);
        assert_eq!(store.block(height).expect("block"), None);
    }
    for absent in [B256::ZERO, B256::repeat_byte(0xff), keccak256(b"absent")] {
        assert_eq!(store.locate(absent).expect("locate"), None);
        assert_eq!(store.height_of(BlockHash(absent)).expect("height_of"), None);
    }
}

/// Checks that the newest snapshot, if there is one, is the state at its height; returns the height.
pub fn assert_snapshot(store: &dyn Store, blocks: &[StoredBlock]) -> Option<Height> {
    let mut snapshot = store.snapshot().expect("snapshot")?;
    let height = snapshot.height();
    let mut read = Vec::new();
    snapshot.for_each(&mut |key, value| read.push((key.to_vec(), value.to_vec()))).expect("entries");
    assert_eq!(snapshot.len(), read.len() as u64, "entries counted");
    let expected: Vec<_> =
        state_of(blocks.get(..=height.0 as usize).expect("a height of the chain")).into_iter().collect();
    assert_eq!(read, expected, "the snapshot at {height}");
    Some(height)
}

/// Checks everything that needs no reopening. `open` gives a new, empty store each time; the argument says whether it
/// is one of a development ledger.
pub fn check(open: &dyn Fn(bool) -> SharedStore) {
    keeps_blocks(open(false).as_ref());
    refuses_what_does_not_follow(open(false).as_ref());
    sorts_the_index(open(false).as_ref());
    folds(open(false).as_ref());
    keeps_tables(open(false).as_ref());
    forgets_only_when_it_may(open);
    readers_see_whole_blocks(&open(false));
}

/// Checks that what was written is there after reopening. `open` opens the same data each time; the store before it
/// has been dropped.
pub fn check_reopening(open: &dyn Fn() -> SharedStore) {
    let blocks = chain(40, 11);
    let mut kept = 0;
    for upto in [0, 1, 2, 17, 18, 40] {
        let store = open();
        assert_holds(store.as_ref(), &blocks[..kept]);
        for block in &blocks[kept..upto] {
            store.append(block).expect("append");
        }
        kept = upto;
        assert_holds(store.as_ref(), &blocks[..kept]);
        if upto == 17 {
            store.fold(Height(9)).expect("fold");
        }
        let count = Bytes::from(vec![upto as u8]);
        store
            .table_write("reopened", &[(Bytes::from_static(b"count"), Some(count.clone()))])
            .expect("table_write");
        drop(store);
        let store = open();
        assert_eq!(store.table_get("reopened", b"count").expect("table_get"), Some(count));
        assert_eq!(assert_snapshot(store.as_ref(), &blocks), (upto >= 17).then_some(Height(9)));
    }
    assert_holds(open().as_ref(), &blocks);
}

fn keeps_blocks(store: &dyn Store) {
    assert_holds(store, &[]);
    let blocks = chain(60, 1);
    for (at, block) in blocks.iter().enumerate() {
        store.append(block).expect("append");
        if at % 13 == 0 {
            assert_holds(store, &blocks[..=at]);
        }
    }
    assert_holds(store, &blocks);
}

fn refuses_what_does_not_follow(store: &dyn Store) {
    let blocks = chain(3, 2);
    let refused = |block: &StoredBlock| {
        let error = store.append(block).expect_err("a block that does not follow");
        assert!(matches!(error, AppendError::NotNext { .. }), "{error}");
    };
    refused(&blocks[1]);
    store.append(&blocks[0]).expect("append");
    refused(&blocks[0]);
    refused(&blocks[2]);
    let mut orphan = blocks[1].clone();
    orphan.meta.parent = BlockHash(B256::repeat_byte(7));
    refused(&orphan);
    assert_holds(store, &blocks[..1]);
    store.append(&blocks[1]).expect("a refusal does not stop the store");
    store.append(&blocks[2]).expect("append");
    assert_holds(store, &blocks);
}

fn sorts_the_index(store: &dyn Store) {
    let mut numbers = Numbers::new(3);
    let mut block = next_block(None, &mut numbers);
    block.index = (0..50).map(|position| IndexEntry { key: keccak256([position as u8]), position }).collect();
    store.append(&block).expect("append");
    block.index.sort_unstable();
    assert_holds(store, &[block]);
}

fn folds(store: &dyn Store) {
    assert!(store.snapshot().expect("snapshot").is_none());
    assert!(matches!(store.fold(Height(0)), Err(FoldError::Height(_))), "an empty store has no state");
    let blocks = chain(50, 4);
    for block in &blocks {
        store.append(block).expect("append");
    }
    assert!(matches!(store.fold(Height(50)), Err(FoldError::Height(_))), "above the head");
    for height in [0, 1, 1, 20, 48, 49, 49] {
        store.fold(Height(height)).expect("fold");
        assert_eq!(assert_snapshot(store, &blocks), Some(Height(height)));
    }
    assert!(matches!(store.fold(Height(20)), Err(FoldError::Height(_))), "below the last snapshot");
    assert_eq!(assert_snapshot(store, &blocks), Some(Height(49)));
    assert_holds(store, &blocks);
}

fn keeps_tables(store: &dyn Store) {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let row = |key, value| (bytes(key), bytes(value));
    assert_eq!(store.table_get("one", b"a").expect("table_get"), None);
    assert_eq!(store.table_range("one", b"", b"z", 9).expect("table_range"), []);
    let rows = [row("a", "1"), row("b", "2"), row("d", ""), row("c", "3")];
    let changes: Vec<_> = rows.iter().cloned().map(|(key, value)| (key, Some(value))).collect();
    store.table_write("one", &changes).expect("table_write");
    assert_eq!(store.table_get("one", b"d").expect("table_get"), Some(Bytes::new()));
    assert_eq!(store.table_get("two", b"a").expect("table_get"), None, "tables are apart");
    let range = |from: &str, to: &str, limit| {
        store.table_range("one", from.as_bytes(), to.as_bytes(), limit).expect("range")
    };
    assert_eq!(range("a", "c", 9), [row("a", "1"), row("b", "2")], "the end is excluded");
    assert_eq!(range("", "z", 9), [row("a", "1"), row("b", "2"), row("c", "3"), row("d", "")], "in order");
    assert_eq!(range("b", "z", 2), [row("b", "2"), row("c", "3")], "limited");
    assert_eq!(range("c", "b", 9), [], "a range that is none");
    let changes = [(bytes("a"), None), (bytes("b"), Some(bytes("4"))), (bytes("never"), None)];
    store.table_write("one", &changes).expect("table_write");
    assert_eq!(range("", "z", 9), [row("b", "4"), row("c", "3"), row("d", "")]);
    store.table_write("", &changes).expect_err("a table without a name");
    let long = (Bytes::from(vec![0; 1 << 20]), Some(Bytes::new()));
    store.table_write("one", &[(bytes("x"), Some(bytes("y"))), long]).expect_err("a key of a megabyte");
    assert_eq!(store.table_get("one", b"x").expect("table_get"), None, "nothing of a refused change");
}

fn forgets_only_when_it_may(open: &dyn Fn(bool) -> SharedStore) {
    let blocks = chain(40, 5);
    let fill = |store: &dyn Store| blocks.iter().for_each(|block| store.append(block).expect("append"));
    let store = open(false);
    fill(store.as_ref());
    assert!(matches!(store.truncate(Height(3)), Err(TruncateError::Forbidden)));
    assert_holds(store.as_ref(), &blocks);

    let store = open(true);
    fill(store.as_ref());
    store.fold(Height(10)).expect("fold");
    store.fold(Height(30)).expect("fold");
    store.truncate(Height(99)).expect("nothing to forget");
    store.truncate(Height(39)).expect("nothing to forget");
    assert_holds(store.as_ref(), &blocks);
    for height in [38, 20, 5] {
        store.truncate(Height(height)).expect("truncate");
        assert_holds(store.as_ref(), &blocks[..=height as usize]);
        let snapshot = assert_snapshot(store.as_ref(), &blocks);
        assert!(snapshot.is_none_or(|at| at.0 <= height), "a snapshot of what was forgotten");
    }
    // Another future is possible, at the same heights.
    let mut numbers = Numbers::new(55);
    let mut other = blocks[..=5].to_vec();
    for _ in 0..20 {
        other.push(next_block(other.last().map(|block| block.meta), &mut numbers));
        store.append(other.last().expect("a block")).expect("append");
    }
    assert_holds(store.as_ref(), &other);
    assert_eq!(
        store.locate(blocks[7].index.first().map_or(B256::ZERO, |entry| entry.key)).expect("locate"),
        None
    );
    store.fold(Height(15)).expect("fold");
    assert_eq!(assert_snapshot(store.as_ref(), &other), Some(Height(15)));
    store.truncate(Height(0)).expect("truncate");
    assert_holds(store.as_ref(), &other[..1]);
}

fn readers_see_whole_blocks(store: &SharedStore) {
    let blocks = Arc::new(chain(150, 6));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, blocks, done) = (store.clone(), blocks.clone(), done.clone());
            std::thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let Some(head) = store.head() else { continue };
                    assert!(head.height.0 >= seen, "the head went back");
                    seen = head.height.0;
                    let block = &blocks[seen as usize];
                    assert_eq!(store.block(head.height).expect("block").as_ref(), Some(block));
                    assert_eq!(store.height_of(head.hash).expect("height_of"), Some(head.height));
                    for entry in &block.index {
                        assert!(store.locate(entry.key).expect("locate").is_some());
                    }
                }
                seen
            })
        })
        .collect();
    for block in blocks.iter() {
        store.append(block).expect("append");
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().expect("a reader");
    }
    assert_holds(store.as_ref(), &blocks);
}
