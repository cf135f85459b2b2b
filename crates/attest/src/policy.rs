//! What administrators ask of a host: reference values and trust anchors, as data on the registry's ledger.

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{DecodeError, decode_bounded};
use serde::{Deserialize, Serialize};

use crate::{
    Kind,
    claims::{check_text, is_location},
};

/// Longest encoding of a policy: it fits an entry of the registry beside its signature.
pub const POLICY_SIZE_BYTES_MAX: usize = 60 << 10;
/// Most entries of any list.
pub(crate) const LIST_MAX: usize = 256;
/// Longest trust anchor or measured value.
pub(crate) const VALUE_SIZE_BYTES_MAX: usize = 64;
/// Longest time that a result can be good for: thirty days.
pub const VALIDITY_MS_MAX: u64 = 30 * 24 * 3_600_000;

const POLICY: Domain = Domain("bletchley/attest/policy/1");

/// What was measured must be this.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, RlpEncodable, RlpDecodable, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Measurement {
    /// Name of the measurement (specs/attestation.md: Kinds).
    pub name: String,
    /// The value.
    pub value: Bytes,
}

/// A version must be at least this.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, RlpEncodable, RlpDecodable, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Least {
    /// Name of the version.
    pub name: String,
    /// The least that will do.
    pub version: u64,
}

/// One state that a host may be in: everything that is listed must hold.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reference {
    /// What people call it, such as `release 1.2 on Debian 12`.
    pub label: String,
    /// Measured values, in ascending order. None asks for nothing.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// Least versions, in ascending order.
    #[serde(default)]
    pub at_least: Vec<Least>,
}

/// What is asked of evidence of one kind.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KindRule {
    /// The kind.
    pub kind: Kind,
    /// Trust anchors, for kinds without a root that their maker publishes (specs/attestation.md: Kinds).
    #[serde(default)]
    pub anchors: Vec<Bytes>,
    /// Standings that will do, in ascending order; the maker's best alone when none is listed.
    #[serde(default)]
    pub standings: Vec<String>,
    /// States that will do. None accepts no host.
    pub references: Vec<Reference>,
}

/// What administrators ask of a host. Lists of claims that are empty ask for nothing.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppraisalPolicy {
    /// How many policies came before, so that none can be repeated.
    #[serde(default)]
    pub sequence: u64,
    /// Verifiers whose results count.
    pub verifiers: Vec<Address>,
    /// For how long a result is good.
    pub validity_ms: u64,
    /// Executables of the host.
    #[serde(default)]
    pub binaries: Vec<B256>,
    /// Engines, with their versions.
    #[serde(default)]
    pub engines: Vec<String>,
    /// Determinism profiles.
    #[serde(default)]
    pub profiles: Vec<B256>,
    /// How cryptlets may be kept apart.
    #[serde(default)]
    pub isolations: Vec<String>,
    /// Components.
    #[serde(default)]
    pub components: Vec<B256>,
    /// WIT worlds.
    #[serde(default)]
    pub worlds: Vec<String>,
    /// Configurations.
    #[serde(default)]
    pub configs: Vec<B256>,
    /// Places, each with everything in it: `DE` covers `DE-BY`.
    #[serde(default)]
    pub locations: Vec<String>,
    /// What is asked of evidence; a kind without a rule is refused.
    pub rules: Vec<KindRule>,
}

/// Why a policy cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalPolicyError {
    /// Not the bytes of a policy.
    #[error("appraisal policy: {0}")]
    Bytes(#[from] DecodeError),
    /// A list is too long, not in ascending order, or repeats something.
    #[error(
        "appraisal policy: `{0}` must be in ascending order, without repetition, at most {LIST_MAX} long"
    )]
    List(&'static str),
    /// A text or value is missing, too long, or not in its form.
    #[error("appraisal policy: `{0}` has an entry that is empty, too long, or not in its form")]
    Value(&'static str),
    /// The time is zero or too long.
    #[error("appraisal policy: `validity-ms` is {0}, allowed are 1 to {VALIDITY_MS_MAX}")]
    Validity(u64),
}

fn ascending<T: Ord>(what: &'static str, list: &[T]) -> Result<(), AppraisalPolicyError> {
    let sorted = list.iter().zip(list.iter().skip(1)).all(|(one, next)| one < next);
    if sorted && list.len() <= LIST_MAX { Ok(()) } else { Err(AppraisalPolicyError::List(what)) }
}

fn texts<'a>(
    what: &'static str,
    list: impl IntoIterator<Item = &'a String>,
) -> Result<(), AppraisalPolicyError> {
    let list: Vec<&String> = list.into_iter().collect();
    ascending(what, &list)?;
    let good = list.iter().all(|text| check_text(text).is_ok());
    if good { Ok(()) } else { Err(AppraisalPolicyError::Value(what)) }
}

