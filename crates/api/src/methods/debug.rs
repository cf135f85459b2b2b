//! `debug_`: traces as geth prints them, and blocks as bytes.

use super::Handler;
use super::eth::request;
use crate::block_ref;
use crate::context::ApiContext;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::refusal;
use crate::shapes;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Encodable, Header};
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions};
use bletchley_evm::{BlockRef, EvmBlock};
use bletchley_primitives::BlockHash;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "traceTransaction" => Handler::Heavy(|context, params| {
            params.at_most(2)?;
            let options: GethDebugTracingOptions = params.or_default(1)?;
            let trace = context.ledger().trace_transaction(params.required(0)?, options);
            Json::of(&trace.map_err(|error| refusal::trace(&error))?)
        }),
        "traceCall" => Handler::Heavy(|context, params| {
            params.at_most(3)?;
            let request = request(params, 0)?;
            let at = block_ref::state(params, 1)?;
            let options: GethDebugTracingCallOptions = params.or_default(2)?;
            let trace = context.ledger().trace_call(&request, at, options);
            Json::of(&trace.map_err(|error| refusal::trace(&error))?)
        }),
        "traceBlockByNumber" => Handler::Heavy(|context, params| {
            let tag: BlockNumberOrTag = params.required(0)?;
            trace_block(context, params, block_ref::reference(tag.into()))
        }),
        "traceBlockByHash" => Handler::Heavy(|context, params| {
            let hash: B256 = params.required(0)?;
            trace_block(context, params, BlockRef::Hash(BlockHash(hash)))
        }),
        "getRawHeader" => Handler::Heavy(|context, params| {
            raw(context, params, |block| Bytes::from(alloy_rlp::encode(&block.header)))
        }),
        "getRawBlock" => Handler::Heavy(|context, params| raw(context, params, raw_block)),
        "getRawReceipts" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            match block_ref::whole(context, params.required::<BlockId>(0)?)? {
                Some((_, receipts)) => {
                    Json::of(&receipts.iter().map(shapes::raw_receipt).collect::<Vec<_>>())
                }
                None => Ok(Json::null()),
            }
        }),
        "getRawTransaction" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            let found =
                context.ledger().transaction(params.required(0)?).map_err(|error| refusal::read(&error))?;
            Json::of(&found.map(|found| found.tx.raw.clone()))
        }),
        _ => return None,
    })
}

fn trace_block(context: &ApiContext, params: &Params<'_>, at: BlockRef) -> Reply {
    params.at_most(2)?;
    let options: GethDebugTracingOptions = params.or_default(1)?;
    Json::of(&context.ledger().trace_block(at, options).map_err(|error| refusal::trace(&error))?)
}

fn raw(context: &ApiContext, params: &Params<'_>, bytes: fn(&EvmBlock) -> Bytes) -> Reply {
    params.at_most(1)?;
    let block = block_ref::block(context, params.required::<BlockId>(0)?)?;
    Json::of(&block.map(|block| bytes(&block)))
}

/// The block as Ethereum's network carries it: header, transactions, no uncles, no withdrawals.
fn raw_block(block: &EvmBlock) -> Bytes {
    let mut transactions = Vec::new();
    for tx in &block.transactions {
        // A typed transaction stands in the list as a string of bytes, a legacy one as the list that it is (EIP-2718).
        if tx.tx.is_legacy() {
            transactions.extend_from_slice(&tx.raw)
        } else {
            tx.raw.encode(&mut transactions)
        }
    }
    let list = |payload: &[u8]| {
        let mut out = Vec::with_capacity(payload.len() + 9);
        Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(payload);
        out
    };
    let mut fields = alloy_rlp::encode(&block.header);
    fields.extend_from_slice(&list(&transactions));
    fields.extend_from_slice(&list(&[]));
    fields.extend_from_slice(&list(&[]));
    list(&fields).into()
}
