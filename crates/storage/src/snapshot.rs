//! Sorted snapshots of the state, merged out of the one before and the diffs since. Layout: crates/storage/DESIGN.md.

use crate::damage::Damage;
use crate::disk::{Disk, DiskFile, Mode};
use crate::live::heights_of;
use crate::open::UNFINISHED;
use crate::record::{CRC_SIZE, Fields, VERSION, checked};
use alloy_primitives::Keccak256;
use bletchley_ledger::{BlockMeta, DiffReader, FoldError, ReadError, Section, SnapshotReader, Store};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;

/// Folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// How many are kept: the newest, and one to fall back to.
const KEPT: usize = 2;
/// Entries are written in blocks of about this size.
const BLOCK_SIZE: usize = 128 << 10;
/// Largest block that is read: a full one and the largest entry.
const BLOCK_SIZE_MAX: usize = 4 << 20;
/// How much is written at once.
const WRITE_SIZE: usize = 1 << 20;
const MAGIC: [u8; 8] = *b"BLTCHSNP";
const HEADER_SIZE: usize = 56;
const BLOCK_HEADER_SIZE: usize = 8;
const FOOTER_SIZE: usize = 52;

fn path(height: Height) -> String {
    format!("{SNAPSHOTS}/{:020}.snap", height.0)
}

fn encode_header(meta: &BlockMeta) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&meta.height.0.to_be_bytes());
    out.extend_from_slice(meta.hash.0.as_slice());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn decode_header(bytes: &[u8]) -> Option<(Height, BlockHash)> {
    let mut fields = Fields(checked(bytes)?);
    if fields.array() != Some(MAGIC) || fields.u32() != Some(VERSION) {
        return None;
    }
    Some((Height(fields.u64()?), BlockHash(fields.b256()?)))
}

/// Writes entries in ascending order of keys.
struct SnapshotWriter {
    file: Arc<dyn DiskFile>,
    offset: u64,
    out: Vec<u8>,
    block: Vec<u8>,
    entries: u32,
    total: u64,
    digest: Keccak256,
}

impl SnapshotWriter {
    fn begin(file: Arc<dyn DiskFile>, meta: &BlockMeta) -> Self {
        let out = encode_header(meta);
        let mut digest = Keccak256::new();
        digest.update(&out);
        Self { file, offset: 0, out, block: Vec::with_capacity(2 * BLOCK_SIZE), entries: 0, total: 0, digest }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        // Keys come out of diffs, whose keys have a length of one byte.
        self.block.push(u8::try_from(key.len()).map_err(|_| io::ErrorKind::InvalidData)?);
        self.block.extend_from_slice(key);
        put_length(&mut self.block, value.len());
        self.block.extend_from_slice(value);
        self.entries += 1;
        self.total += 1;
        if self.block.len() >= BLOCK_SIZE { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.entries == 0 {
            return Ok(());
        }
        let start = self.out.len();
        let size = u32::try_from(self.block.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        self.out.extend_from_slice(&self.entries.to_be_bytes());
        self.out.extend_from_slice(&size.to_be_bytes());
        self.out.append(&mut self.block);
        self.entries = 0;
        self.put_crc(start);
        if self.out.len() >= WRITE_SIZE { self.flush() } else { Ok(()) }
    }

    fn put_crc(&mut self, start: usize) {
        let crc = crc32c::crc32c(self.out.get(start..).unwrap_or_default()).to_be_bytes();
        self.out.extend_from_slice(&crc);
        self.digest.update(crc);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.offset, &self.out)?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.end_block()?;
        let digest = self.digest.clone().finalize();
        let start = self.out.len();
        self.out.extend_from_slice(&[0; BLOCK_HEADER_SIZE]);
        self.out.extend_from_slice(&self.total.to_be_bytes());
        self.out.extend_from_slice(digest.as_slice());
        self.put_crc(start);
        self.flush()?;
        self.file.sync()
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The next entry of a block and what follows it.
fn take_entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_size, rest) = bytes.split_first()?;
    let (key, mut rest) = rest.split_at_checked(usize::from(*key_size))?;
    let mut size = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, after) = rest.split_first()?;
        rest = after;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (value, rest) = rest.split_at_checked(size)?;
            return Some((key, value, rest));
        }
    }
    None
}

