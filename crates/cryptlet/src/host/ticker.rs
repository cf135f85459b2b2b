//! The wall-clock backstop: a thread that advances the engine's epoch while calls run, and sleeps while none do.

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use wasmtime::Engine;

/// Length of an epoch: how finely a timeout is kept.
pub(super) const EPOCH_MS: u64 = 10;

#[derive(Default)]
struct State {
    active: u32,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The first call came, or the owner stops: wakes the thread.
    work: Condvar,
    /// A call ended: wakes a caller that waits for a place.
    place: Condvar,
}

/// Owns the thread; dropping it stops and joins the thread.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A call in flight.
pub(super) struct InFlight<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread = Builder::new().name("cryptlet-epoch".to_owned()).spawn(move || run(&inner, &engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes one of `calls_max` places, waiting at most `timeout` for it.
    pub(super) fn enter(&self, calls_max: u32, timeout: Duration) -> Option<InFlight<'_>> {
        let mut state = self.shared.state.lock();
        if state.active >= calls_max {
            let full = |state: &mut State| state.active >= calls_max;
            let _ = self.shared.place.wait_while_for(&mut state, full, timeout);
            if state.active >= calls_max {
                return None;
            }
        }
        state.active += 1;
        if state.active == 1 {
            self.shared.work.notify_one();
        }
        drop(state);
        Some(InFlight(&self.shared))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state.lock().active -= 1;
        // The thread notices at its next tick; only a caller that waits for a place needs waking.
        self.0.place.notify_one();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, engine: &Engine) {
    let mut state = shared.state.lock();
    while !state.stopping {
        if state.active == 0 {
            shared.work.wait(&mut state);
        } else {
            let _ = shared.work.wait_while_for(
                &mut state,
                |state| !state.stopping,
                Duration::from_millis(EPOCH_MS),
            );
            engine.increment_epoch();
        }
    }
}
