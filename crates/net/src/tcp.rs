//! The network on sockets: one thread pool for a node, with commonware's runtime on it.

use crate::hub::{HubError, LedgerChannels};
use crate::{CHANNELS, Circle, EngineChannels, Hub, InsideReceiver, PeerKey, listen, post, public_key};
use bletchley_consensus::{PeerId, Post, Protocol, Receive};
use bletchley_primitives::LedgerId;
use commonware_cryptography::ChaCha20Poly1305;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::authenticated::discovery;
use commonware_p2p::utils::mux::SubReceiver;
use commonware_p2p::{Ingress, Manager as _, TrackedPeers};
use commonware_runtime::{Metrics as _, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_utils::hostname::Hostname;
use commonware_utils::ordered::Set;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// Runtime of the node's network and engines.
pub type Context = tokio::Context;
/// Sender of a channel.
pub type Sender = discovery::Sender<PublicKey, Context>;
/// Manager and blocker of peers.
pub type Oracle = discovery::Oracle<PublicKey>;

/// Longest message on any channel: a block of the largest size, with what frames it.
pub const MESSAGE_SIZE_BYTES_MAX: u32 = 30 << 20;
/// Peer sets that stay connected while a newer one is already known.
const TRACKED_SETS: usize = 2;
/// Messages that wait in each of the network's own queues.
const MAILBOX_MESSAGES: usize = 256;
/// How far two members' clocks may lie apart for a handshake to succeed.
const SYNCHRONY_BOUND: Duration = Duration::from_secs(30);
/// How old a handshake may be: a recorded one is worthless afterwards.
const HANDSHAKE_AGE_MAX: Duration = Duration::from_secs(10);
/// How often a member that is not connected is dialled.
const DIAL_INTERVAL: Duration = Duration::from_millis(250);
/// How often members tell each other whom they know.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which a connection that was lost may be made again.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// Silence after which a connection counts as lost. Members that live say something every [`GOSSIP_INTERVAL`].
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// How long tasks are waited for when the network ends. Whatever must last is durable before it is acted upon.
const STOP_TASKS: Duration = Duration::from_millis(250);
/// How long a peer that sent nonsense is cut off.
const CUT_OFF: Duration = Duration::from_secs(60);

/// What a node needs to be on the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its key.
    pub key: PeerKey,
    /// Digest of the genesis document: members of another consortium are strangers.
    pub consortium: [u8; 32],
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it: `name:port` or `ip:port`.
    pub endpoint: String,
    /// Members whose endpoints are known from the start.
    pub known: Vec<(PeerId, String)>,
    /// Most members of the consortium. Queues are allocated for so many.
    pub members_max: NonZeroUsize,
    /// Threads of network and engines.
    pub threads: usize,
    /// Folder of the engines' own files.
    pub storage: PathBuf,
}

/// Why a node is not on the network.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An endpoint cannot be read.
    #[error("{0:?} is no endpoint: write a host name or address, a colon and a port")]
    Endpoint(String),
    /// The port is taken, or not ours to take.
    #[error("listening for members on {address}: {source}; is another node there?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system gave no thread.
    #[error("starting the network's threads: {0}")]
    Thread(std::io::Error),
    /// The network ended while it started.
    #[error("the network ended while it started; the log says why")]
    Ended,
}