fn values<'a>(
    what: &'static str,
    list: impl IntoIterator<Item = &'a Bytes>,
) -> Result<(), AppraisalPolicyError> {
    let good = list.into_iter().all(|value| !value.is_empty() && value.len() <= VALUE_SIZE_BYTES_MAX);
    if good { Ok(()) } else { Err(AppraisalPolicyError::Value(what)) }
}

impl AppraisalPolicy {
    /// A policy that takes software evidence from anyone: for development, and for trying things out.
    #[must_use]
    pub fn software_only(verifier: Address) -> Self {
        Self {
            sequence: 0,
            verifiers: vec![verifier],
            validity_ms: 24 * 3_600_000,
            binaries: Vec::new(),
            engines: Vec::new(),
            profiles: Vec::new(),
            isolations: Vec::new(),
            components: Vec::new(),
            worlds: Vec::new(),
            configs: Vec::new(),
            locations: Vec::new(),
            rules: vec![KindRule {
                kind: Kind::Software,
                anchors: Vec::new(),
                standings: Vec::new(),
                references: vec![Reference {
                    label: "any host, on its own word".to_owned(),
                    measurements: Vec::new(),
                    at_least: Vec::new(),
                }],
            }],
        }
    }

    /// Whether the policy can be applied.
    ///
    /// # Errors
    /// [`AppraisalPolicyError`].
    pub fn check(&self) -> Result<(), AppraisalPolicyError> {
        if self.validity_ms == 0 || self.validity_ms > VALIDITY_MS_MAX {
            return Err(AppraisalPolicyError::Validity(self.validity_ms));
        }
        ascending("verifiers", &self.verifiers)?;
        for (what, list) in [
            ("binaries", &self.binaries),
            ("profiles", &self.profiles),
            ("components", &self.components),
            ("configs", &self.configs),
        ] {
            ascending(what, list)?;
        }
        for (what, list) in
            [("engines", &self.engines), ("isolations", &self.isolations), ("worlds", &self.worlds)]
        {
            texts(what, list)?;
        }
        texts("locations", &self.locations)?;
        if !self.locations.iter().all(|place| is_location(place)) {
            return Err(AppraisalPolicyError::Value("locations"));
        }
        let kinds: Vec<Kind> = self.rules.iter().map(|rule| rule.kind).collect();
        ascending("rules", &kinds)?;
        self.rules.iter().try_for_each(KindRule::check)?;
        let size_bytes = alloy_rlp::encode(self).len();
        if size_bytes > POLICY_SIZE_BYTES_MAX {
            return Err(DecodeError::TooLong { size_bytes, size_bytes_max: POLICY_SIZE_BYTES_MAX }.into());
        }
        Ok(())
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`AppraisalPolicyError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AppraisalPolicyError> {
        let policy: Self = decode_bounded(bytes, POLICY_SIZE_BYTES_MAX)?;
        policy.check()?;
        Ok(policy)
    }

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// What results name the policy by.
    #[must_use]
    pub fn digest(&self) -> B256 {
        POLICY.digest(&[&self.encode()])
    }

    /// The rule for a kind.
    #[must_use]
    pub fn rule(&self, kind: Kind) -> Option<&KindRule> {
        self.rules.iter().find(|rule| rule.kind == kind)
    }

    /// Whether results of this verifier count.
    #[must_use]
    pub fn names_verifier(&self, verifier: Address) -> bool {
        self.verifiers.binary_search(&verifier).is_ok()
    }
}

impl KindRule {
    fn check(&self) -> Result<(), AppraisalPolicyError> {
        ascending("anchors", &self.anchors)?;
        values("anchors", &self.anchors)?;
        texts("standings", &self.standings)?;
        texts("references", self.references.iter().map(|reference| &reference.label))?;
        for reference in &self.references {
            texts("measurements", reference.measurements.iter().map(|measured| &measured.name))?;
            values("measurements", reference.measurements.iter().map(|measured| &measured.value))?;
            texts("at-least", reference.at_least.iter().map(|least| &least.name))?;
        }
        Ok(())
    }
}
