//! What a node counts of itself, in the form that Prometheus reads.
//!
//! [`Meters`] is made once per node and handed to whoever has something to count. A counter is a shared atomic: whoever
//! counts often asks for its handle once and keeps it. Every label has a bound: ledgers, members and protocols are few
//! and known, reasons and results are enumerations, methods are those that the interface has.

mod exposition;
mod labels;
mod ledger;
mod peer;
mod process;
mod refused;
mod transport;

pub use exposition::{CONTENT_TYPE, joined};
pub use ledger::{Finals, Kept, LedgerMeter};
pub use peer::{Direction, Traffic};
pub(crate) use refused::Refusal;
pub use refused::Refused;
pub(crate) use transport::{CountedLine, Hear};
pub use transport::{EVERYBODY, PeerNames};

use crate::status::LedgerStatus;
use labels::{
    AnomalyLabels, ApiLabels, CallLabels, KindLabels, LedgerLabels, NodeLabels, PeerLabels, PoolLabels,
    RefusedLabels, TrafficLabels,
};
use ledger::LedgerFamilies;
use parking_lot::Mutex;
use process::ProcessGauges;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most members that have labels of their own; the traffic of further ones is counted together.
pub const PEER_LABELS_MAX: usize = 256;
/// Most methods and routes that have labels of their own; further ones are counted together.
pub const METHOD_LABELS_MAX: usize = 512;
/// Label of everything that has no label of its own.
pub const OTHER: &str = "other";

/// How a delegated call ended on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// With a receipt that hosts signed.
    Ok,
    /// With a receipt that says that no host could answer.
    Unavailable,
    /// Another member's receipt did not hold here.
    Refused,
}

