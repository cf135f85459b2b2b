//! Who agrees: validators by epoch, and the names that members have on the network.

use bletchley_ledger::ValidatorSet;
use bletchley_primitives::{Address, B256, Height};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A member's node on the network: its ed25519 public key (RFC 8032), which the handshake proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub B256);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One member's vote in the agreement on blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The member's name in the consortium, for people.
    pub name: String,
    /// Its node.
    pub peer: PeerId,
    /// Whose signature counts under a checkpoint.
    pub address: Address,
}

/// The validators of an epoch, in ascending order of [`PeerId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators(Vec<Validator>);

impl Validators {
    /// The validators of an epoch; order does not matter, a peer that comes twice counts once.
    #[must_use]
    pub fn new(validators: impl IntoIterator<Item = Validator>) -> Self {
        let mut all: Vec<Validator> = validators.into_iter().collect();
        all.sort_by_key(|validator| validator.peer);
        all.dedup_by_key(|validator| validator.peer);
        Self(all)
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Validator] {
        &self.0
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, peer: PeerId) -> Option<&Validator> {
        self.0.binary_search_by_key(&peer, |validator| validator.peer).ok().and_then(|at| self.0.get(at))
    }

    /// What checkpoints call this set by.
    #[must_use]
    pub fn checkpoint_set(&self) -> ValidatorSet {
        ValidatorSet::new(self.0.iter().map(|validator| validator.address))
    }
}

/// How fast blocks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time between two blocks.
    pub block: Duration,
    /// Longest silence of an idle ledger.
    pub heartbeat: Duration,
}

/// Which validators stand for which heights of one ledger. A set holds for a whole epoch: `epoch_blocks` heights, of
/// which the first epoch begins with block 1 (so that epoch `e` ends with block `(e + 1) * epoch_blocks`).
///
/// Invariants: every member answers the same for an epoch; an answer never changes; once the last block of epoch
/// `e - 1` is final here, `validators(e)` is known.
pub trait Schedule: Send + Sync + 'static {
    /// Blocks in an epoch, at least 1; fixed in the ledger's genesis.
    fn epoch_blocks(&self) -> u64;

    /// The validators of an epoch; none while the epoch before it has not ended here.
    fn validators(&self, epoch: u64) -> Option<Arc<Validators>>;

    /// How fast blocks come, where votes change that while an engine runs; none where the engine's own settings hold for
    /// ever. Engines ask at each block.
    fn pace(&self) -> Option<Pace> {
        None
    }

    /// Whether a later set than the newest decided one waits for the end of the epoch: engines then do not let an
    /// idle ledger wait.
    fn change_pending(&self) -> bool;
}

/// Epoch of a height. Genesis counts to epoch 0.
#[must_use]
pub const fn epoch_of(height: Height, epoch_blocks: u64) -> u64 {
    height.0.saturating_sub(1) / epoch_blocks
}

/// Last height of an epoch.
#[must_use]
pub const fn last_of(epoch: u64, epoch_blocks: u64) -> Height {
    Height(epoch.saturating_add(1).saturating_mul(epoch_blocks))
}

/// One set for ever: ledgers of a single member, and tests.
#[derive(Clone, Debug)]
pub struct FixedSchedule {
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// The set.
    pub validators: Arc<Validators>,
}

impl Schedule for FixedSchedule {
    fn epoch_blocks(&self) -> u64 {
        self.epoch_blocks
    }

    fn validators(&self, _epoch: u64) -> Option<Arc<Validators>> {
        Some(self.validators.clone())
    }

    fn change_pending(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_with_its_last_block() {
        let of = |height| epoch_of(Height(height), 10);
        assert_eq!([of(0), of(1), of(10), of(11), of(20), of(21)], [0, 0, 0, 1, 1, 2]);
        assert_eq!((last_of(0, 10), last_of(1, 10)), (Height(10), Height(20)));
    }
}
