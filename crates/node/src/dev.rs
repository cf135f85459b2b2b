//! What a development ledger lets its user steer, over the solo engine.

use crate::engines::EngineThread;
use crate::gate::Gate;
use crate::signals::WallSignals;
use alloy_consensus::Transaction as _;
use bletchley_api::{DevControl, DevError};
use bletchley_consensus::{Cadence, CadenceHandle};
use bletchley_evm::{EvmLedger, TxPlace};
use bletchley_primitives::B256;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds of block production after which a transaction that is still waiting is not waited for any longer.
const SETTLE_ROUNDS_MAX: u32 = 2;

/// Steers the engine of one EVM ledger.
pub(crate) struct Steering {
    ledger: EvmLedger,
    cadence: CadenceHandle,
    signals: Arc<WallSignals>,
    gate: Arc<Gate>,
    interval_ms: Mutex<Option<u64>>,
}

impl Steering {
    pub(crate) fn new(ledger: EvmLedger, cadence: CadenceHandle, engine: &EngineThread) -> Self {
        let (signals, gate) = (engine.signals.clone(), engine.gate.clone());
        Self { ledger, cadence, signals, gate, interval_ms: Mutex::new(None) }
    }

    fn blocks(&self, count: u64) -> Result<(), DevError> {
        let count =
            u32::try_from(count).map_err(|_| DevError(format!("{count} blocks are too many at once")))?;
        if self.signals.mine(count) {
            Ok(())
        } else {
            Err(DevError("the engine is stopping, or too many blocks were asked for".to_owned()))
        }
    }

    /// Whether the next block can take it: one behind a gap in its sender's nonces waits for another transaction.
    fn is_waiting(&self, transaction: B256) -> bool {
        let Ok(Some(found)) = self.ledger.transaction(transaction) else { return false };
        let has_gap = found.tx.tx.nonce() >= self.ledger.pool_nonce(&found.tx.sender);
        matches!(found.place, TxPlace::Pending) && !has_gap
    }
}

impl DevControl for Steering {
    fn mine(&self, count: u64, interval_s: Option<u64>) -> Result<(), DevError> {
        let Some(interval_s) = interval_s else { return self.blocks(count) };
        let dev = self.ledger.dev().ok_or_else(|| DevError("this is not a development ledger".to_owned()))?;
        for block in 0..count {
            if block > 0 {
                dev.increase_time(i64::try_from(interval_s).unwrap_or(i64::MAX / 1000).saturating_mul(1000));
            }
            self.blocks(1)?;
        }
        Ok(())
    }

    fn automine(&self) -> bool {
        self.cadence.get() == Cadence::Automine
    }

    fn set_automine(&self, on: bool) -> Result<(), DevError> {
        let off =
            self.interval_ms.lock().map_or(Cadence::Manual, |interval_ms| Cadence::Interval { interval_ms });
        self.cadence.set(if on { Cadence::Automine } else { off });
        self.signals.wake();
        Ok(())
    }

    fn interval_ms(&self) -> Option<u64> {
        *self.interval_ms.lock()
    }

    fn set_interval_ms(&self, interval_ms: Option<u64>) -> Result<(), DevError> {
        *self.interval_ms.lock() = interval_ms;
        self.cadence
            .set(interval_ms.map_or(Cadence::Manual, |interval_ms| Cadence::Interval { interval_ms }));
        self.signals.wake();
        Ok(())
    }

    fn settle(&self, transaction: B256, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        for _ in 0..SETTLE_ROUNDS_MAX {
            let rounds = self.gate.rounds();
            if !self.automine() || !self.is_waiting(transaction) || !self.gate.await_round(rounds, deadline) {
                return;
            }
        }
    }

    fn paused(&self, change: &mut dyn FnMut()) {
        self.gate.paused(change);
    }
}
