//! Where transactions come in beside this node's own clients: other members send what their clients sent them.
//!
//! What a local client submits is told to listeners once, so that it can be sent on; what another member sent is not told,
//! so that nothing goes round in circles.

use alloy_primitives::{B256, Bytes};
use bletchley_crypto::PublicKey;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::{collections::VecDeque, hash::Hasher as _};

use crate::{block::EvmBlock, body::BLOCK_TXS_MAX, tx::ClaimedTx};

/// Hashes of final transactions that are kept at hand: those of two full blocks at least.
const RECENT_TXS_MAX: usize = 2 * BLOCK_TXS_MAX;

/// Claims that are kept at hand, twice: those of a full block at least.
const CLAIMS_MAX: usize = BLOCK_TXS_MAX / 2;

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

/// Who is claimed to have signed transactions that members sent and that are not in the pool yet: a block that is quicker than
/// the mempool finds the claims here. Untrusted, so that a short hash of the bytes will do to find them by.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: FxHashMap<u64, PublicKey>,
    old: FxHashMap<u64, PublicKey>,
}

fn short_hash(raw: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(raw);
    hasher.finish()
}

impl Claims {
    pub(crate) fn note(&self, txs: &[ClaimedTx]) {
        let mut claims = self.0.lock();
        for (raw, key) in txs {
            let Some(key) = key else { continue };
            if claims.young.len() >= CLAIMS_MAX {
                claims.old = std::mem::take(&mut claims.young);
            }
            // The first claim stands: a liar who comes later changes nothing.
            claims.young.entry(short_hash(raw)).or_insert(*key);
        }
    }

    /// The same transactions with what is claimed of them.
    pub(crate) fn join(&self, raws: Vec<Bytes>) -> Vec<ClaimedTx> {
        let claims = self.0.lock();
        let find = |raw: &Bytes| {
            let hash = short_hash(raw);
            claims.young.get(&hash).or_else(|| claims.old.get(&hash)).copied()
        };
        raws.into_iter()
            .map(|raw| {
                let key = find(&raw);
                (raw, key)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_their_transactions_and_bounded() {
        let claims = Claims::default();
        let tx = |number: usize| Bytes::from(number.to_be_bytes().to_vec());
        let key = |byte| Some(PublicKey::from_bytes([byte; 64]));
        claims.note(&[(tx(0), key(1)), (tx(1), None), (tx(0), key(2))]);
        let found = claims.join(vec![tx(0), tx(1), tx(2)]);
        assert_eq!(found, [(tx(0), key(1)), (tx(1), None), (tx(2), None)]);
        for number in 10..10 + 2 * CLAIMS_MAX {
            claims.note(&[(tx(number), key(3))]);
        }
        assert_eq!(
            claims.join(vec![tx(0), tx(10 + CLAIMS_MAX)]),
            [(tx(0), None), (tx(10 + CLAIMS_MAX), key(3))]
        );
        let held = claims.0.lock();
        assert!(held.young.len() + held.old.len() <= 2 * CLAIMS_MAX);
    }
}
