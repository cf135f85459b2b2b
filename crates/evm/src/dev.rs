//! What only a development ledger offers: state set from outside, impersonated senders, time travel, blocks taken back.
//!
//! Every change of state is an intervention that the next block carries, so that a replay of a development ledger still
//! gives the same roots, and `verify` can say how many interventions there were.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::TransactionRequest;
use bletchley_ledger::TruncateError;
use bletchley_primitives::{Height, TimestampMs};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    block,
    core::Core,
    ledger::EvmLedger,
    pool::SubmitError,
    read::BlockRef,
    state::{HistoryError, InterventionError, Override, Overrides},
    tx,
};

/// Most snapshots that are remembered; the oldest is forgotten for a new one.
const SNAPSHOTS_MAX: usize = 1024;

/// Why a development request was refused.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// State was not changed.
    #[error(transparent)]
    Intervention(#[from] InterventionError),
    /// The state cannot go back that far.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The blocks cannot be taken back.
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    /// The blocks cannot be read.
    #[error(transparent)]
    Read(#[from] bletchley_ledger::ReadError),
    /// The time lies before the head's.
    #[error("timestamp {asked} s is lower than the previous block's timestamp {head} s")]
    TimeBackwards {
        /// Seconds asked for.
        asked: u64,
        /// Seconds of the head.
        head: u64,
    },
    /// There is no such height.
    #[error("block {0} lies above the head")]
    NoBlock(Height),
}

struct Snapshot {
    height: Height,
    pending: Option<Arc<Overrides>>,
    offset_ms: i64,
}

/// Time and identities of a development ledger.
#[derive(Default)]
pub(crate) struct DevState {
    offset_ms: i64,
    next_ms: Option<TimestampMs>,
    impersonated: BTreeSet<Address>,
    impersonate_all: bool,
    snapshots: BTreeMap<u64, Snapshot>,
    snapshot_count: u64,
}

impl DevState {
    /// The time of the next block when the clock says `now`.
    pub(crate) fn time(&self, now: TimestampMs) -> TimestampMs {
        self.next_ms.unwrap_or_else(|| TimestampMs(now.0.saturating_add_signed(self.offset_ms)))
    }

    /// Whether transactions of this sender may come without a signature.
    pub(crate) fn is_impersonated(&self, address: &Address) -> bool {
        self.impersonate_all || self.impersonated.contains(address)
    }

    /// After a block was built: a time that was asked for is where time goes on from.
    pub(crate) fn proposed(&mut self, now: TimestampMs) {
        if let Some(next) = self.next_ms.take() {
            self.offset_ms = difference(next, now);
        }
    }
}

fn difference(to: TimestampMs, from: TimestampMs) -> i64 {
    i64::try_from(i128::from(to.0) - i128::from(from.0)).unwrap_or(i64::MAX)
}

/// The controls of a development ledger.
#[derive(Clone)]
pub struct DevHandle {
    core: Arc<Core>,
}

impl std::fmt::Debug for DevHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevHandle").field("ledger", &self.core.ledger).finish_non_exhaustive()
    }
}

impl DevHandle {
    pub(crate) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn intervene(&self, method: &str, change: Override) -> Result<(), DevError> {
        // A block that is being built must carry all interventions that its state shows, or none.
        let held = self.core.held.lock();
        self.core.state.intervene(method, &[change])?;
        drop(held);
        self.core.pool.lock().wake_deferred();
        Ok(())
    }

