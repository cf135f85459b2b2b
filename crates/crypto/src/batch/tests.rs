#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::{SecretKey, recover_all};
use k256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use k256::{AffinePoint, EncodedPoint, ProjectivePoint};
use proptest::prelude::*;

const ORDER: [u8; 32] =
    alloy_primitives::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");

fn key(number: u64) -> SecretKey {
    SecretKey::from_seed(&number.to_be_bytes())
}

fn signed(number: u64, signer: &SecretKey) -> Signed {
    let digest = alloy_primitives::keccak256(number.to_be_bytes());
    let signature = signer.sign(digest);
    let claimed = recover_key(digest, &signature).ok();
    Signed { digest, signature, claimed }
}

fn many(count: u64, signers: u64) -> Vec<Signed> {
    (0..count).map(|number| signed(number, &key(number % signers))).collect()
}

/// n - number.
fn negated(number: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out: Vec<u8> = ORDER
        .iter()
        .zip(number)
        .rev()
        .map(|(n, b)| {
            let difference = i16::from(*n) - i16::from(*b) - borrow;
            borrow = i16::from(difference < 0);
            difference.rem_euclid(256) as u8
        })
        .collect();
    out.reverse();
    out
}

/// What a liar does to one of them.
fn spoil(items: &mut [Signed], at: usize, how: u8) {
    let other = (at + 1) % items.len();
    let item = items[at].clone();
    match how % 14 {
        0 => items[at].claimed = Some(PublicKey::from_bytes([7; 64])),
        1 => items[at].claimed = items[other].claimed,
        2 => items[at].signature.0[32..64].copy_from_slice(&negated(&item.signature.0[32..64])),
        3 => items[at].signature.0[..32].copy_from_slice(&ORDER),
        4 => items[at].signature.0[..32].fill(0xff),
        5 => items[at].signature.0[32..64].fill(0),
        6 => items[at].signature.0[64] ^= 1, // -R: another key signed
        7 => items[at].signature.0[64] = 2,
        8 => items[at] = items[other].clone(), // a duplicate is fine
        9 => items[at].claimed = None,
        10 => items[at].digest.0[0] ^= 1,
        11 => items[at].signature = items[other].signature,
        12 => {
            // The same x, the other y: a point whose sums with its like are infinity.
            let bytes = *item.claimed.unwrap().as_bytes();
            let y = Field::from_bytes(bytes[32..].try_into().unwrap()).unwrap();
            let negative = AffinePoint::from_encoded_point(&EncodedPoint::from_untagged_bytes(&bytes.into()));
            let negative = (-negative.unwrap()).to_encoded_point(false);
            assert!(!y.is_zero());
            items[at].claimed = Some(PublicKey::from_bytes(negative.as_bytes()[1..].try_into().unwrap()));
        }
        _ => {
            // Two lies that cancel each other in a sum without weights.
            (items[at].digest, items[other].digest) = (items[other].digest, item.digest);
        }
    }
}

fn one_by_one(items: &[Signed]) -> Recovered {
    let keys: Vec<_> = items.iter().map(|item| recover_key(item.digest, &item.signature)).collect();
    let is_false = |(item, key): &(&Signed, &Result<PublicKey, RecoverError>)| {
        item.claimed.is_some() && item.claimed != key.as_ref().ok().copied()
    };
    let false_claims = items.iter().zip(&keys).enumerate();
    let false_claims = false_claims.filter(|(_, pair)| is_false(pair)).map(|(index, _)| index).collect();
    Recovered { keys, false_claims }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lies_change_nothing_but_their_count(
        (count, signers) in (BATCH_MIN as u64..90, 1..90u64),
        lies in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut items = many(count, signers);
        for (at, how) in lies {
            let at = at.index(items.len());
            if items[at].claimed.is_some() {
                spoil(&mut items, at, how);
            }
        }
        prop_assert_eq!(recover_claimed(&items), one_by_one(&items));
    }

    #[test]
    fn sums_are_those_of_another_library(
        terms in proptest::collection::vec((0..12u64, any::<u128>(), any::<bool>()), 0..60),
        shift in 0..128u32,
    ) {
        let mut expected = ProjectivePoint::IDENTITY;
        let mut ours = Vec::new();
        for (number, times, is_negative) in terms {
            let times = times >> shift;
            let (point, theirs) = point(number + 1);
            let (point, theirs) = if is_negative { (point.negate(), -theirs) } else { (point, theirs) };
            expected += theirs * Scalar::from(times);
            ours.push(Term { point, times });
        }
        let total = sum(&ours);
        let encoded = (-expected).to_affine().to_encoded_point(false);
        match Affine::from_bytes(encoded.as_bytes().get(1..65).unwrap_or(&[0; 64]).try_into().unwrap()) {
            Some(negative) => prop_assert!(!total.is_infinity() && total.add_affine(&negative).is_infinity()),
            None => prop_assert!(total.is_infinity()),
        }
    }
}

