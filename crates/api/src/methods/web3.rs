//! `web3_`: the client's name, and Keccak-256.

use super::Handler;
use crate::json::Json;
use alloy_primitives::{Bytes, keccak256};

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "clientVersion" => Handler::Quick(|context, _| Json::of(&context.options().client_version)),
        "sha3" => Handler::Quick(|_, params| {
            params.at_most(1)?;
            Json::of(&keccak256(params.required::<Bytes>(0)?))
        }),
        _ => return None,
    })
}
