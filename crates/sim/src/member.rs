//! A member that runs: its stores, machines, runners and engines, on the seeded runtime.

use crate::broken::{BrokenRunner, Bug, ForgetfulDisk};
use crate::chronicle::{Chronicle, Watched, WatchedPost};
use crate::consortium::{Roll, TOKENS, token_genesis};
use crate::liar::Liar;
use crate::noise::{self, Remembered, Remembering};
use crate::plan::{Agreement, LEDGERS, Misbehaviour};
use bletchley_consensus::{Application, PeerId, Post, Protocol, Receive, Schedule};
use bletchley_crypto::SecretKey;
use bletchley_evm::{EvmBlock, EvmLedger, Genesis as EvmGenesis, MinedReceipt, Observer, RecoveredTx};
use bletchley_ledger::{
    Anchor, Answer, Call, Delegate, DelegationRecord, Head, Machine, Place, RecordError, Refusal,
    SharedStore, SignedReceipt,
};
use bletchley_net::{Circle, EngineChannels, Hub, Pair, listen, post};
use bletchley_node::governance::{EVM_LEDGER, Governance};
use bletchley_node::parts::{Assembled, Ledger, Parts};
use bletchley_primitives::LedgerId;
use bletchley_simplex::Settings;
use bletchley_storage::conformance::Numbers;
use bletchley_storage::{Disk, Options, SegmentStore};
use bletchley_tendermint::stack::Channels;
use bletchley_token::TokenMachine;
use commonware_cryptography::Signer as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::simulated;
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock as _, Handle, Spawner as _, Supervisor as _};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot};

/// Sender of a channel.
pub(crate) type Sender = simulated::Sender<PublicKey, Context>;
/// Receiver of a channel.
pub(crate) type Receiver = simulated::Receiver<PublicKey>;
type Control = simulated::Control<PublicKey, Context>;
type Manager = simulated::Manager<PublicKey, Context>;

/// How often gossip is sent and certificates are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Size at which a segment is followed by the next one: small, so that it happens.
const SEGMENT_SIZE_BYTES: u64 = 64 << 10;

/// What a member runs with.
pub(crate) struct Job {
    pub(crate) member: usize,
    pub(crate) body: usize,
    pub(crate) is_honest: bool,
    pub(crate) misbehaviour: Option<Misbehaviour>,
    pub(crate) bug: Bug,
    pub(crate) seed: u64,
    pub(crate) peer: PrivateKey,
    pub(crate) validator: SecretKey,
    pub(crate) disks: Vec<Arc<dyn Disk>>,
    pub(crate) circle: Circle,
    pub(crate) agreement: Agreement,
    pub(crate) roll: Roll,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) honest: Vec<PeerId>,
    pub(crate) evm_genesis: EvmGenesis,
    pub(crate) settings: Settings,
    pub(crate) control: Control,
    pub(crate) manager: Manager,
    /// What it said on its lines beside the engines, if it makes noise.
    pub(crate) remembered: Remembered,
}

/// A member that runs.
pub(crate) struct Running {
    pub(crate) tokens: Arc<TokenMachine>,
    pub(crate) evm: EvmLedger,
    pub(crate) assembled: Vec<Arc<Assembled>>,
    /// Who validates each ledger, as this member has it.
    pub(crate) schedules: [Arc<dyn Schedule>; LEDGERS],
    /// What the members decided; none where nothing is to be decided.
    pub(crate) governance: Option<Governance>,
}

impl Running {
    pub(crate) fn heads(&self) -> [Head; LEDGERS] {
        [self.tokens.head(), self.evm.head()]
    }
}

/// A member's task, and why it ended, once it did.
pub(crate) struct Life {
    pub(crate) handle: Handle<()>,
    pub(crate) running: Option<Running>,
    pub(crate) ended: Arc<Mutex<Option<String>>>,
}

/// Wakes the engine when transactions come.
#[derive(Clone)]
struct Waking {
    work: Arc<Notify>,
    agreement: Agreement,
}

impl Waking {
    /// As the engine wants to be woken.
    fn wake(&self) {
        match self.agreement {
            Agreement::Simplex => self.work.notify_waiters(),
            Agreement::Tendermint => self.work.notify_one(),
        }
    }
}

impl Observer for Waking {
    fn pooled(&self, _tx: &Arc<RecoveredTx>) {
        self.wake();
    }

    fn committed(&self, _block: &Arc<EvmBlock>, _receipts: &Arc<Vec<MinedReceipt>>) {}
}

