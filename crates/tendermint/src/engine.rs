//! Tendermint on sockets, behind the Engine seam.

use crate::counters::Counters;
use crate::settings::Settings;
use crate::stack::{Channels, Parts, run};
use bletchley_consensus::{Application, ApplicationError, Engine, EngineError, Schedule, Signal, Signals};
use bletchley_net::EngineChannels;
use bletchley_net::tcp::{Context, Sender};
use bletchley_primitives::{LedgerId, TimestampMs};
use commonware_cryptography::ed25519::PrivateKey;
use commonware_runtime::{Spawner as _, Supervisor as _};
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};
use tokio::sync::Notify;

/// How often it is looked whether the member still runs.
const ALIVE_CHECK_MS: u64 = 500;

/// The tendermint engine of one ledger.
pub struct Tendermint {
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
    /// The ledger's channels; two of them are not used.
    pub channels: EngineChannels<Sender>,
    /// Counts what was refused.
    pub counters: Arc<Counters>,
}

impl std::fmt::Debug for Tendermint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tendermint").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Tendermint {
    /// Name in the genesis document.
    pub const NAME: &'static str = crate::NAME;
}

impl Engine for Tendermint {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(
        self: Box<Self>,
        application: Arc<dyn Application>,
        signals: Arc<dyn Signals>,
    ) -> Result<(), EngineError> {
        let Self { context, key, ledger, schedule, settings, channels, counters } = *self;
        let work = Arc::new(Notify::new());
        let notify = work.clone();
        signals.on_wake(Box::new(move || notify.notify_one()));
        let (ended, done) = sync_channel(1);
        let ledger_application = application.clone();
        let task = context.child("tendermint").spawn(move |context| async move {
            let EngineChannels { votes, blocks, backfill, certificates, resolver } = channels;
            let parts = Parts {
                context,
                partition: format!("{ledger}-tendermint"),
                key,
                ledger,
                application: ledger_application,
                schedule,
                settings,
                work,
                channels: Channels { votes, blocks, backfill },
                counters,
            };
            let result = run(parts).await;
            // Held until the end: a channel that is closed would look like a network that went away.
            drop((certificates, resolver));
            let _ = ended.send(result);
        });
        loop {
            let deadline = TimestampMs(signals.now_ms().0.saturating_add(ALIVE_CHECK_MS));
            if signals.wait(Some(deadline)) == Signal::Stop {
                task.abort();
                return Ok(());
            }
            match done.try_recv() {
                Ok(result) => return result,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    let height = application.head().height;
                    let problem = "its task ended; the log says why".to_owned();
                    let source = ApplicationError::Keep { height, problem };
                    return Err(EngineError { engine: Self::NAME, height, source });
                }
            }
        }
    }
}
