//! Every implementation runs the same suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_ledger::SharedStore;
use bletchley_storage::{MemoryStore, OpenError, Options, SegmentStore, conformance};
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
