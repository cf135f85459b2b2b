//! One ledger of this node: its store, its machine, its engine, and what stands beside the engine. Founding ledgers and
//! those that votes create are the same here.

use super::ground::Ground;
use crate::calls;
use crate::certificates::Certificates;
use crate::certifier::Alone;
use crate::data::DataDir;
use crate::engines::EngineThread;
use crate::genesis::Agreement;
use crate::governance::{Anchors, ProtocolGuard, ROOT_LEDGER, TokenAnchors};
use crate::joined::{Beside, Joining, Kind, join};
use crate::metrics::LedgerMeter;
use crate::network::Sharing;
use crate::observer::Listeners;
use crate::runner::RunnerParts;
use crate::signals::WallSignals;
use anyhow::{Context, Result, bail};
use bletchley_api::Feed;
use bletchley_consensus::{Cadence, CadenceHandle, Protocol, Schedule, Solo, epoch_of};
use bletchley_cryptlet::calls::Calls;
use bletchley_cryptlet::fabric::Fabric;
use bletchley_cryptlet::keys::Signer;
use bletchley_cryptlet::registry::{RegistryView, TokenRegistry};
use bletchley_evm::{EvmLedger, Genesis as EvmGenesis};
use bletchley_ledger::{Anchor, FinalityReader, Head, Machine, SharedStore, StoredFinality};
use bletchley_net::Circle;
use bletchley_primitives::LedgerId;
use bletchley_storage::{Options as StoreOptions, SegmentStore};
use bletchley_tendermint::Counters;
use bletchley_token::{Genesis as TokenGenesis, RootBlocks, TokenMachine};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What block 0 of a ledger is made of.
pub(crate) enum LedgerGenesis {
    /// A token ledger.
    Tokens(TokenGenesis),
    /// A smart-contract ledger.
    Evm(Box<EvmGenesis>),
}

impl LedgerGenesis {
    /// The ledger's identity.
    pub(crate) fn id(&self) -> LedgerId {
        match self {
            Self::Tokens(genesis) => genesis.ledger,
            Self::Evm(genesis) => genesis.ledger_id(),
        }
    }

    /// Whether blocks can be taken back: on development ledgers with contracts only.
    const fn is_rewindable(&self) -> bool {
        match self {
            Self::Tokens(_) => false,
            Self::Evm(genesis) => genesis.dev,
        }
    }
}

/// A ledger that is to be opened.
pub(crate) struct Plan {
    /// Its name in the consortium.
    pub(crate) name: String,
    /// What it starts from.
    pub(crate) genesis: LedgerGenesis,
    /// How it comes to its blocks.
    pub(crate) agreement: Agreement,
}

/// What a smart-contract ledger has beside its machine.
pub(crate) struct Contracts {
    /// Answers its delegated calls.
    pub(crate) fabric: Arc<Fabric>,
    /// Hears of its blocks and transactions.
    pub(crate) listeners: Arc<Listeners>,
}

/// A ledger whose engine runs.
struct Running {
    engine: EngineThread,
    /// What stands beside the engine of a ledger of several members.
    beside: Option<Beside>,
    /// Delegated calls between its members.
    calls: Option<Arc<Calls>>,
}

/// A ledger of this node.
pub(crate) struct Hosted {
    /// Its name in the consortium.
    pub(crate) name: String,
    /// Its identity.
    pub(crate) id: LedgerId,
    /// How it comes to its blocks.
    pub(crate) agreement: Agreement,
    /// Keeps its blocks.
    pub(crate) store: SharedStore,
    /// What it runs.
    pub(crate) kind: Kind,
    /// Only where it runs contracts.
    pub(crate) contracts: Option<Contracts>,
    /// Who validates when.
    pub(crate) schedule: Arc<dyn Schedule>,
    /// Who hears of it; none where no engine needs a network.
    pub(crate) circle: Option<Circle>,
    /// Pace of an engine that makes blocks on its own clock.
    pub(crate) cadence: CadenceHandle,
    /// Counts its blocks.
    pub(crate) meter: Arc<LedgerMeter>,
    /// Least time between blocks and longest silence, in milliseconds, as they were taken up last.
    pace: Mutex<(u64, u64)>,
    running: Mutex<Option<Running>>,
    /// Certificates, where they are gathered behind the blocks; there from the engine's start on.
    certificates: OnceLock<Arc<Certificates>>,
}

