//! The Delegate seam: answer a call out of a contract, from a host while building, from the record ever after.

use crate::{Anchor, Call, DelegationRecord, PROTOCOL_VERSION_FIRST, SignedReceipt};
use bletchley_primitives::{BlockHash, Height, LedgerId, TimestampMs};
use std::sync::Arc;

/// The block that a call stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ledger.
    pub ledger: LedgerId,
    /// Height of the block.
    pub height: Height,
    /// Hash of the block before it.
    pub parent: BlockHash,
    /// Time of the block.
    pub time_ms: TimestampMs,
}

/// What a fabric says to a call while a block is being built.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The receipt, valid at this place. It may record a failure.
    Ready(Arc<SignedReceipt>),
    /// The call is running; the transaction waits for a later block.
    Pending,
}

/// Why a live call (one that leaves no record) gave no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call's own bounds are broken.
    #[error("{0}")]
    Bounds(String),
    /// Hosts did not answer in time.
    #[error("no host answered within {0} ms")]
    Timeout(u64),
    /// This node runs no fabric.
    #[error("this node has no cryptlet fabric; start it with one to call cryptlets")]
    NoFabric,
}

/// Why a delegation record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The registry state that it refers to is not known or not final.
    #[error("it refers to registry block {height}, which is not a final block of the registry ledger here")]
    Anchor {
        /// Height it refers to.
        height: Height,
    },
    /// The registry state that it refers to does not come after the one of the block's parent.
    #[error(
        "it refers to registry block {height}, which does not come after block {parent} that the block's parent names"
    )]
    Backwards {
        /// Height it refers to.
        height: Height,
        /// Height that the parent refers to.
        parent: Height,
    },
    /// It refers to a registry where there is none.
    #[error("it refers to registry block {height}, but this node has no registry for this ledger")]
    NoRegistry {
        /// Height it refers to.
        height: Height,
    },
    /// A receipt does not hold.
    #[error("receipt {index} ({cryptlet}.{method}): {problem}")]
    Receipt {
        /// Position in the record.
        index: usize,
        /// Cryptlet as the call named it.
        cryptlet: String,
        /// Method.
        method: String,
        /// Which check failed.
        problem: String,
    },
    /// Execution asked for a call that the record does not have at this point.
    #[error("execution makes call {call} at this point, the record holds {found}")]
    Order {
        /// The call that execution made.
        call: String,
        /// What the record holds there.
        found: String,
    },
    /// The record holds receipts that execution never asked for.
    #[error("{0} receipts of the record are never used")]
    Surplus(usize),
    /// More receipts than a block may hold.
    #[error("{count} receipts, a block holds at most {count_max}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
}

/// Answers calls out of contracts.
///
/// Invariants: `poll` never blocks and never calls out on the caller's thread; `check` never calls out at all, so that
/// verifying and replaying need no host; an answer that `poll` gave passes `check` at the same place.
pub trait Delegate: Send + Sync + 'static {
    /// The receipt for a call of a transaction that is being put into a block; starts the call when it is unknown.
    fn poll(&self, call: &Call, place: &Place) -> Answer;

    /// Runs a call for a reader (`eth_call`, estimates, traces of new transactions) and waits within its budget.
    ///
    /// # Errors
    /// [`Refusal`].
    fn run(&self, call: &Call, place: &Place) -> Result<SignedReceipt, Refusal>;

    /// The registry state that a block built now refers to; the default where there is no registry. Called once for each
    /// block, before the block's first `poll`.
    fn anchor(&self) -> Anchor;

    /// Checks a record: its anchor, also when there are no receipts, and every receipt: registered, allowed, digests, host's
    /// key and evidence, signatures, window. An anchor that is not known yet is [`RecordError::Anchor`].
    ///
    /// # Errors
    /// [`RecordError`], for receipts naming the first that does not hold.
    fn check(&self, record: &DelegationRecord, place: &Place) -> Result<(), RecordError>;

    /// Protocol version of a block that names this anchor; the first one where nobody votes on it.
    fn protocol_version(&self, _anchor: &Anchor) -> u32 {
        PROTOCOL_VERSION_FIRST
    }
}

/// A delegate for ledgers without a fabric: every call is refused, and a record names no registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDelegate;

impl Delegate for NoDelegate {
    fn poll(&self, call: &Call, place: &Place) -> Answer {
        Answer::Ready(Arc::new(SignedReceipt::refused(call, place, "this ledger has no cryptlet fabric")))
    }

    fn run(&self, _call: &Call, _place: &Place) -> Result<SignedReceipt, Refusal> {
        Err(Refusal::NoFabric)
    }

    fn anchor(&self) -> Anchor {
        Anchor::default()
    }

    fn check(&self, record: &DelegationRecord, _place: &Place) -> Result<(), RecordError> {
        if record.anchor != Anchor::default() {
            return Err(RecordError::NoRegistry { height: record.anchor.height });
        }
        match record.receipts.iter().enumerate().find(|(_, r)| !r.is_refusal()) {
            None => Ok(()),
            Some((index, receipt)) => Err(RecordError::Receipt {
                index,
                cryptlet: receipt.receipt.cryptlet.to_string(),
                method: receipt.receipt.method.clone(),
                problem: "this ledger has no cryptlet fabric that could have answered".to_owned(),
            }),
        }
    }
}
