//! What to pay: the base fee, and the tips that others paid.

use alloy_rpc_types_eth::FeeHistory;
use bletchley_primitives::Height;

use crate::{
    block::EvmBlock,
    genesis::BaseFee,
    header,
    ledger::EvmLedger,
    read::{BlockRef, LookupError},
    receipts::MinedReceipt,
};

/// Most blocks that one fee history looks at, as in geth.
pub const FEE_HISTORY_BLOCKS_MAX: u64 = 1024;
/// Most percentiles of one fee history, as in geth.
pub const FEE_HISTORY_PERCENTILES_MAX: usize = 100;
/// Blocks that a suggested tip looks back at.
const TIP_BLOCKS: u64 = 20;
/// The suggested tip is what this share of the last transactions paid or less, in percent, as in geth.
const TIP_PERCENTILE: usize = 60;
/// Largest tip that is suggested, in wei, as in geth.
const TIP_MAX: u128 = 500_000_000_000;

/// Why no fee history was given.
#[derive(Debug, thiserror::Error)]
pub enum FeeHistoryError {
    /// Percentiles must ascend from 0 to 100.
    #[error("invalid reward percentile: percentiles must ascend and lie between 0 and 100; {0} does not")]
    Percentile(f64),
    /// Too many percentiles.
    #[error("invalid reward percentile: {0} percentiles, at most {FEE_HISTORY_PERCENTILES_MAX} are allowed")]
    TooMany(usize),
    /// A block cannot be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl EvmLedger {
    /// Base fee of the next block, in wei.
    #[must_use]
    pub fn next_base_fee(&self) -> u64 {
        header::next_base_fee(self.core.genesis.base_fee, &self.core.head().header)
    }

    /// A price that the next block takes: its base fee and a usual tip, in wei.
    #[must_use]
    pub fn gas_price(&self) -> u128 {
        u128::from(self.next_base_fee()).saturating_add(self.max_priority_fee_per_gas())
    }

    /// A usual tip, in wei: what most of the last blocks' transactions paid, and no less than this node asks for.
    #[must_use]
    pub fn max_priority_fee_per_gas(&self) -> u128 {
        let floor = self.core.pool.lock().limits().tip_min;
        if self.core.genesis.base_fee == BaseFee::Zero {
            // Where gas has no price, what some pay out of habit must not become what all are told to pay.
            return floor;
        }
        let head = self.core.head().height().0;
        let mut tips = Vec::new();
        for height in (head.saturating_sub(TIP_BLOCKS - 1)..=head).rev() {
            let Ok(Some(kept)) = self.core.kept(Height(height)) else { break };
            let base_fee = kept.block.base_fee();
            tips.extend(kept.receipts.iter().map(|receipt| tip(receipt, base_fee)));
            if tips.len() >= 1024 {
                break;
            }
        }
        tips.sort_unstable();
        let index = tips.len().saturating_sub(1) * TIP_PERCENTILE / 100;
        tips.get(index).copied().unwrap_or_default().min(TIP_MAX).max(floor)
    }

    /// Base fees, fullness and tips of up to `count` blocks ending with `newest`.
    ///
    /// # Errors
    /// [`FeeHistoryError`].
    pub fn fee_history(
        &self,
        count: u64,
        newest: BlockRef,
        percentiles: &[f64],
    ) -> Result<FeeHistory, FeeHistoryError> {
        check_percentiles(percentiles)?;
        let newest = self.core.height_of(newest)?.0;
        let count = count.clamp(0, FEE_HISTORY_BLOCKS_MAX).min(newest + 1);
        let mut history =
            FeeHistory { oldest_block: (newest + 1).saturating_sub(count), ..FeeHistory::default() };
        if count == 0 {
            return Ok(history);
        }
        let mut rewards = Vec::new();
        let mut next_base_fee = 0;
        for height in history.oldest_block..=newest {
            let no_block = || LookupError::NoBlock(BlockRef::Height(Height(height)));
            let header =
                self.core.header_at(Height(height)).map_err(LookupError::from)?.ok_or_else(no_block)?;
            next_base_fee = header::next_base_fee(self.core.genesis.base_fee, &header);
            history.base_fee_per_gas.push(u128::from(header.base_fee_per_gas.unwrap_or_default()));
            history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit.max(1) as f64);
            history.base_fee_per_blob_gas.push(1);
            history.blob_gas_used_ratio.push(0.0);
            if !percentiles.is_empty() {
                let kept = self.core.kept(Height(height)).map_err(LookupError::from)?.ok_or_else(no_block)?;
                rewards.push(reward(&kept.block, &kept.receipts, percentiles));
            }
        }
        history.base_fee_per_gas.push(u128::from(next_base_fee));
        history.base_fee_per_blob_gas.push(1);
        history.reward = (!percentiles.is_empty()).then_some(rewards);
        Ok(history)
    }
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), FeeHistoryError> {
    if percentiles.len() > FEE_HISTORY_PERCENTILES_MAX {
        return Err(FeeHistoryError::TooMany(percentiles.len()));
    }
    let mut last = 0.0;
    for percentile in percentiles {
        if !(last..=100.0).contains(percentile) {
            return Err(FeeHistoryError::Percentile(*percentile));
        }
        last = *percentile;
    }
    Ok(())
}

fn tip(receipt: &MinedReceipt, base_fee: u64) -> u128 {
    receipt.effective_gas_price.saturating_sub(u128::from(base_fee))
}

/// Tips at the percentiles of the block's gas, ascending.
fn reward(block: &EvmBlock, receipts: &[MinedReceipt], percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> =
        receipts.iter().map(|receipt| (tip(receipt, block.base_fee()), receipt.gas_used)).collect();
    tips.sort_unstable();
    let total: u64 = tips.iter().map(|(_, gas)| gas).sum();
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = (total as f64 * percentile / 100.0) as u64;
            let mut sum = 0u64;
            let at = tips.iter().find(|(_, gas)| {
                sum = sum.saturating_add(*gas);
                sum >= threshold
            });
            at.or(tips.last()).map_or(0, |(tip, _)| *tip)
        })
        .collect()
}