/// A snapshot that is open for reading. The file may be removed meanwhile; what is open stays readable.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    file: Arc<dyn DiskFile>,
    height: Height,
    hash: BlockHash,
    total: u64,
    digest: B256,
}

impl SnapshotFile {
    fn open(disk: &dyn Disk, height: Height) -> Result<Self, ReadError> {
        let file = disk.open(&path(height), Mode::Read)?;
        let size = file.size_bytes()?;
        let damage = |offset, problem| ReadError::from(damage(height, offset, problem));
        let Some(footer_at) = size.checked_sub(FOOTER_SIZE as u64).filter(|at| *at >= HEADER_SIZE as u64)
        else {
            return Err(damage(0, "it is shorter than its header"));
        };
        let mut header = [0; HEADER_SIZE];
        file.read_at(0, &mut header)?;
        let (named, hash) = decode_header(&header).ok_or_else(|| damage(0, "its header does not fit"))?;
        if named != height {
            return Err(damage(0, "it is of another height than its name says"));
        }
        let mut footer = [0; FOOTER_SIZE];
        file.read_at(footer_at, &mut footer)?;
        let mut fields =
            Fields(checked(&footer).ok_or_else(|| damage(footer_at, "its footer does not fit"))?);
        match (fields.u64(), fields.u64(), fields.b256()) {
            (Some(0), Some(total), Some(digest)) => Ok(Self { file, height, hash, total, digest }),
            _ => Err(damage(footer_at, "its footer does not fit")),
        }
    }

    /// Calls `each` for every entry; verifies all checksums, the count and the digest on the way.
    fn walk<E: From<ReadError>>(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        let read = |offset, into: &mut [u8]| {
            self.file.read_at(offset, into).map_err(|error| E::from(error_at(self, offset, error)))
        };
        let bad = |offset, problem| E::from(damage(self.height, offset, problem).into());
        let mut header = [0; HEADER_SIZE];
        read(0, &mut header)?;
        let mut digest = Keccak256::new();
        digest.update(header);
        let mut offset = HEADER_SIZE as u64;
        let mut total = 0u64;
        let mut block = Vec::new();
        loop {
            let mut head = [0; BLOCK_HEADER_SIZE];
            read(offset, &mut head)?;
            let mut fields = Fields(&head);
            let (entries, size) =
                (fields.u32().unwrap_or_default(), fields.u32().unwrap_or_default() as usize);
            if entries == 0 {
                break;
            }
            if size > BLOCK_SIZE_MAX {
                return Err(bad(offset, "a block is longer than it may be"));
            }
            block.resize(BLOCK_HEADER_SIZE + size + CRC_SIZE, 0);
            read(offset, &mut block)?;
            let checked = checked(&block).ok_or_else(|| bad(offset, "a block's checksum does not fit"))?;
            digest.update(block.last_chunk::<CRC_SIZE>().copied().unwrap_or_default());
            let mut rest = checked.get(BLOCK_HEADER_SIZE..).unwrap_or_default();
            for _ in 0..entries {
                let (key, value, after) =
                    take_entry(rest).ok_or_else(|| bad(offset, "a block ends inside an entry"))?;
                each(key, value)?;
                rest = after;
            }
            if !rest.is_empty() {
                return Err(bad(offset, "a block holds more than its entries"));
            }
            total += u64::from(entries);
            offset += block.len() as u64;
        }
        if total != self.total || digest.finalize() != self.digest {
            return Err(bad(offset, "it does not hold the entries that its footer counts"));
        }
        Ok(())
    }
}

fn error_at(snapshot: &SnapshotFile, offset: u64, error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damage(snapshot.height, offset, "the file ends before").into(),
        _ => ReadError::Io(error),
    }
}

fn damage(height: Height, offset: u64, problem: &str) -> Damage {
    Damage { file: path(height), offset, height: Some(height), part: "snapshot", problem: problem.to_owned() }
}

