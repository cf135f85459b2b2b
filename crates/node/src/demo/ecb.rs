//! The ECB's real history behind HTTP on loopback, in the shape in which the ECB serves it.

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use bletchley_cryptlet::ecb;
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
