//! Blocks, by number, tag or hash.

use super::super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::shapes;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag};

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "blockNumber" => {
            Handler::Quick(|context, _| Json::quantity(U256::from(context.ledger().head().height.0)))
        }
        "getBlockByNumber" => Handler::Heavy(|context, params| {
            let tag = params.required::<BlockNumberOrTag>(0)?;
            if tag.is_pending() {
                return pending(context, params.or_default(1)?);
            }
            by_id(context, tag.into(), params)
        }),
        "getBlockByHash" => Handler::Heavy(|context, params| {
            let hash = params.required::<B256>(0)?;
            by_id(context, hash.into(), params)
        }),
        "getHeaderByNumber" => Handler::Heavy(|context, params| header(context, number(params)?)),
        "getHeaderByHash" => Handler::Heavy(|context, params| header(context, hash(params)?)),
        "getBlockTransactionCountByNumber" => {
            Handler::Heavy(|context, params| count(context, number(params)?))
        }
        "getBlockTransactionCountByHash" => Handler::Heavy(|context, params| count(context, hash(params)?)),
        "getBlockReceipts" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            match block_ref::whole(context, params.required::<BlockId>(0)?)? {
                Some((block, receipts)) => Json::of(&shapes::all_receipts(&block, &receipts)),
                None => Ok(Json::null()),
            }
        }),
        // There are no uncles here, as nowhere since the merge.
        "getUncleCountByBlockNumber" => Handler::Heavy(|context, params| uncles(context, number(params)?)),
        "getUncleCountByBlockHash" => Handler::Heavy(|context, params| uncles(context, hash(params)?)),
        "getUncleByBlockNumberAndIndex" | "getUncleByBlockHashAndIndex" => {
            Handler::Quick(|_, _| Ok(Json::null()))
        }
        _ => return None,
    })
}

fn number(params: &Params<'_>) -> Result<BlockId, RpcError> {
    params.at_most(1)?;
    Ok(params.required::<BlockNumberOrTag>(0)?.into())
}

fn hash(params: &Params<'_>) -> Result<BlockId, RpcError> {
    params.at_most(1)?;
    Ok(params.required::<B256>(0)?.into())
}

fn by_id(context: &ApiContext, id: BlockId, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let full = params.or_default(1)?;
    match block_ref::block(context, id)? {
        Some(block) => Json::of(&shapes::block(&block, full)),
        None => Ok(Json::null()),
    }
}

fn header(context: &ApiContext, id: BlockId) -> Reply {
    match block_ref::block(context, id)? {
        Some(block) => Json::of(&shapes::head(&block)),
        None => Ok(Json::null()),
    }
}

fn count(context: &ApiContext, id: BlockId) -> Reply {
    match block_ref::block(context, id)? {
        Some(block) => Json::quantity(U256::from(block.transactions.len())),
        None => Ok(Json::null()),
    }
}

fn uncles(context: &ApiContext, id: BlockId) -> Reply {
    match block_ref::block(context, id)? {
        Some(_) => Json::quantity(U256::ZERO),
        None => Ok(Json::null()),
    }
}

/// The next block as it looks now: what the pool holds, on the head. Its hash and state are not known, and `null`.
fn pending(context: &ApiContext, full: bool) -> Reply {
    let head = block_ref::block(context, BlockId::latest())?.ok_or_else(RpcError::header_not_found)?;
    let waiting: Vec<_> = context
        .ledger()
        .pool_content()
        .pending
        .into_values()
        .flat_map(std::collections::BTreeMap::into_values)
        .collect();
    let mut header = head.header.clone();
    header.number = header.number.saturating_add(1);
    header.parent_hash = head.hash.0;
    header.timestamp = header.timestamp.saturating_add(1);
    header.base_fee_per_gas = Some(context.ledger().next_base_fee());
    header.gas_used = 0;
    let mut block = serde_json::to_value(shapes::unsealed(header))
        .map_err(|error| RpcError::internal(format!("writing the pending block: {error}")))?;
    let transactions = if full {
        serde_json::to_value(waiting.iter().map(|tx| shapes::pending_transaction(tx)).collect::<Vec<_>>())
    } else {
        serde_json::to_value(waiting.iter().map(|tx| tx.hash).collect::<Vec<_>>())
    };
    if let Some(fields) = block.as_object_mut() {
        for unknown in
            ["hash", "nonce", "logsBloom", "stateRoot", "receiptsRoot", "transactionsRoot", "miner"]
        {
            fields.insert(unknown.to_owned(), serde_json::Value::Null);
        }
        fields.insert("transactions".to_owned(), transactions.unwrap_or_default());
    }
    Json::of(&block)
}
