//! Opening a data folder: what is there, whether it hangs together, and repair of what a crash leaves.

use crate::damage::Damage;
use crate::disk::{Disk, DiskFile, Mode};
use crate::live::{Live, LiveIndex, SEGMENTS, Segment, heights_of, index_path, segment_path};
use crate::record::{self, SEGMENT_HEADER_SIZE};
use crate::scan::{Found, Scan, ScanError, header_damage};
use crate::sealed;
use bletchley_ledger::{BlockMeta, ReadError};
use bletchley_primitives::{BlockHash, Height};
use parking_lot::RwLock;
use std::io;
use std::sync::Arc;

/// When a segment is full and the next one begins.
pub const SEGMENT_SIZE_BYTES: u64 = 64 << 20;
/// Bytes of diffs that one step of a fold holds in memory.
pub const FOLD_SIZE_BYTES: u64 = 64 << 20;

/// How much is written again at once.
const REWRITE_SIZE: usize = 1 << 20;

/// How a data folder is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A development ledger: blocks may be forgotten ([`bletchley_ledger::Store::truncate`]).
    pub rewindable: bool,
    /// Only read: nothing is created, locked, repaired or changed, also beside a running node.
    pub read_only: bool,
    /// Size at which a segment is followed by the next one.
    pub segment_size_bytes: u64,
    /// Bytes of diffs that one step of a fold holds in memory.
    pub fold_size_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rewindable: false,
            read_only: false,
            segment_size_bytes: SEGMENT_SIZE_BYTES,
            fold_size_bytes: FOLD_SIZE_BYTES,
        }
    }
}

impl Options {
    /// Only read.
    #[must_use]
    pub fn read_only() -> Self {
        Self { read_only: true, ..Self::default() }
    }

    /// A development ledger.
    #[must_use]
    pub fn rewindable() -> Self {
        Self { rewindable: true, ..Self::default() }
    }
}

/// Why a data folder could not be opened. Nothing in it was changed, save that a torn tail may have been cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No implementation has this name.
    #[error("there is no store called {name:?}; choose one of {known}")]
    UnknownName {
        /// Name that was asked for.
        name: String,
        /// Names that there are.
        known: String,
    },
    /// Another process, or another part of this one, uses the folder.
    #[error("the data folder {folder} is in use by another process; stop that one, or choose another folder")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// There is nothing to read.
    #[error("the folder {folder} holds no ledger data (no {SEGMENTS}/*.seg); check the path")]
    NothingThere {
        /// The folder.
        folder: String,
    },
    /// The operating system refused.
    #[error("opening {folder}, {attempted}: {source}; check that the folder exists and belongs to this user")]
    Io {
        /// The folder.
        folder: String,
        /// What was attempted.
        attempted: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written.
    #[error("{folder}: {damage}; restore this data folder from another member's copy (nothing was changed)")]
    Damaged {
        /// The folder.
        folder: String,
        /// Where, and what is wrong.
        damage: Damage,
    },
    /// The tables could not be opened.
    #[error("opening the tables in {folder}: {problem}; restore this data folder from another copy")]
    Tables {
        /// The folder.
        folder: String,
        /// What is wrong.
        problem: String,
    },
}

/// Bytes at the end of the last segment that are no whole block: an append that a crash cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// File, relative to the data folder.
    pub file: String,
    /// Where the incomplete record begins.
    pub offset: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Height of the block that was being appended.
    pub height: Height,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// A torn tail; it was cut off, or, by a store opened read-only, left alone and not read.
    pub torn: Option<Tail>,
    /// Indexes of segments that were missing or damaged and were made again (in memory, when opened read-only).
    pub reindexed: Vec<String>,
}

/// The segments of an opened folder.
pub(crate) struct Opened {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) head: Option<BlockMeta>,
    /// The segment that grows and its end.
    pub(crate) live: Option<(Arc<Segment>, u64)>,
    pub(crate) report: OpenReport,
}

/// Why a step of opening failed.
pub(crate) enum StepError {
    Io(&'static str, io::Error),
    Damaged(Damage),
}

impl From<Damage> for StepError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl StepError {
    pub(crate) fn in_folder(self, disk: &dyn Disk) -> OpenError {
        let folder = disk.name();
        match self {
            Self::Io(attempted, source) => OpenError::Io { folder, attempted: attempted.to_owned(), source },
            Self::Damaged(damage) => OpenError::Damaged { folder, damage },
        }
    }

