//! The smart-contract machine: Ethereum rules through revm over an in-memory state with Merkle-Patricia roots; no sockets.

pub mod state;
pub mod trie;
