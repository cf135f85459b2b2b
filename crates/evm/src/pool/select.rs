//! Which transactions enter the next block, and in which order: the best tip first, then the earliest; each sender's in
//! order of nonce.

use alloy_primitives::Address;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use super::Pool;
use crate::tx::RecoveredTx;

/// Bounds of what one block is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    pub(crate) txs_max: usize,
    pub(crate) size_bytes_max: usize,
    /// Least gas that any transaction takes, and the gas of a block: no more than their quotient can fit.
    pub(crate) gas_limit: u64,
}

/// Least gas of any transaction (Ethereum yellow paper, G_transaction).
const TX_GAS_MIN: u64 = 21_000;

impl Pool {
    /// Candidates for the next block, best first. Transactions stay in the pool until a block holds them.
    pub(crate) fn select(&self, bounds: &Selection) -> Vec<Arc<RecoveredTx>> {
        let base_fee = self.base_fee();
        let mut runs = Vec::with_capacity(self.senders.len());
        let mut heap: BinaryHeap<(u128, Reverse<u64>, Address, usize)> = self
            .senders
            .iter()
            .filter(|(sender, _)| !self.deferred.contains(*sender))
            .filter_map(|(sender, queue)| {
                let mut run = queue.run();
                let first = run.next()?;
                let key = (first.tx.tip(base_fee)?, Reverse(first.arrival), *sender, runs.len());
                runs.push((first, run));
                Some(key)
            })
            .collect();
        let fit = usize::try_from(bounds.gas_limit / TX_GAS_MIN).unwrap_or(usize::MAX);
        let txs_max = bounds.txs_max.min(fit.max(1));
        let mut selected = Vec::with_capacity(txs_max.min(self.pending));
        let mut size_bytes = 0usize;
        while let Some(mut top) = heap.peek_mut() {
            if selected.len() >= txs_max {
                break;
            }
            let (_, _, sender, index) = *top;
            let Some((entry, run)) = runs.get_mut(index) else { break };
            size_bytes += entry.tx.raw.len();
            if size_bytes > bounds.size_bytes_max && !selected.is_empty() {
                break;
            }
            selected.push(entry.tx.clone());
            let next = run.next().and_then(|next| Some((next.tx.tip(base_fee)?, next)));
            match next {
                Some((tip, next)) => {
                    *top = (tip, Reverse(next.arrival), sender, index);
                    *entry = next;
                }
                None => {
                    std::collections::binary_heap::PeekMut::pop(top);
                }
            }
        }
        selected
    }
}
