//! The ledgers of a node and the fabric between them: opened together, started by the engines that genesis names.

use crate::bootstrap;
use crate::certifier::Alone;
use crate::data::DataDir;
use crate::engines::{Ended, EngineThread};
use crate::genesis::{Agreement, EngineName, NetworkGenesis};
use crate::governance::{Governance, founding};
use crate::identity::{Identity, OWN};
use crate::metrics::{LedgerMeter, Meters};
use crate::node::NodeConfig;
use crate::observer::Listeners;
use crate::runner::RunnerParts;
use anyhow::{Context, Result, bail};
use bletchley_api::rest::{Finalities, RestContext};
use bletchley_api::{ApiOptions, DevMode, Probe};
use bletchley_consensus::{Cadence, CadenceHandle, Solo};
use bletchley_cryptlet::aot::{AOT_SECRET_SIZE_BYTES, AotCache, AotSecret};
use bletchley_cryptlet::container::Container;
use bletchley_cryptlet::content::FolderContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts, LocalHost};
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::host::WasmContainer;
use bletchley_cryptlet::keys::{KeyLabel, KeyPurpose, Signer};
use bletchley_cryptlet::registry::{RegistryView, TokenRegistry};
use bletchley_evm::EvmLedger;
use bletchley_ledger::{Machine, SharedStore, StoredFinality};
use bletchley_primitives::LedgerId;
use bletchley_storage::{Options as StoreOptions, SegmentStore};
use bletchley_token::TokenMachine;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The ledgers and the fabric between them.
pub(crate) struct Ledgers {
    pub(crate) token_store: SharedStore,
    pub(crate) evm_store: SharedStore,
    pub(crate) tokens: Arc<TokenMachine>,
    pub(crate) evm: EvmLedger,
    pub(crate) registry: Arc<TokenRegistry>,
    pub(crate) governance: Governance,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) content: Arc<FolderContent>,
    pub(crate) fetcher: Arc<HttpFetcher>,
    pub(crate) container: Arc<WasmContainer>,
    pub(crate) host: Arc<LocalHost>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) meters: Arc<Meters>,
}

/// One ledger on its way to its engine.
struct Stack {
    name: &'static str,
    ledger: LedgerId,
    machine: Arc<dyn Machine>,
    store: SharedStore,
    agreement: Agreement,
    /// Pace of an engine that makes blocks on its own clock.
    cadence: CadenceHandle,
    meter: Arc<LedgerMeter>,
}

/// The engines of a node, and what steers those that make blocks on their own clock.
pub(crate) struct Engines {
    pub(crate) tokens: EngineThread,
    pub(crate) evm: EngineThread,
    pub(crate) token_cadence: CadenceHandle,
    pub(crate) evm_cadence: CadenceHandle,
}

impl Ledgers {
    pub(crate) fn open(config: &NodeConfig, genesis: &NetworkGenesis, identity: &Identity) -> Result<Self> {
        let data = &config.data;
        let token_store = open_store(data, "tokens", false)?;
        let tokens = TokenMachine::open(genesis.tokens(), token_store.clone());
        let tokens = Arc::new(tokens.with_context(|| opening(data, "tokens", genesis))?);
        let registry = Arc::new(TokenRegistry::open(tokens.clone(), genesis.registry_roots())?);
        let governance = Governance::open(tokens.clone(), &founding(genesis))?;
        let content = Arc::new(FolderContent::open(&data.content())?);
        let fetcher = Arc::new(HttpFetcher::default());
        let aot = AotCache::open(&data.compiled(), compiled_secret(data)?)?;
        let container = Arc::new(WasmContainer::open(Some(aot), fetcher.clone())?);
        let label = KeyLabel::new(KeyPurpose::Host, OWN)?;
        let keys = identity.keys.store.clone();
        let host = Arc::new(LocalHost::open(container.clone(), content.clone(), keys, label)?);
        let parts =
            FabricParts { registry: registry.clone(), content: content.clone(), hosts: vec![host.clone()] };
        let fabric = Arc::new(Fabric::start(parts, FabricConfig::default())?);
        let evm_store = open_store(data, "evm", genesis.dev)?;
        let listeners = Arc::new(Listeners::default());
        let mut evm_genesis = genesis.evm.clone();
        evm_genesis.archive |= config.archive;
        let evm = EvmLedger::new(evm_genesis, evm_store.clone(), fabric.clone(), listeners.clone());
        let evm = evm.with_context(|| opening(data, "evm", genesis))?;
        Ok(Self {
            token_store,
            evm_store,
            tokens,
            evm,
            registry,
            governance,
            fabric,
            content,
            fetcher,
            container,
            host,
            listeners,
            meters: Arc::default(),
        })
    }

