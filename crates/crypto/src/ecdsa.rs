//! secp256k1 through libsecp256k1: signing (RFC 6979 nonces), recovery one by one and in parallel batches.

use alloy_primitives::{Address, B256, keccak256};
use bletchley_primitives::Signature;
use rayon::prelude::*;
use secp256k1::{
    Message, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use std::fmt;
use zeroize::Zeroize;

/// Signatures per parallel unit of work: large enough that stealing costs nothing beside 30 us a recovery.
const RECOVER_CHUNK: usize = 32;

/// secp256k1 half order, big endian: signatures with a greater `s` are refused (EIP-2).
const HALF_ORDER: [u8; 32] =
    alloy_primitives::hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// Why bytes are not a secret key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Zero, or not below the group order.
    #[error("not a secp256k1 secret key: it must be between 1 and the group order")]
    OutOfRange,
}

/// Why no signer can be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// `v` is neither 0 nor 1.
    #[error("the signature's parity must be 0 or 1")]
    Parity,
    /// `s` lies in the upper half (EIP-2).
    #[error("the signature's s is in the upper half of the group order (EIP-2)")]
    HighS,
    /// `r` and `s` do not belong to any key.
    #[error("the signature belongs to no key")]
    NoKey,
}

/// A secp256k1 secret key; leaves memory when dropped and never shows itself.
#[derive(Clone)]
pub struct SecretKey(secp256k1::SecretKey);

impl SecretKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::OutOfRange`] for zero and for values not below the group order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        secp256k1::SecretKey::from_byte_array(bytes).map(Self).map_err(|_| KeyError::OutOfRange)
    }

    /// A key derived from a seed by hashing until it is in range; for deterministic tests, demos and derivation from
    /// seeds that already have 256 bits of entropy.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Self {
        let mut bytes = keccak256(seed);
        loop {
            match Self::from_bytes(bytes.0) {
                Ok(key) => return key,
                Err(KeyError::OutOfRange) => bytes = keccak256(bytes),
            }
        }
    }

    /// The Ethereum address of the public key.
    #[must_use]
    pub fn address(&self) -> Address {
        address_of(&self.0.public_key(SECP256K1))
    }

    /// The 33-byte compressed public key (SEC 1, 2.3.3).
    #[must_use]
    pub fn public_key(&self) -> [u8; 33] {
        self.0.public_key(SECP256K1).serialize()
    }

    /// The secret bytes, for a key store only.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.secret_bytes())
    }

    /// Signs a digest; the nonce is deterministic (RFC 6979) and `s` is in the lower half.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Signature {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.0);
        let (id, compact) = signature.serialize_compact();
        let mut bytes = [0u8; 65];
        let (rs, v) = bytes.split_at_mut(64);
        rs.copy_from_slice(&compact);
        v.copy_from_slice(&[u8::from(id == RecoveryId::One || id == RecoveryId::Three)]);
        Signature(bytes)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        let mut bytes = self.0.secret_bytes();
        bytes.zeroize();
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.address())
    }
}

fn address_of(key: &secp256k1::PublicKey) -> Address {
    PublicKey::of(key).address()
}

/// A public key: its point's coordinates, 32 bytes each. Any 64 bytes can stand here: it may be somebody's claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 64]);

impl PublicKey {
    /// Bytes of a key.
    pub const SIZE_BYTES: usize = 64;

    /// From bytes that somebody claims to be a key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The coordinates.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The Ethereum address of the key.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::from_raw_public_key(&self.0)
    }

    fn of(key: &secp256k1::PublicKey) -> Self {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(key.serialize_uncompressed().split_at(1).1);
        Self(bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey(of {})", self.address())
    }
}

/// What can be said of a signature without its digest; `r` and `s` below the group's order are looked at elsewhere.
fn parity_of(signature: &Signature) -> Result<RecoveryId, RecoverError> {
    let (rs, v) = signature.0.split_at(64);
    let id = match v {
        [0] => RecoveryId::Zero,
        [1] => RecoveryId::One,
        _ => return Err(RecoverError::Parity),
    };
    if rs.split_at(32).1 > HALF_ORDER.as_slice() {
        return Err(RecoverError::HighS);
    }
    Ok(id)
}

/// Whether parity and the size of `s` are as they must be.
pub(crate) fn is_well_formed(signature: &Signature) -> bool {
    parity_of(signature).is_ok()
}

/// The address that signed `digest`.
///
/// # Errors
/// [`RecoverError`] when the signature is malformed, malleable (EIP-2) or belongs to no key.
pub fn recover(digest: B256, signature: &Signature) -> Result<Address, RecoverError> {
    recover_key(digest, signature).map(|key| key.address())
}

/// The key that signed `digest`.
///
/// # Errors
/// [`RecoverError`] when the signature is malformed, malleable (EIP-2) or belongs to no key.
pub fn recover_key(digest: B256, signature: &Signature) -> Result<PublicKey, RecoverError> {
    let id = parity_of(signature)?;
    let rs = signature.0.split_at(64).0;
    let signature = RecoverableSignature::from_compact(rs, id).map_err(|_| RecoverError::NoKey)?;
    let key = SECP256K1
        .recover_ecdsa(Message::from_digest(digest.0), &signature)
        .map_err(|_| RecoverError::NoKey)?;
    Ok(PublicKey::of(&key))
}

/// The signer of each digest, in order; large batches are spread over rayon's threads.
#[must_use]
pub fn recover_all(items: &[(B256, Signature)]) -> Vec<Result<Address, RecoverError>> {
    items
        .par_iter()
        .with_min_len(RECOVER_CHUNK)
        .map(|(digest, signature)| recover(*digest, signature))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_primitives::{address, hex};

    #[test]
    fn signs_and_recovers() {
        let key =
            SecretKey::from_bytes(hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
                .unwrap();
        assert_eq!(key.address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        let digests: Vec<B256> = (0u8..100).map(|i| keccak256([i])).collect();
        let items: Vec<_> = digests.iter().map(|d| (*d, key.sign(*d))).collect();
        assert!(recover_all(&items).into_iter().all(|a| a == Ok(key.address())));
    }

    #[test]
    fn refuses_malleable_and_malformed() {
        let key = SecretKey::from_seed(b"malleable");
        let digest = keccak256(b"m");
        let good = key.sign(digest);
        let mut parity = good;
        parity.0[64] = 2;
        assert_eq!(recover(digest, &parity), Err(RecoverError::Parity));
        let mut high = good;
        high.0[32] = 0xff;
        assert_eq!(recover(digest, &high), Err(RecoverError::HighS));
        assert_eq!(recover(digest, &Signature([0; 65])), Err(RecoverError::NoKey));
        assert_eq!(SecretKey::from_bytes([0; 32]).unwrap_err(), KeyError::OutOfRange);
        assert_eq!(SecretKey::from_bytes([0xff; 32]).unwrap_err(), KeyError::OutOfRange);
    }

    #[test]
    fn debug_keeps_the_secret() {
        let key = SecretKey::from_seed(b"secret");
        assert!(!format!("{key:?}").contains(&hex::encode(key.to_bytes())));
    }
}
