//! Appraisal (RFC 9334, 8.5): a statement against a policy, at a stated time.

use alloy_primitives::{Address, B256};
use bletchley_primitives::{LedgerId, TimestampMs};

use crate::{
    AppraisalPolicy, AttestationResult, ClaimsError, Kind, KindRule, Reference, RuntimeClaims, Statement,
    Tier, Verified, Verifiers, VerifyError, claims::lies_in, padded, policy::AppraisalPolicyError,
};

/// The best standing that makers give; others must be listed to count.
const BEST_STANDINGS: [&str; 2] = ["", "UpToDate"];

/// Why a statement is not accepted. The codes are stable (specs/attestation.md: Refusals).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraiseError {
    /// The policy contradicts itself.
    #[error(transparent)]
    Policy(#[from] AppraisalPolicyError),
    /// The claims are not well-formed.
    #[error(transparent)]
    Malformed(#[from] ClaimsError),
    /// Made for another question.
    #[error("the statement answers nonce {found}, asked was {expected}; it may be an old one")]
    Nonce {
        /// What was asked.
        expected: B256,
        /// What it answers.
        found: B256,
    },
    /// Made for another registry.
    #[error("the statement is for registry {found}, this one is {expected}")]
    Registry {
        /// This one.
        expected: LedgerId,
        /// The statement's.
        found: LedgerId,
    },
    /// The policy does not take evidence of this kind.
    #[error("the policy does not accept {0} evidence")]
    Kind(Kind),
    /// The evidence is not believed.
    #[error(transparent)]
    Evidence(#[from] VerifyError),
    /// The evidence was made over something else.
    #[error("the evidence carries report data {found}, nonce, key and claims give {expected}")]
    ReportData {
        /// What nonce, ephemeral key and claims give.
        expected: B256,
        /// What the evidence has, in hexadecimal.
        found: String,
    },
    /// A claim is not on the policy's list.
    #[error("the policy does not accept {claim} {found}")]
    Claim {
        /// Which claim.
        claim: &'static str,
        /// What it says.
        found: String,
    },
    /// The platform's maker has reservations that the policy does not accept.
    #[error("the platform's standing is {0}, which the policy does not accept")]
    Standing(String),
    /// What was measured is none of the states that will do.
    #[error("the measurements fit none of the policy's references: {0}")]
    Measurement(String),
    /// The register does not hold what the claims say.
    #[error("the measurement register holds {found}, the claims give {expected}")]
    Register {
        /// What the claims give.
        expected: B256,
        /// What it holds.
        found: B256,
    },
}

impl AppraiseError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy",
            Self::Malformed(_) => "malformed",
            Self::Nonce { .. } => "nonce",
            Self::Registry { .. } => "registry",
            Self::Kind(_) => "kind",
            Self::Evidence(error) => error.code(),
            Self::ReportData { .. } => "report-data",
            Self::Claim { .. } => "claim",
            Self::Standing(_) => "standing",
            Self::Measurement(_) => "measurement",
            Self::Register { .. } => "register",
        }
    }
}

/// Appraises statements for one registry, under one policy.
#[derive(Clone, Copy, Debug)]
pub struct Appraiser<'a> {
    /// What evidence can be read.
    pub verifiers: &'a Verifiers,
    /// What is asked.
    pub policy: &'a AppraisalPolicy,
    /// The registry's ledger.
    pub registry: LedgerId,
    /// Who appraises, and will sign the result.
    pub verifier: Address,
}

