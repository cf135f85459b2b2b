//! The file operations that the store needs, behind a trait so that tests can cut them at any point.

use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file whose lock says that a process uses the folder.
const LOCK_FILE: &str = "lock";

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Existing, only to be read.
    Read,
    /// Existing, to be read and written.
    Write,
    /// Created empty; what was there is gone.
    Create,
}

/// Held while a process uses a data folder; dropping it lets the next one in.
pub type FolderLock = Box<dyn Any + Send + Sync>;

/// One data folder. Paths are relative to it and use `/`.
///
/// A change of names (create, rename, remove) is durable after [`Disk::sync_folder`] of its folder, and bytes of a file
/// after [`DiskFile::sync`]; until then a crash may keep or lose any part of either.
pub trait Disk: Debug + Send + Sync + 'static {
    /// The folder as errors and reports name it.
    fn name(&self) -> String;

    /// Creates a folder and those above it; no error when it is there.
    ///
    /// # Errors
    /// What the operating system said.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    /// Names of the files in a folder, unordered; none when there is no such folder.
    ///
    /// # Errors
    /// What the operating system said.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the operating system said.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file over another in the same folder, in one step.
    ///
    /// # Errors
    /// What the operating system said.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system said.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the operating system said.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Takes the folder for this process; none when another one has it.
    ///
    /// # Errors
    /// What the operating system said.
    fn lock(&self) -> io::Result<Option<FolderLock>>;

    /// A number that nobody outside can foresee.
    fn unforeseeable(&self) -> u64;
}

/// One open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Size now.
    ///
    /// # Errors
    /// What the operating system said.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `into` from `offset`; an error when the file ends before.
    ///
    /// # Errors
    /// What the operating system said.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system said; any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// What the operating system said.
    fn set_size(&self, size_bytes: u64) -> io::Result<()>;

    /// Makes the bytes and the size durable (fdatasync).
    ///
    /// # Errors
    /// What the operating system said; nothing written since the last success is certain then.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct FolderDisk {
    root: PathBuf,
}

impl FolderDisk {
    /// The data folder at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_path_buf() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for FolderDisk {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(folder))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::Write => {
                options.write(true);
            }
            Mode::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(FolderFile(options.open(self.path(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn lock(&self) -> io::Result<Option<FolderLock>> {
        let path = self.path(LOCK_FILE);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn unforeseeable(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // The standard library seeds each process's hash maps from the operating system's randomness.
        std::hash::RandomState::new().build_hasher().finish()
    }
}

#[derive(Debug)]
struct FolderFile(File);

impl DiskFile for FolderFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.0.set_len(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
