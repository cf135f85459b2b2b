//! Transactions on their way from the member whose client sent them into everybody's mempool: sent once, in batches,
//! and once more when they still wait after a while.

use crate::metrics::{Hear, Refusal, Refused};
use bletchley_consensus::{Nonsense, PeerId, Post, Protocol, Receive, To};
use bletchley_primitives::{Bytes, decode_bounded};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of transactions in one message, so that a batch never comes near the protocol's bound.
const BATCH_SIZE_BYTES_MAX: usize = 256 << 10;
/// How long a transaction may wait for others to share a message with.
const GATHER: Duration = Duration::from_millis(4);
/// Bytes that wait to be sent before further transactions are left to the next round of repetition.
const OUTBOX_SIZE_BYTES_MAX: usize = 32 << 20;
/// Bytes that came from others and wait for the mempool; what comes on top is lost and will be repeated.
const INBOX_SIZE_BYTES_MAX: usize = 32 << 20;
/// How long a transaction waits before it is sent once more.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// How long it waits for every further time.
const REPEAT_AGAIN_AFTER: Duration = Duration::from_secs(8);
/// Most transactions that are sent once more at a time: when more wait, blocks are full and nothing was lost.
const REPEATED_MAX: usize = 256;
/// Most transactions that are watched for that.
const WATCHED_MAX: usize = 8_192;

/// A ledger's mempool, as gossip needs it.
pub(crate) trait Pool: Send + Sync + 'static {
    /// Takes in transactions that another member sent. Bad ones are refused as from any client.
    fn admit(&self, raws: &[Bytes]);
    /// Whether a transaction of ours still waits.
    fn waits(&self, raw: &Bytes) -> bool;
}

#[derive(Default)]
struct Queue {
    out: Vec<Bytes>,
    out_size_bytes: usize,
    inbox: VecDeque<Bytes>,
    inbox_size_bytes: usize,
    /// Sent once, by when to look again.
    watched: VecDeque<(Instant, Bytes)>,
    /// Sent more than once, by when to look again.
    patient: VecDeque<(Instant, Bytes)>,
    stop: bool,
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub(crate) struct GossipCounts {
    /// Messages of others that were lost because too many waited.
    pub(crate) overflowed: AtomicU64,
}

/// Gossip of one ledger.
pub(crate) struct Gossip {
    queue: Mutex<Queue>,
    changed: Condvar,
    post: Arc<dyn Post>,
    pool: Arc<dyn Pool>,
    pub(crate) counts: GossipCounts,
}

impl Gossip {
    pub(crate) fn new(post: Arc<dyn Post>, pool: Arc<dyn Pool>) -> Arc<Self> {
        let (queue, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { queue, changed, post, pool, counts: GossipCounts::default() })
    }

    /// Starts the thread that sends and admits.
    pub(crate) fn start(self: &Arc<Self>, ledger: &str) -> std::io::Result<GossipThread> {
        let gossip = self.clone();
        let thread = std::thread::Builder::new().name(format!("gossip-{ledger}")).spawn(move || {
            while gossip.wait() {
                gossip.round(Instant::now());
            }
        })?;
        Ok(GossipThread { gossip: self.clone(), thread })
    }

    /// Transactions that a client of this member sent and that were admitted here.
    pub(crate) fn offer(&self, raws: &[Bytes]) {
        self.offer_at(raws, Instant::now());
    }

