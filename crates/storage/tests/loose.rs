//! Blocks that are appended without a sync each, cut at every operation on the disk by a crash or a power cut: what was
//! settled stays, and of the rest a beginning.
#![allow(clippy::unwrap_used, clippy::panic)]

use bletchley_ledger::{Store, StoredBlock};
use bletchley_storage::conformance::{Numbers, assert_holds, next_block};
use bletchley_storage::{Fault, Options, SegmentStore, SimulatedDisk};
use std::sync::Arc;

const BLOCKS: usize = 40;
const SETTLE_BLOCKS: usize = 9;

fn options() -> Options {
    Options { segment_size_bytes: 4_000, ..Options::default() }
}

fn blocks(seed: u64) -> Vec<StoredBlock> {
    let mut numbers = Numbers::new(seed);
    let mut all: Vec<StoredBlock> = Vec::new();
    for _ in 0..BLOCKS {
        let next = next_block(all.last().map(|block| block.meta), &mut numbers);
        all.push(next);
    }
    all
}

/// Appends all of them, and gives how many were durable when the first failure came.
fn run(disk: &SimulatedDisk, all: &[StoredBlock]) -> usize {
    let Ok(store) = SegmentStore::open_on(Arc::new(disk.clone()), options()) else { return 0 };
    let mut settled = 0;
    for (number, block) in all.iter().enumerate() {
        // The first and the last ones as in ordinary running.
        let ordinary = !(5..BLOCKS - 5).contains(&number);
        let appended = if ordinary { store.append(block) } else { store.append_loose(block) };
        if appended.is_err() {
            return settled;
        }
        if ordinary {
            settled = number + 1;
        } else if number % SETTLE_BLOCKS == 0 {
            if store.settle().is_err() {
                return settled;
            }
            settled = number + 1;
        }
        assert_eq!(store.head(), Some(block.meta), "visible at once");
    }
    settled
}

fn assert_reopens(disk: &SimulatedDisk, all: &[StoredBlock], settled: usize, place: &str) {
    let store = SegmentStore::open_on(Arc::new(disk.clone()), options());
    let store = store.unwrap_or_else(|error| panic!("{place}: {error}"));
    let kept = store.head().map_or(0, |head| usize::try_from(head.height.0).unwrap() + 1);
    assert!(kept >= settled, "{place}: {kept} blocks of {settled} that were durable");
    let (whole, rest) = all.split_at(kept);
    assert_holds(&store, whole);
    // It goes on from there, and an ordinary append says that nothing is loose any more.
    for block in rest.iter().take(2) {
        store.append(block).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    assert!(!disk.files().iter().any(|file| file.ends_with("loose")), "{place}");
}

#[test]
fn whatever_cuts_a_run_leaves_a_beginning_of_it() {
    let all = blocks(7);
    let whole = SimulatedDisk::new(1);
    assert_eq!(run(&whole, &all), BLOCKS);
    assert_reopens(&whole, &all, BLOCKS, "nothing happened");
    let operations = whole.operations();
    for at in 0..operations {
        for seed in 0..2 {
            for (fault, power) in [
                (Fault::Crash, false),
                (Fault::Crash, true),
                (Fault::SyncFails, true),
                (Fault::NoSpace, false),
            ] {
                let disk = SimulatedDisk::new(seed);
                disk.plan(at, fault);
                let settled = run(&disk, &all);
                if power {
                    disk.cut_power()
                } else {
                    disk.kill()
                }
                assert_reopens(
                    &disk,
                    &all,
                    settled,
                    &format!("{fault:?} at {at}, power cut {power}, seed {seed}"),
                );
            }
        }
    }
}
