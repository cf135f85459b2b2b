//! Keys for attested hosts only: wrapped with HPKE (RFC 9180) to the ephemeral key that the host's evidence is bound to.

use std::convert::Infallible;

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{DecodeError, LedgerId, TimestampMs, decode_bounded};
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{AppraisalPolicy, AttestError, Kind, RuntimeClaims, SignedResult, result::ResultError};

/// Longest secret that is released.
pub const SECRET_SIZE_BYTES_MAX: usize = 1024;
/// Longest encoding of a wrapped key.
pub const WRAPPED_SIZE_BYTES_MAX: usize = SECRET_SIZE_BYTES_MAX + 256;

const RELEASE: Domain = Domain("bletchley/attest/key-release/1");

/// A host's key for one statement: its public half is in the claims, its secret half never leaves the process.
pub struct EphemeralKey {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: B256,
}

impl std::fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EphemeralKey({})", self.public)
    }
}

impl EphemeralKey {
    /// A new key.
    ///
    /// # Errors
    /// [`AttestError::Randomness`].
    pub fn make() -> Result<Self, AttestError> {
        Ok(Self::from_seed(&*random_seed().map_err(|()| AttestError::Randomness)?))
    }

    /// The key of a seed with 256 bits of entropy (RFC 9180, 7.1.3: DeriveKeyPair).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (secret, public) = X25519HkdfSha256::derive_keypair(seed);
        let mut bytes = B256::ZERO;
        public.write_exact(bytes.as_mut_slice());
        Self { secret, public: bytes }
    }

    /// The public half, for the claims.
    #[must_use]
    pub const fn public(&self) -> B256 {
        self.public
    }

    /// The secret that was released to this host.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, wrapped: &WrappedKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(wrapped.encapsulated.as_slice())
                .map_err(|_| OpenError)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated,
            wrapped.info().as_slice(),
            &wrapped.sealed,
            &[],
        );
        opened.map(Zeroizing::new).map_err(|_| OpenError)
    }
}

/// A wrapped key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the wrapped key does not open: it was changed, or wrapped to another host's key, or for another result"
)]
pub struct OpenError;

/// A secret that one attested host can open.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct WrappedKey {
    /// Digest of the result that it was released for.
    pub result: B256,
    /// The host.
    pub host: Address,
    /// Which key it is, as its owner names it.
    pub key: B256,
    /// HPKE's encapsulated key.
    pub encapsulated: B256,
    /// Ciphertext and tag.
    pub sealed: Bytes,
}

impl WrappedKey {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_bounded(bytes, WRAPPED_SIZE_BYTES_MAX)
    }

    /// HPKE's `info`: what the ciphertext is bound to.
    fn info(&self) -> B256 {
        RELEASE.digest(&[self.result.as_slice(), self.host.as_slice(), self.key.as_slice()])
    }
}

/// Why a key is not released. Nothing about the key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The result is worth nothing.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// The claims are not those of the result.
    #[error("the claims have digest {found}, the result names {expected}")]
    Claims {
        /// The result's.
        expected: B256,
        /// That of the claims.
        found: B256,
    },
    /// The key's owner does not release it to hosts with such evidence.
    #[error("this key is not released on {0} evidence")]
    Kind(Kind),
    /// Nothing, or too much, to release.
    #[error("a secret has 1 to {SECRET_SIZE_BYTES_MAX} bytes, this one has {0}")]
    Secret(usize),
    /// The ephemeral key is not a point that can be wrapped to.
    #[error("the host's ephemeral key cannot be wrapped to")]
    EphemeralKey,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// Releases keys under one policy: to hosts with a good result, and evidence of a kind that the key's owner accepts.
#[derive(Clone, Copy, Debug)]
pub struct KeyRelease<'a> {
    /// The policy that results must be under.
    pub policy: &'a AppraisalPolicy,
    /// The registry's ledger.
    pub registry: LedgerId,
    /// Kinds of evidence that are enough. Leave [`Kind::Software`] out to ask for hardware.
    pub kinds: &'a [Kind],
}

impl KeyRelease<'_> {
    /// The secret, for the host of this result alone. `key` names it.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn release(
        &self,
        signed: &SignedResult,
        claims: &RuntimeClaims,
        key: B256,
        secret: &Zeroizing<Vec<u8>>,
        at: TimestampMs,
    ) -> Result<WrappedKey, ReleaseError> {
        let seed = random_seed().map_err(|()| ReleaseError::Randomness)?;
        self.release_with(signed, claims, key, secret, at, &seed)
    }

    /// The same from given randomness: for test vectors. A seed that is used twice gives both secrets away.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn release_with(
        &self,
        signed: &SignedResult,
        claims: &RuntimeClaims,
        key: B256,
        secret: &Zeroizing<Vec<u8>>,
        at: TimestampMs,
        seed: &[u8; 32],
    ) -> Result<WrappedKey, ReleaseError> {
        signed.check(self.policy, self.registry)?;
        let result = &signed.result;
        result.check_time(at)?;
        let (expected, found) = (result.claims, claims.digest());
        if expected != found {
            return Err(ReleaseError::Claims { expected, found });
        }
        if !self.kinds.contains(&result.kind) {
            return Err(ReleaseError::Kind(result.kind));
        }
        if secret.is_empty() || secret.len() > SECRET_SIZE_BYTES_MAX {
            return Err(ReleaseError::Secret(secret.len()));
        }
        let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(claims.ephemeral_key.as_slice())
            .map_err(|_| ReleaseError::EphemeralKey)?;
        let mut wrapped = WrappedKey {
            result: signed.digest(),
            host: result.host,
            key,
            encapsulated: B256::ZERO,
            sealed: Bytes::new(),
        };
        let (encapsulated, sealed) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &recipient,
                wrapped.info().as_slice(),
                secret,
                &[],
                &mut Stretched { seed: Zeroizing::new(*seed), blocks: 0 },
            )
            .map_err(|_| ReleaseError::EphemeralKey)?;
        encapsulated.write_exact(wrapped.encapsulated.as_mut_slice());
        wrapped.sealed = sealed.into();
        Ok(wrapped)
    }
}

fn random_seed() -> Result<Zeroizing<[u8; 32]>, ()> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(seed.as_mut_slice()).map_err(|_| ())?;
    Ok(seed)
}

/// Randomness for HPKE, from a seed that was drawn where failure can be said: SHA-256 over seed and counter.
struct Stretched {
    seed: Zeroizing<[u8; 32]>,
    blocks: u64,
}

impl rand_core::TryRng for Stretched {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            self.blocks = self.blocks.wrapping_add(1);
            let block =
                Sha256::new().chain_update(self.seed.as_slice()).chain_update(self.blocks.to_be_bytes());
            let block = Zeroizing::new(<[u8; 32]>::from(block.finalize()));
            chunk.iter_mut().zip(block.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Stretched {}
