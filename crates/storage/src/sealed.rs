//! The index beside a segment that will not change any more: where its blocks stand, and sorted prefixes of block and
//! transaction hashes, in pages with a checksum each, so that opening a store reads one page per segment.

use crate::damage::Damage;
use crate::disk::DiskFile;
use crate::live::index_path;
use crate::record::{CRC_SIZE, Fields, VERSION, checked};
use bletchley_primitives::{BlockHash, Height, TimestampMs};
use std::io;

/// Size of a page, checksum included.
const PAGE_SIZE: usize = 4096;
const OFFSETS_PER_PAGE: usize = (PAGE_SIZE - CRC_SIZE) / 4;
const KEY_SIZE: usize = 16;
const KEYS_PER_PAGE: usize = (PAGE_SIZE - CRC_SIZE) / KEY_SIZE;
/// Guesses by the hash's value before a search halves: hashes are spread evenly, unless someone made them otherwise.
const GUESSES_MAX: u32 = 3;

const MAGIC: [u8; 8] = *b"BLTCHIDX";

/// Where a hash may be: the block's place in its segment and the transaction's in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) prefix: u64,
    pub(crate) ordinal: u32,
    pub(crate) position: u32,
}

/// What the first page says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) salt: u64,
    pub(crate) first: Height,
    pub(crate) blocks: u32,
    pub(crate) keys: u32,
    /// Size of the segment file.
    pub(crate) segment_size: u64,
    /// Parent of the first block.
    pub(crate) parent: BlockHash,
    /// The last block.
    pub(crate) last: BlockHash,
    pub(crate) last_parent: BlockHash,
    pub(crate) last_time_ms: TimestampMs,
}

impl Summary {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE_SIZE);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.blocks.to_be_bytes());
        out.extend_from_slice(&self.keys.to_be_bytes());
        out.extend_from_slice(&self.segment_size.to_be_bytes());
        out.extend_from_slice(self.parent.0.as_slice());
        out.extend_from_slice(self.last.0.as_slice());
        out.extend_from_slice(self.last_parent.0.as_slice());
        out.extend_from_slice(&self.last_time_ms.0.to_be_bytes());
        out
    }

    fn decode(page: &[u8]) -> Option<Self> {
        let mut fields = Fields(page);
        if fields.array() != Some(MAGIC) || fields.u32() != Some(VERSION) {
            return None;
        }
        Some(Self {
            salt: fields.u64()?,
            first: Height(fields.u64()?),
            blocks: fields.u32()?,
            keys: fields.u32()?,
            segment_size: fields.u64()?,
            parent: BlockHash(fields.b256()?),
            last: BlockHash(fields.b256()?),
            last_parent: BlockHash(fields.b256()?),
            last_time_ms: TimestampMs(fields.u64()?),
        })
    }

    /// Height after the last block.
    pub(crate) fn end(&self) -> Height {
        Height(self.first.0.saturating_add(u64::from(self.blocks)))
    }

    fn offset_pages(&self) -> u64 {
        u64::from(self.blocks).div_ceil(OFFSETS_PER_PAGE as u64)
    }

    fn hash_pages(&self) -> u64 {
        u64::from(self.blocks).div_ceil(KEYS_PER_PAGE as u64)
    }

    fn key_pages(&self) -> u64 {
        u64::from(self.keys).div_ceil(KEYS_PER_PAGE as u64)
    }

    fn file_size(&self) -> u64 {
        (1 + self.offset_pages() + self.hash_pages() + self.key_pages()) * PAGE_SIZE as u64
    }

    fn table(&self, table: Table) -> (u64, u64) {
        let hashes = 1 + self.offset_pages();
        match table {
            Table::Hashes => (hashes, self.hash_pages()),
            Table::Keys => (hashes + self.hash_pages(), self.key_pages()),
        }
    }
}

/// Which sorted table of an index is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Hashes,
    Keys,
}

/// The bytes of an index file. The tables are sorted here.
pub(crate) fn encode(summary: &Summary, offsets: &[u32], hashes: &mut [Key], keys: &mut [Key]) -> Vec<u8> {
    let mut out = Vec::with_capacity(usize::try_from(summary.file_size()).unwrap_or_default());
    put_page(&mut out, &[summary.encode()]);
    for page in offsets.chunks(OFFSETS_PER_PAGE) {
        put_page(&mut out, &page.iter().map(|offset| offset.to_be_bytes()).collect::<Vec<_>>());
    }
    for table in [hashes, keys] {
        table.sort_unstable();
        for page in table.chunks(KEYS_PER_PAGE) {
            put_page(&mut out, &page.iter().map(encode_key).collect::<Vec<_>>());
        }
    }
    out
}

