//! What stood when: an answer for every block of the root ledger.

use crate::standing::SharedStanding;
use crate::{ActionError, Consortium, Genesis, Outcome, Record};
use bletchley_primitives::Height;

/// A consortium and everything that ever stood in it. A version is kept for each block that changed what stands, so that
/// its size goes with the number of accepted proposals, not with that of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsortiumHistory {
    now: Consortium,
    /// What stands from a block on, ascending; the first is that of genesis.
    versions: Vec<(Height, SharedStanding)>,
    head: Height,
}

impl ConsortiumHistory {
    /// The consortium at genesis.
    ///
    /// # Errors
    /// The rule that the genesis document breaks.
    pub fn new(genesis: &Genesis) -> Result<Self, ActionError> {
        let now = Consortium::new(genesis)?;
        let versions = vec![(Height(0), now.standing().clone())];
        Ok(Self { now, versions, head: Height(0) })
    }

    /// Takes in the next entry ([`Consortium::apply`]). Its block counts as read only with [`Self::advance`].
    pub fn apply(&mut self, record: &Record<'_>) -> Outcome {
        let outcome = self.now.apply(record);
        let standing = self.now.standing();
        match self.versions.last_mut() {
            Some((_, last)) if std::sync::Arc::ptr_eq(last, standing) => {}
            Some((since, last)) if *since == record.height => *last = standing.clone(),
            _ => self.versions.push((record.height, standing.clone())),
        }
        outcome
    }

    /// Every entry of the blocks up to this one was taken in.
    pub fn advance(&mut self, height: Height) {
        self.head = self.head.max(height);
        self.now.advance(height);
    }

    /// The newest block whose entries were taken in.
    #[must_use]
    pub const fn head(&self) -> Height {
        self.head
    }

    /// The consortium as it is.
    #[must_use]
    pub const fn now(&self) -> &Consortium {
        &self.now
    }

    /// What stood after the block at `height`; none for a block that was not read yet. An answer never changes.
    #[must_use]
    pub fn at(&self, height: Height) -> Option<SharedStanding> {
        if height > self.head {
            return None;
        }
        let known = self.versions.partition_point(|(since, _)| *since <= height);
        self.versions.get(known.checked_sub(1)?).map(|(_, standing)| standing.clone())
    }

    /// Blocks that changed what stands, oldest first; the first is genesis.
    pub fn changes(&self) -> impl Iterator<Item = Height> {
        self.versions.iter().map(|(height, _)| *height)
    }
}
