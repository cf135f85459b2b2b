//! What the members can set together, each within its bounds.

use crate::ledgers::{BLOCK_MS, HEARTBEAT_MS_MAX};
use crate::tagged::{Tagged, TaggedRow, unknown};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{DecodeError, decode_bounded};
use serde::{Deserialize, Serialize};

/// Fewest and most root-ledger blocks for which a proposal stays open.
pub const PROPOSAL_BLOCKS: (u64, u64) = (1, 100_000_000);
/// Longest encoded parameter.
const PARAMETER_SIZE_BYTES_MAX: usize = 1024;
/// Letters of a wrong name or value that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// How many of the members must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// More than half of them.
    #[default]
    Majority,
    /// More than two thirds of them.
    TwoThirds,
    /// Every one of them.
    All,
}

impl Rule {
    /// All rules.
    pub const EVERY: [Self; 3] = [Self::Majority, Self::TwoThirds, Self::All];

    /// Whether this many of all members are enough.
    #[must_use]
    pub const fn is_met(self, yes: usize, members: usize) -> bool {
        yes >= self.needed(members)
    }

    /// How many of all members are enough.
    #[must_use]
    pub const fn needed(self, members: usize) -> usize {
        match self {
            Self::Majority => (members / 2).saturating_add(1),
            Self::TwoThirds => (members.saturating_mul(2) / 3).saturating_add(1),
            Self::All => members,
        }
    }

    /// Its name, as parameters have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::TwoThirds => "two-thirds",
            Self::All => "all",
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::Majority => 1,
            Self::TwoThirds => 2,
            Self::All => 3,
        }
    }
}

/// One parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum Parameter {
    /// Least time between blocks of a ledger, in milliseconds.
    BlockMs {
        /// The ledger.
        ledger: String,
        /// The time.
        value: u64,
    },
    /// Longest silence of a ledger that is idle, in milliseconds; 0 for any.
    HeartbeatMs {
        /// The ledger.
        ledger: String,
        /// The time.
        value: u64,
    },
    /// Root-ledger blocks for which a proposal stays open.
    ProposalBlocks {
        /// How many.
        value: u64,
    },
    /// How many of the members must agree.
    Rule {
        /// How many.
        value: Rule,
    },
}

#[derive(RlpEncodable, RlpDecodable)]
struct OfLedger {
    ledger: String,
    value: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct OfAll {
    value: u64,
}

impl Tagged for Parameter {
    fn to_row(&self) -> TaggedRow {
        let of_ledger = |kind, ledger: &String, value: &u64| {
            TaggedRow::of(kind, &OfLedger { ledger: ledger.clone(), value: *value })
        };
        match self {
            Self::BlockMs { ledger, value } => of_ledger(1, ledger, value),
            Self::HeartbeatMs { ledger, value } => of_ledger(2, ledger, value),
            Self::ProposalBlocks { value } => TaggedRow::of(3, &OfAll { value: *value }),
            Self::Rule { value } => TaggedRow::of(4, &OfAll { value: value.number() }),
        }
    }

    fn from_row(row: &TaggedRow) -> Result<Self, DecodeError> {
        let of_ledger = || decode_bounded::<OfLedger>(&row.body, PARAMETER_SIZE_BYTES_MAX);
        let of_all = || decode_bounded::<OfAll>(&row.body, PARAMETER_SIZE_BYTES_MAX);
        match row.kind {
            1 => of_ledger().map(|OfLedger { ledger, value }| Self::BlockMs { ledger, value }),
            2 => of_ledger().map(|OfLedger { ledger, value }| Self::HeartbeatMs { ledger, value }),
            3 => of_all().map(|OfAll { value }| Self::ProposalBlocks { value }),
            4 => {
                let OfAll { value: number } = of_all()?;
                let rule = Rule::EVERY.into_iter().find(|rule| rule.number() == number);
                rule.map(|value| Self::Rule { value }).ok_or_else(|| unknown("rule", number))
            }
            other => Err(unknown("parameter", other.into())),
        }
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BlockMs { ledger, value } => write!(f, "{ledger}.blockMs to {value}"),
            Self::HeartbeatMs { ledger, value } => write!(f, "{ledger}.heartbeatMs to {value}"),
            Self::ProposalBlocks { value } => write!(f, "proposalBlocks to {value}"),
            Self::Rule { value } => write!(f, "rule to {}", value.name()),
        }
    }
}

