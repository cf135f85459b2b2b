//! This node on the consortium's network.

use crate::catchup::Desk;
use crate::genesis::{Agreement, EngineName, NetworkGenesis};
use crate::governance::Governance;
use crate::identity::Identity;
use crate::ledgers::{Ledgers, Roster};
use crate::node::NodeConfig;
use crate::status::{NodeSources, PeerStatus};
use anyhow::{Context, Result, bail};
use bletchley_consensus::{Engine, PeerId, Schedule, epoch_of};
use bletchley_consortium::{MEMBERS_MAX, Member};
use bletchley_net::Circle;
use bletchley_net::tcp::{Config, Network, Ports};
use bletchley_primitives::LedgerId;
use bletchley_simplex::{Settings, Simplex};
use bletchley_tendermint::{Counters, Tendermint};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Members beyond those of the genesis document for which the network's queues are allocated.
const NEWCOMERS_MAX: usize = 12;
/// How often it is looked who still validates.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for other validators at the start.
const GATHER_MAX: Duration = Duration::from_millis(1500);
/// How often it is looked whether they are there.
const GATHER_CHECK: Duration = Duration::from_millis(20);
/// Threads of network and engines.
const THREADS: usize = 1;

/// Who hears of a ledger, and who votes on its next block.
pub(crate) struct Sharing {
    /// Its name.
    pub(crate) ledger: String,
    /// Who hears of it now.
    pub(crate) circle: Circle,
    /// Who votes.
    pub(crate) validators: BTreeSet<PeerId>,
}

/// Calls [`MemberNetwork::settle`] now and then.
pub(crate) struct Settling {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Settling {
    /// Starts it; the circle is right on return.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(network: Arc<MemberNetwork>, governance: Governance, roster: Roster) -> Result<Self> {
        network.settle(&governance, &Ledgers::sharing(&roster));
        let (stop, stopped) = channel();
        let run = move || {
            while stopped.recv_timeout(SETTLE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                network.settle(&governance, &Ledgers::sharing(&roster));
            }
        };
        let thread = std::thread::Builder::new().name("members".to_owned()).spawn(run);
        Ok(Self { stop, thread: thread.context("starting a thread")? })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// The network, and who is on it.
pub(crate) struct MemberNetwork {
    network: Network,
    /// Members of the ledgers that everybody shares.
    everybody: Circle,
    /// Number of the newest set that nobody outside of it is needed for.
    settled: AtomicU64,
    /// Where ledgers that catch up report.
    desk: Arc<Desk>,
    /// Folder of the engines' own files.
    storage: PathBuf,
}

impl MemberNetwork {
    /// Goes on the network. Nobody is connected to until [`Self::follow`] says who the members are.
    ///
    /// # Errors
    /// A port that is taken, an endpoint that cannot be read.
    pub(crate) fn start(config: &NodeConfig, genesis: &NetworkGenesis, identity: &Identity) -> Result<Self> {
        let Some(listen) = config.p2p else {
            bail!(
                "this consortium has {} members, and no address is given to meet them on; name one as `p2p` under [listen]",
                genesis.members.len()
            );
        };
        let endpoint =
            |member: &Member| config.endpoints.get(&member.name).unwrap_or(&member.endpoint).clone();
        let others = genesis.members.iter().filter(|member| member.name != identity.member.name);
        let members_max = (genesis.members.len() + NEWCOMERS_MAX).min(MEMBERS_MAX);
        let network = Network::start(&Config {
            key: identity.keys.peer.clone(),
            consortium: genesis.digest().0,
            listen,
            endpoint: endpoint(&identity.member),
            known: others.map(|member| (member.peer(), endpoint(member))).collect(),
            members_max: NonZeroUsize::new(members_max).unwrap_or(NonZeroUsize::MIN),
            threads: THREADS,
            storage: config.data.consensus(),
        })
        .context("going on the consortium's network")?;
        let everybody = Circle::new(genesis.members.iter().map(Member::peer));
        Ok(Self {
            network,
            everybody,
            settled: AtomicU64::new(0),
            desk: Arc::new(Desk::new(config.replay, config.votes_at_once)),
            storage: config.data.consensus(),
        })
    }

