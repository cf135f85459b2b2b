//! Headers, block bodies and receipts of a token ledger.

use crate::ids::{HEADER, RECEIPTS};
use crate::limits::{BLOCK_SIZE_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, HEADER_SIZE_BYTES_MAX, TX_SIZE_BYTES_MAX};
use crate::transaction::Checked;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{
    Address, B256, BlockHash, Bytes, DecodeError, Height, LedgerId, TimestampMs, decode_bounded,
};
use serde::Serialize;

/// Version of the header format.
pub const HEADER_VERSION: u8 = 1;

/// Header of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Header {
    /// [`HEADER_VERSION`].
    pub version: u8,
    /// The ledger.
    pub ledger: LedgerId,
    /// Number of the block.
    pub height: Height,
    /// Hash of the header before it; zero for genesis.
    pub parent: BlockHash,
    /// Time of the block in milliseconds; never before its parent's.
    pub time_ms: TimestampMs,
    /// Merkle root over the transactions (RFC 9162, keccak256), witnesses included.
    pub transactions_root: B256,
    /// State commitment after the block: number of outputs and root of the output tree.
    pub state_root: B256,
    /// Digest of the block's extension.
    pub extension: B256,
    /// Digest of the block's receipts.
    pub receipts: B256,
    /// Who built it.
    pub proposer: Address,
}

impl Header {
    /// Canonical bytes.
    #[must_use]
    pub fn encode_bytes(&self) -> Bytes {
        alloy_rlp::encode(self).into()
    }

    /// The header in these bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when they are no header, or one of another version.
    pub fn decode_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Self = decode_bounded(bytes, HEADER_SIZE_BYTES_MAX)?;
        if header.version != HEADER_VERSION {
            let problem =
                format!("header version {}, this node reads version {HEADER_VERSION}", header.version);
            return Err(DecodeError::Malformed(problem));
        }
        Ok(header)
    }

    /// Hash of the header, which is the block's hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(HEADER.digest(&[&alloy_rlp::encode(self)]))
    }
}

/// The list of a block's transactions, each in its canonical bytes.
pub(crate) fn encode_body(transactions: &[std::sync::Arc<Checked>]) -> Bytes {
    let payload_length = transactions.iter().map(|tx| tx.bytes.len()).sum();
    let mut out = Vec::with_capacity(payload_length + 9);
    alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
    for tx in transactions {
        out.extend_from_slice(&tx.bytes);
    }
    out.into()
}

/// The bytes of each transaction of a block.
pub(crate) fn split_body(body: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    if body.len() > BLOCK_SIZE_BYTES_MAX {
        return Err(DecodeError::TooLong { size_bytes: body.len(), size_bytes_max: BLOCK_SIZE_BYTES_MAX });
    }
    let mut rest = body;
    let mut payload = alloy_rlp::Header::decode_bytes(&mut rest, true)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing(rest.len()));
    }
    let mut transactions = Vec::new();
    while !payload.is_empty() {
        let start = payload;
        let item = alloy_rlp::Header::decode_bytes(&mut payload, true)?;
        if item.len() > TX_SIZE_BYTES_MAX {
            return Err(DecodeError::TooLong { size_bytes: item.len(), size_bytes_max: TX_SIZE_BYTES_MAX });
        }
        if transactions.len() == BLOCK_TRANSACTIONS_MAX {
            return Err(DecodeError::Malformed(format!(
                "a block has at most {BLOCK_TRANSACTIONS_MAX} transactions"
            )));
        }
        transactions.push(start.split_at(start.len() - payload.len()).0);
    }
    Ok(transactions)
}

/// Receipts of a block: for each transaction the index of its first output in the output tree.
pub(crate) fn encode_receipts(first_outputs: &[u64]) -> Bytes {
    alloy_rlp::encode(first_outputs.to_vec()).into()
}

/// Reads what [`encode_receipts`] wrote.
pub(crate) fn decode_receipts(bytes: &[u8]) -> Result<Vec<u64>, DecodeError> {
    decode_bounded(bytes, 9 * BLOCK_TRANSACTIONS_MAX + 9)
}

pub(crate) fn receipts_digest(receipts: &[u8]) -> B256 {
    RECEIPTS.digest(&[receipts])
}
