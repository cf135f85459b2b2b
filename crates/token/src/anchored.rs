//! Token ledgers of a consortium beside its root ledger: each block names the state of the root ledger that it was made in,
//! so that everybody agrees on who validates when.

use bletchley_ledger::{Anchor, ExecuteError, Extension, RecordError};
use bletchley_primitives::{Height, TimestampMs};
use std::sync::Arc;

/// Knows the final blocks of the root ledger.
pub trait RootBlocks: Send + Sync + 'static {
    /// The newest final block.
    fn newest(&self) -> Anchor;

    /// Whether this is one of them.
    fn is_final(&self, anchor: &Anchor) -> bool;
}

/// What the blocks of a ledger name of another one: nothing, on a ledger that stands for itself.
#[derive(Clone, Default)]
pub(crate) struct Anchoring(Option<Arc<dyn RootBlocks>>);

impl Anchoring {
    pub(crate) fn to(root: Arc<dyn RootBlocks>) -> Self {
        Self(Some(root))
    }

    /// What a block made now on one that names `parent` is to name; none while the root ledger here is behind the parent's.
    pub(crate) fn next(&self, parent: &Anchor) -> Option<Anchor> {
        let Some(root) = &self.0 else { return Some(Anchor::default()) };
        let newest = root.newest();
        if newest.follows(parent) {
            return Some(newest);
        }
        let (ours, parent) = (newest.height, parent.height);
        tracing::warn!(%ours, %parent, "the root ledger here is behind the parent's anchor: no block until it has caught up");
        None
    }

    /// The anchor in a block's extension, which holds that and the block's time and nothing else.
    pub(crate) fn read(&self, extension: &Extension, time_ms: TimestampMs) -> Option<Anchor> {
        let anchor = if self.0.is_some() { extension.record.anchor } else { Anchor::default() };
        (*extension == extension_of(anchor, time_ms)).then_some(anchor)
    }

    /// Whether a block at `height` may name `anchor` above a parent that names `parent`.
    ///
    /// # Errors
    /// [`ExecuteError::Record`].
    pub(crate) fn check(&self, height: Height, anchor: &Anchor, parent: &Anchor) -> Result<(), ExecuteError> {
        let Some(root) = &self.0 else { return Ok(()) };
        let source = if !root.is_final(anchor) {
            RecordError::Anchor { height: anchor.height }
        } else if !anchor.follows(parent) {
            RecordError::Backwards { height: anchor.height, parent: parent.height }
        } else {
            return Ok(());
        };
        Err(ExecuteError::Record { height, source })
    }
}

/// What a block carries beside its header and transactions.
pub(crate) fn extension_of(anchor: Anchor, time_ms: TimestampMs) -> Extension {
    let mut extension = Extension::at(time_ms);
    extension.record.anchor = anchor;
    extension
}
