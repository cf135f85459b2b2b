//! A node: its ledgers, engines, fabric and interfaces, from start to orderly stop.

use crate::accounts::dev_keys;
use crate::bootstrap::{self, Bootstrapping};
use crate::client::Running;
use crate::data::DataDir;
use crate::dev::Steering;
use crate::engines::{EngineThread, Folding};
use crate::genesis::NetworkGenesis;
use crate::identity::Identity;
use crate::ledgers::{Engines, Ledgers};
use crate::output::Output;
use crate::status::Observatory;
use alloy_primitives::hex;
use anyhow::{Context, Result};
use bletchley_api::rest;
use bletchley_api::{ApiContext, DevMode, ServerHandle, serve};
use bletchley_consensus::EngineError;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Bytes of the secret that local administration presents.
const ADMIN_TOKEN_SIZE_BYTES: usize = 24;
/// How often a node that was not asked to stop looks whether its engines still run.
const ENGINE_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for tasks that still run when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its data folder, in which a genesis document and this member's keys stand already.
    pub data: DataDir,
    /// Which member this is; whoever's keys are in the folder when no name is given.
    pub member: Option<String>,
    /// Where its interfaces listen; port 0 for any that is free.
    pub api: SocketAddr,
    /// Where it listens for the nodes of other members; not at all when there are none.
    pub p2p: Option<SocketAddr>,
    /// Other members' endpoints by name, where they differ from the genesis document's.
    pub endpoints: BTreeMap<String, String>,
    /// Keep the state of every block.
    pub archive: bool,
}

/// A running node.
pub struct Node {
    config: NodeConfig,
    genesis: NetworkGenesis,
    identity: Identity,
    running: Running,
    ledgers: Ledgers,
    engines: Vec<EngineThread>,
    ended: Receiver<Result<(), EngineError>>,
    bootstrapping: Bootstrapping,
    folding: Folding,
    observatory: Arc<Observatory>,
    server: ServerHandle,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Opens what the data folder holds, starts everything, and returns when requests are answered.
    ///
    /// # Errors
    /// What keeps the node from starting, with what to do about it.
    pub fn start(config: NodeConfig, progress: &dyn Fn(&str)) -> Result<Self> {
        let data = &config.data;
        let genesis = NetworkGenesis::read(data)?;
        let identity = Identity::open(data, &genesis, config.member.as_deref())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // The port comes first: a node that cannot be reached should not begin to make blocks.
        let listener = runtime.block_on(listen(config.api))?;
        progress("opening the ledgers");
        let ledgers = Ledgers::open(&config, &genesis, &identity)?;
        let (report, ended) = channel();
        // The network of a consortium starts here, from `identity.keys.peer`, `config.p2p` and the endpoints, and goes
        // with the engines.
        let engines = ledgers.start_engines(&genesis, &identity, &report)?;
        let members = genesis.members.clone();
        let parts = ledgers.bootstrap_parts(&identity, Arc::new(move || members.clone()));
        let bootstrapping = Bootstrapping::start(parts, progress)?;
        engines.token_cadence.set(genesis.agreements.tokens.cadence());
        engines.tokens.signals.wake();
        bootstrap::warm_up(ledgers.host.clone(), ledgers.registry.clone())?;
        let dev = genesis.dev.then(|| DevMode {
            accounts: dev_keys(),
            control: Arc::new(Steering::new(ledgers.evm.clone(), engines.evm_cadence.clone(), &engines.evm)),
        });
        let admin_token = random_token()?;
        let rest = rest::router(ledgers.rest_context(&genesis, &identity, &admin_token));
        let observatory = ledgers.observatory(&genesis, ledgers.alone(&genesis, &identity), &engines);
        observatory.watch()?;
        let mut options = ledgers.api_options(dev, &engines);
        options.operation = observatory.operation("evm");
        let context = ApiContext::new(ledgers.evm.clone(), ledgers.listeners.feed.clone(), options);
        let server = runtime.block_on(async { serve(listener, context, vec![rest]) })?;
        let running = Running::at(server.address(), &identity.member.name, config.p2p, admin_token);
        running.write(data)?;
        let folding = Folding::start(vec![ledgers.token_store.clone(), ledgers.evm_store.clone()])?;
        let Engines { tokens, evm, .. } = engines;
        Ok(Self {
            config,
            genesis,
            identity,
            running,
            ledgers,
            engines: vec![tokens, evm],
            ended,
            bootstrapping,
            folding,
            observatory,
            server,
            runtime,
        })
    }

    /// Where it answers.
    #[must_use]
    pub const fn running(&self) -> &Running {
        &self.running
    }

    /// What its ledgers started from.
    #[must_use]
    pub const fn genesis(&self) -> &NetworkGenesis {
        &self.genesis
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its data folder.
    #[must_use]
    pub const fn data(&self) -> &DataDir {
        &self.config.data
    }

    /// Runs until SIGINT or SIGTERM, until `asked` turns true, or until an engine can no longer keep blocks; then stops
    /// in order.
    ///
    /// # Errors
    /// Why an engine ended by itself.
    pub fn run_until_stopped(self, asked: &AtomicBool, output: Output) -> Result<()> {
        let failure = self.runtime.block_on(stop_asked(asked, &self.ended))?;
        output.progress("stopping");
        self.stop();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Stops everything in order: no new requests, no new blocks, no new calls.
    pub fn stop(self) {
        let Self { config, ledgers, engines, bootstrapping, folding, observatory, server, runtime, .. } = self;
        runtime.block_on(server.shutdown());
        bootstrapping.stop();
        engines.into_iter().for_each(EngineThread::stop);
        ledgers.fabric.stop();
        folding.stop();
        observatory.stop();
        let _ = std::fs::remove_file(config.data.running());
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!(
            "listening on {address}; is another node there? choose other ports with --port-base, or in the member's \
             configuration"
        )
    })
}

/// Waits for SIGINT, SIGTERM, the question to stop, or an engine's end; gives the engine's error if that was it.
async fn stop_asked(
    asked: &AtomicBool,
    ended: &Receiver<Result<(), EngineError>>,
) -> Result<Option<EngineError>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(None),
            _ = terminate.recv() => return Ok(None),
            () = tokio::time::sleep(ENGINE_CHECK_INTERVAL) => {
                if asked.load(Ordering::Acquire) {
                    return Ok(None);
                }
                if let Ok(result) = ended.try_recv() {
                    return Ok(result.err());
                }
            }
        }
    }
}

fn random_token() -> Result<String> {
    let mut bytes = [0u8; ADMIN_TOKEN_SIZE_BYTES];
    getrandom::fill(&mut bytes).context("asking the operating system for random bytes")?;
    Ok(hex::encode(bytes))
}
