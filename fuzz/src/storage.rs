//! The segment file of a data folder, as damage or a stranger could leave it.

use crate::Verdict;
use bletchley_ledger::{Block, BlockMeta, IndexEntry, Store, StoredBlock};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};
use bletchley_storage::{Options, SegmentStore, SimulatedDisk, inspect_on};
use std::sync::{Arc, LazyLock};

const BLOCKS: u64 = 3;
const SEGMENT: &str = ".seg";
/// The segment's own header and that of its first record end with checksums here (crates/storage/DESIGN.md).
const CHECKED: &[std::ops::Range<usize>] = &[0..28, 44..168];

/// The first byte of the input says which checksums are made right again, so that what stands behind them is read too.
pub(crate) mod segment {
    use super::*;

    static SEGMENT_FILE: LazyLock<(String, Vec<u8>)> = LazyLock::new(|| {
        let disk = SimulatedDisk::new(1);
        let store = SegmentStore::open_on(Arc::new(disk.clone()), Options::default()).unwrap();
        (0..BLOCKS).for_each(|height| store.append(&stored(height)).unwrap());
        drop(store);
        let path = disk.files().into_iter().find(|path| path.ends_with(SEGMENT)).unwrap();
        let bytes = disk.bytes(&path).unwrap();
        (path, bytes)
    });

    fn hash(height: u64) -> BlockHash {
        BlockHash(B256::with_last_byte(u8::try_from(height + 1).unwrap()))
    }

    fn stored(height: u64) -> StoredBlock {
        let meta = BlockMeta {
            height: Height(height),
            hash: hash(height),
            parent: height.checked_sub(1).map(hash).unwrap_or_default(),
            time_ms: TimestampMs(1_000 + height),
        };
        let block = Block {
            header: Bytes::from_static(b"header"),
            body: vec![7; 100].into(),
            extension: Bytes::from_static(b"extension"),
        };
        let entry = |position: u8| IndexEntry { key: B256::repeat_byte(position), position: position.into() };
        StoredBlock {
            meta,
            block,
            receipts: Bytes::from_static(b"receipts"),
            diff: Bytes::from_static(b"\x01a\x02b"),
            certificate: Bytes::new(),
            index: vec![entry(1), entry(2)],
        }
    }

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some((repaired, segment)) = bytes.split_first() else { return Verdict::Refused };
        let mut segment = segment.to_vec();
        for (nth, range) in CHECKED.iter().enumerate() {
            if repaired & (1 << nth) != 0
                && let Some(content) = segment.get(range.clone())
            {
                let checksum = crc32c::crc32c(content).to_be_bytes();
                if let Some(place) = segment.get_mut(range.end..range.end + checksum.len()) {
                    place.copy_from_slice(&checksum);
                }
            }
        }
        let items_max = segment.len() + 8;
        let disk = Arc::new(SimulatedDisk::new(1));
        disk.replace(&SEGMENT_FILE.0, segment);
        let mut damages = 0;
        for (nth, item) in inspect_on(disk.clone()).unwrap().enumerate() {
            assert!(nth < items_max, "more blocks and damages than bytes");
            damages += usize::from(item.is_err());
        }
        let opened = SegmentStore::open_on(disk, Options::read_only());
        if let Ok(store) = &opened
            && let Some(head) = store.head()
        {
            for height in 0..=head.height.0.min(BLOCKS) {
                let _ = store.block(Height(height));
            }
            assert!(
                store.block(head.height).map_or(true, |block| block.is_some()),
                "a head without its block"
            );
        }
        Verdict::of(opened.is_ok() && damages == 0)
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        (0..4).map(|repaired| [&[repaired], &SEGMENT_FILE.1[..]].concat()).collect()
    }
}
