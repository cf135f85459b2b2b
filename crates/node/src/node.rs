//! A node: its ledgers, engines, fabric and interfaces, from start to orderly stop.

use crate::accounts::dev_keys;
use crate::bootstrap::{self, Bootstrapping, MembersNow};
use crate::calls::hosts_of;
use crate::catchup::{Desk, Door};
use crate::certificates::Ticking;
use crate::client::Running;
use crate::clock::{ClockWatch, address_again, start_again};
use crate::containers::Cryptlets;
use crate::data::DataDir;
use crate::dev::Steering;
use crate::engines::Folding;
use crate::genesis::NetworkGenesis;
use crate::governance::{EVM_LEDGER, Governance, ProtocolGuard};
use crate::identity::Identity;
use crate::ledgers::{Following, Footing, Ledgers, Shown};
use crate::network::{MemberNetwork, Settling};
use crate::output::Output;
use crate::status::{Observatory, Probed};
use crate::stopping::Stopping;
use alloy_primitives::hex;
use anyhow::{Context, Error, Result};
use bletchley_api::rest::{self, RestContext};
use bletchley_api::{ApiContext, ApiOptions, DevMode, ServerHandle, serve};
use bletchley_consensus::EngineError;
use bletchley_consortium::Member;
use bletchley_cryptlet::calls::Calls;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
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
    /// How cryptlets are run.
    pub cryptlets: Cryptlets,
    /// Execute every block when joining or coming back, instead of taking results over.
    pub replay: bool,
    /// Vote at once though this data is older than what was signed: somebody made sure that it does no harm.
    pub votes_at_once: bool,
}

/// A running node.
pub struct Node {
    config: NodeConfig,
    genesis: Arc<NetworkGenesis>,
    identity: Arc<Identity>,
    running: Running,
    ledgers: Ledgers,
    ended: Receiver<Result<(), EngineError>>,
    guard: ProtocolGuard,
    following: Following,
    bootstrapping: Bootstrapping,
    folding: Folding,
    observatory: Arc<Observatory>,
    server: ServerHandle,
    runtime: tokio::runtime::Runtime,
    network: Option<Arc<MemberNetwork>>,
    settling: Option<Settling>,
    ticking: Ticking,
}

