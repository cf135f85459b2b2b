//! The seam between whoever orders blocks and whoever executes and keeps them.

use crate::PeerId;
use bletchley_ledger::{Block, ExecuteError, Head, ProposeError, RecordError};
use bletchley_primitives::{BlockHash, Bytes, Height, TimestampMs};
use std::sync::Arc;

/// A block that was executed on the head and waits for the engine's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height of the block.
    pub height: Height,
    /// Its hash: what engines agree on.
    pub hash: BlockHash,
    /// The block, to be sent to others.
    pub block: Block,
    /// Its time: engines refuse blocks from the future.
    pub time_ms: TimestampMs,
    /// How many transactions it holds.
    pub transactions: u32,
}

/// Why an application could not do what an engine asked.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// No block could be built.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// A block was refused.
    #[error(transparent)]
    Verify(#[from] ExecuteError),
    /// A final block could not be kept. The ledger stops: going on would acknowledge what a crash would lose.
    #[error("block {height} is final but could not be kept: {problem}")]
    Keep {
        /// Height of the block.
        height: Height,
        /// What went wrong, and what to do.
        problem: String,
    },
}

impl ApplicationError {
    /// Whether the block may hold later: it stands on something that this member does not have yet.
    #[must_use]
    pub const fn is_early(&self) -> bool {
        matches!(
            self,
            Self::Verify(
                ExecuteError::NotOnHead { .. }
                    | ExecuteError::Record { source: RecordError::Anchor { .. }, .. }
            )
        )
    }
}

/// One ledger, as its engine sees it.
///
/// Invariants, checked by [`crate::conformance`]: `propose` and `verify` change nothing that a reader sees; `finalize`
/// returns only when the block is durable and visible, and is called for each height in order. What one member's
/// `propose` returned, every honest member's `verify` accepts once it has the same head.
pub trait Application: Send + Sync + 'static {
    /// The newest final block.
    fn head(&self) -> Head;

    /// How many transactions could enter a block now.
    fn ready(&self) -> usize;

    /// Builds a block on `parent`: the head, or a block above it that was executed here and is not final yet (then
    /// the new block is empty). `None` when there is nothing to put into one and empty blocks are not asked for.
    ///
    /// # Errors
    /// [`ApplicationError::Propose`].
    fn propose(
        &self,
        parent: BlockHash,
        time_ms: TimestampMs,
        allow_empty: bool,
    ) -> Result<Option<Proposal>, ApplicationError>;

    /// Executes another member's block on its parent, which is the head or was executed here before.
    ///
    /// # Errors
    /// [`ApplicationError::Verify`] when it does not hold; nothing is changed then. Some are for now only:
    /// [`ApplicationError::is_early`].
    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError>;

    /// Hears that a block which this member refused was proposed by `proposer`, as the engine knows it. Nobody is told by default.
    fn refused(&self, height: Height, proposer: PeerId, error: &ApplicationError) {
        let _ = (height, proposer, error);
    }

    /// Keeps an executed block for ever and makes it visible. `seal` is what the engine wants to find beside it after
    /// a restart ([`Application::seal`]).
    ///
    /// # Errors
    /// [`ApplicationError::Keep`]; the engine must stop.
    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError>;

    /// What the engine left beside a final block; empty for genesis, none above the head.
    fn seal(&self, height: Height) -> Option<Bytes>;

    /// A final block, for members that fell behind; none above the head.
    fn block(&self, height: Height) -> Option<Block>;

    /// Forgets an executed block that lost.
    fn abandon(&self, hash: BlockHash);
}

/// What wakes an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Transactions may be ready, or the cadence changed.
    Work,
    /// The deadline that was waited for has come.
    Deadline,
    /// Blocks were asked for by hand (development ledgers).
    Mine {
        /// How many.
        blocks: u32,
    },
    /// The node is stopping.
    Stop,
}

/// Clock and wake-ups, given by the node or by a simulation.
pub trait Signals: Send + Sync + 'static {
    /// The ledger's time now. Development ledgers may shift it.
    fn now_ms(&self) -> TimestampMs;

    /// Blocks until something happens, or until `deadline_ms` of [`Signals::now_ms`] when there is one.
    fn wait(&self, deadline_ms: Option<TimestampMs>) -> Signal;

    /// Called after asked-for blocks are final, so that the asker may be answered.
    fn mined(&self, blocks: u32);

    /// Calls `wake` whenever transactions may be ready, for engines that do not block a thread in [`Signals::wait`].
    fn on_wake(&self, wake: Box<dyn Fn() + Send + Sync>);
}

/// Why an engine stopped before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the {engine} engine stopped at height {height}: {source}")]
pub struct EngineError {
    /// Name of the engine.
    pub engine: &'static str,
    /// Height it was working on.
    pub height: Height,
    /// Why.
    pub source: ApplicationError,
}

/// Orders the blocks of one ledger until it is stopped. Chosen by name in the ledger's genesis document.
pub trait Engine: Send {
    /// Name in the genesis document.
    fn name(&self) -> &'static str;

    /// Runs on the caller's thread until [`Signal::Stop`].
    ///
    /// # Errors
    /// [`EngineError`] when the application can no longer keep blocks.
    fn run(
        self: Box<Self>,
        application: Arc<dyn Application>,
        signals: Arc<dyn Signals>,
    ) -> Result<(), EngineError>;
}
