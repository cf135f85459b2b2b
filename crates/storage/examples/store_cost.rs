//! What the segment log costs on this machine: `cargo run -p bletchley-storage --example store_cost -- FOLDER [BLOCKS]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing)] // a program that prints figures for people

use bletchley_ledger::{Block, BlockMeta, DiffWriter, IndexEntry, Section, Store, StoredBlock};
use bletchley_primitives::{BlockHash, Bytes, Height, TimestampMs, keccak256};
use bletchley_storage::conformance::Numbers;
use bletchley_storage::{Options, SegmentStore, inspect};
use std::time::Instant;

const TRANSACTIONS: u32 = 10_000;
const ACCOUNTS: u64 = 1_000_000;

fn cpu_us() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3
}

fn timed<T>(name: &str, count: f64, unit: &str, work: impl FnOnce() -> T) -> T {
    let (cpu, wall) = (cpu_us(), Instant::now());
    let result = work();
    let (cpu, wall) = (cpu_us() - cpu, wall.elapsed().as_secs_f64() * 1e6);
    println!("{name:44} {:10.2} us CPU {:10.2} us wall per {unit}", cpu / count, wall / count);
    result
}

fn bytes(numbers: &mut Numbers, count: usize) -> Bytes {
    (0..count.div_ceil(8)).flat_map(|_| numbers.next().to_le_bytes()).take(count).collect::<Vec<_>>().into()
}

/// 182 B of body, 62 B of receipt, 85 B of diff and 36 B of index per transaction.
fn block(head: Option<BlockMeta>, numbers: &mut Numbers) -> StoredBlock {
    let height = head.map_or(Height(0), |head| head.height.next());
    let mut index: Vec<_> = (0..TRANSACTIONS)
        .map(|position| IndexEntry { key: keccak256(numbers.next().to_be_bytes()), position })
        .collect();
    index.sort_unstable();
    let mut diff = DiffWriter::default();
    if height.0 == 0 {
        for account in 0..2 * ACCOUNTS {
            diff.put(keccak256(account.to_be_bytes()).as_slice(), &numbers.next().to_be_bytes().repeat(5));
        }
    }
    for _ in 0..TRANSACTIONS {
        diff.put(keccak256(numbers.below(ACCOUNTS).to_be_bytes()).as_slice(), &[7; 50]);
    }
    let count = TRANSACTIONS as usize;
    StoredBlock {
        meta: BlockMeta {
            height,
            hash: BlockHash(keccak256(height.0.to_be_bytes())),
            parent: head.map_or(BlockHash::default(), |head| head.hash),
            time_ms: TimestampMs(height.0),
        },
        block: Block {
            header: bytes(numbers, 600),
            body: bytes(numbers, 182 * count),
            extension: bytes(numbers, 60),
        },
        receipts: bytes(numbers, 62 * count),
        diff: diff.finish(),
        certificate: bytes(numbers, 100),
        index,
    }
}

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let count: usize = std::env::args().nth(2).map_or(60, |count| count.parse().unwrap());
    let mut numbers = Numbers::new(1);
    let mut blocks: Vec<StoredBlock> = Vec::new();
    for _ in 0..count {
        blocks.push(block(blocks.last().map(|block| block.meta), &mut numbers));
    }
    let store = SegmentStore::open(&folder, Options::default()).unwrap();
    timed("append the genesis block, 2M entries", 1.0, "block", || store.append(&blocks[0]).unwrap());
    let appended = (count - 1) as f64;
    timed("append, 10k transactions", appended, "block", || {
        blocks[1..].iter().for_each(|block| store.append(block).unwrap());
    });
    timed("fold 2M entries and all blocks", 1.0, "fold", || store.fold(Height(count as u64 - 1)).unwrap());
    drop(store);
    let store = timed("open", 1.0, "open", || SegmentStore::open(&folder, Options::default()).unwrap());
    let reads = 200;
    let height = |at: u64| Height(1 + at * 7919 % (count as u64 - 1));
    timed("meta", reads as f64, "block", || {
        (0..reads).for_each(|at| assert!(store.meta(height(at)).unwrap().is_some()))
    });
    timed("section: header", reads as f64, "block", || {
        (0..reads).for_each(|at| drop(store.section(height(at), Section::Header).unwrap()));
    });
    timed("section: body, 1.8 MB", reads as f64, "block", || {
        (0..reads).for_each(|at| drop(store.section(height(at), Section::Body).unwrap()));
    });
    timed("block, 3.6 MB", reads as f64, "block", || {
        (0..reads).for_each(|at| drop(store.block(height(at)).unwrap().unwrap()));
    });
    timed("locate", 10_000.0, "key", || {
        for at in 0..10_000 {
            let entry = &blocks[1 + at % (count - 1)].index[at * 31 % 10_000];
            assert_eq!(store.locate(entry.key).unwrap().unwrap().position, entry.position);
        }
    });
    timed("locate, absent", 10_000.0, "key", || {
        for at in 0..10_000u64 {
            assert_eq!(store.locate(keccak256(at.to_be_bytes())).unwrap(), None);
        }
    });
    timed("height_of", 10_000.0, "hash", || {
        for at in 0..10_000 {
            let meta = blocks[at % count].meta;
            assert_eq!(store.height_of(meta.hash).unwrap(), Some(meta.height));
        }
    });
    let mut snapshot = timed("find and verify the snapshot, 2M entries", 1.0, "snapshot", || {
        store.snapshot().unwrap().unwrap()
    });
    let mut size = 0;
    timed("read the snapshot", 1.0, "snapshot", || {
        snapshot.for_each(&mut |key, value| size += key.len() + value.len()).unwrap();
    });
    println!("{} entries, {size} bytes", snapshot.len());
    timed("inspect", count as f64, "block", || {
        assert_eq!(inspect(&folder).unwrap().flatten().count(), count)
    });
}
