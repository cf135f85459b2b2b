//! The mempool: gaps, replacement, bounds, refusals in geth's words, what leaves it and why.

use crate::world::*;
use alloy_primitives::{Address, Bytes, U256};
use bletchley_evm::{EvmLedger, NoObserver, Observer, PoolLimits, RecoveredTx, SubmitError};
use bletchley_ledger::{Machine, NoDelegate};
use bletchley_storage::MemoryStore;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

fn limited(limits: PoolLimits) -> World {
    let store: bletchley_ledger::SharedStore = Arc::new(MemoryStore::new());
    let ledger =
        EvmLedger::with_limits(genesis(), store.clone(), Arc::new(NoDelegate), Arc::new(NoObserver), limits)
            .unwrap();
    World { ledger, store }
}

#[test]
fn transactions_behind_a_gap_wait_for_it_to_close() {
    let world = World::new(genesis());
    for nonce in [2, 3, 1] {
        world.send(&Tx::transfer(key(1).address(), 1, nonce), 0);
    }
    let status = world.ledger.pool_status();
    assert_eq!((status.pending, status.queued), (0, 3));
    assert_eq!(world.ledger.machine().ready(), 0);
    assert!(world.mine().is_none());
    assert_eq!(world.ledger.pool_nonce(&key(0).address()), 0);
    world.send(&Tx::transfer(key(1).address(), 1, 0), 0);
    assert_eq!(world.ledger.pool_nonce(&key(0).address()), 4);
    assert_eq!(world.ledger.machine().ready(), 4);
    assert_eq!(world.mine().unwrap().transactions, 4);
    let status = world.ledger.pool_status();
    assert_eq!((status.pending, status.queued, status.size_bytes), (0, 0, 0));
}

#[test]
fn a_replacement_pays_a_tenth_more_on_both_fees() {
    let world = World::new(genesis());
    let tx = |fee: u128, tip: u128| Tx { fee, tip, ..Tx::transfer(key(1).address(), 1, 0) };
    let first = world.send(&tx(1000, 100), 0);
    for (fee, tip) in [(1000, 110), (1100, 100), (1099, 110), (1100, 109)] {
        let refused = world.ledger.submit(tx(fee, tip).sign(0));
        assert_eq!(refused, Err(SubmitError::ReplacementUnderpriced(first)));
    }
    let second = world.send(&tx(1100, 110), 0);
    assert!(world.ledger.transaction(first).unwrap().is_none());
    assert!(world.ledger.transaction(second).unwrap().is_some());
    assert_eq!(world.ledger.pool_status().pending, 1);
    assert_eq!(world.ledger.pool_dropped()[0].hash, first);
    assert_eq!(world.mine().unwrap().transactions, 1);
}

#[test]
fn refusals_have_the_words_that_tools_look_for() {
    let world = World::new(genesis_with_fees());
    let to = Address::repeat_byte(1);
    let base = Tx::to(to, 0);
    let refused = |tx: Tx, from: u8| world.ledger.submit(tx.sign(from)).unwrap_err().to_string();
    world.send(&base, 0);
    world.mine().unwrap();
    let cases = [
        (refused(base.clone(), 0), "nonce too low"),
        (
            refused(Tx { value: ether(1000), nonce: 1, ..base.clone() }, 0),
            "insufficient funds for gas * price + value",
        ),
        (refused(Tx { gas: 20_000, ..base.clone() }, 1), "intrinsic gas too low"),
        (refused(Tx { gas: 600_000_000, ..base.clone() }, 1), "exceeds block gas limit"),
        (refused(Tx { gas: 17_000_000, ..base.clone() }, 1), "transaction gas limit too high"),
        (refused(Tx { fee: 1000, ..base.clone() }, 1), "max fee per gas less than block base fee"),
        (
            refused(Tx { fee: 2 * GWEI, tip: 3 * GWEI, ..base.clone() }, 1),
            "max priority fee per gas higher than max fee per gas",
        ),
        (refused(Tx { chain_id: Some(1), ..base.clone() }, 1), "invalid chain id"),
        (refused(Tx { kind: 4, ..base.clone() }, 1), "empty auth list"),
        (refused(Tx::create(vec![0u8; 49_153].into(), 0), 1), "max initcode size exceeded"),
        (refused(Tx { input: vec![1u8; 2000].into(), gas: 60_000, ..base.clone() }, 1), "floor data gas"),
    ];
    for (found, wanted) in cases {
        assert!(found.contains(wanted), "{found} should say: {wanted}");
    }
    let raw = Tx { nonce: 1, ..base }.sign(0);
    world.ledger.submit(raw.clone()).unwrap();
    assert_eq!(world.ledger.submit(raw), Err(SubmitError::AlreadyKnown));
    assert_eq!(world.ledger.pool_status().pending, 1);
}

