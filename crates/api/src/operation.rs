//! What operators ask of a node, on the port of its interface: `/livez`, `/readyz`, `/status`, `/metrics`; and what the
//! node hears about the requests that it answers.

use crate::error::RpcError;
use crate::server::Shared;
use crate::trace::{Followed, Trace};
use axum::Json;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// Label of requests to what is not there.
const UNKNOWN: &str = "unknown";
/// JSON-RPC, whose methods are counted one by one.
const RPC: &str = "rpc";
/// Everything else, counted by route.
const REST: &str = "rest";

/// Says, beside any answer, why transactions that are taken in wait: answers of JSON-RPC have no room for it.
const WARNING_HEADER: HeaderName = HeaderName::from_static("x-bletchley-warning");

/// Hears about requests that were answered. Cheap: it is called for each of them.
pub trait Tally: Send + Sync {
    /// `count` requests of a method or route of `kind` (`rpc`, `rest`) ended with the same result (`ok`, `refused`,
    /// `failed`). What the interface does not have comes as `unknown`, so that callers cannot make names up.
    fn answered(&self, kind: &'static str, method: &str, result: &'static str, count: u64);

    /// An answer took this long.
    fn took(&self, kind: &'static str, took: Duration);
}

struct Deaf;

impl Tally for Deaf {
    fn answered(&self, _kind: &'static str, _method: &str, _result: &'static str, _count: u64) {}

    fn took(&self, _kind: &'static str, _took: Duration) {}
}

/// What a node shows of its own operation.
#[derive(Clone)]
pub struct Operation {
    /// Name of the ledger that JSON-RPC reaches, for logs.
    pub ledger: String,
    /// Answer of `/metrics`, in the Prometheus text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Answer of `/status`.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Why the node is not ready, besides what its probe says; empty when it is.
    pub reasons: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Why no transaction can become final now; asked with every request, so it must be cheap.
    pub warning: Arc<dyn Fn() -> Option<Arc<str>> + Send + Sync>,
    /// What to do something about before it becomes such a reason.
    pub warnings: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Counts requests.
    pub tally: Arc<dyn Tally>,
    /// Transactions that are followed to their block.
    pub followed: Arc<Followed>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            ledger: "evm".to_owned(),
            metrics: Arc::new(String::new),
            status: Arc::new(|| json!({})),
            reasons: Arc::new(Vec::new),
            warning: Arc::new(|| None),
            warnings: Arc::new(Vec::new),
            tally: Arc::new(Deaf),
            followed: Arc::default(),
        }
    }
}

impl Operation {
    /// Counts JSON-RPC requests that ended alike; `method` is none for one that the interface does not have.
    pub(crate) fn rpc_answered(&self, method: Option<&str>, problem: Option<&RpcError>, count: u64) {
        let result = match problem {
            None => "ok",
            Some(error) if error.code == crate::error::code::INTERNAL => "failed",
            Some(_) => "refused",
        };
        self.tally.answered(RPC, method.unwrap_or(UNKNOWN), result, count);
    }
}

/// A request on its way through the node.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) trace: Trace,
    pub(crate) followed: Arc<Followed>,
    /// Why what it sends will wait.
    pub(crate) warning: Option<Arc<str>>,
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(livez))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
}

/// Middleware around everything: gives the request its trace, and counts the answer.
pub(crate) async fn observe(
    State(operation): State<Operation>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let trace = Trace::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let warning = (operation.warning)();
    let header = warning.as_ref().and_then(|warning| HeaderValue::from_str(warning).ok());
    request.extensions_mut().insert(Asker { trace, followed: Arc::clone(&operation.followed), warning });
    let span = tracing::info_span!("api.request", trace = %trace.id);
    let mut response =
        if span.is_disabled() { next.run(request).await } else { next.run(request).instrument(span).await };
    trace.write(response.headers_mut());
    if let Some(header) = header {
        response.headers_mut().insert(WARNING_HEADER, header);
    }
    let path = route.as_ref().map_or(UNKNOWN, MatchedPath::as_str);
    if path == "/" || path == crate::ledgers::RPC_PATH {
        operation.tally.took(RPC, started.elapsed());
    } else {
        let status = response.status();
        let result = match status.as_u16() {
            500.. => "failed",
            400.. => "refused",
            _ => "ok",
        };
        operation.tally.answered(REST, path, result, 1);
        operation.tally.took(REST, started.elapsed());
    }
    response
}

/// Whether the process is alive: that it answers is most of it.
async fn livez(State(shared): State<Shared>) -> Response {
    match (shared.context.options().healthy)() {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

/// Whether requests should be sent here, and if not, every reason.
async fn readyz(State(shared): State<Shared>) -> Response {
    let options = shared.context.options();
    let mut reasons: Vec<String> = (options.ready)().err().into_iter().collect();
    reasons.extend((options.operation.reasons)());
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let warnings = (options.operation.warnings)();
    let report = json!({ "ready": reasons.is_empty(), "reasons": reasons, "warnings": warnings });
    (status, Json(report)).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    let ask = Arc::clone(&shared.context.options().operation.status);
    match tokio::task::spawn_blocking(move || ask()).await {
        Ok(report) => Json(report).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let ask = Arc::clone(&shared.context.options().operation.metrics);
    match tokio::task::spawn_blocking(move || ask()).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
