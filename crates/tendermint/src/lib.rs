//! Byzantine agreement by Tendermint's rules (Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", 2018), as
//! malachite implements them; network, log and timers are here.
//!
//! What is voted on is the digest of a payload; payloads travel beside the votes. The rules ([`core`](self)) and the
//! member around them are plain functions of messages, timers and the application's answers; [`stack`] gives them
//! sockets, files and a clock, or a simulation's.
//!
//! - A member logs what it says before it says it, and replays its log after a crash: it never signs two different
//!   votes for one height, round and step.
//! - Beside every final block stand the votes that made it final, so that whoever has the block can prove it to a
//!   member that fell behind.
//! - On an idle ledger the proposer waits for work until the heartbeat; the others' patience begins when they have
//!   work themselves, or when the heartbeat is due. A transaction that only some members know, or that can never enter
//!   a block, can cost a round of empty votes, never progress.
#![allow(
    clippy::result_large_err,
    reason = "malachite's errors, whose size is not ours to choose; they are rare"
)]

mod backfill;
mod codec;
mod context;
mod core;
mod counters;
mod engine;
mod hearing;
mod message;
mod settings;
mod signing;
pub mod stack;
mod station;
mod timers;
mod wal;
mod worker;

pub use counters::{Counters, Refusal};
pub use engine::Tendermint;
pub use message::{decodes, examples, seal_decodes, seal_holds};
pub use settings::Settings;

/// Name in the genesis document.
pub const NAME: &str = "tendermint";
