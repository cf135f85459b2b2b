//! `eth_`: the methods of the Ethereum JSON-RPC specification, one file per resource.

mod accounts;
mod blocks;
mod calls;
mod fees;
mod filters;
mod state;
mod transactions;

use super::Handler;
use crate::json::Json;
use alloy_primitives::U256;

pub(super) use accounts::find_personal;
pub(super) use calls::request;

pub(super) fn find(method: &str) -> Option<Handler> {
    // The hottest name first.
    if method == "sendRawTransaction" {
        return Some(Handler::Submit);
    }
    blocks::find(method)
        .or_else(|| state::find(method))
        .or_else(|| transactions::find(method))
        .or_else(|| calls::find(method))
        .or_else(|| fees::find(method))
        .or_else(|| filters::find(method))
        .or_else(|| accounts::find(method))
        .or_else(|| chain(method))
}

/// What holds for the chain as a whole.
fn chain(method: &str) -> Option<Handler> {
    Some(match method {
        "chainId" => Handler::Quick(|context, _| Json::quantity(U256::from(context.ledger().chain_id()))),
        "protocolVersion" => Handler::Quick(|_, _| Json::of("0x44")),
        // A node answers from its own head; while it catches up that head is old, and says so by its time.
        "syncing" => Handler::Quick(|_, _| Json::of(&false)),
        "mining" => Handler::Quick(|_, _| Json::of(&false)),
        "hashrate" => Handler::Quick(|_, _| Json::quantity(U256::ZERO)),
        "subscribe" => Handler::Subscribe,
        "unsubscribe" => Handler::Unsubscribe,
        _ => return None,
    })
}
