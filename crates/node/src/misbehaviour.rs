//! Members that proposed what no honest member proposes: who, where, what, for logs, metrics and status.

use crate::metrics::{Meters, Refused};
use bletchley_ledger::{ExecuteError, RecordError};
use bletchley_primitives::Height;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records that are kept, the oldest leave first.
const KEPT_MAX: usize = 128;

/// What was wrong, in one word for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MisbehaviourKind {
    /// A receipt that does not hold: wrong digest, too few or wrong hosts, an unregistered cryptlet.
    Receipt,
    /// A call whose receipt the record lacks, or holds in another place.
    WithheldCall,
    /// A registry state that does not follow the parent's, or none where there must be one.
    Anchor,
    /// Receipts that nothing asked for, or more than a block holds.
    SurplusReceipts,
    /// A header that says something else than execution gives.
    Result,
    /// A transaction that cannot stand there.
    Transaction,
    /// Bytes that are no block.
    Malformed,
}

impl MisbehaviourKind {
    const fn counted_as(self) -> Refused {
        match self {
            Self::Receipt | Self::WithheldCall | Self::SurplusReceipts => Refused::InvalidReceipt,
            Self::Anchor | Self::Result | Self::Transaction | Self::Malformed => Refused::InvalidBlock,
        }
    }

    /// What a refused block says about its proposer; none where it may only be ahead of this member, or where this
    /// member failed.
    #[must_use]
    pub const fn of(error: &ExecuteError) -> Option<Self> {
        match error {
            ExecuteError::NotOnHead { .. } | ExecuteError::Internal { .. } => None,
            ExecuteError::Decode { .. } => Some(Self::Malformed),
            ExecuteError::Transaction { .. } => Some(Self::Transaction),
            ExecuteError::Mismatch { .. } => Some(Self::Result),
            ExecuteError::Record { source, .. } => match source {
                RecordError::Anchor { .. } => None,
                RecordError::Backwards { .. } | RecordError::NoRegistry { .. } => Some(Self::Anchor),
                RecordError::Receipt { .. } => Some(Self::Receipt),
                RecordError::Order { .. } => Some(Self::WithheldCall),
                RecordError::Surplus(_) | RecordError::TooMany { .. } => Some(Self::SurplusReceipts),
            },
        }
    }
}

/// A block that was refused, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misbehaviour {
    /// Ledger, by name.
    pub ledger: String,
    /// Height of the block.
    pub height: Height,
    /// Name of the member that proposed it.
    pub member: String,
    /// What was wrong, in one word.
    pub kind: MisbehaviourKind,
    /// What was wrong, in words.
    pub problem: String,
}

/// Hears of misbehaviour.
pub trait MisbehaviourSink: Send + Sync {
    /// Takes in a record.
    fn note(&self, misbehaviour: Misbehaviour);
}

/// The newest records, in memory.
#[derive(Debug, Default)]
pub struct Misbehaviours {
    kept: Mutex<VecDeque<Misbehaviour>>,
    total: AtomicU64,
    meters: Option<Arc<Meters>>,
}

impl Misbehaviours {
    /// Records that are counted too.
    #[must_use]
    pub fn counted(meters: Arc<Meters>) -> Self {
        Self { meters: Some(meters), ..Self::default() }
    }

    /// Newest last.
    #[must_use]
    pub fn list(&self) -> Vec<Misbehaviour> {
        self.kept.lock().iter().cloned().collect()
    }

    /// Records since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl MisbehaviourSink for Misbehaviours {
    fn note(&self, misbehaviour: Misbehaviour) {
        let Misbehaviour { ledger, height, member, kind, problem } = &misbehaviour;
        let mut kept = self.kept.lock();
        // An engine may verify the same block again.
        if kept.contains(&misbehaviour) {
            return;
        }
        tracing::warn!(ledger, %height, member, ?kind, problem, "a member proposed a block that does not hold");
        self.total.fetch_add(1, Ordering::Relaxed);
        if let Some(meters) = &self.meters {
            meters.refuse(Some(member), kind.counted_as());
        }
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(misbehaviour);
    }
}

/// Notes a refused block of this member, if it says something about it. `member` is who led the view, as the engine
/// knows it: what a header says about its proposer is the proposer's own word.
pub fn note_refused(
    sink: &dyn MisbehaviourSink,
    ledger: &str,
    height: Height,
    member: &str,
    error: &ExecuteError,
) {
    if let Some(kind) = MisbehaviourKind::of(error) {
        let (ledger, member, problem) = (ledger.to_owned(), member.to_owned(), error.to_string());
        sink.note(Misbehaviour { ledger, height, member, kind, problem });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bletchley_primitives::BlockHash;

    fn record(source: RecordError) -> ExecuteError {
        ExecuteError::Record { height: Height(7), source }
    }

    #[test]
    fn a_liar_is_named_and_one_who_is_ahead_is_not() {
        let meters = Arc::new(Meters::new());
        let list = Misbehaviours::counted(meters.clone());
        let withheld = RecordError::Order { call: "fx-rates.rate".into(), found: "nothing more".into() };
        let ahead = RecordError::Anchor { height: Height(9) };
        let parent = ExecuteError::NotOnHead {
            height: Height(7),
            parent: BlockHash::default(),
            head: BlockHash::default(),
        };
        for error in [record(withheld.clone()), record(ahead), parent, record(withheld)] {
            note_refused(&list, "evm", Height(7), "bank-b", &error);
        }
        let [found] = &*list.list() else { unreachable!("one record, and the same one once") };
        assert_eq!((found.member.as_str(), found.kind), ("bank-b", MisbehaviourKind::WithheldCall));
        assert!(found.problem.contains("nothing more"), "{}", found.problem);
        assert_eq!(list.total(), 1);
        let counted = "bletchley_net_refused_total{peer=\"bank-b\",reason=\"invalid_receipt\"} 1";
        assert!(meters.render().contains(counted), "{}", meters.render());
    }

    #[test]
    fn the_list_is_bounded() {
        let list = Misbehaviours::default();
        for height in 0..KEPT_MAX as u64 + 3 {
            note_refused(&list, "evm", Height(height), "bank-b", &record(RecordError::Surplus(1)));
        }
        assert_eq!((list.list().len(), list.total()), (KEPT_MAX, KEPT_MAX as u64 + 3));
        assert_eq!(list.list().first().map(|found| found.height), Some(Height(3)));
    }
}