/// A node on the network.
pub struct Network {
    context: Context,
    hub: Hub<Sender>,
    oracle: Oracle,
    key: PeerKey,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a ledger gets from the network.
pub struct Ports {
    /// Where its tasks run.
    pub context: Context,
    /// The node's key.
    pub key: PrivateKey,
    /// Manager and blocker of peers.
    pub oracle: Oracle,
    /// What its engine speaks on.
    pub engine: EngineChannels<Sender>,
    /// Everything beside the engine, in the order of [`Protocol::ALL`].
    pub lines: Vec<Line>,
}

/// One protocol of one ledger.
pub struct Line {
    /// Which one.
    pub protocol: Protocol,
    /// Sends on it.
    pub post: Arc<dyn Post>,
    context: Context,
    oracle: Oracle,
    receiver: InsideReceiver<SubReceiver<PublicKey>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Line {
    /// Gives every message on it to `receive` until the network ends.
    pub fn listen(self, receive: Arc<dyn Receive>) {
        let Self { protocol, context, oracle, receiver, .. } = self;
        drop(listen(context.child("line"), protocol, receiver, oracle, receive));
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

fn ingress(endpoint: &str) -> Result<Ingress, StartError> {
    if let Ok(address) = endpoint.parse::<SocketAddr>() {
        return Ok(Ingress::Socket(address));
    }
    let unreadable = || StartError::Endpoint(endpoint.to_owned());
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(unreadable)?;
    let host = Hostname::new(host).map_err(|_| unreadable())?;
    Ok(Ingress::Dns { host, port: port.parse().map_err(|_| unreadable())? })
}

type Handshake = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

fn discovery_config(config: &Config) -> Result<discovery::Config<Handshake>, StartError> {
    let handshake = Cups::new(
        Sake {
            signer: config.key.signer(),
            synchrony_bound: SYNCHRONY_BOUND,
            max_handshake_age: HANDSHAKE_AGE_MAX,
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let mut known = Vec::new();
    for (peer, endpoint) in &config.known {
        if let Some(key) = public_key(*peer).filter(|_| *peer != config.key.id()) {
            known.push((key, ingress(endpoint)?));
        }
    }
    let mut namespace = b"bletchley/net/1/".to_vec();
    namespace.extend_from_slice(&config.consortium);
    // Consortia run in private networks as often as on the open one; strangers are refused by their keys, not by address.
    let mut discovery = discovery::Config::local(
        handshake,
        &namespace,
        config.listen,
        ingress(&config.endpoint)?,
        known,
        config.members_max,
        MESSAGE_SIZE_BYTES_MAX,
        NonZeroUsize::new(MAILBOX_MESSAGES).unwrap_or(NonZeroUsize::MIN),
    );
    discovery.synchrony_bound = SYNCHRONY_BOUND;
    discovery.dial_frequency = DIAL_INTERVAL;
    discovery.gossip_bit_vec_frequency = GOSSIP_INTERVAL;
    discovery.peer_connection_cooldown = RECONNECT_AFTER;
    discovery.tracked_peer_sets = NonZeroUsize::new(TRACKED_SETS).unwrap_or(NonZeroUsize::MIN);
    discovery.block_duration = CUT_OFF;
    Ok(discovery)
}

impl Network {
    /// Goes on the network. Nobody is known until [`Network::track`] is called.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Self, StartError> {
        // The library panics on a port that is taken; it is asked for here first.
        let address = config.listen;
        drop(std::net::TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?);
        let discovery = discovery_config(config)?;
        let runner = tokio::Runner::new(
            tokio::Config::new()
                .with_worker_threads(config.threads.max(1))
                .with_read_write_timeout(SILENCE_MAX)
                .with_storage_directory(&config.storage),
        );
        let (send, started) = sync_channel(1);
        let run = move || {
            runner.start(async move |context| {
                let (mut network, oracle) = discovery::Network::new(context.child("network"), discovery);
                let channels: Vec<_> =
                    (0u64..).zip(CHANNELS).map(|(n, channel)| network.register(n, channel.quota())).collect();
                network.start();
                let hub = Hub::start(&context, channels);
                let stopped = context.stopped();
                let _ = send.send((context, hub, oracle));
                let _ = stopped.await;
            });
        };
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(run);
        let thread = thread.map_err(StartError::Thread)?;
        let (context, hub, oracle) = started.recv().map_err(|_| StartError::Ended)?;
        Ok(Self { context, hub, oracle, key: config.key.clone(), thread: Some(thread) })
    }

    /// Says who the members are: `validators` and `others` are connected to, everybody else is refused. `index` must
    /// rise from call to call and be the same on all members for the same set.
    pub fn track(&self, index: u64, validators: &[PeerId], others: &[PeerId]) {
        let set = |peers: &[PeerId]| Set::from_iter_dedup(peers.iter().filter_map(|peer| public_key(*peer)));
        let _ = self.oracle.clone().track(index, TrackedPeers::new(set(validators), set(others)));
    }

    /// Channels for a ledger whose members are `circle`.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn join(&self, ledger: LedgerId, circle: &Circle) -> Result<Ports, HubError> {
        let (mut hub, circle) = (self.hub.clone(), circle.clone());
        let (send, joined) = sync_channel(1);
        let context = self.context.child("ledger").with_attribute("id", ledger);
        self.context.child("join").spawn(move |_| async move {
            let _ = send.send(hub.join(ledger, &circle).await);
        });
        let LedgerChannels { engine, beside } = joined.recv().map_err(|_| HubError::Ended)??;
        let oracle = self.oracle.clone();
        let line = |(protocol, (sender, receiver))| Line {
            protocol,
            post: post(protocol, sender),
            context: context.child("beside"),
            oracle: oracle.clone(),
            receiver,
        };
        let lines = beside.into_iter().map(line).collect();
        Ok(Ports { context, key: self.key.signer(), oracle, engine, lines })
    }

    /// The network's and the engines' own metrics, as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.context.encode()
    }

    /// Members that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<PeerId> {
        connected_in(&self.metrics())
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.key.id()
    }

    /// Ends every task of network and engines, and waits for them.
    pub fn stop(mut self) {
        let context = self.context.child("stop");
        let (send, stopped) = sync_channel(1);
        self.context.child("stopper").spawn(move |_| async move {
            let _ = context.stop(0, Some(STOP_TASKS)).await;
            let _ = send.send(());
        });
        let _ = stopped.recv_timeout(STOP_TASKS * 2);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Peers whose `connected` gauge is set in the network's metrics.
fn connected_in(metrics: &str) -> Vec<PeerId> {
    let mut found = Vec::new();
    for line in metrics.lines().filter(|line| line.contains("directory_connected{")) {
        let Some((labels, value)) = line.rsplit_once(' ') else { continue };
        let peer = labels.split_once("peer=\"").and_then(|(_, rest)| rest.split_once('"'));
        let is_set = value.parse::<f64>().is_ok_and(|value| value > 0.0);
        if let Some(id) = peer.and_then(|(peer, _)| peer.parse().ok()).filter(|_| is_set) {
            found.push(PeerId(id));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_by_name_and_by_number() {
        assert!(matches!(ingress("127.0.0.1:30300"), Ok(Ingress::Socket(_))));
        assert!(matches!(ingress("node.bank-a.example:30300"), Ok(Ingress::Dns { port: 30300, .. })));
        for wrong in ["", "nowhere", "host:", "host:99999", "ho st:1"] {
            assert!(ingress(wrong).is_err(), "{wrong}");
        }
    }
}
