//! Channels of the network and their bounds.

use bletchley_consensus::Protocol;
use commonware_runtime::Quota;
use std::num::NonZeroU32;

/// What a message is for. Each has its own queue and its own rate, by peer, so that none can starve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Votes of an engine.
    Votes,
    /// Certificates of an engine.
    Certificates,
    /// Certificates that an engine asks for.
    Resolver,
    /// Blocks that an engine asks for.
    Backfill,
    /// Proposed blocks.
    Blocks,
    /// Everything beside the engines.
    Beside(Protocol),
}

/// All of them, in the order of their numbers on the wire.
pub const CHANNELS: [Channel; 9] = [
    Channel::Votes,
    Channel::Certificates,
    Channel::Resolver,
    Channel::Backfill,
    Channel::Blocks,
    Channel::Beside(Protocol::Transactions),
    Channel::Beside(Protocol::Checkpoints),
    Channel::Beside(Protocol::Calls),
    Channel::Beside(Protocol::Sync),
];

impl Channel {
    /// Messages a second that one peer may send, and how many at once. Memory follows the burst: queues are
    /// allocated for a burst of every peer.
    const fn rates(self) -> (u32, u32) {
        match self {
            Self::Votes | Self::Certificates | Self::Resolver => (4096, 256),
            Self::Backfill | Self::Blocks => (1024, 64),
            Self::Beside(Protocol::Transactions | Protocol::Calls) => (2048, 128),
            Self::Beside(Protocol::Checkpoints) => (4096, 256),
            Self::Beside(Protocol::Sync) => (512, 32),
        }
    }

    /// The rate as the network enforces it.
    #[must_use]
    pub fn quota(self) -> Quota {
        let (rate, burst) = self.rates();
        let positive = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Quota::per_second(positive(rate)).allow_burst(positive(burst))
    }
}
