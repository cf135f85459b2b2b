//! The seams: an Attester makes evidence, a Verifier turns evidence into facts (RFC 9334, section 2).

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use bletchley_primitives::{DecodeError, TimestampMs};

use crate::{Evidence, Kind, RuntimeClaims, Statement};

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// What makes evidence does not answer, or says no.
    #[error("{kind} evidence: {problem}")]
    Source {
        /// Kind of evidence.
        kind: Kind,
        /// What happened, and what to do.
        problem: String,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// Makes evidence about the host that it runs on.
pub trait Attester {
    /// Kind of the evidence.
    fn kind(&self) -> Kind;

    /// Evidence that carries this report data. `claims` are what the report data stands for: an attester that can
    /// measure them into hardware does.
    ///
    /// # Errors
    /// [`AttestError`].
    fn evidence(&mut self, claims: &RuntimeClaims, report_data: B256) -> Result<Evidence, AttestError>;

    /// The whole statement for a verifier's nonce.
    ///
    /// # Errors
    /// [`AttestError`].
    fn state(&mut self, nonce: B256, claims: RuntimeClaims) -> Result<Statement, AttestError> {
        let evidence = self.evidence(&claims, claims.report_data(nonce))?;
        Ok(Statement { nonce, claims, evidence })
    }
}

/// Why evidence is not believed. The codes are stable (specs/attestation.md: Refusals).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Evidence of another kind than the verifier reads.
    #[error("this is {found} evidence, expected {expected}")]
    OtherKind {
        /// What the verifier reads.
        expected: Kind,
        /// What it was given.
        found: Kind,
    },
    /// This program has no verifier for the kind.
    #[error(
        "this program was built without a verifier for {0} evidence; build it with the feature hardware-attestation"
    )]
    Unsupported(Kind),
    /// Too long, cut short, or not in the maker's format.
    #[error("the evidence cannot be read: {0}")]
    Malformed(String),
    /// Authentic or not, it is not within its time.
    #[error("not valid at {at_ms} ms: {problem}")]
    NotValidThen {
        /// The time that was asked about.
        at_ms: u64,
        /// What is too early or too late.
        problem: String,
    },
    /// A signature does not hold, or the signer leads to no trust anchor.
    #[error("the evidence is not authentic: {0}")]
    NotAuthentic(String),
    /// It may be read or changed from outside.
    #[error("the hardware runs in debug mode, in which it protects nothing")]
    Debug,
}

impl VerifyError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherKind { .. } => "other-kind",
            Self::Unsupported(_) => "unsupported",
            Self::Malformed(_) => "malformed",
            Self::NotValidThen { .. } => "not-valid-then",
            Self::NotAuthentic(_) => "not-authentic",
            Self::Debug => "debug",
        }
    }
}

impl From<DecodeError> for VerifyError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What authentic evidence says. Whether that is enough is for an [`crate::AppraisalPolicy`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the evidence was made over; empty when its maker was given nothing.
    pub report_data: Bytes,
    /// What was measured, by name.
    pub measurements: BTreeMap<String, Bytes>,
    /// Security version numbers, by name; higher is newer.
    pub versions: BTreeMap<String, u64>,
    /// Standing of the platform in its maker's words; empty where the maker gives none.
    pub standing: String,
    /// What a measurement register for [`RuntimeClaims::register`] holds, where there is one.
    pub register: Option<B256>,
    /// Until when certificates and collateral are good, where they say so.
    pub not_after: Option<TimestampMs>,
}

/// Authenticates evidence of one kind. No input or output, no clock: everything is in the arguments.
pub trait Verifier: Send + Sync {
    /// Kind that it reads.
    fn kind(&self) -> Kind;

    /// What the evidence says, if it is authentic at this time. `anchors` are the policy's trust anchors for the kind
    /// (specs/attestation.md: Kinds); kinds with a maker's published root take none.
    ///
    /// # Errors
    /// [`VerifyError`].
    fn verify(
        &self,
        evidence: &Evidence,
        anchors: &[Bytes],
        at: TimestampMs,
    ) -> Result<Verified, VerifyError>;
}

/// The checks that every verifier begins with.
pub(crate) fn begin(expected: Kind, evidence: &Evidence) -> Result<(), VerifyError> {
    if evidence.kind != expected {
        return Err(VerifyError::OtherKind { expected, found: evidence.kind });
    }
    Ok(evidence.check_size()?)
}

/// One verifier for each kind that this program was built with.
pub struct Verifiers(Vec<Box<dyn Verifier>>);

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.kinds()).finish()
    }
}

impl Verifiers {
    /// All that this program was built with.
    #[must_use]
    pub fn built_in() -> Self {
        let mut all: Vec<Box<dyn Verifier>> =
            vec![Box::new(crate::software::SoftwareVerifier), Box::new(crate::tpm::TpmVerifier)];
        #[cfg(feature = "dcap")]
        all.extend([
            Box::new(crate::dcap::DcapVerifier::sgx()) as Box<dyn Verifier>,
            Box::new(crate::dcap::DcapVerifier::tdx()),
        ]);
        #[cfg(feature = "sev-snp")]
        all.push(Box::new(crate::sev_snp::SevSnpVerifier));
        #[cfg(feature = "nitro")]
        all.push(Box::new(crate::nitro::NitroVerifier));
        all.shrink_to_fit();
        Self(all)
    }

    /// Kinds that can be verified.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.iter().map(|verifier| verifier.kind())
    }

    /// The verifier of a kind.
    ///
    /// # Errors
    /// [`VerifyError::Unsupported`].
    pub fn of(&self, kind: Kind) -> Result<&dyn Verifier, VerifyError> {
        let found = self.0.iter().find(|verifier| verifier.kind() == kind);
        found.map(AsRef::as_ref).ok_or(VerifyError::Unsupported(kind))
    }
}
