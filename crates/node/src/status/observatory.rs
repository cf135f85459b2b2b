//! Puts together what a node says about itself, out of what its parts say when they are asked.

use super::quorum::{NoQuorum, QuorumWatch, quorum};
use super::report::{
    CallCounts, LedgerStatus, PeerStatus, PoolCounts, RecentFinality, StatusReport, SyncProgress,
    ValidatorStatus, grouped,
};
use crate::metrics::{CallResult, LedgerMeter, Meters, gauge, joined};
use anyhow::{Context, Result};
use bletchley_api::{Followed, Operation, Tally};
use bletchley_consensus::{PeerId, Schedule, epoch_of};
use bletchley_ledger::Head;
use bletchley_primitives::{Height, LedgerId};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the quorum is looked at, for the log.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Silence of a ledger of several members after which it is called stalled: the longest heartbeat, twice.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A quorum that is gone for less than this is not worth a word: members connect one after the other.
const QUORUM_GRACE: Duration = Duration::from_secs(3);

/// Something that is asked each time.
pub type Probed<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What one ledger's part of the report comes from.
#[derive(Clone)]
pub struct LedgerSources {
    /// Its name in the consortium.
    pub name: String,
    /// Its identity.
    pub id: LedgerId,
    /// Name of its machine.
    pub machine: &'static str,
    /// Name of its engine.
    pub engine: String,
    /// Its validators by epoch.
    pub schedule: Arc<dyn Schedule>,
    /// Counted by its runner.
    pub meter: Arc<LedgerMeter>,
    /// The newest final block.
    pub head: Probed<Head>,
    /// The mempool.
    pub pool: Probed<PoolCounts>,
    /// Whether the engine runs.
    pub running: Probed<bool>,
    /// The engine's round or view, where it has one.
    pub round: Probed<Option<u64>>,
    /// Newest height with a certificate, where the ledger gathers them behind its blocks.
    pub certified: Probed<Option<Height>>,
    /// Set while the node catches up.
    pub syncing: Probed<Option<SyncProgress>>,
    /// The newest block that each validator was heard to vote for, and how long ago.
    pub heard: Probed<BTreeMap<PeerId, (Height, Duration)>>,
    /// What engine and certificates noticed that should not be, by what it was.
    pub anomalies: Probed<Vec<(&'static str, u64)>>,
}

impl std::fmt::Debug for LedgerSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerSources").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the rest of the report comes from.
#[derive(Clone)]
pub struct NodeSources {
    /// Name of the consortium.
    pub consortium: String,
    /// Name of this member.
    pub member: String,
    /// This node on the network.
    pub me: PeerId,
    /// Every other member, connected or not.
    pub peers: Probed<Vec<PeerStatus>>,
    /// Keys of the members that are connected.
    pub connected: Probed<BTreeSet<PeerId>>,
    /// Delegated calls.
    pub calls: Probed<CallCounts>,
    /// What is not registered yet.
    pub unregistered: Probed<Option<String>>,
    /// Refused proposals of others, as JSON.
    pub misbehaviours: Probed<Vec<serde_json::Value>>,
    /// Metrics of others, as OpenMetrics text: commonware's runtime context gives it.
    pub extra: Probed<String>,
}

impl std::fmt::Debug for NodeSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeSources").field("member", &self.member).finish_non_exhaustive()
    }
}

impl NodeSources {
    /// A node without a network.
    #[must_use]
    pub fn alone(consortium: &str, member: &str, me: PeerId) -> Self {
        Self {
            consortium: consortium.to_owned(),
            member: member.to_owned(),
            me,
            peers: Arc::new(Vec::new),
            connected: Arc::new(BTreeSet::new),
            calls: Arc::new(CallCounts::default),
            unregistered: Arc::new(|| None),
            misbehaviours: Arc::new(Vec::new),
            extra: Arc::new(String::new),
        }
    }
}

/// Everything that a node shows of itself. One per node; ledgers join it when they start.
pub struct Observatory {
    meters: Arc<Meters>,
    sources: NodeSources,
    ledgers: RwLock<Vec<Standing>>,
    quorum: QuorumWatch,
    /// Why no transaction can become final, as it was last seen.
    warning: RwLock<Option<Arc<str>>>,
    followed: Arc<Followed>,
    /// What operators should do something about before it becomes a reason.
    warnings: RwLock<Vec<Probed<Vec<String>>>>,
    started: Instant,
    watching: Mutex<Option<Watching>>,
}

struct Standing {
    sources: LedgerSources,
    since: Instant,
    /// When its validators were last seen to be a quorum.
    quorum_at: Mutex<Option<Instant>>,
}

struct Watching {
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl std::fmt::Debug for Observatory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observatory").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Observatory {
    /// An observatory without ledgers.
    #[must_use]
    pub fn new(meters: Arc<Meters>, sources: NodeSources) -> Arc<Self> {
        meters.introduce(&sources.consortium, &sources.member);
        crate::logging::name_member(&sources.member);
        Arc::new(Self {
            meters,
            sources,
            ledgers: RwLock::default(),
            quorum: QuorumWatch::default(),
            warning: RwLock::default(),
            followed: Arc::default(),
            warnings: RwLock::default(),
            started: Instant::now(),
            watching: Mutex::default(),
        })
    }

