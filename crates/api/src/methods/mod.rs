//! The methods, one file per namespace or resource; each file lists its own names.

mod anvil;
mod bletchley;
mod debug;
mod eth;
mod evm;
mod net;
mod rpc;
mod txpool;
mod web3;

use crate::context::ApiContext;
use crate::dev_control::DevMode;
use crate::json::Reply;
use crate::params::Params;

/// A method that answers.
pub(crate) type Method = fn(&ApiContext, &Params<'_>) -> Reply;
/// A method that only development ledgers have.
pub(crate) type DevMethod = fn(&ApiContext, &DevMode, &Params<'_>) -> Reply;

/// How a method is carried out.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// Answers at once from memory, on the connection's thread.
    Quick(Method),
    /// Computes or reads; runs on a thread of the pool.
    Heavy(Method),
    /// Submits, and may wait for a block; runs in the queue of submissions.
    Wait(Method),
    /// Steers a development ledger; elsewhere it does not exist.
    Dev(DevMethod),
    /// Takes raw transactions, neighbours in a batch together.
    Submit,
    /// Starts a subscription on a WebSocket.
    Subscribe,
    /// Ends one.
    Unsubscribe,
}

/// The handler of a method.
pub(crate) fn find(name: &str) -> Option<Handler> {
    let (namespace, method) = name.split_once('_')?;
    match namespace {
        "eth" => eth::find(method),
        "personal" => eth::find_personal(method),
        "net" => net::find(method),
        "web3" => web3::find(method),
        "txpool" => txpool::find(method),
        "debug" => debug::find(method),
        "bletchley" => bletchley::find(method),
        "rpc" => rpc::find(method),
        "evm" => evm::find(method),
        "anvil" | "hardhat" => anvil::find(method),
        _ => None,
    }
}