/// The root ledger as anchors of EVM blocks see it.
pub(crate) struct RootLedger(pub(crate) Arc<TokenMachine>);

impl Delegate for RootLedger {
    fn poll(&self, call: &Call, place: &Place) -> Answer {
        Answer::Ready(Arc::new(SignedReceipt::refused(call, place, "nobody answers calls here")))
    }

    fn run(&self, _call: &Call, _place: &Place) -> Result<SignedReceipt, Refusal> {
        Err(Refusal::NoFabric)
    }

    fn anchor(&self) -> Anchor {
        let head = self.0.head();
        Anchor { ledger: TOKENS, height: head.height, block: head.hash }
    }

    fn check(&self, record: &DelegationRecord, _place: &Place) -> Result<(), RecordError> {
        let Anchor { ledger, height, block } = record.anchor;
        let header = self.0.header(height).ok().flatten();
        if ledger == TOKENS && header.is_some_and(|header| header.hash() == block) {
            Ok(())
        } else {
            Err(RecordError::Anchor { height })
        }
    }
}

/// What a ledger has on the network.
struct Ports {
    engine: EngineChannels<Sender>,
    transactions: (Arc<dyn Post>, Pair<Sender>),
    checkpoints: (Arc<dyn Post>, Pair<Sender>),
}

async fn join(hub: &mut Hub<Sender>, ledger: LedgerId, job: &Job) -> Result<Ports, String> {
    let joined = hub.join(ledger, &job.circle).await.map_err(|error| error.to_string())?;
    let mut beside = joined.beside;
    let mut line = |protocol: Protocol| {
        let at = beside.iter().position(|(of, _)| *of == protocol).ok_or("a channel is missing")?;
        let (_, pair) = beside.swap_remove(at);
        Ok::<_, String>((post(protocol, pair.0.clone()), pair))
    };
    let (transactions, checkpoints) = (line(Protocol::Transactions)?, line(Protocol::Checkpoints)?);
    Ok(Ports { engine: joined.engine, transactions, checkpoints })
}

/// A ledger, ready for its engine.
struct Ready {
    application: Arc<dyn Application>,
    assembled: Arc<Assembled>,
    schedule: Arc<dyn Schedule>,
    work: Arc<Notify>,
}

