//! A store that fails when it is told to, so that those above can be tested against it.

use bletchley_ledger::{
    AppendError, BlockMeta, FoldError, Location, ReadError, Section, SharedStore, SnapshotReader, Store,
    StoredBlock, TableError, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Passes everything on to another store until an append is to fail; it is poisoned from then on, as a real one.
pub struct FaultyStore {
    inner: SharedStore,
    appends_left: AtomicU64,
    poisoned: AtomicBool,
}

impl FaultyStore {
    /// A store over `inner` of which the append after `appends` successful ones fails as on a full disk.
    #[must_use]
    pub fn failing_after(inner: SharedStore, appends: u64) -> Self {
        Self { inner, appends_left: AtomicU64::new(appends), poisoned: AtomicBool::new(false) }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("appends_left", &self.appends_left).finish_non_exhaustive()
    }
}

impl Store for FaultyStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(AppendError::Poisoned);
        }
        if self.appends_left.load(Ordering::Acquire) == 0 {
            self.poisoned.store(true, Ordering::Release);
            return Err(AppendError::Io {
                height: block.meta.height,
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        self.inner.append(block)?;
        self.appends_left.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    fn head(&self) -> Option<BlockMeta> {
        self.inner.head()
    }

    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        self.inner.meta(height)
    }

    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        self.inner.section(height, section)
    }

    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError> {
        self.inner.block(height)
    }

    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        self.inner.height_of(hash)
    }

    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError> {
        self.inner.locate(key)
    }

    fn truncate(&self, height: Height) -> Result<(), TruncateError> {
        self.inner.truncate(height)
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        self.inner.snapshot()
    }

    fn fold(&self, height: Height) -> Result<(), FoldError> {
        self.inner.fold(height)
    }

    fn table_get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        self.inner.table_get(table, key)
    }

    fn table_write(&self, table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        self.inner.table_write(table, changes)
    }

    fn table_range(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        self.inner.table_range(table, from, to, limit)
    }
}
