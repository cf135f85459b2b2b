//! `anvil_` and `hardhat_`: state set from outside and senders without keys, on a development ledger.

use super::Handler;
use super::evm::{self, handle, mine_blocks, paused};
use crate::context::ApiContext;
use crate::dev_control::DevMode;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::params::{Params, Quantity, Wide};
use alloy_primitives::{Address, B256, Bytes, U256};
use bletchley_primitives::Height;
use serde::{Deserialize, Serialize};

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(Handler::Dev(match method {
        "setBalance" => set_balance,
        "setCode" => set_code,
        "setNonce" => set_nonce,
        "setStorageAt" => set_storage_at,
        "impersonateAccount" => impersonate,
        "stopImpersonatingAccount" => stop_impersonating,
        "autoImpersonateAccount" => auto_impersonate,
        "mine" => mine,
        "reset" => reset,
        "dropTransaction" => drop_transaction,
        "getAutomine" => |_, dev, _| Json::of(&dev.control.automine()),
        "getIntervalMining" => |_, dev, _| Json::of(&dev.control.interval_ms().map(|ms| ms.div_ceil(1_000))),
        "setAutomine" => evm::set_automine,
        "setIntervalMining" => set_interval_mining,
        "increaseTime" => evm::increase_time,
        "setNextBlockTimestamp" => evm::set_next_block_timestamp,
        "setTime" => evm::set_time,
        "snapshot" => evm::snapshot,
        "revert" => evm::revert,
        "metadata" => metadata,
        "nodeInfo" => node_info,
        "setLoggingEnabled" => |_, _, _| Ok(Json::null()),
        "setNextBlockBaseFeePerGas" | "setMinGasPrice" => |_, _, _| {
            unsupported(
                "the base fee follows from the genesis document and the blocks before, so that every copy of the \
                         ledger agrees on it; choose baseFee in the genesis document",
            )
        },
        "setCoinbase" => {
            |_, _, _| unsupported("a block names the member that proposed it, which cannot be changed")
        }
        "setPrevRandao" => {
            |_, _, _| unsupported("PREVRANDAO is a digest of the parent block here, and cannot be chosen")
        }
        "setChainId" => |_, _, _| unsupported("the chain id is part of the genesis document"),
        "dumpState" | "loadState" => {
            |_, _, _| unsupported("use evm_snapshot and evm_revert, or copy the node's data folder")
        }
        "setBlockTimestampInterval" | "removeBlockTimestampInterval" => {
            |_, _, _| unsupported("use anvil_mine with an interval, or evm_setNextBlockTimestamp")
        }
        "setRpcUrl" => |_, _, _| unsupported("this ledger does not fork another one"),
        _ => return None,
    }))
}

pub(super) fn unsupported(reason: &'static str) -> Reply {
    Err(RpcError::server(format!("not supported on this ledger: {reason}")))
}

fn set_balance(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let (address, balance) = (params.required(0)?, params.required::<Wide>(1)?.0);
    let handle = handle(context)?;
    paused(dev, || handle.set_balance(address, balance))?;
    Ok(Json::null())
}

fn set_code(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let (address, code): (Address, Bytes) = (params.required(0)?, params.required(1)?);
    let handle = handle(context)?;
    paused(dev, || handle.set_code(address, code))?;
    Ok(Json::null())
}

fn set_nonce(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let (address, nonce) = (params.required(0)?, params.required::<Quantity>(1)?.0);
    let handle = handle(context)?;
    paused(dev, || handle.set_nonce(address, nonce))?;
    Ok(Json::null())
}

fn set_storage_at(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(3)?;
    let (address, slot) = (params.required(0)?, params.required::<Wide>(1)?.0);
    let value: B256 = params.required(2)?;
    let handle = handle(context)?;
    paused(dev, || handle.set_storage_at(address, slot, value.into()))?;
    // Anvil and Hardhat both answer true here.
    Json::of(&true)
}

fn impersonate(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    handle(context)?.impersonate(params.required(0)?);
    Ok(Json::null())
}

fn stop_impersonating(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    handle(context)?.stop_impersonating(&params.required(0)?);
    Ok(Json::null())
}

fn auto_impersonate(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    handle(context)?.impersonate_all(params.required(0)?);
    Ok(Json::null())
}

/// Count of blocks, and seconds between their times.
fn mine(_context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let count = params.optional::<Quantity>(0)?.map_or(1, |count| count.0);
    mine_blocks(dev, count, params.optional::<Quantity>(1)?.map(|interval| interval.0))?;
    Ok(Json::null())
}

/// `anvil_setIntervalMining` counts seconds.
fn set_interval_mining(_context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let Quantity(interval_s) = params.required(0)?;
    evm::set_interval(dev, interval_s.saturating_mul(1_000))
}

#[derive(Default, Deserialize)]
struct ResetOptions {
    #[serde(default)]
    forking: Option<Forking>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Forking {
    #[serde(default)]
    json_rpc_url: Option<String>,
}

/// Goes back to the genesis block. There is nothing to fork from.
fn reset(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let options: ResetOptions = params.or_default(0)?;
    let forking = options.forking.is_some_and(|forking| forking.json_rpc_url.is_some());
    if forking {
        return unsupported("it does not fork another ledger; call reset without forking");
    }
    let handle = handle(context)?;
    paused(dev, || handle.rewind_to(Height(0)))?;
    Ok(Json::null())
}

/// Gives the hash of what was dropped, `null` when the pool does not hold it.
fn drop_transaction(context: &ApiContext, dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let hash: B256 = params.required(0)?;
    let handle = handle(context)?;
    let dropped = paused(dev, || Ok::<_, RpcError>(handle.drop_transaction(&hash)))?;
    Json::of(&dropped.then_some(hash))
}

/// What `hardhat_metadata` and `anvil_metadata` have in common.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    client_version: String,
    chain_id: u64,
    instance_id: B256,
    latest_block_number: u64,
    latest_block_hash: B256,
}

fn metadata(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(0)?;
    let head = context.ledger().head();
    Json::of(&Metadata {
        client_version: context.options().client_version.clone(),
        chain_id: context.ledger().chain_id(),
        instance_id: context.ledger().id().0,
        latest_block_number: head.height.0,
        latest_block_hash: head.hash.0,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    current_block_number: U256,
    current_block_timestamp: u64,
    current_block_hash: B256,
    hard_fork: &'static str,
    transaction_order: &'static str,
    environment: Environment,
    fork_config: serde_json::Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Environment {
    base_fee: U256,
    chain_id: u64,
    gas_limit: U256,
    gas_price: U256,
}

fn node_info(context: &ApiContext, _dev: &DevMode, params: &Params<'_>) -> Reply {
    params.at_most(0)?;
    let ledger = context.ledger();
    let head = ledger.head();
    Json::of(&NodeInfo {
        current_block_number: U256::from(head.height.0),
        current_block_timestamp: head.time_ms.seconds(),
        current_block_hash: head.hash.0,
        hard_fork: ledger.genesis().fork.name(),
        transaction_order: "fees",
        environment: Environment {
            base_fee: U256::from(context.ledger().next_base_fee()),
            chain_id: ledger.chain_id(),
            gas_limit: U256::from(ledger.genesis().gas_limit),
            gas_price: U256::from(ledger.gas_price()),
        },
        fork_config: serde_json::json!({}),
    })
}
