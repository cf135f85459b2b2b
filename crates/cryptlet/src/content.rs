//! The Content seam: bytes by their SHA-256. The registry names digests only; where the bytes live is decided here.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use alloy_primitives::{B256, Bytes};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

/// Longest content that is kept: above the largest component and the largest evidence.
pub const CONTENT_SIZE_BYTES_MAX: usize = 64 << 20;
/// Folder, inside the store's, where a file is written before it gets its name.
const STAGING: &str = "staging";

/// SHA-256 of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub B256);

impl ContentId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(B256::from_slice(&Sha256::digest(bytes)))
    }
}

impl std::fmt::Display for ContentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// When `put` may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the bytes survive a power failure: what a ledger names.
    Durable,
    /// When readers see them: evidence that can be made again.
    Relaxed,
}

/// Why content was not kept or not found.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Longer than [`CONTENT_SIZE_BYTES_MAX`].
    #[error("content of {0} bytes is not kept, {CONTENT_SIZE_BYTES_MAX} are the most")]
    TooLong(u64),
    /// The operating system refused.
    #[error("{action} content {id} in {folder}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which content.
        id: ContentId,
        /// Folder of the store.
        folder: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The bytes under this name are not what was put there.
    #[error("content {id} in {folder} is damaged; remove the file and fetch it again from another member")]
    Damaged {
        /// Which content.
        id: ContentId,
        /// Folder of the store.
        folder: String,
    },
}

/// Keeps bytes by their digest.
///
/// Invariants: `get` gives the bytes whose digest was asked for or nothing; a reader never sees half a `put`; putting
/// the same bytes again changes nothing.
pub trait Content: Send + Sync {
    /// Keeps these bytes.
    ///
    /// # Errors
    /// [`ContentError`]; nothing is kept then.
    fn put(&self, bytes: &[u8], durability: Durability) -> Result<ContentId, ContentError>;

    /// The bytes with this digest, if they are here.
    ///
    /// # Errors
    /// [`ContentError`].
    fn get(&self, id: ContentId) -> Result<Option<Bytes>, ContentError>;

    /// Whether there are bytes under this name, undamaged or not.
    fn holds(&self, id: ContentId) -> bool {
        matches!(self.get(id), Ok(Some(_)))
    }
}

/// Content in files under one folder, two hexadecimal digits to a subfolder.
#[derive(Debug)]
pub struct FolderContent {
    folder: PathBuf,
    writable: bool,
    staged: AtomicU64,
}

