//! Damaged and hostile files: every flipped bit is found and located, nothing durable is cut away, nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_ledger::{ReadError, Store, StoredBlock};
use bletchley_primitives::Height;
use bletchley_storage::conformance::{Numbers, assert_holds, assert_snapshot, chain};
use bletchley_storage::{Damage, OpenError, Options, SegmentStore, SimulatedDisk, inspect, inspect_on};
use proptest::prelude::*;
use std::sync::Arc;

const FIRST: &str = "segments/00000000000000000000.seg";

fn filled(options: Options, count: usize, seed: u64) -> (SimulatedDisk, Vec<StoredBlock>) {
    let disk = SimulatedDisk::new(seed);
    let store = SegmentStore::open_on(Arc::new(disk.clone()), options).unwrap();
    let blocks = chain(count, seed);
    blocks.iter().for_each(|block| store.append(block).unwrap());
    drop(store);
    (disk, blocks)
}

fn small() -> Options {
    Options { segment_size_bytes: 3000, ..Options::default() }
}

fn inspected(disk: &SimulatedDisk) -> (Vec<StoredBlock>, Vec<Damage>) {
    let (mut blocks, mut damages) = (Vec::new(), Vec::new());
    for item in inspect_on(Arc::new(disk.clone())).unwrap() {
        match item {
            Ok(block) => blocks.push(block),
            Err(damage) => damages.push(damage),
        }
    }
    (blocks, damages)
}

fn open(disk: &SimulatedDisk, options: Options) -> Result<SegmentStore, OpenError> {
    SegmentStore::open_on(Arc::new(disk.clone()), options)
}

/// Begin and end of each record of a segment that holds `blocks`.
fn records(blocks: &[StoredBlock]) -> Vec<(u64, u64)> {
    let mut at = 44;
    let size = |block: &StoredBlock| {
        let sections: usize =
            bletchley_ledger::Section::ALL.iter().map(|section| block.section(*section).len() + 4).sum();
        (128 + sections + block.index.len() * 36 + 4) as u64
    };
    let mut next = |block| {
        let begin = at;
        at += size(block);
        (begin, at)
    };
    blocks.iter().map(&mut next).collect()
}

#[test]
fn an_undamaged_folder_has_no_damage() {
    let (disk, blocks) = filled(small(), 40, 1);
    assert!(disk.files().iter().filter(|name| name.ends_with(".idx")).count() > 3, "several sealed segments");
    assert_eq!(inspected(&disk), (blocks, vec![]));
}

#[test]
fn every_flipped_bit_of_a_segment_is_found_and_located() {
    let (disk, blocks) = filled(Options::default(), 5, 2);
    let whole = disk.bytes(FIRST).unwrap();
    let records = records(&blocks);
    assert_eq!(records.last().unwrap().1, whole.len() as u64);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.replace(FIRST, bytes);
        let at = bit as u64 / 8;
        let (read, damages) = inspected(&disk);
        let damage = damages.first().unwrap_or_else(|| panic!("bit {bit} was not found"));
        assert_eq!(damage.file, FIRST);
        assert!(!damage.is_torn_tail(), "bit {bit}: {damage}");
        match records.iter().position(|(begin, end)| (*begin..*end).contains(&at)) {
            Some(hit) => {
                assert_eq!(damage.height, Some(Height(hit as u64)), "bit {bit}: {damage}");
                assert!(damage.offset <= at && damage.offset >= records[hit].0, "bit {bit}: {damage}");
                let rest: Vec<_> =
                    blocks.iter().filter(|block| block.meta.height.0 != hit as u64).cloned().collect();
                assert_eq!(read, rest, "bit {bit}: the other blocks are read");
            }
            None => assert_eq!(read, blocks, "bit {bit}: all blocks are read"),
        }
        if bit % 7 == 0 || at < 200 {
            opening_refuses(&disk, &damages[0], &blocks);
        }
    }
}

