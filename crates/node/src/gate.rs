//! Keeps block production and changes from outside apart, and says when a round of block production has ended.

use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    making: bool,
    paused: bool,
    rounds: u64,
}

/// At any time either one block is being made, or one change from outside happens, or neither.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Waits until no change from outside happens, then marks that a block is being made.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        while state.paused {
            self.changed.wait(&mut state);
        }
        state.making = true;
    }

    /// Marks that the block was kept, or that there was none.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.making = false;
        state.rounds += 1;
        self.changed.notify_all();
    }

    /// Runs `change` while no block is being made.
    pub(crate) fn paused(&self, change: &mut dyn FnMut()) {
        let mut state = self.state.lock();
        while state.making || state.paused {
            self.changed.wait(&mut state);
        }
        state.paused = true;
        drop(state);
        change();
        self.state.lock().paused = false;
        self.changed.notify_all();
    }

    /// How many rounds of block production have ended.
    #[must_use]
    pub(crate) fn rounds(&self) -> u64 {
        self.state.lock().rounds
    }

    /// Waits until more than `after` rounds have ended, or until `deadline`; false when the deadline came first.
    #[must_use]
    pub(crate) fn await_round(&self, after: u64, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.rounds <= after {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO
                || self.changed.wait_for(&mut state, left).timed_out() && state.rounds <= after
            {
                return false;
            }
        }
        true
    }
}
