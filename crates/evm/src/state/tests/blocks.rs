//! Whole blocks: created, destroyed and created again within one journal.

use super::{store::DiffStore, zoo, *};
use proptest::prelude::*;
use revm::primitives::hardfork::SpecId;

fn spec() -> impl Strategy<Value = SpecId> {
    // Before Cancun, SELFDESTRUCT takes the storage of old contracts with it.
    prop_oneof![Just(SpecId::SHANGHAI), Just(SpecId::CANCUN), Just(SpecId::OSAKA)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..Default::default() })]

    #[test]
    fn a_block_in_one_journal_equals_its_transactions_one_by_one(
        spec in spec(), blocks in zoo::blocks(), detours in proptest::collection::vec(0u8..4, 8), archive: bool,
    ) {
        let store = DiffStore::default();
        let options = StateOptions { archive, window_blocks: 3 };
        let opened = State::open(zoo::alloc(), &store, options).unwrap();
        let state = opened.state;
        store.push(opened.genesis_diff.unwrap());
        let mut db = zoo::model();
        let mut worlds = vec![world_of(&db)];
        prop_assert_eq!(opened.root, root_of(&worlds[0]));

        for (number, deeds) in blocks.iter().enumerate() {
            let before = worlds[number].clone();
            db = zoo::run_singly(db, spec, deeds);
            let world = world_of(&db);
            let (view, changes) = zoo::run_block(state.head_view(), spec, deeds);
            let staged = state.stage(view, changes).unwrap();
            prop_assert_eq!(staged.root, root_of(&world));
            // What else can happen between staging and committing changes nothing.
            match detours[number] {
                0 => state.discard({
                    let (view, changes) = zoo::run_block(state.head_view(), spec, &blocks[0]);
                    state.stage(view, changes).unwrap()
                }),
                1 => prop_assert_eq!(state.root(), root_of(&before)),
                2 => assert_proves(&state, Height(number as u64), &before, &[]),
                _ => {}
            }
            assert_shows(&state.latest(), &before, &zoo::everyone());
            store.push(staged.diff.clone());
            state.commit(staged, Height(number as u64 + 1)).unwrap();
            assert_shows(&state.latest(), &world, &zoo::everyone());
            prop_assert_eq!(state.root(), root_of(&world));
            worlds.push(world);
        }

        // Every height in reach is shown and proved; the others are refused.
        let head = blocks.len();
        for (height, world) in worlds.iter().enumerate() {
            let at = Height(height as u64);
            if archive || head - height <= 3 {
                assert_shows(&state.view_at(at).unwrap(), world, &zoo::everyone());
                assert_proves(&state, at, world, &zoo::everyone());
            } else {
                prop_assert_eq!(state.view_at(at).err(), Some(HistoryError::Pruned { height: at, oldest: state.oldest() }));
            }
        }
        prop_assert_eq!(state.root(), root_of(&worlds[head]));

        // The same comes back from the diffs, and from a snapshot and the diffs above it.
        for fold in [None, Some(Height(head as u64 / 2))] {
            if let Some(height) = fold {
                bletchley_ledger::Store::fold(&store, height).unwrap();
            }
            let again = State::open([], &store, options).unwrap();
            prop_assert_eq!(again.root, root_of(&worlds[head]));
            prop_assert!(again.genesis_diff.is_none());
            assert_shows(&again.state.latest(), &worlds[head], &zoo::everyone());
            let oldest = again.state.oldest().0 as usize;
            assert_shows(&again.state.view_at(Height(oldest as u64)).unwrap(), &worlds[oldest], &zoo::everyone());
        }

        // And it can be taken back and done again.
        let back = state.oldest().0 as usize;
        state.rewind(Height(back as u64), None).unwrap();
        prop_assert_eq!(state.root(), root_of(&worlds[back]));
        assert_shows(&state.latest(), &worlds[back], &zoo::everyone());
        for (number, deeds) in blocks.iter().enumerate().skip(back) {
            let (view, changes) = zoo::run_block(state.head_view(), spec, deeds);
            let staged = state.stage(view, changes).unwrap();
            prop_assert_eq!(staged.root, root_of(&worlds[number + 1]));
            let diff = staged.diff.clone();
            prop_assert_eq!(Some(diff), bletchley_ledger::Store::section(&store, Height(number as u64 + 1), bletchley_ledger::Section::Diff).unwrap());
            state.commit(staged, Height(number as u64 + 1)).unwrap();
        }
    }
}