impl Node {
    /// Opens what the data folder holds, starts everything, and returns when requests are answered.
    ///
    /// # Errors
    /// What keeps the node from starting, with what to do about it.
    pub fn start(config: NodeConfig, progress: &dyn Fn(&str)) -> Result<Self> {
        let data = &config.data;
        let genesis = Arc::new(NetworkGenesis::read(data)?);
        let identity = Arc::new(Identity::open(data, &genesis, config.member.as_deref())?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // The port comes first: a node that cannot be reached should not begin to make blocks.
        let listener = runtime.block_on(listen(address_again(config.api)))?;
        let names = [&*identity.member.name, &*genesis.name];
        let door = Door::on(listener, &config, &runtime, names, random_token()?)?;
        progress("opening the ledgers");
        let (ended_here, ended) = channel();
        let network = MemberNetwork::if_needed(&config, &genesis, &identity)?.map(Arc::new);
        let footing = Footing {
            config: &config,
            genesis: genesis.clone(),
            identity: identity.clone(),
            network: network.as_ref(),
            ended: ended_here,
        };
        let ledgers = Ledgers::open(footing)?;
        let governance = ledgers.ground.governance.clone();
        let guard = governance.guard();
        guard.check_next().map_err(Error::msg)?;
        if let Some(network) = &network {
            progress("connecting with the other members");
            connect(network, &governance);
        }
        door.while_starting(network.as_ref(), progress, || ledgers.start())?;
        let of = governance.clone();
        let members: MembersNow = Arc::new(move || of.standing().active().cloned().collect());
        let parts = ledgers.bootstrap_parts(members.clone());
        let calls = ledgers.start_calls(&members(), &parts)?;
        let ticking = Ticking::start(ledgers.roster.clone())?;
        if let Some(network) = &network {
            follow_members(network, &governance, calls);
        }
        let settle = |network: &Arc<MemberNetwork>| {
            Settling::start(network.clone(), governance.clone(), ledgers.roster.clone())
        };
        let settling = network.as_ref().map(settle).transpose()?;
        let bootstrapping = Bootstrapping::start(parts, progress)?;
        ledgers.settle_pace();
        bootstrap::warm_up(ledgers.ground.host.clone(), ledgers.ground.registry.clone())?;
        let mut sources = ledgers.alone();
        sources.unregistered = bootstrapping.missing();
        if let Some(network) = &network {
            network.report_to(&mut sources, &governance);
        }
        let extra = sources.extra.clone();
        let observatory = ledgers.observatory(sources);
        observatory.watch()?;
        let of = guard.clone();
        observatory.warn_of(Arc::new(move || of.warning().into_iter().collect()));
        let running = door.running().clone();
        let (following, context, rest) = interfaces(&ledgers, &observatory, extra, &running.admin_token)?;
        let server = runtime
            .block_on(async { anyhow::Ok(serve(door.give_way()?, context, vec![rest::router(rest)])?) })?;
        running.write(data)?;
        let folding = Folding::start(ledgers.roster.clone())?;
        Ok(Self {
            network,
            settling,
            ticking,
            config,
            genesis,
            identity,
            running,
            ledgers,
            ended,
            guard,
            following,
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
    pub fn genesis(&self) -> &NetworkGenesis {
        &self.genesis
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its data folder.
    #[must_use]
    pub const fn data(&self) -> &DataDir {
        &self.config.data
    }

    /// Runs until it is asked to stop, until an engine can no longer keep blocks, or until the next block follows rules that
    /// this program does not know; then stops in order. When the computer's clock was set back it stops too, and the program
    /// starts again in this process.
    ///
    /// # Errors
    /// Why it ended by itself.
    pub fn run_until_stopped(self, stopping: &Stopping, output: Output) -> Result<()> {
        let clock = (!self.genesis.dev).then(ClockWatch::new);
        let desk = self.network.as_ref().map(|network| network.desk().clone());
        let stopped = stop_asked(stopping, &self.ended, &self.guard, clock, desk);
        let why = self.runtime.block_on(stopped)?;
        let address = self.server.address();
        output.progress("stopping");
        self.stop();
        match why {
            Why::Asked => Ok(()),
            Why::Failed(error) => Err(error.into()),
            Why::Outdated(problem) => Err(Error::msg(problem)),
            Why::ClockSetBack => {
                tracing::warn!("node.clock: the computer's clock was set back; the node starts again");
                Err(start_again(address))
            }
            // The log has said so.
            Why::FellBehind => Err(start_again(address)),
        }
    }

    /// Stops everything in order: no new requests, no new blocks, no new calls.
    pub fn stop(self) {
        let Self { config, ledgers, bootstrapping, folding, observatory, server, runtime, .. } = self;
        let (network, ticking) = (self.network, self.ticking);
        runtime.block_on(server.shutdown());
        self.following.stop();
        bootstrapping.stop();
        let stopping = ledgers.stop_engines();
        if let Some(settling) = self.settling {
            settling.stop();
        }
        ticking.stop();
        stopping.finish();
        folding.stop();
        observatory.stop();
        if let Some(network) = network.and_then(Arc::into_inner) {
            network.stop();
        }
        let _ = std::fs::remove_file(config.data.running());
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
}

/// What the node's interfaces reach: the founding ledgers, and with them those that votes created, which are started here
/// because each of them has interfaces of its own.
fn interfaces(
    ledgers: &Ledgers,
    observatory: &Arc<Observatory>,
    extra: Probed<String>,
    admin_token: &str,
) -> Result<(Following, ApiContext, RestContext)> {
    let dev = if ledgers.ground.genesis.dev { steering(ledgers) } else { None };
    let rest = ledgers.rest_context(admin_token)?;
    let mut options = ledgers.api_options(dev);
    let shown = Shown {
        observatory: observatory.clone(),
        extra,
        mounts: options.ledgers.clone(),
        rest: rest.clone(),
        options: ApiOptions { dev: None, ..options.clone() },
    };
    let following = Following::start(&ledgers.ground, &ledgers.roster, shown)?;
    options.operation = observatory.operation(EVM_LEDGER);
    let context = ApiContext::new(ledgers.evm.clone(), ledgers.contracts.feed(), options);
    Ok((following, context, rest))
}

/// What a development ledger lets its user steer.
fn steering(ledgers: &Ledgers) -> Option<DevMode> {
    let (evm, cadence) = (ledgers.evm.clone(), ledgers.contracts.cadence.clone());
    let steering = ledgers.contracts.with_engine(|engine| Steering::new(evm, cadence, engine))?;
    Some(DevMode { accounts: dev_keys(), control: Arc::new(steering) })
}

/// Goes to the members that this node knows of, and waits a moment for them.
fn connect(network: &MemberNetwork, governance: &Governance) {
    network.follow_standing(governance);
    let members: Vec<Member> = governance.standing().active().cloned().collect();
    network.await_quorum(&members);
}

/// Tells the network and the calls between members who the members are whenever a vote changes it.
fn follow_members(network: &Arc<MemberNetwork>, governance: &Governance, calls: Option<Arc<Calls>>) {
    let network = Arc::downgrade(network);
    governance.on_change(move |change| {
        let members: Vec<Member> = change.after.active().cloned().collect();
        for gone in change.before.active().filter(|member| !members.iter().any(|other| other.name == member.name)) {
            tracing::warn!(member = gone.name, height = %change.height, "node.members: removed by vote; it is cut off when its last epoch ends");
        }
        if let Some(network) = network.upgrade() {
            network.follow(change.height.0, &members);
        }
        if let Some(calls) = &calls {
            calls.set_members(hosts_of(&members));
        }
    });
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!(
            "listening on {address}; is another node there? choose other ports with --port-base, or in the member's \
             configuration"
        )
    })
}

/// Why a node stops.
enum Why {
    Asked,
    Failed(EngineError),
    Outdated(String),
    ClockSetBack,
    FellBehind,
}

/// Waits for the question to stop, an engine's failure, rules that this program does not know, or a clock that is set back.
async fn stop_asked(
    stopping: &Stopping,
    ended: &Receiver<Result<(), EngineError>>,
    guard: &ProtocolGuard,
    mut clock: Option<ClockWatch>,
    desk: Option<Arc<Desk>>,
) -> Result<Why> {
    loop {
        tokio::select! {
            () = stopping.asked() => return Ok(Why::Asked),
            () = tokio::time::sleep(ENGINE_CHECK_INTERVAL) => {
                // Before what engines say: an engine that meets the unknown rules first would say less.
                if let Err(problem) = guard.check_next() {
                    return Ok(Why::Outdated(problem));
                }
                // An engine that was asked to end, because a vote ended its ledger here, says that nothing is wrong.
                while let Ok(result) = ended.try_recv() {
                    if let Err(error) = result {
                        return Ok(Why::Failed(error));
                    }
                }
                if desk.as_ref().is_some_and(|desk| desk.fell_behind()) {
                    return Ok(Why::FellBehind);
                }
                if clock.as_mut().is_some_and(ClockWatch::was_set_back) {
                    return Ok(Why::ClockSetBack);
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
