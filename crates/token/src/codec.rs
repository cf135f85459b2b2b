//! What `alloy-rlp` does not derive: variants as `[tag, fields...]`, a hash that may be absent, amounts in JSON.

use alloy_rlp::{Decodable, Encodable};
use bletchley_primitives::B256;
use serde::{Serialize, Serializer};

/// Encodes an enum with named fields as the list `[tag, fields...]`; decoding refuses unknown tags and surplus fields.
macro_rules! tagged_rlp {
    ($name:ident { $($tag:literal => $variant:ident { $($field:ident),* $(,)? }),+ $(,)? }) => {
        impl $name {
            fn payload_length(&self) -> usize {
                match self {
                    $(Self::$variant { $($field),* } => {
                        let tag: u8 = $tag;
                        alloy_rlp::Encodable::length(&tag) $(+ alloy_rlp::Encodable::length($field))*
                    })+
                }
            }
        }

        impl alloy_rlp::Encodable for $name {
            fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
                alloy_rlp::Header { list: true, payload_length: self.payload_length() }.encode(out);
                match self {
                    $(Self::$variant { $($field),* } => {
                        let tag: u8 = $tag;
                        alloy_rlp::Encodable::encode(&tag, out);
                        $(alloy_rlp::Encodable::encode($field, out);)*
                    })+
                }
            }

            fn length(&self) -> usize {
                let payload_length = self.payload_length();
                payload_length + alloy_rlp::length_of_length(payload_length)
            }
        }

        impl alloy_rlp::Decodable for $name {
            fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
                let mut payload = alloy_rlp::Header::decode_bytes(buf, true)?;
                let value = match <u8 as alloy_rlp::Decodable>::decode(&mut payload)? {
                    $($tag => Self::$variant { $($field: alloy_rlp::Decodable::decode(&mut payload)?),* },)+
                    _ => return Err(alloy_rlp::Error::Custom(concat!("unknown variant of ", stringify!($name)))),
                };
                if payload.is_empty() {
                    Ok(value)
                } else {
                    Err(alloy_rlp::Error::Custom(concat!("surplus fields in ", stringify!($name))))
                }
            }
        }
    };
}
pub(crate) use tagged_rlp;

/// A digest that may be absent; an absent one is the empty string on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct OptionalHash(pub Option<B256>);

impl Encodable for OptionalHash {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        match &self.0 {
            Some(hash) => hash.encode(out),
            None => alloy_rlp::Encodable::encode(&[0u8; 0][..], out),
        }
    }

    fn length(&self) -> usize {
        if self.0.is_some() { 33 } else { 1 }
    }
}

impl Decodable for OptionalHash {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match alloy_rlp::Header::decode_bytes(buf, false)? {
            [] => Ok(Self(None)),
            bytes => B256::try_from(bytes)
                .map(|hash| Self(Some(hash)))
                .map_err(|_| alloy_rlp::Error::Custom("a digest has 32 bytes, or none when it is absent")),
        }
    }
}

/// JSON readers lose digits of large numbers, so amounts are decimal strings there.
pub(crate) fn decimal<S: Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

/// What is shared in memory stands on its own in JSON.
pub(crate) fn shared<T: Serialize, S: Serializer>(
    value: &std::sync::Arc<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (**value).serialize(serializer)
}

/// Signatures in JSON are hex.
pub(crate) fn hex_signatures<S: Serializer>(
    signatures: &[bletchley_primitives::Signature],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(signatures.iter().map(|signature| hex::encode_prefixed(signature.0)))
}
