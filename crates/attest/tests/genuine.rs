//! Evidence that real hardware made, at a time at which it was valid: each verifier keeps to the suite on it, and says
//! what is known to be in it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::{B256, Bytes, hex};
use bletchley_attest::{
    AppraisalPolicy, AppraiseError, Appraiser, DcapVerifier, Evidence, Kind, KindRule, Measurement,
    NitroVerifier, Reference, SevSnpVerifier, Statement, Verified, Verifier, Verifiers, VerifyError,
    conformance::{self, Good},
    example,
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::TimestampMs;

const SGX: &[u8] = include_bytes!("samples/sgx_quote");
const SGX_COLLATERAL: &[u8] = include_bytes!("samples/sgx_quote_collateral.json");
const TDX: &[u8] = include_bytes!("samples/tdx_quote");
const TDX_COLLATERAL: &[u8] = include_bytes!("samples/tdx_quote_collateral.json");
const SNP: &str = include_str!("samples/report_milan.hex");
const VCEK: &[u8] = include_bytes!("samples/vcek_milan.der");
const NITRO: &[u8] = include_bytes!("samples/nitro.cose");

/// 2026-11-22, when all of it has expired but AMD's certificate.
const MUCH_LATER: TimestampMs = TimestampMs(1_795_305_600_000);
const YEAR_2000: TimestampMs = TimestampMs(946_684_800_000);

fn evidence(kind: Kind, bytes: &[u8], collateral: &[u8]) -> Evidence {
    Evidence { kind, bytes: Bytes::copy_from_slice(bytes), collateral: Bytes::copy_from_slice(collateral) }
}

/// 2025-07-08, while Intel's word on both platforms holds: from 2025-06-19 to 2025-07-19.
const WHILE_COLLATERAL_HOLDS: TimestampMs = TimestampMs(1_752_000_000_000);

fn good(evidence: Evidence, at: TimestampMs, not_at: Vec<TimestampMs>, stride: usize) -> Good {
    Good { evidence, anchors: Vec::new(), at, not_at, stride }
}

fn sgx() -> Good {
    let at = WHILE_COLLATERAL_HOLDS;
    good(evidence(Kind::Sgx, SGX, SGX_COLLATERAL), at, vec![MUCH_LATER, YEAR_2000], 601)
}

fn tdx() -> Good {
    let at = WHILE_COLLATERAL_HOLDS;
    good(evidence(Kind::Tdx, TDX, TDX_COLLATERAL), at, vec![MUCH_LATER, YEAR_2000], 601)
}

fn snp() -> Good {
    let report = hex::decode(SNP.trim()).unwrap();
    let at = TimestampMs(1_735_689_600_000); // 2025-01-01
    good(evidence(Kind::SevSnp, &report, VCEK), at, vec![YEAR_2000, TimestampMs(4_102_444_800_000)], 83)
}

fn nitro() -> Good {
    let at = TimestampMs(1_736_179_625_000); // When it was signed.
    good(evidence(Kind::Nitro, NITRO, &[]), at, vec![MUCH_LATER, YEAR_2000], 101)
}

fn hex_of(verified: &Verified, name: &str) -> String {
    hex::encode(&verified.measurements[name])
}

#[test]
fn sgx_keeps_to_the_suite() {
    let verified = conformance::check(&DcapVerifier::sgx(), &sgx()).unwrap();
    // The quote's own bytes: header of 48, then the report, which has the enclave at 64 and the signer at 128.
    assert_eq!(hex_of(&verified, "mr-enclave"), hex::encode(&SGX[48 + 64..48 + 96]));
    assert_eq!(hex_of(&verified, "mr-signer"), hex::encode(&SGX[48 + 128..48 + 160]));
    assert_eq!(verified.report_data.as_ref(), &SGX[48 + 320..48 + 384]);
    assert!(verified.not_after.is_some_and(|not_after| not_after > sgx().at));
}

#[test]
fn tdx_keeps_to_the_suite() {
    let verified = conformance::check(&DcapVerifier::tdx(), &tdx()).unwrap();
    assert_eq!(verified.measurements["mr-td"].as_ref(), &TDX[48 + 136..48 + 184]);
    assert_eq!(verified.report_data.as_ref(), &TDX[48 + 520..48 + 584]);
    assert!(!verified.standing.is_empty());
}

#[test]
fn a_quote_of_one_kind_does_not_pass_for_the_other() {
    let disguised = Evidence { kind: Kind::Tdx, ..sgx().evidence };
    let refused = DcapVerifier::tdx().verify(&disguised, &[], sgx().at);
    assert_eq!(refused, Err(VerifyError::OtherKind { expected: Kind::Tdx, found: Kind::Sgx }));
    let mixed = Evidence { collateral: tdx().evidence.collateral, ..sgx().evidence };
    assert!(DcapVerifier::sgx().verify(&mixed, &[], sgx().at).is_err());
}

#[test]
fn sev_snp_keeps_to_the_suite() {
    let good = snp();
    let verified = conformance::check(&SevSnpVerifier, &good).unwrap();
    assert_eq!(verified.measurements["measurement"].as_ref(), &good.evidence.bytes[0x90..0xc0]);
    assert_eq!(verified.report_data.as_ref(), &good.evidence.bytes[0x50..0x90]);
    assert!(verified.versions.contains_key("tcb-microcode"));
}

#[test]
fn nitro_keeps_to_the_suite() {
    let verified = conformance::check(&NitroVerifier, &nitro()).unwrap();
    assert_eq!(verified.measurements.len(), 5);
    assert!(verified.report_data.is_empty());
}

/// A policy that takes exactly this state of this kind.
fn policy(kind: Kind, verified: &Verified, name: &str, verifier: &SecretKey) -> AppraisalPolicy {
    let measurement = Measurement { name: name.to_owned(), value: verified.measurements[name].clone() };
    let reference =
        Reference { label: "the sample".to_owned(), measurements: vec![measurement], at_least: Vec::new() };
    let standings = Some(verified.standing.clone()).filter(|standing| !standing.is_empty());
    let rule = KindRule {
        kind,
        anchors: Vec::new(),
        standings: standings.into_iter().collect(),
        references: vec![reference],
    };
    AppraisalPolicy { rules: vec![rule], ..AppraisalPolicy::software_only(verifier.address()) }
}

/// Somebody else's evidence is authentic and of the right state, and still answers none of our questions.
#[test]
fn evidence_that_was_made_for_somebody_else_is_not_accepted() {
    let verifier = SecretKey::from_seed(b"verifier");
    let verifiers = Verifiers::built_in();
    for (good, name) in [(sgx(), "mr-enclave"), (tdx(), "mr-td"), (snp(), "measurement"), (nitro(), "pcr-0")]
    {
        let kind = good.evidence.kind;
        let verified = verifiers.of(kind).unwrap().verify(&good.evidence, &[], good.at).unwrap();
        let policy = policy(kind, &verified, name, &verifier);
        let nonce = B256::repeat_byte(9);
        let claims = example::claims(verifier.address(), B256::repeat_byte(8));
        let statement = Statement { nonce, claims, evidence: good.evidence };
        let registry = statement.claims.registry;
        let appraiser =
            Appraiser { verifiers: &verifiers, policy: &policy, registry, verifier: verifier.address() };
        let refused = appraiser.appraise(nonce, &statement, good.at).unwrap_err();
        assert!(matches!(refused, AppraiseError::ReportData { .. }), "{kind}: {refused}");
    }
}

#[test]
fn every_kind_has_a_verifier() {
    assert_eq!(Verifiers::built_in().kinds().collect::<Vec<_>>(), Kind::ALL);
}
