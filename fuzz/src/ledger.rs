//! What every ledger keeps beside its blocks: extensions, receipts, delegation records, certificates, diffs.

use crate::Verdict;
use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    Anchor, Certificate, Checkpoint, CheckpointMessage, CheckpointVote, DelegationRecord, DiffReader,
    DiffWriter, Extension, Finality, FinalityProof, HeaderLink, Intervention, Receipt, SetChange,
    SignedReceipt, Status, ValidatorSet,
};
use bletchley_primitives::{
    Address, B256, BlockHash, Bytes, Height, LedgerId, Signature, TimestampMs, TxId, decode_bounded,
    keccak256,
};

/// A value that is RLP and nothing more: it must encode to the bytes that it came from.
fn canonical<T: alloy_rlp::Decodable + alloy_rlp::Encodable>(bytes: &[u8]) -> Option<T> {
    let value: T = decode_bounded(bytes, Extension::SIZE_BYTES_MAX).ok()?;
    assert_eq!(alloy_rlp::encode(&value), bytes, "two encodings of one value");
    Some(value)
}

fn receipt(status: Status, output: &'static [u8]) -> SignedReceipt {
    let receipt = Receipt {
        ledger: LedgerId(B256::repeat_byte(1)),
        transaction: TxId(B256::repeat_byte(2)),
        caller: Address::repeat_byte(3),
        cryptlet: keccak256("fx-rates"),
        package: B256::repeat_byte(5),
        method: "rate".to_owned(),
        input_digest: B256::repeat_byte(6),
        occurrence: 7,
        status,
        output_digest: keccak256(output),
        fuel: 9_000_000_000,
        profile: B256::repeat_byte(10),
        transcript: B256::repeat_byte(11),
        as_of_ms: TimestampMs(1_700_000_000_123),
        valid_from: Height(12),
        valid_to: Height(13),
    };
    SignedReceipt { receipt, output: Bytes::from_static(output), signatures: vec![Signature([7; 65]); 2] }
}

fn record() -> DelegationRecord {
    let anchor = Anchor {
        ledger: LedgerId(B256::repeat_byte(21)),
        height: Height(300),
        block: BlockHash(B256::repeat_byte(22)),
    };
    DelegationRecord {
        anchor,
        receipts: vec![receipt(Status::Ok, b"1.09"), receipt(Status::Failed, b"no such day")],
    }
}

fn small_diff() -> Bytes {
    let mut writer = DiffWriter::default();
    writer.put(b"account", &[7; 200]);
    writer.put(b"", b"");
    writer.delete(b"slot");
    writer.finish()
}

pub(crate) mod extension {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(extension) = Extension::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&extension.encode()[..], bytes, "two encodings of one extension");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let time_ms = TimestampMs(1_700_000_000_123);
        let intervention = Intervention { method: "anvil_setBalance".to_owned(), diff: small_diff() };
        let full =
            Extension { record: record(), interventions: vec![intervention], ..Extension::at(time_ms) };
        vec![Extension::at(time_ms).encode().into(), full.encode().into()]
    }
}

pub(crate) mod signed_receipt {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some(signed) = canonical::<SignedReceipt>(bytes) else { return Verdict::Refused };
        assert_eq!(signed.receipt.signing_digest(), signed.clone().receipt.signing_digest());
        assert_eq!(
            signed.is_refusal(),
            signed.receipt.status == Status::Refused && signed.signatures.is_empty()
        );
        let _ = signed.receipt.call_id();
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        [receipt(Status::Ok, b"1.09"), receipt(Status::Refused, b"")].iter().map(alloy_rlp::encode).collect()
    }
}

pub(crate) mod delegation_record {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        Verdict::of(canonical::<DelegationRecord>(bytes).is_some())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![alloy_rlp::encode(DelegationRecord::default()), alloy_rlp::encode(record())]
    }
}

pub(crate) mod certificate {
    use super::*;

    const VALIDATORS: u8 = 4;

    pub(crate) fn keys() -> Vec<SecretKey> {
        (0..VALIDATORS).map(|n| SecretKey::from_seed(&[b'v', n])).collect()
    }

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some(certificate) = canonical::<Certificate>(bytes) else { return Verdict::Refused };
        let set = ValidatorSet::new(keys().iter().map(SecretKey::address));
        if certificate.verify(&set).is_ok() {
            assert!(certificate.signatures.len() >= set.quorum(), "final without a quorum");
            assert_eq!(certificate.checkpoint, checkpoint(&set), "nobody signed this checkpoint");
        }
        Verdict::Accepted
    }

    pub(crate) fn checkpoint(set: &ValidatorSet) -> Checkpoint {
        Checkpoint {
            ledger: LedgerId(B256::repeat_byte(1)),
            height: Height(9),
            block: BlockHash(B256::repeat_byte(2)),
            state: B256::repeat_byte(3),
            validators: set.digest(),
            next: set.digest(),
        }
    }

    pub(crate) fn good() -> Certificate {
        let keys = keys();
        let checkpoint = checkpoint(&ValidatorSet::new(keys.iter().map(SecretKey::address)));
        let signatures = keys.iter().take(3).map(|key| checkpoint.sign(key)).collect();
        Certificate { checkpoint, signatures }
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![alloy_rlp::encode(good())]
    }
}

