//! What the members can set together, each within its bounds.

use crate::tagged::{Tagged, TaggedRow, unknown};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{DecodeError, decode_bounded};
use serde::{Deserialize, Serialize};

/// Least and most time between blocks, in milliseconds.
pub const BLOCK_MS: (u64, u64) = (1, 60_000);
/// Least and most silence of an idle ledger, in milliseconds.
pub const HEARTBEAT_MS: (u64, u64) = (100, 3_600_000);
/// Fewest and most root-ledger blocks for which a proposal stays open.
pub const PROPOSAL_BLOCKS: (u64, u64) = (1, 100_000_000);
/// Longest encoded parameter.
const PARAMETER_SIZE_BYTES_MAX: usize = 32;

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
    /// Whether this many of all members are enough.
    #[must_use]
    pub const fn is_met(self, yes: usize, members: usize) -> bool {
        match self {
            Self::Majority => yes.saturating_mul(2) > members,
            Self::TwoThirds => yes.saturating_mul(3) > members.saturating_mul(2),
            Self::All => yes >= members && members > 0,
        }
    }

    /// How many of all members are enough.
    #[must_use]
    pub const fn needed(self, members: usize) -> usize {
        match self {
            Self::Majority => members / 2 + 1,
            Self::TwoThirds => members.saturating_mul(2) / 3 + 1,
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

    const fn of_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Majority),
            2 => Some(Self::TwoThirds),
            3 => Some(Self::All),
            _ => None,
        }
    }
}

/// One parameter and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", content = "value", rename_all = "camelCase")]
pub enum Parameter {
    /// Least time between blocks, in milliseconds.
    BlockMs(u64),
    /// Longest silence of an idle ledger, in milliseconds.
    HeartbeatMs(u64),
    /// Root-ledger blocks for which a proposal stays open.
    ProposalBlocks(u64),
    /// How many of the members must agree.
    Rule(Rule),
}

#[derive(RlpEncodable, RlpDecodable)]
struct Number {
    value: u64,
}

impl Tagged for Parameter {
    fn to_row(&self) -> TaggedRow {
        let (kind, value) = match *self {
            Self::BlockMs(value) => (1, value),
            Self::HeartbeatMs(value) => (2, value),
            Self::ProposalBlocks(value) => (3, value),
            Self::Rule(rule) => (4, rule.number()),
        };
        TaggedRow::of(kind, &Number { value })
    }

    fn from_row(row: &TaggedRow) -> Result<Self, DecodeError> {
        let Number { value } = decode_bounded(&row.body, PARAMETER_SIZE_BYTES_MAX)?;
        match row.kind {
            1 => Ok(Self::BlockMs(value)),
            2 => Ok(Self::HeartbeatMs(value)),
            3 => Ok(Self::ProposalBlocks(value)),
            4 => Rule::of_number(value).map(Self::Rule).ok_or_else(|| unknown("rule", value)),
            other => Err(unknown("parameter", other.into())),
        }
    }
}

/// Why a parameter is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error("there is no parameter {0:?}; there are blockMs, heartbeatMs, proposalBlocks and rule")]
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
    /// Blocks would come more rarely than the ledger may be silent.
    #[error(
        "blockMs ({block_ms}) must not exceed heartbeatMs ({heartbeat_ms}); set the other one first, or both in one proposal"
    )]
    Order {
        /// Time between blocks.
        block_ms: u64,
        /// Longest silence.
        heartbeat_ms: u64,
    },
}

