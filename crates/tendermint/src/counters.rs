//! What an engine counts: rounds that were lost, and messages that were refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not decode, or is longer than any message of its kind.
    Malformed,
    /// It is of a height or round that is over, or too far ahead.
    Stale,
    /// Its sender has no vote at this height, or speaks for another.
    Stranger,
    /// A signature or certificate does not hold.
    Signature,
    /// It was not asked for, or there is too much of it.
    Surplus,
}

/// Counters of one engine; read by whoever shows metrics.
#[derive(Debug, Default)]
pub struct Counters {
    refused: [AtomicU64; 5],
    round: AtomicU64,
    rounds_lost: AtomicU64,
    caught_up: AtomicU64,
    equivocations: AtomicU64,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Malformed, Self::Stale, Self::Stranger, Self::Signature, Self::Surplus];

    /// Name as metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::Stranger => "stranger",
            Self::Signature => "signature",
            Self::Surplus => "surplus",
        }
    }
}

impl Counters {
    /// Messages that were refused for this reason.
    #[must_use]
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The round that the engine is in, from 0 at every height.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// Rounds that ended without a decision.
    #[must_use]
    pub fn rounds_lost(&self) -> u64 {
        self.rounds_lost.load(Ordering::Relaxed)
    }

    /// Blocks that came from others with their certificate, because this member was behind.
    #[must_use]
    pub fn caught_up(&self) -> u64 {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Times that a validator was seen to vote or propose twice.
    #[must_use]
    pub fn equivocations(&self) -> u64 {
        self.equivocations.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn enter(&self, round: u64) {
        self.round.store(round, Ordering::Relaxed);
    }

    pub(crate) fn lose_round(&self) {
        self.rounds_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn catch_up(&self) {
        self.caught_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn equivocate(&self, times: u64) {
        self.equivocations.fetch_add(times, Ordering::Relaxed);
    }
}
