//! Every implementation runs the same suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_ledger::{AppendError, SharedStore, Store};
use bletchley_storage::{
    FaultyStore, MemoryStore, OpenError, Options, SegmentStore, SimulatedDisk, conformance,
};
use std::sync::Arc;

/// Segments so small that a short chain rolls often.
fn small(rewindable: bool) -> Options {
    Options { rewindable, segment_size_bytes: 3000, fold_size_bytes: 400, ..Options::default() }
}

#[test]
fn memory() {
    conformance::check(&|rewindable| {
        Arc::new(if rewindable { MemoryStore::rewindable() } else { MemoryStore::new() }) as SharedStore
    });
}

#[test]
fn faulty_until_its_fault() {
    conformance::check(&|rewindable| {
        let inner = if rewindable { MemoryStore::rewindable() } else { MemoryStore::new() };
        Arc::new(FaultyStore::failing_after(Arc::new(inner), u64::MAX)) as SharedStore
    });
    let store = FaultyStore::failing_after(Arc::new(MemoryStore::new()), 2);
    let blocks = conformance::chain(4, 1);
    store.append(&blocks[0]).unwrap();
    store.append(&blocks[1]).unwrap();
    assert!(matches!(store.append(&blocks[2]), Err(AppendError::Io { .. })));
    assert!(matches!(store.append(&blocks[2]), Err(AppendError::Poisoned)));
    conformance::assert_holds(&store, &blocks[..2]);
}

#[test]
fn segments_on_a_simulated_disk() {
    conformance::check(&|rewindable| {
        Arc::new(SegmentStore::open_on(Arc::new(SimulatedDisk::new(1)), small(rewindable)).unwrap())
    });
}

#[test]
fn stores_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in bletchley_storage::NAMES {
        let store = bletchley_storage::open(name, folder.path(), Options::default()).unwrap();
        store.append(&conformance::chain(1, 1)[0]).unwrap();
    }
    let error = bletchley_storage::open("paper", folder.path(), Options::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("segments, memory"), "{error}");
}

#[test]
fn segments() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    for options in [small, |rewindable| Options { rewindable, ..Options::default() }] {
        conformance::check(&|rewindable| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Arc::new(SegmentStore::open(folder.path().join(number.to_string()), options(rewindable)).unwrap())
        });
    }
}

#[test]
fn segments_reopened() {
    for options in [small(false), Options::default()] {
        let folder = tempfile::tempdir().unwrap();
        conformance::check_reopening(&|| Arc::new(SegmentStore::open(folder.path(), options).unwrap()));
    }
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = SegmentStore::open(folder.path(), Options::default()).unwrap();
    let error = SegmentStore::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    drop(store);
    SegmentStore::open(folder.path(), Options::default()).unwrap();
}