    /// Starts the engine of each ledger.
    pub(crate) fn start_engines(
        &self,
        genesis: &NetworkGenesis,
        identity: &Identity,
        report: &Ended,
    ) -> Result<Engines> {
        let agreements = genesis.agreements;
        // Registrations follow each other without a pause; the ledger's own pace begins after them.
        let token_cadence = CadenceHandle::new(Cadence::Automine);
        let evm_cadence = CadenceHandle::new(agreements.evm.cadence());
        let tokens = Stack {
            name: "tokens",
            ledger: genesis.tokens().ledger,
            machine: self.tokens.clone(),
            store: self.token_store.clone(),
            agreement: agreements.tokens,
            cadence: token_cadence.clone(),
            meter: self.meters.ledger("tokens"),
        };
        let evm = Stack {
            name: "evm",
            ledger: genesis.evm.ledger_id(),
            machine: self.evm.machine(),
            store: self.evm_store.clone(),
            agreement: agreements.evm,
            cadence: evm_cadence.clone(),
            meter: self.meters.ledger("evm"),
        };
        let tokens = start_engine(tokens, genesis, identity, report)?;
        let evm = start_engine(evm, genesis, identity, report)?;
        let wake = tokens.signals.clone();
        self.tokens.on_submit(move || wake.wake());
        let _ = self.listeners.engine.set(evm.signals.clone());
        let (wake, ledger) = (evm.signals.clone(), self.evm.clone());
        self.fabric.on_ready(Arc::new(move |_| {
            ledger.wake_deferred();
            wake.wake();
        }));
        Ok(Engines { tokens, evm, token_cadence, evm_cadence })
    }

    pub(crate) fn api_options(&self, dev: Option<DevMode>, engines: &Engines) -> ApiOptions {
        let alive = [engines.tokens.alive.clone(), engines.evm.alive.clone()];
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

    /// What registering needs: `requests` and `calls` of it are to be shared with the calls between members.
    pub(crate) fn bootstrap_parts(
        &self,
        identity: &Identity,
        members: bootstrap::MembersNow,
    ) -> bootstrap::Parts {
        bootstrap::Parts {
            member: identity.member.name.clone(),
            keys: identity.keys.store.clone(),
            administrator: identity.keys.administrator.clone(),
            host_key: identity.keys.host.clone(),
            host: self.host.clone(),
            members,
            tokens: self.tokens.clone(),
            registry: self.registry.clone(),
            content: self.content.clone(),
            fetcher: self.fetcher.clone(),
            profile: self.container.profile().digest(),
            requests: bootstrap::HostRequests::default(),
            calls: Arc::default(),
        }
    }

    pub(crate) fn rest_context(
        &self,
        genesis: &NetworkGenesis,
        identity: &Identity,
        admin_token: &str,
    ) -> RestContext {
        RestContext {
            tokens: self.tokens.clone(),
            registry: self.registry.clone(),
            evm: self.evm.clone(),
            finality: Finalities {
                tokens: Arc::new(StoredFinality::new(self.token_store.clone())),
                evm: Arc::new(StoredFinality::new(self.evm_store.clone())),
            },
            consortium: Some(Arc::new(self.governance.clone())),
            fabric: self.fabric.clone(),
            fetcher: self.fetcher.clone(),
            network: serde_json::json!({
                "name": genesis.name, "dev": genesis.dev, "genesis": genesis.digest(),
                "chainId": genesis.evm.chain_id, "accounts": genesis.accounts, "member": identity.member.name,
                "members": genesis.members, "agreements": genesis.agreements,
            }),
            admin_token: admin_token.to_owned(),
            mirrors: Arc::default(),
        }
    }
}

/// Starts the engine that genesis names. An engine of several members gets its messages from the node's network here.
fn start_engine(
    stack: Stack,
    genesis: &NetworkGenesis,
    identity: &Identity,
    report: &Ended,
) -> Result<EngineThread> {
    let Stack { name, ledger, machine, store, agreement, cadence, meter } = stack;
    let validator = identity.keys.validator.clone();
    let parts = RunnerParts {
        ledger,
        machine,
        store,
        schedule: genesis.schedule(&agreement),
        proposer: validator.address(),
        certifier: Arc::new(Alone { validator }),
        meter,
        gate: Arc::default(),
    };
    match agreement.engine {
        EngineName::Solo if identity.member.is_validator => {
            EngineThread::start(name, parts, Box::new(Solo::new(cadence)), report.clone())
        }
        EngineName::Solo => bail!(
            "member {} does not validate, and the solo engine of ledger {name} has no network to follow it by",
            identity.member.name
        ),
        engine @ (EngineName::Simplex | EngineName::Tendermint) => {
            bail!("engine {} of ledger {name} is not a part of this build", engine.name())
        }
    }
}

fn opening(data: &DataDir, ledger: &str, genesis: &NetworkGenesis) -> String {
    format!(
        "opening ledger {ledger} in {} for consortium {} (genesis {})",
        data.root().display(),
        genesis.name,
        genesis.digest()
    )
}

fn open_store(data: &DataDir, name: &str, rewindable: bool) -> Result<SharedStore> {
    let folder = data.ledger(name);
    let options = StoreOptions { rewindable, ..StoreOptions::default() };
    let store =
        SegmentStore::open(&folder, options).with_context(|| format!("opening {}", folder.display()))?;
    Ok(Arc::new(store))
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
