//! A member that falls far behind while it runs (it was stopped, or cut off, for long) cannot get what it misses from the
//! others' engines any more: it starts again, which catches up.

use super::Desk;
use super::exchange::{Event, Exchange};
use bletchley_consensus::{PeerId, Schedule, To, epoch_of};
use bletchley_ledger::{Machine, SyncMessage};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often others are asked how far they are.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// How long they may take to say so.
const ANSWER: Duration = Duration::from_millis(500);
/// So far behind a member starts again: half of what the others' engines keep.
pub(super) const BEHIND_BLOCKS_MAX: u64 = 8_192;
/// How often in a row it must be seen.
const SEEN: u32 = 2;

/// Looks at one ledger now and then.
pub(crate) struct Watch {
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Watched {
    exchange: Arc<Exchange>,
    machine: Arc<dyn Machine>,
    schedule: Arc<dyn Schedule>,
    desk: Arc<Desk>,
    ledger: String,
}

impl Watch {
    /// Starts it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        ledger: &str,
        exchange: Arc<Exchange>,
        machine: Arc<dyn Machine>,
        schedule: Arc<dyn Schedule>,
        desk: Arc<Desk>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let watched = Watched { exchange, machine, schedule, desk, ledger: ledger.to_owned() };
        let thread = std::thread::Builder::new()
            .name(format!("behind-{ledger}"))
            .spawn(move || watched.look_until(&stopped))?;
        Ok(Self { stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn look_until(&self, stopped: &Receiver<()>) {
        let mut seen = 0;
        while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let head = self.machine.head().height.0;
            let others = self.others();
            seen = if others > head.saturating_add(BEHIND_BLOCKS_MAX) { seen + 1 } else { 0 };
            if seen >= SEEN {
                tracing::warn!(
                    ledger = self.ledger,
                    head,
                    others,
                    "sync.behind: too far behind for the engine; the node starts again to catch up"
                );
                self.desk.fell_behind.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// A height that so many validators claim to have certified that one of them is honest.
    fn others(&self) -> u64 {
        let epoch = epoch_of(self.machine.head().height.next(), self.schedule.epoch_blocks());
        let Some(validators) = self.schedule.validators(epoch) else { return 0 };
        let (sender, events) = channel();
        self.exchange.answer_to(Some(sender));
        self.exchange.send(To::All, &SyncMessage::Ask);
        let deadline = Instant::now() + ANSWER;
        let mut claims: BTreeMap<PeerId, u64> = BTreeMap::new();
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Ok(Event::Answer(peer, message, _)) = events.recv_timeout(left) else { continue };
            if let (SyncMessage::Claim(claim), Some(_)) = (*message, validators.get(peer)) {
                claims.insert(peer, claim.certified.0);
                if claims.len() + 1 >= validators.as_slice().len() {
                    break;
                }
            }
        }
        self.exchange.answer_to(None);
        let faulty = validators.as_slice().len().saturating_sub(1) / 3;
        let mut heights: Vec<u64> = claims.into_values().collect();
        heights.sort_unstable_by(|one, other| other.cmp(one));
        heights.get(faulty).copied().unwrap_or(0)
    }
}
