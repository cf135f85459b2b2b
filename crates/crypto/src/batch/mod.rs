//! Recovery in batches where somebody claims who signed. A claim is a public key that comes from anywhere, unsigned and
//! untrusted; it changes what the answer costs and never what it is.
//!
//! # Why the answer is the same
//!
//! Let a signature (r, s, parity v) of a digest z be well-formed: 0 < r < n, 0 < s <= n/2 (EIP-2), v is 0 or 1, and R is the
//! point with x = r and the parity v (Ethereum has no signatures with x = r + n). Recovery gives the key
//! Q' = (s R - z G) / r. With u1 = z/s and u2 = r/s this is the same as R = u1 G + u2 Q', and since r is not zero no other
//! point Q' satisfies it. So a claimed key Q, a point on the curve, is the recovered one exactly if
//! D = u1 G + u2 Q - R is infinity.
//!
//! For a batch, the numbers a_i are 128 bits each of a hash over all digests, signatures and claims, and one sum is computed:
//! a_1 D_1 + ... + a_k D_k. If every D_i is infinity, so is the sum. If one is not, it has the group's prime order n > 2^128, so
//! that for any choice of the other numbers at most one of the 2^128 values of its a_i makes the sum infinity. The
//! numbers depend on everything that went into the D_i (Fiat and Shamir), so that a liar can only try batches one by one, each
//! with a chance of 2^-128. Whoever can try 2^128 batches can as well find a key.
//!
//! Everything that is not well-formed, claims that are no points, and every item of a batch whose sum is not infinity, are
//! recovered one by one by libsecp256k1. The arithmetic here therefore has no say in what is refused, and a fault in it
//! would have to turn a sum of random multiples into infinity to be noticed at all beyond the time that it costs.
//! It takes variable time, on public data only.

mod curve;
mod field;
mod limbs;
mod scalar;
mod sum;
#[cfg(test)]
mod tests;

use crate::ecdsa::{PublicKey, RecoverError, is_well_formed, recover_key};
use alloy_primitives::B256;
use bletchley_primitives::Signature;
use curve::{Affine, GENERATOR};
use field::Field;
use k256::Scalar;
use k256::elliptic_curve::bigint::U256;
use k256::elliptic_curve::ff::PrimeField as _;
use k256::elliptic_curve::ops::Reduce;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use sum::{Term, sum};

/// Fewer claims than these are recovered one by one: their sum would cost as much.
pub const BATCH_MIN: usize = 16;
/// Most claims in one sum: beyond, a larger one gains little and holds more memory.
const BATCH_MAX: usize = 1024;
/// Fewest claims that are worth a thread of their own: sums of fewer cost more together than they save.
const BATCH_SPLIT_MIN: usize = 256;
/// So many are recovered on the caller's thread: waking others costs more than they save.
const INLINE_MAX: usize = 4;
/// Recoveries per parallel unit of work.
const RECOVER_CHUNK: usize = 32;

const DOMAIN: &[u8] = b"bletchley/recovery-batch/1";

/// A signature whose signer is asked for, and who is said to have made it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What was signed.
    pub digest: B256,
    /// The signature.
    pub signature: Signature,
    /// The signer's key as somebody claims it, where somebody does.
    pub claimed: Option<PublicKey>,
}

/// Who signed.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The signer of each, in order: what [`recover_key`] says of it.
    pub keys: Vec<Result<PublicKey, RecoverError>>,
    /// Which of them, in order, came with a claim that named somebody who did not sign.
    pub false_claims: Vec<usize>,
}

/// The signer of each digest. True claims make it several times as fast, false ones up to a third slower.
#[must_use]
pub fn recover_claimed(items: &[Signed]) -> Recovered {
    let claims: Vec<Claim> =
        items.iter().enumerate().filter_map(|(index, item)| Claim::of(index, item)).collect();
    let mut keys: Vec<Option<Result<PublicKey, RecoverError>>> = vec![None; items.len()];
    if claims.len() >= BATCH_MIN {
        let threads = claims.len().div_ceil(BATCH_SPLIT_MIN).min(rayon::current_num_threads());
        let size = claims.len().div_ceil(threads.max(1)).min(BATCH_MAX);
        let is_true: Vec<bool> = match claims.len() <= size {
            true => vec![holds(&claims)],
            false => claims.par_chunks(size).map(holds).collect(),
        };
        for (batch, _) in claims.chunks(size).zip(is_true).filter(|(_, is_true)| *is_true) {
            for claim in batch {
                if let Some(key) = keys.get_mut(claim.index) {
                    *key = Some(Ok(*claim.key));
                }
            }
        }
    }
    recover_rest(items, &mut keys);
    let keys: Vec<Result<PublicKey, RecoverError>> =
        keys.into_iter().map(|key| key.unwrap_or(Err(RecoverError::NoKey))).collect();
    let is_false = |(item, key): (&Signed, &Result<PublicKey, RecoverError>)| {
        item.claimed.is_some_and(|claimed| key.as_ref() != Ok(&claimed))
    };
    let false_claims = items.iter().zip(&keys).enumerate();
    let false_claims = false_claims.filter_map(|(index, pair)| is_false(pair).then_some(index)).collect();
    Recovered { keys, false_claims }
}

