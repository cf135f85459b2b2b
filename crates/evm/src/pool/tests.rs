//! The pool's counts against a count from scratch, under random operations.
#![allow(clippy::unwrap_used)]

use super::{Origin, Pool, PoolLimits, Selection, SenderAccount};
use crate::tx::{RecoveredTx, TxRules, with_sender};
use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, U256};
use proptest::prelude::*;
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, sync::Arc};

const RULES: TxRules = TxRules { chain_id: 1, set_code: true, dev: false };

fn tx(sender: u8, nonce: u64, fee: u128) -> Arc<RecoveredTx> {
    let tx = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: fee,
        to: Address::repeat_byte(sender).into(),
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
    Arc::new(with_sender(raw.into(), Address::repeat_byte(sender), &RULES).unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        sender: u8,
        nonce: u64,
        fee: u128,
        peer: bool,
    },
    /// The state's nonces move, up or (after a rewind) down.
    Advance {
        sender: u8,
        nonce: u64,
    },
    DropBest,
    Defer {
        sender: u8,
    },
    Wake,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4, 0u64..8, 1u128..40, any::<bool>())
            .prop_map(|(sender, nonce, fee, peer)| Step::Insert { sender, nonce, fee, peer }),
        2 => (0u8..4, 0u64..8).prop_map(|(sender, nonce)| Step::Advance { sender, nonce }),
        1 => Just(Step::DropBest),
        1 => (0u8..4).prop_map(|sender| Step::Defer { sender }),
        1 => Just(Step::Wake),
    ]
}

const BOUNDS: Selection = Selection { txs_max: 100, size_bytes_max: 1 << 20, gas_limit: 1 << 30 };

/// Places of the transactions that did not come from other members.
fn local(pool: &Pool) -> Vec<(Address, u64)> {
    let entries = pool.senders.values().flat_map(super::Queue::entries);
    entries
        .filter(|entry| entry.origin == Origin::Local)
        .map(|entry| (entry.tx.sender, entry.tx.tx.nonce()))
        .collect()
}

/// Pending transactions as their definition has it.
fn count(pool: &Pool, next: &BTreeMap<u8, u64>) -> usize {
    let content = pool.content();
    (0u8..4)
        .map(|sender| {
            let address = Address::repeat_byte(sender);
            let has = |nonce: u64| {
                [&content.pending, &content.queued]
                    .iter()
                    .any(|side| side.get(&address).is_some_and(|txs| txs.contains_key(&nonce)))
            };
            let first = next.get(&sender).copied().unwrap_or_default();
            (first..).take_while(|nonce| has(*nonce)).count()
        })
        .sum()
}

proptest! {
    #[test]
    fn counts_hold_and_selection_keeps_the_order_of_nonces(steps in proptest::collection::vec(step(), 0..80)) {
        let limits =
            PoolLimits { txs_max: 12, txs_per_sender_max: 6, peer_txs_max: 5, ..PoolLimits::default() };
        let mut pool = Pool::new(limits, 0);
        let mut next: BTreeMap<u8, u64> = BTreeMap::new();
        let mut deferred = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Insert { sender, nonce, fee, peer } => {
                    let account = SenderAccount {
                        nonce: next.get(&sender).copied().unwrap_or_default(),
                        balance: U256::MAX,
                    };
                    let origin = if peer { Origin::Peer } else { Origin::Local };
                    let new = tx(sender, nonce, fee);
                    let locals = local(&pool);
                    let _ = pool.insert(new, account, origin);
                    if peer {
                        let kept = local(&pool);
                        prop_assert!(
                            locals.iter().all(|place| kept.contains(place) || place.1 < account.nonce)
                        );
                    }
                }
                Step::Advance { sender, nonce } => {
                    next.insert(sender, nonce);
                    let mut nonces = FxHashMap::default();
                    nonces.insert(Address::repeat_byte(sender), nonce);
                    pool.advance(&nonces, 0);
                    deferred.clear();
                }
                Step::DropBest => {
                    if let Some(best) = pool.select(&BOUNDS).first() {
                        pool.drop_invalid(best, "test".to_owned());
                    }
                }
                Step::Defer { sender } => {
                    pool.defer(Address::repeat_byte(sender));
                    deferred.insert(Address::repeat_byte(sender));
                }
                Step::Wake => {
                    pool.wake_deferred();
                    deferred.clear();
                }
            }
            let status = pool.status();
            prop_assert_eq!(status.pending, count(&pool, &next));
            prop_assert!(status.pending + status.queued <= 12);
            let content = pool.content();
            let all: Vec<&Arc<RecoveredTx>> =
                content.pending.values().chain(content.queued.values()).flat_map(BTreeMap::values).collect();
            prop_assert_eq!(all.len(), status.pending + status.queued);
            prop_assert_eq!(all.iter().map(|tx| tx.raw.len()).sum::<usize>(), status.size_bytes);
            prop_assert!(all.iter().all(|tx| pool.contains(&tx.hash)));
            let from_peers = all.len() - local(&pool).len();
            prop_assert_eq!(pool.from_peers.0, from_peers);
            prop_assert!(from_peers <= 5);
            let mut seen: BTreeMap<Address, u64> = BTreeMap::new();
            for tx in pool.select(&BOUNDS) {
                prop_assert!(!deferred.contains(&tx.sender));
                let first = next.get(&tx.sender.0[0]).copied().unwrap_or_default();
                let expected = seen.get(&tx.sender).map_or(first, |last| last + 1);
                prop_assert_eq!(tx.tx.nonce(), expected);
                seen.insert(tx.sender, expected);
            }
        }
    }
}
