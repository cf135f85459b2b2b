//! Structures that evidence contains: public areas, names, attestation structures, signatures (part 2).

use alloy_primitives::{B256, Bytes};
use sha2::{Digest, Sha256};

use super::wire::{Reader, WireError, Writer};

pub(crate) const ALG_AES: u16 = 0x0006;
pub(crate) const ALG_SHA256: u16 = 0x000b;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_ECDSA: u16 = 0x0018;
pub(crate) const ALG_ECC: u16 = 0x0023;
pub(crate) const ALG_CFB: u16 = 0x0043;
pub(crate) const CURVE_NIST_P256: u16 = 0x0003;

/// fixedTPM, fixedParent, sensitiveDataOrigin: made in this TPM and never to leave it (part 2, 8.3).
const ATTRIBUTES_NATIVE: u32 = 0x0000_0032;
/// restricted: signs nothing but what the TPM made itself.
const ATTRIBUTE_RESTRICTED: u32 = 0x0001_0000;
const ATTRIBUTE_DECRYPT: u32 = 0x0002_0000;
const ATTRIBUTE_SIGN: u32 = 0x0004_0000;
/// Attestation key: native, userWithAuth, noDA, restricted, sign.
const AK_ATTRIBUTES: u32 = ATTRIBUTES_NATIVE | 0x0000_0440 | ATTRIBUTE_RESTRICTED | ATTRIBUTE_SIGN;
/// Endorsement key: native, adminWithPolicy, restricted, decrypt (TCG EK Credential Profile, template L-2).
const EK_ATTRIBUTES: u32 = ATTRIBUTES_NATIVE | 0x0000_0080 | ATTRIBUTE_RESTRICTED | ATTRIBUTE_DECRYPT;
/// PolicySecret of the endorsement hierarchy (TCG EK Credential Profile, B.6.5).
const EK_POLICY: [u8; 32] =
    alloy_primitives::hex!("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa");

/// Length of a coordinate on P-256.
const COORDINATE_SIZE_BYTES: usize = 32;

/// Name of an object in a TPM: two bytes that say SHA-256, then the digest of its public area (part 1, 16).
pub type Name = Bytes;

/// Why bytes are not the public area of a key that counts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicError {
    /// Not a public area.
    #[error("{0}")]
    Wire(&'static str),
    /// Not a key on P-256 with SHA-256 names, or with attributes that such a key must not have.
    #[error("the key's {0} is not that of {1}")]
    Template(&'static str, &'static str),
}

impl From<WireError> for PublicError {
    fn from(WireError(problem): WireError) -> Self {
        Self::Wire(problem)
    }
}

/// The public area of a key on P-256 (TPMT_PUBLIC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EccPublic {
    attributes: u32,
    policy: Bytes,
    /// Point of the key, affine coordinates.
    x: B256,
    y: B256,
    bytes: Bytes,
}

impl EccPublic {
    /// Reads a public area.
    ///
    /// # Errors
    /// [`PublicError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PublicError> {
        let mut reader = Reader(bytes);
        reader.expect_u16(ALG_ECC, "not an elliptic-curve key")?;
        reader.expect_u16(ALG_SHA256, "names are not SHA-256")?;
        let attributes = reader.u32()?;
        let policy = Bytes::copy_from_slice(reader.sized()?);
        match reader.u16()? {
            ALG_NULL => {}
            ALG_AES => {
                reader.expect_u16(128, "not AES-128")?;
                reader.expect_u16(ALG_CFB, "not AES in CFB mode")?;
            }
            _ => return Err(PublicError::Wire("unknown symmetric algorithm")),
        }
        match reader.u16()? {
            ALG_NULL => {}
            ALG_ECDSA => reader.expect_u16(ALG_SHA256, "not ECDSA over SHA-256")?,
            _ => return Err(PublicError::Wire("unknown signature scheme")),
        }
        reader.expect_u16(CURVE_NIST_P256, "not on P-256")?;
        reader.expect_u16(ALG_NULL, "unknown key derivation")?;
        let (x, y) = (coordinate(reader.sized()?)?, coordinate(reader.sized()?)?);
        reader.end()?;
        Ok(Self { attributes, policy, x, y, bytes: Bytes::copy_from_slice(bytes) })
    }

    /// Canonical bytes, as the TPM gave them.
    #[must_use]
    pub const fn encode(&self) -> &Bytes {
        &self.bytes
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> Name {
        Writer::default().u16(ALG_SHA256).bytes(&Sha256::digest(&self.bytes)).0.into()
    }

    /// The point, uncompressed (SEC 1, 2.3.3).
    #[must_use]
    pub fn point(&self) -> [u8; 65] {
        let mut point = [4; 65];
        let (x, y) = point.split_at_mut(33);
        x.split_at_mut(1).1.copy_from_slice(self.x.as_slice());
        y.copy_from_slice(self.y.as_slice());
        point
    }

    /// The first coordinate of the point.
    #[must_use]
    pub const fn x(&self) -> B256 {
        self.x
    }

    /// Whether this key signs only what its TPM made itself, and never leaves it.
    ///
    /// # Errors
    /// [`PublicError::Template`].
    pub fn check_attestation_key(&self) -> Result<(), PublicError> {
        let must = ATTRIBUTES_NATIVE | ATTRIBUTE_RESTRICTED | ATTRIBUTE_SIGN;
        if self.attributes & must != must || self.attributes & ATTRIBUTE_DECRYPT != 0 {
            return Err(PublicError::Template("attributes", "an attestation key"));
        }
        Ok(())
    }

    /// Whether this key was made from the TCG's template for endorsement keys.
    ///
    /// # Errors
    /// [`PublicError::Template`].
    pub fn check_endorsement_key(&self) -> Result<(), PublicError> {
        let is_template = self.attributes == EK_ATTRIBUTES && self.policy.as_ref() == EK_POLICY;
        if is_template { Ok(()) } else { Err(PublicError::Template("template", "an endorsement key")) }
    }
}

fn coordinate(bytes: &[u8]) -> Result<B256, WireError> {
    if bytes.len() != COORDINATE_SIZE_BYTES {
        return Err(WireError("a coordinate on P-256 has 32 bytes"));
    }
    Ok(B256::from_slice(bytes))
}

/// Template of an attestation key.
#[cfg(feature = "tpm")]
pub(crate) fn attestation_key_template() -> Vec<u8> {
    let head = Writer::default().u16(ALG_ECC).u16(ALG_SHA256).u32(AK_ATTRIBUTES).sized(&[]).u16(ALG_NULL);
    head.u16(ALG_ECDSA).u16(ALG_SHA256).u16(CURVE_NIST_P256).u16(ALG_NULL).sized(&[]).sized(&[]).0
}

/// Template of the endorsement key (TCG EK Credential Profile, template L-2).
#[cfg(feature = "tpm")]
pub(crate) fn endorsement_key_template() -> Vec<u8> {
    let head = Writer::default().u16(ALG_ECC).u16(ALG_SHA256).u32(EK_ATTRIBUTES).sized(&EK_POLICY);
    let head = head.u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_NULL).u16(CURVE_NIST_P256).u16(ALG_NULL);
    head.sized(&[0; COORDINATE_SIZE_BYTES]).sized(&[0; COORDINATE_SIZE_BYTES]).0
}
