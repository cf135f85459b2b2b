//! Simplex on sockets, behind the Engine seam.

use crate::settings::Settings;
use crate::stack::{Parts, run};
use bletchley_consensus::{Application, ApplicationError, Engine, EngineError, Schedule, Signal, Signals};
use bletchley_net::EngineChannels;
use bletchley_net::tcp::{Context, Oracle, Sender};
use bletchley_primitives::LedgerId;
use commonware_cryptography::ed25519::PrivateKey;
use commonware_runtime::{Spawner as _, Supervisor as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often it is looked whether the stack still runs.
const ALIVE_CHECK: Duration = Duration::from_millis(500);

/// The simplex engine of one ledger.
pub struct Simplex {
    /// Runtime of the node's network.
    pub context: Context,
    /// The node's key.
    pub key: PrivateKey,
    /// The ledger.
    pub ledger: LedgerId,
    /// Who validates when.
    pub schedule: Arc<dyn Schedule>,
    /// Times and sizes.
    pub settings: Settings,
    /// The ledger's channels.
    pub channels: EngineChannels<Sender>,
    /// Manager and blocker of peers.
    pub oracle: Oracle,
}

impl std::fmt::Debug for Simplex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simplex").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Simplex {
    /// Name in the genesis document.
    pub const NAME: &'static str = crate::delivery::NAME;
}

impl Engine for Simplex {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(
        self: Box<Self>,
        application: Arc<dyn Application>,
        signals: Arc<dyn Signals>,
    ) -> Result<(), EngineError> {
        let Self { context, key, ledger, schedule, settings, channels, oracle } = *self;
        let work = Arc::new(Notify::new());
        let notify = work.clone();
        signals.on_wake(Box::new(move || notify.notify_waiters()));
        let (ended, done) = std::sync::mpsc::sync_channel(1);
        let (parts_context, head) = (context.child("simplex"), application.clone());
        let task = context.child("ledger").spawn(move |_| async move {
            let parts = Parts {
                context: parts_context,
                partition: format!("{ledger}"),
                key,
                ledger,
                application,
                schedule,
                settings,
                work,
                channels,
                blocker: oracle.clone(),
                peers: oracle,
            };
            let _ = ended.send(run(parts).await);
        });
        loop {
            let now = signals.now_ms();
            let check = u64::try_from(ALIVE_CHECK.as_millis()).unwrap_or(u64::MAX);
            let deadline = bletchley_primitives::TimestampMs(now.0.saturating_add(check));
            if signals.wait(Some(deadline)) == Signal::Stop {
                task.abort();
                return Ok(());
            }
            match done.try_recv() {
                Ok(result) => return result,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    let height = head.head().height;
                    let problem = "its tasks ended; the log says why".to_owned();
                    let source = ApplicationError::Keep { height, problem };
                    return Err(EngineError { engine: Self::NAME, height, source });
                }
            }
        }
    }
}
