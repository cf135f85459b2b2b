//! Project Wycheproof's vectors for ECDSA over secp256k1 with SHA-256, signatures as `r || s`, held against recovery.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::{Address, B256};
use bletchley_crypto::{
    BATCH_MIN, PublicKey, RecoverError, SecretKey, Signed, recover, recover_claimed, recover_key,
};
use bletchley_primitives::Signature;
use sha2::{Digest, Sha256};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

/// Half of the group order: a greater `s` is malleable and refused (EIP-2).
const HALF_ORDER: B256 =
    alloy_primitives::b256!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

#[test]
fn recovery_agrees_with_every_vector() {
    let set = TestSet::load(TestName::EcdsaSecp256k1Sha256P1363).unwrap();
    let (mut valid, mut high, mut invalid, mut shapes) = (0, 0, 0, 0);
    for group in &set.test_groups {
        let signer = Address::from_raw_public_key(&group.key.key[1..]);
        for test in &group.tests {
            let what = format!("vector {}: {}", test.tc_id, test.comment);
            let Ok(rs) = <[u8; 64]>::try_from(&test.sig[..]) else {
                assert_ne!(test.result, TestResult::Valid, "{what}");
                shapes += 1; // our type has no room for it
                continue;
            };
            let digest = B256::from_slice(&Sha256::digest(&test.msg[..]));
            let answers = [0, 1].map(|v| {
                let mut bytes = [v; 65];
                bytes[..64].copy_from_slice(&rs);
                recover(digest, &Signature(bytes))
            });
            match test.result {
                TestResult::Valid if B256::from_slice(&rs[32..]) > HALF_ORDER => {
                    assert_eq!(answers, [Err(RecoverError::HighS); 2], "{what}");
                    high += 1;
                }
                TestResult::Valid => {
                    assert!(answers.contains(&Ok(signer)), "{what}: {answers:?}");
                    valid += 1;
                }
                TestResult::Invalid | TestResult::Acceptable => {
                    assert!(!answers.contains(&Ok(signer)), "{what}: {answers:?}");
                    invalid += 1;
                }
            }
        }
    }
    let counted = format!("{valid} valid, {high} high, {invalid} invalid, {shapes} of other shapes");
    assert!(valid > 20 && high > 5 && invalid > 20, "{counted}");
}

/// Each vector with its group's key as the claim, among true claims of others.
#[test]
fn claims_agree_with_every_vector() {
    let set = TestSet::load(TestName::EcdsaSecp256k1Sha256P1363).unwrap();
    let others: Vec<Signed> = (0..BATCH_MIN as u64)
        .map(|number| {
            let digest = alloy_primitives::keccak256(number.to_be_bytes());
            let signature = SecretKey::from_seed(b"others").sign(digest);
            Signed { digest, signature, claimed: recover_key(digest, &signature).ok() }
        })
        .collect();
    let (mut confirmed, mut refuted) = (0, 0);
    for group in &set.test_groups {
        let claimed = Some(PublicKey::from_bytes(group.key.key[1..].try_into().unwrap()));
        for test in &group.tests {
            let Ok(rs) = <[u8; 64]>::try_from(&test.sig[..]) else { continue };
            let digest = B256::from_slice(&Sha256::digest(&test.msg[..]));
            for v in [0, 1] {
                let mut bytes = [v; 65];
                bytes[..64].copy_from_slice(&rs);
                let mut items = others.clone();
                items.push(Signed { digest, signature: Signature(bytes), claimed });
                let recovered = recover_claimed(&items);
                let expected = recover_key(digest, &Signature(bytes));
                let what = format!("vector {}: {}", test.tc_id, test.comment);
                assert_eq!(recovered.keys.last(), Some(&expected), "{what}");
                let is_false = usize::from(expected.ok() != claimed);
                assert_eq!(recovered.false_claims.len(), is_false, "{what}");
                (confirmed, refuted) = (confirmed + 1 - is_false, refuted + is_false);
            }
        }
    }
    assert!(confirmed > 20 && refuted > 50, "{confirmed} confirmed, {refuted} refuted");
}