#[test]
fn everything_of_a_sender_must_be_paid_for() {
    let world = World::new(genesis());
    let half = Tx { value: ether(60), ..Tx::to(Address::repeat_byte(1), 0) };
    world.send(&half, 0);
    let more = world.ledger.submit(Tx { nonce: 1, ..half.clone() }.sign(0)).unwrap_err();
    assert!(matches!(more, SubmitError::InsufficientFunds { .. }), "{more}");
    world.send(&Tx { nonce: 1, value: ether(30), ..half }, 0);
}

#[test]
fn a_batch_has_one_outcome_each_in_order() {
    let world = World::new(genesis());
    let mut raws: Vec<Bytes> =
        (0..50).map(|nonce| Tx::transfer(key(1).address(), 1, nonce).sign(2)).collect();
    raws.insert(10, Bytes::from_static(&[1, 2, 3]));
    raws.insert(20, raws[0].clone());
    let outcomes = world.ledger.submit_batch(&raws);
    assert_eq!(outcomes.len(), 52);
    for (i, outcome) in outcomes.iter().enumerate() {
        match i {
            10 => assert!(matches!(outcome, Err(SubmitError::Decode(_)))),
            20 => assert_eq!(*outcome, Err(SubmitError::AlreadyKnown)),
            _ => assert!(outcome.is_ok(), "{outcome:?}"),
        }
    }
    assert_eq!(world.mine().unwrap().transactions, 50);
}

#[test]
fn the_best_tip_goes_first_then_the_earliest_and_nonces_keep_their_order() {
    let world = World::new(genesis());
    let tx = |nonce, tip| Tx { tip, ..Tx::transfer(key(9).address(), 1, nonce) };
    world.send(&tx(0, 5), 0);
    world.send(&tx(0, 9), 1);
    world.send(&tx(1, 100), 0);
    world.send(&tx(0, 5), 2);
    world.mine().unwrap();
    let block = world.ledger.block(world.ledger.head().height).unwrap().unwrap();
    let senders: Vec<Address> = block.transactions.iter().map(|tx| tx.sender).collect();
    let expected: Vec<Address> = [1, 0, 0, 2].into_iter().map(|n| key(n).address()).collect();
    assert_eq!(senders, expected);
}

#[test]
fn bounds_hold_and_a_full_pool_keeps_what_pays_more() {
    let limits = PoolLimits { txs_max: 5, txs_per_sender_max: 3, ..PoolLimits::default() };
    let world = limited(limits);
    let tx = |nonce, tip| Tx { tip, ..Tx::transfer(key(9).address(), 1, nonce) };
    for nonce in 0..3 {
        world.send(&tx(nonce, 10), 0);
    }
    let full = world.ledger.submit(tx(3, 10).sign(0)).unwrap_err();
    assert!(matches!(full, SubmitError::SenderFull { limit: 3, .. }), "{full}");
    world.send(&tx(0, 10), 1);
    world.send(&tx(0, 10), 2);
    let full = world.ledger.submit(tx(0, 10).sign(3)).unwrap_err();
    assert_eq!(full, SubmitError::PoolFull(5));
    world.send(&tx(0, 11), 3);
    assert_eq!(world.ledger.pool_status().pending, 5);
    assert!(world.ledger.pool_dropped()[0].reason.contains("full"));

    let picky = limited(PoolLimits { tip_min: 3, ..PoolLimits::default() });
    let refused = picky.ledger.submit(tx(0, 2).sign(0)).unwrap_err().to_string();
    assert!(refused.contains("underpriced"), "{refused}");
}

