//! Blocks executed above the head: equal to what execution in order gives, and gone without a trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_ledger::{Block, CommitError, ExecuteError, Executed, Machine, ProposeContext};
use bletchley_primitives::{B256, BlockHash, Height, TimestampMs};
use bletchley_token::{Header, TxBuilder};
use support::{LEDGER, Ledger, address, key, lock, story};

fn execute(ledger: &Ledger, block: &Block) -> Result<Executed, ExecuteError> {
    ledger.machine.execute(ledger.machine.prepare(block.clone())?)
}

fn propose_on(ledger: &Ledger, parent: BlockHash, allow_empty: bool) -> Option<Executed> {
    let context = ProposeContext { parent, allow_empty, ..ledger.context() };
    ledger.machine.propose(&context).unwrap()
}

fn follow(ledger: &Ledger, block: &Executed) {
    let ours = execute(ledger, &block.block).unwrap();
    assert_eq!(&ours, block);
    ledger.keep(&ours);
}

fn issue(ledger: &Ledger, serial: &str) {
    let acme = key("acme");
    let tx = TxBuilder::issue_thing(LEDGER, acme.address(), "part", serial, lock("acme")).unwrap();
    ledger.submit(&tx.sign(&[&acme])).unwrap();
}

fn altered(block: &Executed, change: impl FnOnce(&mut Header)) -> Block {
    let mut header = Header::decode_bytes(&block.block.header).unwrap();
    change(&mut header);
    Block { header: header.encode_bytes(), ..block.block.clone() }
}

#[test]
fn a_chain_above_the_head_is_what_execution_in_order_gives() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let blocks = story(&ours);
    let before = (theirs.machine.head(), theirs.machine.output_counts());
    for block in &blocks {
        assert_eq!(&execute(&theirs, &block.block).unwrap(), block, "also above the head, to the byte");
    }
    assert_eq!((theirs.machine.head(), theirs.machine.output_counts()), before);
    // Back down the chain, and up again.
    for at in [1, 4, 2, 3] {
        assert_eq!(execute(&theirs, &blocks[at].block).unwrap(), blocks[at]);
    }
    for (at, block) in blocks.iter().enumerate() {
        follow(&theirs, block);
        for above in &blocks[at + 1..] {
            assert_eq!(&execute(&theirs, &above.block).unwrap(), above);
        }
    }
    assert_eq!(theirs.machine.head(), ours.machine.head());
    assert_eq!(theirs.machine.output_counts(), ours.machine.output_counts());
    let again = theirs.reopen();
    assert_eq!(again.machine.head(), ours.machine.head());
}

#[test]
fn chains_beside_each_other_do_not_meet() {
    let (one, other, third, follower) = (Ledger::new(), Ledger::new(), Ledger::new(), Ledger::new());
    let ours = story(&one);
    let chain = |ledger: &Ledger, serial: &str| -> Vec<Executed> {
        let block = |n: u32| {
            issue(ledger, &format!("{serial} {n}"));
            ledger.block()
        };
        (0..3).map(block).collect()
    };
    let (theirs, last) = (chain(&other, "b"), chain(&third, "c"));
    for ((a, b), c) in ours.iter().zip(&theirs).zip(&last) {
        for block in [a, b, c] {
            assert_eq!(&execute(&follower, &block.block).unwrap(), block);
        }
    }
    theirs.iter().for_each(|block| follow(&follower, block));
    assert_eq!(follower.machine.head(), other.machine.head());
    assert!(matches!(execute(&follower, &ours[1].block), Err(ExecuteError::NotOnHead { .. })));
    assert!(matches!(execute(&follower, &last[1].block), Err(ExecuteError::NotOnHead { .. })));
}

#[test]
fn a_discarded_block_takes_its_place_again_and_nothing_is_committed_past_a_gap() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let blocks = story(&ours);
    for block in &blocks[..3] {
        execute(&theirs, &block.block).unwrap();
    }
    theirs.machine.discard(blocks[1].meta.hash);
    assert!(matches!(execute(&theirs, &blocks[3].block), Err(ExecuteError::NotOnHead { .. })));
    assert!(propose_on(&theirs, blocks[2].meta.hash, true).is_none());
    let gone = blocks[2].meta.hash;
    assert_eq!(theirs.machine.commit(gone), Err(CommitError::Unknown(gone)));
    assert_eq!(execute(&theirs, &blocks[1].block).unwrap(), blocks[1]);
    assert_eq!(execute(&theirs, &blocks[3].block).unwrap(), blocks[3]);
    assert_eq!(theirs.machine.commit(gone), Err(CommitError::Unknown(gone)), "its parent is not the head");
    blocks.iter().for_each(|block| follow(&theirs, block));
    assert_eq!(theirs.machine.head(), ours.machine.head());
}

#[test]
fn an_invalid_block_above_the_head_leaves_no_trace() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let blocks = story(&ours);
    execute(&theirs, &blocks[0].block).unwrap();
    let wrong = altered(&blocks[1], |header| header.state_root = B256::repeat_byte(9));
    assert!(matches!(execute(&theirs, &wrong), Err(ExecuteError::Mismatch { field: "state root", .. })));
    let wrong_hash = Header::decode_bytes(&wrong.header).unwrap().hash();
    assert_eq!(theirs.machine.commit(wrong_hash), Err(CommitError::Unknown(wrong_hash)));
    let child = altered(&blocks[2], |header| header.parent = wrong_hash);
    assert!(matches!(execute(&theirs, &child), Err(ExecuteError::NotOnHead { .. })));
    let higher = altered(&blocks[1], |header| header.height = Height(3));
    assert!(matches!(execute(&theirs, &higher), Err(ExecuteError::Mismatch { field: "height", .. })));
    for block in &blocks[1..] {
        assert_eq!(&execute(&theirs, &block.block).unwrap(), block);
    }
    blocks.iter().for_each(|block| follow(&theirs, block));
}

#[test]
fn what_is_proposed_above_the_head_is_empty_and_leaves_the_pool_alone() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let blocks = story(&ours);
    issue(&theirs, "waits");
    for block in &blocks[..2] {
        execute(&theirs, &block.block).unwrap();
    }
    let tip = blocks[1].meta.hash;
    assert!(propose_on(&theirs, tip, false).is_none());
    assert!(propose_on(&theirs, BlockHash(B256::repeat_byte(3)), true).is_none());
    theirs.set_time(0);
    let proposed = propose_on(&theirs, tip, true).unwrap();
    assert_eq!((proposed.transactions, proposed.meta.parent, proposed.meta.height), (0, tip, Height(3)));
    assert_eq!(proposed.state_root, blocks[1].state_root);
    assert!(proposed.meta.time_ms >= blocks[1].meta.time_ms && proposed.meta.time_ms > TimestampMs(0));
    let next = propose_on(&theirs, proposed.meta.hash, true).unwrap();
    assert_eq!(next.meta.height, Height(4));
    assert_eq!(theirs.machine.ready(), 1);
    for block in [&blocks[0], &blocks[1], &proposed, &next] {
        follow(&theirs, block);
    }
    assert_eq!(theirs.propose().unwrap().transactions, 1);
    assert_eq!(address("proposer"), Header::decode_bytes(&proposed.block.header).unwrap().proposer);
}
