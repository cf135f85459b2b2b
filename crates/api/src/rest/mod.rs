//! REST under `/v1`: what applications and commands ask beside JSON-RPC. One file a resource; `/openapi.json` describes
//! every route.

mod answer;
mod assets;
mod consortium;
mod cryptlets;
mod entries;
mod finality;
mod lineage;
mod names;
mod network;
mod openapi;
mod outputs;
mod publishing;
mod sources;
mod tokens;
mod transactions;

pub use finality::{Finalities, FindFinality};
pub use publishing::{LogLine, PublishError, Published, Publishing};

use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodRouter;
use bletchley_consortium::ConsortiumView;
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
    /// Certificates of both.
    pub finality: Finalities,
    /// The consortium, as the token ledger has it; none where nobody follows one.
    pub consortium: Option<Arc<dyn ConsortiumView>>,
    /// The fabric.
    pub fabric: Arc<Fabric>,
    /// Where cryptlets' outside data comes from.
    pub fetcher: Arc<HttpFetcher>,
    /// What the node says of its network: an object that `/v1/network` starts from.
    pub network: Value,
    /// Secret that local administration presents.
    pub admin_token: String,
    /// What only this member does about cryptlets; none where nothing can be published.
    pub publishing: Option<Arc<dyn Publishing>>,
    /// Mirrors in force, by source.
    pub mirrors: Arc<Mutex<BTreeMap<String, String>>>,
}

/// What the REST interface of one ledger reaches, beside the first ones.
#[derive(Clone)]
pub struct LedgerRest {
    /// The interface of the first ledgers, with the ledger in the place of the one of its kind.
    pub context: RestContext,
    /// Whether it runs contracts; a token ledger otherwise.
    pub has_contracts: bool,
}

/// One route; the description of the interface is compared with all of them.
struct Route {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the test that compares routes with their description")
    )]
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<RestContext>,
}

fn get<H: Handler<T, RestContext>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "get", path, handler: axum::routing::get(handler) }
}

fn post<H: Handler<T, RestContext>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "post", path, handler: axum::routing::post(handler) }
}

fn put<H: Handler<T, RestContext>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "put", path, handler: axum::routing::put(handler) }
}

fn routes() -> Vec<Route> {
    vec![
        get("/openapi.json", openapi::show),
        get("/v1/network", network::show),
        get("/v1/consortium", consortium::show),
        get("/v1/cryptlets", cryptlets::list),
        get("/v1/cryptlets/{name}", cryptlets::show),
        Route {
            method: "post",
            path: "/v1/admin/cryptlets",
            handler: axum::routing::post(publishing::publish)
                .layer(axum::extract::DefaultBodyLimit::max(crate::limits::PACKAGE_SIZE_BYTES_MAX)),
        },
        put("/v1/admin/cryptlets/{package}/status", publishing::set_status),
        post("/v1/admin/cryptlets/{package}/sources", publishing::allow_sources),
        get("/v1/admin/cryptlets/{name}/log", publishing::log),
        put("/v1/admin/sources/{name}", sources::set),
        post("/v1/tokens/transactions", transactions::submit),
        get("/v1/tokens/transactions/{id}", transactions::show),
        get("/v1/tokens/owners/{owner}/outputs", outputs::of_owner),
        get("/v1/tokens/owners/{owner}/balances", outputs::balances),
        get("/v1/tokens/owners/{owner}/selection", outputs::select),
        get("/v1/tokens/outputs/{output}", outputs::show),
        get("/v1/tokens/outputs/{output}/proof", outputs::proof),
        get("/v1/tokens/assets", assets::list),
        get("/v1/tokens/assets/{asset}", assets::show),
        get("/v1/tokens/entries", entries::namespaces),
        get("/v1/tokens/entries/{namespace}", entries::list),
        get("/v1/tokens/entries/{namespace}/{*name}", entries::history),
        get("/v1/evm/proofs/transactions/{hash}", finality::transaction),
        get("/v1/evm/proofs/receipts/{hash}", finality::receipt),
        get("/v1/evm/proofs/state/{address}", finality::state),
        get("/v1/certificates/{ledger}/{height}", finality::certificate),
        get("/v1/tokens/{id}", tokens::show),
        get("/v1/tokens/{id}/parts", tokens::parts),
        get("/v1/tokens/{id}/builds", tokens::builds),
        get("/v1/tokens/{id}/lineage", lineage::show),
        post("/v1/tokens/{id}/verify", tokens::verify),
    ]
}

/// The routes of the REST interface.
pub fn router(context: RestContext) -> Router {
    assembled(routes(), context)
}

fn assembled(routes: impl IntoIterator<Item = Route>, context: RestContext) -> Router {
    let all = routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    all.route("/v1/{*path}", axum::routing::any(answer::no_such_path))
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(crate::limits::REQUEST_SIZE_BYTES_MAX))
        .with_state(context)
}

/// The routes of one ledger: those of its kind, and what it says of itself.
pub(crate) fn ledger_router(LedgerRest { context, has_contracts }: LedgerRest) -> Router {
    let own = if has_contracts { "/v1/evm/" } else { "/v1/tokens/" };
    let routes =
        routes().into_iter().filter(|route| route.path.starts_with(own) || route.path == "/v1/network");
    assembled(routes, context).fallback(answer::no_such_path)
}

/// The refusal of a request to a ledger that is not here.
pub(crate) fn no_such_ledger(message: String) -> axum::response::Response {
    axum::response::IntoResponse::into_response(answer::Refusal::not_found(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_names_every_route_and_no_other() {
        let routed: BTreeSet<(String, String)> = routes()
            .into_iter()
            .map(|route| (route.method.to_owned(), route.path.replace("{*", "{")))
            .collect();
        let document = openapi::document();
        let paths = document.get("paths").and_then(Value::as_object).cloned().unwrap_or_default();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().into_iter().flatten().map(|(method, _)| (method.clone(), path.clone()))
            })
            .collect();
        assert_eq!(routed, described);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let text = openapi::document().to_string();
        let document = openapi::document();
        let mut named = 0;
        for piece in text.split("\"#/components/").skip(1) {
            let pointer = format!("/components/{}", piece.split('"').next().unwrap_or_default());
            assert!(document.pointer(&pointer).is_some(), "{pointer} is named and not described");
            named += 1;
        }
        assert!(named > 20, "the description names its schemas");
    }
}
