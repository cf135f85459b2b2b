//! A store that keeps nothing beyond its life, with the same semantics: for tests and for replay.

use crate::record::RECORD_SIZE_BYTES_MAX;
use crate::tables::check_changes;
use bletchley_ledger::{
    AppendError, BlockMeta, DiffReader, FoldError, Location, ReadError, Section, SnapshotReader, Store,
    StoredBlock, TableError, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rewindable: bool,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: Vec<StoredBlock>,
    hashes: FxHashMap<BlockHash, Height>,
    keys: FxHashMap<B256, Location>,
    snapshot: Option<Snapshot>,
    tables: BTreeMap<String, BTreeMap<Bytes, Bytes>>,
}

#[derive(Debug, Clone)]
struct Snapshot {
    height: Height,
    entries: Arc<BTreeMap<Bytes, Bytes>>,
}

impl MemoryStore {
    /// An empty store that keeps every block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store of a development ledger, which may forget blocks.
    #[must_use]
    pub fn rewindable() -> Self {
        Self { rewindable: true, ..Self::default() }
    }
}

impl State {
    fn head(&self) -> Option<BlockMeta> {
        self.blocks.last().map(|block| block.meta)
    }

    fn block(&self, height: Height) -> Option<&StoredBlock> {
        self.blocks.get(usize::try_from(height.0).ok()?)
    }
}

/// Whether `offered` may follow `head`.
pub(crate) fn check_next(head: Option<BlockMeta>, offered: &BlockMeta) -> Result<(), AppendError> {
    let fits = match head {
        Some(head) => offered.height.0 == head.height.0.wrapping_add(1) && offered.parent == head.hash,
        None => offered.height == Height(0) && offered.parent == BlockHash::default(),
    };
    if fits {
        return Ok(());
    }
    let head = head.map_or_else(
        || "none (an empty ledger)".to_owned(),
        |head| format!("{} ({})", head.height, head.hash),
    );
    Err(AppendError::NotNext { head, offered: offered.height })
}

/// Size of a block's parts.
pub(crate) fn content_size(block: &StoredBlock) -> u64 {
    let sections: u64 = Section::ALL.iter().map(|section| block.section(*section).len() as u64).sum();
    sections + block.index.len() as u64 * crate::record::ENTRY_SIZE as u64
}

impl Store for MemoryStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        let mut state = self.state.write();
        check_next(state.head(), &block.meta)?;
        let size_bytes = content_size(block);
        if size_bytes > RECORD_SIZE_BYTES_MAX {
            return Err(AppendError::TooLarge { size_bytes, size_bytes_max: RECORD_SIZE_BYTES_MAX });
        }
        let mut block = block.clone();
        block.index.sort_unstable();
        let height = block.meta.height;
        state.hashes.insert(block.meta.hash, height);
        for entry in &block.index {
            state.keys.insert(entry.key, Location { height, position: entry.position });
        }
        state.blocks.push(block);
        Ok(())
    }

    fn head(&self) -> Option<BlockMeta> {
        self.state.read().head()
    }

    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        Ok(self.state.read().block(height).map(|block| block.meta))
    }

    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        Ok(self.state.read().block(height).map(|block| block.section(section).clone()))
    }

    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError> {
        Ok(self.state.read().block(height).cloned())
    }

    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        Ok(self.state.read().hashes.get(&hash).copied())
    }

    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError> {
        Ok(self.state.read().keys.get(&key).copied())
    }

    fn truncate(&self, height: Height) -> Result<(), TruncateError> {
        if !self.rewindable {
            return Err(TruncateError::Forbidden);
        }
        let mut state = self.state.write();
        let state = &mut *state;
        let keep = usize::try_from(height.0).unwrap_or(usize::MAX).saturating_add(1).min(state.blocks.len());
        state.blocks.truncate(keep);
        state.hashes.retain(|_, at| *at <= height);
        state.keys.retain(|_, at| at.height <= height);
        state.snapshot.take_if(|snapshot| snapshot.height > height);
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        let snapshot = self.state.read().snapshot.clone();
        Ok(snapshot.map(|snapshot| Box::new(snapshot) as Box<dyn SnapshotReader>))
    }

    fn fold(&self, height: Height) -> Result<(), FoldError> {
        let (mut entries, diffs) = {
            let state = self.state.read();
            let last = state.snapshot.as_ref();
            let above_head = state.head().is_none_or(|head| height > head.height);
            if above_head || last.is_some_and(|last| height < last.height) {
                return Err(FoldError::Height(height));
            }
            let from = last.map_or(0, |last| last.height.0 + 1);
            let diffs: Vec<_> = (from..=height.0)
                .filter_map(|h| state.block(Height(h)).map(|b| (h, b.diff.clone())))
                .collect();
            (last.map(|last| BTreeMap::clone(&last.entries)).unwrap_or_default(), diffs)
        };
        for (at, diff) in diffs {
            let damaged = |problem: bletchley_ledger::DiffError| ReadError::Damaged {
                place: format!("block {at}, diff (memory)"),
                problem: problem.to_string(),
            };
            for change in DiffReader::new(&diff).map_err(damaged)? {
                match change.map_err(damaged)? {
                    (key, Some(value)) => {
                        entries.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                    }
                    (key, None) => {
                        entries.remove(key);
                    }
                }
            }
        }
        let mut state = self.state.write();
        // Blocks may have been forgotten meanwhile, on a development ledger.
        if state.head().is_none_or(|head| height > head.height) {
            return Err(FoldError::Height(height));
        }
        state.snapshot = Some(Snapshot { height, entries: Arc::new(entries) });
        Ok(())
    }

    fn table_get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        check_changes(table, &[])?;
        Ok(self.state.read().tables.get(table).and_then(|rows| rows.get(key).cloned()))
    }

    fn table_write(&self, table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        check_changes(table, changes)?;
        let mut state = self.state.write();
        let rows = state.tables.entry(table.to_owned()).or_default();
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn table_range(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        check_changes(table, &[])?;
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.state.read();
        let Some(rows) = state.tables.get(table) else { return Ok(Vec::new()) };
        let range = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl SnapshotReader for Snapshot {
    fn height(&self) -> Height {
        self.height
    }

    fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    fn for_each(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ReadError> {
        self.entries.iter().for_each(|(key, value)| each(key, value));
        Ok(())
    }
}
