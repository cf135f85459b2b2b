//! Attestation: statements, policies, results, wrapped keys, TPM quotes and endorsements.

use crate::Verdict;
use bletchley_attest::tpm::{AkEndorsement, SignedEndorsement};
use bletchley_attest::{
    AppraisalPolicy, Appraiser, Attester, EphemeralKey, Evidence, KeyRelease, Kind, SignedResult,
    SoftwareAttester, Statement, Verified, Verifiers, WrappedKey, example,
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::{B256, Bytes, TimestampMs};
use std::sync::LazyLock;
use zeroize::Zeroizing;

const AT: TimestampMs = TimestampMs(1_700_000_000_000);
const NONCE: B256 = B256::repeat_byte(7);

static VERIFIERS: LazyLock<Verifiers> = LazyLock::new(Verifiers::built_in);

fn key() -> SecretKey {
    SecretKey::from_seed(b"host and verifier")
}

fn ephemeral() -> EphemeralKey {
    EphemeralKey::from_seed(&[3; 32])
}

fn good_statement() -> Statement {
    let claims = example::claims(key().address(), ephemeral().public());
    SoftwareAttester::of_key(&key()).state(NONCE, claims).unwrap()
}

fn good_policy() -> AppraisalPolicy {
    AppraisalPolicy::software_only(key().address())
}

fn good_result() -> SignedResult {
    let (policy, statement) = (good_policy(), good_statement());
    let registry = statement.claims.registry;
    let appraiser = Appraiser { verifiers: &VERIFIERS, policy: &policy, registry, verifier: key().address() };
    appraiser.appraise(NONCE, &statement, AT).unwrap().sign(&key())
}

pub(crate) mod statement {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(statement) = Statement::decode(bytes) else { return Verdict::Refused };
        assert_eq!(statement.encode(), bytes, "two encodings of one statement");
        let policy = good_policy();
        let registry = statement.claims.registry;
        let appraiser =
            Appraiser { verifiers: &VERIFIERS, policy: &policy, registry, verifier: key().address() };
        if let Ok(result) = appraiser.appraise(statement.nonce, &statement, AT) {
            assert_eq!(result.claims, statement.claims.digest());
            assert_eq!(statement.evidence.kind, Kind::Software, "a policy for software took something else");
        }
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![good_statement().encode()]
    }
}

pub(crate) mod policy {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(policy) = AppraisalPolicy::decode(bytes) else { return Verdict::Refused };
        assert_eq!(policy.encode(), bytes, "two encodings of one policy");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![good_policy().encode()]
    }
}

pub(crate) mod result {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(signed) = SignedResult::decode(bytes) else { return Verdict::Refused };
        assert_eq!(signed.encode(), bytes, "two encodings of one result");
        let holds = signed.check(&good_policy(), good_statement().claims.registry).is_ok();
        assert!(!holds || signed.result == good_result().result, "a changed result passes for signed");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![good_result().encode()]
    }
}

pub(crate) mod wrapped_key {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(wrapped) = WrappedKey::decode(bytes) else { return Verdict::Refused };
        assert_eq!(wrapped.encode(), bytes, "two encodings of one wrapped key");
        if let Ok(secret) = ephemeral().open(&wrapped) {
            assert_eq!(secret.as_slice(), b"secret", "a changed ciphertext opens");
        }
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let (policy, claims) = (good_policy(), good_statement().claims);
        let release = KeyRelease { policy: &policy, registry: claims.registry, kinds: &[Kind::Software] };
        let secret = Zeroizing::new(b"secret".to_vec());
        let wrapped = release.release_with(&good_result(), &claims, NONCE, &secret, AT, &[5; 32]);
        vec![wrapped.unwrap().encode()]
    }
}

/// A TPM's quote. Evidence of other hardware is met in the conformance suite of its verifier.
pub(crate) mod quote {
    use super::*;

    const QUOTE: &[u8] = include_bytes!("../../crates/attest/tests/samples/quote.tpm2");
    /// Name of the attestation key that signed it.
    const KEY: &[u8] = include_bytes!("../../crates/attest/tests/samples/quote.ak");

    fn verified(bytes: &[u8]) -> Option<Verified> {
        let (bytes, collateral) = (Bytes::copy_from_slice(bytes), Bytes::new());
        let evidence = Evidence { kind: Kind::Tpm2, bytes, collateral };
        VERIFIERS.of(Kind::Tpm2).unwrap().verify(&evidence, &[Bytes::from_static(KEY)], AT).ok()
    }

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let verified = verified(bytes);
        // Nobody here has a key to sign another one with.
        assert!(verified.is_none() || bytes == QUOTE, "{verified:?}");
        Verdict::of(verified.is_some())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![QUOTE.to_vec()]
    }
}

/// An endorsement of a TPM's attestation key.
pub(crate) mod endorsement {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok((signed, endorser)) = SignedEndorsement::decode(bytes) else { return Verdict::Refused };
        assert_eq!(signed.encode(), bytes, "two encodings of one endorsement");
        assert!(
            endorser != key().address() || bytes == seeds()[0],
            "a changed endorsement passes for signed"
        );
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let (endorsement_key, attestation_key) = (Bytes::from_static(&[1; 34]), Bytes::from_static(&[2; 34]));
        let endorsement = AkEndorsement { endorsement_key, attestation_key, from: TimestampMs(1), until: AT };
        vec![endorsement.sign(&key()).encode()]
    }
}
