//! The ledgers of a node and the fabric between them: opened together, started by the engines that genesis names.

use crate::bootstrap;
use crate::calls;
use crate::calls::CONSORTIUM_WORKERS;
use crate::certificates::Certificates;
use crate::certifier::Alone;
use crate::containers;
use crate::data::DataDir;
use crate::engines::{Ended, EngineThread};
use crate::genesis::{Agreement, Agreements, EngineName, NetworkGenesis};
use crate::governance::{EVM_LEDGER, Governance, ROOT_LEDGER, founding};
use crate::identity::{Identity, OWN};
use crate::joined::{Beside, Joining, Kind, join};
use crate::metrics::{Meters, PeerNames};
use crate::misbehaviour::Misbehaviours;
use crate::network::{MemberNetwork, Validating};
use crate::node::NodeConfig;
use crate::observer::Listeners;
use crate::publishing::{Publisher, PublisherParts};
use crate::runner::RunnerParts;
use anyhow::{Context, Result, bail};
use bletchley_api::rest::{Finalities, RestContext};
use bletchley_api::{ApiOptions, DevMode, Probe};
use bletchley_consensus::{Cadence, CadenceHandle, Protocol, Solo};
use bletchley_consortium::Member;
use bletchley_cryptlet::aot::{AOT_SECRET_SIZE_BYTES, AotCache, AotSecret};
use bletchley_cryptlet::calls::Calls;
use bletchley_cryptlet::container::Container;
use bletchley_cryptlet::content::FolderContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts, LocalHost};
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::keys::{KeyLabel, KeyPurpose, Signer};
use bletchley_cryptlet::registry::{Claim, RegistryView, TokenRegistry};
use bletchley_evm::EvmLedger;
use bletchley_ledger::{FinalityReader, Machine as _, SharedStore, StoredFinality};
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
    pub(crate) container: Arc<dyn Container>,
    pub(crate) host: Arc<LocalHost>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) misbehaviours: Arc<Misbehaviours>,
}

/// One ledger on its way to its engine.
struct Stack {
    joining: Joining,
    /// Pace of an engine that makes blocks on its own clock.
    cadence: CadenceHandle,
}

/// The engines of a node, and what steers those that make blocks on their own clock.
pub(crate) struct Engines {
    pub(crate) tokens: EngineThread,
    pub(crate) evm: EngineThread,
    pub(crate) token_cadence: CadenceHandle,
    pub(crate) evm_cadence: CadenceHandle,
    /// What stands beside the engine of a ledger of several members.
    pub(crate) beside_tokens: Option<Beside>,
    pub(crate) beside_evm: Option<Beside>,
}

impl Engines {
    /// Lets the fabric call other members' hosts, on the line of the smart-contract ledger; none on a single node.
    pub(crate) fn start_calls(
        &mut self,
        ledgers: &Ledgers,
        members: &[Member],
        parts: &bootstrap::Parts,
    ) -> Result<Option<Arc<Calls>>> {
        let Some(line) = self.beside_evm.as_mut().and_then(|beside| beside.line(Protocol::Calls)) else {
            return Ok(None);
        };
        let calls = calls::start(ledgers, line.post.clone(), members, parts.requests.clone(), &parts.calls)?;
        line.listen(calls.clone());
        Ok(Some(calls))
    }

    /// Lets go of lines that nothing listens on, so that what members send there is dropped at once.
    pub(crate) fn close_unused_lines(&mut self) {
        for beside in [&mut self.beside_tokens, &mut self.beside_evm].into_iter().flatten() {
            beside.lines.clear();
        }
    }