    /// As [`Self::offer`], at a time of the caller's clock.
    pub(crate) fn offer_at(&self, raws: &[Bytes], now: Instant) {
        let mut queue = self.queue.lock();
        for raw in raws {
            if queue.watched.len() < WATCHED_MAX {
                queue.watched.push_back((now + REPEAT_AFTER, raw.clone()));
            }
            queue.push(raw);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits until there is something to do; false when it is over.
    fn wait(&self) -> bool {
        let mut queue = self.queue.lock();
        loop {
            if queue.stop {
                return false;
            }
            if !queue.inbox.is_empty() {
                return true;
            }
            if !queue.out.is_empty() {
                if queue.out_size_bytes < BATCH_SIZE_BYTES_MAX {
                    self.changed.wait_for(&mut queue, GATHER);
                }
                return !queue.stop;
            }
            match queue.next_look() {
                None => self.changed.wait(&mut queue),
                Some(due) => {
                    if self.changed.wait_until(&mut queue, due).timed_out() {
                        return !queue.stop;
                    }
                }
            }
        }
    }

    /// Sends what waits, admits what came, repeats what is overdue. A simulation calls this itself.
    pub(crate) fn round(&self, now: Instant) {
        let (out, inbox) = {
            let mut queue = self.queue.lock();
            queue.out_size_bytes = 0;
            queue.inbox_size_bytes = 0;
            (std::mem::take(&mut queue.out), std::mem::take(&mut queue.inbox))
        };
        self.send(out);
        for message in inbox {
            // It was checked when it came.
            if let Ok(raws) = decode_bounded::<Vec<Bytes>>(&message, Protocol::Transactions.size_bytes_max())
            {
                self.pool.admit(&raws);
            }
        }
        self.repeat(now);
    }

    fn send(&self, out: Vec<Bytes>) {
        let (mut batch, mut size_bytes) = (Vec::new(), 0);
        for raw in out {
            size_bytes += raw.len();
            batch.push(raw);
            if size_bytes >= BATCH_SIZE_BYTES_MAX {
                self.post.send(To::All, alloy_rlp::encode(&batch).into());
                batch.clear();
                size_bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.post.send(To::All, alloy_rlp::encode(&batch).into());
        }
    }

    fn repeat(&self, now: Instant) {
        let mut overdue = Vec::new();
        {
            let Queue { watched, patient, .. } = &mut *self.queue.lock();
            for list in [watched, patient] {
                while list.front().is_some_and(|(due, _)| *due <= now) {
                    overdue.extend(list.pop_front().map(|(_, raw)| raw));
                }
            }
        }
        overdue.retain(|raw| self.pool.waits(raw));
        if overdue.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for (number, raw) in overdue.iter().enumerate() {
            if queue.patient.len() < WATCHED_MAX {
                queue.patient.push_back((now + REPEAT_AGAIN_AFTER, raw.clone()));
            }
            if number < REPEATED_MAX {
                queue.push(raw);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, raw: &Bytes) {
        if self.out_size_bytes + raw.len() <= OUTBOX_SIZE_BYTES_MAX {
            self.out_size_bytes += raw.len();
            self.out.push(raw.clone());
        }
    }

    /// When transactions that may still wait are looked at next.
    fn next_look(&self) -> Option<Instant> {
        let due = |list: &VecDeque<(Instant, Bytes)>| list.front().map(|(due, _)| *due);
        due(&self.watched).into_iter().chain(due(&self.patient)).min()
    }
}

impl Receive for Gossip {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        Ok(self.hear(from, message)?)
    }
}

impl Hear for Gossip {
    fn hear(&self, _from: PeerId, message: Bytes) -> Result<(), Refusal> {
        let malformed = |problem: String| Refusal::new(Refused::Malformed, problem);
        let raws: Vec<Bytes> = decode_bounded(&message, Protocol::Transactions.size_bytes_max())
            .map_err(|error| malformed(format!("a batch of transactions: {error}")))?;
        if raws.is_empty() {
            return Err(malformed("an empty batch of transactions".to_owned()));
        }
        let mut queue = self.queue.lock();
        if queue.inbox_size_bytes + message.len() > INBOX_SIZE_BYTES_MAX {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        queue.inbox_size_bytes += message.len();
        queue.inbox.push_back(message);
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }
}

/// The thread of one ledger's gossip.
pub(crate) struct GossipThread {
    gossip: Arc<Gossip>,
    thread: JoinHandle<()>,
}

impl GossipThread {
    pub(crate) fn stop(self) {
        self.gossip.queue.lock().stop = true;
        self.gossip.changed.notify_all();
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Wire(Mutex<Vec<Bytes>>);

    impl Post for Wire {
        fn send(&self, to: To, message: Bytes) -> bool {
            assert_eq!(to, To::All);
            self.0.lock().push(message);
            true
        }
    }

    #[derive(Default)]
    struct Waiting(Mutex<Vec<Bytes>>);

    impl Pool for Waiting {
        fn admit(&self, raws: &[Bytes]) {
            self.0.lock().extend_from_slice(raws);
        }

        fn waits(&self, raw: &Bytes) -> bool {
            raw.first() == Some(&1)
        }
    }

    fn raws(sizes: &[usize]) -> Vec<Bytes> {
        sizes.iter().zip(1u8..).map(|(size, n)| vec![n; *size].into()).collect()
    }

    fn world() -> (Arc<Gossip>, Arc<Wire>, Arc<Waiting>) {
        let (wire, pool) = (Arc::new(Wire::default()), Arc::new(Waiting::default()));
        (Gossip::new(wire.clone(), pool.clone()), wire, pool)
    }

    #[test]
    fn batches_reach_the_other_pool_in_order_and_are_not_passed_on() {
        let (ours, wire, _) = world();
        let (theirs, their_wire, pool) = world();
        let sent = raws(&[100, 200_000, 100_000, 5]);
        ours.offer(&sent);
        ours.round(Instant::now());
        let messages = wire.0.lock().clone();
        assert_eq!(messages.len(), 2);
        for message in messages {
            theirs.receive(PeerId::default(), message).unwrap();
        }
        theirs.round(Instant::now());
        assert_eq!(*pool.0.lock(), sent);
        assert!(their_wire.0.lock().is_empty());
    }

    #[test]
    fn what_still_waits_is_sent_once_more() {
        let (gossip, wire, _) = world();
        let sent = raws(&[10, 10]);
        gossip.offer(&sent);
        let start = Instant::now();
        gossip.round(start);
        gossip.round(start + REPEAT_AFTER * 2);
        gossip.round(start + REPEAT_AFTER * 2);
        let messages = wire.0.lock().clone();
        let last: Vec<Bytes> = decode_bounded(messages.last().unwrap(), 1 << 20).unwrap();
        assert_eq!((messages.len(), last), (2, sent[..1].to_vec()));
    }

    #[test]
    fn nonsense_and_floods_change_nothing() {
        let (gossip, _, pool) = world();
        assert!(gossip.receive(PeerId::default(), Bytes::from_static(&[0xc0])).is_err());
        assert!(gossip.receive(PeerId::default(), Bytes::from_static(&[1, 2, 3])).is_err());
        let large: Bytes = alloy_rlp::encode(raws(&[3 << 20])).into();
        for _ in 0..12 {
            gossip.receive(PeerId::default(), large.clone()).unwrap();
        }
        assert_eq!(gossip.counts.overflowed.load(Ordering::Relaxed), 2);
        gossip.round(Instant::now());
        assert_eq!(pool.0.lock().len(), 10);
    }
}
