//! A credential that only one TPM can activate (part 1, 24): proof that an attestation key lives beside an endorsement
//! key. Made in software by whoever is going to endorse.

use aes::{
    Aes128,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use ring::{agreement, hmac, rand::SystemRandom};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    structure::{EccPublic, PublicError},
    wire::Writer,
};

const BLOCK_SIZE_BYTES: usize = 16;

/// What is sent to the host: it proves itself by sending the secret back.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Credential {
    /// TPMS_ID_OBJECT: MAC and wrapped secret.
    pub object: Bytes,
    /// TPMS_ECC_POINT: the ephemeral point from which the endorsement key derives the seed.
    pub seed: Bytes,
}

/// Why no credential was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not keys from the templates.
    #[error(transparent)]
    Public(#[from] PublicError),
    /// The endorsement key is not a point on P-256.
    #[error("the endorsement key is not a point on P-256")]
    Point,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// Wraps a secret so that only a TPM that holds both keys can read it (part 1, 24.5; annex C.6.4).
///
/// # Errors
/// [`CredentialError`].
pub fn make_credential(
    endorsement_key: &EccPublic,
    attestation_key: &EccPublic,
    secret: &Zeroizing<[u8; 32]>,
) -> Result<Credential, CredentialError> {
    endorsement_key.check_endorsement_key()?;
    attestation_key.check_attestation_key()?;
    let random = SystemRandom::new();
    let ephemeral = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random)
        .map_err(|_| CredentialError::Randomness)?;
    let point = ephemeral.compute_public_key().map_err(|_| CredentialError::Randomness)?;
    let (x, y) = point
        .as_ref()
        .split_first()
        .and_then(|(_, coordinates)| coordinates.split_at_checked(32))
        .ok_or(CredentialError::Randomness)?;
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, endorsement_key.point());
    let seed = agreement::agree_ephemeral(ephemeral, &theirs, |shared| {
        kdf_e(shared, "IDENTITY", x, endorsement_key.x().as_slice())
    })
    .map_err(|_| CredentialError::Point)?;
    let name = attestation_key.name();
    let wrapping = kdf_a(&seed, "STORAGE", &name, 128);
    let mut identity = Zeroizing::new(Writer::default().sized(secret.as_slice()).0);
    encrypt_cfb(wrapping.first_chunk().unwrap_or(&[0; BLOCK_SIZE_BYTES]), &mut identity);
    let mac = hmac::Key::new(hmac::HMAC_SHA256, kdf_a(&seed, "INTEGRITY", &[], 256).as_slice());
    let mac = hmac::sign(&mac, &Writer::default().bytes(&identity).bytes(&name).0);
    Ok(Credential {
        object: Writer::default().sized(mac.as_ref()).bytes(&identity).0.into(),
        seed: Writer::default().sized(x).sized(y).0.into(),
    })
}

/// KDFe for 256 bits with SHA-256 (part 1, 11.4.10.3).
fn kdf_e(shared: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Zeroizing<[u8; 32]> {
    let hasher = Sha256::new().chain_update(1u32.to_be_bytes()).chain_update(shared);
    let hasher = hasher.chain_update(label).chain_update([0]).chain_update(party_u).chain_update(party_v);
    Zeroizing::new(hasher.finalize().into())
}

/// KDFa for up to 256 bits with HMAC-SHA-256 (part 1, 11.4.10.2).
fn kdf_a(key: &Zeroizing<[u8; 32]>, label: &str, context: &[u8], bits: u32) -> Zeroizing<B256Bytes> {
    let input = Writer::default().u32(1).bytes(label.as_bytes()).u8(0).bytes(context).u32(bits).0;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), &input);
    Zeroizing::new(B256::from_slice(tag.as_ref()).0)
}

type B256Bytes = [u8; 32];

/// CFB with a zero vector over whole and broken blocks (NIST SP 800-38A, 6.3). The key is used once.
fn encrypt_cfb(key: &[u8; BLOCK_SIZE_BYTES], bytes: &mut [u8]) {
    let cipher = Aes128::new(&Array::from(*key));
    let mut feedback = [0; BLOCK_SIZE_BYTES];
    for chunk in bytes.chunks_mut(BLOCK_SIZE_BYTES) {
        let mut block = Array::from(feedback);
        cipher.encrypt_block(&mut block);
        chunk.iter_mut().zip(block.iter()).for_each(|(byte, mask)| *byte ^= mask);
        feedback.iter_mut().zip(chunk.iter()).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    /// NIST SP 800-38A, F.3.13, with its vector turned into a first block of zeros: CFB128-AES128 with a zero vector is the
    /// block cipher of zero, then of the ciphertext before.
    #[test]
    fn cfb_is_the_block_cipher_fed_back() {
        let key = hex!("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = hex!("000102030405060708090a0b0c0d0e0f");
        let plain = hex!("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        // E(iv) xor plain = the published first ciphertext block; feeding iv as the first "ciphertext" needs D = E(0) xor iv.
        let cipher = Aes128::new(&Array::from(key));
        let mut zero = Array::from([0u8; 16]);
        cipher.encrypt_block(&mut zero);
        let mut bytes: Vec<u8> = zero.iter().zip(iv).map(|(mask, byte)| mask ^ byte).collect();
        bytes.extend(plain);
        encrypt_cfb(&key, &mut bytes);
        assert_eq!(bytes[..16], iv);
        assert_eq!(bytes[16..32], hex!("3b3fd92eb72dad20333449f8e83cfb4a"));
        assert_eq!(bytes[32..], hex!("c8a64537a0b3a93fcde3cdad9f1ce58b"));
    }
}
