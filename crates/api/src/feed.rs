//! What happens on the ledger, as it happens: the ledger's observer, and the channels that subscribers listen on.

use crate::filters::Filters;
use crate::limits::{FEED_BLOCKS_MAX, FEED_TRANSACTIONS_MAX};
use bletchley_evm::{EvmBlock, MinedReceipt, Observer, RecoveredTx};
use bletchley_primitives::Height;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::broadcast;

/// A change of the chain.
#[derive(Debug, Clone)]
pub enum BlockEvent {
    /// A block became the head.
    Committed {
        /// The block.
        block: Arc<EvmBlock>,
        /// Its receipts.
        receipts: Arc<Vec<MinedReceipt>>,
    },
    /// A development ledger went back; the block at this height is the head again.
    Rewound(Height),
}

/// The ledger's observer. It never blocks the ledger: a subscriber that falls behind loses its place instead.
#[derive(Debug)]
pub struct Feed {
    blocks: broadcast::Sender<BlockEvent>,
    transactions: broadcast::Sender<Arc<RecoveredTx>>,
    filters: Filters,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            blocks: broadcast::Sender::new(FEED_BLOCKS_MAX),
            transactions: broadcast::Sender::new(FEED_TRANSACTIONS_MAX),
            filters: Filters::default(),
        }
    }
}

impl Feed {
    /// Blocks from now on. A receiver that lags more than [`FEED_BLOCKS_MAX`] behind is told so.
    #[must_use]
    pub fn blocks(&self) -> broadcast::Receiver<BlockEvent> {
        self.blocks.subscribe()
    }

    /// Transactions that enter the pool from now on.
    #[must_use]
    pub fn transactions(&self) -> broadcast::Receiver<Arc<RecoveredTx>> {
        self.transactions.subscribe()
    }

    /// Whether anybody listens to pooled transactions.
    #[must_use]
    pub fn transactions_watched(&self) -> bool {
        self.transactions.receiver_count() > 0
    }

    pub(crate) const fn filters(&self) -> &Filters {
        &self.filters
    }
}

impl Observer for Feed {
    fn committed(&self, block: &Arc<EvmBlock>, receipts: &Arc<Vec<MinedReceipt>>) {
        if self.blocks.receiver_count() > 0 {
            let event = BlockEvent::Committed { block: Arc::clone(block), receipts: Arc::clone(receipts) };
            // No receiver is no error: nobody listens.
            let _ = self.blocks.send(event);
        }
    }

    fn pooled(&self, tx: &Arc<RecoveredTx>) {
        if self.transactions_watched() {
            let _ = self.transactions.send(Arc::clone(tx));
        }
        if self.filters.watch_transactions() {
            self.filters.pooled(tx.hash, Instant::now());
        }
    }

    fn rewound(&self, to: Height) {
        self.filters.rewound(to);
        let _ = self.blocks.send(BlockEvent::Rewound(to));
    }
}