    /// Certificates that are gathered behind the blocks.
    pub(crate) fn certificates(&self) -> Vec<Arc<Certificates>> {
        let all = [&self.beside_tokens, &self.beside_evm];
        all.into_iter().flatten().map(|beside| beside.certificates.clone()).collect()
    }
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
        let container = containers::open(Some(aot), fetcher.clone(), config.cryptlets)?;
        let label = KeyLabel::new(KeyPurpose::Host, OWN)?;
        let keys = identity.keys.store.clone();
        let host = Arc::new(LocalHost::open(container.clone(), content.clone(), keys, label)?);
        let parts =
            FabricParts { registry: registry.clone(), content: content.clone(), hosts: vec![host.clone()] };
        let usual = FabricConfig::default();
        // Calls of a consortium wait for other members' hosts most of their time.
        let workers = if genesis.members.len() > 1 { CONSORTIUM_WORKERS } else { usual.workers };
        let fabric = Arc::new(Fabric::start(parts, FabricConfig { workers, ..usual })?);
        let evm_store = open_store(data, "evm", genesis.dev)?;
        let listeners = Arc::new(Listeners::default());
        let mut evm_genesis = genesis.evm.clone();
        evm_genesis.archive |= config.archive;
        let evm = EvmLedger::new(evm_genesis, evm_store.clone(), fabric.clone(), listeners.clone());
        let evm = evm.with_context(|| opening(data, "evm", genesis))?;
        let meters = Arc::<Meters>::default();
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
            misbehaviours: Arc::new(Misbehaviours::counted(meters.clone())),
            meters,
        })
    }

    /// How each ledger comes to its blocks now: votes may have changed the pace since genesis, and a node takes that up
    /// when it starts.
    fn agreements(&self, genesis: &NetworkGenesis) -> Agreements {
        let standing = self.governance.standing();
        let voted = |name: &str, agreement: Agreement| match standing.ledger(name) {
            Some(record) if agreement.engine != EngineName::Solo => Agreement {
                block_ms: record.spec.block_ms,
                heartbeat_ms: record.spec.heartbeat_ms,
                ..agreement
            },
            _ => agreement,
        };
        Agreements {
            tokens: voted(ROOT_LEDGER, genesis.agreements.tokens),
            evm: voted(EVM_LEDGER, genesis.agreements.evm),
        }
    }

    /// Names of members by their nodes' keys, those who left included.
    fn names(&self) -> PeerNames {
        let governance = self.governance.clone();
        Arc::new(move |peer| {
            let standing = governance.standing();
            let mut records = standing.records();
            records.find(|record| record.member.peer() == peer).map(|record| record.member.name.clone())
        })
    }

    /// Starts the engine of each ledger.
    pub(crate) fn start_engines(
        &self,
        genesis: &NetworkGenesis,
        identity: &Identity,
        network: Option<&MemberNetwork>,
        report: &Ended,
    ) -> Result<Engines> {
        let agreements = self.agreements(genesis);
        // Registrations follow each other without a pause; the ledger's own pace begins after them.
        let token_cadence = CadenceHandle::new(Cadence::Automine);
        let evm_cadence = CadenceHandle::new(agreements.evm.cadence());
        let counting = (self.meters.clone(), self.names());
        let tokens = Stack {
            cadence: token_cadence.clone(),
            joining: Joining {
                name: ROOT_LEDGER.to_owned(),
                ledger: genesis.tokens().ledger,
                machine: self.tokens.clone(),
                store: self.token_store.clone(),
                agreement: agreements.tokens,
                schedule: self.governance.schedule_for_root(),
                kind: Kind::Tokens(self.tokens.clone()),
                meter: self.meters.ledger(ROOT_LEDGER),
                counting: counting.clone(),
                misbehaviours: self.misbehaviours.clone(),
            },
        };
        let schedule = self.governance.schedule_for(EVM_LEDGER, Arc::new(self.evm.clone()));
        let evm = Stack {
            cadence: evm_cadence.clone(),
            joining: Joining {
                name: EVM_LEDGER.to_owned(),
                ledger: genesis.evm.ledger_id(),
                machine: self.evm.machine(),
                store: self.evm_store.clone(),
                agreement: agreements.evm,
                schedule: schedule.context("the consortium has no smart-contract ledger")?,
                kind: Kind::Evm(self.evm.clone()),
                meter: self.meters.ledger(EVM_LEDGER),
                counting,
                misbehaviours: self.misbehaviours.clone(),
            },
        };
        let (tokens, beside_tokens) = start_engine(tokens, genesis, identity, network, report)?;
        let (evm, beside_evm) = start_engine(evm, genesis, identity, network, report)?;
        let wake = tokens.signals.clone();
        self.tokens.on_submit(move || wake.wake());
        let _ = self.listeners.engine.set(evm.signals.clone());
        let (wake, ledger) = (evm.signals.clone(), self.evm.clone());
        self.fabric.on_ready(Arc::new(move |_| {
            ledger.wake_deferred();
            wake.wake();
        }));
        Ok(Engines { tokens, evm, token_cadence, evm_cadence, beside_tokens, beside_evm })
    }

    /// Who must hear whom for blocks to go on.
    ///
    /// # Errors
    /// When the consortium has no smart-contract ledger.
    pub(crate) fn validating(&self) -> Result<Vec<Validating>> {
        let schedule = self.governance.schedule_for(EVM_LEDGER, Arc::new(self.evm.clone()));
        let (tokens, evm) = (self.tokens.clone(), self.evm.clone());
        Ok(vec![
            Validating {
                schedule: self.governance.schedule_for_root(),
                head: Box::new(move || tokens.head().height),
            },
            Validating {
                schedule: schedule.context("the consortium has no smart-contract ledger")?,
                head: Box::new(move || evm.head().height),
            },
        ])
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
            claims: claims(self.container.as_ref()),
            requests: bootstrap::HostRequests::default(),
            calls: Arc::default(),
        }
    }

    /// What publishes cryptlets in this member's name.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    pub(crate) fn publisher(&self, identity: &Identity, data: &DataDir) -> Result<Publisher> {
        let parts = PublisherParts {
            tokens: self.tokens.clone(),
            registry: self.registry.clone(),
            content: self.content.clone(),
            fetcher: self.fetcher.clone(),
        };
        Publisher::open(parts, identity, data)
    }

    pub(crate) fn rest_context(
        &self,
        genesis: &NetworkGenesis,
        identity: &Identity,
        engines: &Engines,
        admin_token: &str,
        publisher: Publisher,
    ) -> RestContext {
        let finality = |beside: &Option<Beside>, store: &SharedStore| -> Arc<dyn FinalityReader> {
            match beside {
                Some(beside) => beside.certificates.clone(),
                None => Arc::new(StoredFinality::new(store.clone())),
            }
        };
        RestContext {
            tokens: self.tokens.clone(),
            registry: self.registry.clone(),
            evm: self.evm.clone(),
            finality: Finalities {
                tokens: finality(&engines.beside_tokens, &self.token_store),
                evm: finality(&engines.beside_evm, &self.evm_store),
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
            publishing: Some(Arc::new(publisher)),
            mirrors: Arc::default(),
        }
    }
}

