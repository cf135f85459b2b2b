//! Evidence of kind `software`: the host's own key signs. It binds the statement to the host and shows nothing else.

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{Domain, SecretKey, recover};
use bletchley_primitives::{Signature, TimestampMs, decode_bounded};
use std::collections::BTreeMap;

use crate::{
    AttestError, Attester, Evidence, Kind, RuntimeClaims, Verified, Verifier, VerifyError,
    evidence::EVIDENCE_SIZE_BYTES_MAX, seam::begin,
};

const SOFTWARE: Domain = Domain("bletchley/attest/software/1");

/// Name of the one measurement: the address that signed.
pub const SIGNER: &str = "signer";

#[derive(RlpEncodable, RlpDecodable)]
struct Signed {
    report_data: B256,
    signature: Signature,
}

/// Signs for an attester, wherever the key is.
pub type Sign<'a> = Box<dyn Fn(B256) -> Result<Signature, String> + 'a>;

/// Signs report data with the host's key.
pub struct SoftwareAttester<'a> {
    sign: Sign<'a>,
}

impl std::fmt::Debug for SoftwareAttester<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftwareAttester(software)")
    }
}

impl<'a> SoftwareAttester<'a> {
    /// An attester whose key is in a store.
    #[must_use]
    pub fn new(sign: Sign<'a>) -> Self {
        Self { sign }
    }

    /// An attester with a key at hand.
    #[must_use]
    pub fn of_key(key: &'a SecretKey) -> Self {
        Self::new(Box::new(|digest| Ok(key.sign(digest))))
    }
}

impl Attester for SoftwareAttester<'_> {
    fn kind(&self) -> Kind {
        Kind::Software
    }

    fn evidence(&mut self, _claims: &RuntimeClaims, report_data: B256) -> Result<Evidence, AttestError> {
        let signature = (self.sign)(SOFTWARE.digest(&[report_data.as_slice()]))
            .map_err(|problem| AttestError::Source { kind: Kind::Software, problem })?;
        let bytes = alloy_rlp::encode(Signed { report_data, signature }).into();
        Ok(Evidence { kind: Kind::Software, bytes, collateral: Bytes::new() })
    }
}

/// Checks the signature. The signer's address is the measurement `signer`; anchors, if there are any, list who may sign.
#[derive(Clone, Copy, Debug)]
pub struct SoftwareVerifier;

impl Verifier for SoftwareVerifier {
    fn kind(&self) -> Kind {
        Kind::Software
    }

    fn verify(
        &self,
        evidence: &Evidence,
        anchors: &[Bytes],
        _at: TimestampMs,
    ) -> Result<Verified, VerifyError> {
        begin(Kind::Software, evidence)?;
        if !evidence.collateral.is_empty() {
            return Err(VerifyError::Malformed("software evidence has no collateral".to_owned()));
        }
        let Signed { report_data, signature } = decode_bounded(&evidence.bytes, EVIDENCE_SIZE_BYTES_MAX)?;
        let signer: Address = recover(SOFTWARE.digest(&[report_data.as_slice()]), &signature)
            .map_err(|error| VerifyError::NotAuthentic(error.to_string()))?;
        if !anchors.is_empty() && !anchors.iter().any(|anchor| anchor.as_ref() == signer.as_slice()) {
            return Err(VerifyError::NotAuthentic(format!("{signer} is not among those that may sign")));
        }
        Ok(Verified {
            report_data: Bytes::copy_from_slice(report_data.as_slice()),
            measurements: BTreeMap::from([(SIGNER.to_owned(), Bytes::copy_from_slice(signer.as_slice()))]),
            versions: BTreeMap::new(),
            standing: String::new(),
            register: None,
            not_after: None,
        })
    }
}
