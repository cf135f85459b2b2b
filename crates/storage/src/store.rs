//! The segment log: one write and one sync per block. Layout and argument: crates/storage/DESIGN.md.

mod loose;

use crate::disk::{Disk, DiskFile, FolderDisk, FolderLock, Mode};
use crate::inspect::{Inspect, inspect_on};
use crate::live::{Live, LiveIndex, Place, SEGMENTS, Segment, index_path, segment_path};
use crate::open::{
    End, OpenError, OpenReport, Opened, Options, StepError, attempt, open_segments, record_header_damage,
    remove_unfinished, seal, walk, write_mark,
};
use crate::record::{
    self, CRC_SIZE, ENTRY_SIZE, HEADER_SIZE, Part, RECORD_SIZE_BYTES_MAX, RecordHeader, SEGMENT_HEADER_SIZE,
    SegmentHeader, Span, prefix,
};
use crate::sealed::{Index, Key, PageError, Table};
use crate::snapshot::{SNAPSHOTS, Snapshots};
use crate::tables::Tables;
use bletchley_ledger::{
    AppendError, BlockMeta, FoldError, IndexEntry, Location, ReadError, Section, SnapshotReader, Store,
    StoredBlock, TableError, TruncateError,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Files that are kept open for reading.
const OPEN_FILES_MAX: usize = 256;
/// The buffer that is kept between appends; a larger one is given back.
const BUFFER_SIZE_BYTES_MAX: usize = 16 << 20;

/// Blocks in an append-only log of segment files, snapshots beside them, small tables in redb.
#[derive(Debug)]
pub struct SegmentStore {
    disk: Arc<dyn Disk>,
    options: Options,
    report: OpenReport,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    head: RwLock<Option<BlockMeta>>,
    writer: Mutex<Writer>,
    readers: Readers,
    snapshots: Snapshots,
    tables: Tables,
    // Dropped last: another process may enter when all else is closed.
    _lock: Option<Lock>,
}

struct Lock {
    _held: FolderLock,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

#[derive(Debug, Default)]
struct Writer {
    poisoned: bool,
    /// Blocks stand in the log that no sync has reached.
    unsettled: bool,
    /// The folder says that its end may be loose.
    noted_loose: bool,
    live: Option<Growing>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Growing {
    segment: Arc<Segment>,
    end: u64,
}

/// Files open for reading: segments and their indexes, by the height of the first block.
#[derive(Debug)]
struct Readers {
    disk: Arc<dyn Disk>,
    open: Mutex<FxHashMap<(Height, Kind), Arc<dyn DiskFile>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Segment,
    Index,
}

impl Readers {
    fn get(&self, first: Height, kind: Kind) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(&(first, kind)) {
            return Ok(file.clone());
        }
        let path = match kind {
            Kind::Segment => segment_path(first),
            Kind::Index => index_path(first),
        };
        let file = self.disk.open(&path, Mode::Read)?;
        if open.len() >= OPEN_FILES_MAX {
            open.clear();
        }
        open.insert((first, kind), file.clone());
        Ok(file)
    }

    fn forget(&self) {
        self.open.lock().clear();
    }
}

impl From<PageError> for ReadErrorOf {
    fn from(error: PageError) -> Self {
        Self(match error {
            PageError::Io(error) => ReadError::Io(error),
            PageError::Damaged(damage) => damage.into(),
        })
    }
}

/// Lets `?` turn page errors into read errors.
struct ReadErrorOf(ReadError);

impl From<ReadErrorOf> for ReadError {
    fn from(error: ReadErrorOf) -> Self {
        error.0
    }
}

impl SegmentStore {
    /// Opens the data folder at `folder`; creates it unless opened read-only.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FolderDisk::new(folder)), options)
    }

    /// Opens a data folder on any [`Disk`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let in_folder = |error: StepError| error.in_folder(disk.as_ref());
        let lock = if options.read_only { None } else { Some(prepare(&disk)?) };
        let noted = loose::is_noted(disk.as_ref()).map_err(in_folder)?;
        let Opened { segments, head, live, report } =
            open_segments(disk.as_ref(), options.read_only, noted).map_err(in_folder)?;
        if options.read_only && segments.is_empty() {
            return Err(OpenError::NothingThere { folder: disk.name() });
        }
        let tables = if options.read_only {
            Tables::read_only(disk.clone())
        } else {
            disk.sync_folder(SEGMENTS).map_err(attempt("syncing the segments' folder")).map_err(in_folder)?;
            if noted {
                // Whatever is left was made durable while it was opened.
                loose::forget(disk.as_ref()).map_err(attempt("noting a whole log")).map_err(in_folder)?;
            }
            Tables::open(&disk).map_err(|problem| OpenError::Tables { folder: disk.name(), problem })?
        };
        Ok(Self {
            readers: Readers { disk: disk.clone(), open: Mutex::default() },
            snapshots: Snapshots::new(disk.clone(), options.read_only),
            segments: RwLock::new(Arc::new(segments)),
            head: RwLock::new(head),
            writer: Mutex::new(Writer {
                live: live.map(|(segment, end)| Growing { segment, end }),
                ..Writer::default()
            }),
            disk,
            options,
            report,
            tables,
            _lock: lock,
        })
    }

    /// What opening found and repaired.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Reads every record from the disk again, verifies every checksum and names each damage.
    ///
    /// # Errors
    /// [`OpenError`] when the segments cannot be listed.
    pub fn inspect(&self) -> Result<Inspect, OpenError> {
        inspect_on(self.disk.clone())
    }

    /// Where the record of a block stands.
    fn place(&self, height: Height) -> Result<Option<Place>, ReadError> {
        if self.head.read().is_none_or(|head| height > head.height) {
            return Ok(None);
        }
        let segments = self.segments.read().clone();
        let number = segments.partition_point(|segment| segment.first() <= height);
        let Some(segment) = number.checked_sub(1).and_then(|number| segments.get(number)) else {
            return Ok(None);
        };
        let ordinal = height.0 - segment.first().0;
        let (file, offset) = match segment.as_ref() {
            Segment::Live(live) => {
                let offset =
                    usize::try_from(ordinal).ok().and_then(|ordinal| live.index.read().offset(ordinal));
                let Some(offset) = offset else { return Ok(None) };
                (live.file.clone(), offset)
            }
            Segment::Sealed(summary) => {
                let Some(ordinal) = u32::try_from(ordinal).ok().filter(|ordinal| *ordinal < summary.blocks)
                else {
                    return Ok(None);
                };
                let file = self.readers.get(summary.first, Kind::Index)?;
                let index = Index { file: file.as_ref(), summary };
                let offset = index.offset(ordinal).map_err(ReadErrorOf::from)?;
                (self.readers.get(summary.first, Kind::Segment)?, u64::from(offset))
            }
        };
        Ok(Some(Place { file, first: segment.first(), salt: segment.salt(), offset, height }))
    }

    fn header(&self, place: &Place) -> Result<RecordHeader, ReadError> {
        let mut bytes = [0; HEADER_SIZE];
        let damage =
            |problem| ReadError::from(record_header_damage(place.first, place.offset, place.height, problem));
        read_exactly(place, 0, &mut bytes).map_err(|error| end_is_damage(error, damage))?;
        let header = RecordHeader::decode(&bytes).map_err(|problem| damage(problem.text()))?;
        if !place.fits(&header) {
            return Err(damage(format!("block {} stands here", header.meta.height)));
        }
        if header.record_size() > RECORD_SIZE_BYTES_MAX {
            return Err(damage("it is longer than a record may be".into()));
        }
        Ok(header)
    }

    fn part(&self, place: &Place, span: Span) -> Result<Bytes, ReadError> {
        let damage = |problem: String| {
            let mut damage =
                record_header_damage(place.first, place.offset + span.offset, place.height, problem);
            damage.part = span.part.name();
            ReadError::from(damage)
        };
        let mut bytes = vec![0; usize::try_from(span.size).unwrap_or_default() + CRC_SIZE];
        read_exactly(place, span.offset, &mut bytes).map_err(|error| end_is_damage(error, damage))?;
        let size = record::checked(&bytes).ok_or_else(|| damage("its checksum does not fit".into()))?.len();
        bytes.truncate(size);
        Ok(bytes.into())
    }

    /// Calls `each` with every block, newest segment first, that may have the hash, until it answers.
    fn search<T>(
        &self,
        table: Table,
        hash: &B256,
        mut each: impl FnMut(Height, Key) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let segments = self.segments.read().clone();
        let prefix = prefix(hash);
        for segment in segments.iter().rev() {
            let keys = match segment.as_ref() {
                Segment::Live(live) => {
                    let index = live.index.read();
                    match table {
                        Table::Hashes => index.find_hash(prefix),
                        Table::Keys => index.find_key(prefix),
                    }
                }
                Segment::Sealed(summary) => {
                    let file = self.readers.get(summary.first, Kind::Index)?;
                    let index = Index { file: file.as_ref(), summary };
                    index.find(table, prefix).map_err(ReadErrorOf::from)?
                }
            };
            for key in keys {
                if let Some(answer) = each(Height(segment.first().0 + u64::from(key.ordinal)), key)? {
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }

    /// Whether the block at `height` has `key` at `position`. The record's own index is searched first; when it does not
    /// agree, all of it is verified, so that a damaged one is never taken for an answer.
    fn has_key(&self, height: Height, key: &B256, position: u32) -> Result<bool, ReadError> {
        let Some(place) = self.place(height)? else { return Ok(false) };
        let span = self.header(&place)?.span(Part::Index);
        let (mut low, mut high) = (0, span.size / ENTRY_SIZE as u64);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; ENTRY_SIZE];
            read_exactly(&place, span.offset + middle * ENTRY_SIZE as u64, &mut bytes)?;
            let entry = record::decode_entry(&bytes);
            if entry == (IndexEntry { key: *key, position }) {
                return Ok(true);
            }
            if entry < (IndexEntry { key: *key, position }) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = self.part(&place, span)?;
        Ok(record::entries(&index).any(|entry| entry == IndexEntry { key: *key, position }))
    }

    fn append_to(
        &self,
        writer: &mut Writer,
        block: &StoredBlock,
        size: u64,
        durable: bool,
    ) -> io::Result<()> {
        let full = |live: &Growing| {
            live.end > SEGMENT_HEADER_SIZE as u64 && live.end + size > self.options.segment_size_bytes
        };
        let growing = match writer.live.clone().filter(|live| !full(live)) {
            Some(growing) => growing,
            None => {
                // The mark of a full segment must not become durable before what it speaks of.
                self.settle_log(writer)?;
                self.roll(writer.live.take(), block.meta.height)?
            }
        };
        let Segment::Live(live) = growing.segment.as_ref() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let header = RecordHeader::of(block, live.salt).ok_or_else(too_large)?;
        let offset = u32::try_from(growing.end).map_err(|_| too_large())?;
        writer.buffer.clear();
        writer.buffer.reserve(usize::try_from(size).unwrap_or_default());
        record::encode(&header, block, &mut writer.buffer);
        live.file.write_at(growing.end, &writer.buffer)?;
        if durable {
            live.file.sync()?;
        }
        let end = growing.end + size;
        live.index.write().push(offset, block.meta, block.index.iter().copied());
        *self.head.write() = Some(block.meta);
        writer.live = Some(Growing { end, ..growing.clone() });
        writer.buffer.shrink_to(BUFFER_SIZE_BYTES_MAX);
        writer.unsettled = !durable;
        // The block is durable and visible. A mark that cannot be written makes nothing untrue: the next append fails too.
        if durable && let Err(error) = write_mark(live.file.as_ref(), live.salt, end) {
            tracing::warn!(%error, "marking a segment");
        }
        Ok(())
    }

    /// Seals the segment that grew until now and begins the next one.
    fn roll(&self, full: Option<Growing>, first: Height) -> io::Result<Growing> {
        let mut segments = Vec::clone(&self.segments.read());
        if let Some(Growing { segment, end }) = full
            && let Segment::Live(live) = segment.as_ref()
        {
            write_mark(live.file.as_ref(), live.salt, end)?;
            live.file.sync()?;
            if let Some(sealed) = seal(self.disk.as_ref(), live, end)? {
                segments.pop();
                segments.push(Arc::new(sealed));
            }
        }
        let header = SegmentHeader { first, salt: self.disk.unforeseeable() };
        let file = self.disk.open(&segment_path(first), Mode::Create)?;
        file.write_at(0, &header.encode())?;
        file.sync()?;
        self.disk.sync_folder(SEGMENTS)?;
        let live = Live { first, salt: header.salt, file, index: RwLock::new(LiveIndex::default()) };
        let segment = Arc::new(Segment::Live(live));
        segments.push(segment.clone());
        *self.segments.write() = Arc::new(segments);
        Ok(Growing { segment, end: SEGMENT_HEADER_SIZE as u64 })
    }

    /// Cuts the log after `height`, which lies below the head. Each step is durable before the next one begins, and after
    /// each the folder holds a whole, if longer, ledger.
    fn cut(&self, writer: &mut Writer, height: Height) -> Result<(), StepError> {
        let mut segments = Vec::clone(&self.segments.read());
        let head = self.meta(height).map_err(step_error)?;
        let next = self.place(height.next()).map_err(step_error)?;
        *self.head.write() = head;
        self.snapshots.remove_above(height).map_err(attempt("removing snapshots"))?;
        let removing = attempt("removing a segment");
        while let Some(segment) = segments.pop_if(|segment| segment.first() > height) {
            if let Segment::Sealed(summary) = segment.as_ref() {
                self.disk.remove(&index_path(summary.first)).map_err(&removing)?;
            }
            self.disk.remove(&segment_path(segment.first())).map_err(&removing)?;
            self.disk.sync_folder(SEGMENTS).map_err(&removing)?;
        }
        let Some(segment) = segments.pop() else { return Ok(()) };
        let first = segment.first();
        let end = next.filter(|next| next.first == first).map(|next| next.offset);
        self.readers.forget();
        if let Segment::Sealed(summary) = segment.as_ref() {
            self.disk.remove(&index_path(summary.first)).map_err(&removing)?;
            self.disk.sync_folder(SEGMENTS).map_err(&removing)?;
        }
        let cutting = attempt("cutting a segment");
        let file = self.disk.open(&segment_path(first), Mode::Write).map_err(&cutting)?;
        if let Some(end) = end {
            // The mark goes first: it must never say more than there is.
            write_mark(file.as_ref(), segment.salt(), end).map_err(&cutting)?;
            file.sync().map_err(&cutting)?;
            file.set_size(end).map_err(&cutting)?;
            file.sync().map_err(&cutting)?;
        }
        let walked = walk(self.disk.as_ref(), first, End::Torn)?;
        let live = Arc::new(Segment::Live(Live { file, ..walked.live }));
        segments.push(live.clone());
        *self.segments.write() = Arc::new(segments);
        writer.live = Some(Growing { segment: live, end: walked.end });
        Ok(())
    }
}

impl Drop for SegmentStore {
    fn drop(&mut self) {
        let writer = self.writer.get_mut();
        if let Some(Growing { segment, end }) = &writer.live
            && let Segment::Live(live) = segment.as_ref()
            && !writer.poisoned
            && !self.options.read_only
        {
            // After an orderly stop every block is known to be durable, so that a damaged last one is told from a torn one.
            let synced = if writer.unsettled { live.file.sync() } else { Ok(()) };
            let marked = synced.and_then(|()| write_mark(live.file.as_ref(), live.salt, *end));
            let marked = marked.and_then(|()| live.file.sync());
            if let Err(error) = marked {
                tracing::warn!(%error, "marking a segment at the end");
            }
        }
    }
}

/// Creates and locks a data folder, and clears what a crash left unfinished.
fn prepare(disk: &Arc<dyn Disk>) -> Result<Lock, OpenError> {
    let in_folder = |error: StepError| error.in_folder(disk.as_ref());
    for folder in ["", SEGMENTS, SNAPSHOTS] {
        disk.create_folder(folder).map_err(attempt("creating folders")).map_err(in_folder)?;
    }
    let held = disk.lock().map_err(attempt("locking the folder")).map_err(in_folder)?;
    let lock = Lock { _held: held.ok_or_else(|| OpenError::Locked { folder: disk.name() })? };
    disk.sync_folder("").map_err(attempt("syncing the folder")).map_err(in_folder)?;
    for folder in [SEGMENTS, SNAPSHOTS] {
        remove_unfinished(disk.as_ref(), folder)
            .map_err(attempt("removing unfinished files"))
            .map_err(in_folder)?;
    }
    Ok(lock)
}

fn read_exactly(place: &Place, offset: u64, into: &mut [u8]) -> io::Result<()> {
    place.file.read_at(place.offset + offset, into)
}

fn end_is_damage(error: io::Error, damage: impl FnOnce(String) -> ReadError) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damage("the file ends before".into()),
        _ => ReadError::Io(error),
    }
}

