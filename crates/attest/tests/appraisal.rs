//! Software evidence, appraisal, results, and the release of keys.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::{B256, Bytes};
use bletchley_attest::{
    AppraisalPolicy, AppraiseError, Appraiser, Attester, EphemeralKey, Evidence, KeyRelease, Kind, KindRule,
    Least, Measurement, Reference, ReleaseError, ResultError, RuntimeClaims, SIGNER, SignedResult,
    SoftwareAttester, SoftwareVerifier, Statement, Tier, Verifiers, WrappedKey,
    conformance::{self, Good},
    example,
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::{LedgerId, TimestampMs};
use zeroize::Zeroizing;

const AT: TimestampMs = TimestampMs(1_700_000_000_000);
const NONCE: B256 = B256::repeat_byte(0x11);

struct World {
    host: SecretKey,
    verifier: SecretKey,
    ephemeral: EphemeralKey,
    verifiers: Verifiers,
}

impl World {
    fn new() -> Self {
        Self {
            host: SecretKey::from_seed(b"host"),
            verifier: SecretKey::from_seed(b"verifier"),
            ephemeral: EphemeralKey::from_seed(&[7; 32]),
            verifiers: Verifiers::built_in(),
        }
    }

    fn claims(&self) -> RuntimeClaims {
        example::claims(self.host.address(), self.ephemeral.public())
    }

    fn statement(&self) -> Statement {
        SoftwareAttester::of_key(&self.host).state(NONCE, self.claims()).unwrap()
    }

    fn policy(&self) -> AppraisalPolicy {
        AppraisalPolicy::software_only(self.verifier.address())
    }

    fn appraise(
        &self,
        policy: &AppraisalPolicy,
        statement: &Statement,
    ) -> Result<SignedResult, &'static str> {
        let registry = LedgerId(B256::repeat_byte(1));
        let appraiser =
            Appraiser { verifiers: &self.verifiers, policy, registry, verifier: self.verifier.address() };
        let result = appraiser.appraise(NONCE, statement, AT).map_err(|error| error.code())?;
        Ok(result.sign(&self.verifier))
    }

    fn release(&self, policy: &AppraisalPolicy, signed: &SignedResult) -> Result<WrappedKey, ReleaseError> {
        let registry = LedgerId(B256::repeat_byte(1));
        KeyRelease { policy, registry, kinds: &[Kind::Software] }.release(
            signed,
            &self.claims(),
            B256::repeat_byte(0x22),
            &Zeroizing::new(b"a secret".to_vec()),
            AT,
        )
    }
}

#[test]
fn software_evidence_keeps_to_the_suite() {
    let world = World::new();
    let anchors = vec![Bytes::copy_from_slice(world.host.address().as_slice())];
    let evidence = world.statement().evidence;
    let good = Good { evidence, anchors, at: AT, not_at: Vec::new(), stride: 1 };
    let verified = conformance::check(&SoftwareVerifier, &good).unwrap();
    assert_eq!(verified.measurements[SIGNER].as_ref(), world.host.address().as_slice());
    assert_eq!(verified.report_data.as_ref(), world.claims().report_data(NONCE).as_slice());
}

#[test]
fn software_evidence_is_worth_the_tier_none_and_says_so() {
    let world = World::new();
    let signed = world.appraise(&world.policy(), &world.statement()).unwrap();
    let result = &signed.result;
    assert_eq!((result.kind, result.tier), (Kind::Software, Tier::None));
    assert_eq!(result.host, world.host.address());
    assert_eq!(result.statement, world.statement().id());
    assert!(Kind::Software.meaning().contains("SOFTWARE"));
    assert_eq!(SignedResult::decode(&signed.encode()).unwrap(), signed);
}

#[test]
fn a_statement_is_good_for_one_question_only() {
    let world = World::new();
    let good = world.statement();
    let policy = world.policy();
    let with = |claims: RuntimeClaims| Statement { claims, ..good.clone() };
    let other_key =
        SoftwareAttester::of_key(&world.host).state(B256::repeat_byte(0x12), world.claims()).unwrap();
    let cases = [
        (Statement { nonce: B256::ZERO, ..good.clone() }, "nonce"),
        (other_key.clone(), "nonce"),
        (Statement { nonce: NONCE, ..other_key }, "report-data"),
        (with(RuntimeClaims { binary: B256::ZERO, ..world.claims() }), "report-data"),
        (with(RuntimeClaims { ephemeral_key: B256::ZERO, ..world.claims() }), "report-data"),
        (with(RuntimeClaims { location: "US".to_owned(), ..world.claims() }), "report-data"),
        (with(RuntimeClaims { location: "Germany".to_owned(), ..world.claims() }), "malformed"),
        (with(RuntimeClaims { engine: "x".repeat(65), ..world.claims() }), "malformed"),
        (with(RuntimeClaims { registry: LedgerId(B256::ZERO), ..world.claims() }), "registry"),
        (
            Statement { evidence: Evidence { kind: Kind::Tpm2, ..good.evidence.clone() }, ..good.clone() },
            "kind",
        ),
    ];
    for (statement, code) in cases {
        assert_eq!(world.appraise(&policy, &statement).unwrap_err(), code);
    }
}

