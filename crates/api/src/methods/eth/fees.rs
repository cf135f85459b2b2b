//! Fees: what the next block takes, and what the last ones took.

use super::super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::json::{Json, Reply};
use crate::params::{Params, Quantity};
use crate::refusal;
use alloy_primitives::U256;
use alloy_rpc_types_eth::BlockNumberOrTag;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "gasPrice" => Handler::Heavy(|context, params| {
            params.at_most(0)?;
            Json::quantity(U256::from(context.ledger().gas_price()))
        }),
        "maxPriorityFeePerGas" => Handler::Heavy(|context, params| {
            params.at_most(0)?;
            Json::quantity(U256::from(context.ledger().max_priority_fee_per_gas()))
        }),
        "baseFee" => Handler::Quick(|context, params| {
            params.at_most(0)?;
            Json::quantity(U256::from(context.ledger().next_base_fee()))
        }),
        // There are no blobs, and so no demand for them: the fee is at its minimum (EIP-4844).
        "blobBaseFee" => Handler::Quick(|_, params| {
            params.at_most(0)?;
            Json::quantity(U256::ONE)
        }),
        "feeHistory" => Handler::Heavy(history),
        _ => return None,
    })
}

fn history(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(3)?;
    let Quantity(count) = params.required(0)?;
    let newest: BlockNumberOrTag = params.required(1)?;
    let percentiles: Vec<f64> = params.or_default(2)?;
    let newest = block_ref::reference(newest.into());
    Json::of(
        &context
            .ledger()
            .fee_history(count, newest, &percentiles)
            .map_err(|error| refusal::fee_history(&error))?,
    )
}
