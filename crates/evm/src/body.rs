//! The body of a block: an RLP list of its transactions, each as the string of its canonical bytes (EIP-2718).

use alloy_primitives::Bytes;
use alloy_rlp::{Encodable, Header};
use bletchley_primitives::DecodeError;
use std::sync::Arc;

use crate::tx::{RecoveredTx, TX_SIZE_BYTES_MAX};

/// Most transactions in one block.
pub const BLOCK_TXS_MAX: usize = 32_768;
/// Most bytes of transactions in one block.
pub const BODY_SIZE_BYTES_MAX: usize = 8 << 20;

/// Longest header of a string in the list.
const STRING_HEADER_BYTES_MAX: usize = 9;

/// Most bytes of transactions that a proposer picks, so that their list stays within [`BODY_SIZE_BYTES_MAX`].
pub(crate) const PICK_SIZE_BYTES_MAX: usize = BODY_SIZE_BYTES_MAX - TX_SIZE_BYTES_MAX - BLOCK_TXS_MAX * 4;

pub(crate) fn encode(txs: &[Arc<RecoveredTx>]) -> Bytes {
    let string =
        |tx: &RecoveredTx| Header { list: false, payload_length: tx.raw.len() }.length_with_payload();
    let list = Header { list: true, payload_length: txs.iter().map(|tx| string(tx)).sum() };
    let mut out = Vec::with_capacity(list.length_with_payload());
    list.encode(&mut out);
    for tx in txs {
        // A transaction has at least two bytes, so that a string header always stands before it.
        tx.raw.as_ref().encode(&mut out);
    }
    out.into()
}

/// The transactions' bytes, sharing the body's memory.
pub(crate) fn decode(body: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let size_bytes = body.len();
    if size_bytes > BODY_SIZE_BYTES_MAX + STRING_HEADER_BYTES_MAX {
        return Err(DecodeError::TooLong { size_bytes, size_bytes_max: BODY_SIZE_BYTES_MAX });
    }
    let mut rest = body.as_ref();
    let mut list = Header::decode_bytes(&mut rest, true)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing(rest.len()));
    }
    let mut raws = Vec::new();
    while !list.is_empty() {
        if raws.len() >= BLOCK_TXS_MAX {
            return Err(DecodeError::Malformed(format!("more than {BLOCK_TXS_MAX} transactions")));
        }
        let raw = Header::decode_bytes(&mut list, false)?;
        if raw.len() < 2 {
            return Err(DecodeError::Malformed("a transaction of less than two bytes".to_owned()));
        }
        raws.push(body.slice_ref(raw));
    }
    Ok(raws)
}