impl CallResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// Everything that one node counts.
pub struct Meters {
    registry: Mutex<Registry>,
    ledgers: Mutex<BTreeMap<String, Arc<LedgerMeter>>>,
    pub(crate) ledger: LedgerFamilies,
    pub(crate) pool: Family<PoolLabels, Gauge>,
    pub(crate) peer_connected: Family<PeerLabels, Gauge>,
    messages: Family<TrafficLabels, Counter>,
    message_bytes: Family<TrafficLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    anomalies: Family<AnomalyLabels, Counter>,
    pub(crate) calls_running: Gauge,
    calls: Family<CallLabels, Counter>,
    disagreements: Counter,
    requests: Family<ApiLabels, Counter>,
    answer_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    info: Family<NodeLabels, Gauge>,
    pub(crate) ready: Gauge,
    process: ProcessGauges,
    /// Labels that methods and peers have asked for; they get one of their own up to the bound.
    method_labels: AtomicUsize,
    peer_labels: AtomicUsize,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

fn answer_histogram() -> Histogram {
    // 50 microseconds to 13 seconds.
    Histogram::new(exponential_buckets(0.000_05, 4.0, 10))
}

impl Meters {
    /// Meters that stand at nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let meters = Self {
            ledger: LedgerFamilies::register(&mut registry),
            process: ProcessGauges::register(&mut registry),
            registry: Mutex::default(),
            ledgers: Mutex::default(),
            pool: Family::default(),
            peer_connected: Family::default(),
            messages: Family::default(),
            message_bytes: Family::default(),
            refused: Family::default(),
            anomalies: Family::default(),
            calls_running: Gauge::default(),
            calls: Family::default(),
            disagreements: Counter::default(),
            requests: Family::default(),
            answer_seconds: Family::new_with_constructor(answer_histogram),
            info: Family::default(),
            ready: Gauge::default(),
            method_labels: AtomicUsize::new(0),
            peer_labels: AtomicUsize::new(0),
        };
        meters.register(&mut registry);
        *meters.registry.lock() = registry;
        meters
    }

    /// Counters end in `_total` when they are written; the library adds it.
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "bletchley_pool_transactions",
            "Transactions in the mempool, by what they wait for",
            self.pool.clone(),
        );
        registry.register(
            "bletchley_net_peer_connected",
            "Whether a member is connected: 1 or 0",
            self.peer_connected.clone(),
        );
        registry.register(
            "bletchley_net_messages",
            "Messages with members, by protocol and direction",
            self.messages.clone(),
        );
        registry.register(
            "bletchley_net_message_bytes",
            "Bytes of messages with members, by protocol and direction",
            self.message_bytes.clone(),
        );
        registry.register(
            "bletchley_net_refused",
            "Input from outside that was refused, by who sent it and why",
            self.refused.clone(),
        );
        registry.register(
            "bletchley_engine_anomalies",
            "What an engine and its certificates noticed that healthy members do not do, by what it was",
            self.anomalies.clone(),
        );
        registry.register(
            "bletchley_calls_running",
            "Delegated calls that wait or run on this node",
            self.calls_running.clone(),
        );
        registry.register(
            "bletchley_calls",
            "Delegated calls that ended on this node, by result",
            self.calls.clone(),
        );
        registry.register(
            "bletchley_calls_disagreements",
            "Delegated calls on which hosts gave different results",
            self.disagreements.clone(),
        );
        registry.register(
            "bletchley_api_requests",
            "Requests answered, by method or route and result",
            self.requests.clone(),
        );
        registry.register(
            "bletchley_api_answer_seconds",
            "Time from a request's arrival to its answer",
            self.answer_seconds.clone(),
        );
        registry.register("bletchley_node_info", "Always 1; says who this node is", self.info.clone());
        registry.register(
            "bletchley_node_ready",
            "Whether the node would answer ready: 1 or 0",
            self.ready.clone(),
        );
    }

    /// The meter of one ledger; the same for the same name.
    #[must_use]
    pub fn ledger(&self, name: &str) -> Arc<LedgerMeter> {
        let mut ledgers = self.ledgers.lock();
        if let Some(meter) = ledgers.get(name) {
            return meter.clone();
        }
        let meter = Arc::new(self.ledger.meter(name));
        ledgers.insert(name.to_owned(), meter.clone());
        meter
    }

    /// Counters of the messages with one member by one protocol (`Protocol::name`, or the engine's channel).
    #[must_use]
    pub fn traffic(&self, peer: &str, protocol: &'static str, direction: Direction) -> Traffic {
        let labels = TrafficLabels { peer: self.peer_label(peer), protocol, direction: direction.name() };
        Traffic {
            messages: self.messages.get_or_create_owned(&labels),
            bytes: self.message_bytes.get_or_create_owned(&labels),
        }
    }

    /// Counts one refusal of something that `peer` sent; `None` when it is not known who did.
    pub fn refuse(&self, peer: Option<&str>, reason: Refused) {
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| self.peer_label(peer));
        self.refused.get_or_create(&RefusedLabels { peer, reason: reason.name() }).inc();
    }

    /// Sets a count of anomalies that somebody else keeps; it never goes back.
    pub(crate) fn anomalies_are(&self, ledger: &str, kind: &'static str, total: u64) {
        let labels = AnomalyLabels { ledger: ledger.to_owned(), kind };
        let counter = self.anomalies.get_or_create_owned(&labels);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Counts a delegated call that ended.
    pub fn call_ended(&self, result: CallResult) {
        self.calls.get_or_create(&CallLabels { result: result.name() }).inc();
    }

    /// Sets a count of ended calls that somebody else keeps; it never goes back.
    pub(crate) fn calls_ended(&self, result: CallResult, total: u64) {
        let counter = self.calls.get_or_create_owned(&CallLabels { result: result.name() });
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Counts a call on which hosts gave different results.
    pub fn disagreed(&self) {
        self.disagreements.inc();
    }

    /// Counts `count` requests of one method, or of one route, that ended alike.
    pub fn answered(&self, kind: &'static str, method: &str, result: &'static str, count: u64) {
        let labels = ApiLabels { kind, method: method.to_owned(), result };
        if let Some(counter) = self.requests.get(&labels) {
            counter.inc_by(count);
            return;
        }
        let room = self.method_labels.fetch_add(1, Ordering::Relaxed) < METHOD_LABELS_MAX;
        let labels = if room { labels } else { ApiLabels { method: OTHER.to_owned(), ..labels } };
        self.requests.get_or_create(&labels).inc_by(count);
    }

    /// Notes how long an answer took.
    pub fn answer_took(&self, kind: &'static str, took: Duration) {
        self.answer_seconds.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
    }

    /// Says who this node is.
    pub fn introduce(&self, consortium: &str, member: &str) {
        let labels = NodeLabels {
            consortium: consortium.to_owned(),
            member: member.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        };
        self.info.get_or_create(&labels).set(1);
    }

    /// Everything in the Prometheus text format (version 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        self.process.read();
        let mut text = String::with_capacity(32 << 10);
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        exposition::to_prometheus(&text)
    }

    /// Sets the gauges of one ledger that nobody counts as it happens.
    pub(crate) fn note(&self, ledger: &LedgerStatus) {
        let of = LedgerLabels { ledger: ledger.name.clone() };
        let families = &self.ledger;
        let age = Duration::from_millis(ledger.last_block_age_ms).as_secs_f64();
        families.head_age.get_or_create(&of).set(age);
        families.epoch.get_or_create(&of).set(gauge(ledger.epoch));
        families.running.get_or_create(&of).set(i64::from(ledger.running));
        families.quorum.get_or_create(&of).set(i64::from(ledger.stalled.is_none()));
        if let Some(round) = ledger.round {
            families.round.get_or_create(&of).set(gauge(round));
        }
        if let Some(certified) = ledger.certified {
            families.certified.get_or_create(&of).set(gauge(certified.0));
            families.uncertified.get_or_create(&of).set(gauge(ledger.height.0.saturating_sub(certified.0)));
        }
        let (target, behind) =
            ledger.syncing.as_ref().map_or((0, 0), |sync| (sync.to.0, sync.to.0.saturating_sub(sync.at.0)));
        families.sync_target.get_or_create(&of).set(gauge(target));
        families.behind.get_or_create(&of).set(gauge(behind));
        for (state, count) in [("ready", ledger.pool.ready), ("deferred", ledger.pool.deferred)] {
            let labels = PoolLabels { ledger: ledger.name.clone(), state };
            self.pool.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn peer_label(&self, peer: &str) -> String {
        if peer == OTHER || peer == EVERYBODY {
            return peer.to_owned();
        }
        let label = PeerLabels { peer: peer.to_owned() };
        if self.peer_connected.get(&label).is_some() {
            return label.peer;
        }
        if self.peer_labels.fetch_add(1, Ordering::Relaxed) >= PEER_LABELS_MAX {
            return OTHER.to_owned();
        }
        drop(self.peer_connected.get_or_create(&label));
        label.peer
    }

    pub(crate) fn peer_is(&self, peer: &str, connected: bool) {
        let peer = self.peer_label(peer);
        self.peer_connected.get_or_create(&PeerLabels { peer }).set(i64::from(connected));
    }
}

/// As a gauge holds it.
pub(crate) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
