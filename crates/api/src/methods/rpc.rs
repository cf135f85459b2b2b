//! `rpc_`: which namespaces there are.

use super::Handler;
use crate::json::Json;
use std::collections::BTreeMap;

const ALWAYS: [&str; 7] = ["bletchley", "debug", "eth", "net", "rpc", "txpool", "web3"];
const DEVELOPMENT: [&str; 3] = ["anvil", "evm", "hardhat"];

pub(super) fn find(method: &str) -> Option<Handler> {
    match method {
        "modules" => Some(Handler::Quick(|context, _| {
            let development = DEVELOPMENT.iter().filter(|_| context.dev().is_some());
            let modules: BTreeMap<_, _> =
                ALWAYS.iter().chain(development).map(|name| (*name, "1.0")).collect();
            Json::of(&modules)
        })),
        _ => None,
    }
}
