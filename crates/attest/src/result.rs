//! The attestation result: what a verifier signs, and everybody else relies on (RFC 9334, 8.4; the tiers are EAR's).

use alloy_primitives::{Address, B256};
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::{Domain, RecoverError, SecretKey, recover};
use bletchley_primitives::{DecodeError, LedgerId, Signature, TimestampMs, decode_bounded};
use serde::{Deserialize, Serialize};

use crate::{AppraisalPolicy, Kind, claims::CLAIM_TEXT_SIZE_BYTES_MAX};

/// Longest signed result.
pub const RESULT_SIZE_BYTES_MAX: usize = 1024;

const RESULT: Domain = Domain("bletchley/attest/result/1");
const RESULT_VERSION: u8 = 1;

/// How much an accepted statement is worth: the trust tiers of EAR that an accepted one can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Tier {
    /// No hardware vouches: the host's own word.
    None = 0,
    /// Hardware vouches and its maker has no reservations.
    Affirming = 2,
    /// Hardware vouches, its maker has reservations, and the policy accepts them by name.
    Warning = 32,
}

impl Tier {
    /// Name as tools show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
        }
    }
}

impl Encodable for Tier {
    fn encode(&self, out: &mut dyn BufMut) {
        (*self as u8).encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl Decodable for Tier {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match u8::decode(buf)? {
            0 => Ok(Self::None),
            2 => Ok(Self::Affirming),
            32 => Ok(Self::Warning),
            _ => Err(alloy_rlp::Error::Custom("unknown trust tier")),
        }
    }
}

/// That a statement was accepted: by whom, under which policy, until when.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttestationResult {
    /// The registry's ledger.
    pub registry: LedgerId,
    /// The host.
    pub host: Address,
    /// Kind of its evidence.
    pub kind: Kind,
    /// What that is worth.
    pub tier: Tier,
    /// Label of the reference that it fits.
    pub reference: String,
    /// Where the host says that it stands; empty when it does not say.
    pub location: String,
    /// [`crate::RuntimeClaims::digest`].
    pub claims: B256,
    /// [`crate::Statement::id`].
    pub statement: B256,
    /// [`AppraisalPolicy::digest`].
    pub policy: B256,
    /// Who says so.
    pub verifier: Address,
    /// When it was appraised.
    pub at: TimestampMs,
    /// From when on it is worth nothing.
    pub expires: TimestampMs,
}

/// A result with its verifier's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedResult {
    /// The result.
    pub result: AttestationResult,
    /// The verifier's.
    pub signature: Signature,
}

/// Why a result is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// Not the bytes of a result.
    #[error("an attestation result cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// Not a signature.
    #[error("signature of the verifier: {0}")]
    Signature(#[from] RecoverError),
    /// Signed by somebody else than it says.
    #[error("the attestation result names verifier {named}, {found} signed it")]
    Signer {
        /// Whom it names.
        named: Address,
        /// Who signed.
        found: Address,
    },
    /// Not a verifier that the policy names.
    #[error("the policy does not name verifier {0}")]
    Verifier(Address),
    /// For another registry.
    #[error("the attestation result is for registry {0}")]
    Registry(LedgerId),
    /// Under another policy than the one that holds.
    #[error("the attestation result is under policy {0}, which does not hold any more; attest again")]
    Policy(B256),
    /// Too early or too late.
    #[error("the attestation result holds from {from} to {to} ms, asked is {at} ms; attest again")]
    Time {
        /// From when on.
        from: TimestampMs,
        /// Until when.
        to: TimestampMs,
        /// When it is asked about.
        at: TimestampMs,
    },
}

#[derive(RlpEncodable, RlpDecodable)]
struct Encoded {
    version: u8,
    result: AttestationResult,
    signature: Signature,
}

impl AttestationResult {
    /// What the verifier signs.
    #[must_use]
    pub fn signing_digest(&self) -> B256 {
        RESULT.digest(&[&alloy_rlp::encode(self)])
    }

    /// Signed with the verifier's key.
    #[must_use]
    pub fn sign(self, verifier: &SecretKey) -> SignedResult {
        let signature = verifier.sign(self.signing_digest());
        SignedResult { result: self, signature }
    }

    /// Whether it holds at this time.
    ///
    /// # Errors
    /// [`ResultError::Time`].
    pub fn check_time(&self, at: TimestampMs) -> Result<(), ResultError> {
        let (from, to) = (self.at, self.expires);
        if from <= at && at < to { Ok(()) } else { Err(ResultError::Time { from, to, at }) }
    }
}

impl SignedResult {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (result, signature) = (self.result.clone(), self.signature);
        alloy_rlp::encode(Encoded { version: RESULT_VERSION, result, signature })
    }

    /// Reads canonical bytes; who signed is not asked.
    ///
    /// # Errors
    /// [`ResultError::Bytes`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ResultError> {
        let Encoded { version, result, signature } = decode_bounded(bytes, RESULT_SIZE_BYTES_MAX)?;
        let malformed = |problem: &str| Err(DecodeError::Malformed(problem.to_owned()).into());
        if version != RESULT_VERSION {
            return malformed("a result of another version");
        }
        let text = |text: &str| {
            text.len() <= CLAIM_TEXT_SIZE_BYTES_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if !text(&result.reference) || !text(&result.location) {
            return malformed("a text that is too long or not printable");
        }
        if result.kind.is_hardware() == (result.tier == Tier::None) {
            return malformed("a tier that does not go with the kind");
        }
        Ok(Self { result, signature })
    }

    /// What others name the result by.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.result.signing_digest()
    }

    /// Whether it is signed by the verifier that it names, under this policy, for this registry.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn check(&self, policy: &AppraisalPolicy, registry: LedgerId) -> Result<(), ResultError> {
        let result = &self.result;
        let found = recover(self.digest(), &self.signature)?;
        if found != result.verifier {
            return Err(ResultError::Signer { named: result.verifier, found });
        }
        if !policy.names_verifier(found) {
            return Err(ResultError::Verifier(found));
        }
        if result.registry != registry {
            return Err(ResultError::Registry(result.registry));
        }
        if result.policy != policy.digest() {
            return Err(ResultError::Policy(result.policy));
        }
        Ok(())
    }
}
