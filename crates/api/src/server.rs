//! The listening socket: JSON-RPC over HTTP POST and WebSocket on one port, health, and what the node mounts beside them.

use crate::access::guard;
use crate::context::ApiContext;
use crate::dispatch::{answer, write_response};
use crate::error::RpcError;
use crate::ledgers;
use crate::limits::{BODY_TIMEOUT_MS, CONNECTIONS_MAX, REQUEST_SIZE_BYTES_MAX, SHUTDOWN_GRACE_MS};
use crate::operation::{self, Asker, observe};
use crate::websocket;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

mod listener;
use listener::BoundedListener;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener is unusable.
    #[error("starting the JSON-RPC server: {0}; is the address still free?")]
    Listener(#[from] std::io::Error),
}

/// A server that runs until it is stopped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets those that run end within [`SHUTDOWN_GRACE_MS`], closes every connection.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(Duration::from_millis(SHUTDOWN_GRACE_MS), &mut self.task).await.is_err() {
            tracing::warn!("api.shutdown: requests still run after {SHUTDOWN_GRACE_MS} ms; they are cut off");
            self.task.abort();
        }
    }
}

/// What every connection shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) context: ApiContext,
    pub(crate) stop: watch::Receiver<bool>,
    /// WebSockets live as long as one of these is held.
    pub(crate) alive: tokio::sync::mpsc::Sender<()>,
}

/// Serves `context` on `listener` until the handle is told to stop.
///
/// Paths taken: `/` (JSON-RPC), `/ledgers/…` ([`ApiOptions::ledgers`]), `/livez` (also `/healthz`), `/readyz`, `/status`,
/// `/metrics`; `mounts` must not use them.
///
/// [`ApiOptions::ledgers`]: crate::ApiOptions::ledgers
///
/// # Errors
/// [`ServeError`] when the listener has no address.
pub fn serve(
    listener: TcpListener,
    context: ApiContext,
    mounts: Vec<Router>,
) -> Result<ServerHandle, ServeError> {
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let (alive, mut all_gone) = tokio::sync::mpsc::channel(1);
    let router = router(Shared { context, stop: stopped.clone(), alive }, mounts);
    let task = tokio::spawn(async move {
        let mut stopping = stopped;
        let signal = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let listener = BoundedListener::new(listener, CONNECTIONS_MAX);
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(signal).await {
            tracing::error!(%error, "api.serve ended");
        }
        let _ = all_gone.recv().await;
    });
    Ok(ServerHandle { address, stop, task })
}

fn router(shared: Shared, mounts: Vec<Router>) -> Router {
    let policy = Arc::new(shared.context.options().access.clone());
    let observed = shared.context.options().operation.clone();
    let origins = Arc::clone(&policy);
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _| {
            origin.to_str().is_ok_and(|origin| origins.allows_origin(origin))
        }))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(Duration::from_secs(600));
    let router =
        Router::new().route("/", get(upgrade).post(post)).merge(operation::routes()).merge(ledgers::routes());
    let mut router = router.with_state(shared);
    for mount in mounts {
        router = router.merge(mount);
    }
    router.layer(cors).layer(from_fn_with_state(policy, guard)).layer(from_fn_with_state(observed, observe))
}

async fn post(State(shared): State<Shared>, asker: Option<Extension<Asker>>, body: Body) -> Response {
    post_to(&shared, asker, body).await
}

/// Answers a body with the JSON-RPC of one ledger.
pub(crate) async fn post_to(shared: &Shared, asker: Option<Extension<Asker>>, body: Body) -> Response {
    if body.size_hint().lower() > REQUEST_SIZE_BYTES_MAX as u64 {
        let problem =
            format!("content length too large: at most {REQUEST_SIZE_BYTES_MAX} bytes; send it in parts");
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, problem);
    }
    let trace = asker.map(|asker| asker.trace);
    let bytes = axum::body::to_bytes(body, REQUEST_SIZE_BYTES_MAX);
    match tokio::time::timeout(Duration::from_millis(BODY_TIMEOUT_MS), bytes).await {
        Ok(Ok(bytes)) => match answer(&shared.context, bytes, None, trace).await {
            Some(answer) => json(StatusCode::OK, answer),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Ok(Err(error)) => refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "content length too large: at most {REQUEST_SIZE_BYTES_MAX} bytes, or the body broke off ({error})"
            ),
        ),
        Err(_) => refuse(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {BODY_TIMEOUT_MS} ms; send it again"),
        ),
    }
}

pub(crate) fn refuse(status: StatusCode, problem: String) -> Response {
    let mut out = Vec::new();
    write_response(&mut out, None, &Err(RpcError::invalid_request(problem)));
    json(status, out)
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], Bytes::from(body)).into_response()
}

async fn upgrade(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    upgrade_to(shared, asker, socket)
}

/// Opens a WebSocket to the JSON-RPC of one ledger.
pub(crate) fn upgrade_to(
    shared: Shared,
    asker: Option<Extension<Asker>>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match socket {
        Ok(socket) => websocket::upgrade(socket, shared, asker.map(|asker| asker.trace)),
        Err(_) => {
            (StatusCode::OK, "Bletchley: POST Ethereum JSON-RPC to this address, or open a WebSocket.\n")
                .into_response()
        }
    }
}
