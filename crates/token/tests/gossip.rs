//! Transactions of local clients and of other members.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_ledger::Machine;
use bletchley_primitives::Bytes;
use bletchley_token::{AssetId, SignedTx, SubmitError, TokenRecord, TxBuilder};
use std::sync::{Arc, Mutex};
use support::{LEDGER, Ledger, key, lock};

fn issue(serial: &str) -> SignedTx {
    let acme = key("acme");
    TxBuilder::issue_thing(LEDGER, acme.address(), "part", serial, lock("acme")).unwrap().sign(&[&acme])
}

fn bytes(txs: &[&SignedTx]) -> Vec<Bytes> {
    txs.iter().map(|tx| Bytes::copy_from_slice(&tx.bytes)).collect()
}

#[test]
fn what_local_clients_send_is_told_once_and_what_members_send_is_not() {
    let ledger = Ledger::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let wakes = Arc::new(Mutex::new(0));
    let (listener, counter) = (heard.clone(), wakes.clone());
    ledger.machine.on_local(move |raws| listener.lock().unwrap().push(raws.to_vec()));
    ledger.machine.on_submit(move || *counter.lock().unwrap() += 1);
    let (one, two, three) = (issue("1"), issue("2"), issue("3"));
    let bad = Bytes::from_static(b"nonsense");
    let batch = [bytes(&[&one]), vec![bad.clone()], bytes(&[&two, &one])].concat();
    let outcomes = ledger.machine.submit_batch(&batch);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert_eq!(*heard.lock().unwrap(), [bytes(&[&one, &two])]);
    let outcomes = ledger.machine.submit_from_peers(&[bytes(&[&two, &three]), vec![bad]].concat());
    assert_eq!(outcomes[0], Err(SubmitError::Waiting(two.id)));
    assert_eq!(outcomes[1], Ok(three.id));
    assert!(matches!(outcomes[2], Err(SubmitError::Transaction(_))));
    assert_eq!((heard.lock().unwrap().len(), *wakes.lock().unwrap()), (1, 2), "the engine is woken by both");
    assert_eq!(ledger.block().transactions, 3);
    let late = ledger.machine.submit_from_peers(&bytes(&[&one]));
    assert_eq!(late, [Err(SubmitError::Final(one.id))]);
    assert_eq!((ledger.machine.ready(), *wakes.lock().unwrap()), (0, 2));
}

#[test]
fn a_members_batch_may_spend_what_it_makes() {
    let ledger = Ledger::new();
    let acme = key("acme");
    let defined = TxBuilder::define_asset(LEDGER, acme.address(), "EUR", 2, lock("acme")).sign(&[&acme]);
    let euro = AssetId::of(acme.address(), "EUR", 2);
    let minted = TxBuilder::issue_amount(LEDGER, euro, 500, (defined.output(0), lock("acme")), lock("ann"));
    let minted = minted.sign(&[&acme]);
    let batch = bytes(&[&defined, &minted]);
    assert_eq!(ledger.machine.submit_from_peers(&batch), [Ok(defined.id), Ok(minted.id)]);
    assert_eq!(ledger.block().transactions, 2);
    // Its output was spent, so that it is final or can never be: nobody's signature is needed to see that.
    let again = ledger.machine.submit_from_peers(&batch);
    assert!(again.iter().all(Result::is_err));
    assert_eq!(ledger.machine.ready(), 0);
}

#[test]
fn a_follower_forgets_what_another_members_block_took() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let part = issue("1");
    for ledger in [&ours, &theirs] {
        ledger.run(part.clone());
    }
    assert_eq!(ours.machine.head(), theirs.machine.head());
    let id = TokenRecord::thing(key("acme").address(), "part", "1").unwrap().id();
    let to = |name: &str| {
        TxBuilder::transfer(LEDGER).spend(part.output(0)).token(id, lock(name)).sign(&[&key("acme")])
    };
    let (bob, cid, other) = (to("bob"), to("cid"), issue("2"));
    for tx in [&bob, &other] {
        ours.submit(tx).unwrap();
        assert_eq!(theirs.machine.submit_from_peers(&bytes(&[tx])).len(), 1);
    }
    // A third member has the other spend of the same output waiting.
    let third = Ledger::new();
    third.run(part.clone());
    third.submit(&cid).unwrap();
    let block = ours.block();
    for ledger in [&theirs, &third] {
        let executed = ledger.machine.execute(ledger.machine.prepare(block.block.clone()).unwrap()).unwrap();
        assert_eq!(executed, block);
        ledger.keep(&executed);
        assert_eq!(ledger.machine.ready(), 0);
    }
    assert!(third.machine.submit_from_peers(&bytes(&[&bob]))[0].is_err());
}
