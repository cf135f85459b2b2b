//! Readers beside blocks.

use super::{store::DiffStore, zoo, *};
use revm::primitives::hardfork::SpecId;
use std::sync::atomic::AtomicBool;

#[test]
fn readers_keep_their_height_while_blocks_are_committed() {
    const BLOCKS: u64 = 60;
    let store = DiffStore::default();
    let state = State::open(zoo::alloc(), &store, StateOptions::default()).unwrap().state;
    let done = AtomicBool::new(false);
    let slot = U256::from(2);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0u64;
                    while !done.load(Ordering::Acquire) {
                        let view = state.latest();
                        let height = view.height();
                        // Slot 2 of the elder counts blocks; a view never shows another block's value.
                        assert_eq!(view.slot(&zoo::ELDER, &slot).unwrap(), U256::from(height.0));
                        assert!(height.0 >= seen);
                        seen = height.0;
                        if let Some(earlier) = height.0.checked_sub(5) {
                            let proof = state.proof(Height(earlier), zoo::ELDER, &[slot]).unwrap();
                            assert_eq!(proof.storage[0].value, U256::from(earlier));
                        }
                        assert_eq!(view.slot(&zoo::ELDER, &slot).unwrap(), U256::from(height.0));
                    }
                })
            })
            .collect();
        for height in 1..=BLOCKS {
            let deeds = [(0, zoo::Deed::Store { salt: 3, slot: 2, value: height })];
            let (view, changes) = zoo::run_block(state.head_view(), SpecId::OSAKA, &deeds);
            let staged = state.stage(view, changes).unwrap();
            state.commit(staged, Height(height)).unwrap();
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(state.height(), Height(BLOCKS));
}

#[test]
fn the_future_is_refused() {
    let store = DiffStore::default();
    let state = State::open(zoo::alloc(), &store, StateOptions::default()).unwrap().state;
    let refused = HistoryError::AboveHead { height: Height(1), head: Height(0) };
    assert_eq!(state.view_at(Height(1)).err(), Some(refused));
    assert_eq!(state.proof(Height(1), zoo::ELDER, &[]).err(), Some(refused.into()));
}
