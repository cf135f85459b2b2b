//! What leaves hold.

use super::{
    EMPTY_ROOT, Key,
    encode::{put_header, put_string, trimmed},
    nibbles::NIBBLES,
};
use bletchley_primitives::{B256, U256};
use revm::primitives::KECCAK_EMPTY;

/// Something that a leaf can hold.
pub trait Value: Default {
    /// Appends the value's RLP, wrapped as an RLP string, as a leaf carries it.
    fn put(&self, out: &mut Vec<u8>);

    /// How many nibbles of a key make the path. Shorter paths must be prefix-free, and their keys padded with zeros.
    #[inline]
    #[must_use]
    fn path_nibbles(_key: &Key) -> usize {
        NIBBLES
    }
}

/// A storage slot; zero is never kept.
impl Value for U256 {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let bytes = self.to_be_bytes::<32>();
        match trimmed(&bytes) {
            [single] if *single < 0x80 => out.push(*single),
            short => {
                put_header(out, 0x80, short.len() + 1);
                put_header(out, 0x80, short.len());
                out.extend_from_slice(short);
            }
        }
    }
}

/// An account as the state trie holds it. Most accounts have neither code nor storage; the hashes of the others are boxed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrieAccount {
    /// Number of transactions sent, or of contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Root of the storage trie and hash of the code, where one of them is not empty.
    pub contract: Option<Box<ContractHashes>>,
}

/// What only contracts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractHashes {
    /// Root of the storage trie.
    pub storage_root: B256,
    /// Hash of the code.
    pub code_hash: B256,
}

impl ContractHashes {
    /// The hashes of an account without code and storage.
    pub const NONE: Self = Self { storage_root: EMPTY_ROOT, code_hash: KECCAK_EMPTY };
}

impl TrieAccount {
    /// An account with these hashes.
    #[must_use]
    pub fn new(nonce: u64, balance: U256, hashes: ContractHashes) -> Self {
        Self { nonce, balance, contract: (hashes != ContractHashes::NONE).then(|| Box::new(hashes)) }
    }

    /// Storage root and code hash.
    #[must_use]
    pub fn hashes(&self) -> ContractHashes {
        self.contract.as_deref().copied().unwrap_or(ContractHashes::NONE)
    }
}

impl Value for TrieAccount {
    fn put(&self, out: &mut Vec<u8>) {
        let (nonce, balance) = (self.nonce.to_be_bytes(), self.balance.to_be_bytes::<32>());
        let (nonce, balance) = (trimmed(&nonce), trimmed(&balance));
        let length_of = |number: &[u8]| match number {
            [single] if *single < 0x80 => 1,
            _ => number.len() + 1,
        };
        let hashes = self.contract.as_deref().unwrap_or(&ContractHashes::NONE);
        // Always between 68 and 108 bytes, so that both headers have two.
        let payload = length_of(nonce) + length_of(balance) + 2 * 33;
        put_header(out, 0x80, payload + 2);
        put_header(out, 0xc0, payload);
        put_string(out, nonce);
        put_string(out, balance);
        put_string(out, hashes.storage_root.as_slice());
        put_string(out, hashes.code_hash.as_slice());
    }
}
