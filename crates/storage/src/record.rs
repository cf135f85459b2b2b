//! The bytes of one block in a segment, and of a segment's own header. Layout: crates/storage/DESIGN.md.

use bletchley_ledger::{Block, BlockMeta, IndexEntry, Section, StoredBlock};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};

/// Version of the segment format.
pub(crate) const VERSION: u32 = 1;
/// Size of a segment's header, its mark included.
pub(crate) const SEGMENT_HEADER_SIZE: usize = 44;
/// Where in a segment the mark begins.
pub(crate) const MARK_OFFSET: usize = 32;
/// Size of the mark.
pub(crate) const MARK_SIZE: usize = 12;
/// Size of a record's header.
pub(crate) const HEADER_SIZE: usize = 128;
/// Size of a checksum.
pub(crate) const CRC_SIZE: usize = 4;
/// Size of one index entry.
pub(crate) const ENTRY_SIZE: usize = 36;
/// Largest record; a genesis block with a million funded accounts takes about 100 MB.
pub const RECORD_SIZE_BYTES_MAX: u64 = 512 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"BLTCHSEG";
/// First bytes of every record.
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"BLKr";

/// Reads fixed fields off the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn b256(&mut self) -> Option<B256> {
        self.array().map(B256::new)
    }
}

/// Splits a trailing checksum off and says whether it fits the bytes before it.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<CRC_SIZE>()?;
    (crc32c::crc32c(body) == u32::from_be_bytes(*crc)).then_some(body)
}

/// A segment's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Height of its first block.
    pub(crate) first: Height,
    /// Stands in every record of the segment, so that bytes which a user put into a transaction are never taken for a
    /// record, and records of another segment neither.
    pub(crate) salt: u64,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderProblem {
    /// Checksum or magic do not fit.
    Damaged,
    /// Written by a later program.
    Version(u32),
}

impl HeaderProblem {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Damaged => "its checksum does not fit".into(),
            Self::Version(version) => {
                format!("it has format version {version}; this program reads {VERSION}")
            }
        }
    }
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_SIZE);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&encode_mark(self.salt, SEGMENT_HEADER_SIZE as u64));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderProblem> {
        let fixed = bytes.get(..MARK_OFFSET).and_then(checked).ok_or(HeaderProblem::Damaged)?;
        let mut fields = Fields(fixed);
        if fields.array() != Some(SEGMENT_MAGIC) {
            return Err(HeaderProblem::Damaged);
        }
        let version = fields.u32().ok_or(HeaderProblem::Damaged)?;
        if version != VERSION {
            return Err(HeaderProblem::Version(version));
        }
        match (fields.u64(), fields.u64()) {
            (Some(first), Some(salt)) => Ok(Self { first: Height(first), salt }),
            _ => Err(HeaderProblem::Damaged),
        }
    }
}

/// The mark: up to where the segment is known to be durable.
pub(crate) fn encode_mark(salt: u64, end: u64) -> [u8; MARK_SIZE] {
    let mut out = [0; MARK_SIZE];
    let end = end.to_be_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_be_bytes()), &end).to_be_bytes();
    for (to, from) in out.iter_mut().zip(end.iter().chain(&crc)) {
        *to = *from;
    }
    out
}

/// Reads a mark out of a segment's first bytes; none when it was torn.
pub(crate) fn decode_mark(salt: u64, bytes: &[u8]) -> Option<u64> {
    let mark = bytes.get(MARK_OFFSET..SEGMENT_HEADER_SIZE)?;
    let end = Fields(mark).u64()?;
    (encode_mark(salt, end) == mark).then_some(end)
}

/// A part of a record that has its own checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Section(Section),
    Index,
}

impl Part {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Section(section) => section.name(),
            Self::Index => "index",
        }
    }
}

/// Where a part stands in its record, without its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) part: Part,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) salt: u64,
    pub(crate) meta: BlockMeta,
    pub(crate) sizes: [u32; Section::ALL.len()],
    pub(crate) entries: u32,
}

