//! One ledger of several members: its engine on the network, and what stands beside the engine.

use crate::catchup::{Server, Serving, Subject, Times, Watch, catch_up};
use crate::certificates::{Certificates, CertificatesParts, ReadHeader, token_header_link};
use crate::engines::{Ended, EngineThread};
use crate::genesis::Agreement;
use crate::gossip::{Gossip, GossipThread, Pool};
use crate::governance::ProtocolGuard;
use crate::identity::Identity;
use crate::metrics::{CountedLine, LedgerMeter, Meters, PeerNames};
use crate::misbehaviour::Misbehaviours;
use crate::network::{MemberNetwork, engine_of, seal_check};
use crate::runner::RunnerParts;
use anyhow::{Context, Result};
use bletchley_consensus::{Protocol, Schedule};
use bletchley_cryptlet::keys::Signer;
use bletchley_evm::{ClaimedTx, EvmLedger};
use bletchley_ledger::{Machine, SharedStore};
use bletchley_net::Circle;
use bletchley_primitives::{Address, Bytes, LedgerId, keccak256};
use bletchley_tendermint::Counters;
use bletchley_token::{TokenMachine, Transaction};
use std::sync::Arc;

/// What a ledger brings to the network.
pub(crate) struct Joining {
    pub(crate) name: String,
    pub(crate) ledger: LedgerId,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) store: SharedStore,
    pub(crate) agreement: Agreement,
    pub(crate) schedule: Arc<dyn Schedule>,
    /// Who hears of it.
    pub(crate) circle: Circle,
    pub(crate) kind: Kind,
    pub(crate) meter: Arc<LedgerMeter>,
    /// Counts what passes on the network, by the names of members.
    pub(crate) counting: (Arc<Meters>, PeerNames),
    pub(crate) misbehaviours: Arc<Misbehaviours>,
    pub(crate) protocol: ProtocolGuard,
}

/// What depends on the ledger's machine. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Kind {
    /// A smart-contract ledger.
    Evm(EvmLedger),
    /// A token ledger.
    Tokens(Arc<TokenMachine>),
}

impl Kind {
    pub(crate) fn pool(&self) -> Arc<dyn Pool> {
        match self {
            Self::Evm(ledger) => Arc::new(EvmPool(ledger.clone())),
            Self::Tokens(machine) => Arc::new(TokenPool(machine.clone())),
        }
    }

    pub(crate) fn on_local(&self, listener: impl Fn(&[ClaimedTx]) + Send + Sync + 'static) {
        match self {
            Self::Evm(ledger) => ledger.on_local(listener),
            Self::Tokens(machine) => machine.on_local(move |raws| {
                listener(&raws.iter().map(|raw| (raw.clone(), None)).collect::<Vec<_>>());
            }),
        }
    }

    pub(crate) const fn read_header(&self) -> ReadHeader {
        match self {
            Self::Evm(_) => bletchley_evm::header_link,
            Self::Tokens(_) => token_header_link,
        }
    }
}

struct EvmPool(EvmLedger);

impl Pool for EvmPool {
    fn admit(&self, raws: Vec<ClaimedTx>) -> Vec<usize> {
        self.0.submit_claimed(raws).1
    }

    fn announce(&self, txs: &[ClaimedTx]) {
        self.0.note_claims(txs);
    }

    fn waits(&self, raw: &Bytes) -> bool {
        self.0.is_pooled(&keccak256(raw))
    }
}

struct TokenPool(Arc<TokenMachine>);

impl Pool for TokenPool {
    // Claims are made for no token transaction, which may have several signers, and looked at for none.
    fn admit(&self, raws: Vec<ClaimedTx>) -> Vec<usize> {
        let raws: Vec<Bytes> = raws.into_iter().map(|(raw, _)| raw).collect();
        drop(self.0.submit_from_peers(&raws));
        Vec::new()
    }

    fn announce(&self, _: &[ClaimedTx]) {}

    fn waits(&self, raw: &Bytes) -> bool {
        let Ok((id, _)) = Transaction::decode_bytes(self.0.ledger(), raw) else { return false };
        matches!(self.0.transaction(id), Ok(Some(status)) if status.is_waiting())
    }
}

/// A ledger on the network, beside its engine.
pub(crate) struct Beside {
    gossiping: GossipThread,
    serving: Serving,
    watch: Watch,
    pub(crate) certificates: Arc<Certificates>,
    /// Lines that nothing listens on yet.
    pub(crate) lines: Vec<CountedLine>,
    /// What the engine counts; simplex has metrics of its own.
    pub(crate) counters: Option<Arc<Counters>>,
}

