//! Vectors of specs/certificate.md: this test makes them again and fails when the text says something else. With
//! `BLETCHLEY_WRITE_VECTORS=1` it writes them instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use alloy_primitives::hex;
use alloy_sol_types::{SolStruct, eip712_domain, sol};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    Certificate, Checkpoint, CheckpointMessage, CheckpointVote, Finality, FinalityProof, FinalityProofError,
    HeaderLink, SetChange, ValidatorSet,
};
use bletchley_primitives::{B256, BlockHash, Bytes, DecodeError, Height, LedgerId, keccak256};
use std::fmt::Write as _;
use std::path::PathBuf;

const BEGIN: &str = "<!-- vectors: made by a test, not by hand -->\n```text\n";
const END: &str = "```\n<!-- end of vectors -->";
const LEDGER: LedgerId = LedgerId(B256::repeat_byte(0x11));

mod typed {
    #![allow(missing_docs)]
    super::sol! {
        struct Checkpoint {
            bytes32 ledger;
            uint64 height;
            bytes32 block;
            bytes32 state;
            bytes32 validators;
            bytes32 next;
        }
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n])
}

fn set(of: std::ops::Range<u8>) -> ValidatorSet {
    ValidatorSet::new(of.map(|n| key(n).address()))
}

/// A header of this test: height and the hash of the one before it.
fn header(height: u64) -> Bytes {
    let parent = if height == 0 { B256::ZERO } else { keccak256(header(height - 1)) };
    [&height.to_be_bytes()[..], parent.as_slice()].concat().into()
}

fn link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
    let malformed = || DecodeError::Malformed("no header of this test".to_owned());
    let (height, parent) = bytes.split_at_checked(8).ok_or_else(malformed)?;
    Ok(HeaderLink {
        height: Height(u64::from_be_bytes(height.try_into().map_err(|_| malformed())?)),
        hash: BlockHash(keccak256(bytes)),
        parent: BlockHash(B256::try_from(parent).map_err(|_| malformed())?),
        state: B256::repeat_byte(0x33),
    })
}

fn checkpoint(height: u64, validators: &ValidatorSet, next: &ValidatorSet) -> Checkpoint {
    let link = link(&header(height)).unwrap();
    Checkpoint {
        ledger: LEDGER,
        height: link.height,
        block: link.hash,
        state: link.state,
        validators: validators.digest(),
        next: next.digest(),
    }
}

fn certificate(checkpoint: Checkpoint, signers: &[u8]) -> Certificate {
    Certificate { checkpoint, signatures: signers.iter().map(|n| checkpoint.sign(&key(*n))).collect() }
}

struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name:<24} {value}").unwrap();
    }

    fn bytes(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.add(name, hex::encode_prefixed(bytes));
    }

    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        writeln!(self.0, "{gap}[{title}]").unwrap();
    }
}

fn vectors() -> String {
    let (old, new) = (set(0..4), set(1..5));
    let mut out = Lines(String::new());
    out.title("sets");
    for (name, set) in [("old", &old), ("new", &new)] {
        let members: Vec<String> = set.members().iter().map(ToString::to_string).collect();
        out.add(name, members.join(" "));
        out.add(&format!("{name}, digest"), set.digest());
        out.add(&format!("{name}, quorum"), set.quorum());
    }
    let change = certificate(checkpoint(300, &old, &new), &[0, 1, 2]);
    let later = certificate(checkpoint(303, &new, &new), &[4, 2, 3]);
    for (title, set, one) in
        [("last block of an epoch", &old, &change), ("a block of the next epoch", &new, &later)]
    {
        one.verify(set).unwrap();
        out.title(title);
        out.add("ledger", one.checkpoint.ledger);
        out.add("height", one.checkpoint.height);
        out.add("block", one.checkpoint.block);
        out.add("state", one.checkpoint.state);
        out.add("validators", one.checkpoint.validators);
        out.add("next", one.checkpoint.next);
        out.add("signing digest", one.checkpoint.signing_digest());
        for (n, signature) in one.signatures.iter().enumerate() {
            out.bytes(&format!("signature {n}"), signature.0);
        }
        out.bytes("certificate", alloy_rlp::encode(one));
    }
    out.title("beside a block");
    let beside = Finality { seal: Bytes::new(), certificate: Some(change.clone()) };
    out.bytes("solo", beside.encode());
    out.bytes(
        "with a seal of 32 bytes",
        Finality { seal: vec![0x44; 32].into(), certificate: None }.encode(),
    );
    out.title("proof that block 301 is final; a header here is its height and its parent's hash");
    let headers = vec![header(301), header(302), header(303)];
    let proof = FinalityProof {
        changes: vec![SetChange { certificate: change, next: new }],
        headers,
        certificate: later,
    };
    let proved = proof.verify(LEDGER, &old, link).unwrap();
    assert_eq!((proved.link.height, proved.certified), (Height(301), Height(303)));
    out.bytes("proof", proof.encode());
    out.title("messages");
    let signature = proof.certificate.signatures[0];
    let vote = CheckpointVote { checkpoint: proof.certificate.checkpoint, signature };
    out.bytes("vote", CheckpointMessage::Votes(vec![vote]).encode());
    out.bytes("question", CheckpointMessage::Want(vec![Height(300), Height(303)]).encode());
    out.bytes("answer", CheckpointMessage::Certificates(vec![proof.certificate]).encode());
    out.0
}

