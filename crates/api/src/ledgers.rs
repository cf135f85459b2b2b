//! Ledgers beside the first one, under `/ledgers/NAME`: JSON-RPC of smart-contract ledgers as at `/`, REST as under `/v1`.
//! They come and go while the server runs.

use crate::context::ApiContext;
use crate::operation::Asker;
use crate::rest::{self, LedgerRest};
use crate::server::{Shared, post_to, refuse, upgrade_to};
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tower::ServiceExt as _;

/// Path of a ledger's JSON-RPC.
pub(crate) const RPC_PATH: &str = "/ledgers/{ledger}";
/// Path of everything below it.
const REST_PATH: &str = "/ledgers/{ledger}/{*path}";

/// What one ledger answers.
#[derive(Clone)]
struct Mounted {
    /// JSON-RPC, where it runs contracts.
    rpc: Option<ApiContext>,
    rest: Router,
}

/// The ledgers that are served beside the first one, by name. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct LedgerMounts(Arc<RwLock<BTreeMap<String, Mounted>>>);

impl std::fmt::Debug for LedgerMounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}

impl LedgerMounts {
    /// Serves a ledger from now on; `rpc` where it runs contracts.
    pub fn add(&self, name: &str, rpc: Option<ApiContext>, rest: LedgerRest) {
        self.0.write().insert(name.to_owned(), Mounted { rpc, rest: rest::ledger_router(rest) });
    }

    /// Serves it no longer.
    pub fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }

    fn get(&self, name: &str) -> Option<Mounted> {
        self.0.read().get(name).cloned()
    }
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route(RPC_PATH, get(upgrade).post(post)).route(REST_PATH, any(below))
}

/// The JSON-RPC of a ledger, or why there is none.
fn rpc_of(shared: &Shared, name: &str) -> Result<Shared, String> {
    match shared.context.options().ledgers.get(name) {
        None => Err(unknown(name)),
        Some(Mounted { rpc: None, .. }) => Err(format!(
            "ledger {name} is a token ledger: it has no JSON-RPC; ask /ledgers/{name}/v1/tokens instead"
        )),
        Some(Mounted { rpc: Some(context), .. }) => Ok(Shared { context, ..shared.clone() }),
    }
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    format!("this node has no ledger {shown:?}; /status lists those that it has")
}

async fn post(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    asker: Option<Extension<Asker>>,
    body: Body,
) -> Response {
    match rpc_of(&shared, &name) {
        Ok(shared) => post_to(&shared, asker, body).await,
        Err(problem) => refuse(StatusCode::NOT_FOUND, problem),
    }
}

async fn upgrade(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    asker: Option<Extension<Asker>>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match rpc_of(&shared, &name) {
        Ok(shared) => upgrade_to(shared, asker, socket),
        Err(problem) => refuse(StatusCode::NOT_FOUND, problem),
    }
}

/// Hands a request to the ledger's own routes, with the path as they know it.
async fn below(
    State(shared): State<Shared>,
    Path((name, _)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(mounted) = shared.context.options().ledgers.get(&name) else {
        return rest::no_such_ledger(unknown(&name));
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // "/ledgers/" and the name have no letter that a client could have escaped.
    let stripped = path.split_once("/ledgers/").and_then(|(_, rest)| rest.strip_prefix(name.as_str()));
    let Some(Ok(uri)) = stripped.map(str::parse::<Uri>) else {
        return rest::no_such_ledger(unknown(&name));
    };
    let mut inner = Request::new(body);
    *inner.method_mut() = parts.method;
    *inner.uri_mut() = uri;
    *inner.headers_mut() = parts.headers;
    if let Some(asker) = parts.extensions.get::<Asker>() {
        inner.extensions_mut().insert(asker.clone());
    }
    match mounted.rest.oneshot(inner).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
