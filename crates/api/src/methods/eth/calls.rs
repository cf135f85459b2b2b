//! Calls that leave nothing behind: run, estimate, list what is touched.

use super::super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::refusal;
use alloy_primitives::U256;
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{AccessList, BlockOverrides, TransactionRequest};
use bletchley_evm::CallOutcome;
use serde::Serialize;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "call" => Handler::Heavy(call),
        "estimateGas" => Handler::Heavy(estimate),
        "createAccessList" => Handler::Heavy(access_list),
        _ => return None,
    })
}

/// The transaction object at `index`. `data` and `input` mean the same and must not differ.
pub(in crate::methods) fn request(params: &Params<'_>, index: usize) -> Result<TransactionRequest, RpcError> {
    let request: TransactionRequest = params.required(index)?;
    if request.input.unique_input().is_err() {
        return Err(RpcError::invalid_params(
            "both \"data\" and \"input\" are set and not equal; use \"input\"",
        ));
    }
    if request.max_fee_per_blob_gas.is_some()
        || request.blob_versioned_hashes.is_some()
        || request.sidecar.is_some()
    {
        return Err(RpcError::invalid_params("blob transactions (type 3) have no place on this ledger"));
    }
    Ok(request)
}

fn call(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(4)?;
    let request = request(params, 0)?;
    let at = block_ref::state(params, 1)?;
    let state: Option<StateOverride> = params.optional(2)?;
    let block: Option<BlockOverrides> = params.optional(3)?;
    let outcome = context.ledger().call(&request, at, state, block.as_ref());
    Json::of(&outcome.and_then(CallOutcome::into_output).map_err(|error| refusal::call(&error))?)
}

fn estimate(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(4)?;
    let request = request(params, 0)?;
    let at = block_ref::ahead(params, 1)?;
    let block: Option<BlockOverrides> = params.optional(3)?;
    let gas = context.ledger().estimate_gas(&request, at, params.optional(2)?, block.as_ref());
    Json::quantity(U256::from(gas.map_err(|error| refusal::call(&error))?))
}

/// Answer of `eth_createAccessList`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedAccess {
    access_list: AccessList,
    gas_used: U256,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn access_list(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(3)?;
    let request = request(params, 0)?;
    let at = block_ref::state(params, 1)?;
    let outcome = context.ledger().create_access_list(&request, at, params.optional(2)?);
    let outcome = outcome.map_err(|error| refusal::call(&error))?;
    Json::of(&ListedAccess {
        access_list: outcome.access_list,
        gas_used: U256::from(outcome.gas_used),
        error: outcome.error,
    })
}
