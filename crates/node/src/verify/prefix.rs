//! A store that shows only the blocks replayed so far of a copy that is never written to.

use bletchley_ledger::{
    AppendError, BlockMeta, FoldError, Location, ReadError, Section, SharedStore, SnapshotReader, Store,
    StoredBlock, TableError, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use parking_lot::Mutex;

/// Reads through to `inner` up to a head that moves with [`Store::append`]; writes nothing.
pub(crate) struct PrefixStore {
    inner: SharedStore,
    head: Mutex<Option<BlockMeta>>,
}

impl PrefixStore {
    /// Nothing is visible yet.
    pub(crate) const fn new(inner: SharedStore) -> Self {
        Self { inner, head: Mutex::new(None) }
    }

    fn visible(&self, height: Height) -> bool {
        self.head.lock().is_some_and(|head| height <= head.height)
    }
}

impl Store for PrefixStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        let mut head = self.head.lock();
        let next = head.map_or(Height(0), |head| head.height.next());
        let follows = head.is_none_or(|head| head.hash == block.meta.parent);
        if block.meta.height != next || !follows {
            let head = head.map_or_else(|| "nothing".to_owned(), |head| head.height.to_string());
            return Err(AppendError::NotNext { head, offered: block.meta.height });
        }
        let given = block.meta.height != Height(0)
            || matches!(self.inner.block(Height(0)), Ok(Some(kept)) if kept == *block);
        if !given {
            let head =
                "nothing: the folder's block 0 is not the one that this genesis document makes".to_owned();
            return Err(AppendError::NotNext { head, offered: block.meta.height });
        }
        *head = Some(block.meta);
        Ok(())
    }

    fn head(&self) -> Option<BlockMeta> {
        *self.head.lock()
    }

    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        if self.visible(height) { self.inner.meta(height) } else { Ok(None) }
    }

    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        if self.visible(height) { self.inner.section(height, section) } else { Ok(None) }
    }

    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError> {
        if self.visible(height) { self.inner.block(height) } else { Ok(None) }
    }

    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        Ok(self.inner.height_of(hash)?.filter(|height| self.visible(*height)))
    }

    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError> {
        Ok(self.inner.locate(key)?.filter(|location| self.visible(location.height)))
    }

    fn truncate(&self, _height: Height) -> Result<(), TruncateError> {
        Err(TruncateError::Forbidden)
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        Ok(None)
    }

    fn fold(&self, height: Height) -> Result<(), FoldError> {
        Err(FoldError::Height(height))
    }

    fn table_get(&self, _table: &str, _key: &[u8]) -> Result<Option<Bytes>, TableError> {
        Ok(None)
    }

    fn table_write(&self, _table: &str, _changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        Ok(()) // a copy under verification keeps nothing
    }

    fn table_range(&self, _: &str, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        Ok(Vec::new())
    }
}
