//! Transactions on their way from the member whose client sent them into everybody's mempool: sent once, in batches,
//! and once more when they still wait after a while.
//!
//! With each goes the key that signed it, where its member knows it: a claim that spares the others most of a recovery when it
//! is true, and costs them one when it is not. Whoever claims falsely is told on.

use crate::metrics::{Hear, Refusal, Refused};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_consensus::{Nonsense, PeerId, Post, Protocol, Receive, To};
use bletchley_crypto::PublicKey;
use bletchley_evm::ClaimedTx;
use bletchley_primitives::{Bytes, decode_bounded};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of transactions in one message, so that a batch never comes near the protocol's bound.
const BATCH_SIZE_BYTES_MAX: usize = 256 << 10;
/// Most transactions in one message.
const BATCH_TXS_MAX: usize = 8_192;
/// What a transaction that waits takes beyond its bytes.
const TX_OVERHEAD_BYTES: usize = 160;
/// Most transactions that the mempool takes in at once: their signatures are checked together.
const ADMIT_TXS_MAX: usize = 1_024;
/// How long a transaction may wait for others to share a message with.
const GATHER: Duration = Duration::from_millis(4);
/// Bytes that wait to be sent before further transactions are left to the next round of repetition.
const OUTBOX_SIZE_BYTES_MAX: usize = 32 << 20;
/// Bytes that came from others and wait for the mempool, with what they take beside their content; what comes on top is lost
/// and will be repeated.
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
    /// Takes in transactions that other members sent. Bad ones are refused as from any client. Gives which of them, in order,
    /// came with a false claim.
    fn admit(&self, raws: Vec<ClaimedTx>) -> Vec<usize>;
    /// Hears at once of transactions that it will be given soon.
    fn announce(&self, txs: &[ClaimedTx]);
    /// Whether a transaction of ours still waits.
    fn waits(&self, raw: &Bytes) -> bool;
}

/// A message: transactions, and a key for each or none at all. A key of zeros claims nothing.
#[derive(Debug, RlpEncodable, RlpDecodable)]
struct Batch {
    raws: Vec<Bytes>,
    keys: Bytes,
}

const NO_KEY: [u8; PublicKey::SIZE_BYTES] = [0; PublicKey::SIZE_BYTES];

impl Batch {
    fn of(txs: &[ClaimedTx]) -> Self {
        let raws = txs.iter().map(|(raw, _)| raw.clone()).collect();
        let mut keys = Vec::new();
        if txs.iter().any(|(_, key)| key.is_some()) {
            keys.reserve(txs.len() * PublicKey::SIZE_BYTES);
            for (_, key) in txs {
                keys.extend_from_slice(key.as_ref().map_or(&NO_KEY, |key| key.as_bytes()));
            }
        }
        Self { raws, keys: keys.into() }
    }

    fn decode(message: &[u8]) -> Result<Vec<ClaimedTx>, String> {
        let Self { raws, keys } = decode_bounded(message, Protocol::Transactions.size_bytes_max())
            .map_err(|error| error.to_string())?;
        if raws.is_empty() || raws.len() > BATCH_TXS_MAX {
            return Err(format!("{} in one message", raws.len()));
        }
        let (keys, rest) = keys.as_chunks::<{ PublicKey::SIZE_BYTES }>();
        if !rest.is_empty() || !(keys.is_empty() || keys.len() == raws.len()) {
            return Err("there are not as many keys as transactions".to_owned());
        }
        let claim = |key: &[u8; 64]| (*key != NO_KEY).then(|| PublicKey::from_bytes(*key));
        let keys = keys.iter().map(claim).chain(std::iter::repeat(None));
        Ok(raws.into_iter().zip(keys).collect())
    }
}

/// What one transaction takes while it waits.
fn size_bytes((raw, _): &ClaimedTx) -> usize {
    raw.len() + TX_OVERHEAD_BYTES
}