    /// Goes on the network where an engine of the genesis document needs one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn if_needed(
        config: &NodeConfig,
        genesis: &NetworkGenesis,
        identity: &Identity,
    ) -> Result<Option<Self>> {
        let agreements = [genesis.agreements.tokens, genesis.agreements.evm];
        if agreements.iter().all(|agreement| agreement.engine == EngineName::Solo) {
            return Ok(None);
        }
        Self::start(config, genesis, identity).map(Some)
    }

    /// Lets the node's report ask the network.
    pub(crate) fn report_to(self: &Arc<Self>, sources: &mut NodeSources, governance: &Governance) {
        let network = Arc::downgrade(self);
        let connected = move || -> BTreeSet<PeerId> {
            network.upgrade().map(|network| network.connected().into_iter().collect()).unwrap_or_default()
        };
        sources.connected = Arc::new(connected.clone());
        let (me, governance) = (sources.me, governance.clone());
        sources.peers = Arc::new(move || {
            let connected = connected();
            let standing = governance.standing();
            let others = standing.active().filter(|member| member.peer() != me);
            others
                .map(|member| PeerStatus {
                    name: member.name.clone(),
                    peer: member.peer().to_string(),
                    connected: connected.contains(&member.peer()),
                    ..PeerStatus::default()
                })
                .collect()
        });
        let network = Arc::downgrade(self);
        sources.extra =
            Arc::new(move || network.upgrade().map(|network| network.metrics()).unwrap_or_default());
    }

    /// Says who the members are by the votes that this node knows.
    pub(crate) fn follow_standing(&self, governance: &Governance) {
        let since = governance.with_history(|history| history.changes().last()).unwrap_or_default();
        let members: Vec<Member> = governance.standing().active().cloned().collect();
        self.follow(since.0, &members);
    }

    /// Says who the members are since block `at` of the root ledger, which must be the one that changed it: members
    /// compare their sets by that number.
    ///
    /// Who was removed stays connected, and in the circle of [`Self::settle`], until the epochs end in which it
    /// validates: without it a member more could stop the very blocks that end them.
    pub(crate) fn follow(&self, at: u64, members: &[Member]) {
        self.track(at.saturating_mul(2), members);
    }

    /// Lets whoever validates no longer, and is no member, hear nothing more. To be called now and then.
    pub(crate) fn settle(&self, governance: &Governance, sharing: &[Sharing]) {
        let standing = governance.standing();
        let members: BTreeSet<PeerId> = standing.active().map(Member::peer).collect();
        let is_subset = |ledger: &str| standing.ledger(ledger).is_some_and(|record| record.spec.is_subset());
        let (mut everybody, mut is_settled) = (members.clone(), true);
        for Sharing { ledger, circle, validators } in sharing {
            is_settled &= validators.is_subset(&members);
            if is_subset(ledger) {
                let shared = standing.ledger_members(ledger).unwrap_or_default();
                let shared = shared.into_iter().map(Member::peer).chain(validators.iter().copied());
                circle.set(shared);
            } else {
                everybody.extend(validators);
            }
        }
        self.everybody.set(everybody);
        let since = governance.with_history(|history| history.changes().last()).unwrap_or_default();
        let index = since.0.saturating_mul(2).saturating_add(1);
        if is_settled && self.settled.swap(index, Ordering::AcqRel) != index {
            // The same members under a newer number: the set before the change is let go of.
            let members: Vec<Member> = standing.active().cloned().collect();
            self.track(index, &members);
        }
    }

    fn track(&self, index: u64, members: &[Member]) {
        let peers = |validators: bool| -> Vec<PeerId> {
            members.iter().filter(|member| member.is_validator == validators).map(Member::peer).collect()
        };
        self.network.track(index, &peers(true), &peers(false));
    }

    /// The circle of ledgers that all members share.
    pub(crate) fn everybody(&self) -> Circle {
        self.everybody.clone()
    }

