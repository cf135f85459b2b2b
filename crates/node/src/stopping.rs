//! The wish that a program stops: said by SIGINT, by SIGTERM or by another part, heard by every part that waits.
//!
//! Signals are caught from the first moment on, not from when somebody waits for them: whoever reads that a program is
//! ready can stop it in order at once.

use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Said by a process that was asked twice: what a shell says of one that SIGINT ended.
const ASKED_TWICE_CODE: i32 = 130;

/// Whether this program shall stop. Once asked, it stays asked.
#[derive(Debug)]
pub struct Stopping {
    asked: watch::Sender<bool>,
}

impl Default for Stopping {
    fn default() -> Self {
        Self { asked: watch::Sender::new(false) }
    }
}

impl Stopping {
    /// Asks every part to stop.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until it is asked.
    pub async fn asked(&self) {
        // The sender is this value: it does not go away while somebody waits.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }
}

/// Catches SIGINT and SIGTERM while it lives.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    stopping: Arc<Stopping>,
}

impl Signals {
    /// Catches them from now on. The first asks to stop in order; a second ends the process.
    ///
    /// # Errors
    /// When the operating system gives no thread or no signals.
    pub fn catch() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("signals").enable_all().build();
        let runtime = runtime.context("starting a thread for signals")?;
        let stopping = Arc::new(Stopping::default());
        let entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
        drop(entered);
        drop(runtime.spawn(hear(interrupt, terminate, stopping.clone())));
        Ok(Self { runtime, stopping })
    }

    /// What they ask.
    #[must_use]
    pub const fn stopping(&self) -> &Arc<Stopping> {
        &self.stopping
    }

    /// Waits until it is asked to stop, for at most so long; whether it is.
    #[must_use]
    pub fn wait(&self, longest: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.stopping.asked() => true,
                () = tokio::time::sleep(longest) => false,
            }
        })
    }
}

async fn hear(mut interrupt: Signal, mut terminate: Signal, stopping: Arc<Stopping>) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stopping.is_asked() {
            tracing::warn!("node.stop: asked twice; ends without order");
            std::process::exit(ASKED_TWICE_CODE);
        }
        stopping.ask();
    }
}
