//! REST under `/v1`: what applications and commands ask beside JSON-RPC. One file a resource.

mod answer;
mod cryptlets;
mod network;
mod sources;
mod tokens;

use axum::Router;
use axum::routing::{get, post, put};
use bletchley_cryptlet::fabric::Fabric;
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::registry::TokenRegistry;
use bletchley_evm::EvmLedger;
use bletchley_token::TokenMachine;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What the REST interface reaches.
#[derive(Clone)]
pub struct RestContext {
    /// The token ledger.
    pub tokens: Arc<TokenMachine>,
    /// The registry on it.
    pub registry: Arc<TokenRegistry>,
    /// The EVM ledger.
    pub evm: EvmLedger,
    /// The fabric.
    pub fabric: Arc<Fabric>,
    /// Where cryptlets' outside data comes from.
    pub fetcher: Arc<HttpFetcher>,
    /// What the node says of its network: an object that `/v1/network` starts from.
    pub network: Value,
    /// Secret that local administration presents.
    pub admin_token: String,
    /// Mirrors in force, by source.
    pub mirrors: Arc<Mutex<BTreeMap<String, String>>>,
}

/// The routes of the REST interface.
pub fn router(context: RestContext) -> Router {
    Router::new()
        .route("/v1/network", get(network::show))
        .route("/v1/cryptlets", get(cryptlets::list))
        .route("/v1/admin/sources/{name}", put(sources::set))
        .route("/v1/tokens/transactions", post(tokens::submit))
        .route("/v1/tokens/transactions/{id}", get(tokens::transaction))
        .layer(axum::extract::DefaultBodyLimit::max(crate::limits::REQUEST_SIZE_BYTES_MAX))
        .with_state(context)
}
