//! What went into a call from outside, in order, so that the call can be repeated without the outside; and the
//! digest over its sequence of host calls, so that a divergence shows.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{DecodeError, decode_bounded};

/// Most fetches of one call.
pub const FETCHES_PER_CALL_MAX: usize = 16;
/// Longest encoded transcript. Above what a live call can make: [`FETCHES_PER_CALL_MAX`] full answers.
pub const TRANSCRIPT_SIZE_BYTES_MAX: usize =
    FETCHES_PER_CALL_MAX * (crate::fetch::RESPONSE_SIZE_BYTES_MAX + 4 * 1024);

const TRANSCRIPT: Domain = Domain("bletchley/cryptlet/transcript/1");
const HOST_CALLS: Domain = Domain("bletchley/cryptlet/host-calls/1");

/// Ordered record of the outside data of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Transcript {
    /// Fetches, in the order the cryptlet made them.
    pub fetches: Vec<FetchRecord>,
}

/// One fetch and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct FetchRecord {
    /// Source, as the manifest names it (what the cryptlet asked for, granted or not).
    pub source: String,
    /// Path relative to the source.
    pub path: String,
    /// 0 response, 1 denied, 2 unavailable, 3 too large.
    pub result: u8,
    /// HTTP status of a response, else 0.
    pub status: u16,
    /// Body of a response; words of a denial or unavailability; the bound (8 bytes, big endian) if too large.
    pub body: Bytes,
}

impl Transcript {
    /// Whether no outside data went in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fetches.is_empty()
    }

    /// Canonical bytes (specs/cryptlet.md: Transcript).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when they are too long, malformed, or hold more than [`FETCHES_PER_CALL_MAX`] fetches.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let transcript: Self = decode_bounded(bytes, TRANSCRIPT_SIZE_BYTES_MAX)?;
        if transcript.fetches.len() > FETCHES_PER_CALL_MAX {
            return Err(DecodeError::TooLong {
                size_bytes: transcript.fetches.len(),
                size_bytes_max: FETCHES_PER_CALL_MAX,
            });
        }
        if let Some(record) = transcript.fetches.iter().find(|record| record.result > 3) {
            return Err(DecodeError::Malformed(format!("a fetch with result {}", record.result)));
        }
        Ok(transcript)
    }

    /// What a receipt commits to.
    #[must_use]
    pub fn digest(&self) -> B256 {
        TRANSCRIPT.digest(&[&self.encode()])
    }
}

/// Digest of an empty sequence of host calls.
#[must_use]
pub fn host_calls_start() -> B256 {
    HOST_CALLS.digest(&[])
}

/// Digest of a sequence of host calls that is longer by one.
#[must_use]
pub fn host_calls_next(before: B256, name: &str, arguments: &[u8], result: &[u8]) -> B256 {
    HOST_CALLS.digest(&[before.as_slice(), name.as_bytes(), arguments, result])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = FetchRecord> {
        ("[a-z]{1,8}", "[ -~]{0,40}", 0..4u8, any::<u16>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(source, path, result, status, body)| FetchRecord {
                source,
                path,
                result,
                status,
                body: body.into(),
            })
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(fetches in prop::collection::vec(record(), 0..FETCHES_PER_CALL_MAX)) {
            let transcript = Transcript { fetches };
            prop_assert_eq!(Transcript::decode(&transcript.encode()).unwrap(), transcript);
        }

        #[test]
        fn decoding_never_panics_and_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(transcript) = Transcript::decode(&bytes) {
                prop_assert_eq!(transcript.encode(), bytes);
            }
        }
    }

    #[test]
    fn refuses_more_fetches_than_a_call_can_make() {
        let one =
            FetchRecord { source: "a".into(), path: "b".into(), result: 0, status: 200, body: Bytes::new() };
        let transcript = Transcript { fetches: vec![one; FETCHES_PER_CALL_MAX + 1] };
        assert!(Transcript::decode(&transcript.encode()).is_err());
    }

    /// A changed digest is a new version of specs/cryptlet.md.
    #[test]
    fn digests_are_those_of_the_specification() {
        let empty = Transcript::default();
        assert_eq!(empty.encode(), [0xc1, 0xc0]);
        let body = Bytes::from_static(b"1.25");
        let one = FetchRecord { source: "ecb".into(), path: "a?b=c".into(), result: 0, status: 200, body };
        let one = Transcript { fetches: vec![one] };
        let call = host_calls_next(host_calls_start(), "clock.now", &[], &7u64.to_be_bytes());
        let digests =
            [empty.digest(), one.digest(), host_calls_start(), call].map(|digest| digest.to_string());
        assert_eq!(
            digests,
            [
                "0x3c53cce5e34dece29563b01d0b3c5d8d8dfd33e97ead5946deb167686a029740",
                "0xf74aa1bc4cd0750255ea50027bbda2ab9ee8f290fadb7887b09c30cee6d5be57",
                "0xec7bf66387a096811ad7e2b220e6dd356dbdecfdfea953391a9c308599569e11",
                "0xba1c3c8f5af0548a5da302560e830b1f2229f234cfabd6e608c9827b07383c47",
            ]
        );
    }
}