/// A ledger that is open, before anybody knows who validates it.
pub(crate) struct Opened {
    plan: Plan,
    store: SharedStore,
    kind: Kind,
    contracts: Option<Contracts>,
}

/// Opens the store of a ledger. Every ledger of a node comes through here before its machine reads the store, at the start
/// of the node and when a vote creates it: whatever must be in the store by then belongs here.
pub(super) fn open_store(data: &DataDir, plan: &Plan) -> Result<SharedStore> {
    let folder = data.ledger(&plan.name);
    let options = StoreOptions { rewindable: plan.genesis.is_rewindable(), ..StoreOptions::default() };
    let store =
        SegmentStore::open(&folder, options).with_context(|| format!("opening {}", folder.display()))?;
    Ok(Arc::new(store))
}

impl Opened {
    /// Opens the root ledger, on which everything else of a node stands.
    pub(super) fn root(data: &DataDir, plan: Plan) -> Result<Self> {
        let LedgerGenesis::Tokens(genesis) = &plan.genesis else {
            bail!("ledger {} is no token ledger", plan.name);
        };
        let store = open_store(data, &plan)?;
        let machine = TokenMachine::open(*genesis, store.clone());
        let machine = Arc::new(machine.with_context(|| opening(data, &plan))?);
        Ok(Self { kind: Kind::Tokens(machine), plan, store, contracts: None })
    }

    /// Opens any other ledger.
    ///
    /// # Errors
    /// What the store or the machine said.
    pub(crate) fn open(plan: Plan, ground: &Ground) -> Result<Self> {
        let genesis = match &plan.genesis {
            LedgerGenesis::Evm(genesis) => genesis,
            LedgerGenesis::Tokens(genesis) => {
                let store = open_store(&ground.data, &plan)?;
                let root = Arc::new(RootOf(ground.registry.clone()));
                let machine = TokenMachine::anchored(*genesis, store.clone(), root);
                let machine = Arc::new(machine.with_context(|| opening(&ground.data, &plan))?);
                return Ok(Self { kind: Kind::Tokens(machine), plan, store, contracts: None });
            }
        };
        let mut genesis = EvmGenesis::clone(genesis);
        genesis.archive |= ground.archive;
        let store = open_store(&ground.data, &plan)?;
        let (fabric, listeners) = (Arc::new(ground.fabric()?), Arc::<Listeners>::default());
        let ledger = EvmLedger::new(genesis, store.clone(), fabric.clone(), listeners.clone());
        let ledger = ledger.with_context(|| opening(&ground.data, &plan))?;
        Ok(Self { kind: Kind::Evm(ledger), plan, store, contracts: Some(Contracts { fabric, listeners }) })
    }

    /// Sets how it comes to its blocks: votes that the root ledger holds itself are known only once it is open.
    pub(super) const fn agree(&mut self, agreement: Agreement) {
        self.plan.agreement = agreement;
    }

    /// What it runs.
    pub(crate) const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The blocks of the root ledger that its own name.
    pub(crate) fn anchors(&self) -> Arc<dyn Anchors> {
        match &self.kind {
            Kind::Tokens(machine) => Arc::new(TokenAnchors(machine.clone())),
            Kind::Evm(ledger) => Arc::new(ledger.clone()),
        }
    }

    /// The ledger, now that it is known who validates it and who hears of it. Its engine does not run yet.
    pub(crate) fn hosted(
        self,
        schedule: Arc<dyn Schedule>,
        circle: Option<Circle>,
        meter: Arc<LedgerMeter>,
    ) -> Hosted {
        let Self { plan: Plan { name, genesis, agreement }, store, kind, contracts } = self;
        Hosted {
            id: genesis.id(),
            pace: Mutex::new((agreement.block_ms, agreement.heartbeat_ms)),
            cadence: CadenceHandle::new(agreement.cadence()),
            name,
            agreement,
            store,
            kind,
            contracts,
            schedule,
            circle,
            meter,
            running: Mutex::default(),
            certificates: OnceLock::new(),
        }
    }
}

/// The final blocks of the root ledger, for token ledgers beside it.
pub(crate) struct RootOf(pub(crate) Arc<TokenRegistry>);

impl RootBlocks for RootOf {
    fn newest(&self) -> Anchor {
        self.0.anchor()
    }

