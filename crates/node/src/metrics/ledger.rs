//! One ledger: what its runner says about each block that it keeps.

use super::gauge;
use super::labels::LedgerLabels;
use bletchley_api::Followed;
use bletchley_primitives::{B256, Height, TimestampMs};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Blocks that percentiles and rates are over.
const RECENT_BLOCKS_MAX: usize = 256;

/// A block that was kept, as the runner tells it.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its height.
    pub height: Height,
    /// When its proposer made it, by the ledger's clock.
    pub made_ms: TimestampMs,
    /// What that clock shows now.
    pub now_ms: TimestampMs,
    /// Transactions in it.
    pub transactions: u32,
    /// Header, body and extension.
    pub size_bytes: usize,
    /// Time that execution took.
    pub execute: Duration,
    /// Time until it was on disk.
    pub append: Duration,
    /// Time until readers saw it.
    pub commit: Duration,
}

/// The newest blocks of a ledger, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finals {
    /// How many blocks this is over.
    pub blocks: usize,
    /// Median time from a block's making to its finality here.
    pub p50_ms: u64,
    /// The time that all but one in a hundred stayed below.
    pub p99_ms: u64,
    /// Transactions in a second, over those blocks and the silence since.
    pub transactions_per_second: f64,
}

pub(crate) struct LedgerFamilies {
    height: Family<LedgerLabels, Gauge>,
    transactions: Family<LedgerLabels, Counter>,
    blocks: Family<LedgerLabels, Counter>,
    interval: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    finality: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    size: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    execute: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    append: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    commit: Family<LedgerLabels, Histogram, fn() -> Histogram>,
    pub(crate) head_age: Family<LedgerLabels, Gauge<f64, AtomicU64>>,
    pub(crate) epoch: Family<LedgerLabels, Gauge>,
    pub(crate) round: Family<LedgerLabels, Gauge>,
    pub(crate) running: Family<LedgerLabels, Gauge>,
    pub(crate) quorum: Family<LedgerLabels, Gauge>,
    pub(crate) certified: Family<LedgerLabels, Gauge>,
    pub(crate) uncertified: Family<LedgerLabels, Gauge>,
    pub(crate) sync_target: Family<LedgerLabels, Gauge>,
    pub(crate) behind: Family<LedgerLabels, Gauge>,
}

/// 5 milliseconds to 82 seconds, by twos: engines wait for about a second at least once in a while, a quiet ledger for a
/// minute.
fn waits() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

/// 50 microseconds to 13 seconds.
fn work() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 4.0, 10))
}

/// 256 bytes to 64 MiB.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(256.0, 4.0, 10))
}

impl LedgerFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let all = Self {
            height: Family::default(),
            transactions: Family::default(),
            blocks: Family::default(),
            interval: Family::new_with_constructor(waits),
            finality: Family::new_with_constructor(waits),
            size: Family::new_with_constructor(sizes),
            execute: Family::new_with_constructor(work),
            append: Family::new_with_constructor(work),
            commit: Family::new_with_constructor(work),
            head_age: Family::default(),
            epoch: Family::default(),
            round: Family::default(),
            running: Family::default(),
            quorum: Family::default(),
            certified: Family::default(),
            uncertified: Family::default(),
            sync_target: Family::default(),
            behind: Family::default(),
        };
        all.register_blocks(registry);
        all.register_standing(registry);
        all
    }

    fn register_blocks(&self, registry: &mut Registry) {
        registry.register("bletchley_ledger_height", "Height of the newest final block", self.height.clone());
        registry.register(
            "bletchley_ledger_transactions",
            "Transactions that became final since the start of the process",
            self.transactions.clone(),
        );
        registry.register(
            "bletchley_ledger_blocks",
            "Blocks that became final since the start of the process",
            self.blocks.clone(),
        );
        registry.register(
            "bletchley_ledger_block_interval_seconds",
            "Time between final blocks on this node",
            self.interval.clone(),
        );
        registry.register(
            "bletchley_ledger_finality_seconds",
            "Time from a block's making, by its own time, to its finality on this node",
            self.finality.clone(),
        );
        registry.register(
            "bletchley_ledger_block_size_bytes",
            "Size of final blocks: header, transactions and extension",
            self.size.clone(),
        );
        registry.register(
            "bletchley_ledger_execute_seconds",
            "Time that executing a block took",
            self.execute.clone(),
        );
        registry.register(
            "bletchley_ledger_append_seconds",
            "Time until a block was on disk",
            self.append.clone(),
        );
        registry.register(
            "bletchley_ledger_commit_seconds",
            "Time until readers saw a block that was on disk",
            self.commit.clone(),
        );
    }

    fn register_standing(&self, registry: &mut Registry) {
        registry.register(
            "bletchley_ledger_head_age_seconds",
            "Time since the newest final block",
            self.head_age.clone(),
        );
        registry.register("bletchley_engine_epoch", "Epoch of the next block", self.epoch.clone());
        registry.register(
            "bletchley_engine_round",
            "Round or view that the engine is in",
            self.round.clone(),
        );
        registry.register(
            "bletchley_engine_running",
            "Whether the engine runs: 1 or 0",
            self.running.clone(),
        );
        registry.register(
            "bletchley_engine_quorum",
            "Whether enough validators are connected for blocks to become final: 1 or 0",
            self.quorum.clone(),
        );
        registry.register(
            "bletchley_certificate_height",
            "Newest height with a checkpoint certificate",
            self.certified.clone(),
        );
        registry.register(
            "bletchley_certificate_missing_blocks",
            "Final blocks above the newest certificate",
            self.uncertified.clone(),
        );
        registry.register(
            "bletchley_sync_target_height",
            "Height that the node is catching up to; 0 when it is not",
            self.sync_target.clone(),
        );
        registry.register(
            "bletchley_sync_behind_blocks",
            "Blocks still to be caught up with",
            self.behind.clone(),
        );
    }

    pub(super) fn meter(&self, name: &str) -> LedgerMeter {
        let labels = LedgerLabels { ledger: name.to_owned() };
        LedgerMeter {
            height: self.height.get_or_create_owned(&labels),
            transactions: self.transactions.get_or_create_owned(&labels),
            blocks: self.blocks.get_or_create_owned(&labels),
            interval: self.interval.get_or_create_owned(&labels),
            finality: self.finality.get_or_create_owned(&labels),
            size: self.size.get_or_create_owned(&labels),
            execute: self.execute.get_or_create_owned(&labels),
            append: self.append.get_or_create_owned(&labels),
            commit: self.commit.get_or_create_owned(&labels),
            recent: Mutex::default(),
            followed: OnceLock::new(),
            name: name.to_owned(),
        }
    }
}