/// Opening names the damage and changes nothing, save a mark, which it can write again.
fn opening_refuses(disk: &SimulatedDisk, damage: &Damage, blocks: &[StoredBlock]) {
    let before = disk.bytes(FIRST).unwrap();
    match open(disk, Options::default()) {
        Ok(store) => {
            assert_eq!(damage.part, "mark", "opened in spite of {damage}");
            assert_holds(&store, blocks);
            drop(store);
            assert_eq!(inspected(disk), (blocks.to_vec(), vec![]), "the mark is written again");
        }
        Err(OpenError::Damaged { damage: found, .. }) => {
            assert_eq!((&found.file, found.offset, found.part), (&damage.file, damage.offset, damage.part));
            assert_eq!(disk.bytes(FIRST).unwrap(), before, "nothing was changed");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_damaged_sealed_segment_is_named_when_it_is_read() {
    let (disk, blocks) = filled(small(), 40, 3);
    let mut bytes = disk.bytes(FIRST).unwrap();
    let (begin, end) = records(&blocks)[1];
    let mut found = 0;
    for at in begin..end {
        bytes[at as usize] ^= 0x10;
        disk.replace(FIRST, bytes.clone());
        let store = open(&disk, small()).unwrap();
        let error = store.block(Height(1)).unwrap_err();
        let ReadError::Damaged { place, .. } = error else { panic!("{error}") };
        assert!(place.starts_with("block 1, ") && place.contains(FIRST), "{place}");
        assert_eq!(store.block(Height(2)).unwrap().as_ref(), Some(&blocks[2]));
        bytes[at as usize] ^= 0x10;
        found += 1;
    }
    assert!(found > 128);
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    let (disk, blocks) = filled(small(), 40, 4);
    let index = disk.files().into_iter().find(|name| name.ends_with(".idx")).unwrap();
    let whole = disk.bytes(&index).unwrap();
    for damaged in [vec![], whole[..4096].to_vec(), {
        let mut b = whole.clone();
        b[20] ^= 1;
        b
    }] {
        disk.replace(&index, damaged);
        let store = open(&disk, small()).unwrap();
        assert_eq!(store.report().reindexed.len(), 1);
        assert_holds(&store, &blocks);
        drop(store);
        assert_eq!(disk.bytes(&index).unwrap(), whole);
    }
    // A page that is only read later is named when it is.
    let mut bytes = whole;
    bytes[4096 + 3] ^= 1;
    disk.replace(&index, bytes);
    let (read, damages) = inspected(&disk);
    assert_eq!(read, blocks, "blocks do not depend on it");
    assert_eq!((damages.len(), damages[0].offset, damages[0].part), (1, 4096, "segment index"));
    let error = open(&disk, small()).unwrap().block(Height(0)).unwrap_err();
    assert!(error.to_string().contains(&index), "{error}");
}

#[test]
fn a_torn_tail_is_cut_off_at_any_length() {
    let (disk, blocks) = filled(Options::default(), 4, 5);
    let whole = disk.bytes(FIRST).unwrap();
    let (begin, end) = records(&blocks)[3];
    // As before the last append returned: the mark covers three blocks.
    let before = filled(Options::default(), 3, 5).0.bytes(FIRST).unwrap();
    for cut in begin..end {
        let mut bytes = whole[..cut as usize].to_vec();
        bytes[..44].copy_from_slice(&before[..44]);
        let salt = bytes[20..28] == whole[20..28];
        assert!(salt, "the seed gives the same salt");
        if cut % 2 == 0 {
            bytes.resize(end as usize, 0);
        }
        disk.replace(FIRST, bytes.clone());
        let ends_whole = bytes == {
            let mut b = whole.clone();
            b[..44].copy_from_slice(&before[..44]);
            b
        };
        let (_, damages) = inspected(&disk);
        assert!(damages.iter().all(|damage| damage.part == "tail" || cut % 2 == 0), "{damages:?}");
        let reader = open(&disk, Options::read_only()).unwrap();
        assert_holds(&reader, if ends_whole { &blocks } else { &blocks[..3] });
        assert_eq!(reader.report().torn.is_some(), !ends_whole && (cut > begin || cut % 2 == 0));
        drop(reader);
        assert_eq!(disk.bytes(FIRST).unwrap(), bytes, "a read-only store repairs nothing");
        let store = open(&disk, Options::default()).unwrap();
        if let Some(torn) = &store.report().torn {
            assert_eq!((torn.offset, torn.height, torn.file.as_str()), (begin, Height(3), FIRST));
        }
        if !ends_whole {
            store.append(&blocks[3]).unwrap();
        }
        assert_holds(&store, &blocks);
    }
}

#[test]
fn a_cut_of_what_was_durable_is_damage() {
    let (disk, blocks) = filled(Options::default(), 4, 6);
    let whole = disk.bytes(FIRST).unwrap();
    for cut in [whole.len() - 1, records(&blocks)[3].0 as usize, records(&blocks)[1].0 as usize, 45] {
        disk.replace(FIRST, whole[..cut].to_vec());
        let error = open(&disk, Options::default()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(!inspected(&disk).1.is_empty());
        assert_eq!(disk.bytes(FIRST).unwrap().len(), cut);
    }
}

#[test]
fn a_damaged_record_before_others_is_never_a_torn_tail() {
    let (disk, blocks) = filled(Options::default(), 4, 6);
    let whole = disk.bytes(FIRST).unwrap();
    let records = records(&blocks);
    for (at, record) in records.iter().enumerate().take(3) {
        for offset in [record.0, record.0 + 100, record.0 + 127, record.1 - 1] {
            let mut bytes = whole.clone();
            bytes[offset as usize] ^= 0x20;
            // Not even the mark is there to say that it was durable.
            bytes[35] ^= 1;
            disk.replace(FIRST, bytes.clone());
            let Err(OpenError::Damaged { damage, .. }) = open(&disk, Options::default()) else {
                panic!("opened with byte {offset} damaged")
            };
            assert_eq!(damage.height, Some(Height(at as u64)));
            assert_eq!(disk.bytes(FIRST).unwrap(), bytes, "nothing was changed");
            assert!(inspected(&disk).1.iter().any(|damage| damage.height == Some(Height(at as u64))));
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, blocks) = filled(small(), 40, 7);
    let copy = SimulatedDisk::new(1);
    let missing = disk.files().into_iter().filter(|name| name.ends_with(".seg")).nth(2).unwrap();
    for name in disk.files().iter().filter(|name| **name != missing) {
        copy.replace(name, disk.bytes(name).unwrap());
    }
    let (read, damages) = inspected(&copy);
    assert!(read.len() < blocks.len());
    assert_eq!(damages.len(), 1);
    assert!(damages[0].problem.contains("missing"), "{}", damages[0]);
    assert!(matches!(open(&copy, small()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_record_inside_of_a_transaction_is_no_record() {
    // Someone puts a whole record, taken from another node's segment, into a transaction; then the append is torn.
    let (other, _) = filled(Options::default(), 3, 8);
    let hostile = other.bytes(FIRST).unwrap();
    let (disk, mut blocks) = filled(Options::default(), 2, 9);
    let before = disk.bytes(FIRST).unwrap();
    let mut numbers = Numbers::new(99);
    let mut block = bletchley_storage::conformance::next_block(Some(blocks[1].meta), &mut numbers);
    block.block.body = hostile.into();
    let store = open(&disk, Options::default()).unwrap();
    store.append(&block).unwrap();
    drop(store);
    let mut torn = disk.bytes(FIRST).unwrap();
    torn[..44].copy_from_slice(&before[..44]);
    torn.truncate(torn.len() - 10);
    // The header was lost too: a search for the next record meets the hostile one.
    torn[before.len()..before.len() + 128].fill(0);
    disk.replace(FIRST, torn);
    let store = open(&disk, Options::default()).unwrap();
    assert_holds(&store, &blocks);
    store.append(&block).unwrap();
    blocks.push(block);
    assert_holds(&store, &blocks);
}

#[test]
fn a_damaged_snapshot_is_passed_over() {
    let (disk, blocks) = filled(small(), 40, 10);
    let store = open(&disk, small()).unwrap();
    for height in [5, 20, 30] {
        store.fold(Height(height)).unwrap();
    }
    drop(store);
    let snapshots = |disk: &SimulatedDisk| {
        disk.files().into_iter().filter(|name| name.ends_with(".snap")).collect::<Vec<_>>()
    };
    let names = snapshots(&disk);
    assert_eq!(names.len(), 2, "two are kept");
    let (older, newest) = (names[0].clone(), names[1].clone());
    let whole = disk.bytes(&newest).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.replace(&newest, bytes);
        let store = open(&disk, Options::read_only()).unwrap();
        assert_eq!(assert_snapshot(&store, &blocks), Some(Height(20)), "bit {bit}");
    }
    let store = open(&disk, small()).unwrap();
    disk.replace(&older, vec![1; 70]);
    assert_eq!(assert_snapshot(&store, &blocks), None);
    store.fold(Height(35)).unwrap();
    assert_eq!(assert_snapshot(&store, &blocks), Some(Height(35)));
    assert_eq!(snapshots(&disk).len(), 1, "the damaged ones are gone");
}

#[test]
fn a_read_only_store_changes_nothing_beside_a_running_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        SegmentStore::open(folder.path(), Options::read_only()),
        Err(OpenError::NothingThere { .. })
    ));
    assert!(matches!(inspect(folder.path()), Err(OpenError::NothingThere { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was created");
    let blocks = chain(30, 12);
    let store = SegmentStore::open(folder.path(), small()).unwrap();
    blocks[..20].iter().for_each(|block| store.append(block).unwrap());
    store.table_write("t", &[(vec![1].into(), Some(vec![2].into()))]).unwrap();
    let files = |folder: &std::path::Path| {
        let mut found = Vec::new();
        for folder in [folder.to_path_buf(), folder.join("segments"), folder.join("snapshots")] {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_file())
            {
                found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
            }
        }
        found.sort();
        found
    };
    // An index that is missing is made again in memory only.
    std::fs::remove_file(folder.path().join("segments/00000000000000000000.idx")).unwrap();
    let before = files(folder.path());
    let reader =
        SegmentStore::open(folder.path(), Options { segment_size_bytes: 3000, ..Options::read_only() })
            .unwrap();
    assert_holds(&reader, &blocks[..20]);
    assert_eq!(reader.report().reindexed.len(), 1);
    assert!(reader.append(&blocks[20]).is_err());
    assert!(reader.fold(Height(3)).is_err());
    assert!(reader.truncate(Height(3)).is_err());
    assert!(reader.table_write("t", &[]).is_err());
    let read: Result<Vec<_>, _> = inspect(folder.path()).unwrap().collect();
    assert_eq!(read.unwrap(), &blocks[..20]);
    assert!(before == files(folder.path()), "a reader changed something");
    blocks[20..].iter().for_each(|block| store.append(block).unwrap());
    assert_holds(&reader, &blocks[..20]);
    drop(store);
    let reader = SegmentStore::open(folder.path(), Options::read_only()).unwrap();
    assert_holds(&reader, &blocks);
    assert_eq!(reader.table_get("t", &[1]).unwrap().unwrap().as_ref(), [2]);
}

/// Every way in, on whatever is there: it may refuse, and it must not panic.
fn use_all(disk: &SimulatedDisk) {
    if let Ok(items) = inspect_on(Arc::new(disk.clone())) {
        assert!(items.count() < 10_000, "ends");
    }
    for options in [Options::read_only(), small(), Options { rewindable: true, ..small() }] {
        let Ok(store) = open(disk, options) else { continue };
        let head = store.head().map_or(0, |head| head.height.0);
        for height in (0..=head.min(50)).map(Height) {
            let _ = (store.meta(height), store.block(height), store.height_of(Default::default()));
            let _ = store.section(height, bletchley_ledger::Section::Body);
        }
        let _ = (store.locate(Default::default()), store.snapshot().map(|_| ()), store.fold(Height(head)));
        let _ = (store.truncate(Height(head / 2)), store.append(&chain(1, 5)[0]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn hostile_tables_are_refused(
        flips in proptest::collection::vec((0usize..45_056, 0u8..8), 1..30),
        keep in 0usize..90_000,
    ) {
        let (disk, _) = filled(small(), 3, 15);
        let store = open(&disk, small()).unwrap();
        for at in 0..20u8 {
            store.table_write("t", &[(vec![at].into(), Some(vec![at; 400].into()))]).unwrap();
        }
        drop(store);
        let mut hostile = disk.bytes("tables.redb").unwrap();
        for (at, bit) in flips {
            if let Some(byte) = hostile.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        hostile.truncate(keep);
        disk.replace("tables.redb", hostile);
        for options in [Options::read_only(), small()] {
            let Ok(store) = open(&disk, options) else { continue };
            let _ = store.table_range("t", &[0], &[255], 100);
            let _ = store.table_get("t", &[7]);
            let _ = store.table_write("t", &[(vec![7].into(), None)]);
        }
    }

    #[test]
    fn hostile_files_are_refused(
        which in 0usize..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        keep in 0usize..400,
    ) {
        let (disk, _) = filled(small(), 12, 13);
        let store = open(&disk, small()).unwrap();
        store.fold(Height(6)).unwrap();
        drop(store);
        let ending = [".seg", ".idx", ".snap"][which];
        let name = disk.files().into_iter().find(|name| name.ends_with(ending)).unwrap();
        let mut hostile = disk.bytes(&name).unwrap();
        hostile.truncate(keep);
        hostile.extend(bytes);
        disk.replace(&name, hostile);
        use_all(&disk);
    }

    #[test]
    fn hostile_fields_under_a_right_checksum_are_refused(
        fields in proptest::collection::vec((0usize..124, any::<u8>()), 1..6),
        last in any::<bool>(),
    ) {
        let (disk, blocks) = filled(small(), 12, 14);
        let names: Vec<_> = disk.files().into_iter().filter(|name| name.ends_with(".seg")).collect();
        let name = if last { names.last().unwrap() } else { &names[0] };
        let mut bytes = disk.bytes(name).unwrap();
        for (at, value) in fields {
            bytes[44 + at] = value;
        }
        let crc = crc32c::crc32c(&bytes[44..44 + 124]).to_be_bytes();
        bytes[44 + 124..44 + 128].copy_from_slice(&crc);
        disk.replace(name, bytes);
        let items: Vec<_> = inspect_on(Arc::new(disk.clone())).unwrap().collect();
        prop_assert!(items.len() <= 3 * blocks.len());
        use_all(&disk);
    }
}
