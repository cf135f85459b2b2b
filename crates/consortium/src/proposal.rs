//! A proposal and its ballots.

use crate::{Action, Standing};
use bletchley_primitives::{B256, Height};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a proposal stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// It takes ballots.
    Open,
    /// Enough members agreed, and its actions have happened.
    Accepted,
    /// Enough members agreed, but as things stood by then its actions broke a rule; none of them has happened.
    Failed {
        /// The rule.
        reason: String,
    },
    /// So many members said no that it could no longer be accepted.
    Rejected,
    /// Its author took it back.
    Withdrawn,
    /// Its time was over.
    Expired,
}

impl Status {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Failed { .. } => "failed",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// Something that a member wants decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// Its number, in the order of the ledger.
    pub number: u64,
    /// Its digest, which ballots name.
    pub digest: B256,
    /// Name of the member that made it.
    pub author: String,
    /// What it does, all or nothing.
    pub actions: Vec<Action>,
    /// Why, in words.
    pub note: String,
    /// Root-ledger block that it was made in.
    pub proposed_at: Height,
    /// Last root-ledger block whose ballots count.
    pub expires_at: Height,
    /// The newest ballot of each voter, for or against; voters that have left since are not counted.
    pub ballots: BTreeMap<String, bool>,
    /// Where it stands.
    #[serde(flatten)]
    pub status: Status,
    /// Root-ledger block that closed it.
    pub closed_at: Option<Height>,
}

/// Ballots, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Members for it.
    pub yes: usize,
    /// Members against it.
    pub no: usize,
    /// All members.
    pub members: usize,
}

impl Proposal {
    /// The ballots of those who are members as things stand.
    #[must_use]
    pub fn tally(&self, standing: &Standing) -> Tally {
        let mut tally = Tally { yes: 0, no: 0, members: 0 };
        for member in standing.active() {
            tally.members = tally.members.saturating_add(1);
            match self.ballots.get(&member.name) {
                Some(true) => tally.yes = tally.yes.saturating_add(1),
                Some(false) => tally.no = tally.no.saturating_add(1),
                None => {}
            }
        }
        tally
    }
}
