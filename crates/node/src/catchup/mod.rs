//! Joining and coming back: a member that is behind gets the blocks that it misses out of the others' ledgers before its
//! engine starts, checks every one of them, and only then takes part.
//!
//! What is believed: the validators of epoch 0. A proof of finality leads from them to the newest certified block, headers
//! lead back from certified blocks to the own head, and every block must be what its header says: it is executed, or its
//! results are taken over where the header commits to them. Nothing that does not hold is ever appended, so that a crash at
//! any instant leaves a shorter ledger, not a wrong one.

mod abstain;
mod chain;
mod client;
mod desk;
mod doubts;
mod exchange;
mod fetch;
mod peers;
mod server;
mod taker;
mod waiting;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use client::{Subject, Times, catch_up};
pub(crate) use desk::Desk;
pub(crate) use exchange::Serving;
pub(crate) use server::{Certified, Server};
pub(crate) use taker::SealHolds;
pub(crate) use waiting::Door;
pub(crate) use watch::Watch;

/// Blocks that a member may be behind without more ado: its engine fetches them.
pub(crate) const GAP_BLOCKS: u64 = 8;