    pub(crate) fn into_read(self) -> ReadError {
        match self {
            Self::Io(_, source) => ReadError::Io(source),
            Self::Damaged(damage) => damage.into(),
        }
    }
}

/// Names an attempt for the error that it may end in.
pub(crate) fn attempt(what: &'static str) -> impl Fn(io::Error) -> StepError {
    move |error| StepError::Io(what, error)
}

/// A segment that was walked through.
pub(crate) struct Walked {
    pub(crate) live: Live,
    pub(crate) end: u64,
    pub(crate) size: u64,
    /// Up to where the mark says that the segment is durable.
    pub(crate) durable_end: u64,
    pub(crate) mark_whole: bool,
}

impl Walked {
    fn torn(&self) -> Option<Tail> {
        (self.size > self.end).then(|| Tail {
            file: segment_path(self.live.first),
            offset: self.end,
            size_bytes: self.size - self.end,
            height: Height(self.live.first.0 + self.live.index.read().len() as u64),
        })
    }
}

/// What may stand at the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Whole records only: others follow it.
    Whole,
    /// One torn record.
    Torn,
    /// Any part of the records after the mark: they were appended without a sync each.
    Loose,
}

/// Walks through a segment and indexes it in memory. `last` says what may stand at its end.
///
/// A tail is torn when nothing of it was ever durable: it begins at or after the mark, and no record follows it unless
/// the end is loose. Anything else that does not fit is damage.
pub(crate) fn walk(disk: &dyn Disk, first: Height, last: End) -> Result<Walked, StepError> {
    let name = segment_path(first);
    let mode = Mode::Read;
    let file = disk.open(&name, mode).map_err(attempt("opening a segment"))?;
    let reading = attempt("reading a segment");
    let mut scan = match Scan::begin(file.clone(), name.clone()) {
        Ok(scan) => scan,
        Err(ScanError::Io(error)) => return Err(reading(error)),
        Err(ScanError::Header(damage)) => return Err(damage.into()),
    };
    if scan.header.first != first {
        let problem = format!("it says that its first block is {}, its name says {first}", scan.header.first);
        return Err(Damage { file: name, offset: 0, height: None, part: "segment header", problem }.into());
    }
    let mut index = LiveIndex::default();
    let mut end = SEGMENT_HEADER_SIZE as u64;
    loop {
        let height = Height(first.0 + index.len() as u64);
        match scan.at(end).map_err(&reading)? {
            Found::End => break,
            Found::Whole(header) => {
                let linked = index.last().is_none_or(|last| last.hash == header.meta.parent);
                if header.meta.height != height || !linked {
                    let problem = format!(
                        "it does not continue the block before it (it says it is {})",
                        header.meta.height
                    );
                    return Err(scan.damage(end, height, "record header", problem).into());
                }
                let record = scan.record(end, &header).map_err(&reading)?;
                let entries =
                    record::part_bytes(record, header.span(record::Part::Index)).unwrap_or_default();
                let offset = u32::try_from(end).map_err(|_| too_long(&name, end))?;
                index.push(offset, header.meta, record::entries(entries));
                end += header.record_size();
            }
            bad => {
                let from = match &bad {
                    Found::Parts(header, _) => end + header.record_size(),
                    _ => end + 1,
                };
                let durable = end < scan.durable_end;
                let torn = match last {
                    End::Whole => false,
                    End::Torn => scan.find_header(from).map_err(&reading)?.is_none(),
                    End::Loose => true,
                };
                if durable || !torn {
                    return Err(damage_at(&scan, end, height, &bad).into());
                }
                break;
            }
        }
    }
    if end < scan.durable_end {
        let height = Height(first.0 + index.len() as u64);
        let problem = format!("the file ends here, but was durable up to byte {}", scan.durable_end);
        return Err(scan.damage(end, height, "record header", problem).into());
    }
    let salt = scan.header.salt;
    let live = Live { first, salt, file, index: RwLock::new(index) };
    Ok(Walked { live, end, size: scan.size(), durable_end: scan.durable_end, mark_whole: scan.mark_whole })
}

