//! The ECB's real history behind HTTP on loopback, in the shape in which the ECB serves it.

use crate::client::Client;
use crate::data::DataDir;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use bletchley_cryptlet::ecb;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// `eurofxref-hist.zip` of the European Central Bank, 1999-01-04 to 2026-10-30.
const ZIP: &[u8] = include_bytes!("../../../../tests/data/eurofxref-hist.zip");

/// The rates, once as CSV for the independent computation and once as the server reads them.
pub(crate) struct History {
    csv: String,
    rates: Arc<ecb::History>,
}

impl History {
    pub(crate) fn embedded() -> Result<Self> {
        let csv = ecb::unzip(ZIP).context("reading the ECB's history")?;
        let rates = Arc::new(ecb::History::from_csv(&csv).context("reading the ECB's history")?);
        Ok(Self { csv, rates })
    }

    pub(crate) fn csv(&self) -> &str {
        &self.csv
    }

    /// Serves it on a free port of the loopback interface until the server is dropped.
    pub(crate) fn serve(&self) -> Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener =
            runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("opening a port on loopback")?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().fallback(answer).with_state(self.rates.clone());
        runtime.spawn(async move {
            let serving = axum::serve(listener, app).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::warn!(%error, "demo.ecb");
            }
        });
        Ok(Server { url, _stop: stop, _runtime: runtime })
    }
}

async fn answer(State(rates): State<Arc<ecb::History>>, uri: Uri) -> impl IntoResponse {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let response = rates.respond(target);
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, response.content_type)], response.body)
}

/// A running server; it ends when dropped.
pub(crate) struct Server {
    url: String,
    _stop: oneshot::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Route of the address that a node's host asks for the ECB.
const SOURCE_ROUTE: &str = "/v1/admin/sources/ecb";

/// Nodes whose hosts ask another address for the ECB, and which they asked before. Hosts of several members answer a call
/// together, so that those of the same consortium on this computer are pointed there too.
pub(crate) struct Pointed(Vec<(Client, Value)>);

impl Pointed {
    /// Points the node of this folder to `url`, and those of the members beside it that run.
    pub(crate) fn to(data: &DataDir, url: &str) -> Result<Self> {
        let mut clients = vec![Client::of(data)?];
        let own = clients.first().map(|client| client.running().pid);
        let beside = data.around().and_then(|root| std::fs::read_dir(root.members()).ok());
        for entry in beside.into_iter().flatten().flatten() {
            if let Ok(client) = Client::of(&DataDir::new(entry.path()))
                && Some(client.running().pid) != own
            {
                clients.push(client);
            }
        }
        let mut pointed = Self(Vec::with_capacity(clients.len()));
        for client in clients {
            let answer = client.rest("PUT", SOURCE_ROUTE, Some(&json!({ "url": url })))?;
            let before = answer.get("before").cloned().unwrap_or(Value::Null);
            pointed.0.push((client, before));
        }
        Ok(pointed)
    }

    /// Points them back. A node that has ended meanwhile has forgotten the address with it.
    pub(crate) fn back(self) {
        for (client, before) in self.0 {
            if let Err(error) = client.rest("PUT", SOURCE_ROUTE, Some(&json!({ "url": before }))) {
                tracing::info!(%error, "demo.source");
            }
        }
    }
}