impl RecordHeader {
    /// The header of a block's record; none when a part is larger than a length can say.
    pub(crate) fn of(block: &StoredBlock, salt: u64) -> Option<Self> {
        let mut sizes = [0; Section::ALL.len()];
        for (size, section) in sizes.iter_mut().zip(Section::ALL) {
            *size = u32::try_from(block.section(section).len()).ok()?;
        }
        Some(Self { salt, meta: block.meta, sizes, entries: u32::try_from(block.index.len()).ok()? })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&RECORD_MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        out.extend_from_slice(&self.meta.height.0.to_be_bytes());
        out.extend_from_slice(&self.meta.time_ms.0.to_be_bytes());
        out.extend_from_slice(self.meta.hash.0.as_slice());
        out.extend_from_slice(self.meta.parent.0.as_slice());
        for size in self.sizes {
            out.extend_from_slice(&size.to_be_bytes());
        }
        out.extend_from_slice(&self.entries.to_be_bytes());
        put_crc(out, start);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderProblem> {
        let mut fields = Fields(bytes.get(..HEADER_SIZE).and_then(checked).ok_or(HeaderProblem::Damaged)?);
        if fields.array() != Some(RECORD_MAGIC) {
            return Err(HeaderProblem::Damaged);
        }
        let version = fields.u32().ok_or(HeaderProblem::Damaged)?;
        if version != VERSION {
            return Err(HeaderProblem::Version(version));
        }
        Self::decode_rest(fields).ok_or(HeaderProblem::Damaged)
    }

    fn decode_rest(mut fields: Fields<'_>) -> Option<Self> {
        let salt = fields.u64()?;
        let height = Height(fields.u64()?);
        let time_ms = TimestampMs(fields.u64()?);
        let hash = BlockHash(fields.b256()?);
        let parent = BlockHash(fields.b256()?);
        let mut sizes = [0; Section::ALL.len()];
        for size in &mut sizes {
            *size = fields.u32()?;
        }
        Some(Self { salt, meta: BlockMeta { height, hash, parent, time_ms }, sizes, entries: fields.u32()? })
    }

    /// Size of the whole record.
    pub(crate) fn record_size(&self) -> u64 {
        let parts: u64 = self.spans().iter().map(|span| span.size + CRC_SIZE as u64).sum();
        HEADER_SIZE as u64 + parts
    }

    /// The parts in the order of the disk.
    pub(crate) fn spans(&self) -> [Span; Section::ALL.len() + 1] {
        let mut offset = HEADER_SIZE as u64;
        let mut sizes = self.sizes.iter().map(|size| u64::from(*size));
        let mut sections = Section::ALL.into_iter();
        std::array::from_fn(|_| {
            let (part, size) = match (sections.next(), sizes.next()) {
                (Some(section), Some(size)) => (Part::Section(section), size),
                _ => (Part::Index, u64::from(self.entries) * ENTRY_SIZE as u64),
            };
            let span = Span { part, offset, size };
            offset += size + CRC_SIZE as u64;
            span
        })
    }

    /// Where one part stands.
    pub(crate) fn span(&self, part: Part) -> Span {
        let index = Span { part: Part::Index, offset: self.record_size(), size: 0 };
        self.spans().into_iter().find(|span| span.part == part).unwrap_or(index)
    }
}

fn put_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Appends a block's record to `out`, its index sorted by key.
pub(crate) fn encode(header: &RecordHeader, block: &StoredBlock, out: &mut Vec<u8>) {
    header.encode(out);
    for section in Section::ALL {
        let start = out.len();
        out.extend_from_slice(block.section(section));
        put_crc(out, start);
    }
    let start = out.len();
    for entry in &block.index {
        out.extend_from_slice(entry.key.as_slice());
        out.extend_from_slice(&entry.position.to_be_bytes());
    }
    if !block.index.is_sorted()
        && let Some(written) = out.get_mut(start..)
    {
        // The encoding of an entry sorts as the entry does.
        written.as_chunks_mut::<ENTRY_SIZE>().0.sort_unstable();
    }
    put_crc(out, start);
}

/// Entries of an index part whose checksum was verified.
pub(crate) fn entries(bytes: &[u8]) -> impl ExactSizeIterator<Item = IndexEntry> + '_ {
    bytes.as_chunks::<ENTRY_SIZE>().0.iter().map(decode_entry)
}

/// One index entry.
pub(crate) fn decode_entry(bytes: &[u8; ENTRY_SIZE]) -> IndexEntry {
    let mut fields = Fields(bytes);
    IndexEntry { key: fields.b256().unwrap_or_default(), position: fields.u32().unwrap_or_default() }
}

/// The first eight bytes of a hash, by which sealed segments find it.
pub(crate) fn prefix(hash: &B256) -> u64 {
    Fields(hash.as_slice()).u64().unwrap_or_default()
}

/// Parts of `record` whose checksum does not fit.
pub(crate) fn damaged_parts(header: &RecordHeader, record: &[u8]) -> Vec<Span> {
    let damaged = |span: &Span| part_bytes(record, *span).is_none();
    header.spans().into_iter().filter(damaged).collect()
}

/// The bytes of one part of a whole record, if its checksum fits.
pub(crate) fn part_bytes(record: &[u8], span: Span) -> Option<&[u8]> {
    let start = usize::try_from(span.offset).ok()?;
    let end = start.checked_add(usize::try_from(span.size).ok()?)?.checked_add(CRC_SIZE)?;
    checked(record.get(start..end)?)
}

/// A block out of a record whose parts were all verified; shares the record's memory.
pub(crate) fn decode(header: &RecordHeader, record: &Bytes) -> StoredBlock {
    let slice = |part: Part| {
        let span = header.span(part);
        let range = span.offset as usize..(span.offset + span.size) as usize;
        if range.end <= record.len() { record.slice(range) } else { Bytes::new() }
    };
    let section = |section| slice(Part::Section(section));
    StoredBlock {
        meta: header.meta,
        block: Block {
            header: section(Section::Header),
            body: section(Section::Body),
            extension: section(Section::Extension),
        },
        receipts: section(Section::Receipts),
        diff: section(Section::Diff),
        certificate: section(Section::Certificate),
        index: entries(&slice(Part::Index)).collect(),
    }
}