impl Appraiser<'_> {
    /// The result of a statement that answers `nonce`, unsigned.
    ///
    /// # Errors
    /// [`AppraiseError`] of the first check that fails.
    pub fn appraise(
        &self,
        nonce: B256,
        statement: &Statement,
        at: TimestampMs,
    ) -> Result<AttestationResult, AppraiseError> {
        self.policy.check()?;
        let Statement { nonce: found, claims, evidence } = statement;
        if *found != nonce {
            return Err(AppraiseError::Nonce { expected: nonce, found: *found });
        }
        claims.check()?;
        if claims.registry != self.registry {
            return Err(AppraiseError::Registry { expected: self.registry, found: claims.registry });
        }
        let kind = evidence.kind;
        let rule = self.policy.rule(kind).ok_or(AppraiseError::Kind(kind))?;
        let verified = self.verifiers.of(kind)?.verify(evidence, &rule.anchors, at)?;
        check_report_data(&verified, claims.report_data(nonce))?;
        check_claims(self.policy, claims)?;
        if let Some(found) = verified.register.filter(|found| *found != claims.register()) {
            return Err(AppraiseError::Register { expected: claims.register(), found });
        }
        let is_best = BEST_STANDINGS.contains(&verified.standing.as_str());
        if !is_best && !rule.standings.contains(&verified.standing) {
            return Err(AppraiseError::Standing(verified.standing));
        }
        let reference = fitting(rule, &verified)?;
        let until = TimestampMs(at.0.saturating_add(self.policy.validity_ms));
        let tier = match (kind.is_hardware(), is_best) {
            (false, _) => Tier::None,
            (true, true) => Tier::Affirming,
            (true, false) => Tier::Warning,
        };
        Ok(AttestationResult {
            registry: self.registry,
            host: claims.host,
            kind,
            tier,
            reference: reference.label.clone(),
            location: claims.location.clone(),
            claims: claims.digest(),
            statement: statement.id(),
            policy: self.policy.digest(),
            verifier: self.verifier,
            at,
            expires: verified.not_after.map_or(until, |not_after| until.min(not_after)),
        })
    }
}

fn check_report_data(verified: &Verified, expected: B256) -> Result<(), AppraiseError> {
    let found = verified.report_data.as_ref();
    if found == expected.as_slice() || found == padded(expected).as_slice() {
        return Ok(());
    }
    Err(AppraiseError::ReportData { expected, found: alloy_primitives::hex::encode_prefixed(found) })
}

fn check_claims(policy: &AppraisalPolicy, claims: &RuntimeClaims) -> Result<(), AppraiseError> {
    let digests = [
        ("binary", &policy.binaries, claims.binary),
        ("profile", &policy.profiles, claims.profile),
        ("component", &policy.components, claims.component),
        ("config", &policy.configs, claims.config),
    ];
    for (claim, list, found) in digests {
        if !list.is_empty() && !list.contains(&found) {
            return Err(AppraiseError::Claim { claim, found: found.to_string() });
        }
    }
    let texts = [
        ("engine", &policy.engines, &claims.engine),
        ("isolation", &policy.isolations, &claims.isolation),
        ("world", &policy.worlds, &claims.world),
    ];
    for (claim, list, found) in texts {
        if !list.is_empty() && !list.contains(found) {
            return Err(AppraiseError::Claim { claim, found: found.clone() });
        }
    }
    let places = &policy.locations;
    if !places.is_empty() && !places.iter().any(|wider| lies_in(&claims.location, wider)) {
        return Err(AppraiseError::Claim { claim: "location", found: format!("{:?}", claims.location) });
    }
    Ok(())
}

fn fitting<'a>(rule: &'a KindRule, verified: &Verified) -> Result<&'a Reference, AppraiseError> {
    let mut problems = Vec::new();
    for reference in &rule.references {
        match misfit(reference, verified) {
            None => return Ok(reference),
            Some(problem) => problems.push(format!("{}: {problem}", reference.label)),
        }
    }
    if problems.is_empty() {
        problems.push("the policy has none".to_owned());
    }
    Err(AppraiseError::Measurement(problems.join("; ")))
}

/// What of a reference does not hold.
fn misfit(reference: &Reference, verified: &Verified) -> Option<String> {
    for measured in &reference.measurements {
        match verified.measurements.get(&measured.name) {
            None => return Some(format!("{} was not measured", measured.name)),
            Some(found) if *found != measured.value => {
                return Some(format!("{} is {found}, not {}", measured.name, measured.value));
            }
            Some(_) => {}
        }
    }
    for least in &reference.at_least {
        match verified.versions.get(&least.name) {
            None => return Some(format!("{} is not there", least.name)),
            Some(found) if *found < least.version => {
                return Some(format!("{} is {found}, below {}", least.name, least.version));
            }
            Some(_) => {}
        }
    }
    None
}
