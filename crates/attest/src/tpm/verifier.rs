//! Checks a quote, offline.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use bletchley_primitives::{TimestampMs, decode_bounded};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::{
    RUNTIME_PCR,
    endorsement::SignedEndorsement,
    quote::{Attested, Quote, signature},
    structure::EccPublic,
    wire::WireError,
};
use crate::{
    Evidence, Kind, Verified, Verifier, VerifyError, evidence::EVIDENCE_SIZE_BYTES_MAX, seam::begin,
};

/// Name of the measurement that says which attestation key signed.
pub const AK: &str = "ak";
/// Name of the measurement that says which TPM it is; there only with an endorsement.
pub const EK: &str = "ek";

/// Reads quotes. An anchor is an address whose endorsements count (20 bytes), or the name of an attestation key that is
/// trusted without one (34 bytes).
#[derive(Clone, Copy, Debug)]
pub struct TpmVerifier;

impl From<WireError> for VerifyError {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Verifier for TpmVerifier {
    fn kind(&self) -> Kind {
        Kind::Tpm2
    }

    fn verify(
        &self,
        evidence: &Evidence,
        anchors: &[Bytes],
        at: TimestampMs,
    ) -> Result<Verified, VerifyError> {
        begin(Kind::Tpm2, evidence)?;
        let quote: Quote = decode_bounded(&evidence.bytes, EVIDENCE_SIZE_BYTES_MAX)?;
        let key = EccPublic::decode(&quote.attestation_key)
            .map_err(|error| VerifyError::Malformed(error.to_string()))?;
        key.check_attestation_key().map_err(|error| VerifyError::NotAuthentic(error.to_string()))?;
        let attested = Attested::decode(&quote.attested)?;
        let not_authentic = |problem: &str| VerifyError::NotAuthentic(problem.to_owned());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
            .verify(&quote.attested, &signature(&quote.signature)?)
            .map_err(|_| not_authentic("the attestation key did not sign this quote"))?;
        let registers = quote.registers().ok_or(WireError("registers out of order"))?;
        if !registers.keys().eq(attested.selected.iter())
            || quote.digest().as_slice() != attested.digest.as_ref()
        {
            return Err(not_authentic("the registers are not those that were quoted"));
        }
        let mut measurements: BTreeMap<String, Bytes> = registers
            .iter()
            .map(|(number, value)| (format!("pcr-{number}"), Bytes::copy_from_slice(value.as_slice())))
            .collect();
        measurements.insert(AK.to_owned(), key.name());
        let endorsed = endorsed(evidence, &key, anchors, at)?;
        let not_after = endorsed.as_ref().map(|(_, until)| *until);
        measurements.extend(endorsed.map(|(name, _)| (EK.to_owned(), name)));
        Ok(Verified {
            report_data: attested.qualifying,
            measurements,
            versions: BTreeMap::from([("firmware".to_owned(), attested.firmware)]),
            standing: String::new(),
            // Always there: a quote without the register must not pass for one that agrees with the claims.
            register: Some(registers.get(&RUNTIME_PCR).copied().unwrap_or_default()),
            not_after,
        })
    }
}

/// Name of the TPM's endorsement key and until when its endorsement holds; nothing for a key that the policy pins itself.
fn endorsed(
    evidence: &Evidence,
    key: &EccPublic,
    anchors: &[Bytes],
    at: TimestampMs,
) -> Result<Option<(Bytes, TimestampMs)>, VerifyError> {
    let not_authentic = |problem: String| VerifyError::NotAuthentic(problem);
    if evidence.collateral.is_empty() {
        return if anchors.contains(&key.name()) {
            Ok(None)
        } else {
            Err(not_authentic(format!("nobody endorses attestation key {}", key.name())))
        };
    }
    let (signed, endorser) = SignedEndorsement::decode(&evidence.collateral)
        .map_err(|error| VerifyError::Malformed(error.to_string()))?;
    let endorsement = signed.endorsement;
    if !anchors.iter().any(|anchor| anchor.as_ref() == endorser.as_slice()) {
        return Err(not_authentic(format!("endorsements by {endorser} do not count")));
    }
    if endorsement.attestation_key != key.name() {
        return Err(not_authentic("the endorsement is for another attestation key".to_owned()));
    }
    if at < endorsement.from || at >= endorsement.until {
        let problem =
            format!("the attestation key is endorsed from {} to {} ms", endorsement.from, endorsement.until);
        return Err(VerifyError::NotValidThen { at_ms: at.0, problem });
    }
    Ok(Some((endorsement.endorsement_key, endorsement.until)))
}
