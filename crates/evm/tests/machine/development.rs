//! Controls of a development ledger.

use crate::world::*;
use alloy_primitives::{Address, Bytes, U256};
use alloy_rpc_types_eth::TransactionRequest;
use bletchley_evm::{BlockRef, DevError, Genesis, SubmitError};
use bletchley_ledger::{Extension, NoDelegate};
use bletchley_primitives::{Height, TimestampMs};
use std::sync::Arc;

fn development() -> Genesis {
    Genesis { dev: true, ..genesis() }
}

#[test]
fn only_a_development_ledger_has_them() {
    assert!(World::new(genesis()).ledger.dev().is_none());
}

#[test]
fn interventions_are_seen_at_once_and_carried_by_the_next_block() {
    use op::*;
    let (ours, theirs) = (World::new(development()), World::new(development()));
    let dev = ours.ledger.dev().unwrap();
    let address = Address::repeat_byte(0x42);
    dev.set_balance(address, ether(5)).unwrap();
    dev.set_code(address, Bytes::from_static(&[PUSH0, SLOAD, PUSH0, SSTORE])).unwrap();
    dev.set_nonce(address, 9).unwrap();
    dev.set_storage_at(address, U256::from(3), U256::from(4)).unwrap();
    assert_eq!(ours.ledger.balance(&address, BlockRef::Latest).unwrap(), ether(5));
    assert_eq!(ours.ledger.nonce(&address, BlockRef::Latest).unwrap(), 9);
    assert_eq!(ours.ledger.storage(&address, &U256::from(3), BlockRef::Latest).unwrap(), U256::from(4));
    assert_eq!(ours.ledger.balance(&address, BlockRef::Height(Height(0))).unwrap(), U256::ZERO);
    ours.send(&Tx::to(address, 0), 0);
    let executed = ours.mine().unwrap();
    let extension = Extension::decode(&executed.block.extension).unwrap();
    assert_eq!(extension.interventions.len(), 4);
    theirs.follow(&executed);
    assert_eq!(theirs.ledger.balance(&address, BlockRef::Latest).unwrap(), ether(5));
    assert!(Extension::decode(&ours.mine_empty().block.extension).unwrap().interventions.is_empty());
    // A trace of that block executes on the interventions too.
    let hash = ours.ledger.block(Height(1)).unwrap().unwrap().transactions[0].hash;
    let trace = ours.ledger.trace_transaction(hash, Default::default()).unwrap();
    assert!(serde_json::to_string(&trace).unwrap().contains("SLOAD"));
}

#[test]
fn impersonated_senders_need_no_key_even_with_code() {
    let (ours, theirs) = (World::new(development()), World::new(development()));
    let dev = ours.ledger.dev().unwrap();
    dev.set_balance(TOKEN, ether(5)).unwrap();
    dev.impersonate(TOKEN);
    assert!(dev.is_impersonated(&TOKEN) && !dev.is_impersonated(&ASKER));
    let to = Address::repeat_byte(0x43);
    let request = TransactionRequest { to: Some(to.into()), value: Some(ether(2)), ..Default::default() };
    let hash = ours.ledger.submit_unsigned(TOKEN, &request).unwrap();
    let executed = ours.mine().unwrap();
    assert!(ours.receipt(hash).success);
    assert_eq!(ours.receipt(hash).sender, TOKEN);
    assert_eq!(ours.ledger.balance(&to, BlockRef::Latest).unwrap(), ether(2));
    theirs.follow(&executed);
    // The mark alone is no permission.
    let next = TransactionRequest { nonce: Some(2), gas: Some(21_000), ..request.clone() };
    let marked = ours.ledger.submit_unsigned(TOKEN, &next).unwrap();
    let raw = ours.ledger.transaction(marked).unwrap().unwrap().tx.raw.clone();
    assert!(dev.stop_impersonating(&TOKEN));
    assert_eq!(ours.ledger.submit_unsigned(TOKEN, &next), Err(SubmitError::NotImpersonated(TOKEN)));
    assert_eq!(theirs.ledger.submit(raw), Err(SubmitError::NotImpersonated(TOKEN)));
    // Elsewhere the same bytes are signed by nobody in particular.
    let found = ours.ledger.transaction(hash).unwrap().unwrap();
    let strict = World::new(genesis());
    assert!(strict.ledger.submit(found.tx.raw.clone()).is_err());
}

#[test]
fn snapshots_bring_back_state_pool_and_pending_interventions() {
    let world = World::new(development());
    let dev = world.ledger.dev().unwrap();
    let address = Address::repeat_byte(0x44);
    world.run(&Tx::transfer(key(1).address(), 1, 0), 0);
    dev.set_balance(address, ether(1)).unwrap();
    let snapshot = dev.snapshot();
    world.run(&Tx::transfer(key(1).address(), 1, 1), 0);
    dev.set_balance(address, ether(2)).unwrap();
    world.run(&Tx::transfer(key(1).address(), 1, 2), 0);
    world.send(&Tx::transfer(key(1).address(), 1, 3), 0);
    assert_eq!(world.ledger.head().height, Height(3));
    assert!(dev.revert(snapshot).unwrap());
    assert!(!dev.revert(snapshot).unwrap(), "a snapshot is used up");
    assert_eq!(world.ledger.head().height, Height(1));
    assert_eq!(world.ledger.nonce(&key(0).address(), BlockRef::Pending).unwrap(), 1);
    assert_eq!(world.ledger.balance(&address, BlockRef::Latest).unwrap(), ether(1));
    assert!(world.ledger.block(Height(2)).unwrap().is_none());
    assert!(world.run(&Tx::transfer(key(1).address(), 1, 1), 0).success);
    let again = World::open(development(), world.store.clone(), Arc::new(NoDelegate));
    assert_eq!(again.ledger.head(), world.ledger.head());
    assert!(matches!(dev.rewind_to(Height(99)), Err(DevError::NoBlock(_))));
}

#[test]
fn time_can_be_set_and_goes_on_from_there() {
    let world = World::new(development());
    let dev = world.ledger.dev().unwrap();
    let mine = |now: u64| {
        let executed = world.propose_at(TimestampMs(START.0 + now), true).unwrap();
        world.keep(executed.clone());
        executed.meta.time_ms.0 - START.0
    };
    assert_eq!(mine(1_000), 1_000);
    dev.increase_time(60_000);
    assert_eq!(mine(2_000), 62_000);
    dev.set_next_time(TimestampMs(START.0 + 100_000)).unwrap();
    assert_eq!(mine(3_000), 100_000);
    assert_eq!(mine(4_000), 101_000);
    assert!(matches!(dev.set_next_time(START), Err(DevError::TimeBackwards { .. })));
}
