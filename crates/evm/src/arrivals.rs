//! Where transactions come in beside this node's own clients: other members send what their clients sent them.
//!
//! What a local client submits is told to listeners once, so that it can be sent on; what another member sent is not told,
//! so that nothing goes round in circles.

use alloy_primitives::B256;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

use crate::{block::EvmBlock, body::BLOCK_TXS_MAX, tx::ClaimedTx};

/// Hashes of final transactions that are kept at hand: those of two full blocks at least.
const RECENT_TXS_MAX: usize = 2 * BLOCK_TXS_MAX;

/// Hears of the canonical bytes of transactions that entered the pool from this node's clients, and of who signed them.
pub(crate) type LocalListener = Box<dyn Fn(&[ClaimedTx]) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Listeners(RwLock<Vec<LocalListener>>);

impl Listeners {
    pub(crate) fn add(&self, listener: LocalListener) {
        self.0.write().push(listener);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    pub(crate) fn tell(&self, raws: &[ClaimedTx]) {
        self.0.read().iter().for_each(|listener| listener(raws));
    }
}

/// Transactions of the last blocks, so that one which arrives after its block costs no recovery.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Hashes>);

#[derive(Default)]
struct Hashes {
    set: FxHashSet<B256>,
    /// By block, the oldest first.
    blocks: VecDeque<Box<[B256]>>,
}

impl Recent {
    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.0.lock().set.contains(hash)
    }

    pub(crate) fn put(&self, block: &EvmBlock) {
        if block.transactions.is_empty() {
            return;
        }
        let hashes: Box<[B256]> = block.transactions.iter().map(|tx| tx.hash).collect();
        let mut recent = self.0.lock();
        recent.set.extend(hashes.iter().copied());
        recent.blocks.push_back(hashes);
        while recent.set.len() > RECENT_TXS_MAX {
            let Some(oldest) = recent.blocks.pop_front() else { break };
            for hash in &oldest {
                recent.set.remove(hash);
            }
        }
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = Hashes::default();
    }
}