impl SnapshotReader for SnapshotFile {
    fn height(&self) -> Height {
        self.height
    }

    fn len(&self) -> u64 {
        self.total
    }

    fn for_each(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ReadError> {
        self.walk(|key, value| {
            each(key, value);
            Ok(())
        })
    }
}

/// The snapshots of one store.
#[derive(Debug)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    read_only: bool,
    folding: Mutex<()>,
}

impl Snapshots {
    pub(crate) fn new(disk: Arc<dyn Disk>, read_only: bool) -> Self {
        Self { disk, read_only, folding: Mutex::new(()) }
    }

    /// Keeps folds away while blocks are forgotten.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.folding.lock()
    }

    fn heights(&self) -> io::Result<Vec<Height>> {
        Ok(heights_of(&self.disk.list(SNAPSHOTS)?, "snap"))
    }

    /// The newest snapshot that is whole and of this chain. A damaged one is passed over with a warning: the diffs say
    /// the same.
    pub(crate) fn newest(&self, store: &dyn Store) -> Result<Option<SnapshotFile>, ReadError> {
        Ok(self.choose(store)?.0)
    }

    fn choose(&self, store: &dyn Store) -> Result<(Option<SnapshotFile>, Vec<Height>), ReadError> {
        let mut refused = Vec::new();
        for height in self.heights()?.into_iter().rev() {
            let verified = SnapshotFile::open(self.disk.as_ref(), height)
                .and_then(|snapshot| snapshot.walk(|_, _| Ok::<(), ReadError>(())).map(|()| snapshot));
            match verified {
                Ok(snapshot) => {
                    if store.meta(height)?.is_some_and(|meta| meta.hash == snapshot.hash) {
                        return Ok((Some(snapshot), refused));
                    }
                    tracing::warn!(
                        file = path(height),
                        "passed over a snapshot of a block that is not on this ledger"
                    );
                }
                // A fold beside this one has just removed it.
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(ReadError::Io(error)) => return Err(ReadError::Io(error)),
                Err(error) => tracing::warn!(file = path(height), %error, "passed over a damaged snapshot"),
            }
            refused.push(height);
        }
        Ok((None, refused))
    }

    pub(crate) fn remove_above(&self, height: Height) -> io::Result<()> {
        let above: Vec<Height> = self.heights()?.into_iter().filter(|at| *at > height).collect();
        for at in &above {
            self.disk.remove(&path(*at))?;
        }
        if above.is_empty() { Ok(()) } else { self.disk.sync_folder(SNAPSHOTS) }
    }

    pub(crate) fn fold(
        &self,
        store: &dyn Store,
        height: Height,
        size_bytes_max: u64,
    ) -> Result<(), FoldError> {
        if self.read_only {
            let message = "this store was opened read-only";
            return Err(FoldError::Io(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, message)));
        }
        let _folding = self.folding.lock();
        if store.head().is_none_or(|head| height > head.height) {
            return Err(FoldError::Height(height));
        }
        let (mut base, mut refused) = self.choose(store)?;
        if base.as_ref().is_some_and(|base| base.height > height) {
            return Err(FoldError::Height(height));
        }
        loop {
            let from = match &base {
                Some(base) if base.height == height => return Ok(()),
                Some(base) => base.height.next(),
                None => Height(0),
            };
            let diffs = load_diffs(store, from, height, size_bytes_max)?;
            let last = Height(from.0 + (diffs.len() as u64).saturating_sub(1));
            let meta = store.meta(last)?.ok_or(FoldError::Height(last))?;
            self.merge(base.as_ref(), &diffs, &meta)?;
            self.prune(&refused, last).map_err(FoldError::Io)?;
            refused.clear();
            base = Some(SnapshotFile::open(self.disk.as_ref(), last)?);
        }
    }

    /// Writes the snapshot after `meta`'s block out of `base` and the diffs since.
    fn merge(&self, base: Option<&SnapshotFile>, diffs: &[Diff], meta: &BlockMeta) -> Result<(), FoldError> {
        let changes = sorted_changes(diffs)?;
        let unfinished = format!("{}{UNFINISHED}", path(meta.height));
        let written = self.merge_into(&unfinished, base, &changes, meta);
        if let Err(error) = written {
            // It would be removed at the next start as well.
            let _ = self.disk.remove(&unfinished);
            return Err(error);
        }
        self.disk.rename(&unfinished, &path(meta.height)).map_err(FoldError::Io)?;
        self.disk.sync_folder(SNAPSHOTS).map_err(FoldError::Io)
    }

    fn merge_into(
        &self,
        unfinished: &str,
        base: Option<&SnapshotFile>,
        changes: &[Change<'_>],
        meta: &BlockMeta,
    ) -> Result<(), FoldError> {
        let file = self.disk.open(unfinished, Mode::Create).map_err(FoldError::Io)?;
        let mut writer = SnapshotWriter::begin(file, meta);
        let mut changes = changes.iter().peekable();
        if let Some(base) = base {
            base.walk(|key, value| {
                while let Some((changed, new)) = changes.next_if(|(changed, _)| *changed < key) {
                    put(&mut writer, changed, *new)?;
                }
                match changes.next_if(|(changed, _)| *changed == key) {
                    Some((_, new)) => put(&mut writer, key, *new),
                    None => put(&mut writer, key, Some(value)),
                }
            })?;
        }
        for (changed, new) in changes {
            put(&mut writer, changed, *new)?;
        }
        writer.finish().map_err(FoldError::Io)
    }

    /// Removes all but the newest snapshots, and those that were refused.
    fn prune(&self, refused: &[Height], made: Height) -> io::Result<()> {
        let (bad, mut good): (Vec<_>, Vec<_>) =
            self.heights()?.into_iter().partition(|height| refused.contains(height) && *height != made);
        let old = good.drain(..good.len().saturating_sub(KEPT)).chain(bad).collect::<Vec<_>>();
        for height in &old {
            self.disk.remove(&path(*height))?;
        }
        if old.is_empty() { Ok(()) } else { self.disk.sync_folder(SNAPSHOTS) }
    }
}

