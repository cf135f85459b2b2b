//! Small tables in one redb file, over the same [`Disk`] as the segments, so that crash tests reach it too.

use crate::disk::{Disk, DiskFile, Mode};
use crate::open::{UNFINISHED, write_again};
use bletchley_ledger::TableError;
use bletchley_primitives::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use std::fmt::Display;
use std::io;
use std::sync::Arc;

/// File of the tables.
pub(crate) const TABLES_FILE: &str = "tables.redb";
/// The first page of the file, with redb's header and its two commit slots.
const HEADER_SIZE: u64 = 4 << 10;
/// Memory that redb may use for pages.
const CACHE_SIZE_BYTES: usize = 8 << 20;
/// Largest file of tables that is read into memory by a store opened read-only.
const READ_ONLY_SIZE_BYTES_MAX: u64 = 1 << 30;
/// Longest name of a table.
const NAME_SIZE_MAX: usize = 64;
/// Largest key of a table.
const KEY_SIZE_BYTES_MAX: usize = 1 << 10;
/// Largest value of a table.
const VALUE_SIZE_BYTES_MAX: usize = 16 << 20;

type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Stands beside the tables after a sync of them failed: what was read back since then may be in the operating system's
/// memory only, and never reach the disk unless it is written once more.
const UNSYNCED_FILE: &str = "tables.unsynced";