#[test]
fn the_text_has_the_vectors_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/certificate.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the text has a place for vectors");
    let (found, after) = rest.split_once(END).expect("the vectors end");
    let vectors = vectors();
    if std::env::var_os("BLETCHLEY_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{vectors}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, vectors,
        "certificate.md has other vectors; set BLETCHLEY_WRITE_VECTORS=1 to write them"
    );
}

#[test]
fn the_signing_digest_is_eip_712_of_the_solidity_struct() {
    let ours = checkpoint(300, &set(0..4), &set(1..5));
    let theirs = typed::Checkpoint {
        ledger: ours.ledger.0,
        height: ours.height.0,
        block: ours.block.0,
        state: ours.state,
        validators: ours.validators,
        next: ours.next,
    };
    let domain = eip712_domain! { name: "Bletchley Checkpoint", version: "1", };
    assert_eq!(ours.signing_digest(), theirs.eip712_signing_hash(&domain));
}

#[test]
fn finality_is_canonical_and_bounded() {
    let one = certificate(checkpoint(1, &set(0..4), &set(0..4)), &[0, 1, 2]);
    for finality in [
        Finality::default(),
        Finality { seal: Bytes::from_static(b"seal"), certificate: None },
        Finality { seal: Bytes::new(), certificate: Some(one.clone()) },
    ] {
        let bytes = finality.encode();
        assert_eq!(Finality::decode(&bytes), Ok(finality));
        let mut more = bytes.to_vec();
        more.push(0);
        assert!(Finality::decode(&more).is_err());
    }
    assert!(Finality::decode(&alloy_rlp::encode(&one)).is_err(), "a bare certificate is another thing");
    assert!(Finality::decode(&[0xc2, 0x80, 0x80]).is_err(), "an absent certificate has one encoding");
}

#[test]
fn a_certificate_of_a_later_set_does_not_reach_back() {
    let (old, new) = (set(0..4), set(1..5));
    let change =
        SetChange { certificate: certificate(checkpoint(300, &old, &new), &[0, 1, 2]), next: new.clone() };
    let at = |height: u64, changes: Vec<SetChange>| FinalityProof {
        changes,
        headers: vec![header(height)],
        certificate: certificate(checkpoint(height, &new, &new), &[1, 2, 3]),
    };
    let verify = |proof: &FinalityProof| proof.verify(LEDGER, &old, link).map(|proved| proved.link.height);
    assert_eq!(verify(&at(301, vec![change.clone()])), Ok(Height(301)));
    assert_eq!(verify(&at(299, vec![change.clone()])), Err(FinalityProofError::Change(Height(299))));
    assert!(matches!(verify(&at(301, vec![])), Err(FinalityProofError::Certificate { .. })));
    // The old set does not stand for what comes after the change.
    let certificate = certificate(checkpoint(301, &old, &old), &[0, 1, 2]);
    let stale = FinalityProof { changes: vec![change], headers: vec![header(301)], certificate };
    assert!(matches!(verify(&stale), Err(FinalityProofError::Certificate { .. })));
}
