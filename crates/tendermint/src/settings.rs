//! Times and sizes of the agreement.

use std::time::Duration;

/// How a ledger's engine behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Least time between two blocks.
    pub pace: Duration,
    /// Longest silence of an idle ledger: the proposer then proposes an empty block.
    pub heartbeat: Duration,
    /// How long others wait for a proposal, once there is something to propose: counted from when they have a
    /// transaction themselves, or from when the heartbeat is due.
    pub propose: Duration,
    /// How long they wait for more prevotes once two thirds have voted differently.
    pub prevote: Duration,
    /// The same for precommits.
    pub precommit: Duration,
    /// By how much each of these grows with every round.
    pub step: Duration,
    /// Their upper bound.
    pub longest: Duration,
    /// How often votes are sent again while a round does not end.
    pub rebroadcast: Duration,
    /// How often a member says how far it is.
    pub status: Duration,
    /// How long a member that is one block behind waits before it asks for it: the votes may be on their way.
    pub patience: Duration,
    /// How long an answer may take before another member is asked.
    pub answer: Duration,
    /// How far in the future a block's time may lie.
    pub drift: Duration,
    /// The last epoch in which this member only follows: it may have voted there before its data was lost.
    pub abstains_through: Option<u64>,
}

impl Settings {
    /// How soon a block that could not be verified yet is tried again.
    pub const EARLY_RETRY: Duration = Duration::from_millis(20);
    /// How soon a proposer looks again at transactions that could not enter a block.
    pub const BARREN_RETRY: Duration = Duration::from_millis(250);

    /// Settings for a pace and a heartbeat.
    #[must_use]
    pub const fn new(pace: Duration, heartbeat: Duration) -> Self {
        Self {
            pace,
            heartbeat,
            propose: Duration::from_millis(1_500),
            prevote: Duration::from_millis(400),
            precommit: Duration::from_millis(400),
            step: Duration::from_millis(250),
            longest: Duration::from_secs(10),
            rebroadcast: Duration::from_millis(800),
            status: Duration::from_millis(1_000),
            patience: Duration::from_millis(250),
            answer: Duration::from_millis(1_000),
            drift: Duration::from_secs(5),
            abstains_through: None,
        }
    }
}
