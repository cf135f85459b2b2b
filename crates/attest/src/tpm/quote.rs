//! A quote: registers, signed by an attestation key together with what the asker gave (part 3, 18.4).

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use sha2::{Digest, Sha256};

use super::{
    structure::{ALG_ECDSA, ALG_SHA256},
    wire::{Reader, WireError},
};

/// Most registers of a quote: what one bank of a PC's TPM has.
pub const PCRS_MAX: usize = 24;

/// TPM_GENERATED_VALUE: nothing from outside of a TPM is signed with it in front by a restricted key.
const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_QUOTE: u16 = 0x8018;
/// Bitmap of the 24 registers.
const SELECT_SIZE_BYTES: usize = 3;

/// One register's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Pcr {
    pub(crate) number: u8,
    pub(crate) value: B256,
}

/// What the evidence of kind `tpm2` consists of.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Quote {
    /// Public area of the attestation key.
    pub attestation_key: Bytes,
    /// TPMS_ATTEST: what was signed.
    pub attested: Bytes,
    /// TPMT_SIGNATURE.
    pub signature: Bytes,
    /// Registers of the SHA-256 bank, in ascending order.
    pub(crate) pcrs: Vec<Pcr>,
}

/// What a quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attested {
    /// What the asker gave.
    pub(crate) qualifying: Bytes,
    /// Version of the TPM's firmware, as its maker counts.
    pub(crate) firmware: u64,
    /// Which registers.
    pub(crate) selected: Vec<u8>,
    /// SHA-256 over their values.
    pub(crate) digest: Bytes,
}

impl Attested {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        if reader.u32()? != GENERATED {
            return Err(WireError("not made by a TPM"));
        }
        reader.expect_u16(ST_ATTEST_QUOTE, "not a quote")?;
        reader.sized()?; // Qualified name of the key.
        let qualifying = Bytes::copy_from_slice(reader.sized()?);
        reader.bytes(8 + 4 + 4 + 1)?; // Clock, resets, restarts, whether the clock is safe.
        let firmware = reader.u64()?;
        if reader.u32()? != 1 {
            return Err(WireError("a quote of other than one bank of registers"));
        }
        reader.expect_u16(ALG_SHA256, "not the SHA-256 bank")?;
        if usize::from(reader.u8()?) != SELECT_SIZE_BYTES {
            return Err(WireError("a selection of other than 24 registers"));
        }
        let selected = selected(reader.bytes(SELECT_SIZE_BYTES)?);
        let digest = Bytes::copy_from_slice(reader.sized()?);
        reader.end()?;
        Ok(Self { qualifying, firmware, selected, digest })
    }
}

/// Numbers of the registers in a bitmap.
pub(crate) fn selected(bitmap: &[u8]) -> Vec<u8> {
    let is_set =
        |number: &u8| bitmap.get(usize::from(number / 8)).is_some_and(|byte| byte & (1 << (number % 8)) != 0);
    (0..PCRS_MAX as u8).filter(is_set).collect()
}

/// The signature as `r || s`.
pub(crate) fn signature(bytes: &[u8]) -> Result<[u8; 64], WireError> {
    let mut reader = Reader(bytes);
    reader.expect_u16(ALG_ECDSA, "not an ECDSA signature")?;
    reader.expect_u16(ALG_SHA256, "not over SHA-256")?;
    let (r, s) = (reader.sized()?, reader.sized()?);
    reader.end()?;
    let mut fixed = [0; 64];
    let (left, right) = fixed.split_at_mut(32);
    for (to, from) in [(left, r), (right, s)] {
        if from.len() != to.len() {
            return Err(WireError("half of a signature on P-256 has 32 bytes"));
        }
        to.copy_from_slice(from);
    }
    Ok(fixed)
}

impl Quote {
    /// Values of the registers by number, if they are in order.
    pub(crate) fn registers(&self) -> Option<BTreeMap<u8, B256>> {
        let ascending =
            self.pcrs.iter().zip(self.pcrs.iter().skip(1)).all(|(one, next)| one.number < next.number);
        let bounded = self.pcrs.len() <= PCRS_MAX;
        (ascending && bounded).then(|| self.pcrs.iter().map(|pcr| (pcr.number, pcr.value)).collect())
    }

    /// SHA-256 over the values of the registers in order, as the TPM computes it (part 2, 10.12.1).
    pub(crate) fn digest(&self) -> B256 {
        let mut hasher = Sha256::new();
        self.pcrs.iter().for_each(|pcr| hasher.update(pcr.value));
        B256::from_slice(&hasher.finalize())
    }
}
