//! The invariants of the Machine seam, and what a restart gives back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_ledger::{
    CommitError, DiffReader, DiffWriter, ExecuteError, Executed, Extension, Intervention, Machine,
    ProposeContext, Store,
};
use bletchley_primitives::{BlockHash, Bytes, Height, TimestampMs};
use bletchley_token::{Header, OpenError, SignedTx, TokenMachine, TokenRecord, TxBuilder};
use std::sync::Arc;
use support::{GENESIS, LEDGER, Ledger, MemoryStore, address, key, lock, story};

fn run(machine: &TokenMachine, block: &Executed) -> Result<Executed, ExecuteError> {
    machine.execute(machine.prepare(block.block.clone())?)
}

#[test]
fn what_one_proposes_all_accept_to_the_byte() {
    let ledger = Ledger::new();
    let blocks = story(&ledger);
    let follower = Ledger::new();
    let replay = TokenMachine::replay(GENESIS, ledger.store.clone());
    for block in &blocks {
        assert_eq!(&run(&follower.machine, block).unwrap(), block);
        follower.keep(block);
        assert_eq!(&run(&replay, block).unwrap(), block);
        replay.commit(block.meta.hash).unwrap();
    }
    for machine in [&follower.machine, &replay] {
        assert_eq!(machine.head(), ledger.machine.head());
        assert_eq!(machine.output_counts(), ledger.machine.output_counts());
    }
}

#[test]
fn proposing_and_executing_change_nothing_that_a_reader_sees() {
    let ledger = Ledger::new();
    let tx = TxBuilder::issue_thing(LEDGER, address("acme"), "part", "1", lock("acme"))
        .unwrap()
        .sign(&[&key("acme")]);
    ledger.submit(&tx).unwrap();
    let before = (ledger.machine.head(), ledger.machine.output_counts(), ledger.machine.ready());
    let block = ledger.propose().unwrap();
    run(&ledger.machine, &block).unwrap();
    assert_eq!((ledger.machine.head(), ledger.machine.output_counts(), ledger.machine.ready()), before);
    ledger.machine.discard(block.meta.hash);
    assert_eq!(ledger.machine.commit(block.meta.hash), Err(CommitError::Unknown(block.meta.hash)));
    let block = ledger.propose().unwrap();
    ledger.keep(&block);
    assert_eq!(ledger.machine.head().hash, block.meta.hash);
    assert_eq!(ledger.machine.commit(block.meta.hash), Err(CommitError::Unknown(block.meta.hash)));
    assert!(matches!(run(&ledger.machine, &block), Err(ExecuteError::NotOnHead { .. })));
}

#[test]
fn empty_blocks_only_when_asked_for_and_time_never_runs_back() {
    let ledger = Ledger::new();
    assert!(ledger.propose().is_none());
    let parent = ledger.machine.head().hash;
    let context =
        ProposeContext { parent, time_ms: TimestampMs(5), proposer: address("p"), allow_empty: true };
    let block = ledger.machine.propose(&context).unwrap().unwrap();
    assert_eq!(block.meta.time_ms, GENESIS.time_ms);
    ledger.keep(&block);
    assert_eq!(ledger.machine.head().height, Height(1));
    let follower = Ledger::new();
    let mut early = block.clone();
    let header = Header { time_ms: TimestampMs(5), ..Header::decode_bytes(&block.block.header).unwrap() };
    early.block.extension = Extension::at(TimestampMs(5)).encode();
    let header = Header { extension: Extension::digest(&early.block.extension), ..header };
    early.block.header = header.encode_bytes();
    assert!(matches!(run(&follower.machine, &early), Err(ExecuteError::Mismatch { field: "time", .. })));
}

/// Every bit of a block matters: flipped, it is refused, and the ledger goes on as if nothing had been offered.
#[test]
fn a_refused_block_leaves_no_trace() {
    let ledger = Ledger::new();
    let blocks = story(&ledger);
    let follower = Ledger::new();
    for block in &blocks {
        let before = (follower.machine.head(), follower.machine.output_counts());
        let offer = |changed: &Executed| {
            assert!(run(&follower.machine, changed).is_err());
            assert_eq!((follower.machine.head(), follower.machine.output_counts()), before);
        };
        for (section, length) in
            [block.block.header.len(), block.block.body.len(), block.block.extension.len()].iter().enumerate()
        {
            for at in (0..*length).step_by(if section == 1 { 3 } else { 1 }) {
                let mut changed = block.clone();
                let bytes =
                    [&mut changed.block.header, &mut changed.block.body, &mut changed.block.extension];
                let bytes = bytes.into_iter().nth(section).unwrap();
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << (at % 8);
                *bytes = flipped.into();
                // The proposer is a statement that execution cannot check; its change makes another block.
                if Header::decode_bytes(&changed.block.header)
                    .is_ok_and(|h| h.proposer != address("proposer"))
                {
                    assert_ne!(run(&follower.machine, &changed).unwrap().meta.hash, block.meta.hash);
                    continue;
                }
                offer(&changed);
            }
        }
        let mut intervened = block.clone();
        let mut extension = Extension::decode(&block.block.extension).unwrap();
        extension.interventions.push(Intervention { method: "x".into(), diff: Bytes::new() });
        intervened.block.extension = extension.encode();
        let header = Header::decode_bytes(&block.block.header).unwrap();
        let header = Header { extension: Extension::digest(&intervened.block.extension), ..header };
        intervened.block.header = header.encode_bytes();
        offer(&intervened);
        assert_eq!(&run(&follower.machine, block).unwrap(), block);
        follower.keep(block);
    }
}

