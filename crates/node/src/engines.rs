//! Engines on threads of their own, what wakes them, and the snapshots taken beside them.

use crate::gate::Gate;
use crate::ledgers::Roster;
use crate::runner::{Runner, RunnerParts};
use crate::signals::WallSignals;
use anyhow::{Context, Result};
use bletchley_consensus::{Engine, EngineError};
use bletchley_ledger::Store;
use bletchley_primitives::Height;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often snapshots are considered.
const FOLD_INTERVAL: Duration = Duration::from_secs(20);
/// Blocks between snapshots.
const FOLD_BLOCKS: u64 = 2_048;
/// Newest blocks that a snapshot leaves out, so that the state of each of them can still be reached.
const FOLD_BEHIND_BLOCKS: u64 = 128;

/// An engine that runs.
pub(crate) struct EngineThread {
    pub(crate) signals: Arc<WallSignals>,
    pub(crate) gate: Arc<Gate>,
    /// False once the engine has ended, asked to or not.
    pub(crate) alive: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Where engines say that they have ended.
pub(crate) type Ended = Sender<Result<(), EngineError>>;

impl EngineThread {
    /// Starts the engine of a ledger.
    pub(crate) fn start(
        name: &str,
        parts: RunnerParts,
        engine: Box<dyn Engine>,
        ended: Ended,
    ) -> Result<Self> {
        let (signals, gate) = (Arc::new(WallSignals::default()), parts.gate.clone());
        let alive = Arc::new(AtomicBool::new(true));
        let lives = alive.clone();
        let (runner, heard, ledger) = (Arc::new(Runner::new(parts)), signals.clone(), name.to_owned());
        let thread = std::thread::Builder::new()
            .name(format!("engine-{name}"))
            .spawn(move || {
                // Whatever is logged below says which ledger it is about.
                let _ledger = tracing::error_span!("engine", ledger).entered();
                let result = engine.run(runner, heard);
                lives.store(false, Ordering::Release);
                let _ = ended.send(result);
            })
            .with_context(|| format!("starting the engine of ledger {name}"))?;
        Ok(Self { signals, gate, alive, thread })
    }

    /// Ends the engine after the block that it is making.
    pub(crate) fn stop(self) {
        self.signals.stop();
        if self.thread.join().is_err() {
            tracing::error!("an engine had panicked");
        }
    }
}

/// Takes snapshots of the stores now and then, beside everything else.
pub(crate) struct Folding {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Folding {
    pub(crate) fn start(roster: Roster) -> Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || fold_until(&roster, &stopped))
            .context("starting the snapshot thread")?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

fn fold_until(roster: &Roster, stopped: &Receiver<()>) {
    while stopped.recv_timeout(FOLD_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        for ledger in roster.all() {
            if let Err(error) = fold(&*ledger.store) {
                tracing::warn!(ledger = ledger.name, %error, "node.fold: no snapshot this time; restarts take longer until one succeeds");
            }
        }
    }
}

fn fold(store: &dyn Store) -> Result<()> {
    let Some(head) = store.head() else { return Ok(()) };
    let last = store.snapshot()?.map_or(Height(0), |snapshot| snapshot.height());
    let next = head.height.0.saturating_sub(FOLD_BEHIND_BLOCKS);
    if next < last.0.saturating_add(FOLD_BLOCKS) {
        return Ok(());
    }
    Ok(store.fold(Height(next))?)
}