/// What the host says about how it keeps cryptlets from itself.
fn claims(container: &dyn Container) -> Vec<Claim> {
    let claims = container.claims().into_iter();
    claims.map(|(name, value)| Claim { name: name.to_owned(), value }).collect()
}

/// Starts the engine that genesis names. An engine of several members gets its messages from the node's network.
fn start_engine(
    stack: Stack,
    genesis: &NetworkGenesis,
    identity: &Identity,
    network: Option<&MemberNetwork>,
    report: &Ended,
) -> Result<(EngineThread, Option<Beside>)> {
    let Stack { joining, cadence } = stack;
    if joining.agreement.engine != EngineName::Solo {
        let network = network.with_context(|| format!("ledger {} needs the network", joining.name))?;
        return join(joining, network, identity, report).map(|(engine, beside)| (engine, Some(beside)));
    }
    let Joining { name, ledger, machine, store, agreement, meter, misbehaviours, .. } = joining;
    if !identity.member.is_validator {
        bail!(
            "member {} does not validate, and the solo engine of ledger {name} has no network to follow it by",
            identity.member.name
        );
    }
    let validator = identity.keys.validator.clone();
    let parts = RunnerParts {
        ledger,
        machine,
        store,
        // A solo ledger keeps its validator: its certificates are complete before the votes in a block are counted.
        schedule: genesis.schedule(&agreement),
        proposer: validator.address(),
        certifier: Arc::new(Alone { validator }),
        meter,
        misbehaviours,
        gate: Arc::default(),
    };
    let engine = EngineThread::start(&name, parts, Box::new(Solo::new(cadence)), report.clone())?;
    Ok((engine, None))
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
