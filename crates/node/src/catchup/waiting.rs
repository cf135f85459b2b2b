//! What a node answers while it catches up: that it is not ready, why, and how far it has come. Everything else has to
//! wait.

use super::Desk;
use crate::client::Running;
use crate::data::DataDir;
use crate::metrics::{CONTENT_TYPE, joined};
use crate::network::MemberNetwork;
use crate::node::NodeConfig;
use crate::status::{CallCounts, StatusReport};
use anyhow::{Context, Result};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How often it is looked how far the node has come.
const LOOK: Duration = Duration::from_millis(100);
/// What takes no longer is not worth a word.
const WORTH_A_WORD: Duration = Duration::from_millis(500);
/// How often people are told.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// The port of a node's interfaces, before they are there.
pub(crate) struct Door {
    listener: TcpListener,
    runtime: Handle,
    data: DataDir,
    running: Running,
    consortium: String,
}

impl Door {
    /// A door on this port, for the member whose folder is `data`.
    ///
    /// # Errors
    /// What the operating system said.
    pub(crate) fn on(
        listener: tokio::net::TcpListener,
        config: &NodeConfig,
        runtime: &tokio::runtime::Runtime,
        [member, consortium]: [&str; 2],
        admin_token: String,
    ) -> Result<Self> {
        let listener = listener.into_std().context("taking the port")?;
        let address = listener.local_addr().context("asking for the port")?;
        let running = Running::at(address, member, config.p2p, admin_token);
        let (runtime, data) = (runtime.handle().clone(), config.data.clone());
        Ok(Self { listener, runtime, data, running, consortium: consortium.to_owned() })
    }

    /// What the node says of itself in its folder.
    pub(crate) const fn running(&self) -> &Running {
        &self.running
    }

    /// The port, for the interfaces; to be called in the runtime.
    ///
    /// # Errors
    /// What the operating system said.
    pub(crate) fn give_way(self) -> Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener).context("taking the port")
    }

    /// Runs `start`, and answers meanwhile, if it takes long because ledgers catch up.
    ///
    /// # Errors
    /// What `start` said, or why nothing could be answered.
    pub(crate) fn while_starting<T: Send>(
        &self,
        network: Option<&Arc<MemberNetwork>>,
        progress: &dyn Fn(&str),
        start: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let Some(network) = network else { return start() };
        let desk = network.desk();
        std::thread::scope(|scope| {
            let starting = scope.spawn(start);
            let (mut since, mut told, mut open) = (None, Instant::now(), None);
            while !starting.is_finished() {
                let lines = desk.lines();
                if lines.is_empty() {
                    since = None;
                } else if since.get_or_insert_with(Instant::now).elapsed() > WORTH_A_WORD {
                    if open.is_none() {
                        open = Some(self.open(desk)?);
                    }
                    if told.elapsed() > TOLD_EVERY {
                        told = Instant::now();
                        lines.iter().for_each(|line| progress(line));
                    }
                }
                std::thread::sleep(LOOK);
            }
            drop(open);
            match starting.join() {
                Ok(started) => started,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Answers until what is returned is dropped.
    fn open(&self, desk: &Arc<Desk>) -> Result<oneshot::Sender<()>> {
        self.running.write(&self.data)?;
        let listener = self.listener.try_clone().context("sharing the port")?;
        let (close, closed) = oneshot::channel::<()>();
        let routes = self.routes(desk);
        let _runtime = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).context("sharing the port")?;
        self.runtime.spawn(async move {
            let until = async move {
                let _ = closed.await;
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
                tracing::warn!(%error, "node.waiting: nobody hears how far the node has come");
            }
        });
        Ok(close)
    }

    fn routes(&self, desk: &Arc<Desk>) -> Router {
        let (desk, running, consortium) = (desk.clone(), self.running.clone(), self.consortium.clone());
        let started = Instant::now();
        let report = {
            let desk = desk.clone();
            move || report(&desk, &running, &consortium, started.elapsed())
        };
        let text = {
            let desk = desk.clone();
            move || joined("# TYPE bletchley_node_ready gauge\nbletchley_node_ready 0\n", &desk.metrics(true))
        };
        let unready = {
            let desk = desk.clone();
            move || Json(json!({ "ready": false, "reasons": desk.lines() }))
        };
        let later = move || (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", desk.lines().join("; ")));
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(async move || (StatusCode::SERVICE_UNAVAILABLE, unready())))
            .route("/status", get(async move || Json(report())))
            .route("/metrics", get(async move || ([(header::CONTENT_TYPE, CONTENT_TYPE)], text())))
            .fallback(async move || later().into_response())
    }
}

fn report(desk: &Desk, running: &Running, consortium: &str, uptime: Duration) -> StatusReport {
    StatusReport {
        consortium: consortium.to_owned(),
        member: running.member.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: running.pid,
        uptime_seconds: uptime.as_secs(),
        ready: false,
        reasons: desk.lines(),
        warnings: Vec::new(),
        unregistered: None,
        misbehaviours: Vec::new(),
        ledgers: desk.ledgers(),
        peers: Vec::new(),
        calls: CallCounts::default(),
    }
}