    /// Puts a ledger on the network that a circle of members shares.
    ///
    /// # Errors
    /// When it is there already, or the network has ended.
    pub(crate) fn join(&self, ledger: LedgerId, circle: &Circle) -> Result<Ports> {
        Ok(self.network.join(ledger, circle)?)
    }

    /// Where ledgers that catch up report.
    pub(crate) const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Whether an engine has files of its own for a ledger: what it remembers of its votes.
    pub(crate) fn has_engine_files(&self, ledger: LedgerId) -> bool {
        let name = ledger.to_string();
        let names = std::fs::read_dir(&self.storage).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&name))
    }

    /// Waits a moment for the other validators: a proposal that is made before they are connected reaches nobody, and the
    /// first blocks would wait for time-outs instead.
    pub(crate) fn await_quorum(&self, members: &[Member]) {
        let deadline = Instant::now() + GATHER_MAX;
        let validators = || members.iter().filter(|member| member.is_validator);
        let others = validators().count().saturating_mul(2) / 3;
        while Instant::now() < deadline {
            let connected = self.network.connected();
            if validators().filter(|member| connected.contains(&member.peer())).count() >= others {
                return;
            }
            std::thread::sleep(GATHER_CHECK);
        }
    }

    /// Members that are connected now.
    pub(crate) fn connected(&self) -> Vec<PeerId> {
        self.network.connected()
    }

    /// The network's and the engines' own metrics, and what was counted while ledgers caught up.
    pub(crate) fn metrics(&self) -> String {
        format!("{}{}", self.desk.metrics(false), self.network.metrics())
    }

    pub(crate) fn stop(self) {
        self.network.stop();
    }
}

/// An engine, and what it counts of others' misbehaviour if it does.
type Counted = (Box<dyn Engine>, Option<Arc<Counters>>);

/// The engine of a ledger on the network, and what it counts where it counts itself. It only follows in the epochs up to
/// `abstains_through`.
///
/// # Errors
/// When genesis names an engine that needs no network.
pub(crate) fn engine_of(
    agreement: Agreement,
    ledger: LedgerId,
    schedule: Arc<dyn Schedule>,
    ports: Ports,
    abstains_through: Option<u64>,
) -> Result<Counted> {
    let Ports { context, key, oracle, engine, .. } = ports;
    let pace = Duration::from_millis(agreement.block_ms);
    let heartbeat = Duration::from_millis(agreement.heartbeat_ms);
    let (engine, counters): (Box<dyn Engine>, _) = match agreement.engine {
        EngineName::Simplex => {
            let settings = Settings { abstains_through, ..Settings::new(pace, heartbeat) };
            (Box::new(Simplex { context, key, ledger, schedule, settings, channels: engine, oracle }), None)
        }
        EngineName::Tendermint => {
            let settings = bletchley_tendermint::Settings::new(pace, heartbeat);
            let settings = bletchley_tendermint::Settings { abstains_through, ..settings };
            let (counters, channels): (Arc<Counters>, _) = (Arc::default(), engine);
            let counted = Some(counters.clone());
            (Box::new(Tendermint { context, key, ledger, schedule, settings, channels, counters }), counted)
        }
        EngineName::Solo => bail!("the solo engine has no use for a network"),
    };
    Ok((engine, counters))
}

/// What tells whether an engine's notes beside a block hold. The validators are those of the block's epoch, which is known
/// by the time the block comes.
pub(crate) fn seal_check(
    engine: EngineName,
    ledger: LedgerId,
    schedule: Arc<dyn Schedule>,
) -> crate::catchup::SealHolds {
    match engine {
        EngineName::Tendermint => Arc::new(move |height, digest, seal| {
            let validators = schedule.validators(epoch_of(height, schedule.epoch_blocks()));
            validators.is_some_and(|set| bletchley_tendermint::seal_holds(ledger, &set, height, digest, seal))
        }),
        EngineName::Simplex | EngineName::Solo => Arc::new(|_, digest, seal| seal == digest.as_slice()),
    }
}
