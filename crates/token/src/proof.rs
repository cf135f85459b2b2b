//! Identity proofs: what a holder knows, has and is, stretched into a key whose address owns tokens. The secrets never
//! travel; a spend carries a signature by the derived key (whitepaper: the owner is "the digest of the Identity Proof").

use crate::Lock;
use crate::identity::{IdentityError, check_params};
use crate::ids::PROOF_KEY;
use crate::limits::FACTOR_SIZE_BYTES_MAX;
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::{Argon2Params, SecretKey, derive_argon2id};
use bletchley_primitives::B256;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What kind of secret a factor is; the number stands in the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FactorKind {
    /// A user name.
    UserName = 1,
    /// A password.
    Password = 2,
    /// A PIN.
    Pin = 3,
    /// Bytes read from a key card.
    KeyCard = 4,
    /// Digest of a biometric template, supplied by the caller.
    Biometric = 5,
}

impl FactorKind {
    /// Every kind, in the order in which factors are combined.
    pub const ALL: [Self; 5] = [Self::UserName, Self::Password, Self::Pin, Self::KeyCard, Self::Biometric];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl alloy_rlp::Encodable for FactorKind {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        (*self as u8).encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl alloy_rlp::Decodable for FactorKind {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Self::from_number(u8::decode(buf)?)
            .ok_or(alloy_rlp::Error::Custom("unknown factor of an identity proof"))
    }
}

/// What a holder must know of a proof besides the secrets; public, in the lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, RlpEncodable, RlpDecodable)]
pub struct ProofPublic {
    /// Salt, fresh and random for each proof.
    pub salt: B256,
    /// Memory of Argon2id in KiB.
    pub memory_kib: u32,
    /// Passes of Argon2id.
    pub passes: u32,
    /// Lanes of Argon2id.
    pub lanes: u32,
    /// Factors to ask for, ascending, each once.
    pub factors: Vec<FactorKind>,
}

impl Serialize for ProofPublic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ProofPublic", 5)?;
        out.serialize_field("salt", &self.salt)?;
        out.serialize_field("memory_kib", &self.memory_kib)?;
        out.serialize_field("passes", &self.passes)?;
        out.serialize_field("lanes", &self.lanes)?;
        out.serialize_field("factors", &self.factors)?;
        out.end()
    }
}

/// Why no key was derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No factor at all, an empty one, or one longer than its bound.
    #[error(
        "an identity proof needs at least one factor, none of them empty or longer than {FACTOR_SIZE_BYTES_MAX} bytes"
    )]
    Factor,
    /// The lock asks for other factors.
    #[error("this owner is proved by {expected:?}, not by {given:?}")]
    Kinds {
        /// What the lock asks for.
        expected: Vec<FactorKind>,
        /// What was given.
        given: Vec<FactorKind>,
    },
    /// Parameters out of bounds or too weak.
    #[error(transparent)]
    Parameters(#[from] IdentityError),
}

/// The secrets of a holder, one of each kind; they leave memory when dropped and never show themselves.
#[derive(Clone, Default)]
pub struct Factors(BTreeMap<FactorKind, Zeroizing<Vec<u8>>>);

impl std::fmt::Debug for Factors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Factors({:?})", self.0.keys().collect::<Vec<_>>())
    }
}

impl Factors {
    /// No factors yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a factor; a second one of its kind replaces the first.
    #[must_use]
    pub fn with(mut self, kind: FactorKind, secret: impl AsRef<[u8]>) -> Self {
        self.0.insert(kind, Zeroizing::new(secret.as_ref().to_vec()));
        self
    }

    /// Kinds of the factors, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<FactorKind> {
        self.0.keys().copied().collect()
    }

    /// What the lock will say about a proof by these factors.
    #[must_use]
    pub fn public(&self, salt: B256, params: Argon2Params) -> ProofPublic {
        let Argon2Params { memory_kib, passes, lanes } = params;
        ProofPublic { salt, memory_kib, passes, lanes, factors: self.kinds() }
    }

    /// The key of the proof. The combined secret is the list of `[kind, factor]` in ascending order of kind.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn derive(&self, public: &ProofPublic) -> Result<SecretKey, ProofError> {
        if self.0.is_empty() || self.0.values().any(|f| f.is_empty() || f.len() > FACTOR_SIZE_BYTES_MAX) {
            return Err(ProofError::Factor);
        }
        if public.factors != self.kinds() {
            return Err(ProofError::Kinds { expected: public.factors.clone(), given: self.kinds() });
        }
        check_params(public.params())?;
        let payload_length = self
            .0
            .iter()
            .map(|(kind, factor)| pair_length(*kind, factor))
            .map(|n| n + alloy_rlp::length_of_length(n))
            .sum();
        let mut secret = Zeroizing::new(Vec::with_capacity(payload_length + 9));
        alloy_rlp::Header { list: true, payload_length }.encode(&mut *secret);
        for (kind, factor) in &self.0 {
            alloy_rlp::Header { list: true, payload_length: pair_length(*kind, factor) }.encode(&mut *secret);
            kind.encode(&mut *secret);
            factor.as_slice().encode(&mut *secret);
        }
        let stretched =
            derive_argon2id(&secret, public.salt.as_slice(), public.params()).map_err(IdentityError::from)?;
        let stretched = Zeroizing::new(stretched.0);
        let seed = Zeroizing::new(PROOF_KEY.digest(&[stretched.as_slice()]).0);
        Ok(SecretKey::from_seed(seed.as_slice()))
    }

    /// The lock that only these factors open.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn lock(&self, salt: B256, params: Argon2Params) -> Result<Lock, ProofError> {
        let public = self.public(salt, params);
        let address = self.derive(&public)?.address();
        Ok(Lock::Proof { address, proof: Box::new(public) })
    }
}

fn pair_length(kind: FactorKind, factor: &[u8]) -> usize {
    kind.length() + factor.length()
}

impl ProofPublic {
    /// Cost of the derivation.
    #[must_use]
    pub const fn params(&self) -> Argon2Params {
        Argon2Params { memory_kib: self.memory_kib, passes: self.passes, lanes: self.lanes }
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        check_params(self.params()).is_ok()
            && !self.factors.is_empty()
            && self.factors.is_sorted_by(|a, b| a < b)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_factor_counts() {
        let salt = B256::repeat_byte(3);
        let both = Factors::new().with(FactorKind::Password, "correct horse").with(FactorKind::Pin, "1234");
        let public = both.public(salt, Argon2Params::LEAST);
        let key = both.derive(&public).unwrap();
        assert_eq!(key.address(), both.derive(&public).unwrap().address());
        let Lock::Proof { address, .. } = both.lock(salt, Argon2Params::LEAST).unwrap() else {
            unreachable!()
        };
        assert_eq!(address, key.address());
        let wrong_pin = both.clone().with(FactorKind::Pin, "1235").derive(&public).unwrap();
        assert_ne!(wrong_pin.address(), key.address());
        let salted = ProofPublic { salt: B256::ZERO, ..public.clone() };
        assert_ne!(both.derive(&salted).unwrap().address(), key.address());
        let one = Factors::new().with(FactorKind::Password, "correct horse");
        assert!(matches!(one.derive(&public), Err(ProofError::Kinds { .. })));
        assert!(matches!(Factors::new().derive(&public), Err(ProofError::Factor)));
        let bomb = ProofPublic { memory_kib: u32::MAX, ..public };
        assert!(matches!(both.derive(&bomb), Err(ProofError::Parameters(_))));
        assert!(!format!("{both:?}").contains("horse"));
    }
}