    fn is_final(&self, anchor: &Anchor) -> bool {
        RegistryView::is_final(&*self.0, anchor)
    }
}

fn opening(data: &DataDir, plan: &Plan) -> String {
    format!("opening ledger {} ({}) in {}", plan.name, plan.genesis.id(), data.root().display())
}

impl Hosted {
    /// The machine.
    pub(crate) fn machine(&self) -> Arc<dyn Machine> {
        match &self.kind {
            Kind::Tokens(machine) => machine.clone(),
            Kind::Evm(ledger) => ledger.machine(),
        }
    }

    /// The newest final block.
    pub(crate) fn head(&self) -> Head {
        match &self.kind {
            Kind::Tokens(machine) => machine.head(),
            Kind::Evm(ledger) => ledger.head(),
        }
    }

    /// Who hears of it, and who votes on its next block; none where nobody else is on it.
    pub(crate) fn sharing(&self) -> Option<Sharing> {
        let circle = self.circle.clone().filter(|_| !self.agreement.is_solo())?;
        let epoch = epoch_of(self.head().height.next(), self.schedule.epoch_blocks());
        let validators = self.schedule.validators(epoch);
        let validators = validators.iter().flat_map(|set| set.as_slice());
        let validators = validators.map(|validator| validator.peer).collect();
        Some(Sharing { ledger: self.name.clone(), circle, validators })
    }