    /// Sets a balance.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn set_balance(&self, address: Address, balance: U256) -> Result<(), DevError> {
        self.intervene("setBalance", Override::Balance(address, balance))
    }

    /// Sets a nonce.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn set_nonce(&self, address: Address, nonce: u64) -> Result<(), DevError> {
        self.intervene("setNonce", Override::Nonce(address, nonce))
    }

    /// Sets an account's code.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn set_code(&self, address: Address, code: Bytes) -> Result<(), DevError> {
        self.intervene("setCode", Override::Code(address, code))
    }

    /// Sets a storage slot.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn set_storage_at(&self, address: Address, slot: U256, value: U256) -> Result<(), DevError> {
        self.intervene("setStorageAt", Override::Slot(address, slot, value))
    }

    /// Lets transactions of this sender be submitted without a signature.
    pub fn impersonate(&self, address: Address) {
        self.core.dev.lock().impersonated.insert(address);
    }

    /// Ends what [`Self::impersonate`] began; whether there was anything to end.
    pub fn stop_impersonating(&self, address: &Address) -> bool {
        self.core.dev.lock().impersonated.remove(address)
    }

    /// Lets transactions of any sender be submitted without a signature, or not.
    pub fn impersonate_all(&self, on: bool) {
        self.core.dev.lock().impersonate_all = on;
    }

    /// Whether transactions of this sender may be submitted without a signature.
    #[must_use]
    pub fn is_impersonated(&self, address: &Address) -> bool {
        self.core.dev.lock().is_impersonated(address)
    }

    /// Takes a transaction out of the mempool; whether it was there.
    #[must_use]
    pub fn drop_transaction(&self, hash: &B256) -> bool {
        let mut pool = self.core.pool.lock();
        let Some(tx) = pool.get(hash) else { return false };
        pool.drop_invalid(&tx, "dropped on request".to_owned());
        true
    }

    /// Moves the clock forward (or back, as far as the head allows); gives the whole offset.
    pub fn increase_time(&self, by_ms: i64) -> i64 {
        let mut dev = self.core.dev.lock();
        dev.offset_ms = dev.offset_ms.saturating_add(by_ms);
        dev.offset_ms
    }

    /// The offset between the ledger's clock and the real one.
    #[must_use]
    pub fn time_offset_ms(&self) -> i64 {
        self.core.dev.lock().offset_ms
    }

    /// Sets the time of the next block; time goes on from there.
    ///
    /// # Errors
    /// [`DevError::TimeBackwards`].
    pub fn set_next_time(&self, time_ms: TimestampMs) -> Result<(), DevError> {
        let head = self.core.head().time_ms;
        if time_ms < head {
            return Err(DevError::TimeBackwards { asked: time_ms.seconds(), head: head.seconds() });
        }
        self.core.dev.lock().next_ms = Some(time_ms);
        Ok(())
    }

    /// Sets the clock: it says `time_ms` when the real one says `now`.
    pub fn set_time(&self, time_ms: TimestampMs, now: TimestampMs) {
        let mut dev = self.core.dev.lock();
        dev.offset_ms = difference(time_ms, now);
        dev.next_ms = None;
    }

    /// What the ledger's clock says when the real one says `now`.
    #[must_use]
    pub fn time(&self, now: TimestampMs) -> TimestampMs {
        self.core.dev.lock().time(now)
    }

    /// Remembers the ledger as it is; the number names it.
    #[must_use]
    pub fn snapshot(&self) -> u64 {
        let held = self.core.held.lock();
        let snapshot = Snapshot {
            height: self.core.head().height(),
            pending: self.core.state.pending(),
            offset_ms: self.core.dev.lock().offset_ms,
        };
        drop(held);
        let mut dev = self.core.dev.lock();
        dev.snapshot_count += 1;
        let number = dev.snapshot_count;
        dev.snapshots.insert(number, snapshot);
        if dev.snapshots.len() > SNAPSHOTS_MAX {
            dev.snapshots.pop_first();
        }
        number
    }

    /// Goes back to a snapshot and forgets it and all after it; false if there is none with this number.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn revert(&self, number: u64) -> Result<bool, DevError> {
        let snapshot = {
            let mut dev = self.core.dev.lock();
            let Some(snapshot) = dev.snapshots.remove(&number) else { return Ok(false) };
            dev.snapshots.split_off(&number);
            dev.offset_ms = snapshot.offset_ms;
            dev.next_ms = None;
            snapshot
        };
        self.rewind(snapshot.height, snapshot.pending)?;
        Ok(true)
    }

    /// Takes back every block above `height`, and empties the pool.
    ///
    /// # Errors
    /// [`DevError`].
    pub fn rewind_to(&self, height: Height) -> Result<(), DevError> {
        self.rewind(height, None)
    }

    fn rewind(&self, height: Height, pending: Option<Arc<Overrides>>) -> Result<(), DevError> {
        let core = &*self.core;
        let mut held = core.held.lock();
        if height > core.head().height() {
            return Err(DevError::NoBlock(height));
        }
        let meta = core.store.meta(height)?.ok_or(DevError::NoBlock(height))?;
        let head = block::read_head(&*core.store, meta)?.ok_or(DevError::NoBlock(height))?;
        held.discard_all(core);
        let base_fee = crate::header::next_base_fee(core.genesis.base_fee, &head.header);
        core.move_head(head, |state| -> Result<(), DevError> {
            // The state can refuse, the store's data cannot be given back: so the state goes first.
            state.rewind(height, pending)?;
            core.store.truncate(height)?;
            Ok(())
        })?;
        core.cache.lock().forget_above(height);
        core.recent.clear();
        {
            let mut pool = core.pool.lock();
            pool.clear();
            pool.advance(&Default::default(), base_fee);
        }
        drop(held);
        core.observer.rewound(height);
        Ok(())
    }
}

