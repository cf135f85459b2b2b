//! The Machine seam: execute a block over the state, give state root and receipts.

use crate::{Block, Executed, RecordError};
use bletchley_primitives::{Address, B256, BlockHash, Bytes, DecodeError, Height, TimestampMs};
use std::any::Any;

/// The newest committed block of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Its state commitment.
    pub state_root: B256,
    /// Its time.
    pub time_ms: TimestampMs,
}

/// What a proposer knows when it builds a block.
#[derive(Clone, Copy, Debug)]
pub struct ProposeContext {
    /// The block to build on: the head, or an executed block above it. On the latter the new block is empty, because
    /// the mempool knows nothing of what was executed and is not final.
    pub parent: BlockHash,
    /// Time of the block; never before its parent's.
    pub time_ms: TimestampMs,
    /// Who builds it.
    pub proposer: Address,
    /// Whether a block without transactions is wanted (heartbeat, `evm_mine`).
    pub allow_empty: bool,
}

/// A decoded block whose signatures were checked, independent of any state.
#[derive(Debug)]
pub struct Prepared(pub Box<dyn Any + Send>);

/// Why no block was built.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The machine failed in a way that no input should cause; the ledger stops rather than guess.
    #[error("building block {height}: {problem}")]
    Internal {
        /// Height of the block.
        height: Height,
        /// What went wrong.
        problem: String,
    },
}

/// Why a block was refused. State is as before.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A part of the block does not decode.
    #[error("the block's {part}: {source}")]
    Decode {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The block continues neither the machine's head nor a block executed above it.
    #[error("block {height} names parent {parent}, which is not executed here; the head is {head}")]
    NotOnHead {
        /// Height of the block.
        height: Height,
        /// Parent it names.
        parent: BlockHash,
        /// The machine's head.
        head: BlockHash,
    },
    /// A transaction cannot stand in this block.
    #[error("transaction {position} of block {height}: {problem}")]
    Transaction {
        /// Height of the block.
        height: Height,
        /// Position of the transaction.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A header field differs from what execution gives.
    #[error("block {height}: {field} is {found} in the header, but execution gives {expected}")]
    Mismatch {
        /// Height of the block.
        height: Height,
        /// Name of the field.
        field: &'static str,
        /// Value in the header.
        found: String,
        /// Value from execution.
        expected: String,
    },
    /// The delegation record is wrong.
    #[error("delegation record of block {height}: {source}")]
    Record {
        /// Height of the block.
        height: Height,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The machine failed in a way that no input should cause.
    #[error("executing block {height}: {problem}")]
    Internal {
        /// Height of the block.
        height: Height,
        /// What went wrong.
        problem: String,
    },
}

/// Why an executed block did not become the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No block with this hash was executed, or it was discarded.
    #[error("block {0} was not executed here")]
    Unknown(BlockHash),
}

/// Runs transactions. A machine has one committed head, and may hold executed blocks above it.
///
/// Invariants, checked by the conformance suite of each machine:
/// - `propose` and `execute` change nothing that a reader can see; `commit` makes exactly one executed block visible;
/// - what `propose` returns, `execute` accepts on any machine with the same head, with equal results to the byte;
/// - a refused block leaves no trace.
pub trait Machine: Send + Sync {
    /// Name as it stands in the genesis document: `evm`, `utxo`.
    fn name(&self) -> &'static str;

    /// The newest committed block.
    fn head(&self) -> Head;

    /// How many transactions could enter a block now.
    fn ready(&self) -> usize;

    /// Builds the block after `context.parent` out of the mempool; `None` when there is nothing to put into one.
    ///
    /// # Errors
    /// [`ProposeError`].
    fn propose(&self, context: &ProposeContext) -> Result<Option<Executed>, ProposeError>;

    /// Decodes a block and recovers its signers: everything that needs no state, on any thread.
    ///
    /// # Errors
    /// [`ExecuteError`].
    fn prepare(&self, block: Block) -> Result<Prepared, ExecuteError>;

    /// Executes a prepared block on its parent, answering delegated calls from its record alone. The parent is the head
    /// or an executed block above it. `commit` forgets every other executed block: those above the committed one are
    /// executed once more before they are committed in turn.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing is changed then.
    fn execute(&self, prepared: Prepared) -> Result<Executed, ExecuteError>;

    /// Whether blocks can be taken over with their results ([`Machine::adopt`]).
    fn adopts(&self) -> bool {
        false
    }

    /// Decodes a final block with its results, and checks against its header whatever that commits to and needs no state,
    /// on any thread. The header is believed: a quorum certified it, or a block above it. What stands beside the results
    /// and no header commits to is found again, unless it is `vouched` for: enough members keep the same.
    ///
    /// # Errors
    /// [`ExecuteError`].
    fn inspect(
        &self,
        block: Block,
        receipts: Bytes,
        diff: Bytes,
        vouched: bool,
    ) -> Result<Prepared, ExecuteError> {
        let _ = (receipts, diff, vouched);
        self.prepare(block)
    }

    /// Takes an inspected block over on the head without running it: its state changes must give the state that its header
    /// commits to. It is held as an executed one is, for [`Machine::commit`].
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing is changed then.
    fn adopt(&self, inspected: Prepared) -> Result<Executed, ExecuteError> {
        self.execute(inspected)
    }

    /// Makes an executed block the head.
    ///
    /// # Errors
    /// [`CommitError`].
    fn commit(&self, hash: BlockHash) -> Result<(), CommitError>;

    /// Forgets an executed block that will not be committed.
    fn discard(&self, hash: BlockHash);
}
