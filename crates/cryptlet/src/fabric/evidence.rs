//! Evidence of a call: what is needed to run it again without calling out. A receipt names it by digest.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_ledger::CallBounds;
use bletchley_primitives::{DecodeError, decode_bounded};

use crate::{
    content::ContentId,
    transcript::{TRANSCRIPT_SIZE_BYTES_MAX, Transcript},
};

/// Version of the encoding.
const EVIDENCE_VERSION: u8 = 1;
/// Longest encoded evidence.
pub const EVIDENCE_SIZE_BYTES_MAX: usize = TRANSCRIPT_SIZE_BYTES_MAX + CallBounds::INPUT_SIZE_BYTES_MAX + 256;

/// What a call was given and what it saw. Its SHA-256 is the receipt's `transcript`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// ABI-encoded input.
    pub input: Bytes,
    /// Fuel that the call was given.
    pub fuel_max: u64,
    /// Digest over the sequence of its host calls.
    pub host_calls: B256,
    /// The outside data that went into it.
    pub transcript: Transcript,
}

/// Why evidence cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Not the bytes of evidence.
    #[error("evidence cannot be read: {0}")]
    Bytes(#[from] DecodeError),
}

#[derive(RlpEncodable, RlpDecodable)]
struct Encoded {
    version: u8,
    input: Bytes,
    fuel_max: u64,
    host_calls: B256,
    transcript: Bytes,
}

impl Evidence {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(Encoded {
            version: EVIDENCE_VERSION,
            input: self.input.clone(),
            fuel_max: self.fuel_max,
            host_calls: self.host_calls,
            transcript: self.transcript.encode().into(),
        })
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let encoded: Encoded = decode_bounded(bytes, EVIDENCE_SIZE_BYTES_MAX)?;
        if encoded.version != EVIDENCE_VERSION {
            return Err(DecodeError::Malformed(format!("evidence of version {}", encoded.version)).into());
        }
        Ok(Self {
            input: encoded.input,
            fuel_max: encoded.fuel_max,
            host_calls: encoded.host_calls,
            transcript: Transcript::decode(&encoded.transcript)?,
        })
    }

    /// What a receipt names it by, and where the content store has it.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }
}
