//! Executed blocks above the head, and the states that blocks on top of them run over.
//!
//! A block on the head runs over the state that readers see. One above it, which an engine asks for only while an earlier
//! block is not yet final, runs over a copy of that state with its ancestors' changes applied. A copy costs time and
//! memory in proportion to the whole state: it is made once for a chain, moves up with the chain's tip, and is dropped
//! with the next commit.

use crate::block::Delta;
use crate::limits::{ABOVE_STATES_MAX, PENDING_BLOCKS_MAX};
use crate::state::State;
use bletchley_primitives::{BlockHash, TxId};
use rustc_hash::FxHashSet;

/// Executed blocks that are not committed, oldest first.
#[derive(Default)]
pub(crate) struct Pending {
    blocks: Vec<(BlockHash, Delta)>,
    /// Copies of the state as of blocks above the head, the longest unused first.
    states: Vec<State>,
}

impl Pending {
    fn delta(&self, hash: BlockHash) -> Option<&Delta> {
        self.blocks.iter().find(|(other, _)| *other == hash).map(|(_, delta)| delta)
    }

    /// The blocks from `tip` downwards, as far as they hang together.
    fn chain(&self, tip: BlockHash) -> Vec<&Delta> {
        let mut chain = Vec::new();
        let mut at = tip;
        while let Some(delta) = self.delta(at) {
            chain.push(delta);
            at = delta.parent;
        }
        chain
    }

    /// The state after `tip`, a block above `head`, and the transactions of the blocks between; none if no chain of
    /// executed blocks leads from one to the other.
    pub(crate) fn base(&mut self, head: &State, tip: BlockHash) -> Option<(&State, FxHashSet<TxId>)> {
        let chain = self.chain(tip);
        if chain.last()?.parent != head.head.hash {
            return None;
        }
        let ids = chain.iter().flat_map(|delta| delta.transactions.iter().map(|tx| tx.id)).collect();
        let nearest = chain.iter().enumerate().find_map(|(missing, delta)| {
            let at = self.states.iter().position(|state| state.head.hash == delta.head.hash)?;
            Some((missing, at))
        });
        let (missing, at) = nearest.map_or((chain.len(), None), |(missing, at)| (missing, Some(at)));
        let above: Vec<Delta> = chain.into_iter().take(missing).rev().cloned().collect();
        let mut state = match at {
            Some(at) => self.states.remove(at),
            None => {
                if self.states.len() >= ABOVE_STATES_MAX {
                    self.states.remove(0);
                }
                head.clone()
            }
        };
        for mut delta in above {
            state.commit(&mut delta);
        }
        self.states.push(state);
        self.states.last().map(|state| (state, ids))
    }

    /// Keeps an executed block. The oldest goes for it, but none that it stands on.
    pub(crate) fn keep(&mut self, hash: BlockHash, delta: Delta) {
        self.blocks.retain(|(other, _)| *other != hash);
        if self.blocks.len() >= PENDING_BLOCKS_MAX {
            let below: Vec<BlockHash> =
                self.chain(delta.parent).iter().map(|below| below.head.hash).collect();
            let aside = self.blocks.iter().position(|(other, _)| !below.contains(other));
            self.blocks.remove(aside.unwrap_or(0));
        }
        self.blocks.push((hash, delta));
    }

    /// Takes a block on `head` out, and forgets all others.
    pub(crate) fn take_child(&mut self, head: BlockHash, hash: BlockHash) -> Option<Delta> {
        let at = self.blocks.iter().position(|(other, delta)| *other == hash && delta.parent == head)?;
        let (_, delta) = self.blocks.remove(at);
        self.blocks.clear();
        self.states.clear();
        Some(delta)
    }

    pub(crate) fn discard(&mut self, hash: BlockHash) {
        self.blocks.retain(|(other, _)| *other != hash);
        self.states.retain(|state| state.head.hash != hash);
    }
}