fn encode_key(key: &Key) -> [u8; KEY_SIZE] {
    ((u128::from(key.prefix) << 64) | (u128::from(key.ordinal) << 32) | u128::from(key.position))
        .to_be_bytes()
}

fn put_page(out: &mut Vec<u8>, entries: &[impl AsRef<[u8]>]) {
    let start = out.len();
    entries.iter().for_each(|entry| out.extend_from_slice(entry.as_ref()));
    out.resize(start + PAGE_SIZE - CRC_SIZE, 0);
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Why a page could not be used.
pub(crate) enum PageError {
    Io(io::Error),
    Damaged(Damage),
}

impl From<io::Error> for PageError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the first page; none when the file is not a whole index of a segment of this size.
pub(crate) fn read_summary(file: &dyn DiskFile, segment_size: u64) -> io::Result<Option<Summary>> {
    let size = file.size_bytes()?;
    if size < PAGE_SIZE as u64 {
        return Ok(None);
    }
    let mut page = [0; PAGE_SIZE];
    file.read_at(0, &mut page)?;
    let summary = checked(&page).and_then(Summary::decode);
    Ok(summary.filter(|s| s.blocks > 0 && s.segment_size == segment_size && s.file_size() == size))
}

/// Offsets of the pages whose checksum does not fit; a page that is cut off is one of them.
pub(crate) fn damaged_pages(file: &dyn DiskFile) -> io::Result<Vec<u64>> {
    let size = file.size_bytes()?;
    let mut damaged = Vec::new();
    for offset in (0..size).step_by(PAGE_SIZE) {
        let mut page = [0; PAGE_SIZE];
        let whole = size - offset >= PAGE_SIZE as u64;
        if whole {
            file.read_at(offset, &mut page)?;
        }
        if !whole || checked(&page).is_none() {
            damaged.push(offset);
        }
    }
    Ok(damaged)
}

/// An open index file.
pub(crate) struct Index<'a> {
    pub(crate) file: &'a dyn DiskFile,
    pub(crate) summary: &'a Summary,
}

type Page = [u8; PAGE_SIZE];

impl Index<'_> {
    fn page(&self, number: u64) -> Result<Page, PageError> {
        let mut page = [0; PAGE_SIZE];
        let offset = number * PAGE_SIZE as u64;
        self.file.read_at(offset, &mut page)?;
        if checked(&page).is_none() {
            return Err(PageError::Damaged(Damage {
                file: index_path(self.summary.first),
                offset,
                height: None,
                part: "segment index",
                problem: "its checksum does not fit; delete this file, it is made again at the next start"
                    .into(),
            }));
        }
        Ok(page)
    }

    /// Offset of a block in the segment.
    pub(crate) fn offset(&self, ordinal: u32) -> Result<u32, PageError> {
        let ordinal = u64::from(ordinal);
        let page = self.page(1 + ordinal / OFFSETS_PER_PAGE as u64)?;
        let at = (ordinal % OFFSETS_PER_PAGE as u64) as usize * 4;
        Ok(page.get(at..).and_then(|bytes| Fields(bytes).u32()).unwrap_or_default())
    }

    /// All keys with this prefix.
    pub(crate) fn find(&self, table: Table, prefix: u64) -> Result<Vec<Key>, PageError> {
        let (start, pages) = self.summary.table(table);
        let total = match table {
            Table::Hashes => self.summary.blocks,
            Table::Keys => self.summary.keys,
        };
        let mut found = Vec::new();
        let Some((mut number, mut page)) = self.first_page(start, pages, total, prefix)? else {
            return Ok(found);
        };
        loop {
            let keys = keys_of(&page, total, number);
            let at = keys.partition_point(|key| decode_key(key).prefix < prefix);
            found.extend(keys.iter().skip(at).map(decode_key).take_while(|key| key.prefix == prefix));
            number += 1;
            // Equal keys may go on in the next page.
            if number >= pages || keys.last().map(decode_key).is_none_or(|last| last.prefix != prefix) {
                return Ok(found);
            }
            page = self.page(start + number)?;
        }
    }

    /// The first page whose last key is not below `prefix`.
    fn first_page(
        &self,
        start: u64,
        pages: u64,
        total: u32,
        prefix: u64,
    ) -> Result<Option<(u64, Page)>, PageError> {
        let (mut low, mut high) = (0, pages);
        let mut guesses = 0;
        let mut guess = ((u128::from(prefix) * u128::from(total) / KEYS_PER_PAGE as u128) >> 64) as u64;
        let mut best = None;
        while low < high {
            let middle =
                if guesses < GUESSES_MAX { guess.clamp(low, high - 1) } else { low + (high - low) / 2 };
            guesses += 1;
            let page = self.page(start + middle)?;
            let keys = keys_of(&page, total, middle);
            let first = keys.first().map_or(0, |key| decode_key(key).prefix);
            let last = keys.last().map_or(u64::MAX, |key| decode_key(key).prefix);
            if last < prefix {
                low = middle + 1;
                guess = low;
            } else {
                best = Some((middle, page));
                if first < prefix {
                    break;
                }
                high = middle;
                guess = middle.saturating_sub(1);
            }
        }
        Ok(best)
    }
}