fn step_error(error: ReadError) -> StepError {
    match error {
        ReadError::Io(error) => StepError::Io("reading a segment", error),
        ReadError::Damaged { place, problem } => StepError::Damaged(crate::Damage {
            file: place,
            offset: 0,
            height: None,
            part: "record header",
            problem,
        }),
    }
}

impl Store for SegmentStore {
    fn append(&self, block: &StoredBlock) -> Result<(), AppendError> {
        self.append_as(block, true)
    }

    fn append_loose(&self, block: &StoredBlock) -> Result<(), AppendError> {
        self.append_as(block, false)
    }

    fn settle(&self) -> Result<(), AppendError> {
        self.settle_all()
    }

    fn head(&self) -> Option<BlockMeta> {
        *self.head.read()
    }

    fn meta(&self, height: Height) -> Result<Option<BlockMeta>, ReadError> {
        if let Some(head) = self.head().filter(|head| head.height == height) {
            return Ok(Some(head));
        }
        let Some(place) = self.place(height)? else { return Ok(None) };
        Ok(Some(self.header(&place)?.meta))
    }

    fn section(&self, height: Height, section: Section) -> Result<Option<Bytes>, ReadError> {
        let Some(place) = self.place(height)? else { return Ok(None) };
        let span = self.header(&place)?.span(Part::Section(section));
        self.part(&place, span).map(Some)
    }