#[derive(Debug)]
struct FileBackend {
    file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_size(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync();
        if synced.is_err()
            && let Err(error) = self.disk.open(UNSYNCED_FILE, Mode::Create)
        {
            tracing::warn!(%error, "tables.sync: it failed, and so did noting it; restore the folder after a power cut");
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}

/// A copy of the file: a store opened read-only repairs it there, and never touches the file.
#[derive(Debug)]
struct CopyBackend(RwLock<Vec<u8>>);

impl StorageBackend for CopyBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read();
        let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > READ_ONLY_SIZE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.write().resize(usize::try_from(len).unwrap_or_default(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write();
        let to = usize::try_from(offset).ok().and_then(|at| bytes.get_mut(at..)?.get_mut(..data.len()));
        to.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

/// The tables of one store.
#[derive(Debug)]
pub(crate) struct Tables {
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Database),
    /// Opened on first use, from a copy in memory.
    ReadOnly {
        disk: Arc<dyn Disk>,
        copy: Mutex<Option<Arc<Database>>>,
    },
}

impl Tables {
    /// Opens or creates the tables of a data folder.
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<Self, String> {
        let there = disk.list("").map_err(text)?.iter().any(|name| name == TABLES_FILE);
        if !there {
            // Made under another name, so that a crash leaves no half of it.
            let unfinished = format!("{TABLES_FILE}{UNFINISHED}");
            let file = disk.open(&unfinished, Mode::Create).map_err(text)?;
            let backend = FileBackend { file: file.clone(), disk: disk.clone() };
            drop(builder().create_with_backend(backend).map_err(text)?);
            file.sync().map_err(text)?;
            disk.rename(&unfinished, TABLES_FILE).map_err(text)?;
            disk.sync_folder("").map_err(text)?;
        }
        let file = disk.open(TABLES_FILE, Mode::Write).map_err(text)?;
        if disk.list("").map_err(text)?.iter().any(|name| name == UNSYNCED_FILE) {
            settle(file.as_ref()).map_err(text)?;
            disk.remove(UNSYNCED_FILE).map_err(text)?;
            disk.sync_folder("").map_err(text)?;
        }
        let backend = FileBackend { file, disk: disk.clone() };
        let database = builder().create_with_backend(backend).map_err(text)?;
        Ok(Self { state: State::Open(database) })
    }

    /// Tables that are only read, and opened when they are first asked for.
    pub(crate) fn read_only(disk: Arc<dyn Disk>) -> Self {
        Self { state: State::ReadOnly { disk, copy: Mutex::new(None) } }
    }

    pub(crate) fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        check_name(table)?;
        let read = |database: &Database| -> Result<Option<Bytes>, redb::Error> {
            match database.begin_read()?.open_table(Definition::new(table)) {
                Ok(rows) => Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.with(table, read)
    }

    pub(crate) fn range(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        check_name(table)?;
        if from >= to {
            return Ok(Vec::new());
        }
        let read = |database: &Database| -> Result<Vec<(Bytes, Bytes)>, redb::Error> {
            let rows = match database.begin_read()?.open_table(Definition::new(table)) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found = Vec::new();
            for row in rows.range::<&[u8]>(from..to)?.take(limit) {
                let (key, value) = row?;
                found.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
            }
            Ok(found)
        };
        self.with(table, read)
    }

    pub(crate) fn write(&self, table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        check_changes(table, changes)?;
        let State::Open(database) = &self.state else {
            return Err(table_error(table, "this store was opened read-only"));
        };
        let write = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut rows = transaction.open_table(Definition::new(table))?;
                for (key, value) in changes {
                    match value {
                        Some(value) => rows.insert(key.as_ref(), value.as_ref())?,
                        None => rows.remove(key.as_ref())?,
                    };
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| table_error(table, error))
    }

    fn with<T>(
        &self,
        table: &str,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, TableError> {
        match &self.state {
            State::Open(database) => read(database),
            State::ReadOnly { disk, copy } => {
                let database = {
                    let mut copy = copy.lock();
                    match &*copy {
                        Some(database) => database.clone(),
                        None => {
                            let opened = copy_of(disk.as_ref()).map_err(|error| {
                                table_error(
                                    table,
                                    format!("{error}; while a node runs, read a copy of its data folder"),
                                )
                            })?;
                            copy.insert(Arc::new(opened)).clone()
                        }
                    }
                };
                read(&database)
            }
        }
        .map_err(|error| table_error(table, error))
    }
}

/// Writes the whole file again: when a sync failed in an earlier process, the operating system may show pages that it will
/// never write, and redb would build on them. Its size comes first, since redb knows no file with half a page at its end.
/// The header comes last: until then the one on the disk refers to pages that are there, since redb never writes over what
/// it may still need.
fn settle(file: &dyn DiskFile) -> io::Result<()> {
    let size = file.size_bytes()?;
    let header_end = HEADER_SIZE.min(size);
    file.set_size(size)?;
    file.sync()?;
    write_again(file, header_end, size)?;
    file.sync()?;
    write_again(file, 0, header_end)?;
    file.sync()
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_SIZE_BYTES);
    // The tables are small. Without it redb trusts the file, and may panic on a damaged one.
    builder.set_check_integrity_on_open(true);
    builder
}

fn copy_of(disk: &dyn Disk) -> Result<Database, String> {
    let mut bytes = Vec::new();
    if disk.list("").map_err(text)?.iter().any(|name| name == TABLES_FILE) {
        let file = disk.open(TABLES_FILE, Mode::Read).map_err(text)?;
        let size = file.size_bytes().map_err(text)?;
        if size > READ_ONLY_SIZE_BYTES_MAX {
            return Err(format!(
                "{TABLES_FILE} has {size} bytes; at most {READ_ONLY_SIZE_BYTES_MAX} can be read so"
            ));
        }
        bytes.resize(usize::try_from(size).unwrap_or_default(), 0);
        file.read_at(0, &mut bytes).map_err(text)?;
    }
    builder().create_with_backend(CopyBackend(RwLock::new(bytes))).map_err(text)
}

fn text(error: impl Display) -> String {
    error.to_string()
}

pub(crate) fn table_error(table: &str, problem: impl Display) -> TableError {
    TableError { table: table.to_owned(), problem: problem.to_string() }
}

fn check_name(table: &str) -> Result<(), TableError> {
    if table.is_empty() || table.len() > NAME_SIZE_MAX {
        return Err(table_error(table, format!("a table's name has 1 to {NAME_SIZE_MAX} bytes")));
    }
    Ok(())
}

/// Bounds that every implementation keeps to.
pub(crate) fn check_changes(table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
    check_name(table)?;
    for (key, value) in changes {
        let value_size = value.as_ref().map_or(0, |value| value.len());
        if key.len() > KEY_SIZE_BYTES_MAX || value_size > VALUE_SIZE_BYTES_MAX {
            let bounds = format!("{KEY_SIZE_BYTES_MAX} and {VALUE_SIZE_BYTES_MAX}");
            let sizes = format!("{} and {value_size}", key.len());
            return Err(table_error(table, format!("key and value of {sizes} bytes exceed {bounds}")));
        }
    }
    Ok(())
}
