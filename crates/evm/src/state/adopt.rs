//! Changes that came from elsewhere, to be checked by the root that they give.

use super::open::decode_changes;
use super::{BlockChanges, Flat, Staged, State};
use revm::primitives::KECCAK_EMPTY;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Changes that change something, and codes that are needed, in canonical form: what execution would leave, if the root is
/// right.
fn check(flat: &Flat, changes: &BlockChanges, diff: &[u8]) -> Result<(), &'static str> {
    let same_account = |change: &super::changes::AccountChange| flat.account(&change.address) == change.new;
    let slots = || changes.contracts.iter().flat_map(|contract| &contract.slots);
    if changes.accounts.iter().any(same_account) || slots().any(|slot| slot.old == slot.new) {
        return Err("a change that changes nothing");
    }
    let given: BTreeSet<_> = changes.codes.iter().map(|(hash, _)| *hash).collect();
    let new_accounts = changes.accounts.iter().filter_map(|change| change.new.as_ref());
    let named: BTreeSet<_> =
        new_accounts.map(|account| account.code_hash).filter(|hash| *hash != KECCAK_EMPTY).collect();
    if given.iter().any(|hash| flat.codes.contains(hash) || !named.contains(hash)) {
        return Err("a code that nobody needs");
    }
    if named.iter().any(|hash| !flat.codes.contains(hash) && !given.contains(hash)) {
        return Err("an account's code is missing");
    }
    if changes.diff()[..] != *diff {
        return Err("they are not in canonical form");
    }
    Ok(())
}

impl State {
    /// Stages the changes of a block that was executed elsewhere on this head. The caller compares the root with what it
    /// must be.
    ///
    /// # Errors
    /// Why no execution leaves such changes.
    pub(crate) fn stage_diff(&self, diff: &[u8]) -> Result<Staged, &'static str> {
        let visible = self.visible.read_recursive();
        let changes = decode_changes(&visible.flat, diff)?;
        check(&visible.flat, &changes, diff)?;
        let generation = visible.generation;
        drop(visible);
        let id = self.staged_count.fetch_add(1, Ordering::Relaxed);
        let mut tries = self.tries.lock();
        if tries.generation() != generation {
            return Err("the head moved meanwhile");
        }
        let root = tries.stage(id, &changes);
        drop(tries);
        Ok(Staged { id, generation, diff: changes.diff(), changes, overrides: None, root })
    }
}
