//! The machine's invariants: what one proposes the other executes, a refused block leaves no trace, restart.

use crate::world::*;
use alloy_consensus::Header;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{B256, Bloom, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use bletchley_evm::{BlockRef, HELD_BLOCKS_MAX, OpenError, TxPlace};
use bletchley_ledger::{
    Block, CommitError, ExecuteError, Executed, Extension, Intervention, Machine, NoDelegate,
};
use bletchley_primitives::{BlockHash, Height, TimestampMs};
use std::sync::Arc;

fn transfers(world: &World, round: u64) {
    for n in 0..10 {
        world.send(&Tx::transfer(key((n + 1) % 10).address(), 10 + round, round), n);
    }
}

#[test]
fn what_one_proposes_the_other_executes_to_the_byte() {
    for genesis in [genesis(), genesis_with_fees()] {
        let (ours, theirs) = (World::new(genesis.clone()), World::new(genesis));
        assert_eq!(ours.ledger.head(), theirs.ledger.head());
        for round in 0..5 {
            transfers(&ours, round);
            let executed = ours.mine().unwrap();
            assert_eq!(executed.transactions, 10);
            assert_eq!(executed.meta.height, Height(round + 1));
            theirs.follow(&executed);
            assert_eq!(ours.ledger.head(), theirs.ledger.head());
        }
        assert_eq!(ours.ledger.pool_status().pending, 0);
        let block = ours.ledger.block(Height(3)).unwrap().unwrap();
        assert_eq!(keccak256(alloy_rlp::encode(&block.header)), block.hash.0);
        assert_eq!(block.header.extra_data.len(), 32);
    }
}

#[test]
fn nothing_is_visible_before_commit_and_discard_forgets() {
    let world = World::new(genesis());
    let before = world.ledger.head();
    world.send(&Tx::transfer(key(1).address(), 5, 0), 0);
    let one = world.propose_at(TimestampMs(START.0 + 1), false).unwrap();
    let two = world.propose_at(TimestampMs(START.0 + 2), false).unwrap();
    assert_ne!(one.meta.hash, two.meta.hash);
    assert_ne!(one.state_root, before.state_root);
    assert_eq!(world.ledger.head(), before);
    assert_eq!(world.ledger.nonce(&key(0).address(), BlockRef::Latest).unwrap(), 0);
    world.ledger.machine().discard(one.meta.hash);
    assert_eq!(world.ledger.machine().commit(one.meta.hash), Err(CommitError::Unknown(one.meta.hash)));
    world.keep(two.clone());
    assert_eq!(world.ledger.head().hash, two.meta.hash);
    assert_eq!(world.ledger.nonce(&key(0).address(), BlockRef::Latest).unwrap(), 1);
    assert_eq!(world.ledger.machine().commit(two.meta.hash), Err(CommitError::Unknown(two.meta.hash)));
}

#[test]
fn an_empty_pool_makes_no_block_unless_one_is_wanted() {
    let world = World::new(genesis());
    assert!(world.mine().is_none());
    let executed = world.mine_empty();
    assert_eq!(executed.transactions, 0);
    assert_eq!(world.ledger.head().height, Height(1));
}

type Change = Box<dyn FnOnce(&mut Header)>;

/// Re-seals a block with another header.
pub fn altered(executed: &Executed, change: impl FnOnce(&mut Header)) -> Block {
    let mut header = Header::decode(&mut executed.block.header.as_ref()).unwrap();
    change(&mut header);
    Block { header: alloy_rlp::encode(&header).into(), ..executed.block.clone() }
}

#[test]
fn every_header_field_is_checked_and_a_refused_block_leaves_no_trace() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    transfers(&ours, 0);
    let executed = ours.mine().unwrap();
    let machine = theirs.ledger.machine();
    let before = theirs.ledger.head();
    let other = B256::repeat_byte(0xee);
    let changes: Vec<(&str, Change)> = vec![
        ("timestamp", Box::new(|h| h.timestamp += 1)),
        ("gasLimit", Box::new(|h| h.gas_limit += 1)),
        ("baseFeePerGas", Box::new(|h| h.base_fee_per_gas = Some(1))),
        ("mixHash", Box::new(move |h| h.mix_hash = other)),
        ("sha3Uncles", Box::new(move |h| h.ommers_hash = other)),
        ("difficulty", Box::new(|h| h.difficulty = U256::ONE)),
        ("withdrawalsRoot", Box::new(move |h| h.withdrawals_root = Some(other))),
        ("blobGasUsed", Box::new(|h| h.blob_gas_used = Some(1))),
        ("excessBlobGas", Box::new(|h| h.excess_blob_gas = Some(1))),
        ("parentBeaconBlockRoot", Box::new(move |h| h.parent_beacon_block_root = Some(other))),
        ("requestsHash", Box::new(move |h| h.requests_hash = Some(other))),
        ("transactionsRoot", Box::new(move |h| h.transactions_root = other)),
        ("receiptsRoot", Box::new(move |h| h.receipts_root = other)),
        ("stateRoot", Box::new(move |h| h.state_root = other)),
        ("logsBloom", Box::new(|h| h.logs_bloom = Bloom::repeat_byte(1))),
        ("gasUsed", Box::new(|h| h.gas_used += 1)),
        ("extraData", Box::new(|h| h.extra_data = Bytes::from_static(&[7; 32]))),
    ];
    for (name, change) in changes {
        let block = altered(&executed, change);
        let outcome = machine.prepare(block).and_then(|prepared| machine.execute(prepared));
        match outcome {
            Err(ExecuteError::Mismatch { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    for change in [(|h| h.number += 1) as fn(&mut Header), |h| h.parent_hash = B256::ZERO] {
        let prepared = machine.prepare(altered(&executed, change)).unwrap();
        assert!(matches!(machine.execute(prepared), Err(ExecuteError::NotOnHead { .. })));
    }
    assert_eq!(theirs.ledger.head(), before);
    theirs.follow(&executed);
}

#[test]
fn altered_transactions_and_extensions_are_refused() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    transfers(&ours, 0);
    let executed = ours.mine().unwrap();
    let machine = theirs.ledger.machine();
    let mut shorter = executed.block.clone();
    shorter.body = alloy_rlp::encode(Vec::<Bytes>::new()).into();
    let prepared = machine.prepare(shorter).unwrap();
    assert!(matches!(machine.execute(prepared), Err(ExecuteError::Mismatch { .. })));

    let mut later = executed.block.clone();
    let extension =
        Extension { time_ms: TimestampMs(START.0 + 10_000), ..Extension::decode(&later.extension).unwrap() };
    later.extension = extension.encode();
    assert!(matches!(machine.prepare(later), Err(ExecuteError::Mismatch { field: "extraData", .. })));

    // A change of state from outside is refused where it is not a development ledger, though the header commits to it.
    let mut extension = Extension::decode(&executed.block.extension).unwrap();
    let diff = bletchley_ledger::DiffWriter::default().finish();
    extension.interventions.push(Intervention { method: "setBalance".into(), diff });
    let bytes = extension.encode();
    let digest = Bytes::copy_from_slice(Extension::digest(&bytes).as_slice());
    let block = Block { extension: bytes, ..altered(&executed, |h| h.extra_data = digest) };
    let prepared = machine.prepare(block).unwrap();
    assert!(matches!(machine.execute(prepared), Err(ExecuteError::Mismatch { field: "interventions", .. })));

    // Time may stand still, and may not run backwards.
    theirs.follow(&executed);
    let before = World::new(genesis());
    before.follow(&executed);
    let empty = ours.propose_at(TimestampMs(0), true).unwrap();
    assert_eq!(empty.meta.time_ms, executed.meta.time_ms);
    let mut extension = Extension::decode(&empty.block.extension).unwrap();
    extension.time_ms = TimestampMs(executed.meta.time_ms.0 - 1);
    let bytes = extension.encode();
    let digest = Bytes::copy_from_slice(Extension::digest(&bytes).as_slice());
    let block = Block { extension: bytes, ..altered(&empty, |h| h.extra_data = digest) };
    let prepared = machine.prepare(block).unwrap();
    assert!(matches!(machine.execute(prepared), Err(ExecuteError::Mismatch { field: "time_ms", .. })));
}

#[test]
fn a_block_of_a_stranger_chain_or_a_stale_nonce_is_refused() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    ours.send(&Tx::transfer(key(1).address(), 5, 0), 0);
    let first = ours.mine().unwrap();
    theirs.follow(&first);
    // The same transaction again: its nonce is used.
    let machine = theirs.ledger.machine();
    let empty = ours.propose_at(TimestampMs(START.0 + 900), true).unwrap();
    let twice = Block { body: first.block.body.clone(), ..empty.block };
    let prepared = machine.prepare(twice).unwrap();
    match machine.execute(prepared) {
        Err(ExecuteError::Transaction { position: 0, problem, .. }) => {
            assert!(problem.contains("nonce"), "{problem}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn restart_brings_back_head_state_and_history() {
    let world = World::new(genesis());
    for round in 0..4 {
        transfers(&world, round);
        world.mine().unwrap();
    }
    let head = world.ledger.head();
    let holder = key(3).address();
    let again = World::open(genesis(), world.store.clone(), Arc::new(NoDelegate));
    assert_eq!(again.ledger.head(), head);
    assert_eq!(again.ledger.nonce(&holder, BlockRef::Latest).unwrap(), 4);
    assert_eq!(again.ledger.nonce(&holder, BlockRef::Height(Height(2))).unwrap(), 2);
    assert_eq!(again.ledger.pool_status(), Default::default());
    transfers(&again, 4);
    let executed = again.mine().unwrap();
    assert_eq!(executed.meta.parent, head.hash);
    let old = again.ledger.block(Height(1)).unwrap().unwrap();
    assert_eq!(old.transactions.len(), 10);
    assert!(old.transactions.iter().any(|tx| tx.sender == holder), "senders come back without recovery");
    let hash = old.transactions[4].hash;
    let found = again.ledger.transaction(hash).unwrap().unwrap();
    assert!(matches!(found.place, TxPlace::Mined { index: 4, .. }));

    let stranger = bletchley_evm::Genesis { chain_id: 5, ..genesis() };
    let refused = bletchley_evm::EvmLedger::new(
        stranger,
        world.store.clone(),
        Arc::new(NoDelegate),
        Arc::new(bletchley_evm::NoObserver),
    );
    assert!(matches!(refused, Err(OpenError::OtherLedger { .. })));
    let mut richer = genesis();
    richer.alloc.get_mut(&holder).unwrap().balance = ether(200);
    let refused = bletchley_evm::EvmLedger::new(
        richer,
        world.store,
        Arc::new(NoDelegate),
        Arc::new(bletchley_evm::NoObserver),
    );
    assert!(matches!(refused, Err(OpenError::OtherLedger { .. })));
}

#[test]
fn block_hashes_are_served_from_the_store_and_by_the_history_contract() {
    use op::*;
    let world = World::new(genesis());
    for _ in 0..3 {
        world.mine_empty();
    }
    // Stores BLOCKHASH(NUMBER - 2) in slot 0.
    let code = deployer(&[PUSH1, 2, NUMBER, SUB, BLOCKHASH, PUSH0, SSTORE]);
    let receipt = world.run(&Tx::create(code, 0), 0);
    assert!(receipt.success);
    let contract = receipt.contract.unwrap();
    assert!(world.run(&Tx::to(contract, 1), 0).success);
    let height = world.ledger.head().height.0;
    let expected = world.ledger.block(Height(height - 2)).unwrap().unwrap().hash;
    let stored = world.ledger.storage(&contract, &U256::ZERO, BlockRef::Latest).unwrap();
    assert_eq!(B256::from(stored), expected.0);

    let parent = world.ledger.block(Height(height - 1)).unwrap().unwrap().hash;
    let slot = U256::from((height - 1) % 8191);
    let kept = world.ledger.storage(&HISTORY_STORAGE_ADDRESS, &slot, BlockRef::Latest).unwrap();
    assert_eq!(BlockHash(kept.into()), parent, "EIP-2935");
}

#[test]
fn more_blocks_than_are_held_push_out_the_oldest() {
    let world = World::new(genesis());
    let proposals: Vec<Executed> = (1..=HELD_BLOCKS_MAX as u64 + 1)
        .map(|i| world.propose_at(TimestampMs(START.0 + i), true).unwrap())
        .collect();
    let machine = world.ledger.machine();
    assert_eq!(machine.commit(proposals[0].meta.hash), Err(CommitError::Unknown(proposals[0].meta.hash)));
    world.keep(proposals[HELD_BLOCKS_MAX].clone());
    assert_eq!(world.ledger.head().hash, proposals[HELD_BLOCKS_MAX].meta.hash);
    // The others stood on the old head.
    assert_eq!(machine.commit(proposals[8].meta.hash), Err(CommitError::Unknown(proposals[8].meta.hash)));
}
