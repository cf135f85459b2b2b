//! What happens on the EVM ledger reaches subscribers, and wakes the engine.

use crate::signals::WallSignals;
use bletchley_api::Feed;
use bletchley_evm::{EvmBlock, MinedReceipt, Observer, RecoveredTx};
use bletchley_primitives::Height;
use std::sync::{Arc, OnceLock};

/// The feed of subscribers, and the engine once it runs.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) feed: Arc<Feed>,
    pub(crate) engine: OnceLock<Arc<WallSignals>>,
}

impl Observer for Listeners {
    fn committed(&self, block: &Arc<EvmBlock>, receipts: &Arc<Vec<MinedReceipt>>) {
        self.feed.committed(block, receipts);
    }

    fn pooled(&self, tx: &Arc<RecoveredTx>) {
        if let Some(engine) = self.engine.get() {
            engine.wake();
        }
        self.feed.pooled(tx);
    }

    fn rewound(&self, to: Height) {
        self.feed.rewound(to);
    }
}
