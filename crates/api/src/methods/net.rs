//! `net_`: which network this is, and who is connected.

use super::Handler;
use crate::json::Json;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "version" => Handler::Quick(|context, _| Json::of(&context.ledger().chain_id().to_string())),
        "listening" => Handler::Quick(|_, _| Json::of(&true)),
        "peerCount" => Handler::Quick(|context, _| {
            Json::quantity(alloy_primitives::U256::from((context.options().peers)()))
        }),
        _ => return None,
    })
}
