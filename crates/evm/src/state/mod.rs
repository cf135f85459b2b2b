//! What accounts hold: flat maps that execution reads, tries that give roots and proofs, and the old values that take
//! readers back in time; not the pending transactions, and not the disk.
//!
//! A block passes through in three steps. [`State::block_view`] is what it executes on; [`State::stage`] turns what
//! execution changed into a diff and a root that nobody sees yet; [`State::commit`] makes it the head (or
//! [`State::discard`] forgets it). Readers hold a [`StateView`] of one height: it keeps no lock, so that a slow read never
//! delays a block, and it keeps showing that height while blocks are committed.
//!
//! Invariants:
//! - flat maps and history stand behind one lock and change together, in [`State::commit`] and [`State::rewind`] alone;
//! - the tries show the head, or the head with one staged block on top that can be undone;
//! - locks are taken in one order: tries, then flat maps. [`BlockView`] holds the flat maps' lock, which is why `stage`
//!   consumes it, and why its holder must not call `commit`, `rewind` or `intervene` before dropping it.

mod account;
mod adopt;
mod changes;
mod flat;
mod history;
mod open;
mod overrides;
mod proof;
mod tries;
mod view;

#[cfg(test)]
mod tests;

pub use account::{Account, AllocAccount};
pub use history::{HistoryError, WINDOW_BLOCKS};
pub use open::{OpenError, Opened, StateOptions};
pub use overrides::{InterventionError, Override, Overrides};
pub use proof::{AccountProof, PROOF_CHANGES_MAX, ProofError, StorageProof};
pub use view::{BlockHashes, BlockView, StateError, StateView};

use bletchley_primitives::{B256, Bytes, Height};
use changes::BlockChanges;
use flat::Flat;
use history::{History, Record};
use parking_lot::{Mutex, RwLock};
use revm::state::EvmState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tries::Tries;

/// Why a block's changes were not staged. Nothing is changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The head moved after the view was taken.
    #[error("the head moved while the block was executed; execute it again on the new head")]
    Moved,
    /// Execution gave an account code that it does not carry.
    #[error("execution set code {0} without its bytes")]
    CodeMissing(B256),
}

/// Why a staged block was not committed. Nothing is changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another block was committed, or the state was rewound, after staging.
    #[error("the head moved after the block was staged; execute it again on the new head")]
    Moved,
    /// The height does not follow the head's.
    #[error("block {offered} cannot follow the state's head at {head}")]
    NotNext {
        /// Height of the state.
        head: Height,
        /// Height that was offered.
        offered: Height,
    },
}

/// A block's changes with their root, not yet visible.
pub struct Staged {
    id: u64,
    generation: u64,
    changes: BlockChanges,
    overrides: Option<Arc<Overrides>>,
    /// State root after the block.
    pub root: B256,
    /// The changes in canonical order ([`bletchley_ledger::DiffWriter`]).
    pub diff: Bytes,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged").field("root", &self.root).field("diff_bytes", &self.diff.len()).finish()
    }
}

/// What readers see, behind one lock.
pub(crate) struct Visible {
    flat: Flat,
    history: History,
    height: u64,
    /// Counts commits and rewinds.
    generation: u64,
    /// Counts rewinds, after which a view of a height may mean another block.
    rewinds: u64,
    pending: Option<Arc<Overrides>>,
}

/// The state of one EVM ledger.
pub struct State {
    tries: Mutex<Tries>,
    visible: Arc<RwLock<Visible>>,
    staged_count: AtomicU64,
}

impl State {
    /// Height of the head.
    #[must_use]
    pub fn height(&self) -> Height {
        Height(self.visible.read_recursive().height)
    }

    /// The oldest height that can be read.
    #[must_use]
    pub fn oldest(&self) -> Height {
        let visible = self.visible.read_recursive();
        Height(visible.history.oldest(visible.height))
    }

    /// The head, with `overrides` on top, for executing one block: reads take no lock, and no block is committed while it
    /// is held.
    #[must_use]
    pub fn block_view(&self, overrides: Option<Arc<Overrides>>) -> BlockView {
        BlockView::new(self.visible.read_arc_recursive(), overrides)
    }