/// Why a parameter is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error(
        "there is no parameter {0:?}; there are proposalBlocks, rule, and LEDGER.blockMs and LEDGER.heartbeatMs for each ledger"
    )]
    Unknown(String),
    /// The value is not of the parameter's kind.
    #[error("{name} cannot be {value:?}; give {expected}")]
    Value {
        /// Which parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What can be given.
        expected: &'static str,
    },
    /// The value is out of bounds.
    #[error("{name} can be {least} to {most}, not {value}")]
    Bounds {
        /// Which parameter.
        name: &'static str,
        /// What was given.
        value: u64,
        /// Least.
        least: u64,
        /// Most.
        most: u64,
    },
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

impl Parameter {
    /// A parameter as people write it: `evm.blockMs` and `250`, `rule` and `two-thirds`.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn parse(name: &str, value: &str) -> Result<Self, ParameterError> {
        let number = |name: &'static str| {
            let wrong = |_| ParameterError::Value { name, value: shown(value), expected: "a whole number" };
            value.parse::<u64>().map_err(wrong)
        };
        let parameter = match name.split_once('.') {
            Some((ledger, "blockMs")) => {
                Self::BlockMs { ledger: ledger.to_owned(), value: number("blockMs")? }
            }
            Some((ledger, "heartbeatMs")) => {
                Self::HeartbeatMs { ledger: ledger.to_owned(), value: number("heartbeatMs")? }
            }
            None if name == "proposalBlocks" => Self::ProposalBlocks { value: number("proposalBlocks")? },
            None if name == "rule" => {
                let rule = Rule::EVERY.into_iter().find(|rule| rule.name() == value);
                let wrong = || ParameterError::Value {
                    name: "rule",
                    value: shown(value),
                    expected: "majority, two-thirds or all",
                };
                Self::Rule { value: rule.ok_or_else(wrong)? }
            }
            _ => return Err(ParameterError::Unknown(shown(name))),
        };
        parameter.check()?;
        Ok(parameter)
    }

    /// Whether the value is within its bounds.
    ///
    /// # Errors
    /// [`ParameterError::Bounds`].
    pub fn check(&self) -> Result<(), ParameterError> {
        let (name, value, (least, most)) = match self {
            Self::BlockMs { value, .. } => ("blockMs", *value, BLOCK_MS),
            Self::HeartbeatMs { value, .. } => ("heartbeatMs", *value, (0, HEARTBEAT_MS_MAX)),
            Self::ProposalBlocks { value } => ("proposalBlocks", *value, PROPOSAL_BLOCKS),
            Self::Rule { .. } => return Ok(()),
        };
        if (least..=most).contains(&value) {
            Ok(())
        } else {
            Err(ParameterError::Bounds { name, value, least, most })
        }
    }
}

/// The parameters that are not those of one ledger. A consortium starts with those of its genesis document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Parameters {
    /// Root-ledger blocks for which a proposal stays open.
    pub proposal_blocks: u64,
    /// How many of the members must agree.
    pub rule: Rule,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { proposal_blocks: 100_000, rule: Rule::default() }
    }
}

impl Parameters {
    /// Whether every value is within its bounds.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn check(&self) -> Result<(), ParameterError> {
        Parameter::ProposalBlocks { value: self.proposal_blocks }.check()
    }

    pub(crate) fn row(&self) -> Vec<u64> {
        vec![self.proposal_blocks, self.rule.number()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_the_least_that_is_enough() {
        for members in 1..=128usize {
            let is_enough = |rule, yes: usize| match rule {
                Rule::Majority => yes * 2 > members,
                Rule::TwoThirds => yes * 3 > members * 2,
                Rule::All => yes == members,
            };
            for rule in Rule::EVERY {
                for yes in 0..=members {
                    assert_eq!(rule.is_met(yes, members), is_enough(rule, yes), "{rule:?} {yes}/{members}");
                }
            }
        }
        assert_eq!(Rule::EVERY.map(|rule| rule.needed(4)), [3, 3, 4]);
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        let refused = |name, value| Parameter::parse(name, value).unwrap_err().to_string();
        assert!(refused("evm.blockMs", "0").contains("blockMs can be 1 to 60000"));
        assert!(refused("rule", "dictator").contains("majority, two-thirds or all"));
        assert!(refused("blockMs", "5").contains("LEDGER.blockMs"));
    }
}