/// Recovers what no batch has answered.
fn recover_rest(items: &[Signed], keys: &mut [Option<Result<PublicKey, RecoverError>>]) {
    let mut left: Vec<(&Signed, &mut Option<Result<PublicKey, RecoverError>>)> =
        items.iter().zip(keys).filter(|(_, key)| key.is_none()).collect();
    if left.len() <= INLINE_MAX {
        left.iter_mut().for_each(|(item, key)| **key = Some(recover_key(item.digest, &item.signature)));
        return;
    }
    left.into_par_iter()
        .with_min_len(RECOVER_CHUNK)
        .for_each(|(item, key)| *key = Some(recover_key(item.digest, &item.signature)));
}

/// A well-formed signature and a claim.
struct Claim<'a> {
    index: usize,
    item: &'a Signed,
    key: &'a PublicKey,
}

impl<'a> Claim<'a> {
    fn of(index: usize, item: &'a Signed) -> Option<Self> {
        let key = item.claimed.as_ref()?;
        is_well_formed(&item.signature).then_some(Self { index, item, key })
    }
}

/// Whether every claim of the batch is true. False also where a part of it is not well-formed.
fn holds(claims: &[Claim]) -> bool {
    terms(claims).is_some_and(|terms| sum(&terms).is_infinity())
}

/// r and s of a signature.
fn parts(signature: &Signature) -> Option<([u8; 32], [u8; 32], bool)> {
    let (r, rest) = signature.0.split_first_chunk::<32>()?;
    let (s, parity) = rest.split_first_chunk::<32>()?;
    Some((*r, *s, *parity == [1]))
}

fn scalar(bytes: [u8; 32]) -> Option<Scalar> {
    Option::<Scalar>::from(Scalar::from_repr(bytes.into())).filter(|scalar| !bool::from(scalar.is_zero()))
}

/// The sum of [`holds`]: the generator and each key once, whatever they are multiplied with in all, and each R.
fn terms(claims: &[Claim]) -> Option<Vec<Term>> {
    let weights = weights(claims);
    let inverses = inverses(claims)?;
    let mut terms = Vec::with_capacity(claims.len() * 3 + 2);
    let mut of_generator = Scalar::ZERO;
    let mut of_keys: BTreeMap<&[u8; 64], Scalar> = BTreeMap::new();
    for ((claim, weight), inverse) in claims.iter().zip(weights).zip(inverses) {
        let (r, _, is_odd) = parts(&claim.item.signature)?;
        let point = Affine::lift(Field::from_bytes(&r)?, is_odd)?;
        terms.push(Term { point: point.negate(), times: weight });
        let scaled = Scalar::from(weight) * inverse;
        of_generator += scaled * <Scalar as Reduce<U256>>::reduce_bytes(&claim.item.digest.0.into());
        *of_keys.entry(claim.key.as_bytes()).or_insert(Scalar::ZERO) += scaled * scalar(r)?;
    }
    push(&mut terms, GENERATOR, &of_generator)?;
    for (key, times) in of_keys {
        push(&mut terms, Affine::from_bytes(key)?, &times)?;
    }
    Some(terms)
}

fn push(terms: &mut Vec<Term>, point: Affine, times: &Scalar) -> Option<()> {
    let (first, second) = scalar::split(times)?;
    for (half, point) in [(first, point), (second, point.endomorphism())] {
        terms.push(Term {
            point: if half.is_negative { point.negate() } else { point },
            times: half.magnitude,
        });
    }
    Some(())
}

/// The inverse of each s, at the price of one inversion.
fn inverses(claims: &[Claim]) -> Option<Vec<Scalar>> {
    let numbers: Vec<Scalar> =
        claims.iter().map(|claim| scalar(parts(&claim.item.signature)?.1)).collect::<Option<_>>()?;
    let mut product = Scalar::ONE;
    let mut inverses: Vec<Scalar> = numbers
        .iter()
        .map(|number| {
            let before = product;
            product *= number;
            before
        })
        .collect();
    let mut inverse = Option::<Scalar>::from(product.invert())?;
    for (before, number) in inverses.iter_mut().zip(&numbers).rev() {
        *before *= inverse;
        inverse *= number;
    }
    Some(inverses)
}

/// 128 bits for each claim, from a hash over all that is claimed.
fn weights(claims: &[Claim]) -> Vec<u128> {
    let mut hash = Sha256::new_with_prefix(DOMAIN);
    hash.update((claims.len() as u64).to_be_bytes());
    for Claim { item, key, .. } in claims {
        hash.update(item.digest);
        hash.update(item.signature.0);
        hash.update(key.as_bytes());
    }
    let seed: [u8; 32] = hash.finalize().into();
    let mut weights = Vec::with_capacity(claims.len() + 1);
    for number in 0..claims.len().div_ceil(2) as u64 {
        let mut hash = Sha256::new_with_prefix(seed);
        hash.update(number.to_be_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        weights.extend(bytes.as_chunks::<16>().0.iter().map(|half| u128::from_be_bytes(*half)));
    }
    weights.truncate(claims.len());
    weights
}
