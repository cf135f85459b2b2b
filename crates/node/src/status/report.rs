//! The shape of `/status`.

use bletchley_primitives::{BlockHash, Height, LedgerId};
use serde::{Deserialize, Serialize};

/// A member, as its node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// Name of the consortium.
    pub consortium: String,
    /// Name of the member whose node this is.
    pub member: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// If not, why; the same as `/readyz`.
    pub reasons: Vec<String>,
    /// What to do something about before it becomes a reason, such as an upgrade that this program does not know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What of this member's host, the policy and the ready-made cryptlets is not registered yet: delegated calls may
    /// have to wait for it.
    #[serde(default)]
    pub unregistered: Option<String>,
    /// Members whose proposed blocks were refused here, newest last.
    #[serde(default)]
    pub misbehaviours: Vec<serde_json::Value>,
    /// Every ledger of this node.
    pub ledgers: Vec<LedgerStatus>,
    /// Every other member that this node knows.
    pub peers: Vec<PeerStatus>,
    /// Delegated calls.
    pub calls: CallCounts,
}

/// One ledger of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerStatus {
    /// Its name in the consortium.
    pub name: String,
    /// Its identity.
    pub id: LedgerId,
    /// Its machine: `evm`, `utxo`.
    pub machine: String,
    /// Its engine: `solo`, `simplex`, `tendermint`.
    pub engine: String,
    /// Whether the engine runs.
    pub running: bool,
    /// Epoch of the next block.
    pub epoch: u64,
    /// Round or view of the engine, where it has one.
    pub round: Option<u64>,
    /// Height of the newest final block.
    pub height: Height,
    /// Its hash.
    pub head: BlockHash,
    /// Time since it became final here; since the node's start when it has kept none yet.
    pub last_block_age_ms: u64,
    /// Of the last blocks; none until two were kept.
    pub finality: Option<RecentFinality>,
    /// Transactions that became final since the start of the process.
    pub transactions: u64,
    /// The mempool.
    pub pool: PoolCounts,
    /// Validators of this epoch.
    pub validators: Vec<ValidatorStatus>,
    /// How many of them must be connected for blocks to become final.
    pub quorum: usize,
    /// Newest height with a checkpoint certificate, where the ledger gathers them.
    pub certified: Option<Height>,
    /// Set while the node catches up.
    pub syncing: Option<SyncProgress>,
    /// Why no block can become final now, if that is so.
    pub stalled: Option<String>,
}

/// Finality over the last blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentFinality {
    /// How many blocks this is over.
    pub blocks: usize,
    /// Median time from a block's making to its finality here.
    pub p50_ms: u64,
    /// All but one in a hundred were faster.
    pub p99_ms: u64,
    /// Transactions in a second over those blocks.
    pub transactions_per_second: f64,
}

/// Transactions of a mempool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolCounts {
    /// Could enter a block now.
    pub ready: usize,
    /// Wait for a delegated call, or for a transaction before them.
    pub deferred: usize,
}

/// A validator of the current epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidatorStatus {
    /// The member's name.
    pub name: String,
    /// Whether it is this node.
    pub this: bool,
    /// Whether this node is connected with it (always, with itself).
    pub connected: bool,
    /// Newest height that it was heard to vote for or to sign, where that is known.
    pub height: Option<Height>,
    /// Time since it was last heard, where that is known.
    pub last_seen_ms: Option<u64>,
}

/// Another member's node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// The member's name.
    pub name: String,
    /// Its key on the network, in hex.
    pub peer: String,
    /// Whether this node is connected with it.
    pub connected: bool,
    /// Time since it was last heard, where that is known.
    pub last_seen_ms: Option<u64>,
    /// Newest height that it was heard to vote for or to sign, by name of the ledger.
    pub heights: std::collections::BTreeMap<String, Height>,
}

/// How far a node that catches up has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncProgress {
    /// What is being done: `snapshot`, `replay`, `fetch`.
    pub step: String,
    /// Where it began.
    pub from: Height,
    /// Where it is.
    pub at: Height,
    /// Where it goes.
    pub to: Height,
    /// Time left at the pace so far, where that can be said.
    pub left_ms: Option<u64>,
}

impl SyncProgress {
    /// How much of it is done, in per cent.
    #[must_use]
    pub fn per_cent(&self) -> u64 {
        let whole = self.to.0.saturating_sub(self.from.0).max(1);
        self.at.0.saturating_sub(self.from.0).min(whole).saturating_mul(100) / whole
    }
}

impl std::fmt::Display for SyncProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} ({} %)", grouped(self.at.0), grouped(self.to.0), self.per_cent())?;
        match self.left_ms {
            Some(left_ms) => write!(f, ", {} left", duration(left_ms)),
            None => Ok(()),
        }
    }
}

/// Delegated calls of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallCounts {
    /// Wait or run.
    pub running: usize,
    /// Ended with a receipt.
    pub ok: u64,
    /// Ended with a receipt that says that no host could answer.
    pub unavailable: u64,
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time as people say it.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{seconds}.{} s", ms % 1000 / 100),
        10_000..120_000 => format!("{seconds} s"),
        120_000..7_200_000 => format!("{} min", seconds / 60),
        7_200_000..172_800_000 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_as_people_say_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [5, 1_500, 61_000, 600_000, 10_000_000, 400_000_000].map(duration),
            ["5 ms", "1.5 s", "61 s", "10 min", "2 h", "4 days"]
        );
    }

    #[test]
    fn progress_says_how_far() {
        let mut progress = SyncProgress {
            step: "fetch".to_owned(),
            from: Height(0),
            at: Height(1_200),
            to: Height(4_000),
            left_ms: Some(12_000),
        };
        assert_eq!(progress.to_string(), "1,200 of 4,000 (30 %), 12 s left");
        progress.from = Height(4_000);
        assert_eq!(progress.per_cent(), 0);
    }
}
