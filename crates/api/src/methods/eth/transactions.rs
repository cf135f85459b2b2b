//! Transactions and their receipts, by hash or by place.

use super::super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::params::{Params, Quantity, raw_transaction};
use crate::refusal;
use crate::shapes;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag};
use bletchley_evm::{Found, TxPlace};

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "getTransactionByHash" => Handler::Heavy(by_hash),
        "getTransactionReceipt" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            receipt(context, params.required(0)?)
        }),
        "getRawTransactionByHash" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            match lookup(context, params.required(0)?)? {
                Some(found) => Json::of(&found.tx.raw),
                None => Ok(Json::null()),
            }
        }),
        "getTransactionByBlockHashAndIndex" => Handler::Heavy(|context, params| {
            by_place(context, params.required::<B256>(0)?.into(), params, false)
        }),
        "getTransactionByBlockNumberAndIndex" => Handler::Heavy(|context, params| {
            by_place(context, params.required::<BlockNumberOrTag>(0)?.into(), params, false)
        }),
        "getRawTransactionByBlockHashAndIndex" => Handler::Heavy(|context, params| {
            by_place(context, params.required::<B256>(0)?.into(), params, true)
        }),
        "getRawTransactionByBlockNumberAndIndex" => Handler::Heavy(|context, params| {
            by_place(context, params.required::<BlockNumberOrTag>(0)?.into(), params, true)
        }),
        "sendRawTransactionSync" => Handler::Wait(send_sync),
        _ => return None,
    })
}

fn lookup(context: &ApiContext, hash: B256) -> Result<Option<Found>, RpcError> {
    context.ledger().transaction(hash).map_err(|error| refusal::read(&error))
}

fn by_hash(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let Some(found) = lookup(context, params.required(0)?)? else { return Ok(Json::null()) };
    match found.place {
        TxPlace::Pending => Json::of(&shapes::pending_transaction(&found.tx)),
        TxPlace::Mined { block, index } => Json::of(&shapes::mined_transaction(&block, index, &found.tx)),
    }
}

/// The receipt of a transaction, `null` while it has none.
fn receipt(context: &ApiContext, hash: B256) -> Reply {
    let found = context.ledger().receipt(hash).map_err(|error| refusal::read(&error))?;
    Json::of(&found.and_then(|found| shapes::receipt(&found)))
}

fn by_place(context: &ApiContext, id: BlockId, params: &Params<'_>, raw: bool) -> Reply {
    params.at_most(2)?;
    let Quantity(index) = params.required(1)?;
    let Some(block) = block_ref::block(context, id)? else { return Ok(Json::null()) };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    match block.transactions.get(index) {
        Some(tx) if raw => Json::of(&tx.raw),
        Some(tx) => Json::of(&shapes::mined_transaction(&block, index, tx)),
        None => Ok(Json::null()),
    }
}

/// `eth_sendRawTransactionSync` (EIP-7966): the receipt instead of the hash, once there is one.
fn send_sync(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let raw: String = params.required(0)?;
    let text = serde_json::to_string(&[raw]).map_err(|error| RpcError::invalid_params(error.to_string()))?;
    let raw = raw_transaction(Some(&text))?;
    let timeout_ms = params.optional::<Quantity>(1)?.map(|quantity| quantity.0);
    let hash = context.submit_and_wait(raw, timeout_ms)?;
    let reply = receipt(context, hash)?;
    if reply == Json::null() {
        // EIP-7966: code 4, the hash as data.
        return Err(RpcError::new(
            4,
            "the transaction was added to the pool but has no receipt yet; ask for it later",
        )
        .with_data(serde_json::Value::String(hash.to_string())));
    }
    Ok(reply)
}