#[test]
fn a_restart_gives_back_the_same_ledger_with_and_without_snapshot() {
    let ledger = Ledger::new();
    story(&ledger);
    for fold in [None, Some(Height(2)), Some(Height(5))] {
        if let Some(height) = fold {
            ledger.store.fold(height).unwrap();
        }
        let again = ledger.reopen();
        assert_eq!(again.machine.head(), ledger.machine.head());
        let token = TokenRecord::thing(address("acme"), "part", "1").unwrap().id();
        assert_eq!(again.machine.token(token), ledger.machine.token(token));
        assert_eq!(again.machine.lineage(token).unwrap(), ledger.machine.lineage(token).unwrap());
        assert_eq!(again.machine.assets(None, 10), ledger.machine.assets(None, 10));
        let owner = address("bob").into();
        assert_eq!(again.machine.outputs_of(owner, None, 10), ledger.machine.outputs_of(owner, None, 10));
    }
    let other = bletchley_token::Genesis { time_ms: TimestampMs(7), ..GENESIS };
    assert!(matches!(TokenMachine::open(other, ledger.store.clone()), Err(OpenError::Genesis { .. })));
}

/// A store that kept other rows than the header commits to is found out when it is opened.
#[test]
fn damaged_rows_are_found_when_opening() {
    let ledger = Ledger::new();
    let blocks = story(&ledger);
    let copy = MemoryStore::default();
    copy.append(&GENESIS.block()).unwrap();
    for (number, block) in blocks.iter().enumerate() {
        let mut stored = block.clone().into_stored(Bytes::new());
        if number == 1 {
            let mut rows = DiffWriter::default();
            for change in DiffReader::new(&stored.diff).unwrap() {
                let (key, value) = change.unwrap();
                let mut value = value.unwrap().to_vec();
                if key[0] == b'o' {
                    value[5] ^= 1;
                }
                rows.put(key, &value);
            }
            stored.diff = rows.finish();
        }
        copy.append(&stored).unwrap();
    }
    assert!(matches!(TokenMachine::open(GENESIS, Arc::new(copy)), Err(OpenError::Read(_))));
}

/// A block that another member made takes what it needs out of this pool, and ends what it contradicts.
#[test]
fn foreign_blocks_clear_the_pool_of_what_they_contradict() {
    let (ours, theirs) = (Ledger::new(), Ledger::new());
    let acme = key("acme");
    let issue = |serial: &str| {
        TxBuilder::issue_thing(LEDGER, acme.address(), "part", serial, lock("acme")).unwrap().sign(&[&acme])
    };
    let id = |serial: &str| TokenRecord::thing(acme.address(), "part", serial).unwrap().id();
    let (one, two) = (issue("1"), issue("2"));
    for ledger in [&ours, &theirs] {
        ledger.submit(&one).unwrap();
    }
    let give = |from: &SignedTx, serial: &str, to: &str| {
        TxBuilder::transfer(LEDGER).spend(from.output(0)).token(id(serial), lock(to)).sign(&[&acme])
    };
    let (to_ann, to_bob) = (give(&one, "1", "ann"), give(&one, "1", "bob"));
    theirs.submit(&to_ann).unwrap();
    ours.submit(&to_bob).unwrap();
    let on =
        TxBuilder::transfer(LEDGER).spend(to_bob.output(0)).token(id("1"), lock("eve")).sign(&[&key("bob")]);
    ours.submit(&on).unwrap();
    ours.submit(&two).unwrap();
    ours.submit(&give(&two, "2", "bob")).unwrap();
    assert_eq!(ours.machine.waiting(), 5);
    let block = theirs.block();
    run(&ours.machine, &block).unwrap();
    ours.keep(&block);
    // What contradicts the block is gone with all that builds on it; the rest waits on and is valid.
    assert_eq!(ours.machine.waiting(), 2);
    assert_eq!(ours.block().transactions, 2);
    assert_eq!(ours.owner(id("1")), Some(lock("ann")));
    assert_eq!(ours.owner(id("2")), Some(lock("bob")));
    assert_ne!(ours.machine.head().hash, BlockHash::default());
}