fn point(number: u64) -> (Affine, ProjectivePoint) {
    let theirs = ProjectivePoint::GENERATOR * Scalar::from(number);
    let encoded = theirs.to_affine().to_encoded_point(false);
    (Affine::from_bytes(encoded.as_bytes()[1..].try_into().unwrap()).unwrap(), theirs)
}

#[test]
fn every_lie_is_seen_in_a_batch_and_truth_passes_as_one() {
    let items = many(40, 13);
    let claims: Vec<Claim> = items.iter().enumerate().filter_map(|(i, item)| Claim::of(i, item)).collect();
    assert!(holds(&claims), "true claims need no recovery");
    for how in 0..14 {
        let mut items = many(40, 13);
        spoil(&mut items, 5, how);
        let claims: Vec<Claim> =
            items.iter().enumerate().filter_map(|(i, item)| Claim::of(i, item)).collect();
        // 2 and 7 are set aside before; 8 and 9 are no lies.
        assert_eq!(holds(&claims), [2, 7, 8, 9].contains(&how), "lie {how}");
        assert_eq!(recover_claimed(&items), one_by_one(&items), "lie {how}");
    }
}

#[test]
fn large_batches_are_cut_into_several() {
    let mut items = many(BATCH_MAX as u64 * 2 + 100, 50);
    items[3].claimed = items[4].claimed;
    items[2000].claimed = None;
    let recovered = recover_claimed(&items);
    assert_eq!(recovered.false_claims, [3]);
    let plain: Vec<_> = items.iter().map(|item| (item.digest, item.signature)).collect();
    let addresses: Vec<_> = recovered.keys.iter().map(|key| key.map(|key| key.address())).collect();
    assert_eq!(addresses, recover_all(&plain));
}

#[test]
fn weights_depend_on_everything() {
    let items = many(20, 20);
    let of = |items: &[Signed]| {
        let claims: Vec<Claim> =
            items.iter().enumerate().filter_map(|(i, item)| Claim::of(i, item)).collect();
        weights(&claims)
    };
    let before = of(&items);
    assert_eq!(before.len(), 20);
    for change in 0..4 {
        let mut items = items.clone();
        match change {
            0 => items[19].digest.0[31] ^= 1,
            1 => items[19].signature.0[0] ^= 1,
            2 => items[19].claimed = items[0].claimed,
            _ => items.swap(0, 1),
        }
        assert!(of(&items).iter().zip(&before).all(|(a, b)| a != b), "change {change}");
    }
}

#[test]
fn a_lift_is_what_recovery_starts_from() {
    for number in 0..200u64 {
        let item = signed(number, &key(1));
        let (r, _, is_odd) = parts(&item.signature).unwrap();
        let lifted = Affine::lift(Field::from_bytes(&r).unwrap(), is_odd).unwrap();
        assert_eq!(lifted.y.is_odd(), is_odd);
    }
    // 5 is the x of no point.
    let mut five = [0; 32];
    five[31] = 5;
    assert!(Affine::lift(Field::from_bytes(&five).unwrap(), false).is_none());
}