/// The transaction that a request describes, with the mark of an impersonated sender for a signature. Fees and nonce
/// that are missing are filled in by the caller.
pub(crate) fn unsigned(
    ledger: &EvmLedger,
    from: Address,
    request: &TransactionRequest,
) -> Result<Bytes, SubmitError> {
    let nonce = request.nonce.unwrap_or_else(|| ledger.pool_nonce(&from));
    let gas_limit = request.gas.unwrap_or_else(|| {
        let request = TransactionRequest { from: Some(from), ..request.clone() };
        let estimate = ledger.estimate_gas(&request, BlockRef::Pending, None, None);
        // A transaction that fails is mined as one that fails, as with a signature.
        estimate.unwrap_or_else(|_| ledger.tx_gas_limit_max())
    });
    let chain_id = ledger.chain_id();
    let to = request.to.unwrap_or(TxKind::Create);
    let value = request.value.unwrap_or_default();
    let input = request.input.input().cloned().unwrap_or_default();
    let access_list = request.access_list.clone().unwrap_or_default();
    let fee = request.max_fee_per_gas.or(request.gas_price).unwrap_or_else(|| ledger.gas_price());
    let tip = request.max_priority_fee_per_gas.unwrap_or_default().min(fee);
    let signature = tx::impersonation(from);
    let envelope = match (&request.authorization_list, to, request.gas_price) {
        (Some(authorizations), TxKind::Call(to), _) => TxEnvelope::from(
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list,
                authorization_list: authorizations.clone(),
                input,
            }
            .into_signed(signature),
        ),
        (Some(_), TxKind::Create, _) => return Err(SubmitError::NoAuthorizations),
        (None, to, Some(gas_price)) if request.access_list.is_some() => TxEnvelope::from(
            TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
                .into_signed(signature),
        ),
        (None, to, Some(gas_price)) => TxEnvelope::from(
            TxLegacy { chain_id: Some(chain_id), nonce, gas_price, gas_limit, to, value, input }
                .into_signed(signature),
        ),
        (None, to, None) => TxEnvelope::from(
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list,
                input,
            }
            .into_signed(signature),
        ),
    };
    Ok(envelope.encoded_2718().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_time_that_was_asked_for() {
        let mut dev = DevState::default();
        assert_eq!(dev.time(TimestampMs(5)), TimestampMs(5));
        dev.next_ms = Some(TimestampMs(100));
        assert_eq!(dev.time(TimestampMs(7)), TimestampMs(100));
        dev.proposed(TimestampMs(7));
        assert_eq!(dev.time(TimestampMs(9)), TimestampMs(102));
    }
}
