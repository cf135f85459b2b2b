//! What a development ledger lets its user steer: when blocks are made. The node implements it over its engine.

use alloy_primitives::B256;
use bletchley_crypto::SecretKey;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a development request could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DevError(pub String);

/// Steers block production. Methods may block; they are called on threads where that is allowed.
pub trait DevControl: Send + Sync + 'static {
    /// Makes `count` blocks, empty ones included, and returns when all are committed. With `interval_s` each block's
    /// time lies that many seconds after the one before it.
    ///
    /// # Errors
    /// [`DevError`] when the engine cannot make a block.
    fn mine(&self, count: u64, interval_s: Option<u64>) -> Result<(), DevError>;

    /// Whether every transaction gets a block at once.
    fn automine(&self) -> bool;

    /// Switches automine on or off.
    ///
    /// # Errors
    /// [`DevError`] when the engine does not take the setting.
    fn set_automine(&self, on: bool) -> Result<(), DevError>;

    /// Time between blocks, when they are made by the clock.
    fn interval_ms(&self) -> Option<u64>;

    /// Makes blocks by the clock, or no longer.
    ///
    /// # Errors
    /// [`DevError`] when the engine does not take the setting.
    fn set_interval_ms(&self, interval_ms: Option<u64>) -> Result<(), DevError>;

    /// Waits until the transaction is committed, or until it is clear that it will not be soon: automine is off, it is
    /// queued behind a nonce gap, it was deferred for a cryptlet, or `timeout` has passed.
    fn settle(&self, transaction: B256, timeout: Duration);

    /// Runs `change` while no block is being made, so that a snapshot, a rewind or an intervention does not meet one.
    fn paused(&self, change: &mut dyn FnMut());
}

/// What the interface adds on a development ledger.
#[derive(Clone)]
pub struct DevMode {
    /// Keys of the funded accounts, in the order in which `eth_accounts` lists them.
    pub accounts: Vec<SecretKey>,
    /// Block production.
    pub control: Arc<dyn DevControl>,
}

impl fmt::Debug for DevMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevMode").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}
