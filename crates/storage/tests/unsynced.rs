//! A sync of the small tables fails, the process starts again without a power cut, and only later the power goes: what was
//! read back meanwhile must not be lost with the operating system's memory.
#![allow(clippy::unwrap_used)]

use bletchley_ledger::Store as _;
use bletchley_storage::{Fault, Options, SegmentStore, SimulatedDisk};
use std::sync::Arc;

#[test]
fn tables_whose_sync_failed_are_written_once_more_before_they_are_built_upon() {
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed);
        let open = || SegmentStore::open_on(Arc::new(disk.clone()), Options::default()).unwrap();
        let put = |store: &SegmentStore, key: u8| {
            store.table_write("t", &[(vec![key].into(), Some(vec![key; 300].into()))])
        };
        let store = open();
        put(&store, 1).unwrap();
        disk.plan(disk.operations(), Fault::SyncFails);
        assert!(put(&store, 2).is_err());
        disk.kill();
        drop(store);
        let store = open();
        put(&store, 3).unwrap();
        disk.cut_power();
        drop(store);
        let store = open();
        for key in [1, 3] {
            assert_eq!(store.table_get("t", &[key]).unwrap(), Some(vec![key; 300].into()), "seed {seed}");
        }
    }
}
