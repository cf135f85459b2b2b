//! Roots of lists, and proofs of their items: the transactions and the receipts of a block, keyed by the RLP of their index.

use super::{
    EMPTY_ROOT, Key, Trie, Value,
    encode::{put_string, trimmed},
};
use bletchley_primitives::{B256, Bytes};

/// Longest RLP of a position.
const KEY_SIZE_BYTES_MAX: usize = 9;

/// An item of a list, already encoded (EIP-2718).
#[derive(Default)]
struct Item<'a>(&'a [u8]);

impl Value for Item<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_string(out, self.0);
    }

    fn path_nibbles(key: &Key) -> usize {
        // The key is an RLP string of at most eight bytes: its first byte says how long it is.
        let [first, ..] = *key;
        2 + 2 * usize::from(first.saturating_sub(0x80))
    }
}

/// Root of the trie that maps the RLP of each position to the item there.
#[must_use]
pub fn ordered_root<T: AsRef<[u8]>>(items: &[T]) -> B256 {
    if items.is_empty() { EMPTY_ROOT } else { ordered(items).root() }
}

/// The nodes of that trie from its root towards the item at `position`.
#[must_use]
pub fn ordered_proof<T: AsRef<[u8]>>(items: &[T], position: usize) -> Vec<Bytes> {
    if items.is_empty() { Vec::new() } else { ordered(items).proof(&padded(&ordered_key(position as u64))) }
}

/// Key of a position: its RLP.
#[must_use]
pub fn ordered_key(position: u64) -> Vec<u8> {
    let mut path = Vec::with_capacity(KEY_SIZE_BYTES_MAX);
    put_string(&mut path, trimmed(&position.to_be_bytes()));
    path
}

fn padded(path: &[u8]) -> Key {
    let mut key = [0u8; 32];
    if let Some(start) = key.get_mut(..path.len()) {
        start.copy_from_slice(path);
    }
    key
}

fn ordered<T: AsRef<[u8]>>(items: &[T]) -> Trie<Item<'_>> {
    let mut trie = Trie::<Item<'_>>::with_capacity(items.len());
    let mut path = Vec::with_capacity(KEY_SIZE_BYTES_MAX);
    for (position, item) in items.iter().enumerate() {
        path.clear();
        put_string(&mut path, trimmed(&(position as u64).to_be_bytes()));
        trie.insert(&padded(&path), Item(item.as_ref()));
    }
    trie
}