#[test]
fn every_claim_can_be_asked_for() {
    let world = World::new();
    let (statement, open) = (world.statement(), world.policy());
    let no = || vec![B256::repeat_byte(0xee)];
    let text = |text: &str| vec![text.to_owned()];
    let refusing = [
        AppraisalPolicy { binaries: no(), ..open.clone() },
        AppraisalPolicy { profiles: no(), ..open.clone() },
        AppraisalPolicy { components: no(), ..open.clone() },
        AppraisalPolicy { configs: no(), ..open.clone() },
        AppraisalPolicy { engines: text("wasmtime 48.0.7"), ..open.clone() },
        AppraisalPolicy { isolations: text("process"), ..open.clone() },
        AppraisalPolicy { worlds: text("another"), ..open.clone() },
        AppraisalPolicy { locations: text("CH"), ..open.clone() },
    ];
    for policy in refusing {
        assert_eq!(world.appraise(&policy, &statement).unwrap_err(), "claim", "{policy:?}");
    }
    let asking = AppraisalPolicy {
        binaries: vec![B256::repeat_byte(2)],
        engines: text("wasmtime 48.0.8"),
        isolations: vec!["in-process".to_owned(), "process".to_owned()],
        locations: vec!["CH".to_owned(), "DE".to_owned()],
        ..open
    };
    assert_eq!(world.appraise(&asking, &statement).unwrap().result.location, "DE-BY");
}

#[test]
fn references_and_anchors_decide_over_software_keys_too() {
    let world = World::new();
    let statement = world.statement();
    let rule = |rule: KindRule| AppraisalPolicy { rules: vec![rule], ..world.policy() };
    let base = world.policy().rules[0].clone();
    let reference = |value: &[u8], at_least: Vec<Least>| Reference {
        label: "this one".to_owned(),
        measurements: vec![Measurement { name: SIGNER.to_owned(), value: Bytes::copy_from_slice(value) }],
        at_least,
    };
    let host = world.host.address();
    let newer = vec![Least { name: "firmware".to_owned(), version: 1 }];
    let cases = [
        (KindRule { references: vec![reference(host.as_slice(), Vec::new())], ..base.clone() }, None),
        (KindRule { references: vec![reference(&[1; 20], Vec::new())], ..base.clone() }, Some("measurement")),
        (
            KindRule { references: vec![reference(host.as_slice(), newer)], ..base.clone() },
            Some("measurement"),
        ),
        (KindRule { references: Vec::new(), ..base.clone() }, Some("measurement")),
        (KindRule { anchors: vec![Bytes::from_static(&[1; 20])], ..base.clone() }, Some("not-authentic")),
        (KindRule { kind: Kind::Sgx, ..base }, Some("kind")),
    ];
    for (wanted, refusal) in cases {
        assert_eq!(world.appraise(&rule(wanted), &statement).err(), refusal);
    }
}

#[test]
fn policies_have_one_form() {
    let world = World::new();
    let good = world.policy();
    assert_eq!(AppraisalPolicy::decode(&good.encode()).unwrap(), good);
    let text = |text: &str| text.to_owned();
    let twice = good.rules[0].clone();
    for bad in [
        AppraisalPolicy { validity_ms: 0, ..good.clone() },
        AppraisalPolicy { validity_ms: u64::MAX, ..good.clone() },
        AppraisalPolicy { binaries: vec![B256::repeat_byte(2), B256::repeat_byte(1)], ..good.clone() },
        AppraisalPolicy { engines: vec![String::new()], ..good.clone() },
        AppraisalPolicy { engines: vec![text("a"), text("a")], ..good.clone() },
        AppraisalPolicy { locations: vec![text("Germany")], ..good.clone() },
        AppraisalPolicy { rules: vec![twice.clone(), twice], ..good.clone() },
    ] {
        assert!(AppraisalPolicy::decode(&alloy_rlp::encode(&bad)).is_err(), "{bad:?}");
        let refused = world.appraise(&bad, &world.statement());
        assert_eq!(refused.unwrap_err(), "policy");
    }
}

