//! One sender's transactions, by nonce.

use alloy_primitives::{B256, U256};
use std::{collections::BTreeMap, sync::Arc};

use super::{Origin, SenderTxs, SubmitError};
use crate::tx::RecoveredTx;

/// Percentage of the old fees that a replacement must reach, as in geth.
const REPLACEMENT_PERCENT: u128 = 110;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) tx: Arc<RecoveredTx>,
    pub(super) cost: U256,
    pub(super) tip: u128,
    pub(super) arrival: u64,
    pub(super) origin: Origin,
}

impl Entry {
    pub(super) fn new(tx: Arc<RecoveredTx>, arrival: u64, origin: Origin) -> Self {
        Self { cost: tx.cost_max(), tip: tx.max_tip().min(tx.max_fee()), tx, arrival, origin }
    }
}

/// The last transaction of a sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) tip: u128,
    /// Whether it is behind a gap.
    pub(super) gapped: bool,
    pub(super) origin: Origin,
}

/// Transactions of one sender. Those from `next` on without a gap are pending.
#[derive(Debug)]
pub(super) struct Queue {
    next: u64,
    pending: usize,
    cost: U256,
    entries: BTreeMap<u64, Entry>,
}

impl Queue {
    pub(super) const fn new(next: u64) -> Self {
        Self { next, pending: 0, cost: U256::ZERO, entries: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) const fn pending(&self) -> usize {
        self.pending
    }

    /// First nonce after the pending transactions.
    pub(super) const fn next_free(&self) -> u64 {
        self.next.saturating_add(self.pending as u64)
    }

    /// The transaction that `entry` takes the place of, if it pays enough for that.
    pub(super) fn replaced_by(&self, entry: &Entry, nonce: u64) -> Result<Option<Entry>, SubmitError> {
        let Some(old) = self.entries.get(&nonce) else { return Ok(None) };
        let enough = |new: u128, old: u128| {
            new > old && new.saturating_mul(100) >= old.saturating_mul(REPLACEMENT_PERCENT)
        };
        if enough(entry.tx.max_fee(), old.tx.max_fee()) && enough(entry.tx.max_tip(), old.tx.max_tip()) {
            Ok(Some(old.clone()))
        } else {
            Err(SubmitError::ReplacementUnderpriced(old.tx.hash))
        }
    }

    /// What everything here could cost with `entry` in it.
    pub(super) fn cost_with(&self, entry: &Entry, replaced: Option<&Entry>) -> U256 {
        let old = replaced.map(|old| old.cost).unwrap_or_default();
        self.cost.saturating_sub(old).saturating_add(entry.cost)
    }

    /// Puts a transaction in; gives back the one that had its nonce.
    pub(super) fn insert(&mut self, nonce: u64, entry: Entry) -> Option<Entry> {
        self.cost = self.cost.saturating_add(entry.cost);
        let old = self.entries.insert(nonce, entry);
        if let Some(old) = &old {
            self.cost = self.cost.saturating_sub(old.cost);
        }
        self.extend();
        old
    }

    /// Counts on over transactions that are no longer behind a gap.
    fn extend(&mut self) {
        while self.entries.contains_key(&self.next_free()) {
            self.pending += 1;
        }
    }

    /// Removes the transaction with this nonce and hash; those after it are then behind a gap.
    pub(super) fn remove(&mut self, nonce: u64, hash: &B256) -> Option<Entry> {
        if self.entries.get(&nonce)?.tx.hash != *hash {
            return None;
        }
        let entry = self.entries.remove(&nonce)?;
        self.cost = self.cost.saturating_sub(entry.cost);
        if nonce < self.next_free() {
            self.pending = usize::try_from(nonce.saturating_sub(self.next)).unwrap_or(usize::MAX);
        }
        Some(entry)
    }

    pub(super) fn tail(&self) -> Option<Tail> {
        self.entries.last_key_value().map(|(nonce, entry)| Tail {
            tip: entry.tip,
            gapped: *nonce >= self.next_free(),
            origin: entry.origin,
        })
    }

    pub(super) fn pop_tail(&mut self) -> Option<Entry> {
        let (nonce, hash) = self.entries.last_key_value().map(|(nonce, entry)| (*nonce, entry.tx.hash))?;
        self.remove(nonce, &hash)
    }

    /// Moves on to the sender's nonce in the state; gives back what lies below it.
    pub(super) fn advance(&mut self, next: u64) -> Vec<Entry> {
        let mut gone = Vec::new();
        if next == self.next {
            return gone;
        }
        while let Some(first) = self.entries.first_entry() {
            if *first.key() >= next {
                break;
            }
            let entry = first.remove();
            self.cost = self.cost.saturating_sub(entry.cost);
            gone.push(entry);
        }
        // After a rewind the nonce lies lower, and what was pending is behind a gap again.
        let kept = if next > self.next { self.next_free().saturating_sub(next) } else { 0 };
        self.next = next;
        self.pending = usize::try_from(kept).unwrap_or_default();
        self.extend();
        gone
    }

    /// Pending transactions in order of nonce.
    pub(super) fn run(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.next..).map(|(_, entry)| entry).take(self.pending)
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn split(&self) -> (SenderTxs, SenderTxs) {
        let mut pending = SenderTxs::new();
        let mut queued = SenderTxs::new();
        for (nonce, entry) in &self.entries {
            let side = if *nonce < self.next_free() { &mut pending } else { &mut queued };
            side.insert(*nonce, entry.tx.clone());
        }
        (pending, queued)
    }
}