    fn block(&self, height: Height) -> Result<Option<StoredBlock>, ReadError> {
        let Some(place) = self.place(height)? else { return Ok(None) };
        let header = self.header(&place)?;
        let damage = |offset, part, problem| {
            let mut damage = record_header_damage(place.first, place.offset + offset, height, problem);
            damage.part = part;
            ReadError::from(damage)
        };
        let mut bytes = vec![0; usize::try_from(header.record_size()).unwrap_or_default()];
        read_exactly(&place, 0, &mut bytes)
            .map_err(|error| end_is_damage(error, |problem| damage(0, "record header", problem)))?;
        if let Some(span) = record::damaged_parts(&header, &bytes).first() {
            return Err(damage(span.offset, span.part.name(), "its checksum does not fit".into()));
        }
        Ok(Some(record::decode(&header, &bytes.into())))
    }

    fn height_of(&self, hash: BlockHash) -> Result<Option<Height>, ReadError> {
        self.search(Table::Hashes, &hash.0, |height, _| {
            Ok(self.meta(height)?.filter(|meta| meta.hash == hash).map(|_| height))
        })
    }

    fn locate(&self, key: B256) -> Result<Option<Location>, ReadError> {
        self.search(Table::Keys, &key, |height, found| {
            let location = Location { height, position: found.position };
            Ok(self.has_key(height, &key, found.position)?.then_some(location))
        })
    }

