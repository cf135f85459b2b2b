//! Variants on the wire: `[kind, body]`, the body a string that holds the variant's own encoding.

use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use bletchley_primitives::{Bytes, DecodeError};

/// One variant, encoded.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct TaggedRow {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

impl TaggedRow {
    pub(crate) fn of(kind: u8, body: &impl Encodable) -> Self {
        Self { kind, body: alloy_rlp::encode(body).into() }
    }
}

/// What travels as a [`TaggedRow`].
pub(crate) trait Tagged: Sized {
    fn to_row(&self) -> TaggedRow;

    /// # Errors
    /// [`DecodeError`].
    fn from_row(row: &TaggedRow) -> Result<Self, DecodeError>;
}

pub(crate) fn unknown(what: &str, number: u64) -> DecodeError {
    DecodeError::Malformed(format!("there is no {what} of kind {number}"))
}
