//! Final blocks taken over with their results: what was executed elsewhere is the same here to the byte, and whatever was
//! changed on the way is refused.

use crate::world::*;
use alloy_primitives::{Address, Bytes};
use bletchley_ledger::{DiffReader, DiffWriter, ExecuteError, Executed, Machine};

/// Blocks with transfers, creations, failures, fees, a delegation of an account, and none.
fn history(world: &World) -> Vec<Executed> {
    let mut blocks = Vec::new();
    for round in 0..4u64 {
        for n in 0..10u8 {
            let to = key((n + 1) % 10).address();
            // More tokens than anybody has: some of the transfers revert.
            world.send(&Tx::transfer(to, 400_000 * (round + 1), round), n);
        }
        blocks.push(world.mine().unwrap());
        blocks.push(world.mine_empty());
    }
    world.send(&Tx::create(artifact(ERC20, "bytecode"), 4), 3);
    world.send(&Tx { value: ether(1), ..Tx::to(Address::repeat_byte(0x99), 4) }, 4);
    blocks.push(world.mine().unwrap());
    blocks
}

fn take_over(world: &World, theirs: &Executed, vouched: bool) -> Result<Executed, ExecuteError> {
    let machine = world.ledger.machine();
    let (receipts, diff) = (theirs.receipts.clone(), theirs.diff.clone());
    machine.adopt(machine.inspect(theirs.block.clone(), receipts, diff, vouched)?)
}

#[test]
fn what_one_executed_another_takes_over_to_the_byte() {
    for genesis in [genesis(), genesis_with_fees()] {
        let (ours, theirs) = (World::new(genesis.clone()), World::new(genesis));
        for (number, executed) in history(&ours).iter().enumerate() {
            let adopted = take_over(&theirs, executed, number % 2 == 0).unwrap();
            assert_eq!(&adopted, executed);
            theirs.keep(adopted);
        }
        assert_eq!(ours.ledger.head(), theirs.ledger.head());
        // And it goes on by executing.
        ours.send(&Tx::transfer(key(5).address(), 1, 4), 6);
        theirs.follow(&ours.mine().unwrap());
    }
}

fn rewritten(diff: &Bytes, mut each: impl FnMut(usize, &mut Vec<u8>) -> bool, more: Option<&[u8]>) -> Bytes {
    let mut writer = DiffWriter::default();
    for (number, change) in DiffReader::new(diff).unwrap().enumerate() {
        let (key, value) = change.unwrap();
        let mut value = value.map(<[u8]>::to_vec).unwrap_or_default();
        if each(number, &mut value) {
            writer.put(key, &value);
        }
    }
    if let Some(key) = more {
        writer.put(key, &[1]);
    }
    writer.finish()
}

#[test]
fn what_was_changed_on_the_way_is_refused_and_leaves_no_trace() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let blocks = history(&ours);
    let good = &blocks[0];
    let other = &blocks[2];
    let change = |change: &dyn Fn(&mut Executed)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let flip_first = |number: usize, value: &mut Vec<u8>| {
        if let (0, Some(last)) = (number, value.last_mut()) {
            *last ^= 1;
        }
        true
    };
    let bad = [
        ("body", change(&|block| block.block.body = other.block.body.clone())),
        ("extension", change(&|block| block.block.extension = other.block.extension.clone())),
        ("receipts of another block", change(&|block| block.receipts = other.receipts.clone())),
        ("no receipts", change(&|block| block.receipts = Bytes::from_static(&[0xc0]))),
        ("no changes", change(&|block| block.diff = Bytes::new())),
        ("changes of another block", change(&|block| block.diff = other.diff.clone())),
        (
            "one value",
            change(&|block| {
                block.diff = rewritten(&block.diff, flip_first, None);
            }),
        ),
        (
            "one change less",
            change(&|block| {
                block.diff = rewritten(&block.diff, |n, _| n > 0, None);
            }),
        ),
        (
            "a change of nobody's",
            change(&|block| {
                block.diff = rewritten(&block.diff, |_, _| true, Some(b"zzz"));
            }),
        ),
    ];
    let head = theirs.ledger.head();
    for (what, block) in bad {
        for vouched in [false, true] {
            assert!(take_over(&theirs, &block, vouched).is_err(), "{what}, vouched {vouched}");
            assert_eq!(theirs.ledger.head(), head, "{what}");
        }
    }
    // A sender that nobody signed for is found, where nobody vouched for it.
    let mut receipts = good.receipts.to_vec();
    let sender = key(0).address();
    let at = receipts.windows(20).position(|bytes| bytes == sender.as_slice()).unwrap();
    receipts[at] ^= 1;
    let forged = change(&|block| block.receipts = Bytes::from(receipts.clone()));
    assert!(take_over(&theirs, &forged, false).is_err());
    let adopted = take_over(&theirs, good, true).unwrap();
    assert_eq!(&adopted, good);
    theirs.keep(adopted);
    let stale = take_over(&theirs, good, true);
    assert!(matches!(stale, Err(ExecuteError::NotOnHead { .. })), "{stale:?}");
}
