//! Walks through a segment file and tells whole records, damaged ones and a torn tail apart.

use crate::damage::Damage;
use crate::disk::DiskFile;
use crate::record::{
    self, HEADER_SIZE, HeaderProblem, RECORD_MAGIC, RECORD_SIZE_BYTES_MAX, RecordHeader, SEGMENT_HEADER_SIZE,
    SegmentHeader, Span,
};
use bletchley_primitives::Height;
use std::io;
use std::sync::Arc;

/// How much is read at once.
const WINDOW_SIZE: u64 = 1 << 20;

/// How often a mark that does not fit is read again.
const MARK_READS_MAX: usize = 2;

/// Reads a file forward in large pieces.
struct Window {
    file: Arc<dyn DiskFile>,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The `count` bytes at `offset`; fewer where the file ends.
    fn get(&mut self, offset: u64, count: u64) -> io::Result<&[u8]> {
        let count = count.min(self.size.saturating_sub(offset));
        let held = offset.checked_sub(self.start);
        let at = match held.filter(|at| at + count <= self.bytes.len() as u64) {
            Some(at) => at,
            None => {
                self.load(offset, count)?;
                0
            }
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let range = at..at.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(self.bytes.get(range).unwrap_or_default())
    }

    fn load(&mut self, offset: u64, count: u64) -> io::Result<()> {
        let size = count.max(WINDOW_SIZE).min(self.size.saturating_sub(offset));
        self.bytes.clear();
        self.start = offset;
        // A large record is not kept beyond its turn.
        self.bytes.shrink_to(WINDOW_SIZE as usize);
        self.bytes.resize(usize::try_from(size).unwrap_or_default(), 0);
        self.file.read_at(offset, &mut self.bytes).inspect_err(|_| self.bytes.clear())
    }
}

/// What stands at an offset of a segment.
pub(crate) enum Found {
    /// The file ends here.
    End,
    /// A whole record, all checksums verified.
    Whole(RecordHeader),
    /// A header, whole, of which the record ends beyond the file.
    Short,
    /// A record of which these parts are damaged.
    Parts(RecordHeader, Vec<Span>),
    /// No header of a record.
    NoHeader(String),
}

/// A segment file that is walked through; what is appended meanwhile is not seen.
pub(crate) struct Scan {
    window: Window,
    /// Path, for reports.
    pub(crate) name: String,
    /// The file's own header.
    pub(crate) header: SegmentHeader,
    /// Up to where the file is known to have been durable.
    pub(crate) durable_end: u64,
    /// Whether the mark that says so could be read.
    pub(crate) mark_whole: bool,
}

/// Why a walk could not begin.
pub(crate) enum ScanError {
    Io(io::Error),
    Header(Damage),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Scan {
    /// Reads the segment's header.
    pub(crate) fn begin(file: Arc<dyn DiskFile>, name: String) -> Result<Self, ScanError> {
        let mut head = [0; SEGMENT_HEADER_SIZE];
        if file.size_bytes()? < SEGMENT_HEADER_SIZE as u64 {
            return Err(ScanError::Header(header_damage(name, HeaderProblem::Damaged)));
        }
        file.read_at(0, &mut head)?;
        let header = match SegmentHeader::decode(&head) {
            Ok(header) => header,
            Err(problem) => return Err(ScanError::Header(header_damage(name, problem))),
        };
        let mut mark = record::decode_mark(header.salt, &head);
        for _ in 0..MARK_READS_MAX {
            if mark.is_none() {
                // A node beside this process may be writing it at this moment.
                file.read_at(0, &mut head)?;
                mark = record::decode_mark(header.salt, &head);
            }
        }
        // After the mark, so that a file which grows meanwhile is never shorter than it says.
        let size = file.size_bytes()?;
        let window = Window { file, size, start: 0, bytes: Vec::new() };
        let durable_end = mark.unwrap_or(SEGMENT_HEADER_SIZE as u64);
        Ok(Self { window, name, header, durable_end, mark_whole: mark.is_some() })
    }

    /// A walk through a segment whose header is damaged: its records still say what stood there.
    pub(crate) fn begin_without_header(file: Arc<dyn DiskFile>, name: String) -> io::Result<Option<Self>> {
        let size = file.size_bytes()?;
        let start = SEGMENT_HEADER_SIZE as u64;
        let mut window = Window { file, size, start: 0, bytes: Vec::new() };
        let Some(offset) = find_header(&mut window, start, None)? else { return Ok(None) };
        let Ok(first) = RecordHeader::decode(window.get(offset, HEADER_SIZE as u64)?) else {
            return Ok(None);
        };
        let header = SegmentHeader { first: first.meta.height, salt: first.salt };
        Ok(Some(Self { window, name, header, durable_end: start, mark_whole: true }))
    }

    /// Size of the file when the walk began.
    pub(crate) fn size(&self) -> u64 {
        self.window.size
    }

    /// What stands at `offset`.
    pub(crate) fn at(&mut self, offset: u64) -> io::Result<Found> {
        if offset >= self.window.size {
            return Ok(Found::End);
        }
        let header = match RecordHeader::decode(self.window.get(offset, HEADER_SIZE as u64)?) {
            Ok(header) if header.salt == self.header.salt => header,
            Ok(_) => return Ok(Found::NoHeader("it belongs to another segment".into())),
            Err(problem) => return Ok(Found::NoHeader(problem.text())),
        };
        let size = header.record_size();
        if size > RECORD_SIZE_BYTES_MAX || size > self.window.size - offset {
            return Ok(Found::Short);
        }
        let damaged = record::damaged_parts(&header, self.window.get(offset, size)?);
        Ok(if damaged.is_empty() { Found::Whole(header) } else { Found::Parts(header, damaged) })
    }

    /// The bytes of the record that [`Scan::at`] found whole.
    pub(crate) fn record(&mut self, offset: u64, header: &RecordHeader) -> io::Result<&[u8]> {
        self.window.get(offset, header.record_size())
    }

    /// Offset of the next whole record header of this segment at or after `from`.
    pub(crate) fn find_header(&mut self, from: u64) -> io::Result<Option<u64>> {
        find_header(&mut self.window, from, Some(self.header.salt))
    }

    /// The record header at `offset`, where [`Scan::find_header`] found one.
    pub(crate) fn header_at(&mut self, offset: u64) -> io::Result<Option<RecordHeader>> {
        Ok(RecordHeader::decode(self.window.get(offset, HEADER_SIZE as u64)?).ok())
    }

    /// A damage of this file.
    pub(crate) fn damage(&self, offset: u64, height: Height, part: &'static str, problem: String) -> Damage {
        Damage { file: self.name.clone(), offset, height: Some(height), part, problem }
    }

    /// A damage of a record's part.
    pub(crate) fn part_damage(&self, offset: u64, header: &RecordHeader, span: &Span) -> Damage {
        let problem = "its checksum does not fit".to_owned();
        self.damage(offset + span.offset, header.meta.height, span.part.name(), problem)
    }
}

/// The damage of a segment's own header.
pub(crate) fn header_damage(file: String, problem: HeaderProblem) -> Damage {
    Damage { file, offset: 0, height: None, part: "segment header", problem: problem.text() }
}

fn find_header(window: &mut Window, mut from: u64, salt: Option<u64>) -> io::Result<Option<u64>> {
    while from + HEADER_SIZE as u64 <= window.size {
        let piece = window.get(from, WINDOW_SIZE)?;
        let candidates =
            piece.windows(HEADER_SIZE).enumerate().filter(|(_, bytes)| bytes.starts_with(&RECORD_MAGIC));
        for (at, bytes) in candidates {
            if RecordHeader::decode(bytes).is_ok_and(|header| salt.is_none_or(|salt| header.salt == salt)) {
                return Ok(Some(from + at as u64));
            }
        }
        from += (piece.len() - (HEADER_SIZE - 1)) as u64;
    }
    Ok(None)
}