#[derive(Default)]
struct Queue {
    out: Vec<ClaimedTx>,
    out_size_bytes: usize,
    inbox: VecDeque<(PeerId, Vec<ClaimedTx>)>,
    inbox_size_bytes: usize,
    /// Sent once, by when to look again.
    watched: VecDeque<(Instant, ClaimedTx)>,
    /// Sent more than once, by when to look again.
    patient: VecDeque<(Instant, ClaimedTx)>,
    /// Claimed falsely since they last heard of it.
    liars: BTreeSet<PeerId>,
    stop: bool,
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub(crate) struct GossipCounts {
    /// Messages of others that were lost because too many waited.
    pub(crate) overflowed: AtomicU64,
    /// Transactions of others that came with a key that did not sign them.
    pub(crate) false_claims: AtomicU64,
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
    pub(crate) fn offer(&self, txs: &[ClaimedTx]) {
        self.offer_at(txs, Instant::now());
    }

    /// As [`Self::offer`], at a time of the caller's clock.
    pub(crate) fn offer_at(&self, txs: &[ClaimedTx], now: Instant) {
        let mut queue = self.queue.lock();
        for tx in txs {
            if queue.watched.len() < WATCHED_MAX {
                queue.watched.push_back((now + REPEAT_AFTER, tx.clone()));
            }
            queue.push(tx);
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
        self.send(&out);
        self.admit(inbox);
        self.repeat(now);
    }

    /// Gives the mempool what came in as few portions as possible: a signature costs the less the more are checked together.
    fn admit(&self, inbox: VecDeque<(PeerId, Vec<ClaimedTx>)>) {
        let (mut txs, mut senders) = (Vec::new(), Vec::new());
        let mut messages = inbox.into_iter().peekable();
        while let Some((peer, message)) = messages.next() {
            senders.extend(std::iter::repeat_n(peer, message.len()));
            txs.extend(message);
            let next = messages.peek().map(|(_, message)| message.len());
            if next.is_none_or(|next| txs.len() + next > ADMIT_TXS_MAX) {
                let lies = self.pool.admit(std::mem::take(&mut txs));
                let liars: BTreeSet<PeerId> =
                    lies.iter().filter_map(|at| senders.get(*at).copied()).collect();
                senders.clear();
                if !liars.is_empty() {
                    self.counts.false_claims.fetch_add(lies.len() as u64, Ordering::Relaxed);
                    self.queue.lock().liars.extend(liars);
                }
            }
        }
    }

    fn send(&self, out: &[ClaimedTx]) {
        let (mut from, mut size_bytes) = (0, 0);
        for (index, (raw, key)) in out.iter().enumerate() {
            size_bytes += raw.len() + key.map_or(0, |_| PublicKey::SIZE_BYTES);
            let next = index + 1;
            if size_bytes >= BATCH_SIZE_BYTES_MAX || next - from >= BATCH_TXS_MAX || next == out.len() {
                let batch = Batch::of(out.get(from..next).unwrap_or_default());
                self.post.send(To::All, alloy_rlp::encode(&batch).into());
                (from, size_bytes) = (next, 0);
            }
        }
    }

    fn repeat(&self, now: Instant) {
        let mut overdue = Vec::new();
        {
            let Queue { watched, patient, .. } = &mut *self.queue.lock();
            for list in [watched, patient] {
                while list.front().is_some_and(|(due, _)| *due <= now) {
                    overdue.extend(list.pop_front().map(|(_, tx)| tx));
                }
            }
        }
        overdue.retain(|(raw, _)| self.pool.waits(raw));
        if overdue.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for (number, tx) in overdue.iter().enumerate() {
            if queue.patient.len() < WATCHED_MAX {
                queue.patient.push_back((now + REPEAT_AGAIN_AFTER, tx.clone()));
            }
            if number < REPEATED_MAX {
                queue.push(tx);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, tx: &ClaimedTx) {
        let size_bytes = size_bytes(tx);
        if self.out_size_bytes + size_bytes <= OUTBOX_SIZE_BYTES_MAX {
            self.out_size_bytes += size_bytes;
            self.out.push(tx.clone());
        }
    }

    /// When transactions that may still wait are looked at next.
    fn next_look(&self) -> Option<Instant> {
        let due = |list: &VecDeque<(Instant, ClaimedTx)>| list.front().map(|(due, _)| *due);
        due(&self.watched).into_iter().chain(due(&self.patient)).min()
    }
}

impl Receive for Gossip {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        Ok(self.hear(from, message)?)
    }
}

impl Hear for Gossip {
    fn hear(&self, from: PeerId, message: Bytes) -> Result<(), Refusal> {
        let txs = Batch::decode(&message).map_err(|problem| {
            Refusal::new(Refused::Malformed, format!("a batch of transactions: {problem}"))
        })?;
        let size_bytes: usize = txs.iter().map(size_bytes).sum();
        let mut queue = self.queue.lock();
        if queue.liars.remove(&from) {
            let problem = "transactions that it sent before came with keys that did not sign them";
            return Err(Refusal::new(Refused::Signature, problem));
        }
        if queue.inbox_size_bytes + size_bytes > INBOX_SIZE_BYTES_MAX {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        queue.inbox_size_bytes += size_bytes;
        self.pool.announce(&txs);
        queue.inbox.push_back((from, txs));
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
    struct Waiting(Mutex<Vec<ClaimedTx>>);

    /// What the tests' pool takes for a lie.
    const LIE: [u8; 64] = [9; 64];

    impl Pool for Waiting {
        fn admit(&self, raws: Vec<ClaimedTx>) -> Vec<usize> {
            let lies = raws.iter().enumerate();
            let lies = lies.filter(|(_, (_, key))| *key == Some(PublicKey::from_bytes(LIE)));
            let lies = lies.map(|(index, _)| index).collect();
            self.0.lock().extend(raws);
            lies
        }

        fn announce(&self, _: &[ClaimedTx]) {}

        fn waits(&self, raw: &Bytes) -> bool {
            raw.first() == Some(&1)
        }
    }

    /// Every other one with a claim.
    fn raws(sizes: &[usize]) -> Vec<ClaimedTx> {
        let claim = |n: u8| n.is_multiple_of(2).then(|| PublicKey::from_bytes([n + 100; 64]));
        sizes.iter().zip(1u8..).map(|(size, n)| (vec![n; *size].into(), claim(n))).collect()
    }

    fn message(txs: &[ClaimedTx]) -> Bytes {
        alloy_rlp::encode(Batch::of(txs)).into()
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
        let last = Batch::decode(messages.last().unwrap()).unwrap();
        assert_eq!((messages.len(), last), (2, sent[..1].to_vec()));
    }

    #[test]
    fn nonsense_and_floods_change_nothing() {
        let (gossip, _, pool) = world();
        assert!(gossip.receive(PeerId::default(), Bytes::from_static(&[0xc0])).is_err());
        assert!(gossip.receive(PeerId::default(), Bytes::from_static(&[1, 2, 3])).is_err());
        let mut keys = Batch::of(&raws(&[5, 5]));
        keys.keys = vec![1; 64].into();
        assert!(gossip.receive(PeerId::default(), alloy_rlp::encode(keys).into()).is_err());
        let many: Vec<ClaimedTx> = vec![(Bytes::from_static(&[1]), None); BATCH_TXS_MAX + 1];
        assert!(gossip.receive(PeerId::default(), message(&many)).is_err());
        let large = message(&raws(&[3 << 20]));
        for _ in 0..12 {
            gossip.receive(PeerId::default(), large.clone()).unwrap();
        }
        assert_eq!(gossip.counts.overflowed.load(Ordering::Relaxed), 2);
        gossip.round(Instant::now());
        assert_eq!(pool.0.lock().len(), 10);
    }

    #[test]
    fn who_claims_falsely_is_told_on_once_for_it() {
        let (gossip, _, pool) = world();
        let (liar, honest) = (PeerId([1; 32].into()), PeerId([2; 32].into()));
        let lie = [(Bytes::from_static(&[3]), Some(PublicKey::from_bytes(LIE)))];
        gossip.receive(liar, message(&lie)).unwrap();
        gossip.receive(honest, message(&raws(&[4, 4]))).unwrap();
        gossip.round(Instant::now());
        assert_eq!(pool.0.lock().len(), 3, "what was sent counts for itself");
        assert_eq!(gossip.counts.false_claims.load(Ordering::Relaxed), 1);
        assert!(gossip.receive(honest, message(&raws(&[4]))).is_ok());
        assert!(gossip.receive(liar, message(&raws(&[4]))).is_err());
        assert!(gossip.receive(liar, message(&raws(&[4]))).is_ok());
    }
}