type Diff = (Height, Bytes);
type Change<'a> = (&'a [u8], Option<&'a [u8]>);

fn put(writer: &mut SnapshotWriter, key: &[u8], value: Option<&[u8]>) -> Result<(), FoldError> {
    value.map_or(Ok(()), |value| writer.put(key, value)).map_err(FoldError::Io)
}

/// The diffs from `from` on, at least one, until they reach the bound or `to`.
fn load_diffs(
    store: &dyn Store,
    from: Height,
    to: Height,
    size_bytes_max: u64,
) -> Result<Vec<Diff>, FoldError> {
    let mut diffs = Vec::new();
    let mut size = 0u64;
    for height in (from.0..=to.0).map(Height) {
        let diff = store.section(height, Section::Diff)?.ok_or(FoldError::Height(height))?;
        size += diff.len() as u64;
        diffs.push((height, diff));
        if size >= size_bytes_max {
            break;
        }
    }
    Ok(diffs)
}

/// All changes by key, the last one of each key.
fn sorted_changes(diffs: &[Diff]) -> Result<Vec<Change<'_>>, FoldError> {
    let mut changes = Vec::new();
    for (height, diff) in diffs {
        let damaged = |error: bletchley_ledger::DiffError| ReadError::Damaged {
            place: format!("block {height}, diff"),
            problem: error.to_string(),
        };
        for change in DiffReader::new(diff).map_err(damaged)? {
            changes.push(change.map_err(damaged)?);
        }
    }
    // Stable: changes of one key stay in the order of their blocks. The diffs are sorted runs, which it merges.
    changes.sort_by_key(|(key, _)| *key);
    let mut last: Vec<Change<'_>> = Vec::with_capacity(changes.len());
    for change in changes {
        match last.last_mut() {
            Some(before) if before.0 == change.0 => *before = change,
            _ => last.push(change),
        }
    }
    Ok(last)
}
