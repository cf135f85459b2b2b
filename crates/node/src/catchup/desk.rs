//! What a node that catches up says about it, and how it was told to do so.

use super::Subject;
use crate::status::{LedgerStatus, PoolCounts, SyncProgress, grouped};
use bletchley_primitives::{BlockHash, Height, LedgerId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Where a ledger stands that catches up.
struct Standing {
    id: LedgerId,
    machine: &'static str,
    step: &'static str,
    from: Height,
    at: Height,
    to: Height,
    member: String,
    began: Instant,
}

/// One for a node: every ledger that catches up reports here.
#[derive(Default)]
pub(crate) struct Desk {
    /// Execute every block instead of taking results over.
    pub(crate) replay: bool,
    /// Vote whatever may have been signed before the data was lost: somebody made sure that nothing was.
    pub(crate) votes_at_once: bool,
    standings: Mutex<BTreeMap<String, Standing>>,
    /// A ledger is too far behind for its engine: the node shall start again.
    pub(super) fell_behind: AtomicBool,
    /// Blocks taken in, by replay and from results.
    pub(crate) replayed: AtomicU64,
    pub(crate) imported: AtomicU64,
    /// Members that were dropped for what they sent, or did not send.
    pub(crate) refused: AtomicU64,
}

impl Desk {
    pub(crate) fn new(replay: bool, votes_at_once: bool) -> Self {
        Self { replay, votes_at_once, ..Self::default() }
    }

    /// Whether the node shall start again, to catch up.
    pub(crate) fn fell_behind(&self) -> bool {
        self.fell_behind.load(Ordering::Acquire)
    }

    /// A ledger begins to catch up.
    pub(super) fn begin(&self, subject: &Subject, step: &'static str, to: Height, member: String) {
        let head = subject.machine.head().height;
        let standing = Standing {
            id: subject.ledger,
            machine: subject.machine.name(),
            step,
            from: head,
            at: head,
            to,
            member,
            began: Instant::now(),
        };
        self.standings.lock().insert(subject.name.clone(), standing);
    }

    /// It has come so far.
    pub(super) fn reached(&self, ledger: &str, at: Height, blocks: u64, executed: bool) {
        if let Some(standing) = self.standings.lock().get_mut(ledger) {
            standing.at = at;
        }
        let counter = if executed { &self.replayed } else { &self.imported };
        counter.fetch_add(blocks, Ordering::Relaxed);
    }

    /// It has caught up, or given up.
    pub(super) fn end(&self, ledger: &str) {
        self.standings.lock().remove(ledger);
    }

    /// What is being done, for people: `syncing tokens 1,200 of 24,000 from regulator (5 %)`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let standings = self.standings.lock();
        let line = |(ledger, standing): (&String, &Standing)| {
            let (progress, member) = (progress(standing), &standing.member);
            let (at, to) = (grouped(progress.at.0), grouped(progress.to.0));
            format!("syncing {ledger} {at} of {to} from {member} ({} %)", progress.per_cent())
        };
        standings.iter().map(line).collect()
    }

    /// The ledgers that catch up, for `/status`.
    pub(super) fn ledgers(&self) -> Vec<LedgerStatus> {
        let standings = self.standings.lock();
        let status = |(name, standing): (&String, &Standing)| LedgerStatus {
            name: name.clone(),
            id: standing.id,
            machine: standing.machine.to_owned(),
            engine: "-".to_owned(),
            running: true,
            epoch: 0,
            round: None,
            height: standing.at,
            head: BlockHash::default(),
            last_block_age_ms: u64::try_from(standing.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            finality: None,
            transactions: 0,
            pool: PoolCounts::default(),
            validators: Vec::new(),
            quorum: 0,
            certified: None,
            syncing: Some(progress(standing)),
            stalled: None,
        };
        standings.iter().map(status).collect()
    }

    /// What is counted, as OpenMetrics text; with how far each ledger is while nothing else says so.
    pub(crate) fn metrics(&self, with_progress: bool) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!(
            "# HELP bletchley_sync_blocks Blocks that came out of other members' ledgers\n# TYPE bletchley_sync_blocks counter\nbletchley_sync_blocks_total{{way=\"replay\"}} {}\nbletchley_sync_blocks_total{{way=\"snapshot\"}} {}\n# HELP bletchley_sync_members_refused Members that were dropped for what they sent, or did not send\n# TYPE bletchley_sync_members_refused counter\nbletchley_sync_members_refused_total {}\n",
            count(&self.replayed),
            count(&self.imported),
            count(&self.refused),
        );
        if with_progress {
            let standings = self.standings.lock();
            for (name, value) in [("target_height", 0), ("behind_blocks", 1)] {
                text.push_str(&format!("# TYPE bletchley_sync_{name} gauge\n"));
                for (ledger, standing) in standings.iter() {
                    let behind = standing.to.0.saturating_sub(standing.at.0);
                    let shown = if value == 0 { standing.to.0 } else { behind };
                    text.push_str(&format!("bletchley_sync_{name}{{ledger=\"{ledger}\"}} {shown}\n"));
                }
            }
        }
        text
    }
}

fn progress(standing: &Standing) -> SyncProgress {
    let Standing { step, from, at, to, began, .. } = standing;
    let done = at.0.saturating_sub(from.0);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let left_ms = took_ms.saturating_mul(to.0.saturating_sub(at.0)).checked_div(done);
    SyncProgress { step: (*step).to_owned(), from: *from, at: *at, to: *to, left_ms }
}
