//! What a host says of itself, and how evidence is bound to it.

use alloy_primitives::{Address, B256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::LedgerId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest text among the claims.
pub const CLAIM_TEXT_SIZE_BYTES_MAX: usize = 64;

const REPORT_DATA: Domain = Domain("bletchley/attest/report-data/1");
const CLAIMS: Domain = Domain("bletchley/attest/claims/1");

/// Claims of a host about what it runs. Evidence signs their digest: whoever trusts the evidence knows that this host
/// said so, and how far to believe it depends on the kind.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuntimeClaims {
    /// Ledger with the registry that the host is, or wants to be, in.
    pub registry: LedgerId,
    /// Address of the key that the host signs receipts with.
    pub host: Address,
    /// SHA-256 of the host's executable file.
    pub binary: B256,
    /// Engine and its exact version, such as `wasmtime 48.0.8`.
    pub engine: String,
    /// Digest of the determinism profile, as receipts carry it.
    pub profile: B256,
    /// How cryptlets are kept apart: `in-process`, `process`.
    pub isolation: String,
    /// SHA-256 of one component, where the claim is about one; zero for a host that runs any.
    pub component: B256,
    /// WIT world that cryptlets see.
    pub world: String,
    /// Digest of the host's configuration.
    pub config: B256,
    /// X25519 public key that keys are wrapped to. Made for this statement; its secret never leaves the host.
    pub ephemeral_key: B256,
    /// Where the host stands: an ISO 3166 code such as `DE` or `DE-BY`; empty when it does not say.
    pub location: String,
}

/// Why claims are not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// A text is missing, too long, or has other than printable ASCII characters.
    #[error("claim `{0}` must have 1 to {CLAIM_TEXT_SIZE_BYTES_MAX} printable ASCII characters")]
    Text(&'static str),
    /// Not a place.
    #[error("location {0:?} is not an ISO 3166 code such as DE or DE-BY")]
    Location(String),
}

impl RuntimeClaims {
    /// Whether every text is within its bounds.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn check(&self) -> Result<(), ClaimsError> {
        for (what, text) in [("engine", &self.engine), ("isolation", &self.isolation), ("world", &self.world)]
        {
            check_text(text).map_err(|()| ClaimsError::Text(what))?;
        }
        if !self.location.is_empty() && !is_location(&self.location) {
            return Err(ClaimsError::Location(
                self.location.chars().take(CLAIM_TEXT_SIZE_BYTES_MAX).collect(),
            ));
        }
        Ok(())
    }

    /// What evidence must carry: the verifier's nonce, the key that secrets will be wrapped to, and these claims.
    #[must_use]
    pub fn report_data(&self, nonce: B256) -> B256 {
        REPORT_DATA.digest(&[nonce.as_slice(), self.ephemeral_key.as_slice(), &alloy_rlp::encode(self)])
    }

    /// Digest that results name the claims by.
    #[must_use]
    pub fn digest(&self) -> B256 {
        CLAIMS.digest(&[&alloy_rlp::encode(self)])
    }

    /// What a SHA-256 measurement register holds after a reset, the executable and, if one is named, the component.
    #[must_use]
    pub fn register(&self) -> B256 {
        self.measured().into_iter().fold(B256::ZERO, extend)
    }

    /// What is measured into such a register, in order.
    #[must_use]
    pub fn measured(&self) -> Vec<B256> {
        [self.binary, self.component].into_iter().filter(|digest| !digest.is_zero()).collect()
    }
}

/// The report data in a field of 64 bytes, as most hardware has it: 32 bytes, then zeros.
#[must_use]
pub fn padded(report_data: B256) -> [u8; 64] {
    let mut field = [0; 64];
    field.split_at_mut(32).0.copy_from_slice(report_data.as_slice());
    field
}

/// TPM 2.0 part 1, 17.2: a register becomes the digest of what it was and what is measured.
fn extend(before: B256, digest: B256) -> B256 {
    B256::from_slice(&Sha256::new().chain_update(before).chain_update(digest).finalize())
}

pub(crate) fn check_text(text: &str) -> Result<(), ()> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > CLAIM_TEXT_SIZE_BYTES_MAX || !printable { Err(()) } else { Ok(()) }
}

/// ISO 3166-1 alpha-2, then any number of parts of letters and digits, such as an ISO 3166-2 subdivision or a site.
pub(crate) fn is_location(text: &str) -> bool {
    let mut parts = text.split('-');
    let country = parts.next().unwrap_or_default();
    text.len() <= CLAIM_TEXT_SIZE_BYTES_MAX
        && country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && parts.all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
}

/// Whether a place lies in a wider one: `DE-BY` in `DE`.
pub(crate) fn lies_in(place: &str, wider: &str) -> bool {
    place.strip_prefix(wider).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for good in ["DE", "DE-BY", "US-CA-DC2"] {
            assert!(is_location(good), "{good}");
        }
        for bad in ["", "de", "DEU", "DE-", "D3", "DE-by", "-BY", "DE BY"] {
            assert!(!is_location(bad), "{bad}");
        }
        assert!(lies_in("DE-BY", "DE") && lies_in("DE", "DE"));
        assert!(!lies_in("DE", "DE-BY") && !lies_in("DEX", "DE") && !lies_in("", "DE"));
    }

    #[test]
    fn a_register_is_what_tools_compute() {
        // printf '%064d%064d' 0 11..1 | xxd -r -p | sha256sum, with the second digest 32 bytes of 0x11.
        let expected = Sha256::digest([[0u8; 32], [0x11; 32]].concat());
        assert_eq!(extend(B256::ZERO, B256::repeat_byte(0x11)).0[..], expected[..]);
    }
}
