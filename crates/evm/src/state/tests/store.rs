//! A store of diffs in memory.

use bletchley_ledger::{
    AppendError, BlockMeta, FoldError, Location, ReadError, Section, SnapshotReader, Store, StoredBlock,
    TableError, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
pub(super) struct DiffStore {
    diffs: Mutex<Vec<Bytes>>,
    snapshot: Mutex<Option<(Height, Arc<Entries>)>>,
}

impl DiffStore {
    pub(super) fn push(&self, diff: Bytes) {
        self.diffs.lock().push(diff);
    }

    pub(super) fn replace(&self, height: usize, diff: Bytes) {
        self.diffs.lock()[height] = diff;
    }
}

struct Snapshot(Height, Arc<Entries>);

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

fn meta(height: u64) -> BlockMeta {
    let hash = |n: u64| BlockHash(B256::with_last_byte(n as u8));
    let parent = hash(height.saturating_sub(1));
    BlockMeta { height: Height(height), hash: hash(height), parent, time_ms: TimestampMs(height) }
}

impl Store for DiffStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        self.push(block.diff.clone());
        Ok(())
    }

    fn head(&self) -> Option<BlockMeta> {
        self.diffs.lock().len().checked_sub(1).map(|height| meta(height as u64))
    }

    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        Ok(self.head().filter(|head| height <= head.height).map(|_| meta(height.0)))
    }

    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        assert_eq!(section, Section::Diff);
        Ok(self.diffs.lock().get(height.0 as usize).cloned())
    }

    fn block(&self, _: Height) -> Result<Option<StoredBlock>, ReadError> {
        Ok(None)
    }

    fn height_of(&self, _: BlockHash) -> Result<Option<Height>, ReadError> {
        Ok(None)
    }

    fn locate(&self, _: B256) -> Result<Option<Location>, ReadError> {
        Ok(None)
    }

    fn truncate(&self, height: Height) -> Result<(), TruncateError> {
        self.diffs.lock().truncate(height.0 as usize + 1);
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        let snapshot = self.snapshot.lock();
        Ok(snapshot.as_ref().map(|(height, entries)| -> Box<dyn SnapshotReader> {
            Box::new(Snapshot(*height, Arc::clone(entries)))
        }))
    }

    fn fold(&self, height: Height) -> Result<(), FoldError> {
        let mut entries = Entries::new();
        for diff in self.diffs.lock().iter().take(height.0 as usize + 1) {
            for change in bletchley_ledger::DiffReader::new(diff).unwrap() {
                let (key, value) = change.unwrap();
                match value {
                    Some(value) => entries.insert(key.to_vec(), value.to_vec()),
                    None => entries.remove(key),
                };
            }
        }
        *self.snapshot.lock() = Some((height, Arc::new(entries)));
        Ok(())
    }

    fn table_get(&self, _: &str, _: &[u8]) -> Result<Option<Bytes>, TableError> {
        Ok(None)
    }

    fn table_write(&self, _: &str, _: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        Ok(())
    }

    fn table_range(&self, _: &str, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        Ok(Vec::new())
    }
}
