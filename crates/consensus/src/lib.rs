//! The [`Engine`] seam, its rules and the solo engine; no network, no clock of its own.
//!
//! An engine decides *when* a block is made, *who* makes it and *when* it is final. It asks everything else of an
//! [`Application`] (one ledger of this node) and hears of the world through [`Signals`], so that the same engine runs
//! on a wall clock and under a seeded simulation.

pub mod conformance;
mod engine;
mod members;
mod payload;
mod solo;
mod transport;

pub use engine::{Application, ApplicationError, Engine, EngineError, Proposal, Signal, Signals};
pub use members::{FixedSchedule, Pace, PeerId, Schedule, Validator, Validators, epoch_of, last_of};
pub use payload::Payload;
pub use solo::{Action, Cadence, CadenceHandle, Solo, SoloSchedule};
pub use transport::{Nonsense, Post, Protocol, Receive, To};