/// A policy as people write it.
#[test]
fn a_policy_is_read_from_a_file() {
    let policy: AppraisalPolicy = toml::from_str(
        r#"
        verifiers = ["0x0000000000000000000000000000000000000001"]
        validity-ms = 3_600_000
        locations = ["DE"]
        [[rules]]
        kind = "sev-snp"
        [[rules.references]]
        label = "release 1"
        measurements = [{ name = "measurement", value = "0x0102" }]
        at-least = [{ name = "tcb-snp", version = 8 }]
        "#,
    )
    .unwrap();
    policy.check().unwrap();
    assert_eq!(policy.rules[0].kind, Kind::SevSnp);
    assert!(toml::from_str::<AppraisalPolicy>("verifier = []").is_err());
}

#[test]
fn a_key_opens_for_the_host_of_the_result_alone() {
    let world = World::new();
    let policy = world.policy();
    let signed = world.appraise(&policy, &world.statement()).unwrap();
    let wrapped = world.release(&policy, &signed).unwrap();
    assert_eq!(world.ephemeral.open(&wrapped).unwrap().as_slice(), b"a secret");
    assert_eq!(WrappedKey::decode(&wrapped.encode()).unwrap(), wrapped);
    assert!(EphemeralKey::from_seed(&[8; 32]).open(&wrapped).is_err());
    let mut sealed = wrapped.sealed.to_vec();
    sealed[0] ^= 1;
    for changed in [
        WrappedKey { sealed: sealed.into(), ..wrapped.clone() },
        WrappedKey { key: B256::ZERO, ..wrapped.clone() },
        WrappedKey { result: B256::ZERO, ..wrapped.clone() },
        WrappedKey { encapsulated: B256::ZERO, ..wrapped.clone() },
        WrappedKey { host: world.verifier.address(), ..wrapped },
    ] {
        assert!(world.ephemeral.open(&changed).is_err(), "{changed:?}");
    }
}

#[test]
fn a_key_is_released_on_a_good_result_only() {
    let world = World::new();
    let policy = world.policy();
    let signed = world.appraise(&policy, &world.statement()).unwrap();
    let registry = LedgerId(B256::repeat_byte(1));
    let (claims, key) = (world.claims(), B256::repeat_byte(0x22));
    let secret = Zeroizing::new(b"a secret".to_vec());
    let hardware = KeyRelease { policy: &policy, registry, kinds: &[Kind::Tpm2, Kind::Sgx] };
    let refused = hardware.release(&signed, &claims, key, &secret, AT).unwrap_err();
    assert_eq!(refused, ReleaseError::Kind(Kind::Software));

    let terms = KeyRelease { kinds: &[Kind::Software], ..hardware };
    let other = RuntimeClaims { ephemeral_key: B256::repeat_byte(9), ..claims.clone() };
    let refused = terms.release(&signed, &other, key, &secret, AT).unwrap_err();
    assert!(matches!(refused, ReleaseError::Claims { .. }));
    for at in [TimestampMs(AT.0 - 1), signed.result.expires] {
        let refused = terms.release(&signed, &claims, key, &secret, at).unwrap_err();
        assert!(matches!(refused, ReleaseError::Result(ResultError::Time { .. })), "{refused}");
    }
    let stranger = SecretKey::from_seed(b"stranger");
    let forged = signed.result.clone().sign(&stranger);
    let refused = terms.release(&forged, &claims, key, &secret, AT).unwrap_err();
    assert!(matches!(refused, ReleaseError::Result(ResultError::Signer { .. })), "{refused}");
    let mut own = signed.result.clone();
    own.verifier = stranger.address();
    let refused = terms.release(&own.sign(&stranger), &claims, key, &secret, AT).unwrap_err();
    assert!(matches!(refused, ReleaseError::Result(ResultError::Verifier(_))), "{refused}");
    let stricter = AppraisalPolicy { locations: vec!["DE".to_owned()], ..policy.clone() };
    let refused = KeyRelease { policy: &stricter, ..terms }.release(&signed, &claims, key, &secret, AT);
    assert!(matches!(refused.unwrap_err(), ReleaseError::Result(ResultError::Policy(_))));
    let elsewhere = KeyRelease { registry: LedgerId(B256::ZERO), ..terms };
    let refused = elsewhere.release(&signed, &claims, key, &secret, AT);
    assert!(matches!(refused.unwrap_err(), ReleaseError::Result(ResultError::Registry(_))));
    for wrong in [Vec::new(), vec![0; 1025]] {
        let refused = terms.release(&signed, &claims, key, &Zeroizing::new(wrong), AT).unwrap_err();
        assert!(matches!(refused, ReleaseError::Secret(_)));
    }
}

#[test]
fn an_unknown_error_code_would_be_noticed() {
    // Codes are what specs/attestation.md lists; a change of one is a change of the format.
    assert_eq!(AppraiseError::Kind(Kind::Nitro).code(), "kind");
    assert_eq!(AppraiseError::Standing(String::new()).code(), "standing");
}
