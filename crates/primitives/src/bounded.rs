//! Decoding of outside bytes: the length is bounded first, and nothing may follow the value.

use alloy_rlp::Decodable;

/// Why outside bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are longer than the bound for this value.
    #[error("{size_bytes} bytes, more than the {size_bytes_max} allowed here")]
    TooLong {
        /// Length that was offered.
        size_bytes: usize,
        /// Named bound of the caller.
        size_bytes_max: usize,
    },
    /// Not a canonical encoding of the value.
    #[error("not a canonical encoding: {0}")]
    Malformed(String),
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

impl From<alloy_rlp::Error> for DecodeError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Decodes exactly one canonical RLP value from at most `size_bytes_max` bytes.
///
/// # Errors
/// [`DecodeError`] when the bytes are too long, malformed, or followed by others.
pub fn decode_bounded<T: Decodable>(bytes: &[u8], size_bytes_max: usize) -> Result<T, DecodeError> {
    if bytes.len() > size_bytes_max {
        return Err(DecodeError::TooLong { size_bytes: bytes.len(), size_bytes_max });
    }
    let mut rest = bytes;
    let value = T::decode(&mut rest)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing(rest.len())) }
}
