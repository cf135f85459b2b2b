//! The real TPM protocol, against swtpm. `cargo xtask test` installs it; without it these tests fail.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::{B256, Bytes};
use bletchley_attest::{
    AppraisalPolicy, Appraiser, Attester, Kind, KindRule, Measurement, Reference, RuntimeClaims, Statement,
    Verifiers, VerifyError,
    conformance::{self, Good},
    example,
    swtpm::SimulatedTpm,
    tpm::{AK, AkEndorsement, EK, SignedEndorsement, TpmAttester, TpmError, TpmVerifier, make_credential},
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::TimestampMs;
use zeroize::Zeroizing;

const FROM: TimestampMs = TimestampMs(1_700_000_000_000);
const AT: TimestampMs = TimestampMs(1_700_000_001_000);
const UNTIL: TimestampMs = TimestampMs(1_700_000_002_000);
const NONCE: B256 = B256::repeat_byte(0x11);

fn endorser() -> SecretKey {
    SecretKey::from_seed(b"whoever bought the machine")
}

/// What an administrator and a host do once: the TPM proves that both keys are its own.
fn enrol(tpm: &SimulatedTpm) -> SignedEndorsement {
    let mut attester = TpmAttester::new(tpm.connect().unwrap(), None);
    let identity = attester.identity().unwrap();
    let secret = Zeroizing::new([0x5a; 32]);
    let credential = make_credential(&identity.endorsement_key, &identity.attestation_key, &secret).unwrap();
    assert_eq!(attester.activate(&credential).unwrap().as_slice(), secret.as_slice());
    let endorsement = AkEndorsement {
        endorsement_key: identity.endorsement_key.name(),
        attestation_key: identity.attestation_key.name(),
        from: FROM,
        until: UNTIL,
    };
    endorsement.sign(&endorser())
}

fn claims() -> RuntimeClaims {
    example::claims(SecretKey::from_seed(b"host").address(), B256::repeat_byte(6))
}

fn statement(tpm: &SimulatedTpm) -> Statement {
    let endorsement = enrol(tpm);
    TpmAttester::new(tpm.connect().unwrap(), Some(endorsement)).state(NONCE, claims()).unwrap()
}

fn anchors() -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(endorser().address().as_slice())]
}

#[test]
fn with_a_tpm_a_quote_keeps_to_the_suite() {
    let tpm = SimulatedTpm::start().unwrap();
    let evidence = statement(&tpm).evidence;
    let not_at = vec![TimestampMs(FROM.0 - 1), UNTIL];
    let good = Good { evidence, anchors: anchors(), at: AT, not_at, stride: 1 };
    let verified = conformance::check(&TpmVerifier, &good).unwrap();
    assert_eq!(verified.report_data.as_ref(), claims().report_data(NONCE).as_slice());
    assert_eq!(verified.register, Some(claims().register()));
    assert_eq!(verified.measurements["pcr-23"].as_ref(), claims().register().as_slice());
    assert!(verified.measurements.contains_key("pcr-0") && verified.measurements.contains_key(EK));
}

