//! Evidence of kind `sev-snp`: AMD's attestation report, with the chip's certificate as collateral.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use bletchley_primitives::TimestampMs;
use sev::{
    certs::snp::{Certificate, Chain, Verifiable, builtin, ca},
    firmware::guest::AttestationReport,
    parser::ByteParser,
};
use x509_cert::der::asn1::ObjectIdentifier;

use crate::{Evidence, Kind, Verified, Verifier, VerifyError, seam::begin};

/// Extensions of the certificate: versions of the firmware that its key was derived for, and which chip it is (AMD
/// publication 57230, table 11).
const BOOT_LOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const CHIP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

/// Reads reports of versions 2 and up that a chip's own key (VCEK) signed. The collateral is that key's certificate in
/// DER. The roots are AMD's, for Milan, Genoa and Turin; anchors are not taken. A guest that may be debugged is refused.
/// AMD's revocation lists are not asked.
#[derive(Clone, Copy, Debug)]
pub struct SevSnpVerifier;

impl Verifier for SevSnpVerifier {
    fn kind(&self) -> Kind {
        Kind::SevSnp
    }

    fn verify(
        &self,
        evidence: &Evidence,
        _anchors: &[Bytes],
        at: TimestampMs,
    ) -> Result<Verified, VerifyError> {
        begin(Kind::SevSnp, evidence)?;
        let malformed = |problem: &dyn std::fmt::Display| VerifyError::Malformed(problem.to_string());
        let report = AttestationReport::from_bytes(&evidence.bytes).map_err(|error| malformed(&error))?;
        // The library signs over its own reading: what it does not read would not be covered.
        let again = report.to_bytes().map_err(|error| malformed(&error))?;
        if again.as_slice() != evidence.bytes.as_ref() {
            return Err(malformed(&"reserved parts of the report are not zero"));
        }
        if report.key_info.signing_key() != 0 {
            return Err(VerifyError::NotAuthentic("another key than the chip's own signed".to_owned()));
        }
        let vcek = Certificate::from_der(&evidence.collateral).map_err(|error| malformed(&error))?;
        let chain = chain(&vcek)?;
        (&chain, &report).verify().map_err(|error| VerifyError::NotAuthentic(error.to_string()))?;
        let mut not_after = u64::MAX;
        for certificate in [&chain.ca.ark, &chain.ca.ask, &chain.vek] {
            not_after = not_after.min(check_time(certificate, at)?);
        }
        check_chip(&vcek, &report)?;
        if report.policy.debug_allowed() {
            return Err(VerifyError::Debug);
        }
        Ok(Verified {
            report_data: Bytes::copy_from_slice(&report.report_data),
            measurements: measurements(&report),
            versions: versions(&report),
            standing: String::new(),
            register: None,
            not_after: Some(TimestampMs(not_after)),
        })
    }
}

/// The chain from AMD's root, of whichever generation of processors signed the certificate.
fn chain(vcek: &Certificate) -> Result<Chain, VerifyError> {
    let unusable = |error: std::io::Error| VerifyError::NotAuthentic(error.to_string());
    let generations = [
        (builtin::milan::ark(), builtin::milan::ask()),
        (builtin::genoa::ark(), builtin::genoa::ask()),
        (builtin::turin::ark(), builtin::turin::ask()),
    ];
    for (ark, ask) in generations {
        let (ark, ask) = (ark.map_err(unusable)?, ask.map_err(unusable)?);
        let chain = Chain { ca: ca::Chain { ark, ask }, vek: vcek.clone() };
        if chain.verify().is_ok() {
            return Ok(chain);
        }
    }
    Err(VerifyError::NotAuthentic("none of AMD's roots leads to the chip's certificate".to_owned()))
}

/// Until when a certificate is good, in milliseconds, if it is good now.
fn check_time(certificate: &Certificate, at: TimestampMs) -> Result<u64, VerifyError> {
    let certificate = x509_cert::Certificate::from(certificate.clone()).tbs_certificate;
    let ms = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs().saturating_mul(1000);
    let (from, to) = (ms(&certificate.validity.not_before), ms(&certificate.validity.not_after));
    if at.0 < from || at.0 > to {
        let problem = format!("the certificate of {} holds from {from} to {to} ms", certificate.subject);
        return Err(VerifyError::NotValidThen { at_ms: at.0, problem });
    }
    Ok(to)
}

/// The certificate must be that of this chip with this firmware: another chip's, or an older firmware's, signs too.
fn check_chip(vcek: &Certificate, report: &AttestationReport) -> Result<(), VerifyError> {
    let certificate = x509_cert::Certificate::from(vcek.clone()).tbs_certificate;
    let extensions = certificate.extensions.unwrap_or_default();
    let value = |id: ObjectIdentifier| {
        let found = extensions.iter().find(|extension| extension.extn_id == id);
        found.map(|extension| extension.extn_value.as_bytes())
    };
    let tcb = report.reported_tcb;
    let versions = [
        ("boot loader", BOOT_LOADER, Some(tcb.bootloader)),
        ("TEE", TEE, Some(tcb.tee)),
        ("SNP firmware", SNP, Some(tcb.snp)),
        ("microcode", MICROCODE, Some(tcb.microcode)),
        ("FMC", FMC, tcb.fmc),
    ];
    let differs = |what: &str| VerifyError::NotAuthentic(format!("the certificate is for another {what}"));
    for (what, id, expected) in versions {
        let Some(expected) = expected else { continue };
        if value(id).and_then(small_integer) != Some(expected) {
            return Err(differs(what));
        }
    }
    // Turin's chips have 8 bytes; the report pads with zeros.
    let chip = value(CHIP).filter(|chip| !chip.is_empty()).ok_or_else(|| differs("chip"))?;
    let rest = report.chip_id.strip_prefix(chip).ok_or_else(|| differs("chip"))?;
    if rest.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(differs("chip")) }
}

/// A DER INTEGER from 0 to 255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match der {
        [2, 1, value] if *value < 0x80 => Some(*value),
        [2, 2, 0, value] if *value >= 0x80 => Some(*value),
        _ => None,
    }
}

fn measurements(report: &AttestationReport) -> BTreeMap<String, Bytes> {
    [
        ("measurement", report.measurement.as_slice()),
        ("host-data", &report.host_data),
        ("id-key-digest", &report.id_key_digest),
        ("author-key-digest", &report.author_key_digest),
        ("family-id", &report.family_id),
        ("image-id", &report.image_id),
        ("chip-id", &report.chip_id),
        ("vmpl", &report.vmpl.to_be_bytes()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value)))
    .collect()
}

fn versions(report: &AttestationReport) -> BTreeMap<String, u64> {
    let tcb = report.reported_tcb;
    [
        ("guest-svn", u64::from(report.guest_svn)),
        ("tcb-boot-loader", u64::from(tcb.bootloader)),
        ("tcb-tee", u64::from(tcb.tee)),
        ("tcb-snp", u64::from(tcb.snp)),
        ("tcb-microcode", u64::from(tcb.microcode)),
    ]
    .into_iter()
    .map(|(name, version)| (name.to_owned(), version))
    .collect()
}
