//! The bytes on disk stay what crates/storage/DESIGN.md says, and any block comes back as it went in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bletchley_ledger::{Block, BlockMeta, DiffWriter, IndexEntry, Store, StoredBlock};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs, keccak256};
use bletchley_storage::conformance::{assert_holds, assert_snapshot, chain};
use bletchley_storage::{MemoryStore, Options, SegmentStore, SimulatedDisk};
use proptest::prelude::*;
use std::sync::Arc;

fn options() -> Options {
    Options { rewindable: true, segment_size_bytes: 2500, fold_size_bytes: 300, ..Options::default() }
}

fn open(disk: &SimulatedDisk) -> SegmentStore {
    SegmentStore::open_on(Arc::new(disk.clone()), options()).unwrap()
}

/// A change of any of these is a change of the format: it needs a new version and an ADR.
#[test]
fn the_bytes_are_as_they_were() {
    let disk = SimulatedDisk::new(1);
    let store = open(&disk);
    chain(12, 1).iter().for_each(|block| store.append(block).unwrap());
    store.fold(Height(11)).unwrap();
    drop(store);
    let digest = |name: &str| keccak256(disk.bytes(name).unwrap()).to_string();
    let names = disk.files();
    let segment = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    let index = names.iter().find(|name| name.ends_with(".idx")).unwrap();
    let snapshot = names.iter().rfind(|name| name.ends_with(".snap")).unwrap();
    assert_eq!(digest(segment), "0x9fe8d294d823d67b7869957cbdde535643a0c0a6676e9e618e1e805e5f1df7ee");
    assert_eq!(digest(index), "0x0c78070ac6f36d61f6871738a1c36e27e5b455191d2d63b200016e00368b5137");
    assert_eq!(digest(snapshot), "0xbd0ad87fef737c429dee86d3f870a241bba16e5b46bf72ed4a2cc0c25ed22585");
}

#[test]
fn a_segment_reads_as_the_design_says() {
    let disk = SimulatedDisk::new(1);
    let block = StoredBlock {
        meta: BlockMeta {
            height: Height(0),
            hash: BlockHash(B256::repeat_byte(0xaa)),
            parent: BlockHash::default(),
            time_ms: TimestampMs(0x0102),
        },
        block: Block { header: vec![1; 3].into(), body: vec![2; 4].into(), extension: Bytes::new() },
        receipts: vec![4].into(),
        diff: Bytes::new(),
        certificate: vec![6; 2].into(),
        index: vec![IndexEntry { key: B256::repeat_byte(9), position: 7 }],
    };
    let store = open(&disk);
    store.append(&block).unwrap();
    drop(store);
    let bytes = disk.bytes("segments/00000000000000000000.seg").unwrap();
    let record = &bytes[44..];
    let crc = |bytes: &[u8]| crc32c::crc32c(bytes).to_be_bytes();
    assert_eq!(bytes[..12], *b"BLTCHSEG\0\0\0\x01");
    assert_eq!(bytes[28..32], crc(&bytes[..28]));
    assert_eq!(
        bytes[32..40],
        (bytes.len() as u64).to_be_bytes(),
        "the mark covers all after an orderly stop"
    );
    assert_eq!(bytes[40..44], crc(&[&bytes[20..28], &bytes[32..40]].concat()));
    assert_eq!(record[..8], *b"BLKr\0\0\0\x01");
    assert_eq!(record[8..16], bytes[20..28], "the salt");
    assert_eq!(record[24..32], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(record[32..64], [0xaa; 32]);
    let sizes: Vec<u8> = record[96..124].iter().copied().filter(|byte| *byte > 0).collect();
    assert_eq!(sizes, [3, 4, 1, 2, 1]);
    assert_eq!(record[124..128], crc(&record[..124]));
    let entry = [&[9; 32][..], &[0, 0, 0, 7]].concat();
    let mut expected = Vec::new();
    for part in [&[1; 3][..], &[2; 4], &[], &[4], &[], &[6; 2], &entry] {
        expected.extend_from_slice(part);
        expected.extend_from_slice(&crc(part));
    }
    assert_eq!(record[128..], expected);
}

#[derive(Clone, Debug)]
enum Step {
    Append(Box<StoredBlock>),
    Fold(u64),
    Truncate(u64),
    Reopen,
}

fn block() -> impl Strategy<Value = StoredBlock> {
    let bytes = |most: usize| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
    let keys = proptest::collection::btree_set(any::<[u8; 32]>(), 0..12);
    let diff = proptest::collection::vec(
        (any::<u8>(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))),
        0..8,
    );
    let sections = (bytes(300), bytes(900), bytes(50), bytes(200), bytes(60));
    (any::<[u8; 32]>(), any::<u64>(), sections, keys, diff).prop_map(
        |(hash, time_ms, sections, keys, changes)| {
            let mut diff = DiffWriter::default();
            for (key, value) in changes {
                match value {
                    Some(value) => diff.put(&[key], &value),
                    None => diff.delete(&[key]),
                }
            }
            let (header, body, extension, receipts, certificate) = sections;
            StoredBlock {
                meta: BlockMeta {
                    height: Height(0),
                    hash: BlockHash(hash.into()),
                    parent: BlockHash::default(),
                    time_ms: TimestampMs(time_ms),
                },
                block: Block { header, body, extension },
                receipts,
                diff: diff.finish(),
                certificate,
                index: keys
                    .into_iter()
                    .zip(0..)
                    .map(|(key, position)| IndexEntry { key: key.into(), position })
                    .collect(),
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => block().prop_map(|block| Step::Append(Box::new(block))),
        1 => any::<u64>().prop_map(Step::Fold),
        1 => any::<u64>().prop_map(Step::Truncate),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn segments_do_what_memory_does(steps in proptest::collection::vec(step(), 1..40), seed in any::<u64>()) {
        let disk = SimulatedDisk::new(seed);
        let (mut store, memory) = (open(&disk), MemoryStore::rewindable());
        let mut blocks: Vec<StoredBlock> = Vec::new();
        for step in steps {
            let count = blocks.len() as u64;
            match step {
                Step::Append(mut block) => {
                    block.meta.height = Height(count);
                    block.meta.parent = blocks.last().map_or(BlockHash::default(), |last| last.meta.hash);
                    store.append(&block).unwrap();
                    memory.append(&block).unwrap();
                    blocks.push(*block);
                }
                Step::Fold(at) => {
                    let at = Height(at % (count + 1));
                    prop_assert_eq!(store.fold(at).is_ok(), memory.fold(at).is_ok());
                }
                Step::Truncate(at) if count > 0 => {
                    let at = Height(at % count);
                    store.truncate(at).unwrap();
                    memory.truncate(at).unwrap();
                    blocks.truncate(at.0 as usize + 1);
                    // One keeps an older snapshot to fall back to, the other does not.
                    let head = Height(blocks.len() as u64 - 1);
                    store.fold(head).unwrap();
                    memory.fold(head).unwrap();
                }
                Step::Truncate(_) => {}
                Step::Reopen => {
                    drop(store);
                    store = open(&disk);
                }
            }
            prop_assert_eq!(store.head(), memory.head());
        }
        assert_holds(&memory, &blocks);
        assert_holds(&store, &blocks);
        let height = assert_snapshot(&store, &blocks);
        prop_assert_eq!(height, assert_snapshot(&memory, &blocks));
        drop(store);
        disk.cut_power();
        assert_holds(&open(&disk), &blocks);
    }
}
