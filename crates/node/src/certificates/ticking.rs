//! The clock of a node's certificates.

use super::Certificates;
use crate::ledgers::Roster;
use crate::signals::wall_now_ms;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often certificates are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Calls [`Certificates::tick`] of every ledger of a node, and writes what is left when it stops.
pub(crate) struct Ticking {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

fn gathered(roster: &Roster) -> Vec<Arc<Certificates>> {
    roster.all().iter().filter_map(|ledger| ledger.certificates()).collect()
}

impl Ticking {
    /// Starts it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(roster: Roster) -> Result<Self> {
        let (stop, stopped) = channel();
        let run = move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                for certificates in gathered(&roster) {
                    certificates.tick(wall_now_ms().0);
                }
            }
            for certificates in gathered(&roster) {
                if let Err(error) = certificates.write() {
                    tracing::warn!(%error, "certificates.write: the newest certificates are asked for again after the next start");
                }
            }
        };
        let thread = std::thread::Builder::new().name("certificates".to_owned()).spawn(run);
        Ok(Self { stop, thread: thread.context("starting the thread of the certificates")? })
    }

    /// Stops it; certificates are written on return. Engines must have ended.
    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}
