//! Cuts a run of appends, folds, rolls, rewinds and table writes at every operation on the disk, by a crash of the process,
//! a power cut, a full disk or a failing sync, and checks what the Store seam promises after reopening.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_ledger::{AppendError, Store, StoredBlock};
use bletchley_primitives::{Bytes, Height};
use bletchley_storage::conformance::{Numbers, assert_holds, assert_snapshot, next_block};
use bletchley_storage::{Fault, Options, SegmentStore, SimulatedDisk};
use std::sync::Arc;

const COUNTER: &str = "counter";

#[derive(Clone, Copy, Debug)]
enum Step {
    Append,
    Fold,
    Count,
    Rewind(u64),
    Reopen,
}

/// What was acknowledged, and what was being attempted when a run ended.
#[derive(Default)]
struct Run {
    blocks: Vec<StoredBlock>,
    appending: Option<StoredBlock>,
    rewinding_to: Option<usize>,
    folded: Option<Height>,
    counted: u64,
    counting: bool,
    rewound: bool,
}

struct Script {
    steps: Vec<Step>,
    options: Options,
    seed: u64,
}

impl Script {
    fn new(seed: u64, steps: usize, rewinds: bool, counts: bool) -> Self {
        let mut numbers = Numbers::new(seed ^ 0x5151);
        let mut step = || match numbers.below(20) {
            0 | 1 => Step::Fold,
            2 | 3 if counts => Step::Count,
            4 if rewinds => Step::Rewind(1 + numbers.below(9)),
            5 => Step::Reopen,
            _ => Step::Append,
        };
        let steps = (0..steps).map(|_| step()).collect();
        let options = Options {
            rewindable: rewinds,
            segment_size_bytes: 4000,
            fold_size_bytes: 900,
            ..Options::default()
        };
        Self { steps, options, seed }
    }

    fn open(&self, disk: &SimulatedDisk) -> Option<SegmentStore> {
        SegmentStore::open_on(Arc::new(disk.clone()), self.options).ok()
    }

    /// Runs until the first failure.
    fn run(&self, disk: &SimulatedDisk) -> Run {
        let mut run = Run::default();
        let mut numbers = Numbers::new(self.seed);
        let Some(mut store) = self.open(disk) else { return run };
        for step in &self.steps {
            let done = match step {
                Step::Append => run.append(&store, disk, &mut numbers),
                Step::Fold => run.fold(&store),
                Step::Count => run.count(&store),
                Step::Rewind(by) => run.rewind(&store, *by as usize),
                Step::Reopen => {
                    drop(store);
                    match self.open(disk) {
                        Some(opened) => store = opened,
                        None => return run,
                    }
                    true
                }
            };
            if !done {
                break;
            }
        }
        run
    }
}

