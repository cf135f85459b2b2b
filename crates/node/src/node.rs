//! A node: its ledgers, engines, fabric and interfaces, from start to orderly stop.

use crate::accounts::{Accounts, StoredKey, dev_keys, open_keys};
use crate::bootstrap;
use crate::certifier::Alone;
use crate::client::Running;
use crate::data::DataDir;
use crate::dev::Steering;
use crate::engines::{Ended, EngineThread, Folding};
use crate::genesis::{Founders, NetworkGenesis};
use crate::observer::Listeners;
use crate::output::Output;
use crate::runner::RunnerParts;
use crate::signals::wall_now_ms;
use alloy_primitives::hex;
use anyhow::{Context, Result, bail};
use bletchley_api::rest::{self, RestContext};
use bletchley_api::{ApiContext, ApiOptions, DevMode, Probe, ServerHandle, serve};
use bletchley_consensus::{Cadence, CadenceHandle, EngineError};
use bletchley_cryptlet::aot::{AOT_SECRET_SIZE_BYTES, AotCache, AotSecret};
use bletchley_cryptlet::content::FolderContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts, LocalHost};
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::host::WasmContainer;
use bletchley_cryptlet::keys::{FileKeyStore, KeyLabel, KeyPurpose, Signer};
use bletchley_cryptlet::registry::{RegistryView, TokenRegistry};
use bletchley_evm::EvmLedger;
use bletchley_ledger::{Machine, SharedStore};
use bletchley_primitives::LedgerId;
use bletchley_storage::{Options as StoreOptions, SegmentStore};
use bletchley_token::TokenMachine;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest silence of a ledger that is not for development.
const HEARTBEAT_MS: u64 = 60_000;
/// Least time between blocks of a development network's token ledger.
const DEV_TOKEN_PACE_MS: u64 = 10;
/// Bytes of the secret that local administration presents.
const ADMIN_TOKEN_SIZE_BYTES: usize = 24;
/// How often a node that was not asked to stop looks whether its engines still run.
const ENGINE_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for tasks that still run when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its data folder.
    pub data: DataDir,
    /// Port of its interfaces on loopback; 0 for any that is free.
    pub port: u16,
    /// Make a development network when the folder is new.
    pub dev: bool,
    /// Keep the state of every block.
    pub archive: bool,
    /// Least time between blocks of a ledger that is not for development.
    pub block_ms: u64,
}

/// A running node.
pub struct Node {
    config: NodeConfig,
    genesis: NetworkGenesis,
    running: Running,
    ledgers: Ledgers,
    engines: Vec<EngineThread>,
    ended: Receiver<Result<(), EngineError>>,
    folding: Folding,
    server: ServerHandle,
    runtime: tokio::runtime::Runtime,
}

/// The ledgers and the fabric between them.
struct Ledgers {
    token_store: SharedStore,
    evm_store: SharedStore,
    tokens: Arc<TokenMachine>,
    evm: EvmLedger,
    registry: Arc<TokenRegistry>,
    fabric: Arc<Fabric>,
    content: Arc<FolderContent>,
    fetcher: Arc<HttpFetcher>,
    container: Arc<WasmContainer>,
    host: Arc<LocalHost>,
    listeners: Arc<Listeners>,
}