fn now_ms(context: &Context) -> u64 {
    let now = context.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Job {
    fn store(&self, ledger: usize) -> Result<SharedStore, String> {
        let disk = self.disks.get(ledger).cloned().ok_or("no disk")?;
        let broken = self.bug == Bug::SkippedSync && self.member == 0;
        let disk: Arc<dyn Disk> = if broken { Arc::new(ForgetfulDisk(disk)) } else { disk };
        let options = Options { segment_size_bytes: SEGMENT_SIZE_BYTES, ..Options::default() };
        Ok(Arc::new(SegmentStore::open_on(disk, options).map_err(|error| error.to_string())?))
    }

    /// The ledger behind the engine: honest and watched, or not.
    fn application(
        &self,
        ledger: usize,
        parts: (Arc<Assembled>, Arc<dyn Machine>, SharedStore),
    ) -> Arc<dyn Application> {
        let (assembled, machine, store) = parts;
        let inner = assembled.application();
        let mine = match self.bug {
            Bug::Credulous => true,
            Bug::ShownEarly | Bug::OwnBlock => self.member == 0,
            _ => false,
        };
        let inner: Arc<dyn Application> = if mine {
            Arc::new(BrokenRunner { bug: self.bug, inner, machine, store, held: Mutex::default() })
        } else {
            inner
        };
        match self.misbehaviour {
            Some(Misbehaviour::Silence) => Arc::new(Liar { inner, lies: None }),
            Some(Misbehaviour::Lies) => {
                Arc::new(Liar { inner, lies: Some(Mutex::new(Numbers::new(self.seed.wrapping_add(3)))) })
            }
            Some(Misbehaviour::Twins | Misbehaviour::Noise) => inner,
            None => {
                let (chronicle, member, honest) = (self.chronicle.clone(), self.member, self.honest.clone());
                Arc::new(Watched { inner, chronicle, member, ledger, honest })
            }
        }
    }

    fn watched(&self, inner: Arc<dyn Post>, ledger: usize) -> Arc<dyn Post> {
        if !self.is_honest {
            return self.remembering(inner);
        }
        let peer = bletchley_net::peer_id(&self.peer.public_key());
        Arc::new(WatchedPost { inner, chronicle: self.chronicle.clone(), member: self.member, ledger, peer })
    }

    fn parts(
        &self,
        number: usize,
        (ledger, store): (Ledger, SharedStore),
        schedule: Arc<dyn Schedule>,
        ports: &Ports,
    ) -> Parts {
        Parts {
            ledger,
            store,
            schedule,
            validator: Arc::new(self.validator.clone()),
            checkpoints: self.watched(ports.checkpoints.0.clone(), number),
            transactions: self.remembering(ports.transactions.0.clone()),
        }
    }

    fn remembering(&self, inner: Arc<dyn Post>) -> Arc<dyn Post> {
        if self.misbehaviour == Some(Misbehaviour::Noise) {
            return Arc::new(Remembering { inner, remembered: self.remembered.clone() });
        }
        inner
    }

    /// Says what no honest member says, if that is its way.
    fn make_noise(&self, context: &Context, ports: [&Ports; LEDGERS]) {
        if self.misbehaviour != Some(Misbehaviour::Noise) {
            return;
        }
        let channels = ports.into_iter().flat_map(|ports| {
            let EngineChannels { votes, certificates, resolver, backfill, blocks } = &ports.engine;
            let beside = [&ports.transactions.1, &ports.checkpoints.1];
            [votes, certificates, resolver, backfill, blocks].into_iter().chain(beside)
        });
        let channels: Vec<&Pair<Sender>> = channels.collect();
        noise::speak(context.child("noise"), &channels, self.remembered.clone(), self.seed);
    }

    fn waking(&self) -> Waking {
        Waking { work: Arc::default(), agreement: self.agreement }
    }

    fn ready_tokens(
        &self,
        ports: &Ports,
        now_ms: u64,
    ) -> Result<(Ready, Arc<TokenMachine>, Option<Governance>), String> {
        let store = self.store(0)?;
        let tokens = TokenMachine::open(token_genesis(), store.clone()).map_err(|error| error.to_string())?;
        let (tokens, waking) = (Arc::new(tokens), self.waking());
        let work = waking.work.clone();
        tokens.on_submit(move || waking.wake());
        let (schedule, governance): (Arc<dyn Schedule>, _) = match &self.roll {
            Roll::Fixed(schedule) => (Arc::new(schedule.clone()), None),
            Roll::Voted(genesis) => {
                let governance = Governance::open(tokens.clone(), genesis);
                let governance = governance.map_err(|error| error.to_string())?;
                (governance.schedule_for_root(), Some(governance))
            }
        };
        let parts = self.parts(0, (Ledger::Tokens(tokens.clone()), store.clone()), schedule.clone(), ports);
        let assembled = Arc::new(Assembled::open(parts, now_ms).map_err(|error| error.to_string())?);
        let application = self.application(0, (assembled.clone(), tokens.clone(), store));
        Ok((Ready { application, assembled, schedule, work }, tokens, governance))
    }

    fn ready_evm(
        &self,
        ports: &Ports,
        (root, governance): (Arc<TokenMachine>, Option<&Governance>),
        now_ms: u64,
    ) -> Result<(Ready, EvmLedger), String> {
        let (store, waking) = (self.store(1)?, self.waking());
        let (root, work) = (Arc::new(RootLedger(root)), waking.work.clone());
        let evm = EvmLedger::new(self.evm_genesis.clone(), store.clone(), root, Arc::new(waking));
        let evm = evm.map_err(|error| error.to_string())?;
        let schedule: Arc<dyn Schedule> = match (&self.roll, governance) {
            (Roll::Fixed(schedule), _) => Arc::new(schedule.clone()),
            (Roll::Voted(_), governance) => governance
                .and_then(|governance| governance.schedule_for(EVM_LEDGER, Arc::new(evm.clone())))
                .ok_or("the consortium has no smart-contract ledger")?,
        };
        let parts = self.parts(1, (Ledger::Evm(evm.clone()), store.clone()), schedule.clone(), ports);
        let assembled = Arc::new(Assembled::open(parts, now_ms).map_err(|error| error.to_string())?);
        let application = self.application(1, (assembled.clone(), evm.machine(), store));
        Ok((Ready { application, assembled, schedule, work }, evm))
    }

    async fn engine(
        &self,
        context: Context,
        ledger: (usize, LedgerId),
        ready: &Ready,
        channels: EngineChannels<Sender>,
    ) -> String {
        let partition = format!("member-{}-{}-ledger-{}", self.member, self.body, ledger.0);
        let (key, application) = (self.peer.clone(), ready.application.clone());
        let (schedule, work) = (ready.schedule.clone(), ready.work.clone());
        let ended = match self.agreement {
            Agreement::Simplex => {
                bletchley_simplex::stack::run(bletchley_simplex::stack::Parts {
                    context,
                    partition,
                    key,
                    ledger: ledger.1,
                    application,
                    schedule,
                    settings: self.settings,
                    work,
                    channels,
                    blocker: self.control.clone(),
                    peers: self.manager.clone(),
                })
                .await
            }
            Agreement::Tendermint => {
                let EngineChannels { votes, blocks, backfill, certificates, resolver } = channels;
                let Settings { pace, heartbeat, .. } = self.settings;
                let ended = bletchley_tendermint::stack::run(bletchley_tendermint::stack::Parts {
                    context,
                    partition,
                    key,
                    ledger: ledger.1,
                    application,
                    schedule,
                    settings: bletchley_tendermint::Settings::new(pace, heartbeat),
                    work,
                    channels: Channels { votes, blocks, backfill },
                    counters: Arc::default(),
                })
                .await;
                // Held until the end: a channel that is closed would look like a network that went away.
                drop((certificates, resolver));
                ended
            }
        };
        ended.err().map_or_else(|| "its engine ended".to_owned(), |error| error.to_string())
    }

    fn listen(
        &self,
        context: &Context,
        ready: &Ready,
        transactions: Pair<Sender>,
        checkpoints: Pair<Sender>,
    ) {
        let heard: [(Protocol, Pair<Sender>, Arc<dyn Receive>); 2] = [
            (Protocol::Transactions, transactions, ready.assembled.transactions()),
            (Protocol::Checkpoints, checkpoints, ready.assembled.checkpoints()),
        ];
        for (protocol, pair, receive) in heard {
            listen(context.child("listen"), protocol, pair.1, self.control.clone(), receive);
        }
        let assembled = ready.assembled.clone();
        context.child("tick").spawn(move |context| async move {
            loop {
                context.sleep(TICK).await;
                assembled.tick(now_ms(&context));
            }
        });
    }

    async fn live(
        self,
        context: Context,
        channels: Vec<(Sender, Receiver)>,
        tell: oneshot::Sender<Running>,
    ) -> Result<String, String> {
        let mut hub = Hub::start(&context, channels);
        let evm_id = self.evm_genesis.ledger_id();
        let (token_ports, evm_ports) =
            (join(&mut hub, TOKENS, &self).await?, join(&mut hub, evm_id, &self).await?);
        self.make_noise(&context, [&token_ports, &evm_ports]);
        let (token_ready, tokens, governance) = self.ready_tokens(&token_ports, now_ms(&context))?;
        let root = (tokens.clone(), governance.as_ref());
        let (evm_ready, evm) = self.ready_evm(&evm_ports, root, now_ms(&context))?;
        self.listen(&context, &token_ready, token_ports.transactions.1, token_ports.checkpoints.1);
        self.listen(&context, &evm_ready, evm_ports.transactions.1, evm_ports.checkpoints.1);
        let assembled = vec![token_ready.assembled.clone(), evm_ready.assembled.clone()];
        let schedules = [token_ready.schedule.clone(), evm_ready.schedule.clone()];
        let _ = tell.send(Running { tokens, evm, assembled, schedules, governance });
        let engines =
            [(0, TOKENS, &token_ready, token_ports.engine), (1, evm_id, &evm_ready, evm_ports.engine)];
        let [first, second] = engines.map(|(number, id, ready, channels)| {
            let context = context.child("ledger").with_attribute("number", number);
            Box::pin(self.engine(context, (number, id), ready, channels))
        });
        tokio::select! {
            biased;
            ended = first => Ok(ended),
            ended = second => Ok(ended),
        }
    }
}

impl Life {
    /// Starts a member; it runs when this returns, or has ended.
    pub(crate) async fn start(context: Context, job: Job, channels: Vec<(Sender, Receiver)>) -> Self {
        let ended = Arc::new(Mutex::new(None));
        let (tell, told) = oneshot::channel();
        let why = ended.clone();
        let handle = context.spawn(move |context| async move {
            let reason = job.live(context, channels, tell).await;
            *why.lock() = Some(reason.unwrap_or_else(|problem| problem));
        });
        Self { handle, running: told.await.ok(), ended }
    }

    /// Ends it, whatever it was doing.
    pub(crate) async fn end(self) {
        drop(self.running);
        self.handle.abort();
        let _ = self.handle.await;
    }
}
