//! Installed filters: what each has reported already. Bounded in number; one that nobody asks for is removed.

use crate::error::RpcError;
use crate::limits::{FILTER_AGE_MS_MAX, FILTER_HASHES_MAX, FILTERS_MAX};
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::Filter;
use bletchley_primitives::Height;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a filter looks for, and how far it has reported.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Blocks { next: Height },
    Logs { filter: Box<Filter>, next: Height },
    Transactions { hashes: Vec<B256>, overflowed: bool },
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    used: Instant,
}

/// Work that a poll has to do with the ledger, outside the lock.
#[derive(Debug)]
pub(crate) enum Poll {
    Blocks { from: Height, to: Height },
    Logs { filter: Box<Filter>, from: Height, to: Height },
    Transactions(Vec<B256>),
}

#[derive(Debug, Default)]
pub(crate) struct Filters {
    entries: Mutex<HashMap<u64, Entry>>,
    transaction_filters: AtomicUsize,
    counter: AtomicU64,
    seed: RandomState,
}

impl Filters {
    /// Installs a filter and gives its identifier, which nobody can guess.
    pub(crate) fn install(&self, kind: Kind, now: Instant) -> Result<U256, RpcError> {
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| !is_aged(entry.used, now));
        if entries.len() >= FILTERS_MAX {
            self.recount(&entries);
            return Err(RpcError::limit(format!(
                "limit exceeded: {FILTERS_MAX} filters are installed; uninstall one, or let one age"
            )));
        }
        let mut id = self.seed.hash_one(self.counter.fetch_add(1, Ordering::Relaxed));
        while id == 0 || entries.contains_key(&id) {
            id = self.seed.hash_one((id, self.counter.fetch_add(1, Ordering::Relaxed)));
        }
        entries.insert(id, Entry { kind, used: now });
        self.recount(&entries);
        Ok(U256::from(id))
    }

    /// Removes a filter; whether there was one.
    pub(crate) fn uninstall(&self, id: U256) -> bool {
        let Ok(id) = u64::try_from(id) else { return false };
        let mut entries = self.entries.lock();
        let removed = entries.remove(&id).is_some();
        self.recount(&entries);
        removed
    }

    /// What is new since the last poll, up to `head`; `blocks_max` bounds a block filter's step.
    pub(crate) fn poll(
        &self,
        id: U256,
        head: Height,
        blocks_max: u64,
        now: Instant,
    ) -> Result<Poll, RpcError> {
        let mut entries = self.entries.lock();
        let id = u64::try_from(id).map_err(|_| RpcError::filter_not_found())?;
        let entry = entries.get_mut(&id).filter(|entry| !is_aged(entry.used, now));
        let Some(entry) = entry else {
            entries.remove(&id);
            self.recount(&entries);
            return Err(RpcError::filter_not_found());
        };
        entry.used = now;
        match &mut entry.kind {
            Kind::Blocks { next } => {
                let from = *next;
                let to = Height(head.0.min(from.0.saturating_add(blocks_max.saturating_sub(1))));
                *next = from.max(to.next());
                Ok(Poll::Blocks { from, to })
            }
            Kind::Logs { filter, next } => {
                let from = *next;
                *next = from.max(head.next());
                Ok(Poll::Logs { filter: filter.clone(), from, to: head })
            }
            Kind::Transactions { hashes, overflowed: false } => {
                Ok(Poll::Transactions(std::mem::take(hashes)))
            }
            Kind::Transactions { .. } => {
                entries.remove(&id);
                self.recount(&entries);
                Err(RpcError::limit(format!(
                    "limit exceeded: more than {FILTER_HASHES_MAX} transactions since the last poll; the filter is \
                     gone, install it again and poll more often"
                )))
            }
        }
    }

    /// Gives a failed poll of a log filter back, so that nothing is lost.
    pub(crate) fn put_back(&self, id: U256, from: Height) {
        let Ok(id) = u64::try_from(id) else { return };
        if let Some(Entry { kind: Kind::Logs { next, .. }, .. }) = self.entries.lock().get_mut(&id) {
            *next = from.min(*next);
        }
    }

    /// The criteria of a log filter.
    pub(crate) fn log_criteria(&self, id: U256, now: Instant) -> Result<Box<Filter>, RpcError> {
        let id = u64::try_from(id).map_err(|_| RpcError::filter_not_found())?;
        match self.entries.lock().get_mut(&id) {
            Some(entry) if !is_aged(entry.used, now) => {
                entry.used = now;
                match &entry.kind {
                    Kind::Logs { filter, .. } => Ok(filter.clone()),
                    _ => Err(RpcError::server("filter not found: this one is not a log filter")),
                }
            }
            _ => Err(RpcError::filter_not_found()),
        }
    }

    /// Whether any filter wants to hear of pooled transactions.
    pub(crate) fn watch_transactions(&self) -> bool {
        self.transaction_filters.load(Ordering::Relaxed) > 0
    }

    /// A transaction entered the pool.
    pub(crate) fn pooled(&self, hash: B256, now: Instant) {
        let mut entries = self.entries.lock();
        let before = entries.len();
        entries.retain(|_, entry| !is_aged(entry.used, now));
        if entries.len() != before {
            self.recount(&entries);
        }
        for entry in entries.values_mut() {
            match &mut entry.kind {
                Kind::Transactions { hashes, overflowed } if hashes.len() >= FILTER_HASHES_MAX => {
                    *hashes = Vec::new();
                    *overflowed = true;
                }
                Kind::Transactions { hashes, overflowed: false } => hashes.push(hash),
                _ => {}
            }
        }
    }

    /// The chain went back to `to`: what comes after it is new again.
    pub(crate) fn rewound(&self, to: Height) {
        for entry in self.entries.lock().values_mut() {
            if let Kind::Blocks { next } | Kind::Logs { next, .. } = &mut entry.kind {
                *next = to.next().min(*next);
            }
        }
    }

    fn recount(&self, entries: &HashMap<u64, Entry>) {
        let count = entries.values().filter(|entry| matches!(entry.kind, Kind::Transactions { .. })).count();
        self.transaction_filters.store(count, Ordering::Relaxed);
    }
}

