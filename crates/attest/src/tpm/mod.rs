//! Evidence of kind `tpm2`: registers of a TPM 2.0, quoted by an attestation key that lives in it.
//!
//! Reading and checking is pure. The attester, which speaks to a TPM, is behind the feature `tpm`. Section numbers are
//! those of the TCG's TPM 2.0 Library Specification, version 1.59.

#[cfg(feature = "tpm")]
mod attester;
#[cfg(feature = "tpm")]
mod command;
#[cfg(feature = "tpm")]
mod credential;
mod endorsement;
mod quote;
mod structure;
#[cfg(feature = "tpm")]
mod transport;
mod verifier;
mod wire;

#[cfg(feature = "tpm")]
pub use attester::{TpmAttester, TpmIdentity};
#[cfg(feature = "tpm")]
pub use command::TpmError;
#[cfg(feature = "tpm")]
pub use credential::{Credential, CredentialError, make_credential};
pub use endorsement::{AkEndorsement, EndorsementError, SignedEndorsement};
pub use quote::{PCRS_MAX, Quote};
pub use structure::{EccPublic, Name, PublicError};
#[cfg(feature = "tpm")]
pub use transport::{Transport, UnixTransport, open};
pub use verifier::{AK, EK, TpmVerifier};

/// The register that a host measures itself into: TCG's "application support", which software may reset. It says what
/// software of this machine chose to report; what software that is, the registers below 16 say.
pub const RUNTIME_PCR: u8 = 23;