    /// Adds a ledger, or takes the place of the one with the same name.
    pub fn add(&self, sources: LedgerSources) {
        sources.meter.stands_at((sources.head)().height);
        sources.meter.follow(self.followed.clone());
        let now = Instant::now();
        let mut ledgers = self.ledgers.write();
        ledgers.retain(|standing| standing.sources.name != sources.name);
        ledgers.push(Standing { sources, since: now, quorum_at: Mutex::new(None) });
    }

    /// Forgets a ledger that this node has no longer.
    pub fn remove(&self, name: &str) {
        self.ledgers.write().retain(|standing| standing.sources.name != name);
    }

    /// Shows what `warnings` says, each time that somebody asks.
    pub fn warn_of(&self, warnings: Probed<Vec<String>>) {
        self.warnings.write().push(warnings);
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.read().iter().flat_map(|warnings| warnings()).collect()
    }

    /// Starts to look at the quorum by itself, so that the log says when it is lost.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn watch(self: &Arc<Self>) -> Result<()> {
        let (stop, stopped) = channel::<()>();
        let this = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("observatory".to_owned()).spawn(move || {
            while stopped.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let Some(this) = this.upgrade() else { return };
                this.watch_quorum();
            }
        });
        let thread = thread.context("starting the thread that watches the quorum")?;
        *self.watching.lock() = Some(Watching { stop, thread });
        Ok(())
    }

    /// Looks whether blocks can become final, and keeps the answer for whoever sends transactions.
    fn watch_quorum(&self) {
        let connected = (self.sources.connected)();
        let ledgers = self.ledgers.read();
        let stalled = |standing: &Standing| {
            let why = self.stalled(standing, &connected)?;
            Some(format!("{why}, on ledger {}", standing.sources.name))
        };
        let all: Vec<String> = ledgers.iter().filter_map(stalled).collect();
        *self.warning.write() = (!all.is_empty()).then(|| all.join("; ").into());
    }

    /// Stops watching.
    pub fn stop(&self) {
        if let Some(Watching { stop, thread }) = self.watching.lock().take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// The report.
    #[must_use]
    pub fn report(&self) -> StatusReport {
        let (connected, peers) = ((self.sources.connected)(), self.peers());
        let ledgers: Vec<LedgerStatus> =
            self.ledgers.read().iter().map(|standing| self.ledger(standing, &connected, &peers)).collect();
        let unregistered = (self.sources.unregistered)();
        let registering = unregistered.iter().map(|what| format!("registering: {what}"));
        let reasons: Vec<String> = ledgers.iter().flat_map(reasons).chain(registering).collect();
        StatusReport {
            consortium: self.sources.consortium.clone(),
            member: self.sources.member.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: reasons.is_empty(),
            reasons,
            warnings: self.warnings(),
            unregistered,
            misbehaviours: (self.sources.misbehaviours)(),
            ledgers,
            peers,
            calls: (self.sources.calls)(),
        }
    }

    /// The other members, with what they were heard to vote for.
    fn peers(&self) -> Vec<PeerStatus> {
        let mut peers = (self.sources.peers)();
        for standing in self.ledgers.read().iter() {
            for (peer, (height, ago)) in (standing.sources.heard)() {
                let key = peer.to_string();
                let Some(status) = peers.iter_mut().find(|status| status.peer == key) else { continue };
                let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                status.heights.insert(standing.sources.name.clone(), height);
                status.last_seen_ms = Some(status.last_seen_ms.map_or(ago_ms, |seen| seen.min(ago_ms)));
            }
        }
        peers
    }

    /// The scrape: what is counted, what is asked now, and what others counted.
    #[must_use]
    pub fn metrics(&self) -> String {
        let report = self.report();
        self.note(&report);
        joined(&self.meters.render(), &(self.sources.extra)())
    }

    /// As the interface wants it. `ledger` is the one that its JSON-RPC reaches.
    #[must_use]
    pub fn operation(self: &Arc<Self>, ledger: &str) -> Operation {
        let (metrics, status, reasons, warning) = (self.clone(), self.clone(), self.clone(), self.clone());
        let warnings = self.clone();
        Operation {
            ledger: ledger.to_owned(),
            metrics: Arc::new(move || metrics.metrics()),
            status: Arc::new(move || serde_json::to_value(status.report()).unwrap_or_default()),
            reasons: Arc::new(move || reasons.report().reasons),
            warning: Arc::new(move || warning.warning.read().clone()),
            warnings: Arc::new(move || warnings.warnings()),
            tally: self.meters.clone(),
            followed: self.followed.clone(),
        }
    }

    fn ledger(
        &self,
        standing: &Standing,
        connected: &BTreeSet<PeerId>,
        peers: &[PeerStatus],
    ) -> LedgerStatus {
        let sources = &standing.sources;
        let head = (sources.head)();
        let epoch = epoch_of(head.height.next(), sources.schedule.epoch_blocks());
        let validators = sources.schedule.validators(epoch);
        let all = validators.as_ref().map(|validators| validators.as_slice()).unwrap_or_default();
        let known = |name: &str| peers.iter().find(|peer| peer.name == name);
        let validators: Vec<ValidatorStatus> = all
            .iter()
            .map(|validator| ValidatorStatus {
                name: validator.name.clone(),
                this: validator.peer == self.sources.me,
                connected: validator.peer == self.sources.me || connected.contains(&validator.peer),
                height: known(&validator.name).and_then(|peer| peer.heights.get(&sources.name).copied()),
                last_seen_ms: known(&validator.name).and_then(|peer| peer.last_seen_ms),
            })
            .collect();
        let age = sources.meter.silence().unwrap_or_else(|| standing.since.elapsed());
        let finality = sources.meter.finals().map(|finals| RecentFinality {
            blocks: finals.blocks,
            p50_ms: finals.p50_ms,
            p99_ms: finals.p99_ms,
            transactions_per_second: (finals.transactions_per_second * 10.0).round() / 10.0,
        });
        LedgerStatus {
            name: sources.name.clone(),
            id: sources.id,
            machine: sources.machine.to_owned(),
            engine: sources.engine.clone(),
            running: (sources.running)(),
            epoch,
            round: (sources.round)(),
            height: head.height,
            head: head.hash,
            last_block_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            finality,
            transactions: sources.meter.transactions_total(),
            pool: (sources.pool)(),
            quorum: quorum(validators.len()),
            validators,
            certified: (sources.certified)(),
            syncing: (sources.syncing)(),
            stalled: self.stalled(standing, connected),
        }
    }

    /// Why no block can become final, for longer than it takes to connect.
    fn stalled(&self, standing: &Standing, connected: &BTreeSet<PeerId>) -> Option<String> {
        let sources = &standing.sources;
        let epoch = epoch_of((sources.head)().height.next(), sources.schedule.epoch_blocks());
        let validators = sources.schedule.validators(epoch)?;
        let seen = NoQuorum::seen_by(self.sources.me, &validators, connected);
        let mut quorum_at = standing.quorum_at.lock();
        if seen.is_none() {
            *quorum_at = Some(Instant::now());
        }
        let is_recent = quorum_at.unwrap_or(standing.since).elapsed() < QUORUM_GRACE;
        if quorum_at.is_none() && is_recent {
            // The first moments after the start: not worth a warning, and not ready either.
            return seen.map(|seen| format!("connecting: {seen}"));
        }
        let seen = seen.filter(|_| !is_recent);
        let silence = sources.meter.silence().unwrap_or_else(|| standing.since.elapsed());
        if seen.is_none() && validators.as_slice().len() > 1 && silence > SILENCE_MAX {
            self.quorum.note(&sources.name, None);
            return Some(format!("no block for {} s though a quorum is connected", silence.as_secs()));
        }
        self.quorum.note(&sources.name, seen)
    }

    /// Sets the gauges that nobody counts as it happens.
    fn note(&self, report: &StatusReport) {
        let meters = &self.meters;
        meters.ready.set(i64::from(report.ready));
        for peer in &report.peers {
            meters.peer_is(&peer.name, peer.connected);
        }
        meters.calls_running.set(gauge(u64::try_from(report.calls.running).unwrap_or(u64::MAX)));
        meters.calls_ended(CallResult::Ok, report.calls.ok);
        meters.calls_ended(CallResult::Unavailable, report.calls.unavailable);
        for ledger in &report.ledgers {
            meters.note(ledger);
        }
        for standing in self.ledgers.read().iter() {
            let LedgerSources { name, anomalies, .. } = &standing.sources;
            anomalies().into_iter().for_each(|(kind, total)| meters.anomalies_are(name, kind, total));
        }
    }
}

/// Why a ledger makes its node unready.
fn reasons(ledger: &LedgerStatus) -> Vec<String> {
    let name = &ledger.name;
    let mut reasons = Vec::new();
    if !ledger.running {
        reasons.push(format!(
            "engine stopped: ledger {name} takes no more blocks; see the log, then restart the node"
        ));
    }
    if let Some(syncing) = &ledger.syncing {
        let (at, to) = (grouped(syncing.at.0), grouped(syncing.to.0));
        reasons.push(format!("syncing: {at} of {to} blocks of ledger {name}"));
    }
    if let Some(stalled) = &ledger.stalled {
        reasons.push(format!("{stalled}, on ledger {name}"));
    }
    reasons
}

impl Tally for Meters {
    fn answered(&self, kind: &'static str, method: &str, result: &'static str, count: u64) {
        Self::answered(self, kind, method, result, count);
    }

    fn took(&self, kind: &'static str, took: Duration) {
        self.answer_took(kind, took);
    }
}

#[cfg(test)]
mod tests;