/// What one ledger counts. Its runner calls [`LedgerMeter::kept`] once for each block.
pub struct LedgerMeter {
    name: String,
    height: Gauge,
    transactions: Counter,
    blocks: Counter,
    interval: Histogram,
    finality: Histogram,
    size: Histogram,
    execute: Histogram,
    append: Histogram,
    commit: Histogram,
    recent: Mutex<Recent>,
    followed: OnceLock<Arc<Followed>>,
}

impl std::fmt::Debug for LedgerMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerMeter").field("ledger", &self.name).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Recent {
    blocks: VecDeque<RecentBlock>,
}

#[derive(Clone, Copy)]
struct RecentBlock {
    at: Instant,
    finality_ms: u64,
    transactions: u32,
}

impl LedgerMeter {
    /// The ledger's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a block that was kept.
    pub fn kept(&self, block: &Kept) {
        let now = Instant::now();
        let finality_ms = block.now_ms.0.saturating_sub(block.made_ms.0);
        self.height.set(gauge(block.height.0));
        self.blocks.inc();
        self.transactions.inc_by(u64::from(block.transactions));
        self.finality.observe(Duration::from_millis(finality_ms).as_secs_f64());
        self.size.observe(u32::try_from(block.size_bytes).map_or(f64::from(u32::MAX), f64::from));
        self.execute.observe(block.execute.as_secs_f64());
        self.append.observe(block.append.as_secs_f64());
        self.commit.observe(block.commit.as_secs_f64());
        let mut recent = self.recent.lock();
        if let Some(last) = recent.blocks.back() {
            self.interval.observe(now.duration_since(last.at).as_secs_f64());
        }
        if recent.blocks.len() >= RECENT_BLOCKS_MAX {
            recent.blocks.pop_front();
        }
        recent.blocks.push_back(RecentBlock { at: now, finality_ms, transactions: block.transactions });
    }

    /// Sets the height without a block: at the start, and after a snapshot.
    pub fn stands_at(&self, height: Height) {
        self.height.set(gauge(height.0));
    }

    /// Transactions that became final since the start of the process.
    #[must_use]
    pub fn transactions_total(&self) -> u64 {
        self.transactions.get()
    }

    /// Time since the newest block that was kept by this process; none before the first.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        self.recent.lock().blocks.back().map(|block| block.at.elapsed())
    }

    /// The newest blocks; none before the second.
    #[must_use]
    pub fn finals(&self) -> Option<Finals> {
        let recent = self.recent.lock();
        let (first, last) = (recent.blocks.front()?, recent.blocks.back()?);
        let span = last.at.duration_since(first.at).max(last.at.elapsed()).as_secs_f64();
        let counted: u64 = recent.blocks.iter().skip(1).map(|block| u64::from(block.transactions)).sum();
        let mut times: Vec<u64> = recent.blocks.iter().map(|block| block.finality_ms).collect();
        let rate = if span > 0.0 {
            u32::try_from(counted).map_or(f64::from(u32::MAX), f64::from) / span
        } else {
            0.0
        };
        times.sort_unstable();
        Some(Finals {
            blocks: times.len(),
            p50_ms: percentile(&times, 50),
            p99_ms: percentile(&times, 99),
            transactions_per_second: rate,
        })
    }

    /// Says where transactions of this ledger are followed. Once; a second time changes nothing.
    pub fn follow(&self, followed: Arc<Followed>) {
        let _ = self.followed.set(followed);
    }

    /// The line of a block in the log: at level info when somebody follows one of its transactions, at debug otherwise.
    pub fn log(&self, block: &Kept, hash: &dyn Display, transactions: &mut dyn Iterator<Item = B256>) {
        let (ledger, height) = (self.name.as_str(), block.height.0);
        let followed = self.followed.get().filter(|followed| followed.any());
        let traces =
            followed.map(|followed| followed.finished(ledger, height, transactions)).unwrap_or_default();
        if traces.is_empty() {
            tracing::debug!(ledger, height, %hash, transactions = block.transactions, "block.final");
            return;
        }
        let trace: Vec<String> = traces.iter().map(ToString::to_string).collect();
        let trace = trace.join(",");
        tracing::info!(ledger, height, %hash, transactions = block.transactions, trace, "block.final");
    }
}

/// The value that `percent` of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(
            [percentile(&values, 50), percentile(&values, 99), percentile(&values, 100)],
            [50, 99, 100]
        );
        assert_eq!([percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)], [7, 7, 0]);
        assert_eq!(percentile(&[1, 9], 50), 1);
    }
}
