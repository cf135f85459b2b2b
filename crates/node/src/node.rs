//! A node: its ledgers, engines, fabric and interfaces, from start to orderly stop.

use crate::accounts::dev_keys;
use crate::bootstrap::{self, Bootstrapping, MembersNow};
use crate::calls::hosts_of;
use crate::certificates::Ticking;
use crate::client::Running;
use crate::clock::{ClockWatch, address_again, start_again};
use crate::containers::Cryptlets;
use crate::data::DataDir;
use crate::dev::Steering;
use crate::engines::{EngineThread, Folding};
use crate::genesis::NetworkGenesis;
use crate::governance::Governance;
use crate::identity::Identity;
use crate::joined::Beside;
use crate::ledgers::{Engines, Ledgers};
use crate::network::{MemberNetwork, Settling};
use crate::output::Output;
use crate::status::Observatory;
use crate::stopping::Stopping;
use alloy_primitives::hex;
use anyhow::{Context, Result};
use bletchley_api::rest;
use bletchley_api::{ApiContext, DevMode, ServerHandle, serve};
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
    network: Option<Arc<MemberNetwork>>,
    settling: Option<Settling>,
    calls: Option<Arc<Calls>>,
    beside: Vec<Beside>,
    ticking: Ticking,
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
        let listener = runtime.block_on(listen(address_again(config.api)))?;
        progress("opening the ledgers");
        let ledgers = Ledgers::open(&config, &genesis, &identity)?;
        let (report, ended) = channel();
        let network = MemberNetwork::if_needed(&config, &genesis, &identity)?.map(Arc::new);
        if let Some(network) = &network {
            progress("connecting with the other members");
            network.follow_standing(&ledgers.governance);
            let members: Vec<Member> = ledgers.governance.standing().active().cloned().collect();
            network.await_quorum(&members);
        }
        let mut engines = ledgers.start_engines(&genesis, &identity, network.as_deref(), &report)?;
        let governance = ledgers.governance.clone();
        let members: MembersNow = Arc::new(move || governance.standing().active().cloned().collect());
        let parts = ledgers.bootstrap_parts(&identity, members.clone());
        let calls = engines.start_calls(&ledgers, &members(), &parts)?;
        engines.close_unused_lines();
        let ticking = Ticking::start(engines.certificates())?;
        if let Some(network) = &network {
            follow_members(network, &ledgers.governance, calls.clone());
        }
        let settling = match &network {
            Some(network) => {
                Some(Settling::start(network.clone(), ledgers.governance.clone(), ledgers.validating()?)?)
            }
            None => None,
        };
        let bootstrapping = Bootstrapping::start(parts, progress)?;
        engines.token_cadence.set(genesis.agreements.tokens.cadence());
        engines.tokens.signals.wake();
        bootstrap::warm_up(ledgers.host.clone(), ledgers.registry.clone())?;
        let dev = genesis.dev.then(|| DevMode {
            accounts: dev_keys(),
            control: Arc::new(Steering::new(ledgers.evm.clone(), engines.evm_cadence.clone(), &engines.evm)),
        });
        let admin_token = random_token()?;
        let publisher = ledgers.publisher(&identity, data)?;
        let rest = rest::router(ledgers.rest_context(&genesis, &identity, &engines, &admin_token, publisher));
        let mut sources = ledgers.alone(&genesis, &identity);
        sources.unregistered = bootstrapping.missing();
        if let Some(network) = &network {
            network.report_to(&mut sources, &ledgers.governance);
        }
        let observatory = ledgers.observatory(&genesis, sources, &engines);
        observatory.watch()?;
        let mut options = ledgers.api_options(dev, &engines);
        options.operation = observatory.operation("evm");
        let context = ApiContext::new(ledgers.evm.clone(), ledgers.listeners.feed.clone(), options);
        let server = runtime.block_on(async { serve(listener, context, vec![rest]) })?;
        let running = Running::at(server.address(), &identity.member.name, config.p2p, admin_token);
        running.write(data)?;
        let folding = Folding::start(vec![ledgers.token_store.clone(), ledgers.evm_store.clone()])?;
        let Engines { tokens, evm, beside_tokens, beside_evm, .. } = engines;
        Ok(Self {
            network,
            calls,
            settling,
            beside: beside_tokens.into_iter().chain(beside_evm).collect(),
            ticking,
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

    /// Runs until it is asked to stop, or until an engine can no longer keep blocks; then stops in order. When the
    /// computer's clock was set back it stops too, and the program starts again in this process.
    ///
    /// # Errors
    /// Why an engine ended by itself.
    pub fn run_until_stopped(self, stopping: &Stopping, output: Output) -> Result<()> {
        let clock = (!self.genesis.dev).then(ClockWatch::new);
        let why = self.runtime.block_on(stop_asked(stopping, &self.ended, clock))?;
        let address = self.server.address();
        output.progress("stopping");
        self.stop();
        match why {
            Why::Asked => Ok(()),
            Why::Failed(error) => Err(error.into()),
            Why::ClockSetBack => {
                tracing::warn!("node.clock: the computer's clock was set back; the node starts again");
                Err(start_again(address))
            }
        }
    }

    /// Stops everything in order: no new requests, no new blocks, no new calls.
    pub fn stop(self) {
        let Self { config, ledgers, engines, bootstrapping, folding, observatory, server, runtime, .. } =
            self;
        let (network, beside, ticking) = (self.network, self.beside, self.ticking);
        runtime.block_on(server.shutdown());
        bootstrapping.stop();
        engines.into_iter().for_each(EngineThread::stop);
        if let Some(settling) = self.settling {
            settling.stop();
        }
        beside.into_iter().for_each(Beside::stop);
        ticking.stop();
        ledgers.fabric.stop();
        if let Some(calls) = self.calls {
            calls.stop();
        }
        folding.stop();
        observatory.stop();
        if let Some(network) = network.and_then(Arc::into_inner) {
            network.stop();
        }
        let _ = std::fs::remove_file(config.data.running());
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
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
    ClockSetBack,
}

/// Waits for the question to stop, an engine's end, or a clock that is set back.
async fn stop_asked(
    stopping: &Stopping,
    ended: &Receiver<Result<(), EngineError>>,
    mut clock: Option<ClockWatch>,
) -> Result<Why> {
    loop {
        tokio::select! {
            () = stopping.asked() => return Ok(Why::Asked),
            () = tokio::time::sleep(ENGINE_CHECK_INTERVAL) => {
                if let Ok(result) = ended.try_recv() {
                    return Ok(result.err().map_or(Why::Asked, Why::Failed));
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