impl Run {
    fn append(&mut self, store: &SegmentStore, disk: &SimulatedDisk, numbers: &mut Numbers) -> bool {
        let block = next_block(self.blocks.last().map(|block| block.meta), numbers);
        self.appending = Some(block);
        let block = self.appending.as_ref().unwrap();
        match store.append(block) {
            Ok(()) => {
                self.blocks.extend(self.appending.take());
                true
            }
            Err(AppendError::Io { .. }) => {
                let again = store.append(block);
                assert!(matches!(again, Err(AppendError::Poisoned)), "a failed write poisons: {again:?}");
                assert_eq!(
                    store.head(),
                    self.blocks.last().map(|block| block.meta),
                    "nothing of it is visible"
                );
                if !disk.is_down() {
                    assert_holds(store, &self.blocks);
                }
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn fold(&mut self, store: &SegmentStore) -> bool {
        let Some(head) = store.head() else { return true };
        let folded = store.fold(head.height).is_ok();
        if folded {
            self.folded = Some(head.height);
        }
        folded
    }

    fn count(&mut self, store: &SegmentStore) -> bool {
        let count = Bytes::copy_from_slice(&(self.counted + 1).to_be_bytes());
        let pair =
            [(Bytes::from_static(b"one"), Some(count.clone())), (Bytes::from_static(b"two"), Some(count))];
        self.counting = true;
        if store.table_write(COUNTER, &pair).is_err() {
            return false;
        }
        self.counted += 1;
        self.counting = false;
        true
    }

    fn rewind(&mut self, store: &SegmentStore, by: usize) -> bool {
        let kept = self.blocks.len().saturating_sub(by).max(1);
        if self.blocks.len() <= kept {
            return true;
        }
        self.rewinding_to = Some(kept);
        self.rewound = true;
        if store.truncate(Height(kept as u64 - 1)).is_err() {
            return false;
        }
        self.blocks.truncate(kept);
        self.rewinding_to = None;
        true
    }

    /// Checks a store that was opened after the run; gives the blocks that it holds.
    fn check(mut self, store: &SegmentStore) -> Vec<StoredBlock> {
        let held = store.head().map_or(0, |head| head.height.0 as usize + 1);
        let acknowledged = self.blocks.len();
        let least = self.rewinding_to.unwrap_or(acknowledged);
        let most = acknowledged + usize::from(self.appending.is_some());
        assert!((least..=most).contains(&held), "{held} blocks, of {least} to {most}");
        self.blocks.extend(self.appending.take());
        self.blocks.truncate(held);
        assert_holds(store, &self.blocks);
        let snapshot = assert_snapshot(store, &self.blocks);
        if !self.rewound {
            assert!(snapshot >= self.folded, "{snapshot:?} after a fold at {:?}", self.folded);
        }
        self.check_counter(store);
        self.blocks
    }

    fn check_counter(&self, store: &SegmentStore) {
        let read = |key: &[u8]| {
            let value = store.table_get(COUNTER, key).unwrap();
            value.map_or(0, |bytes| u64::from_be_bytes(bytes.as_ref().try_into().unwrap()))
        };
        let most = self.counted + u64::from(self.counting);
        assert_eq!(read(b"one"), read(b"two"), "a change of a table is atomic");
        assert!((self.counted..=most).contains(&read(b"one")), "a change of a table is durable");
    }
}

/// The store goes on from `blocks`: appends, folds, and is the same after another power cut.
fn goes_on(script: &Script, disk: &SimulatedDisk, store: SegmentStore, mut blocks: Vec<StoredBlock>) {
    let mut numbers = Numbers::new(script.seed ^ 99);
    for _ in 0..8 {
        let block = next_block(blocks.last().map(|block| block.meta), &mut numbers);
        store.append(&block).unwrap();
        blocks.push(block);
    }
    store.fold(blocks.last().unwrap().meta.height).unwrap();
    // The store is not dropped in order: its power is cut.
    disk.cut_power();
    drop(store);
    let store = script.open(disk).unwrap();
    assert_holds(&store, &blocks);
    assert_eq!(assert_snapshot(&store, &blocks), Some(blocks.last().unwrap().meta.height));
}

fn cut_everywhere(script: &Script, fault: Fault, power: bool) {
    let rehearsal = SimulatedDisk::new(script.seed);
    let run = script.run(&rehearsal);
    assert!(!run.blocks.is_empty(), "the script appends");
    let operations = rehearsal.operations();
    assert!(operations > 50, "the script does something");
    for at in 0..operations {
        let disk = SimulatedDisk::new(script.seed.wrapping_mul(1000).wrapping_add(at));
        disk.plan(at, fault);
        let context =
            format!("seed {}, operation {at} of {operations}, {fault:?}, power cut: {power}", script.seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let run = script.run(&disk);
            if power {
                disk.cut_power()
            } else {
                disk.kill()
            }
            let store = SegmentStore::open_on(Arc::new(disk.clone()), script.options);
            let store = store.unwrap_or_else(|error| panic!("reopening: {error}"));
            let blocks = run.check(&store);
            goes_on(script, &disk, store, blocks);
        }));
        assert!(outcome.is_ok(), "failed with {context}");
    }
}

/// The process ends, and while the next one repairs what it left, the power goes.
#[test]
fn a_power_cut_while_a_crash_is_repaired() {
    let script = Script::new(51, 25, false, true);
    let rehearsal = SimulatedDisk::new(script.seed);
    script.run(&rehearsal);
    for at in 0..rehearsal.operations() {
        // What is repaired at most: a tail cut, blocks written again, syncs, the mark; then the tables.
        for after in 0..20 {
            let disk = SimulatedDisk::new(at * 100 + after);
            disk.plan(at, if at % 2 == 0 { Fault::Crash } else { Fault::SyncFails });
            let run = script.run(&disk);
            disk.kill();
            disk.plan(disk.operations() + after, Fault::Crash);
            drop(script.open(&disk));
            disk.cut_power();
            let store = SegmentStore::open_on(Arc::new(disk.clone()), script.options);
            let store =
                store.unwrap_or_else(|error| panic!("operations {at} and {after} of the repair: {error}"));
            run.check(&store);
        }
    }
}

#[test]
fn a_crash_at_any_operation() {
    for seed in 1..=1 {
        cut_everywhere(&Script::new(seed, 40, false, true), Fault::Crash, false);
    }
}

#[test]
fn a_power_cut_at_any_operation() {
    for seed in 11..=13 {
        cut_everywhere(&Script::new(seed, 40, false, true), Fault::Crash, true);
    }
}

#[test]
fn a_power_cut_while_a_development_ledger_rewinds() {
    for seed in 21..=23 {
        cut_everywhere(&Script::new(seed, 40, true, false), Fault::Crash, true);
    }
}

#[test]
fn a_full_disk_at_any_write() {
    for seed in 31..=31 {
        cut_everywhere(&Script::new(seed, 40, false, true), Fault::NoSpace, false);
        cut_everywhere(&Script::new(seed, 40, true, true), Fault::NoSpace, true);
    }
}

#[test]
fn a_failing_sync_anywhere() {
    for seed in 41..=41 {
        cut_everywhere(&Script::new(seed, 40, false, true), Fault::SyncFails, false);
        cut_everywhere(&Script::new(seed, 40, true, true), Fault::SyncFails, true);
    }
}
