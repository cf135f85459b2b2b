//! That an attestation key lives in a certain TPM: what somebody signs after the TPM has activated a credential
//! (part 1, 24), so that everybody else can check quotes offline.

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{Domain, RecoverError, SecretKey, recover};
use bletchley_primitives::{DecodeError, Signature, TimestampMs, decode_bounded};

/// Longest endorsement.
const ENDORSEMENT_SIZE_BYTES_MAX: usize = 512;
const ENDORSEMENT: Domain = Domain("bletchley/attest/ak-endorsement/1");

/// That both keys live in one TPM.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct AkEndorsement {
    /// Name of the endorsement key, by which the TPM is known.
    pub endorsement_key: Bytes,
    /// Name of the attestation key.
    pub attestation_key: Bytes,
    /// From when on it holds.
    pub from: TimestampMs,
    /// Until when.
    pub until: TimestampMs,
}

/// An endorsement with the signature of whoever had the credential activated.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SignedEndorsement {
    /// What is endorsed.
    pub endorsement: AkEndorsement,
    /// The endorser's.
    pub signature: Signature,
}

/// Why bytes are not an endorsement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// Not the bytes of an endorsement.
    #[error("the endorsement of the attestation key cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// Not a signature.
    #[error("the endorsement of the attestation key: {0}")]
    Signature(#[from] RecoverError),
}

impl AkEndorsement {
    /// What is signed.
    #[must_use]
    pub fn signing_digest(&self) -> B256 {
        ENDORSEMENT.digest(&[&alloy_rlp::encode(self)])
    }

    /// Signed with the endorser's key.
    #[must_use]
    pub fn sign(self, endorser: &SecretKey) -> SignedEndorsement {
        let signature = endorser.sign(self.signing_digest());
        SignedEndorsement { endorsement: self, signature }
    }
}

impl SignedEndorsement {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads canonical bytes and recovers who signed.
    ///
    /// # Errors
    /// [`EndorsementError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Address), EndorsementError> {
        let signed: Self = decode_bounded(bytes, ENDORSEMENT_SIZE_BYTES_MAX)?;
        let endorser = recover(signed.endorsement.signing_digest(), &signed.signature)?;
        Ok((signed, endorser))
    }
}
