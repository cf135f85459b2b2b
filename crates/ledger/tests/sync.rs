//! Vectors of specs/sync.md: this test makes them again and fails when the text says something else. With
//! `BLETCHLEY_WRITE_VECTORS=1` it writes them instead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use alloy_primitives::hex;
use bletchley_crypto::{Domain, SecretKey};
use bletchley_ledger::{
    BlockParts, Blocks, Certificate, Checkpoint, Claim, Headers, HeightRange, Piece, RangeDigest,
    SyncMessage, ValidatorSet, WantBlocks, WantPiece,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, LedgerId};
use std::fmt::Write as _;
use std::path::PathBuf;

const BEGIN: &str = "<!-- vectors: made by a test, not by hand -->\n```text\n";
const END: &str = "```\n<!-- end of vectors -->";

fn certificate() -> Certificate {
    let key = SecretKey::from_seed(&[0]);
    let set = ValidatorSet::new([key.address()]).digest();
    let checkpoint = Checkpoint {
        ledger: LedgerId(B256::repeat_byte(0x11)),
        height: Height(8),
        block: BlockHash(B256::repeat_byte(0x22)),
        state: B256::repeat_byte(0x33),
        validators: set,
        next: set,
    };
    Certificate { checkpoint, signatures: vec![checkpoint.sign(&key)] }
}

fn messages() -> Vec<(&'static str, SyncMessage)> {
    let part = |text: &'static str| Bytes::from_static(text.as_bytes());
    let range = HeightRange { from: Height(7), to: Height(8) };
    let parts = BlockParts {
        body: part("body"),
        extension: part("extension"),
        seal: part("seal"),
        receipts: part("receipts"),
        diff: part("changes"),
    };
    let headers = vec![part("header 7"), part("header 8")];
    let headers = Headers { from: Height(7), headers, certificates: vec![certificate()] };
    let digest = Domain("bletchley/sync/receipts/1").digest(&[b"receipts", b"more receipts"]);
    let piece = Piece { height: Height(7), offset: 2, size_bytes: 9, bytes: part("piece") };
    vec![
        ("how far", SyncMessage::Ask),
        ("claim", SyncMessage::Claim(Claim { head: Height(9), certified: Height(8) })),
        ("show it", SyncMessage::WantProof),
        ("want headers", SyncMessage::WantHeaders(range)),
        ("headers", SyncMessage::Headers(headers)),
        ("want blocks", SyncMessage::WantBlocks(WantBlocks { range, results: 1 })),
        ("blocks", SyncMessage::Blocks(Blocks { from: Height(7), blocks: vec![parts] })),
        ("want piece", SyncMessage::WantPiece(WantPiece { height: Height(7), results: 1, offset: 2 })),
        ("piece", SyncMessage::Piece(piece)),
        ("want digest", SyncMessage::WantDigest(range)),
        ("digest", SyncMessage::Digest(RangeDigest { range, digest })),
        ("missing", SyncMessage::Missing(Height(7))),
    ]
}

fn vectors() -> String {
    let mut text = String::from("[messages]\n");
    for (name, message) in messages() {
        writeln!(text, "{name:<16} 0x{}", hex::encode(message.encode())).unwrap();
    }
    text
}

#[test]
fn the_text_has_the_vectors_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/sync.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the text has a place for vectors");
    let (found, after) = rest.split_once(END).expect("the vectors end");
    let vectors = vectors();
    if std::env::var_os("BLETCHLEY_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{vectors}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, vectors, "sync.md has other vectors; set BLETCHLEY_WRITE_VECTORS=1 to write them");
}

#[test]
fn every_message_decodes_to_itself() {
    for (name, message) in messages() {
        assert_eq!(SyncMessage::decode(&message.encode()), Ok(message), "{name}");
    }
}