    fn truncate(&self, height: Height) -> Result<(), TruncateError> {
        if !self.options.rewindable || self.options.read_only {
            return Err(TruncateError::Forbidden);
        }
        let _folding = self.snapshots.hold();
        let mut writer = self.writer.lock();
        if writer.poisoned {
            let source = io::Error::other("the store stopped after a failed write; restart");
            return Err(ReadError::Io(source).into());
        }
        if self.head().is_none_or(|head| height >= head.height) {
            return Ok(());
        }
        self.cut(&mut writer, height).map_err(|error| {
            writer.poisoned = true;
            error.into_read().into()
        })
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, ReadError> {
        let newest = self.snapshots.newest(self)?;
        Ok(newest.map(|snapshot| Box::new(snapshot) as Box<dyn SnapshotReader>))
    }

    fn fold(&self, height: Height) -> Result<(), FoldError> {
        self.snapshots.fold(self, height, self.options.fold_size_bytes)
    }

    fn table_get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        self.tables.get(table, key)
    }

    fn table_write(&self, table: &str, changes: &[(Bytes, Option<Bytes>)]) -> Result<(), TableError> {
        self.tables.write(table, changes)
    }

    fn table_range(
        &self,
        table: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TableError> {
        self.tables.range(table, from, to, limit)
    }
}
