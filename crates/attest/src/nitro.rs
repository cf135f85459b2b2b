//! Evidence of kind `nitro`: the document of an AWS Nitro enclave, which carries its certificates.

use alloy_primitives::Bytes;
use bletchley_primitives::TimestampMs;
use nitro_attest::{Error, UnparsedAttestationDoc};
use time::OffsetDateTime;

use crate::{Evidence, Kind, Verified, Verifier, VerifyError, seam::begin};

/// How long a document may be presented after the hypervisor signed it; its certificate is good for hours.
const DOCUMENT_AGE_MS_MAX: u64 = 3 * 3_600_000;

/// Reads documents (COSE Sign1, RFC 9052). The root is AWS's; anchors are not taken. Registers that are zero are those
/// of an enclave in debug mode, and are not measured: a reference that names `pcr-0` is not met by one.
#[derive(Clone, Copy, Debug)]
pub struct NitroVerifier;

impl Verifier for NitroVerifier {
    fn kind(&self) -> Kind {
        Kind::Nitro
    }

    fn verify(
        &self,
        evidence: &Evidence,
        _anchors: &[Bytes],
        at: TimestampMs,
    ) -> Result<Verified, VerifyError> {
        begin(Kind::Nitro, evidence)?;
        if !evidence.collateral.is_empty() {
            return Err(VerifyError::Malformed("nitro evidence has no collateral".to_owned()));
        }
        let not_then = |problem: String| VerifyError::NotValidThen { at_ms: at.0, problem };
        let seconds =
            i64::try_from(at.seconds()).map_err(|_| not_then("there is no such time".to_owned()))?;
        let now =
            OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| not_then(error.to_string()))?;
        let document = UnparsedAttestationDoc::from(evidence.bytes.as_ref())
            .parse_and_verify(now)
            .map_err(|error| refused(&error, at))?;
        let made_ms = u64::try_from(document.timestamp.unix_timestamp()).unwrap_or(0).saturating_mul(1000);
        let not_after = made_ms.saturating_add(DOCUMENT_AGE_MS_MAX);
        if at.0 < made_ms || at.0 > not_after {
            return Err(not_then(format!("the document was made at {made_ms} ms")));
        }
        // Zero registers are left out by the library; without the first there is no image to speak of.
        if !document.pcrs.contains_key(&0) {
            return Err(VerifyError::Debug);
        }
        let registers = document
            .pcrs
            .into_iter()
            .map(|(number, register)| (format!("pcr-{number}"), Bytes::from(register.value)));
        Ok(Verified {
            report_data: document.user_data.map_or_else(Bytes::new, |data| Bytes::from(data.into_vec())),
            measurements: registers.collect(),
            versions: std::collections::BTreeMap::new(),
            standing: String::new(),
            register: None,
            not_after: Some(TimestampMs(not_after)),
        })
    }
}

fn refused(error: &Error, at: TimestampMs) -> VerifyError {
    let problem = error.to_string();
    match error {
        Error::CertificateExpired { .. } | Error::CertificateNotYetValid { .. } => {
            VerifyError::NotValidThen { at_ms: at.0, problem }
        }
        Error::CoseSignatureMalformed(_)
        | Error::CosePayloadMissing
        | Error::CosePayloadMalformed { .. }
        | Error::CertificateMalformed { .. }
        | Error::CertificateMalformedStructure { .. }
        | Error::NoCertificatesFound
        | Error::CommonNameMissing
        | Error::CommonNameMalformed(_) => VerifyError::Malformed(problem),
        _ => VerifyError::NotAuthentic(problem),
    }
}
