//! Times and sizes of the agreement.

use bletchley_consensus::Pace;
use std::time::Duration;

/// How a ledger's engine behaves. The times must be in the order that [`Settings::new`] gives them: heartbeat, leader,
/// certification, skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Least time between two blocks.
    pub pace: Duration,
    /// Longest silence of an idle ledger: the leader then proposes an empty block.
    pub heartbeat: Duration,
    /// How long others wait for a leader's proposal.
    pub leader_timeout: Duration,
    /// How long they wait for a proposal to be certified.
    pub certification_timeout: Duration,
    /// How often a view that does not end is voted away once more.
    pub retry: Duration,
    /// Silence after which a leader is passed over at once.
    pub skip_after: Duration,
    /// How long a member waits for a notarised parent to become final before it builds on it as it is.
    pub patience: Duration,
    /// How far in the future a block's time may lie.
    pub drift: Duration,
    /// Threads that check signatures.
    pub threads: usize,
    /// The last epoch in which this member only follows: it may have voted there before its data was lost.
    pub abstains_through: Option<u64>,
}

impl Settings {
    /// The same with another pace and heartbeat, and the times that follow from them.
    #[must_use]
    pub fn at(self, pace: Option<Pace>) -> Self {
        let Some(Pace { block, heartbeat }) = pace else { return self };
        let Self { retry, patience, drift, threads, .. } = self;
        Self { retry, patience, drift, threads, ..Self::new(block, heartbeat) }
    }

    /// What leaders need beyond the heartbeat to get a proposal across.
    const LEADER_MARGIN: Duration = Duration::from_millis(750);
    /// What certification needs beyond that: executing a full block on a busy machine.
    const CERTIFICATION_MARGIN: Duration = Duration::from_millis(1500);
    /// What skipping needs beyond that.
    const SKIP_MARGIN: Duration = Duration::from_millis(1000);

    /// Settings for a pace and a heartbeat.
    #[must_use]
    pub fn new(pace: Duration, heartbeat: Duration) -> Self {
        let leader_timeout = heartbeat + Self::LEADER_MARGIN;
        let certification_timeout = leader_timeout + Self::CERTIFICATION_MARGIN;
        Self {
            pace,
            heartbeat,
            leader_timeout,
            certification_timeout,
            retry: Duration::from_millis(1000),
            skip_after: certification_timeout + Self::SKIP_MARGIN,
            patience: Duration::from_millis(150),
            drift: Duration::from_secs(5),
            threads: 1,
            abstains_through: None,
        }
    }
}
