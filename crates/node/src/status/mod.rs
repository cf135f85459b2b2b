//! What a node says about itself: to `/status`, `/readyz`, `/metrics`, to `bletchley status` and to `bletchley top`.

mod board;
mod members;
mod observatory;
mod quorum;
mod report;
mod table;
mod wiring;

pub(crate) use board::{History, Line, Tone, board};
pub(crate) use members::{MemberView, Members};
pub use observatory::{LedgerSources, NodeSources, Observatory, Probed};
pub use quorum::{NoQuorum, QuorumWatch};
pub(crate) use report::grouped;
pub use report::{
    CallCounts, LedgerStatus, PeerStatus, PoolCounts, RecentFinality, StatusReport, SyncProgress,
    ValidatorStatus,
};
pub(crate) use wiring::sources;
