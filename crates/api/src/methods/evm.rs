//! `evm_`: time, snapshots and mining of a development ledger, as Ganache began them and Hardhat and Anvil have them.

use super::Handler;
use crate::context::ApiContext;
use crate::dev_control::DevMode;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::limits::DEV_MINE_BLOCKS_MAX;
use crate::params::{Params, Quantity};
use alloy_primitives::U256;
use bletchley_evm::DevHandle;
use bletchley_primitives::TimestampMs;
use serde::Deserialize;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(Handler::Dev(match method {
        "snapshot" => snapshot,
        "revert" => revert,
        "mine" => mine,
        "increaseTime" => increase_time,
        "setNextBlockTimestamp" => set_next_block_timestamp,
        "setTime" => set_time,
        "setAutomine" => set_automine,
        "setIntervalMining" => set_interval_mining,
        "setBlockGasLimit" => {
            |_, _, _| super::anvil::unsupported("the gas limit is part of the genesis document")
        }
        _ => return None,
    }))
}

/// The ledger's own controls.
pub(super) fn handle(context: &ApiContext) -> Result<DevHandle, RpcError> {
    context.ledger().dev().ok_or_else(|| {
        RpcError::server("this ledger's genesis does not make it a development ledger; start one with --dev")
    })
}

/// A development request failed.
pub(super) fn failed(error: impl std::fmt::Display) -> RpcError {
    RpcError::server(error.to_string())
}

/// Runs a change while no block is being made.
pub(super) fn paused<T, E: std::fmt::Display>(
    dev: &DevMode,
    change: impl FnOnce() -> Result<T, E>,
) -> Result<T, RpcError> {
    let mut change = Some(change);
    let mut outcome = None;
    dev.control.paused(&mut || outcome = change.take().map(|change| change()));
    match outcome {
        Some(result) => result.map_err(failed),
        None => Err(RpcError::internal("block production did not pause for the change; nothing was changed")),
    }
}

pub(super) fn snapshot(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(0)?;
    let handle = handle(context)?;
    let number = paused(dev, || Ok::<_, RpcError>(handle.snapshot()))?;
    Json::quantity(U256::from(number))
}

pub(super) fn revert(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let Quantity(number) = params.required(0)?;
    let handle = handle(context)?;
    Json::of(&paused(dev, || handle.revert(number))?)
}

/// `evm_mine` takes nothing, a time in seconds, or `{"timestamp": .., "blocks": ..}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum MineOptions {
    At(Quantity),
    Object {
        #[serde(default)]
        timestamp: Option<Quantity>,
        #[serde(default)]
        blocks: Option<Quantity>,
    },
}

fn mine(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let (at, blocks) = match params.optional(0)? {
        None => (None, None),
        Some(MineOptions::At(at)) => (Some(at), None),
        Some(MineOptions::Object { timestamp, blocks }) => (timestamp, blocks),
    };
    if let Some(at) = at {
        handle(context)?.set_next_time(from_seconds(at)?).map_err(failed)?;
    }
    mine_blocks(dev, blocks.map_or(1, |blocks| blocks.0), None)?;
    Json::of("0x0")
}

pub(super) fn mine_blocks(dev: &DevMode, count: u64, interval_s: Option<u64>) -> Result<(), RpcError> {
    if count > DEV_MINE_BLOCKS_MAX {
        return Err(RpcError::limit(format!(
            "limit exceeded: one request mines at most {DEV_MINE_BLOCKS_MAX} blocks; ask again for more"
        )));
    }
    if count == 0 {
        return Ok(());
    }
    dev.control.mine(count, interval_s).map_err(failed)
}

fn from_seconds(Quantity(seconds): Quantity) -> Result<TimestampMs, RpcError> {
    seconds
        .checked_mul(1_000)
        .map(TimestampMs)
        .ok_or_else(|| RpcError::invalid_params("invalid argument 0: a time is given in seconds since 1970"))
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Gives the whole offset in seconds.
pub(super) fn increase_time(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let by = from_seconds(params.required(0)?)?;
    let by = i64::try_from(by.0).map_err(|_| RpcError::invalid_params("invalid argument 0: too far"))?;
    Json::of(&handle(context)?.increase_time(by).div_euclid(1_000))
}

pub(super) fn set_next_block_timestamp(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    handle(context)?.set_next_time(from_seconds(params.required(0)?)?).map_err(failed)?;
    Ok(Json::null())
}

/// Gives by how many seconds the ledger's clock now differs from the real one.
pub(super) fn set_time(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    // Ganache and some callers give milliseconds; seconds of this century have ten digits.
    const MILLISECONDS_MIN: u64 = 100_000_000_000;
    let Quantity(given) = params.required(0)?;
    let time = if given >= MILLISECONDS_MIN { TimestampMs(given) } else { from_seconds(Quantity(given))? };
    let handle = handle(context)?;
    handle.set_time(time, now());
    Json::of(&handle.time_offset_ms().div_euclid(1_000))
}

pub(super) fn set_automine(_context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    dev.control.set_automine(params.required(0)?).map_err(failed)?;
    Ok(Json::null())
}

/// `evm_setIntervalMining` counts milliseconds (Hardhat).
fn set_interval_mining(_context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let Quantity(interval_ms) = params.required(0)?;
    set_interval(dev, interval_ms)
}

pub(super) fn set_interval(dev: &DevMode, interval_ms: u64) -> Reply {
    let automine = dev.control.automine();
    dev.control.set_interval_ms((interval_ms > 0).then_some(interval_ms)).map_err(failed)?;
    if automine && interval_ms == 0 {
        // "No interval" says nothing about automine (Hardhat).
        dev.control.set_automine(true).map_err(failed)?;
    }
    Ok(Json::null())
}
