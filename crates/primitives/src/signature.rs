//! A recoverable secp256k1 signature as it travels: 65 bytes, `r || s || v` with `v` 0 or 1.

use alloy_rlp::{Decodable, Encodable};
use std::fmt;

/// Recoverable ECDSA signature over secp256k1 (SEC 1, 4.1.6): `r || s || v`, `v` in {0, 1}, `s` in the lower half.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 65]);

impl Signature {
    /// Length on the wire.
    pub const SIZE_BYTES: usize = 65;
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", alloy_primitives::hex::encode(self.0))
    }
}

impl Encodable for Signature {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.0.as_slice().encode(out);
    }
    fn length(&self) -> usize {
        self.0.as_slice().length()
    }
}

impl Decodable for Signature {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let bytes = alloy_rlp::Header::decode_bytes(buf, false)?;
        let bytes = bytes.try_into().map_err(|_| alloy_rlp::Error::Custom("a signature is 65 bytes"))?;
        Ok(Self(bytes))
    }
}
