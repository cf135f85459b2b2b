//! Test vectors of specs/attestation.md. They stand between markers in the text; this test makes them again and fails when
//! the text says something else. With `BLETCHLEY_WRITE_VECTORS=1` it writes them instead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use alloy_primitives::{B256, Bytes, hex};
use bletchley_attest::{
    AppraisalPolicy, Appraiser, Attester, EphemeralKey, Evidence, KeyRelease, Kind, SoftwareAttester,
    Verifier, Verifiers, example,
    tpm::{AkEndorsement, TpmVerifier},
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::TimestampMs;
use std::{fmt::Write as _, fs, path::PathBuf};
use zeroize::Zeroizing;

const BEGIN: &str = "<!-- vectors: made by a test, not by hand -->\n```text\n";
const END: &str = "```\n<!-- end of vectors -->";
const NONCE: B256 = B256::repeat_byte(0x11);
const AT: TimestampMs = TimestampMs(1_700_000_000_000);
const QUOTE: &[u8] = include_bytes!("samples/quote.tpm2");
const QUOTE_KEY: &[u8] = include_bytes!("samples/quote.ak");

fn vectors() -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: &[u8]| {
        writeln!(text, "{name:<24} {}", hex::encode_prefixed(value)).unwrap();
    };
    let (host, verifier) = (
        SecretKey::from_seed(b"specs/attestation.md: host"),
        SecretKey::from_seed(b"specs/attestation.md: verifier"),
    );
    let ephemeral = EphemeralKey::from_seed(&[7; 32]);
    let claims = example::claims(host.address(), ephemeral.public());
    put("host address", host.address().as_slice());
    put("verifier address", verifier.address().as_slice());
    put("nonce", NONCE.as_slice());
    put("ephemeral key", ephemeral.public().as_slice());
    put("claims", &alloy_rlp::encode(&claims));
    put("claims digest", claims.digest().as_slice());
    put("register 23", claims.register().as_slice());
    put("report data", claims.report_data(NONCE).as_slice());
    let statement = SoftwareAttester::of_key(&host).state(NONCE, claims.clone()).unwrap();
    put("software evidence", &statement.evidence.bytes);
    put("statement", &statement.encode());
    put("statement id", statement.id().as_slice());
    let policy = AppraisalPolicy::software_only(verifier.address());
    put("policy", &policy.encode());
    put("policy digest", policy.digest().as_slice());
    let verifiers = Verifiers::built_in();
    let registry = claims.registry;
    let appraiser =
        Appraiser { verifiers: &verifiers, policy: &policy, registry, verifier: verifier.address() };
    let signed = appraiser.appraise(NONCE, &statement, AT).unwrap().sign(&verifier);
    put("signed result", &signed.encode());
    put("result digest", signed.digest().as_slice());
    let release = KeyRelease { policy: &policy, registry, kinds: &[Kind::Software] };
    let secret = Zeroizing::new(b"a secret".to_vec());
    let wrapped =
        release.release_with(&signed, &claims, B256::repeat_byte(0x22), &secret, AT, &[5; 32]).unwrap();
    assert_eq!(ephemeral.open(&wrapped).unwrap().as_slice(), secret.as_slice());
    put("wrapped key", &wrapped.encode());
    let endorsement = AkEndorsement {
        endorsement_key: Bytes::from([&[0, 0x0b][..], &[1; 32]].concat()),
        attestation_key: Bytes::copy_from_slice(QUOTE_KEY),
        from: TimestampMs(1),
        until: TimestampMs(2),
    };
    put("endorsement", &endorsement.sign(&verifier).encode());
    put("quote, tpm2", QUOTE);
    text
}

#[test]
fn the_specification_has_these_vectors() {
    let vectors = vectors();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/attestation.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the text has a place for vectors");
    let (found, after) = rest.split_once(END).expect("the vectors end");
    if std::env::var_os("BLETCHLEY_WRITE_VECTORS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{vectors}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, vectors, "write them with BLETCHLEY_WRITE_VECTORS=1 if the change is meant");
    }
}

/// The quote was made over the report data of example claims with another ephemeral key.
#[test]
fn the_committed_quote_is_authentic() {
    let host = SecretKey::from_seed(b"specs/attestation.md: host");
    let claims = example::claims(host.address(), B256::repeat_byte(6));
    let evidence = Evidence { kind: Kind::Tpm2, bytes: Bytes::from_static(QUOTE), collateral: Bytes::new() };
    let verified = TpmVerifier.verify(&evidence, &[Bytes::from_static(QUOTE_KEY)], AT).unwrap();
    assert_eq!(verified.report_data.as_ref(), claims.report_data(NONCE).as_slice());
    assert_eq!(verified.register, Some(claims.register()));
}