fn too_long(name: &str, offset: u64) -> StepError {
    let problem = "a segment is not longer than 4 GiB".to_owned();
    Damage { file: name.to_owned(), offset, height: None, part: "record header", problem }.into()
}

/// What is wrong at an offset where a whole record must stand.
fn damage_at(scan: &Scan, offset: u64, height: Height, found: &Found) -> Damage {
    match found {
        Found::Parts(header, parts) => match parts.first() {
            Some(span) => scan.part_damage(offset, header, span),
            None => scan.damage(offset, height, "record header", "it does not fit".into()),
        },
        Found::NoHeader(problem) => scan.damage(offset, height, "record header", problem.clone()),
        _ => {
            scan.damage(offset, height, "record header", "the record runs beyond the end of the file".into())
        }
    }
}

/// Opens all segments of a folder.
pub(crate) fn open_segments(disk: &dyn Disk, read_only: bool, loose: bool) -> Result<Opened, StepError> {
    let names = disk.list(SEGMENTS).map_err(attempt("listing the segments"))?;
    let mut heights = heights_of(&names, "seg");
    let mut report = OpenReport::default();
    if let Some(last) = heights.last().copied()
        && never_begun(disk, last)?
    {
        heights.pop();
        if !read_only {
            disk.remove(&segment_path(last))
                .map_err(attempt("removing a segment that a crash left empty"))?;
        }
    }
    let mut opened = Opened { segments: Vec::new(), head: None, live: None, report: OpenReport::default() };
    for (number, first) in heights.iter().enumerate() {
        let last = number + 1 == heights.len();
        let segment = if last {
            let walked = walk(disk, *first, if loose { End::Loose } else { End::Torn })?;
            report.torn = walked.torn();
            let end = walked.end;
            let segment = if read_only { walked.live } else { repair(disk, walked)? };
            let segment = Arc::new(Segment::Live(segment));
            opened.live = Some((segment.clone(), end));
            segment
        } else {
            Arc::new(open_sealed(disk, *first, read_only, &mut report)?)
        };
        check_link(opened.head, &segment)?;
        opened.head = segment.last().or(opened.head);
        opened.segments.push(segment);
    }
    opened.report = report;
    Ok(opened)
}

/// Whether a crash cut the creation of the last segment short: not even its header is there.
fn never_begun(disk: &dyn Disk, first: Height) -> Result<bool, StepError> {
    let file = disk.open(&segment_path(first), Mode::Read).map_err(attempt("opening a segment"))?;
    let size = file.size_bytes().map_err(attempt("reading a segment"))?;
    if size > SEGMENT_HEADER_SIZE as u64 {
        return Ok(false);
    }
    Ok(matches!(Scan::begin(file, String::new()), Err(ScanError::Header(_))))
}

/// Makes what was found durable, cuts off a torn tail and sets the mark: a process that was killed may have left blocks
/// that no sync has reached.
fn repair(disk: &dyn Disk, walked: Walked) -> Result<Live, StepError> {
    let Walked { mut live, end, size, durable_end, mark_whole } = walked;
    let name = segment_path(live.first);
    let file = disk.open(&name, Mode::Write).map_err(attempt("opening a segment for writing"))?;
    if size > end {
        tracing::warn!(
            file = name,
            offset = end,
            cut_bytes = size - end,
            "cut off a block whose append a crash ended"
        );
        file.set_size(end).map_err(attempt("cutting off a torn tail"))?;
    }
    if !mark_whole {
        tracing::warn!(file = name, "the mark of durable blocks was torn and is written again");
    }
    write_again(file.as_ref(), durable_end, end).map_err(attempt("writing the last blocks again"))?;
    file.sync().map_err(attempt("syncing a segment"))?;
    write_mark(file.as_ref(), live.salt, end).map_err(attempt("marking a segment"))?;
    file.sync().map_err(attempt("syncing a segment"))?;
    live.file = file;
    Ok(live)
}