impl Parameter {
    /// A parameter as people write it: `blockMs` and `250`, `rule` and `two-thirds`.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn parse(name: &str, value: &str) -> Result<Self, ParameterError> {
        let number = |name: &'static str| {
            value.parse::<u64>().map_err(|_| ParameterError::Value {
                name,
                value: value.chars().take(64).collect(),
                expected: "a whole number",
            })
        };
        let parameter = match name {
            "blockMs" => Self::BlockMs(number("blockMs")?),
            "heartbeatMs" => Self::HeartbeatMs(number("heartbeatMs")?),
            "proposalBlocks" => Self::ProposalBlocks(number("proposalBlocks")?),
            "rule" => {
                let rules = [Rule::Majority, Rule::TwoThirds, Rule::All];
                let rule = rules.into_iter().find(|rule| rule.name() == value);
                Self::Rule(rule.ok_or_else(|| ParameterError::Value {
                    name: "rule",
                    value: value.chars().take(64).collect(),
                    expected: "majority, two-thirds or all",
                })?)
            }
            _ => return Err(ParameterError::Unknown(name.chars().take(64).collect())),
        };
        parameter.check()?;
        Ok(parameter)
    }

    /// Whether the value is within its bounds.
    ///
    /// # Errors
    /// [`ParameterError::Bounds`].
    pub fn check(&self) -> Result<(), ParameterError> {
        let (name, value, (least, most)) = match *self {
            Self::BlockMs(value) => ("blockMs", value, BLOCK_MS),
            Self::HeartbeatMs(value) => ("heartbeatMs", value, HEARTBEAT_MS),
            Self::ProposalBlocks(value) => ("proposalBlocks", value, PROPOSAL_BLOCKS),
            Self::Rule(_) => return Ok(()),
        };
        if (least..=most).contains(&value) {
            Ok(())
        } else {
            Err(ParameterError::Bounds { name, value, least, most })
        }
    }
}

/// All parameters. A consortium starts with those of its genesis document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Parameters {
    /// Least time between blocks, in milliseconds.
    pub block_ms: u64,
    /// Longest silence of an idle ledger, in milliseconds.
    pub heartbeat_ms: u64,
    /// Root-ledger blocks for which a proposal stays open.
    pub proposal_blocks: u64,
    /// How many of the members must agree.
    pub rule: Rule,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { block_ms: 100, heartbeat_ms: 60_000, proposal_blocks: 100_000, rule: Rule::default() }
    }
}

impl Parameters {
    /// Whether every value is within its bounds.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn check(&self) -> Result<(), ParameterError> {
        let all = [
            Parameter::BlockMs(self.block_ms),
            Parameter::HeartbeatMs(self.heartbeat_ms),
            Parameter::ProposalBlocks(self.proposal_blocks),
        ];
        all.iter().try_for_each(Parameter::check)?;
        let (block_ms, heartbeat_ms) = (self.block_ms, self.heartbeat_ms);
        if block_ms > heartbeat_ms {
            return Err(ParameterError::Order { block_ms, heartbeat_ms });
        }
        Ok(())
    }

    pub(crate) const fn set(&mut self, parameter: Parameter) {
        match parameter {
            Parameter::BlockMs(value) => self.block_ms = value,
            Parameter::HeartbeatMs(value) => self.heartbeat_ms = value,
            Parameter::ProposalBlocks(value) => self.proposal_blocks = value,
            Parameter::Rule(rule) => self.rule = rule,
        }
    }

    pub(crate) fn row(&self) -> Vec<u64> {
        vec![self.block_ms, self.heartbeat_ms, self.proposal_blocks, self.rule.number()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_the_least_that_is_enough() {
        for members in 1..=128 {
            for rule in [Rule::Majority, Rule::TwoThirds, Rule::All] {
                let needed = rule.needed(members);
                assert!(rule.is_met(needed, members), "{rule:?} {members}");
                assert!(!rule.is_met(needed - 1, members), "{rule:?} {members}");
            }
        }
        assert_eq!([Rule::Majority.needed(4), Rule::TwoThirds.needed(4), Rule::All.needed(4)], [3, 3, 4]);
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        let refused = |name, value| Parameter::parse(name, value).unwrap_err().to_string();
        assert!(refused("blockMs", "0").contains("blockMs can be 1 to 60000"));
        assert!(refused("rule", "dictator").contains("majority, two-thirds or all"));
        assert!(refused("colour", "red").contains("proposalBlocks"));
        let wrong = Parameters { block_ms: 5_000, heartbeat_ms: 1_000, ..Parameters::default() };
        assert!(matches!(wrong.check(), Err(ParameterError::Order { .. })));
    }
}