impl FolderContent {
    /// A store in this folder, which is made if it is not there. What an interrupted `put` left is removed.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let staging = folder.join(STAGING);
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        fs::create_dir_all(&staging)?;
        Ok(Self { folder: folder.to_owned(), writable: true, staged: AtomicU64::new(0) })
    }

    /// The store in this folder, to look at: nothing is made, removed or put there.
    #[must_use]
    pub fn read_only(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), writable: false, staged: AtomicU64::new(0) }
    }

    fn path(&self, id: ContentId) -> PathBuf {
        let digits = hex::encode(id.0);
        let (shelf, rest) = digits.split_at_checked(2).unwrap_or(("", &digits));
        self.folder.join(shelf).join(rest)
    }

    fn io(&self, action: &'static str, id: ContentId) -> impl FnOnce(io::Error) -> ContentError + use<> {
        let folder = self.folder.display().to_string();
        move |source| ContentError::Io { action, id, folder, source }
    }

    fn has(&self, id: ContentId, size_bytes: usize, durability: Durability) -> bool {
        match durability {
            Durability::Durable => matches!(self.get(id), Ok(Some(_))),
            Durability::Relaxed => {
                fs::metadata(self.path(id)).is_ok_and(|found| found.len() == size_bytes as u64)
            }
        }
    }

    fn write(&self, staged: &Path, target: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
        let shelf = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = match fs::File::create_new(staged) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.folder.join(STAGING))?;
                fs::File::create_new(staged)?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        drop(file);
        if let Err(error) = fs::rename(staged, target) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(shelf)?;
            fs::rename(staged, target)?;
        }
        if durability == Durability::Durable {
            fs::File::open(shelf)?.sync_all()?;
            fs::File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Content for FolderContent {
    fn put(&self, bytes: &[u8], durability: Durability) -> Result<ContentId, ContentError> {
        if bytes.len() > CONTENT_SIZE_BYTES_MAX {
            return Err(ContentError::TooLong(bytes.len() as u64));
        }
        let id = ContentId::of(bytes);
        if self.has(id, bytes.len(), durability) {
            return Ok(id);
        }
        if !self.writable {
            return Err(self.io("writing", id)(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = self.folder.join(STAGING).join(format!("{}-{number}", std::process::id()));
        let written = self.write(&staged, &self.path(id), bytes, durability);
        if written.is_err() {
            // The error that matters is the first; what cannot be removed now goes at the next `open`.
            let _ = fs::remove_file(&staged);
        }
        written.map_err(self.io("writing", id))?;
        Ok(id)
    }

    fn get(&self, id: ContentId) -> Result<Option<Bytes>, ContentError> {
        let file = match fs::File::open(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(self.io("opening", id))?,
        };
        let mut bytes = Vec::new();
        file.take(CONTENT_SIZE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(self.io("reading", id))?;
        if ContentId::of(&bytes) == id {
            Ok(Some(bytes.into()))
        } else {
            Err(ContentError::Damaged { id, folder: self.folder.display().to_string() })
        }
    }

    fn holds(&self, id: ContentId) -> bool {
        self.path(id).exists()
    }
}

/// Content in memory, for tests and nodes that keep nothing.
#[derive(Debug, Default)]
pub struct MemoryContent(RwLock<BTreeMap<ContentId, Bytes>>);

impl Content for MemoryContent {
    fn put(&self, bytes: &[u8], _durability: Durability) -> Result<ContentId, ContentError> {
        if bytes.len() > CONTENT_SIZE_BYTES_MAX {
            return Err(ContentError::TooLong(bytes.len() as u64));
        }
        let id = ContentId::of(bytes);
        self.0.write().entry(id).or_insert_with(|| Bytes::copy_from_slice(bytes));
        Ok(id)
    }

    fn get(&self, id: ContentId) -> Result<Option<Bytes>, ContentError> {
        Ok(self.0.read().get(&id).cloned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn both() -> (tempfile::TempDir, Vec<Box<dyn Content>>) {
        let folder = tempfile::tempdir().unwrap();
        let stores: Vec<Box<dyn Content>> =
            vec![Box::new(FolderContent::open(folder.path()).unwrap()), Box::<MemoryContent>::default()];
        (folder, stores)
    }

    #[test]
    fn what_was_put_is_found_by_its_digest() {
        let (_folder, stores) = both();
        for store in stores {
            for durability in [Durability::Durable, Durability::Relaxed] {
                let id = store.put(b"abc", durability).unwrap();
                assert_eq!(
                    hex::encode(id.0),
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                );
                assert_eq!(store.get(id).unwrap().unwrap(), Bytes::from_static(b"abc"));
            }
            assert_eq!(store.get(ContentId::of(b"other")).unwrap(), None);
            assert!(matches!(
                store.put(&vec![0; CONTENT_SIZE_BYTES_MAX + 1], Durability::Relaxed),
                Err(ContentError::TooLong(_))
            ));
        }
    }

    #[test]
    fn damage_is_found_on_reading_and_repaired_by_putting_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderContent::open(folder.path()).unwrap();
        let id = store.put(b"component", Durability::Durable).unwrap();
        fs::write(store.path(id), b"componenT").unwrap();
        assert!(matches!(store.get(id), Err(ContentError::Damaged { .. })));
        store.put(b"component", Durability::Durable).unwrap();
        assert_eq!(store.get(id).unwrap().unwrap(), Bytes::from_static(b"component"));
    }

    #[test]
    fn looking_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let id = FolderContent::open(folder.path()).unwrap().put(b"abc", Durability::Durable).unwrap();
        fs::remove_dir(folder.path().join(STAGING)).unwrap();
        let store = FolderContent::read_only(folder.path());
        assert_eq!(store.get(id).unwrap().unwrap(), Bytes::from_static(b"abc"));
        assert_eq!(store.put(b"abc", Durability::Relaxed).unwrap(), id);
        assert!(matches!(store.put(b"new", Durability::Relaxed), Err(ContentError::Io { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_interrupted_put_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderContent::open(folder.path()).unwrap();
        fs::write(folder.path().join(STAGING).join("1-0"), b"half").unwrap();
        drop(store);
        let store = FolderContent::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(STAGING)).unwrap().count(), 0);
        assert_eq!(store.get(ContentId::of(b"half")).unwrap(), None);
    }
}
