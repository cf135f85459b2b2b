//! The Store seam: append a block with its diff, read it back, keep sorted snapshots and small tables.

use crate::{BlockMeta, Section, StoredBlock};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use std::sync::Arc;

/// Why a block was not appended. Nothing of it is visible then.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The block does not continue the head.
    #[error(
        "block {offered} cannot follow the head at {head}: it must be the next height and name the head's hash as its parent"
    )]
    NotNext {
        /// Height of the head, or none.
        head: String,
        /// Height that was offered.
        offered: Height,
    },
    /// The block is larger than a record may be.
    #[error("a block of {size_bytes} bytes exceeds the {size_bytes_max} of one record")]
    TooLarge {
        /// Size offered.
        size_bytes: u64,
        /// Largest record.
        size_bytes_max: u64,
    },
    /// An earlier append failed; what is on disk is only known after reopening.
    #[error("the store stopped after a failed write; free space or repair the disk, then restart")]
    Poisoned,
    /// The operating system refused.
    #[error("writing block {height}: {source}; check space and permissions of the data folder")]
    Io {
        /// Height of the block.
        height: Height,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("reading the ledger's data: {0}")]
    Io(#[from] std::io::Error),
    /// Bytes on disk are not what was written.
    #[error("{place} is damaged: {problem}; restore this data folder from another member's copy")]
    Damaged {
        /// Where: height and section, file and offset.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why a small table could not be used.
#[derive(Debug, thiserror::Error)]
#[error("table {table}: {problem}")]
pub struct TableError {
    /// Name of the table.
    pub table: String,
    /// What went wrong.
    pub problem: String,
}

/// Why blocks were not removed.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// Only development ledgers may forget.
    #[error("this ledger keeps every block; only a development ledger can be rewound")]
    Forbidden,
    /// The data could not be changed or read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why no snapshot was made; the older one still stands.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The height lies above the head or below the last snapshot.
    #[error("no snapshot can be made at height {0}")]
    Height(Height),
    /// Reading the last snapshot or the diffs failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error("writing a snapshot: {0}")]
    Io(std::io::Error),
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its block.
    pub height: Height,
    /// Its position there.
    pub position: u32,
}

/// A sorted snapshot of the state after `height`.
pub trait SnapshotReader: Send {
    /// The height whose state this is.
    fn height(&self) -> Height;
    /// Number of entries.
    fn len(&self) -> u64;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Calls `each` for every entry in ascending order of keys.
    ///
    /// # Errors
    /// [`ReadError`] when the snapshot cannot be read or is damaged; entries seen until then must be discarded.
    fn for_each(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ReadError>;
}

/// Keeps one ledger's blocks, for ever, and what is needed to come back quickly.
///
/// Invariants, checked by the conformance suite in `bletchley-storage`:
/// - `append` returns only when the block is durable, and makes all of it visible at once or none of it;
/// - after a crash at any instant, reopening gives exactly the blocks whose `append` returned, plus at most the one
///   that was being appended;
/// - heights are contiguous from the genesis block, and each block names its predecessor's hash;
/// - readers never block the writer, and see a block only after it is durable.
pub trait Store: Send + Sync + 'static {
    /// Appends the next block; durable on return. A failed write poisons the store until it is reopened.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the block is visible then.
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError>;

    /// Appends the next block, visible on return and durable only after [`Store::settle`]: for a node that catches up,
    /// before it serves anybody. A crash until then may take the blocks since the last `settle`, from the end.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the block is visible then.
    fn append_loose(&self, block: &StoredBlock) -> Result<(), AppendError> {
        self.append(block)
    }

    /// Makes every block durable that [`Store::append_loose`] made visible.
    ///
    /// # Errors
    /// [`AppendError`]; the store is poisoned then.
    fn settle(&self) -> Result<(), AppendError> {
        Ok(())
    }

    /// The last durable block.
    fn head(&self) -> Option<BlockMeta>;

    /// Where the block at `height` stands, none above the head.
    ///
    /// # Errors
    /// [`ReadError`].
    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError>;

    /// One section of a block, its checksum verified.
    ///
    /// # Errors
    /// [`ReadError`].
    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError>;

    /// A whole block, its checksums verified.
    ///
    /// # Errors
    /// [`ReadError`].
    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError>;

    /// Height of the block with this hash.
    ///
    /// # Errors
    /// [`ReadError`].
    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError>;

    /// Where the transaction with this hash is.
    ///
    /// # Errors
    /// [`ReadError`].
    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError>;

    /// Forgets every block above `height`; development ledgers only.
    ///
    /// # Errors
    /// [`TruncateError`].
    fn truncate(&self, height: Height) -> Result<(), TruncateError>;

    /// The newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError>;

    /// Merges the last snapshot and the diffs up to `height` into a new snapshot, file to file, beside appends.
    ///
    /// # Errors
    /// [`FoldError`]; the last snapshot stands then.
    fn fold(&self, height: Height) -> Result<(), FoldError>;

    /// A value of a small table.
    ///
    /// # Errors
    /// [`TableError`].
    fn table_get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, TableError>;

    /// Changes a small table atomically and durably; `None` deletes.
    ///
    /// # Errors
    /// [`TableError`]; nothing is changed then.
    fn table_write(&self, table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError>;

    /// Entries of a small table with `from <= key < to`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`TableError`].
    fn table_range(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError>;
}

/// A store that several parts of a node share.
pub type SharedStore = Arc<dyn Store>;
