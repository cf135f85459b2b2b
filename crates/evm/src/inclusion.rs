//! Proofs that a transaction, a receipt, or an account and its slots stand under a header; checked without a ledger.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use alloy_trie::{Nibbles, proof::verify_proof};
use bletchley_ledger::{HeaderLink, ReadError};
use bletchley_primitives::{BlockHash, DecodeError, Height, decode_bounded};

use crate::{
    block::decode_header,
    ledger::EvmLedger,
    receipts::consensus_encodings,
    state::AccountProof,
    trie::{ordered_key, ordered_proof},
};

/// What a header says about its place.
///
/// # Errors
/// [`DecodeError`] when these are not the canonical bytes of a header.
pub fn header_link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
    let header = decode_header(bytes)?;
    Ok(HeaderLink {
        height: Height(header.number),
        hash: BlockHash(keccak256(bytes)),
        parent: BlockHash(header.parent_hash),
        state: header.state_root,
    })
}

/// Of which list of a block an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    /// A transaction (EIP-2718 bytes).
    Transaction,
    /// A receipt (EIP-2718 bytes).
    Receipt,
}

impl Included {
    const fn number(self) -> u8 {
        match self {
            Self::Transaction => 0,
            Self::Receipt => 1,
        }
    }
}

impl alloy_rlp::Encodable for Included {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.number().encode(out);
    }

    fn length(&self) -> usize {
        1
    }
}

impl alloy_rlp::Decodable for Included {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match u8::decode(buf)? {
            0 => Ok(Self::Transaction),
            1 => Ok(Self::Receipt),
            _ => Err(alloy_rlp::Error::Custom("unknown list of a block")),
        }
    }
}

/// Shows that an item stands in a list of a block: nodes of the trie whose root is in the header.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct InclusionProof {
    /// Which list.
    pub list: Included,
    /// Position in it.
    pub index: u64,
    /// The item's bytes.
    pub item: Bytes,
    /// Nodes from the root towards it.
    pub nodes: Vec<Bytes>,
}

/// A slot's value and the nodes that show it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ProvedSlot {
    /// The slot.
    pub slot: U256,
    /// Its value; zero when it was never set.
    pub value: U256,
    /// Nodes of the storage trie from its root towards the slot.
    pub nodes: Vec<Bytes>,
}

/// Shows what an account holds: nodes of the state trie whose root is in the header (EIP-1186).
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StateProof {
    /// The account.
    pub address: Address,
    /// Its nonce.
    pub nonce: u64,
    /// Its balance in wei.
    pub balance: U256,
    /// Root of its storage trie.
    pub storage_root: B256,
    /// Hash of its code.
    pub code_hash: B256,
    /// Nodes from the root towards it.
    pub nodes: Vec<Bytes>,
    /// Some of its slots.
    pub slots: Vec<ProvedSlot>,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// Not the canonical encoding of a proof or a header.
    #[error("the proof does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// The nodes do not lead from the header's root to the value.
    #[error("the nodes do not lead from the header to {0}")]
    Nodes(String),
}

impl InclusionProof {
    /// Longest encoding that is decoded: the largest transaction or receipt, and nodes.
    pub const SIZE_BYTES_MAX: usize = 64 << 20;

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(self).into()
    }

    /// The proof in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_bounded(bytes, Self::SIZE_BYTES_MAX)
    }

    /// Checks the proof against the bytes of a header.
    ///
    /// # Errors
    /// [`InclusionError`].
    pub fn verify(&self, header: &[u8]) -> Result<(), InclusionError> {
        let header = decode_header(header)?;
        let (root, what) = match self.list {
            Included::Transaction => (header.transactions_root, "transaction"),
            Included::Receipt => (header.receipts_root, "receipt"),
        };
        let key = Nibbles::unpack(ordered_key(self.index));
        verify_proof(root, key, Some(self.item.to_vec()), &self.nodes)
            .map_err(|_| InclusionError::Nodes(format!("{what} {}", self.index)))
    }

    /// Hash of the transaction, when the item is one.
    #[must_use]
    pub fn transaction(&self) -> Option<B256> {
        (self.list == Included::Transaction).then(|| keccak256(&self.item))
    }
}

impl StateProof {
    /// Longest encoding that is decoded.
    pub const SIZE_BYTES_MAX: usize = 8 << 20;

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(self).into()
    }

    /// The proof in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_bounded(bytes, Self::SIZE_BYTES_MAX)
    }

    /// Checks the proof against a state root. An account that is absent has neither nonce, balance, storage nor code.
    ///
    /// # Errors
    /// [`InclusionError`].
    pub fn verify(&self, state_root: B256) -> Result<(), InclusionError> {
        let account = alloy_trie::TrieAccount {
            nonce: self.nonce,
            balance: self.balance,
            storage_root: self.storage_root,
            code_hash: self.code_hash,
        };
        let expected = (account != alloy_trie::TrieAccount::default()).then(|| alloy_rlp::encode(account));
        verify_proof(state_root, Nibbles::unpack(keccak256(self.address)), expected, &self.nodes)
            .map_err(|_| InclusionError::Nodes(format!("account {}", self.address)))?;
        for proved in &self.slots {
            let key = Nibbles::unpack(keccak256(proved.slot.to_be_bytes::<32>()));
            let expected = (!proved.value.is_zero()).then(|| alloy_rlp::encode(proved.value));
            verify_proof(self.storage_root, key, expected, &proved.nodes)
                .map_err(|_| InclusionError::Nodes(format!("slot {} of {}", proved.slot, self.address)))?;
        }
        Ok(())
    }
}

impl From<AccountProof> for StateProof {
    fn from(proof: AccountProof) -> Self {
        let slots = proof.storage.into_iter();
        Self {
            address: proof.address,
            nonce: proof.nonce,
            balance: proof.balance,
            storage_root: proof.storage_root,
            code_hash: proof.code_hash,
            nodes: proof.proof,
            slots: slots
                .map(|slot| ProvedSlot { slot: slot.slot, value: slot.value, nodes: slot.proof })
                .collect(),
        }
    }
}

impl EvmLedger {
    /// Shows that a transaction, or its receipt, stands in a block; none while the transaction is in no block. The height
    /// names the header under which the proof holds.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn prove_inclusion(
        &self,
        hash: B256,
        list: Included,
    ) -> Result<Option<(Height, InclusionProof)>, ReadError> {
        let Some(found) = self.receipt(hash)? else { return Ok(None) };
        let items: Vec<Bytes> = match list {
            Included::Transaction => found.block.transactions.iter().map(|tx| tx.raw.clone()).collect(),
            Included::Receipt => consensus_encodings(&found.receipts),
        };
        let (Some(item), nodes) = (items.get(found.index), ordered_proof(&items, found.index)) else {
            return Ok(None);
        };
        let proof = InclusionProof { list, index: found.index as u64, item: item.clone(), nodes };
        Ok(Some((found.block.height(), proof)))
    }
}
