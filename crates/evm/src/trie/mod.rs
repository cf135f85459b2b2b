//! Merkle-Patricia tries in memory, kept up to date block by block; not a database: nothing here knows blocks or disks.
//!
//! Nodes live in arenas and are path-compressed: a leaf holds its whole key, a branch the key bits that lead to it. What a
//! parent needs of its children when it is encoded again (their hash, or their RLP when that is shorter than a hash) stands
//! in the parent itself. A change marks the references on its path as unknown; [`Trie::root`] then encodes exactly the
//! marked nodes, level by level from the bottom (Ethereum yellow paper, appendix D).

mod arena;
mod encode;
mod keccak;
mod nibbles;
mod ordered;
mod proof;
mod root;
mod value;

#[cfg(test)]
mod tests;

pub use arena::Trie;
pub(crate) use keccak::Hasher;
pub use ordered::{ordered_key, ordered_proof, ordered_root};
pub use value::{ContractHashes, TrieAccount, Value};

use bletchley_primitives::B256;

/// The keccak-256 hash that an entry is kept under.
pub type Key = [u8; 32];

/// Root of a trie without entries: the hash of an empty RLP string.
pub const EMPTY_ROOT: B256 = alloy_consensus::constants::EMPTY_ROOT_HASH;
