//! Blocks executed above the head: equal to what plain execution in order gives, and gone without a trace.

use crate::world::*;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use bletchley_evm::{BlockRef, EvmLedger, HELD_BLOCKS_MAX};
use bletchley_ledger::{Block, CommitError, ExecuteError, Executed, Machine, ProposeContext};
use bletchley_primitives::{BlockHash, Height, TimestampMs};

fn execute(world: &World, block: &Block) -> Result<Executed, ExecuteError> {
    let machine = world.ledger.machine();
    machine.execute(machine.prepare(block.clone())?)
}

fn propose_on(world: &World, parent: BlockHash, allow_empty: bool) -> Option<Executed> {
    let time_ms = TimestampMs(world.ledger.head().time_ms.0 + 5_000);
    let context = ProposeContext { parent, time_ms, proposer: PROPOSER, allow_empty };
    world.ledger.machine().propose(&context).unwrap()
}

/// All that must be exact of a block above the head.
fn assert_same(found: &Executed, expected: &Executed) {
    assert_eq!(found.meta, expected.meta);
    assert_eq!(found.state_root, expected.state_root);
    assert_eq!(found.receipts, expected.receipts);
    assert_eq!(found.block, expected.block);
    assert_eq!(found.index, expected.index);
}

/// Clears its storage and itself: SELFDESTRUCT to the caller when called with data, slot 1 counted up when without.
fn counter() -> Bytes {
    use op::*;
    let count = [PUSH1, 1, PUSH1, 1, SLOAD, ADD, PUSH1, 1, SSTORE, 0x00];
    let dest = u8::try_from(4 + count.len()).unwrap();
    let mut runtime = vec![CALLDATASIZE, PUSH1, dest, 0x57];
    runtime.extend_from_slice(&count);
    runtime.extend_from_slice(&[JUMPDEST, CALLER, SELFDESTRUCT]);
    deployer(&runtime)
}

/// Stores BLOCKHASH of the last three blocks in slots 1 to 3 of a new contract.
fn hashes() -> Bytes {
    use op::*;
    let mut code = Vec::new();
    for back in 1..=3u8 {
        code.extend_from_slice(&[PUSH1, back, NUMBER, SUB, BLOCKHASH, PUSH1, back, SSTORE]);
    }
    deployer(&code)
}

/// Blocks that make a contract, use it, end it, and call what is left of it, beside transfers.
fn chain_of(world: &World, length: u64) -> Vec<Executed> {
    let counter_address = key(1).address().create(0);
    let hashes_address = key(2).address().create(0);
    (0..length)
        .map(|round| {
            for n in 3..8 {
                let to = Address::repeat_byte(0x90 + (round as u8) + n);
                world.send(&Tx::transfer(to, 10 + round, round), n);
            }
            let made = if round == 0 { Tx::create(counter(), 0) } else { Tx::to(counter_address, round) };
            let ended = Tx { input: Bytes::from_static(&[1]), ..made.clone() };
            world.send(if round == 2 { &ended } else { &made }, 1);
            let hashed = if round == 0 { Tx::create(hashes(), 0) } else { Tx::to(hashes_address, round) };
            world.send(&hashed, 2);
            world.mine().unwrap()
        })
        .collect()
}

fn code_of(ledger: &EvmLedger, address: &Address) -> B256 {
    keccak256(ledger.code(address, BlockRef::Latest).unwrap())
}

#[test]
fn a_chain_above_the_head_is_what_execution_in_order_gives() {
    for genesis in [genesis(), genesis_with_fees()] {
        let (ours, theirs) = (World::new(genesis.clone()), World::new(genesis));
        let blocks = chain_of(&ours, 4);
        let before = theirs.ledger.head();
        for block in &blocks {
            assert_same(&execute(&theirs, &block.block).unwrap(), block);
        }
        assert_eq!(theirs.ledger.head(), before);
        assert_eq!(theirs.ledger.nonce(&key(3).address(), BlockRef::Latest).unwrap(), 0);
        // Once more: a block that is held already is replaced, and those above it still stand.
        assert_same(&execute(&theirs, &blocks[1].block).unwrap(), &blocks[1]);
        assert_same(&execute(&theirs, &blocks[3].block).unwrap(), &blocks[3]);
        for (at, block) in blocks.iter().enumerate() {
            let again = execute(&theirs, &block.block).unwrap();
            assert_eq!(&again, block, "on the head the changes are exact as well");
            theirs.keep(again);
            for above in &blocks[at + 1..] {
                assert_same(&execute(&theirs, &above.block).unwrap(), above);
            }
        }
        assert_eq!(theirs.ledger.head(), ours.ledger.head());
        let contract = key(2).address().create(0);
        assert_eq!(code_of(&theirs.ledger, &contract), code_of(&ours.ledger, &contract));
        for back in 1..=3u64 {
            let expected = ours.ledger.block(Height(4 - back)).unwrap().unwrap().hash;
            let stored = theirs.ledger.storage(&contract, &U256::from(back), BlockRef::Latest).unwrap();
            assert_eq!(B256::from(stored), expected.0, "BLOCKHASH of a block above the head");
        }
    }
}