fn keys_of(page: &Page, total: u32, number: u64) -> &[[u8; KEY_SIZE]] {
    let before = number.saturating_mul(KEYS_PER_PAGE as u64);
    let here = u64::from(total).saturating_sub(before).min(KEYS_PER_PAGE as u64);
    page.as_chunks::<KEY_SIZE>().0.get(..here as usize).unwrap_or_default()
}

fn decode_key(bytes: &[u8; KEY_SIZE]) -> Key {
    let value = u128::from_be_bytes(*bytes);
    Key { prefix: (value >> 64) as u64, ordinal: (value >> 32) as u32, position: value as u32 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct InMemory(Vec<u8>);

    impl DiskFile for InMemory {
        fn size_bytes(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            let at = offset as usize;
            into.copy_from_slice(self.0.get(at..at + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_size(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn index_of(keys: &[Key], offsets: &[u32]) -> (InMemory, Summary) {
        let summary = Summary {
            salt: 1,
            first: Height(5),
            blocks: offsets.len() as u32,
            keys: keys.len() as u32,
            segment_size: 77,
            parent: BlockHash::default(),
            last: BlockHash::default(),
            last_parent: BlockHash::default(),
            last_time_ms: TimestampMs(3),
        };
        let mut hashes: Vec<Key> =
            offsets.iter().map(|o| Key { prefix: u64::from(*o), ordinal: *o, position: 0 }).collect();
        (InMemory(encode(&summary, offsets, &mut hashes, &mut keys.to_vec())), summary)
    }

    fn check(prefixes: &[u64], asked: &[u64]) {
        let keys: Vec<Key> = prefixes
            .iter()
            .enumerate()
            .map(|(i, p)| Key { prefix: *p, ordinal: i as u32, position: 1 })
            .collect();
        let offsets: Vec<u32> = (0..2500).collect();
        let (file, summary) = index_of(&keys, &offsets);
        assert_eq!(read_summary(&file, 77).ok().flatten(), Some(summary));
        let index = Index { file: &file, summary: &summary };
        for prefix in asked {
            let Ok(found) = index.find(Table::Keys, *prefix) else { panic!("page error") };
            let mut expected: Vec<Key> = keys.iter().filter(|k| k.prefix == *prefix).copied().collect();
            expected.sort();
            assert_eq!(found, expected, "prefix {prefix}");
        }
        for ordinal in [0, 1, 1022, 1023, 1024, 2499] {
            assert!(index.offset(ordinal).is_ok_and(|offset| offset == ordinal));
            let Ok(found) = index.find(Table::Hashes, u64::from(ordinal)) else { panic!("page error") };
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].ordinal, ordinal);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn finds_every_key_spread_evenly_or_not(seed in any::<u64>(), count in 0usize..3000, shape in 0..4) {
            let mut state = seed | 1;
            let mut next = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
            let prefixes: Vec<u64> = (0..count).map(|_| match shape {
                0 => next(),
                1 => next() % 20,
                2 => u64::MAX - next() % 1000,
                _ => next() >> (next() % 64),
            }).collect();
            let mut asked: Vec<u64> = prefixes.iter().take(40).copied().collect();
            asked.extend([0, 1, u64::MAX, u64::MAX / 2, next(), next()]);
            asked.extend(prefixes.iter().take(20).flat_map(|p| [p.wrapping_add(1), p.wrapping_sub(1)]));
            check(&prefixes, &asked);
        }
    }

    #[test]
    fn a_damaged_page_is_named() {
        let keys: Vec<Key> = (0..600).map(|i| Key { prefix: i, ordinal: 0, position: 0 }).collect();
        let (mut file, summary) = index_of(&keys, &[0]);
        let at = PAGE_SIZE * 4 + 9;
        file.0[at] ^= 4;
        let index = Index { file: &file, summary: &summary };
        let Err(PageError::Damaged(damage)) = index.find(Table::Keys, 300) else { panic!("not found out") };
        assert_eq!(damage.offset, PAGE_SIZE as u64 * 4);
        assert!(index.find(Table::Keys, 3).is_ok());
    }
}
