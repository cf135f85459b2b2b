//! Evidence, and the statement that a host hands to a verifier.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{DecodeError, decode_bounded};
use sha2::{Digest, Sha256};

use crate::{Kind, RuntimeClaims, claims::ClaimsError};

/// Longest evidence, without its collateral.
pub const EVIDENCE_SIZE_BYTES_MAX: usize = 16 << 10;
/// Longest collateral.
pub const COLLATERAL_SIZE_BYTES_MAX: usize = 64 << 10;
/// Longest statement.
pub const STATEMENT_SIZE_BYTES_MAX: usize = EVIDENCE_SIZE_BYTES_MAX + COLLATERAL_SIZE_BYTES_MAX + 2048;

const STATEMENT_VERSION: u8 = 1;

/// Evidence as its maker gave it. Nothing in it is believed before a [`crate::Verifier`] has looked at it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Evidence {
    /// Who vouches.
    pub kind: Kind,
    /// The signed part, in the maker's own format.
    pub bytes: Bytes,
    /// What is needed to check it offline and is signed by others: certificates, revocation lists, endorsements.
    pub collateral: Bytes,
}

/// What a host hands to a verifier that sent it a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The verifier's nonce.
    pub nonce: B256,
    /// What the host says of itself.
    pub claims: RuntimeClaims,
    /// Who vouches for it, over [`RuntimeClaims::report_data`].
    pub evidence: Evidence,
}

/// Why bytes are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not the bytes of a statement.
    #[error("a statement cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// Its claims are not well-formed.
    #[error("a statement cannot be read: {0}")]
    Claims(#[from] ClaimsError),
}

#[derive(RlpEncodable, RlpDecodable)]
struct Encoded {
    version: u8,
    nonce: B256,
    claims: RuntimeClaims,
    evidence: Evidence,
}

impl Evidence {
    /// Whether its parts are within their bounds.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`].
    pub fn check_size(&self) -> Result<(), DecodeError> {
        for (size_bytes, size_bytes_max) in
            [(self.bytes.len(), EVIDENCE_SIZE_BYTES_MAX), (self.collateral.len(), COLLATERAL_SIZE_BYTES_MAX)]
        {
            if size_bytes > size_bytes_max {
                return Err(DecodeError::TooLong { size_bytes, size_bytes_max });
            }
        }
        Ok(())
    }
}

impl Statement {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(Encoded {
            version: STATEMENT_VERSION,
            nonce: self.nonce,
            claims: self.claims.clone(),
            evidence: self.evidence.clone(),
        })
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let Encoded { version, nonce, claims, evidence } = decode_bounded(bytes, STATEMENT_SIZE_BYTES_MAX)?;
        if version != STATEMENT_VERSION {
            return Err(DecodeError::Malformed(format!("a statement of version {version}")).into());
        }
        claims.check()?;
        evidence.check_size()?;
        Ok(Self { nonce, claims, evidence })
    }

    /// SHA-256 of the canonical bytes: what a result names the statement by, and where a content store has it.
    #[must_use]
    pub fn id(&self) -> B256 {
        B256::from_slice(&Sha256::digest(self.encode()))
    }
}