#[test]
fn of_two_staged_siblings_one_is_committed_and_the_other_refused() {
    let store = DiffStore::default();
    let state = State::open(zoo::alloc(), &store, StateOptions::default()).unwrap().state;
    let stage = |deeds: &[_]| {
        let (view, changes) = zoo::run_block(state.head_view(), SpecId::OSAKA, deeds);
        state.stage(view, changes).unwrap()
    };
    let first = stage(&[(0, zoo::Deed::Send { to: 1, value: 2 })]);
    let second = stage(&[(1, zoo::Deed::Create { salt: 0, destroy: false, value: 1 })]);
    let (first_root, second_root) = (first.root, second.root);
    assert_ne!(first_root, second_root);
    assert_eq!(
        state.commit(first, Height(2)),
        Err(CommitError::NotNext { head: Height(0), offered: Height(2) })
    );
    let first = stage(&[(0, zoo::Deed::Send { to: 1, value: 2 })]);
    assert_eq!(first.root, first_root);
    state.commit(first, Height(1)).unwrap();
    assert_eq!(state.root(), first_root);
    assert_eq!(state.commit(second, Height(2)), Err(CommitError::Moved));
    assert_eq!(state.root(), first_root);
}

#[test]
fn a_view_taken_before_a_rewind_or_a_commit_does_not_stage_after_it() {
    let store = DiffStore::default();
    let state = State::open(zoo::alloc(), &store, StateOptions::default()).unwrap().state;
    let (view, changes) = zoo::run_block(state.head_view(), SpecId::OSAKA, &[]);
    let staged = state.stage(view, changes).unwrap();
    assert!(staged.diff.is_empty(), "a block without transactions changes nothing");
    let before = state.view_at(Height(0)).unwrap();
    state.commit(staged, Height(1)).unwrap();
    state.rewind(Height(0), None).unwrap();
    assert_eq!(before.account(&zoo::ELDER), Err(HistoryError::Rewound { height: Height(0) }.into()));
    assert_eq!(
        state.rewind(Height(1), None),
        Err(HistoryError::AboveHead { height: Height(1), head: Height(0) })
    );
}

#[test]
fn damaged_state_changes_are_refused_with_their_place() {
    let store = DiffStore::default();
    let opened = State::open(zoo::alloc(), &store, StateOptions::default()).unwrap();
    let genesis = opened.genesis_diff.unwrap();
    store.push(genesis.clone());
    let refused = |diff: Bytes| {
        store.replace(0, diff);
        State::open([], &store, StateOptions::default()).err().map(|error| error.to_string())
    };
    assert_eq!(refused(genesis.clone()), None);
    assert!(refused(genesis.slice(..genesis.len() - 1)).unwrap().contains("block 0"));
    let mut writer = bletchley_ledger::DiffWriter::default();
    writer.put(b"\x04unknown", b"");
    assert!(refused(writer.finish()).unwrap().contains("no account, slot or code"));
    let mut writer = bletchley_ledger::DiffWriter::default();
    let account = Account { nonce: 1, balance: U256::ZERO, code_hash: B256::repeat_byte(9) };
    writer.put(&[&[1], zoo::ELDER.as_slice()].concat(), &account.encode());
    assert!(refused(writer.finish()).unwrap().contains("missing"));
    let mut writer = bletchley_ledger::DiffWriter::default();
    writer.put(&[&[3], B256::ZERO.as_slice()].concat(), b"not its code");
    assert!(refused(writer.finish()).unwrap().contains("do not have its hash"));
}
