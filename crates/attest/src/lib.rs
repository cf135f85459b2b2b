//! Attestation (RFC 9334): evidence about a host, its appraisal against a policy, and keys for hosts that passed; not
//! the fabric that acts on it, and nothing that makes a machine trustworthy by itself.
//!
//! ```
//! use bletchley_attest::{AppraisalPolicy, Appraiser, Attester, EphemeralKey, SoftwareAttester, Verifiers, example};
//! use bletchley_crypto::SecretKey;
//! use bletchley_primitives::{B256, TimestampMs};
//!
//! let (host, verifier) = (SecretKey::from_seed(b"a host"), SecretKey::from_seed(b"a verifier"));
//! let nonce = B256::repeat_byte(7); // the verifier's
//! let claims = example::claims(host.address(), EphemeralKey::make()?.public());
//! let statement = SoftwareAttester::of_key(&host).state(nonce, claims)?;
//!
//! let (verifiers, policy) = (Verifiers::built_in(), AppraisalPolicy::software_only(verifier.address()));
//! let registry = statement.claims.registry;
//! let appraiser = Appraiser { verifiers: &verifiers, policy: &policy, registry, verifier: verifier.address() };
//! let result = appraiser.appraise(nonce, &statement, TimestampMs(1_700_000_000_000))?.sign(&verifier);
//! assert_eq!(result.result.tier.name(), "none"); // software: nobody but the host vouches
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod appraisal;
mod claims;
pub mod conformance;
#[cfg(feature = "dcap")]
mod dcap;
mod evidence;
pub mod example;
mod kind;
#[cfg(feature = "nitro")]
mod nitro;
mod policy;
mod release;
mod result;
mod seam;
#[cfg(feature = "sev-snp")]
mod sev_snp;
mod software;
#[cfg(feature = "swtpm")]
pub mod swtpm;
pub mod tpm;

pub use appraisal::{AppraiseError, Appraiser};
pub use claims::{CLAIM_TEXT_SIZE_BYTES_MAX, ClaimsError, RuntimeClaims, padded};
#[cfg(feature = "dcap")]
pub use dcap::DcapVerifier;
pub use evidence::{
    COLLATERAL_SIZE_BYTES_MAX, EVIDENCE_SIZE_BYTES_MAX, Evidence, STATEMENT_SIZE_BYTES_MAX, Statement,
    StatementError,
};
pub use kind::Kind;
#[cfg(feature = "nitro")]
pub use nitro::NitroVerifier;
pub use policy::{
    AppraisalPolicy, AppraisalPolicyError, KindRule, Least, Measurement, POLICY_SIZE_BYTES_MAX, Reference,
    VALIDITY_MS_MAX,
};
pub use release::{
    EphemeralKey, KeyRelease, OpenError, ReleaseError, SECRET_SIZE_BYTES_MAX, WRAPPED_SIZE_BYTES_MAX,
    WrappedKey,
};
pub use result::{AttestationResult, RESULT_SIZE_BYTES_MAX, ResultError, SignedResult, Tier};
pub use seam::{AttestError, Attester, Verified, Verifier, Verifiers, VerifyError};
#[cfg(feature = "sev-snp")]
pub use sev_snp::SevSnpVerifier;
pub use software::{SIGNER, Sign, SoftwareAttester, SoftwareVerifier};