fn is_aged(used: Instant, now: Instant) -> bool {
    now.saturating_duration_since(used) > Duration::from_millis(FILTER_AGE_MS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn blocks(filters: &Filters, id: U256, head: u64, now: Instant) -> (u64, u64) {
        match filters.poll(id, Height(head), 100, now) {
            Ok(Poll::Blocks { from, to }) => (from.0, to.0),
            other => panic!("a block filter gives blocks, not {other:?}"),
        }
    }

    #[test]
    fn reports_each_block_once_in_bounded_steps() {
        let filters = Filters::default();
        let now = Instant::now();
        let id = filters.install(Kind::Blocks { next: Height(5) }, now).unwrap();
        assert_eq!(blocks(&filters, id, 4, now), (5, 4));
        assert_eq!(blocks(&filters, id, 7, now), (5, 7));
        assert_eq!(blocks(&filters, id, 7, now), (8, 7));
        assert_eq!(blocks(&filters, id, 500, now), (8, 107));
        filters.rewound(Height(90));
        assert_eq!(blocks(&filters, id, 92, now), (91, 92));
        assert!(filters.uninstall(id) && !filters.uninstall(id));
        assert_eq!(filters.poll(id, Height(9), 1, now).unwrap_err(), RpcError::filter_not_found());
    }

    #[test]
    fn ages_and_is_bounded() {
        let filters = Filters::default();
        let start = Instant::now();
        let late = start + Duration::from_millis(FILTER_AGE_MS_MAX + 1);
        let id = filters.install(Kind::Blocks { next: Height(0) }, start).unwrap();
        assert!(filters.poll(id, Height(0), 1, late).is_err());
        for _ in 0..FILTERS_MAX {
            filters.install(Kind::Blocks { next: Height(0) }, start).unwrap();
        }
        assert_eq!(filters.install(Kind::Blocks { next: Height(0) }, start).unwrap_err().code, -32005);
        assert!(filters.install(Kind::Blocks { next: Height(0) }, late).is_ok());
    }

    #[test]
    fn a_flood_of_transactions_ends_the_filter_not_the_memory() {
        let filters = Filters::default();
        let now = Instant::now();
        assert!(!filters.watch_transactions());
        let kind = Kind::Transactions { hashes: Vec::new(), overflowed: false };
        let id = filters.install(kind, now).unwrap();
        assert!(filters.watch_transactions());
        filters.pooled(B256::repeat_byte(1), now);
        assert!(
            matches!(filters.poll(id, Height(0), 1, now), Ok(Poll::Transactions(hashes)) if hashes.len() == 1)
        );
        for _ in 0..=FILTER_HASHES_MAX {
            filters.pooled(B256::ZERO, now);
        }
        assert_eq!(filters.poll(id, Height(0), 1, now).unwrap_err().code, -32005);
        assert!(!filters.watch_transactions());
    }
}
