//! Searching logs: blooms skip blocks, bounds keep a query from reading the whole ledger.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};
use bletchley_ledger::ReadError;
use bletchley_primitives::{BlockHash, Height};

use crate::{block::Kept, ledger::EvmLedger};

/// Most blocks that one query looks at.
pub const LOGS_BLOCKS_MAX: u64 = 100_000;
/// Most logs that one query gives.
pub const LOGS_RESULTS_MAX: usize = 10_000;
/// Most addresses, and most alternatives for one topic, of one query.
pub const LOGS_ALTERNATIVES_MAX: usize = 1_000;

/// What logs to look for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// First block.
    pub from: Height,
    /// Last block; above the head is the head.
    pub to: Height,
    /// Contracts; any if empty.
    pub addresses: Vec<Address>,
    /// Alternatives for each topic; any if empty.
    pub topics: [Vec<B256>; 4],
}

/// A log and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLog {
    /// The log.
    pub log: Log,
    /// Its block.
    pub height: Height,
    /// Hash of its block.
    pub block_hash: BlockHash,
    /// Time of its block in seconds.
    pub time_seconds: u64,
    /// Its transaction.
    pub tx_hash: B256,
    /// Position of the transaction in the block.
    pub tx_index: usize,
    /// Position of the log in the block.
    pub log_index: usize,
}

/// Why logs were not given.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The range ends before it begins.
    #[error("invalid block range params: from {from} is after to {to}")]
    Range {
        /// First block.
        from: Height,
        /// Last block.
        to: Height,
    },
    /// The range is too long.
    #[error("query exceeds max block range {LOGS_BLOCKS_MAX}: {0} blocks; ask for a shorter range")]
    TooManyBlocks(u64),
    /// Too much was found.
    #[error("query returned more than {LOGS_RESULTS_MAX} results; try with this block range [{from}, {to}]")]
    TooManyResults {
        /// First block of a range that gives fewer.
        from: Height,
        /// Last block of it.
        to: Height,
    },
    /// Too many alternatives.
    #[error(
        "query exceeds max addresses or topics per search position: {0}, at most {LOGS_ALTERNATIVES_MAX}"
    )]
    TooManyAlternatives(usize),
    /// The data could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl LogQuery {
    /// Whether a log is one of those looked for.
    #[must_use]
    pub fn matches(&self, log: &Log) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        address
            && self.topics.iter().enumerate().all(|(position, wanted)| {
                wanted.is_empty() || log.topics().get(position).is_some_and(|topic| wanted.contains(topic))
            })
    }

    /// Whether a block with this bloom may hold one.
    #[must_use]
    pub fn may_match(&self, bloom: &Bloom) -> bool {
        let holds = |raw: &[u8]| bloom.contains_input(BloomInput::Raw(raw));
        let address = self.addresses.is_empty() || self.addresses.iter().any(|a| holds(a.as_slice()));
        address
            && self
                .topics
                .iter()
                .all(|wanted| wanted.is_empty() || wanted.iter().any(|t| holds(t.as_slice())))
    }

    /// The logs of one block that match.
    #[must_use]
    pub fn select(&self, block: &crate::EvmBlock, receipts: &[crate::MinedReceipt]) -> Vec<PlacedLog> {
        let mut found = Vec::new();
        let mut log_index = 0;
        for (tx_index, (tx, receipt)) in block.transactions.iter().zip(receipts).enumerate() {
            for log in &receipt.logs {
                if self.matches(log) {
                    found.push(PlacedLog {
                        log: log.clone(),
                        height: block.height(),
                        block_hash: block.hash,
                        time_seconds: block.header.timestamp,
                        tx_hash: tx.hash,
                        tx_index,
                        log_index,
                    });
                }
                log_index += 1;
            }
        }
        found
    }
}

impl EvmLedger {
    /// The logs that match, in order.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn logs(&self, query: &LogQuery) -> Result<Vec<PlacedLog>, LogsError> {
        let to = query.to.min(self.core.head().height());
        if query.from > query.to {
            return Err(LogsError::Range { from: query.from, to: query.to });
        }
        let blocks = (to.0 + 1).saturating_sub(query.from.0);
        if blocks > LOGS_BLOCKS_MAX {
            return Err(LogsError::TooManyBlocks(blocks));
        }
        let alternatives = query.topics.iter().map(Vec::len).chain([query.addresses.len()]).max();
        if let Some(count) = alternatives.filter(|count| *count > LOGS_ALTERNATIVES_MAX) {
            return Err(LogsError::TooManyAlternatives(count));
        }
        let mut found = Vec::new();
        for height in query.from.0..=to.0 {
            let height = Height(height);
            let Some(header) = self.core.header_at(height)? else { break };
            if !query.may_match(&header.logs_bloom) {
                continue;
            }
            let Some(Kept { block, receipts }) = self.core.kept(height)? else { break };
            found.extend(query.select(&block, &receipts));
            if found.len() > LOGS_RESULTS_MAX {
                let to = Height(height.0.saturating_sub(1)).max(query.from);
                return Err(LogsError::TooManyResults { from: query.from, to });
            }
        }
        Ok(found)
    }
}
