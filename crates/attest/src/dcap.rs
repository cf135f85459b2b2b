//! Evidence of kinds `sgx` and `tdx`: Intel's quotes, checked offline against the collateral that comes with them.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use bletchley_primitives::TimestampMs;
use dcap_qvl::{
    QuoteCollateralV3, QuotePolicy,
    quote::{EnclaveReport, Report, TDReport10},
    verify::{Quote, QuoteVerifier},
};

use crate::{Evidence, Kind, Verified, Verifier, VerifyError, seam::begin};

/// What Intel says of a platform whose keys are known outside.
const REVOKED: &str = "Revoked";

/// Reads quotes of DCAP's versions 3 to 5. The collateral is Intel's, in JSON as provisioning services give it. The root
/// is Intel's; anchors are not taken. A quote from debug mode is refused.
#[derive(Clone, Copy, Debug)]
pub struct DcapVerifier(Kind);

impl DcapVerifier {
    /// For enclaves.
    #[must_use]
    pub const fn sgx() -> Self {
        Self(Kind::Sgx)
    }

    /// For trust domains.
    #[must_use]
    pub const fn tdx() -> Self {
        Self(Kind::Tdx)
    }
}

impl Verifier for DcapVerifier {
    fn kind(&self) -> Kind {
        self.0
    }

    fn verify(
        &self,
        evidence: &Evidence,
        _anchors: &[Bytes],
        at: TimestampMs,
    ) -> Result<Verified, VerifyError> {
        begin(self.0, evidence)?;
        let malformed = |problem: String| VerifyError::Malformed(problem);
        let quote = Quote::parse(&evidence.bytes).map_err(|error| malformed(error.to_string()))?;
        let found = if quote.header.is_sgx() { Kind::Sgx } else { Kind::Tdx };
        if found != self.0 {
            return Err(VerifyError::OtherKind { expected: self.0, found });
        }
        if quote.signed_length() > evidence.bytes.len() {
            return Err(malformed("it ends too early".to_owned()));
        }
        let collateral: QuoteCollateralV3 =
            serde_json::from_slice(&evidence.collateral).map_err(|error| malformed(error.to_string()))?;
        let seconds = at.seconds();
        let claims = QuoteVerifier::new_prod()
            .verify_with_policy(&evidence.bytes, collateral, seconds, &QuotePolicy::claims_only(seconds))
            .map_err(|error| refused(&format!("{error:#}"), at))?;
        let standing = claims.tcb.status.to_string();
        if standing == REVOKED {
            return Err(VerifyError::NotAuthentic("Intel has revoked the platform's keys".to_owned()));
        }
        let (report_data, measurements, versions) = match &claims.report {
            Report::SgxEnclave(report) => enclave(report),
            report => domain(report.as_td10().ok_or_else(|| malformed("an unknown report".to_owned()))?),
        };
        Ok(Verified {
            report_data: Bytes::copy_from_slice(&report_data),
            measurements,
            versions,
            standing,
            register: None,
            not_after: Some(TimestampMs(claims.earliest_expiration_date.saturating_mul(1000))),
        })
    }
}

/// The library gives reasons in words alone; which of them are about time and about debug mode decides the code.
fn refused(problem: &str, at: TimestampMs) -> VerifyError {
    let has = |words: &[&str]| words.iter().any(|word| problem.contains(word));
    if has(&["expired", "Expired", "NotValidYet", "in the future", "not yet"]) {
        VerifyError::NotValidThen { at_ms: at.0, problem: problem.to_owned() }
    } else if has(&["Debug mode"]) {
        VerifyError::Debug
    } else {
        VerifyError::NotAuthentic(problem.to_owned())
    }
}

type Facts = ([u8; 64], BTreeMap<String, Bytes>, BTreeMap<String, u64>);

fn named<const N: usize>(values: [(&str, &[u8]); N]) -> BTreeMap<String, Bytes> {
    values.into_iter().map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value))).collect()
}

fn enclave(report: &EnclaveReport) -> Facts {
    let measurements = named([
        ("mr-enclave", report.mr_enclave.as_slice()),
        ("mr-signer", report.mr_signer.as_slice()),
        ("isv-prod-id", report.isv_prod_id.to_be_bytes().as_slice()),
    ]);
    let versions = BTreeMap::from([("isv-svn".to_owned(), u64::from(report.isv_svn))]);
    (report.report_data, measurements, versions)
}

fn domain(report: &TDReport10) -> Facts {
    let measurements = named([
        ("mr-td", report.mr_td.as_slice()),
        ("mr-config-id", report.mr_config_id.as_slice()),
        ("mr-owner", report.mr_owner.as_slice()),
        ("mr-owner-config", report.mr_owner_config.as_slice()),
        ("mr-seam", report.mr_seam.as_slice()),
        ("rt-mr0", report.rt_mr0.as_slice()),
        ("rt-mr1", report.rt_mr1.as_slice()),
        ("rt-mr2", report.rt_mr2.as_slice()),
        ("rt-mr3", report.rt_mr3.as_slice()),
    ]);
    (report.report_data, measurements, BTreeMap::new())
}
