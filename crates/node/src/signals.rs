//! Wall clock and wake-ups for engines that run on a thread of this process.

use bletchley_consensus::{Signal, Signals};
use bletchley_primitives::TimestampMs;
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most blocks that may be asked for and not yet made.
const ASKED_BLOCKS_MAX: u32 = 100_000;

#[derive(Default)]
struct State {
    work: bool,
    stop: bool,
    asked: u32,
    asking: u32,
    asked_total: u64,
    mined_total: u64,
}

/// Signals of one engine.
#[derive(Default)]
pub(crate) struct WallSignals {
    state: Mutex<State>,
    changed: Condvar,
    wakers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// This computer's time.
#[must_use]
pub(crate) fn wall_now_ms() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl WallSignals {
    /// Says that transactions may be ready. Cheap, from any thread.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        if !state.work {
            state.work = true;
            self.changed.notify_all();
        }
        drop(state);
        self.wakers.lock().iter().for_each(|wake| wake());
    }

    /// Ends the engine's loop.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// Asks for blocks by hand and waits until they are final; false when the node stops or refuses the number.
    #[must_use]
    pub(crate) fn mine(&self, blocks: u32) -> bool {
        let mut state = self.state.lock();
        if state.asked.saturating_add(blocks) > ASKED_BLOCKS_MAX {
            return false;
        }
        state.asked += blocks;
        state.asked_total += u64::from(blocks);
        let until = state.asked_total;
        self.changed.notify_all();
        while state.mined_total < until && !state.stop {
            self.changed.wait(&mut state);
        }
        state.mined_total >= until
    }
}

impl Signals for WallSignals {
    fn now_ms(&self) -> TimestampMs {
        wall_now_ms()
    }

    fn wait(&self, deadline_ms: Option<TimestampMs>) -> Signal {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Signal::Stop;
            }
            if state.asked > 0 {
                let blocks = std::mem::take(&mut state.asked);
                state.asking = blocks;
                return Signal::Mine { blocks };
            }
            if std::mem::take(&mut state.work) {
                return Signal::Work;
            }
            let Some(deadline) = deadline_ms else {
                self.changed.wait(&mut state);
                continue;
            };
            let left_ms = deadline.0.saturating_sub(self.now_ms().0);
            if left_ms == 0 {
                return Signal::Deadline;
            }
            self.changed.wait_for(&mut state, Duration::from_millis(left_ms));
        }
    }

    fn on_wake(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.wakers.lock().push(wake);
    }

    fn mined(&self, blocks: u32) {
        let mut state = self.state.lock();
        state.mined_total += u64::from(blocks);
        state.asking = 0;
        self.changed.notify_all();
    }
}