    /// The head for a short read, without pending interventions.
    #[must_use]
    pub fn head_view(&self) -> BlockView {
        self.block_view(None)
    }

    /// The state as readers of "latest" see it: the head and, on a development ledger, the interventions that wait for
    /// the next block.
    #[must_use]
    pub fn latest(&self) -> StateView {
        let visible = self.visible.read_recursive();
        StateView::new(Arc::clone(&self.visible), visible.height, visible.rewinds, visible.pending.clone())
    }

    /// The state after the block at `height`.
    ///
    /// # Errors
    /// [`HistoryError`] when that is above the head, or older than what is kept.
    pub fn view_at(&self, height: Height) -> Result<StateView, HistoryError> {
        let visible = self.visible.read_recursive();
        visible.history.reaches(visible.height, height.0)?;
        Ok(StateView::new(Arc::clone(&self.visible), height.0, visible.rewinds, None))
    }

    /// Turns what execution on `view` changed (the final state of one journal over the whole block) into a diff and a
    /// root. Nothing becomes visible. Several blocks can be staged on one head.
    ///
    /// # Errors
    /// [`StageError`]; nothing is changed then.
    pub fn stage(&self, view: BlockView, changes: EvmState) -> Result<Staged, StageError> {
        let (visible, overrides) = view.into_parts();
        let generation = visible.generation;
        let changes = BlockChanges::of_block(&visible.flat, overrides.as_deref(), changes)?;
        drop(visible);
        let diff = changes.diff();
        let id = self.staged_count.fetch_add(1, Ordering::Relaxed);
        let mut tries = self.tries.lock();
        if tries.generation() != generation {
            return Err(StageError::Moved);
        }
        let root = tries.stage(id, &changes);
        drop(tries);
        Ok(Staged { id, generation, changes, overrides, root, diff })
    }

    /// Makes a staged block the head, at `height`.
    ///
    /// # Errors
    /// [`CommitError`]; nothing is changed then.
    pub fn commit(&self, staged: Staged, height: Height) -> Result<(), CommitError> {
        let mut tries = self.tries.lock();
        if tries.generation() != staged.generation {
            return Err(CommitError::Moved);
        }
        let head = Height(self.visible.read_recursive().height);
        if head.next() != height {
            return Err(CommitError::NotNext { head, offered: height });
        }
        tries.keep(staged.id, &staged.changes);
        let mut visible = self.visible.write();
        let record = visible.flat.apply(staged.changes);
        visible.push(height.0, record);
        visible.drop_folded(staged.overrides.as_deref());
        drop(visible);
        drop(tries);
        Ok(())
    }

    /// Forgets a staged block.
    pub fn discard(&self, staged: Staged) {
        self.tries.lock().discard(staged.id);
    }

    /// The head's root.
    #[must_use]
    pub fn root(&self) -> B256 {
        let mut tries = self.tries.lock();
        tries.settle();
        tries.root()
    }

    /// Goes back to the state after `height`, and to the interventions that waited then; development ledgers only.
    ///
    /// # Errors
    /// [`HistoryError`] when that height is above the head or older than what is kept; nothing is changed then.
    pub fn rewind(&self, height: Height, pending: Option<Arc<Overrides>>) -> Result<(), HistoryError> {
        let mut tries = self.tries.lock();
        tries.settle();
        let mut visible = self.visible.write();
        let head = visible.height;
        visible.history.reaches(head, height.0)?;
        while visible.height > height.0 {
            let Some(record) = visible.history.pop() else { break };
            let undone = visible.flat.undo(&record);
            tries.apply(&undone);
            visible.height -= 1;
        }
        visible.generation += 1;
        visible.rewinds += 1;
        visible.pending = pending;
        tries.moved();
        Ok(())
    }
}

impl Visible {
    fn push(&mut self, height: u64, record: Record) {
        self.height = height;
        self.generation += 1;
        self.history.push(height, record);
    }
}