impl Node {
    /// Opens or makes what the data folder holds, starts everything, and returns when requests are answered.
    ///
    /// # Errors
    /// What keeps the node from starting, with what to do about it.
    pub fn start(config: NodeConfig, progress: &dyn Fn(&str)) -> Result<Self> {
        let data = &config.data;
        std::fs::create_dir_all(data.root()).with_context(|| format!("making {}", data.root().display()))?;
        let keys = open_keys(data)?;
        let genesis = open_genesis(&config, &keys, progress)?;
        progress("opening the ledgers");
        let ledgers = Ledgers::open(&config, &genesis, &keys)?;
        let (report, ended) = channel();
        let cadence = CadenceHandle::new(evm_cadence(&config, &genesis));
        // Registrations follow each other without a pause; the ledger's own pace begins after them.
        let token_cadence = CadenceHandle::new(Cadence::Automine);
        let (tokens, evm) =
            ledgers.start_engines(&config, &genesis, &keys, [&token_cadence, &cadence], &report)?;
        bootstrap::register(&ledgers.bootstrap_parts(&genesis, &keys), progress)?;
        token_cadence.set(token_pace(&config, &genesis));
        tokens.signals.wake();
        bootstrap::warm_up(ledgers.host.clone(), ledgers.registry.clone())?;
        let dev = genesis.dev.then(|| DevMode {
            accounts: dev_keys(),
            control: Arc::new(Steering::new(ledgers.evm.clone(), cadence, &evm)),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let admin_token = random_token()?;
        let rest = rest::router(ledgers.rest_context(&genesis, &admin_token));
        let options = ledgers.api_options(dev, [&tokens, &evm]);
        let context = ApiContext::new(ledgers.evm.clone(), ledgers.listeners.feed.clone(), options);
        let server = runtime.block_on(listen(config.port, context, rest))?;
        let address = server.address();
        let running = Running {
            pid: std::process::id(),
            rpc: format!("http://{address}"),
            ws: format!("ws://{address}"),
            rest: format!("http://{address}"),
            admin_token,
        };
        running.write(data)?;
        let folding = Folding::start(vec![ledgers.token_store.clone(), ledgers.evm_store.clone()])?;
        Ok(Self {
            config,
            genesis,
            running,
            ledgers,
            engines: vec![tokens, evm],
            ended,
            folding,
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

    /// Its data folder.
    #[must_use]
    pub const fn data(&self) -> &DataDir {
        &self.config.data
    }

    /// Runs until SIGINT or SIGTERM, or until an engine can no longer keep blocks; then stops in order.
    ///
    /// # Errors
    /// Why an engine ended by itself.
    pub fn run_until_stopped(self, output: Output) -> Result<()> {
        let failure = self.runtime.block_on(stop_asked(&self.ended))?;
        output.progress("stopping");
        self.stop();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Stops everything in order: no new requests, no new blocks, no new calls.
    pub fn stop(self) {
        let Self { config, ledgers, engines, folding, server, runtime, .. } = self;
        runtime.block_on(server.shutdown());
        engines.into_iter().for_each(EngineThread::stop);
        ledgers.fabric.stop();
        folding.stop();
        let _ = std::fs::remove_file(config.data.running());
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
}

impl Ledgers {
    fn open(config: &NodeConfig, genesis: &NetworkGenesis, keys: &Arc<FileKeyStore>) -> Result<Self> {
        let data = &config.data;
        let token_store = open_store(data, "tokens", false)?;
        let tokens = Arc::new(TokenMachine::open(genesis.tokens(), token_store.clone())?);
        let registry = Arc::new(TokenRegistry::open(tokens.clone(), genesis.registry_roots())?);
        let content = Arc::new(FolderContent::open(&data.content())?);
        let fetcher = Arc::new(HttpFetcher::default());
        let aot = AotCache::open(&data.compiled(), compiled_secret(data)?)?;
        let container = Arc::new(WasmContainer::open(Some(aot), fetcher.clone())?);
        let label = KeyLabel::new(KeyPurpose::Host, "node")?;
        let host = Arc::new(LocalHost::open(container.clone(), content.clone(), keys.clone(), label)?);
        let parts =
            FabricParts { registry: registry.clone(), content: content.clone(), hosts: vec![host.clone()] };
        let fabric = Arc::new(Fabric::start(parts, FabricConfig::default())?);
        let evm_store = open_store(data, "evm", genesis.dev)?;
        let listeners = Arc::new(Listeners::default());
        let mut evm_genesis = genesis.evm.clone();
        evm_genesis.archive |= config.archive;
        let evm = EvmLedger::new(evm_genesis, evm_store.clone(), fabric.clone(), listeners.clone())?;
        Ok(Self {
            token_store,
            evm_store,
            tokens,
            evm,
            registry,
            fabric,
            content,
            fetcher,
            container,
            host,
            listeners,
        })
    }

    fn start_engines(
        &self,
        config: &NodeConfig,
        genesis: &NetworkGenesis,
        keys: &Arc<FileKeyStore>,
        [token_cadence, cadence]: [&CadenceHandle; 2],
        report: &Ended,
    ) -> Result<(EngineThread, EngineThread)> {
        let validator = Arc::new(StoredKey::ensure(keys, KeyPurpose::Validator, "node")?);
        if genesis.validators != [validator.address()] {
            bail!(
                "the genesis document names another validator than the key in {}; was the folder copied without its keys?",
                config.data.keys().display()
            );
        }
        let start = |name: &str,
                     ledger: LedgerId,
                     machine: Arc<dyn Machine>,
                     store: &SharedStore,
                     cadence: CadenceHandle| {
            let parts = RunnerParts {
                ledger,
                machine,
                store: store.clone(),
                schedule: genesis.schedule(),
                certifier: Arc::new(Alone { validator: validator.clone() }),
                proposer: validator.address(),
                gate: Arc::default(),
            };
            EngineThread::start(name, parts, cadence, report.clone())
        };
        let tokens = start(
            "tokens",
            genesis.tokens().ledger,
            self.tokens.clone(),
            &self.token_store,
            token_cadence.clone(),
        )?;
        let evm =
            start("evm", genesis.evm.ledger_id(), self.evm.machine(), &self.evm_store, cadence.clone())?;
        let wake = tokens.signals.clone();
        self.tokens.on_submit(move || wake.wake());
        let _ = self.listeners.engine.set(evm.signals.clone());
        let (wake, ledger) = (evm.signals.clone(), self.evm.clone());
        self.fabric.on_ready(Arc::new(move |_| {
            ledger.wake_deferred();
            wake.wake();
        }));
        Ok((tokens, evm))
    }

    fn api_options(&self, dev: Option<DevMode>, engines: [&EngineThread; 2]) -> ApiOptions {
        let alive = engines.map(|engine| engine.alive.clone());
        let running: Probe = Arc::new(move || {
            let all = alive.iter().all(|engine| engine.load(Ordering::Acquire));
            if all { Ok(()) } else { Err("an engine has ended; the node is stopping".to_owned()) }
        });
        let registry = self.registry.clone();
        let name = move |id| {
            let found = registry.resolve(id, registry.anchor().height)?;
            Some(found.package.release.name.clone())
        };
        ApiOptions {
            dev,
            healthy: running.clone(),
            ready: running,
            cryptlet_name: Arc::new(name),
            ..ApiOptions::default()
        }
    }

    fn bootstrap_parts<'a>(
        &'a self,
        genesis: &'a NetworkGenesis,
        keys: &'a Arc<FileKeyStore>,
    ) -> bootstrap::Parts<'a> {
        bootstrap::Parts {
            genesis,
            keys,
            tokens: &self.tokens,
            registry: &self.registry,
            content: &*self.content,
            fetcher: &self.fetcher,
            container: &*self.container,
        }
    }

    fn rest_context(&self, genesis: &NetworkGenesis, admin_token: &str) -> RestContext {
        RestContext {
            tokens: self.tokens.clone(),
            registry: self.registry.clone(),
            evm: self.evm.clone(),
            fabric: self.fabric.clone(),
            fetcher: self.fetcher.clone(),
            network: serde_json::json!({
                "name": genesis.name, "dev": genesis.dev, "genesis": genesis.digest(), "chainId": genesis.evm.chain_id,
                "accounts": genesis.accounts,
            }),
            admin_token: admin_token.to_owned(),
            mirrors: Arc::default(),
        }
    }
}

fn token_pace(config: &NodeConfig, genesis: &NetworkGenesis) -> Cadence {
    let pace_ms = if genesis.dev { DEV_TOKEN_PACE_MS } else { config.block_ms };
    Cadence::Paced { pace_ms, heartbeat_ms: (!genesis.dev).then_some(HEARTBEAT_MS) }
}

fn evm_cadence(config: &NodeConfig, genesis: &NetworkGenesis) -> Cadence {
    if genesis.dev {
        Cadence::Automine
    } else {
        Cadence::Paced { pace_ms: config.block_ms, heartbeat_ms: Some(HEARTBEAT_MS) }
    }
}

fn open_genesis(
    config: &NodeConfig,
    keys: &Arc<FileKeyStore>,
    progress: &dyn Fn(&str),
) -> Result<NetworkGenesis> {
    let data = &config.data;
    if data.genesis().exists() {
        let genesis = NetworkGenesis::read(data)?;
        if config.dev && !genesis.dev {
            bail!(
                "{} holds a network that is not for development; choose another folder with --data",
                data.root().display()
            );
        }
        return Ok(genesis);
    }
    progress("making a new network");
    let founders = Founders {
        validator: StoredKey::ensure(keys, KeyPurpose::Validator, "node")?.address(),
        administrator: StoredKey::ensure(keys, KeyPurpose::Administrator, "node")?.address(),
        accounts: Accounts::open(data, config.dev)?.list(),
    };
    let genesis = NetworkGenesis::solo(config.dev, wall_now_ms(), founders);
    genesis.write(data)?;
    Ok(genesis)
}

fn open_store(data: &DataDir, name: &str, rewindable: bool) -> Result<SharedStore> {
    let folder = data.ledger(name);
    let options = StoreOptions { rewindable, ..StoreOptions::default() };
    let store =
        SegmentStore::open(&folder, options).with_context(|| format!("opening {}", folder.display()))?;
    Ok(Arc::new(store))
}

async fn listen(port: u16, context: ApiContext, rest: axum::Router) -> Result<ServerHandle> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; is another node there? choose other ports with --port-base")
    })?;
    Ok(serve(listener, context, vec![rest])?)
}

/// Waits for SIGINT, SIGTERM, or an engine's end; gives the engine's error if that was it.
async fn stop_asked(ended: &Receiver<Result<(), EngineError>>) -> Result<Option<EngineError>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(None),
            _ = terminate.recv() => return Ok(None),
            () = tokio::time::sleep(ENGINE_CHECK_INTERVAL) => {
                if let Ok(result) = ended.try_recv() {
                    return Ok(result.err());
                }
            }
        }
    }
}

/// The secret that seals compiled cryptlets, made at the first start; only the node's user may read it.
fn compiled_secret(data: &DataDir) -> Result<AotSecret> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = data.compiled_secret();
    if !path.exists() {
        let mut bytes = zeroize::Zeroizing::new([0u8; AOT_SECRET_SIZE_BYTES]);
        getrandom::fill(&mut *bytes).context("asking the operating system for random bytes")?;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(&*bytes).and_then(|()| file.sync_all()));
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(AotSecret::from_file(&path)?)
}

fn random_token() -> Result<String> {
    let mut bytes = [0u8; ADMIN_TOKEN_SIZE_BYTES];
    getrandom::fill(&mut bytes).context("asking the operating system for random bytes")?;
    Ok(hex::encode(bytes))
}