/// Writes what the mark does not cover once more: when a sync failed, the operating system may show bytes that it will
/// never write, and a sync alone would not change that.
pub(crate) fn write_again(file: &dyn DiskFile, mut from: u64, end: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    while from < end {
        bytes.resize(usize::try_from(end - from).unwrap_or(REWRITE_SIZE).min(REWRITE_SIZE), 0);
        file.read_at(from, &mut bytes)?;
        file.write_at(from, &bytes)?;
        from += bytes.len() as u64;
    }
    Ok(())
}

/// Notes that a segment is durable up to `end`.
pub(crate) fn write_mark(file: &dyn DiskFile, salt: u64, end: u64) -> io::Result<()> {
    file.write_at(record::MARK_OFFSET as u64, &record::encode_mark(salt, end))
}

/// A segment before the last one: by the index beside it, or walked through when that is missing.
fn open_sealed(
    disk: &dyn Disk,
    first: Height,
    read_only: bool,
    report: &mut OpenReport,
) -> Result<Segment, StepError> {
    let name = segment_path(first);
    let reading = attempt("reading a segment's index");
    let size = disk.open(&name, Mode::Read).and_then(|file| file.size_bytes()).map_err(&reading)?;
    match disk.open(&index_path(first), Mode::Read) {
        Ok(file) => {
            if let Some(summary) = sealed::read_summary(file.as_ref(), size).map_err(&reading)?
                && summary.first == first
            {
                return Ok(Segment::Sealed(summary));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(reading(error)),
    }
    let walked = walk(disk, first, End::Whole)?;
    tracing::warn!(file = name, "the index of this segment was missing or damaged and is made again");
    report.reindexed.push(name.clone());
    if read_only {
        return Ok(Segment::Live(walked.live));
    }
    match seal(disk, &walked.live, walked.end).map_err(attempt("writing a segment's index"))? {
        Some(segment) => Ok(segment),
        None => {
            let problem = "it is empty, and others follow it".to_owned();
            let offset = SEGMENT_HEADER_SIZE as u64;
            Err(Damage { file: name, offset, height: Some(first), part: "record header", problem }.into())
        }
    }
}

/// Writes the index file of a segment that will not change any more; none for an empty segment.
pub(crate) fn seal(disk: &dyn Disk, live: &Live, end: u64) -> io::Result<Option<Segment>> {
    let Some((summary, bytes)) = live.index.read().seal(live.first, live.salt, end) else { return Ok(None) };
    write_whole(disk, SEGMENTS, &index_path(live.first), &bytes)?;
    Ok(Some(Segment::Sealed(summary)))
}

/// Ending of files that are not finished; leftovers of a crash are removed at the next start.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Writes a file so that it is there whole or not at all.
fn write_whole(disk: &dyn Disk, folder: &str, path: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = format!("{path}{UNFINISHED}");
    let file = disk.open(&unfinished, Mode::Create)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&unfinished, path)?;
    disk.sync_folder(folder)
}

/// Removes what a crash left unfinished in a folder.
pub(crate) fn remove_unfinished(disk: &dyn Disk, folder: &str) -> io::Result<()> {
    for name in disk.list(folder)?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        disk.remove(&format!("{folder}/{name}"))?;
    }
    Ok(())
}

fn check_link(head: Option<BlockMeta>, segment: &Segment) -> Result<(), StepError> {
    let first = segment.first();
    let expected = head.map_or(Height(0), |head| head.height.next());
    let damage = |problem| Damage {
        file: segment_path(first),
        offset: 0,
        height: Some(expected),
        part: "segment header",
        problem,
    };
    if first != expected {
        return Err(damage(format!(
            "blocks {expected} and following are missing; the next file begins at {first}"
        ))
        .into());
    }
    let parent = head.map_or(BlockHash::default(), |head| head.hash);
    match segment.parent() {
        Some(named) if named != parent => {
            Err(damage(format!("its first block names {named} as its parent, not {parent}")).into())
        }
        _ => Ok(()),
    }
}

/// The damage of a record header that was read alone.
pub(crate) fn record_header_damage(first: Height, offset: u64, height: Height, problem: String) -> Damage {
    let mut damage = header_damage(segment_path(first), record::HeaderProblem::Damaged);
    damage.offset = offset;
    damage.height = Some(height);
    damage.part = "record header";
    damage.problem = problem;
    damage
}