    /// Starts the engine; one of several members gets its messages from the node's network.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(crate) fn start(&self, ground: &Ground) -> Result<()> {
        let (engine, beside) = if self.agreement.is_solo() {
            (self.start_alone(ground)?, None)
        } else {
            let (engine, beside) = self.start_joined(ground)?;
            let _ = self.certificates.set(beside.certificates.clone());
            (engine, Some(beside))
        };
        self.wake_by_work(&engine.signals);
        *self.running.lock() = Some(Running { engine, beside, calls: None });
        Ok(())
    }

    fn start_joined(&self, ground: &Ground) -> Result<(EngineThread, Beside)> {
        let network = ground.network().with_context(|| format!("ledger {} needs the network", self.name))?;
        let circle = self.circle.clone().with_context(|| format!("ledger {} has no circle", self.name))?;
        let joining = Joining {
            name: self.name.clone(),
            ledger: self.id,
            machine: self.machine(),
            store: self.store.clone(),
            agreement: self.agreement,
            schedule: self.schedule.clone(),
            circle,
            kind: self.kind.clone(),
            meter: self.meter.clone(),
            counting: (ground.meters.clone(), ground.names()),
            misbehaviours: ground.misbehaviours.clone(),
            protocol: self.protocol(ground),
        };
        join(joining, &network, &ground.identity, &ground.ended)
    }

    fn start_alone(&self, ground: &Ground) -> Result<EngineThread> {
        let member = &ground.identity.member;
        if !member.is_validator {
            bail!(
                "member {} does not validate, and the solo engine of ledger {} has no network to follow it by",
                member.name,
                self.name
            );
        }
        let validator = ground.identity.keys.validator.clone();
        let parts = RunnerParts {
            ledger: self.id,
            machine: self.machine(),
            store: self.store.clone(),
            schedule: self.schedule.clone(),
            proposer: validator.address(),
            certifier: Arc::new(Alone { validator }),
            meter: self.meter.clone(),
            misbehaviours: ground.misbehaviours.clone(),
            protocol: self.protocol(ground),
            gate: Arc::default(),
        };
        let engine = Box::new(Solo::new(self.cadence.clone()));
        EngineThread::start(&self.name, parts, engine, ground.ended.clone())
    }

    /// Keeps the root ledger, and with it every other one, from going on by rules that this program does not know.
    fn protocol(&self, ground: &Ground) -> ProtocolGuard {
        if self.name == ROOT_LEDGER { ground.governance.guard() } else { ProtocolGuard::default() }
    }

    /// Transactions and answered calls wake the engine.
    fn wake_by_work(&self, signals: &Arc<WallSignals>) {
        match &self.kind {
            Kind::Tokens(machine) => {
                let wake = signals.clone();
                machine.on_submit(move || wake.wake());
            }
            Kind::Evm(ledger) => {
                let Some(Contracts { fabric, listeners }) = &self.contracts else { return };
                let _ = listeners.engine.set(signals.clone());
                let (wake, ledger) = (signals.clone(), ledger.clone());
                fabric.on_ready(Arc::new(move |_| {
                    ledger.wake_deferred();
                    wake.wake();
                }));
            }
        }
    }

    /// Lets the fabric call other members' hosts on this ledger's own line; none where nobody else is on it. Lines that
    /// nothing listens on are let go of, so that what members send there is dropped at once.
    ///
    /// # Errors
    /// What the operating system said when it was asked for threads.
    pub(crate) fn start_calls(
        &self,
        ground: &Ground,
        wiring: calls::Wiring<'_>,
    ) -> Result<Option<Arc<Calls>>> {
        let mut running = self.running.lock();
        let Some(Running { beside: Some(beside), calls, .. }) = running.as_mut() else { return Ok(None) };
        if let Some(contracts) = &self.contracts
            && let Some(line) = beside.line(Protocol::Calls)
        {
            let started = calls::start(ground, &contracts.fabric, line.post.clone(), wiring)?;
            line.listen(started.clone());
            *calls = Some(started);
        }
        beside.lines.clear();
        Ok(calls.clone())
    }

    /// What wakes and steers the engine, while there is one.
    pub(crate) fn with_engine<T>(&self, read: impl FnOnce(&EngineThread) -> T) -> Option<T> {
        self.running.lock().as_ref().map(|running| read(&running.engine))
    }

    /// Whether the engine runs.
    pub(crate) fn is_running(&self) -> bool {
        self.with_engine(|engine| engine.alive.load(Ordering::Acquire)).unwrap_or(false)
    }

    /// Wakes the engine, which looks at its pace anew.
    pub(crate) fn wake(&self) {
        self.with_engine(|engine| engine.signals.wake());
    }

    /// Changes the pace of an engine that makes blocks on its own clock.
    pub(crate) fn set_cadence(&self, cadence: Cadence) {
        self.cadence.set(cadence);
        self.wake();
    }

    /// Takes up the pace that votes have set since the last look. An engine of several members asks for it at each block.
    pub(crate) fn follow_pace(&self, agreed: Agreement) {
        let pace = (agreed.block_ms, agreed.heartbeat_ms);
        let before = std::mem::replace(&mut *self.pace.lock(), pace);
        if before == pace {
            return;
        }
        tracing::info!(ledger = self.name, block_ms = pace.0, heartbeat_ms = pace.1, "ledgers.pace: by vote");
        self.set_cadence(agreed.cadence());
    }

    /// Delegated calls between its members.
    pub(crate) fn calls(&self) -> Option<Arc<Calls>> {
        self.running.lock().as_ref().and_then(|running| running.calls.clone())
    }

    /// What subscribers of a ledger with contracts hear.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        self.contracts.as_ref().map(|contracts| contracts.listeners.feed.clone()).unwrap_or_default()
    }

    /// Certificates, where they are gathered behind the blocks.
    pub(crate) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.get().cloned()
    }

    /// What the engine counts itself; simplex has metrics of its own.
    pub(crate) fn counters(&self) -> Option<Arc<Counters>> {
        self.running.lock().as_ref().and_then(|running| running.beside.as_ref()?.counters.clone())
    }

    /// What shows that its blocks are final.
    pub(crate) fn finality(&self) -> Arc<dyn FinalityReader> {
        match self.certificates() {
            Some(certificates) => certificates,
            None => Arc::new(StoredFinality::new(self.store.clone())),
        }
    }

    /// Ends the engine after the block that it is making.
    pub(crate) fn stop_engine(&self) -> Stopped {
        let Some(Running { engine, beside, calls }) = self.running.lock().take() else {
            return Stopped::default();
        };
        engine.stop();
        Stopped { beside, calls }
    }
}

/// What is left of a ledger whose engine has ended.
#[derive(Default)]
pub(crate) struct Stopped {
    beside: Option<Beside>,
    calls: Option<Arc<Calls>>,
}

impl Stopped {
    /// Ends the rest, the fabric's last.
    pub(crate) fn finish(self, ledger: &Hosted) {
        if let Some(beside) = self.beside {
            beside.stop();
        }
        if let Some(contracts) = &ledger.contracts {
            contracts.fabric.stop();
        }
        if let Some(calls) = self.calls {
            calls.stop();
        }
    }
}