#[test]
fn with_a_tpm_what_runs_is_measured_and_another_thing_is_noticed() {
    let tpm = SimulatedTpm::start().unwrap();
    let verifier = SecretKey::from_seed(b"verifier");
    let mut statement = statement(&tpm);
    let zeros = Bytes::from_static(&[0; 32]);
    let rule = |name: &str, value: Bytes| KindRule {
        kind: Kind::Tpm2,
        anchors: anchors(),
        standings: Vec::new(),
        references: vec![Reference {
            label: "as bought".to_owned(),
            measurements: vec![Measurement { name: name.to_owned(), value }],
            at_least: Vec::new(),
        }],
    };
    let verifiers = Verifiers::built_in();
    let appraise = |rule: KindRule, statement: &Statement| {
        let policy =
            AppraisalPolicy { rules: vec![rule], ..AppraisalPolicy::software_only(verifier.address()) };
        let registry = statement.claims.registry;
        let appraiser =
            Appraiser { verifiers: &verifiers, policy: &policy, registry, verifier: verifier.address() };
        appraiser.appraise(NONCE, statement, AT).map_err(|error| error.code())
    };
    let result = appraise(rule("pcr-0", zeros.clone()), &statement).unwrap();
    assert_eq!(result.tier.name(), "affirming");
    assert_eq!(result.expires, UNTIL);
    assert_eq!(appraise(rule("pcr-0", Bytes::from_static(&[1; 32])), &statement), Err("measurement"));
    assert_eq!(appraise(rule("pcr-12", zeros.clone()), &statement), Err("measurement"));

    // The TPM signs this report data, but another program was measured.
    let lie = RuntimeClaims { binary: B256::repeat_byte(0xbb), ..claims() };
    // First, because swtpm serves one connection at a time.
    let endorsement = enrol(&tpm);
    let mut attester = TpmAttester::new(tpm.connect().unwrap(), Some(endorsement));
    statement.evidence = attester.evidence(&lie, claims().report_data(NONCE)).unwrap();
    assert_eq!(appraise(rule("pcr-0", zeros), &statement), Err("register"));
}

#[test]
fn with_a_tpm_only_the_tpm_that_holds_both_keys_activates_a_credential() {
    let (tpm, other) = (SimulatedTpm::start().unwrap(), SimulatedTpm::start().unwrap());
    let identity = TpmAttester::new(tpm.connect().unwrap(), None).identity().unwrap();
    let mut stranger = TpmAttester::new(other.connect().unwrap(), None);
    let theirs = stranger.identity().unwrap();
    assert_ne!(identity.endorsement_key.name(), theirs.endorsement_key.name());
    let secret = Zeroizing::new([1; 32]);
    for (endorsement_key, attestation_key) in [
        (&identity.endorsement_key, &identity.attestation_key),
        (&identity.endorsement_key, &theirs.attestation_key),
        (&theirs.endorsement_key, &identity.attestation_key),
    ] {
        let credential = make_credential(endorsement_key, attestation_key, &secret).unwrap();
        let refused = stranger.activate(&credential).unwrap_err();
        assert!(matches!(refused, TpmError::Refused { .. }), "{refused}");
    }
    // Neither key passes for the other.
    assert!(make_credential(&identity.attestation_key, &identity.endorsement_key, &secret).is_err());
    // A refused credential leaves nothing behind: the TPM has room for three objects and three sessions.
    for _ in 0..4 {
        assert_eq!(stranger.identity().unwrap(), theirs);
    }
}

#[test]
fn with_a_tpm_an_attestation_key_needs_somebody_who_vouches_for_it() {
    let tpm = SimulatedTpm::start().unwrap();
    let mut attester = TpmAttester::new(tpm.connect().unwrap(), None);
    let evidence = attester.evidence(&claims(), claims().report_data(NONCE)).unwrap();
    let verify = |anchors: &[Bytes]| bletchley_attest::Verifier::verify(&TpmVerifier, &evidence, anchors, AT);
    assert!(matches!(verify(&anchors()), Err(VerifyError::NotAuthentic(_))));
    let name = attester.identity().unwrap().attestation_key.name();
    let pinned = verify(std::slice::from_ref(&name)).unwrap();
    assert_eq!(pinned.measurements[AK], name);
    assert!(!pinned.measurements.contains_key(EK));
}

/// The keys come out of the TPM's seed, so that nothing has to be stored and an endorsement outlives a restart.
#[test]
fn with_a_tpm_keys_are_the_same_every_time() {
    let tpm = SimulatedTpm::start().unwrap();
    let first = TpmAttester::new(tpm.connect().unwrap(), None).identity().unwrap();
    assert_eq!(TpmAttester::new(tpm.connect().unwrap(), None).identity().unwrap(), first);
}
