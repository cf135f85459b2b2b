//! The consortium as interfaces show it.

use crate::proposal::{Proposal, Tally};
use crate::{ConsortiumHistory, LedgerRecord, MemberRecord, Parameters, Refusal, Refused, Upgrade};
use bletchley_primitives::{B256, Height};
use serde::{Deserialize, Serialize};

/// A proposal, with its ballots counted as things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalReport {
    /// The proposal.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// What it does, in words.
    pub summary: Vec<String>,
    /// Its ballots.
    pub tally: Tally,
    /// How many members must agree.
    pub needed: usize,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Root-ledger block up to which it was read.
    pub height: Height,
    /// Digest of what stands.
    pub digest: B256,
    /// Protocol version of the next block.
    pub protocol_version: u32,
    /// All members there ever were, by name.
    pub members: Vec<MemberRecord>,
    /// What they set.
    pub parameters: Parameters,
    /// Their ledgers, by name.
    pub ledgers: Vec<LedgerRecord>,
    /// Upgrades that were agreed on, oldest first.
    pub upgrades: Vec<Upgrade>,
    /// Open proposals, oldest first.
    pub open: Vec<ProposalReport>,
    /// The newest closed proposals, oldest first.
    pub closed: Vec<ProposalReport>,
    /// The newest entries that changed nothing, oldest first.
    pub refused: Vec<Refused>,
}

impl Report {
    /// The consortium as it is.
    #[must_use]
    pub fn of(history: &ConsortiumHistory) -> Self {
        let now = history.now();
        let standing = now.standing();
        let members = standing.active().count();
        let needed = standing.parameters().rule.needed(members);
        let show = |proposal: &Proposal| ProposalReport {
            summary: proposal.actions.iter().map(ToString::to_string).collect(),
            tally: proposal.tally(standing),
            proposal: proposal.clone(),
            needed,
        };
        Self {
            height: history.head(),
            digest: standing.digest(),
            protocol_version: standing.protocol_version(history.head().next()),
            members: standing.records().cloned().collect(),
            parameters: *standing.parameters(),
            ledgers: standing.ledgers().cloned().collect(),
            upgrades: standing.upgrades().to_vec(),
            open: now.open().map(show).collect(),
            closed: now.closed().map(show).collect(),
            refused: now.refused().cloned().collect(),
        }
    }
}

/// What interfaces ask a running consortium.
pub trait ConsortiumView: Send + Sync + 'static {
    /// All of it, as it is.
    fn report(&self) -> Report;

    /// Whether a transaction of the root ledger, in its canonical bytes, carries an entry that the fold would pass over.
    /// What is no transaction, or says nothing to the consortium, is fine here.
    ///
    /// # Errors
    /// [`Refusal`]: what the fold would say.
    fn admits_transaction(&self, raw: &[u8]) -> Result<(), Refusal>;
}
