//! The application's calls, one after another and beside the network: executing a block may take a while.

use bletchley_consensus::{Application, ApplicationError, Proposal};
use bletchley_ledger::Block;
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};

/// What the application shall do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Build a block on the head.
    Propose { height: Height, round: u32, parent: BlockHash, time_ms: u64, allow_empty: bool },
    /// Execute another's block.
    Verify { height: Height, digest: B256, block: Block },
    /// Keep a block for ever; it is executed first when it has no hash yet.
    Keep { height: Height, hash: Option<BlockHash>, block: Block, seal: Bytes },
    /// Forget a block.
    Abandon(BlockHash),
}

/// What it did.
#[derive(Debug)]
pub(crate) enum Done {
    /// It built a block, or had nothing to build one from.
    Proposed { height: Height, round: u32, result: Result<Option<Proposal>, ApplicationError> },
    /// It executed a block, or refused it.
    Verified { height: Height, digest: B256, result: Result<Proposal, ApplicationError> },
    /// The block is kept.
    Kept { height: Height, result: Result<(), ApplicationError> },
}

pub(crate) fn work(application: &dyn Application, job: Job) -> Option<Done> {
    match job {
        Job::Propose { height, round, parent, time_ms, allow_empty } => {
            let result = application.propose(parent, TimestampMs(time_ms), allow_empty);
            Some(Done::Proposed { height, round, result })
        }
        Job::Verify { height, digest, block } => {
            Some(Done::Verified { height, digest, result: application.verify(block) })
        }
        Job::Keep { height, hash, block, seal } => {
            let executed = hash.map_or_else(|| application.verify(block).map(|proposal| proposal.hash), Ok);
            let result = executed.and_then(|hash| application.finalize(hash, seal));
            Some(Done::Kept { height, result })
        }
        Job::Abandon(hash) => {
            application.abandon(hash);
            None
        }
    }
}