pub(crate) mod finality {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(finality) = Finality::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&finality.encode()[..], bytes, "two encodings of one finality");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let seal = Bytes::from_static(&[5; 32]);
        [
            Finality { seal: Bytes::new(), certificate: Some(certificate::good()) },
            Finality { seal, certificate: None },
        ]
        .iter()
        .map(|finality| finality.encode().into())
        .collect()
    }
}

/// What members send each other about checkpoints.
pub(crate) mod checkpoint_message {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(message) = CheckpointMessage::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&message.encode()[..], bytes, "two encodings of one message");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let certificate = certificate::good();
        let checkpoint = certificate.checkpoint;
        let vote = CheckpointVote { checkpoint, signature: Signature([7; 65]) };
        [
            CheckpointMessage::Votes(vec![vote; 2]),
            CheckpointMessage::Want(vec![Height(1), Height(300), Height(u64::MAX)]),
            CheckpointMessage::Certificates(vec![certificate; 2]),
        ]
        .iter()
        .map(|message| message.encode().into())
        .collect()
    }
}

/// What members send each other about blocks that one of them misses: every kind.
pub(crate) mod sync_message {
    use super::*;
    use bletchley_ledger::{
        BlockParts, Blocks, Claim, Headers, HeightRange, Piece, RangeDigest, SyncMessage, WantBlocks,
        WantPiece,
    };

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(message) = SyncMessage::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&message.encode()[..], bytes, "two encodings of one message");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let (height, text) = (Height(300), Bytes::from_static(b"text"));
        let range = HeightRange { from: height, to: Height(301) };
        let certificate = certificate::good();
        let parts = BlockParts {
            body: text.clone(),
            extension: text.clone(),
            seal: text.clone(),
            receipts: Bytes::new(),
            diff: text.clone(),
        };
        let proof = FinalityProof {
            changes: Vec::new(),
            headers: vec![text.clone()],
            certificate: certificate.clone(),
        };
        let headers = vec![text.clone(); 2];
        [
            SyncMessage::Ask,
            SyncMessage::Claim(Claim { head: Height(9), certified: height }),
            SyncMessage::WantProof,
            SyncMessage::Proof(Box::new(proof)),
            SyncMessage::WantHeaders(range),
            SyncMessage::Headers(Headers { from: height, headers, certificates: vec![certificate] }),
            SyncMessage::WantBlocks(WantBlocks { range, results: 1 }),
            SyncMessage::Blocks(Blocks { from: height, blocks: vec![parts; 2] }),
            SyncMessage::WantPiece(WantPiece { height, results: 0, offset: 70_000 }),
            SyncMessage::Piece(Piece { height, offset: 1, size_bytes: 9, bytes: text }),
            SyncMessage::WantDigest(range),
            SyncMessage::Digest(RangeDigest { range, digest: B256::repeat_byte(5) }),
            SyncMessage::Missing(height),
        ]
        .iter()
        .map(|message| message.encode().into())
        .collect()
    }
}

/// Proofs of finality. A header is its height, its own byte and its parent's, each a byte that is repeated in the hash.
pub(crate) mod finality_proof {
    use super::*;
    use bletchley_primitives::DecodeError;

    fn link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
        let [height, own, parent] = bytes else {
            return Err(DecodeError::Malformed("a header has three bytes".to_owned()));
        };
        let hash = |byte: &u8| BlockHash(B256::repeat_byte(*byte));
        let (height, state) = (Height(u64::from(*height)), B256::repeat_byte(3));
        Ok(HeaderLink { height, hash: hash(own), parent: hash(parent), state })
    }

    fn genesis() -> ValidatorSet {
        ValidatorSet::new(certificate::keys().iter().map(SecretKey::address))
    }

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(proof) = FinalityProof::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&proof.encode()[..], bytes, "two encodings of one proof");
        if let Ok(proved) = proof.verify(LedgerId(B256::repeat_byte(1)), &genesis(), link) {
            assert_eq!(proved.certified, Height(9), "nobody signed at another height");
            assert_eq!(proved.validators, genesis());
        }
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let certificate = certificate::good();
        let change = SetChange { certificate: certificate.clone(), next: genesis() };
        let header = |bytes: &'static [u8; 3]| Bytes::from_static(bytes);
        let one = vec![header(&[9, 2, 1])];
        let more = vec![header(&[7, 4, 5]), header(&[8, 1, 4]), header(&[9, 2, 1])];
        [(Vec::new(), one), (Vec::new(), more.clone()), (vec![change], more)]
            .into_iter()
            .map(|(changes, headers)| FinalityProof { changes, headers, certificate: certificate.clone() })
            .map(|proof| proof.encode().into())
            .collect()
    }
}

pub(crate) mod diff {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let changes: Result<Vec<_>, _> = DiffReader::new(bytes).and_then(Iterator::collect);
        let Ok(changes) = changes else { return Verdict::Refused };
        let mut writer = DiffWriter::default();
        for (key, value) in changes {
            match value {
                Some(value) => writer.put(key, value),
                None => writer.delete(key),
            }
        }
        assert_eq!(&writer.finish()[..], bytes, "two encodings of one diff");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![small_diff().into(), Vec::new()]
    }
}