#[test]
fn chains_beside_each_other_do_not_meet() {
    let (one, other, follower) = (World::new(genesis()), World::new(genesis()), World::new(genesis()));
    let ours = chain_of(&one, 3);
    other.send(&Tx::transfer(key(9).address(), 77, 0), 3);
    let mut theirs = vec![other.mine().unwrap()];
    other.send(&Tx::transfer(key(9).address(), 78, 1), 3);
    theirs.push(other.mine().unwrap());
    theirs.push(other.mine_empty());
    for (a, b) in ours.iter().zip(&theirs) {
        assert_same(&execute(&follower, &a.block).unwrap(), a);
        assert_same(&execute(&follower, &b.block).unwrap(), b);
    }
    follower.follow(&theirs[0]);
    assert!(matches!(execute(&follower, &ours[1].block), Err(ExecuteError::NotOnHead { .. })));
    for block in &theirs[1..] {
        follower.follow(block);
    }
    assert_eq!(follower.ledger.head(), other.ledger.head());
}

#[test]
fn a_discarded_block_takes_its_place_again_and_nothing_is_committed_past_a_gap() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let blocks = chain_of(&ours, 3);
    for block in &blocks {
        execute(&theirs, &block.block).unwrap();
    }
    let machine = theirs.ledger.machine();
    machine.discard(blocks[1].meta.hash);
    assert!(matches!(execute(&theirs, &blocks[2].block), Err(ExecuteError::NotOnHead { .. })));
    assert!(propose_on(&theirs, blocks[2].meta.hash, true).is_none(), "its chain does not reach the head");
    let gone = blocks[2].meta.hash;
    assert_eq!(machine.commit(gone), Err(CommitError::Unknown(gone)));
    assert_same(&execute(&theirs, &blocks[1].block).unwrap(), &blocks[1]);
    assert_same(&execute(&theirs, &blocks[2].block).unwrap(), &blocks[2]);
    assert_eq!(machine.commit(gone), Err(CommitError::Unknown(gone)), "its parent is not the head yet");
    assert_same(&execute(&theirs, &blocks[2].block).unwrap(), &blocks[2]);
    blocks.iter().for_each(|block| theirs.follow(block));
    assert_eq!(theirs.ledger.head(), ours.ledger.head());
}

#[test]
fn an_invalid_block_above_the_head_leaves_no_trace() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let blocks = chain_of(&ours, 3);
    execute(&theirs, &blocks[0].block).unwrap();
    let root = B256::repeat_byte(0xee);
    let wrong = crate::blocks::altered(&blocks[1], |header| header.state_root = root);
    assert!(matches!(execute(&theirs, &wrong), Err(ExecuteError::Mismatch { field: "stateRoot", .. })));
    let stale = Block { body: blocks[0].block.body.clone(), ..blocks[1].block.clone() };
    assert!(matches!(execute(&theirs, &stale), Err(ExecuteError::Transaction { .. })));
    let wrong_hash = BlockHash(keccak256(&wrong.header));
    let machine = theirs.ledger.machine();
    assert_eq!(machine.commit(wrong_hash), Err(CommitError::Unknown(wrong_hash)));
    let child = crate::blocks::altered(&blocks[2], |header| header.parent_hash = wrong_hash.0);
    assert!(matches!(execute(&theirs, &child), Err(ExecuteError::NotOnHead { .. })));
    let higher = crate::blocks::altered(&blocks[1], |header| header.number += 1);
    assert!(matches!(execute(&theirs, &higher), Err(ExecuteError::NotOnHead { .. })));
    for block in &blocks[1..] {
        assert_same(&execute(&theirs, &block.block).unwrap(), block);
    }
    blocks.iter().for_each(|block| theirs.follow(block));
}

#[test]
fn what_is_proposed_above_the_head_is_empty_and_leaves_the_pool_alone() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let blocks = chain_of(&ours, 2);
    let waiting = theirs.send(&Tx::transfer(key(1).address(), 1, 0), 9);
    for block in &blocks {
        execute(&theirs, &block.block).unwrap();
    }
    let tip = blocks[1].meta.hash;
    assert!(propose_on(&theirs, tip, false).is_none());
    let proposed = propose_on(&theirs, tip, true).unwrap();
    assert_eq!((proposed.transactions, proposed.meta.parent, proposed.meta.height), (0, tip, Height(3)));
    assert_ne!(proposed.state_root, blocks[1].state_root, "the parent's hash is kept (EIP-2935)");
    assert!(theirs.ledger.transaction(waiting).unwrap().is_some());
    assert_eq!(theirs.ledger.machine().ready(), 1);
    let next = propose_on(&theirs, proposed.meta.hash, true).unwrap();
    assert_eq!(next.meta.height, Height(4));
    // The other member, which has the blocks below already, agrees.
    let again = execute(&ours, &proposed.block).unwrap();
    assert_same(&again, &proposed);
    ours.keep(again.clone());
    theirs.follow(&blocks[0]);
    theirs.follow(&blocks[1]);
    theirs.follow(&again);
    assert!(propose_on(&theirs, BlockHash(B256::repeat_byte(1)), true).is_none());
    let full = propose_on(&theirs, theirs.ledger.head().hash, false).unwrap();
    assert_eq!(full.transactions, 1);
}

#[test]
fn a_chain_of_as_many_blocks_as_are_held_stands_whatever_comes_beside_it() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let beside: Vec<Executed> =
        (1..=9).map(|i| theirs.propose_at(TimestampMs(START.0 + i), true).unwrap()).collect();
    let blocks: Vec<Executed> = (0..HELD_BLOCKS_MAX).map(|_| ours.mine_empty()).collect();
    for block in &blocks {
        assert_same(&execute(&theirs, &block.block).unwrap(), block);
    }
    let machine = theirs.ledger.machine();
    assert!(beside.iter().all(|block| machine.commit(block.meta.hash).is_err()));
    blocks.iter().for_each(|block| theirs.follow(block));
    assert_eq!(theirs.ledger.head(), ours.ledger.head());
}