impl Beside {
    /// The line of a protocol that nothing listens on yet.
    pub(crate) fn line(&mut self, protocol: Protocol) -> Option<CountedLine> {
        let at = self.lines.iter().position(|line| line.protocol == protocol)?;
        Some(self.lines.swap_remove(at))
    }

    pub(crate) fn stop(self) {
        self.gossiping.stop();
        drop(self.watch);
        drop(self.serving);
    }
}

/// A ledger that has caught up, and serves others.
struct Caught {
    serving: Serving,
    watch: Watch,
    /// The last epoch in which this member only follows.
    abstains: Option<u64>,
}

/// Serves other members, and takes in what this one misses.
fn come_up(joining: &Joining, network: &MemberNetwork, me: Address, sync: CountedLine) -> Result<Caught> {
    let Joining { name, ledger, machine, store, schedule, protocol, .. } = joining;
    let guard = protocol.clone();
    let subject = Subject {
        name: name.clone(),
        ledger: *ledger,
        machine: machine.clone(),
        store: store.clone(),
        schedule: schedule.clone(),
        read_header: joining.kind.read_header(),
        seal_holds: seal_check(joining.agreement.engine, *ledger, schedule.clone()),
        knows_rules: Arc::new(move |height| guard.check(height)),
        me,
        has_engine_files: network.has_engine_files(*ledger),
    };
    let server = Server::new(store.clone(), schedule.epoch_blocks());
    let (serving, exchange) = Serving::start(name, server, sync.post.clone())
        .with_context(|| format!("starting to serve ledger {name}"))?;
    sync.listen(exchange.clone());
    let abstains = catch_up(&subject, &exchange, network.desk(), Times::default())?.abstains_through;
    let desk = network.desk().clone();
    let watch = Watch::start(name, exchange, machine.clone(), schedule.clone(), desk)
        .with_context(|| format!("starting to watch ledger {name}"))?;
    Ok(Caught { serving, watch, abstains })
}

/// Puts a ledger on the network and starts its engine there.
///
/// # Errors
/// What keeps it from starting.
pub(crate) fn join(
    joining: Joining,
    network: &MemberNetwork,
    identity: &Identity,
    report: &Ended,
) -> Result<(EngineThread, Beside)> {
    let name = joining.name.clone();
    let joined = network.join(joining.ledger, &joining.circle);
    let mut ports = joined.with_context(|| format!("ledger {name}"))?;
    let (meters, names) = &joining.counting;
    let counted = |line| CountedLine::new(line, meters, names);
    let mut lines: Vec<CountedLine> = std::mem::take(&mut ports.lines).into_iter().map(counted).collect();
    let mut line = |protocol: Protocol| {
        let at = lines.iter().position(|line| line.protocol == protocol);
        at.map(|at| lines.swap_remove(at))
            .with_context(|| format!("ledger {name} has no line for {}", protocol.name()))
    };
    let (transactions, checkpoints) = (line(Protocol::Transactions)?, line(Protocol::Checkpoints)?);
    let validator = identity.keys.validator.clone();
    let sync = line(Protocol::Sync)?;
    let Caught { serving, watch, abstains } = come_up(&joining, network, validator.address(), sync)?;
    let Joining { ledger, machine, store, agreement, schedule, kind, meter, misbehaviours, protocol, .. } =
        joining;
    let (engine, counters) = engine_of(agreement, ledger, schedule.clone(), ports, abstains)?;
    let certificates = Certificates::open(CertificatesParts {
        ledger,
        schedule: schedule.clone(),
        store: store.clone(),
        read_header: kind.read_header(),
        validator: validator.clone(),
        post: checkpoints.post.clone(),
    })?;
    let certificates = Arc::new(certificates);
    serving.server().certified_by(certificates.clone());
    checkpoints.listen_to(certificates.clone());
    let gossip = Gossip::new(transactions.post.clone(), kind.pool());
    transactions.listen_to(gossip.clone());
    let gossiping = gossip.start(&name).with_context(|| format!("starting the gossip of ledger {name}"))?;
    // The machine must not keep alive what keeps the machine.
    let offering = Arc::downgrade(&gossip);
    kind.on_local(move |raws| {
        if let Some(gossip) = offering.upgrade() {
            gossip.offer(raws);
        }
    });
    let parts = RunnerParts {
        ledger,
        machine,
        store,
        schedule,
        certifier: certificates.clone(),
        proposer: validator.address(),
        gate: Arc::default(),
        misbehaviours,
        protocol,
        meter,
    };
    let engine = EngineThread::start(&name, parts, engine, report.clone())?;
    Ok((engine, Beside { gossiping, serving, watch, certificates, lines, counters }))
}
