//! The segments of a store in memory: the one that grows is indexed here, those before it by the files beside them.

use crate::disk::DiskFile;
use crate::record::{RecordHeader, prefix};
use crate::sealed::{Key, Summary};
use bletchley_ledger::{BlockMeta, IndexEntry};
use bletchley_primitives::{BlockHash, Height};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Hashes by prefix. Two hashes with one prefix are rare, and dear to make: a list holds the later ones.
#[derive(Debug, Default)]
struct PrefixMap {
    first: FxHashMap<u64, (u32, u32)>,
    later: Vec<Key>,
}

impl PrefixMap {
    fn insert(&mut self, key: Key) {
        let Key { prefix, ordinal, position } = key;
        match self.first.entry(prefix) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((ordinal, position));
            }
            std::collections::hash_map::Entry::Occupied(_) => self.later.push(key),
        }
    }

    fn find(&self, prefix: u64) -> Vec<Key> {
        let Some((ordinal, position)) = self.first.get(&prefix).copied() else { return Vec::new() };
        let later = self.later.iter().filter(|key| key.prefix == prefix).copied();
        std::iter::once(Key { prefix, ordinal, position }).chain(later).collect()
    }

    fn all(&self) -> Vec<Key> {
        let first = self.first.iter().map(|(prefix, (ordinal, position))| Key {
            prefix: *prefix,
            ordinal: *ordinal,
            position: *position,
        });
        first.chain(self.later.iter().copied()).collect()
    }
}

/// The index of a segment that is kept in memory.
#[derive(Debug, Default)]
pub(crate) struct LiveIndex {
    offsets: Vec<u32>,
    hashes: PrefixMap,
    keys: PrefixMap,
    parent: BlockHash,
    last: Option<BlockMeta>,
}

impl LiveIndex {
    /// Adds the next block, which stands at `offset`.
    pub(crate) fn push(&mut self, offset: u32, meta: BlockMeta, entries: impl Iterator<Item = IndexEntry>) {
        let ordinal = u32::try_from(self.offsets.len()).unwrap_or(u32::MAX);
        if ordinal == 0 {
            self.parent = meta.parent;
        }
        self.offsets.push(offset);
        self.hashes.insert(Key { prefix: prefix(&meta.hash.0), ordinal, position: 0 });
        self.keys.first.reserve(entries.size_hint().0);
        for entry in entries {
            self.keys.insert(Key { prefix: prefix(&entry.key), ordinal, position: entry.position });
        }
        self.last = Some(meta);
    }

    pub(crate) fn offset(&self, ordinal: usize) -> Option<u64> {
        self.offsets.get(ordinal).map(|offset| u64::from(*offset))
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn last(&self) -> Option<BlockMeta> {
        self.last
    }

    /// Hash that the first block names as its parent.
    pub(crate) fn parent(&self) -> BlockHash {
        self.parent
    }

    pub(crate) fn find_hash(&self, prefix: u64) -> Vec<Key> {
        self.hashes.find(prefix)
    }

    pub(crate) fn find_key(&self, prefix: u64) -> Vec<Key> {
        self.keys.find(prefix)
    }

    /// The bytes of the index file for this segment, and what they begin with; none for an empty one.
    pub(crate) fn seal(&self, first: Height, salt: u64, segment_size: u64) -> Option<(Summary, Vec<u8>)> {
        let last = self.last?;
        let mut hashes = self.hashes.all();
        let mut keys = self.keys.all();
        let summary = Summary {
            salt,
            first,
            blocks: u32::try_from(self.offsets.len()).ok()?,
            keys: u32::try_from(keys.len()).ok()?,
            segment_size,
            parent: self.parent,
            last: last.hash,
            last_parent: last.parent,
            last_time_ms: last.time_ms,
        };
        let bytes = crate::sealed::encode(&summary, &self.offsets, &mut hashes, &mut keys);
        Some((summary, bytes))
    }
}

/// One segment of a store.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Indexed in memory: the one that grows, or one whose index file is missing in a store opened read-only.
    Live(Live),
    /// Indexed by the file beside it.
    Sealed(Summary),
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) first: Height,
    pub(crate) salt: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: RwLock<LiveIndex>,
}

impl Segment {
    pub(crate) fn first(&self) -> Height {
        match self {
            Self::Live(live) => live.first,
            Self::Sealed(summary) => summary.first,
        }
    }

    pub(crate) fn salt(&self) -> u64 {
        match self {
            Self::Live(live) => live.salt,
            Self::Sealed(summary) => summary.salt,
        }
    }

    /// The last block, none in an empty segment.
    pub(crate) fn last(&self) -> Option<BlockMeta> {
        match self {
            Self::Live(live) => live.index.read().last(),
            Self::Sealed(summary) => Some(BlockMeta {
                height: Height(summary.end().0.saturating_sub(1)),
                hash: summary.last,
                parent: summary.last_parent,
                time_ms: summary.last_time_ms,
            }),
        }
    }

    /// Hash that the first block names as its parent, none in an empty segment.
    pub(crate) fn parent(&self) -> Option<BlockHash> {
        match self {
            Self::Live(live) => {
                let index = live.index.read();
                index.last().map(|_| index.parent())
            }
            Self::Sealed(summary) => Some(summary.parent),
        }
    }
}

/// Path of a segment.
pub(crate) fn segment_path(first: Height) -> String {
    format!("{SEGMENTS}/{:020}.seg", first.0)
}

/// Path of a segment's index.
pub(crate) fn index_path(first: Height) -> String {
    format!("{SEGMENTS}/{:020}.idx", first.0)
}

/// Folder of the segments.
pub(crate) const SEGMENTS: &str = "segments";

/// Heights that files of a folder are named by, in order.
pub(crate) fn heights_of(names: &[String], extension: &str) -> Vec<Height> {
    let height = |name: &String| {
        let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
        let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        if digits { stem.parse().ok().map(Height) } else { None }
    };
    let mut heights: Vec<Height> = names.iter().filter_map(height).collect();
    heights.sort_unstable();
    heights
}

/// Where a record stands.
pub(crate) struct Place {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) first: Height,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    pub(crate) height: Height,
}

impl Place {
    /// Whether a header is the one that must stand here.
    pub(crate) fn fits(&self, header: &RecordHeader) -> bool {
        header.salt == self.salt && header.meta.height == self.height
    }
}