/// The first transaction empties the account, so that the second, though admitted, can no longer pay.
#[test]
fn what_became_invalid_is_dropped_with_the_reason() {
    use op::*;
    let world = World::new(genesis());
    // Key 4 delegates to code that sends everything it has to whoever calls.
    let code = deployer(&[PUSH0, PUSH0, PUSH0, PUSH0, 0x47, CALLER, GAS, 0xf1]);
    let drain = world.run(&Tx::create(code, 0), 0).contract.unwrap();
    let tx = Tx { kind: 4, authorizations: vec![authorize(&key(4), drain, 0)], ..Tx::to(TOKEN, 1) };
    world.run(&tx, 0);
    let victim = world.send(&Tx { value: ether(1), tip: 1, ..Tx::to(Address::repeat_byte(1), 1) }, 4);
    world.send(&Tx { tip: 1000, ..Tx::to(key(4).address(), 2) }, 0);
    let executed = world.mine().unwrap();
    assert_eq!(executed.transactions, 1);
    let dropped = world.ledger.pool_dropped();
    assert_eq!(dropped[0].hash, victim);
    assert!(dropped[0].reason.contains("fund"), "{}", dropped[0].reason);
    assert_eq!(world.ledger.pool_status(), Default::default());
}

#[test]
fn contents_are_listed_by_sender_and_nonce() {
    let world = World::new(genesis());
    world.send(&Tx::transfer(key(1).address(), 1, 0), 0);
    world.send(&Tx::transfer(key(1).address(), 1, 5), 0);
    let content = world.ledger.pool_content();
    assert_eq!(content.pending[&key(0).address()].keys().copied().collect::<Vec<_>>(), [0]);
    assert_eq!(content.queued[&key(0).address()].keys().copied().collect::<Vec<_>>(), [5]);
}

#[derive(Default)]
struct Counting {
    pooled: AtomicUsize,
    committed: AtomicUsize,
}

