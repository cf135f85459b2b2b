//! State changes of one block: keys in strictly ascending order, each with its new value or a deletion.
//!
//! Layout: per entry `key length (u8), key, value length + 1 (LEB128; 0 deletes), value`. The order makes the encoding
//! canonical, and lets a store merge diffs into sorted snapshots without knowing any machine.

use bletchley_primitives::Bytes;

/// Longest value that a diff carries (contract code is at most 24 KiB today; twice the block's data leaves room).
const VALUE_SIZE_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// The bytes end inside an entry.
    #[error("the diff ends inside an entry")]
    Truncated,
    /// Keys are not strictly ascending.
    #[error("the diff's keys are not in ascending order")]
    Unordered,
    /// A length is not minimal or out of bounds.
    #[error("the diff has a length that is out of bounds")]
    Length,
}

/// Collects the changes of a block and writes them in canonical order.
#[derive(Default, Debug)]
pub struct DiffWriter {
    data: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key_start: usize,
    key_end: usize,
    value_end: usize,
    deleted: bool,
}

impl DiffWriter {
    /// Sets `key` (at most 255 bytes) to `value`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, value, false);
    }

    /// Deletes `key`.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, &[], true);
    }

    fn push(&mut self, key: &[u8], value: &[u8], deleted: bool) {
        debug_assert!(key.len() <= 255 && value.len() <= VALUE_SIZE_BYTES_MAX);
        let key_start = self.data.len();
        self.data.extend_from_slice(key);
        let key_end = self.data.len();
        self.data.extend_from_slice(value);
        self.entries.push(Entry { key_start, key_end, value_end: self.data.len(), deleted });
    }

    /// Number of changes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The canonical bytes. Of several changes to one key the last one stands.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let Self { data, mut entries } = self;
        let key = |e: &Entry| data.get(e.key_start..e.key_end).unwrap_or_default();
        entries.sort_by(|a, b| key(a).cmp(key(b)));
        let mut out = Vec::with_capacity(data.len() + entries.len() * 3);
        for (i, entry) in entries.iter().enumerate() {
            if entries.get(i + 1).is_some_and(|next| key(next) == key(entry)) {
                continue;
            }
            let key = key(entry);
            out.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(key);
            let value = data.get(entry.key_end..entry.value_end).unwrap_or_default();
            put_length(&mut out, if entry.deleted { 0 } else { value.len() + 1 });
            out.extend_from_slice(value);
        }
        out.into()
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// One change: the key and its new value, or none for a deletion.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Reads a canonical diff; refuses anything else.
#[derive(Debug, Clone)]
pub struct DiffReader<'a> {
    rest: &'a [u8],
    last: Option<&'a [u8]>,
}

impl<'a> DiffReader<'a> {
    /// A reader over `bytes`.
    ///
    /// # Errors
    /// None today; entries are checked as they are read.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, DiffError> {
        Ok(Self { rest: bytes, last: None })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DiffError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DiffError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DiffError> {
        self.take(1)?.first().copied().ok_or(DiffError::Truncated)
    }

    fn length(&mut self) -> Result<usize, DiffError> {
        let mut length = 0usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || shift == 0;
                return if minimal && length <= VALUE_SIZE_BYTES_MAX + 1 {
                    Ok(length)
                } else {
                    Err(DiffError::Length)
                };
            }
        }
        Err(DiffError::Length)
    }

    fn entry(&mut self) -> Result<Change<'a>, DiffError> {
        let key_length = self.byte()?;
        let key = self.take(usize::from(key_length))?;
        if self.last.is_some_and(|last| last >= key) {
            return Err(DiffError::Unordered);
        }
        self.last = Some(key);
        let value = match self.length()? {
            0 => None,
            n => Some(self.take(n - 1)?),
        };
        Ok((key, value))
    }
}

impl<'a> Iterator for DiffReader<'a> {
    type Item = Result<Change<'a>, DiffError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn round_trips(changes in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300))), 0..60)) {
            let mut writer = DiffWriter::default();
            for (key, value) in &changes {
                match value { Some(v) => writer.put(key, v), None => writer.delete(key) }
            }
            let expected: BTreeMap<_, _> = changes.into_iter().collect();
            let bytes = writer.finish();
            let read: BTreeMap<_, _> = DiffReader::new(&bytes).unwrap()
                .map(|e| e.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec)))).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn hostile_bytes_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut writer = DiffWriter::default();
            let entries: Result<Vec<_>, _> = DiffReader::new(&bytes).unwrap().collect();
            if let Ok(entries) = entries {
                for (key, value) in entries { match value { Some(v) => writer.put(key, v), None => writer.delete(key) } }
                prop_assert_eq!(writer.finish().to_vec(), bytes);
            }
        }
    }
}
