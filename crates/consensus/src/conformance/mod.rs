//! What every engine must do, whatever it is made of: one suite, run by each of them.
//!
//! A driver implements [`Cluster`] over its engine: members that start, crash and lose touch with each other, in
//! virtual time. [`Check::run`] plays one scenario on a fresh cluster with a ledger of numbers ([`Numbers`]) as
//! application, and says what went wrong. Nothing here knows a runtime: the functions are async only so that a driver
//! may let its simulation run while it waits.

mod checks;
mod numbers;
mod world;

pub use checks::Check;
pub use numbers::{Lie, Number, Numbers};

use crate::{Application, PeerId, Schedule};
use std::future::Future;
use std::sync::Arc;

/// How fast an engine under test shall be, in virtual milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Least time between blocks.
    pub pace_ms: u64,
    /// Longest time that an idle ledger goes without a block, when all is well; none for never.
    pub heartbeat_ms: Option<u64>,
    /// Time within which an engine must have got over whatever happened to it.
    pub settle_ms: u64,
}

/// A member as the suite wants it to run.
#[derive(Clone)]
pub struct Member {
    /// Its ledger.
    pub application: Arc<dyn Application>,
    /// Who agrees, as this member knows it.
    pub schedule: Arc<dyn Schedule>,
}

/// Members that run one engine, in virtual time. Members are called by their index.
pub trait Cluster {
    /// The members' names on the network; all of them may talk to each other.
    fn peers(&self) -> Vec<PeerId>;

    /// How fast the engine is set.
    fn timing(&self) -> Timing;

    /// Starts or restarts a member. What its engine kept durably is still there.
    fn start(&mut self, member: usize, parts: Member) -> impl Future<Output = ()>;

    /// Ends a member's engine at once, in whatever it was doing. Its durable writes survive, others need not.
    fn crash(&mut self, member: usize) -> impl Future<Output = ()>;

    /// Lets only members of the same group hear each other. A member in no group is alone.
    fn connect(&mut self, groups: &[Vec<usize>]) -> impl Future<Output = ()>;

    /// Tells a member's engine that transactions may be ready.
    fn wake(&mut self, member: usize) -> impl Future<Output = ()>;

    /// Lets virtual time pass.
    fn run_for(&mut self, ms: u64) -> impl Future<Output = ()>;
}

/// A check that an engine did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {problem}")]
pub struct Failure {
    /// Which check.
    pub check: Check,
    /// What was seen, and what should have been.
    pub problem: String,
}