impl Observer for Counting {
    fn pooled(&self, _: &Arc<RecoveredTx>) {
        self.pooled.fetch_add(1, Ordering::SeqCst);
    }
    fn committed(
        &self,
        block: &Arc<bletchley_evm::EvmBlock>,
        receipts: &Arc<Vec<bletchley_evm::MinedReceipt>>,
    ) {
        assert_eq!(block.transactions.len(), receipts.len());
        self.committed.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_observer_hears_of_transactions_and_blocks() {
    let store: bletchley_ledger::SharedStore = Arc::new(MemoryStore::new());
    let observer = Arc::new(Counting::default());
    let ledger = EvmLedger::new(genesis(), store.clone(), Arc::new(NoDelegate), observer.clone()).unwrap();
    let world = World { ledger, store };
    world.run(&Tx { value: U256::from(1), ..Tx::to(Address::repeat_byte(1), 0) }, 0);
    assert!(world.ledger.submit(Bytes::from_static(&[2])).is_err());
    assert_eq!(observer.pooled.load(Ordering::SeqCst), 1);
    assert_eq!(observer.committed.load(Ordering::SeqCst), 1);
}

/// A ledger whose local arrivals are written down, batch by batch.
fn told(limits: PoolLimits) -> (World, Arc<parking_lot::Mutex<Vec<Vec<Bytes>>>>) {
    let world = limited(limits);
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = heard.clone();
    world.ledger.on_local(move |txs| {
        // Each is told with the key of its sender.
        assert!(txs.iter().all(|(_, key)| key.is_some()));
        listener.lock().push(txs.iter().map(|(raw, _)| raw.clone()).collect());
    });
    (world, heard)
}

#[test]
fn what_local_clients_send_is_told_once_and_what_members_send_is_not() {
    let (world, heard) = told(PoolLimits::default());
    let tx = |from: u8, nonce| Tx::transfer(key(1).address(), 1, nonce).sign(from);
    let bad = Bytes::from_static(b"\x02nonsense");
    let outcomes = world.ledger.submit_batch(&[tx(0, 0), bad.clone(), tx(0, 1), tx(0, 0)]);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert_eq!(*heard.lock(), [vec![tx(0, 0), tx(0, 1)]]);
    assert!(world.ledger.submit(tx(0, 0)).is_err());
    assert_eq!(heard.lock().len(), 1, "nothing was accepted, nothing is told");
    let outcomes = world.ledger.submit_from_peers(&[tx(2, 0), bad, tx(0, 1), tx(3, 0)]);
    assert!(outcomes[0].is_ok() && outcomes[1].is_err() && outcomes[3].is_ok());
    assert_eq!(outcomes[2], Err(SubmitError::AlreadyKnown));
    assert_eq!(heard.lock().len(), 1);
    assert_eq!(world.mine().unwrap().transactions, 4);
    let late = world.ledger.submit_from_peers(&[tx(2, 0)]);
    assert_eq!(late, [Err(SubmitError::AlreadyKnown)], "it is final");
    assert!(matches!(world.ledger.submit(tx(2, 0)), Err(SubmitError::NonceTooLow { .. })));
}

#[test]
fn a_claim_of_who_signed_changes_nothing_but_is_told_on_when_false() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = heard.clone();
    ours.ledger.on_local(move |txs| listener.lock().extend_from_slice(txs));
    let raws: Vec<Bytes> = (0..30)
        .map(|number: u8| Tx::transfer(key(1).address(), 1, u64::from(number / 10)).sign(number % 10))
        .collect();
    let plain = ours.ledger.submit_batch(&raws);
    assert!(plain.iter().all(Result::is_ok));
    let mut claimed = heard.lock().clone();
    assert_eq!(claimed.len(), 30);
    claimed[4].1 = claimed[5].1;
    claimed[7].1 = None;
    let (outcomes, lies) = theirs.ledger.submit_claimed(claimed);
    assert_eq!((outcomes, lies), (plain, vec![4]));
    // A member whose mempool has none of them yet checks the block by the same claims, false or true.
    let late = World::new(genesis());
    let mut claimed = heard.lock().clone();
    claimed[4].1 = claimed[5].1;
    late.ledger.note_claims(&claimed);
    let senders = |world: &World| world.ledger.pool_content().pending.keys().copied().collect::<Vec<_>>();
    assert_eq!(senders(&ours), senders(&theirs));
    late.follow(&ours.mine().unwrap());
    assert_eq!(late.ledger.head(), ours.ledger.head());
}

#[test]
fn members_cannot_fill_the_pool_or_push_a_local_transaction_out() {
    let limits = PoolLimits { txs_max: 6, peer_txs_max: 4, ..PoolLimits::default() };
    let (world, _) = told(limits);
    let tx = |from: u8, nonce, tip| Tx { tip, ..Tx::transfer(key(1).address(), 1, nonce) }.sign(from);
    let own = world.ledger.submit_batch(&[tx(0, 0, 1), tx(0, 5, 1)]);
    assert!(own.iter().all(Result::is_ok));
    let flood: Vec<Bytes> = (1..9).map(|from| tx(from, 0, 1_000)).collect();
    let outcomes = world.ledger.submit_from_peers(&flood);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    // One that pays more replaces another member's, never a local one, though that pays least and waits behind a gap.
    assert!(world.ledger.submit_from_peers(&[tx(9, 0, 9_000)])[0].is_ok());
    for (hash, nonce) in own.iter().zip([0, 5]) {
        assert!(world.ledger.transaction(*hash.as_ref().unwrap()).unwrap().is_some(), "nonce {nonce}");
    }
    let status = world.ledger.pool_status();
    assert_eq!(status.pending + status.queued, 6);
    let (roomy, _) = told(PoolLimits { txs_max: 8, peer_txs_max: 4, ..PoolLimits::default() });
    assert_eq!(roomy.ledger.submit_from_peers(&flood).iter().filter(|outcome| outcome.is_ok()).count(), 4);
    assert!(roomy.ledger.submit(tx(0, 0, 0)).is_ok(), "there is room for clients, however little they pay");
}

#[test]
fn a_follower_forgets_what_another_members_block_took() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let raws: Vec<Bytes> = (0..10).map(|from| Tx::transfer(key(1).address(), 1, 0).sign(from)).collect();
    for world in [&ours, &theirs] {
        assert!(world.ledger.submit_batch(&raws[..5]).iter().all(Result::is_ok));
        assert!(world.ledger.submit_from_peers(&raws[5..]).iter().all(Result::is_ok));
    }
    // Another transaction with the nonce that the block uses, and one behind it.
    let replaced = Tx { fee: 4 * GWEI, tip: 9, ..Tx::transfer(key(1).address(), 2, 0) }.sign(3);
    assert!(theirs.ledger.submit(replaced).is_ok());
    assert!(theirs.ledger.submit(Tx::transfer(key(1).address(), 2, 1).sign(3)).is_ok());
    theirs.follow(&ours.mine().unwrap());
    let status = theirs.ledger.pool_status();
    assert_eq!((status.pending, status.queued), (1, 0));
    let again = theirs.ledger.submit_from_peers(&raws);
    assert!(again.iter().all(|outcome| *outcome == Err(SubmitError::AlreadyKnown)));
    assert_eq!(theirs.ledger.pool_status(), status);
}
