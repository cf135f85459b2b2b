//! Members in a simulation.

use bletchley_consensus::PeerId;
use bletchley_consensus::conformance::{Cluster, Member, Timing};
use bletchley_primitives::{B256, LedgerId};
use bletchley_tendermint::stack::{Channels, Parts, run};
use bletchley_tendermint::{Counters, Settings};
use commonware_cryptography::Signer as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::simulated::{Config, Link, Network, Oracle, Receiver, Sender};
use commonware_runtime::{Clock as _, Handle, Quota, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, NZUsize, probability};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) type Context = deterministic::Context;
pub(crate) type Pair = (Sender<PublicKey, Context>, Receiver<PublicKey>);

const MESSAGE_SIZE_BYTES_MAX: u32 = 5 << 20;

pub(crate) struct Simulated {
    pub(crate) context: Context,
    pub(crate) oracle: Oracle<PublicKey, Context>,
    pub(crate) keys: Vec<PrivateKey>,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) ledgers: Vec<LedgerId>,
    work: Vec<Arc<Notify>>,
    running: Vec<Option<Handle<()>>>,
    lives: u64,
}

impl Simulated {
    pub(crate) async fn new(context: Context, members: usize) -> Self {
        let keys: Vec<PrivateKey> = (0..members).map(|at| PrivateKey::from_seed(at as u64)).collect();
        let names: Vec<PublicKey> = keys.iter().map(|key| key.public_key()).collect();
        let config = Config {
            max_size: MESSAGE_SIZE_BYTES_MAX,
            max_peers_per_set: NZUsize!(16),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(3),
        };
        let (network, oracle) = Network::new_with_peers(context.child("network"), config, names).await;
        network.start();
        let mut cluster = Self {
            context,
            oracle,
            keys,
            counters: (0..members).map(|_| Arc::default()).collect(),
            ledgers: vec![LedgerId(B256::repeat_byte(7)); members],
            work: (0..members).map(|_| Arc::default()).collect(),
            running: (0..members).map(|_| None).collect(),
            lives: 0,
        };
        cluster.connect(&[(0..members).collect()]).await;
        cluster
    }

    pub(crate) async fn channels(&self, member: usize) -> [Pair; 3] {
        let mut pairs = Vec::new();
        for channel in 0..3 {
            let control = self.oracle.control(self.keys[member].public_key());
            let quota = Quota::per_second(NZU32!(4096)).allow_burst(NZU32!(256));
            pairs.push(control.register(channel, quota).await.unwrap());
        }
        pairs.try_into().ok().unwrap()
    }

    pub(crate) fn settings() -> Settings {
        Settings::new(Duration::from_millis(50), Duration::from_secs(2))
    }
}

impl Cluster for Simulated {
    fn peers(&self) -> Vec<PeerId> {
        let name = |key: &PrivateKey| PeerId(B256::try_from(key.public_key().as_ref()).unwrap());
        self.keys.iter().map(name).collect()
    }

    fn timing(&self) -> Timing {
        Timing { pace_ms: 50, heartbeat_ms: Some(2_000), settle_ms: 30_000 }
    }

    async fn start(&mut self, member: usize, parts: Member) {
        let [votes, blocks, backfill] = self.channels(member).await;
        self.lives += 1;
        let context =
            self.context.child("member").with_attribute("at", member).with_attribute("life", self.lives);
        let (key, ledger) = (self.keys[member].clone(), self.ledgers[member]);
        let (work, counters) = (self.work[member].clone(), self.counters[member].clone());
        self.running[member] = Some(context.spawn(move |context| async move {
            let parts = Parts {
                context,
                partition: format!("member-{member}"),
                key,
                ledger,
                application: parts.application,
                schedule: parts.schedule,
                settings: Self::settings(),
                work,
                channels: Channels { votes, blocks, backfill },
                counters,
            };
            run(parts).await.expect("a member ended");
        }));
    }

    async fn crash(&mut self, member: usize) {
        if let Some(handle) = self.running[member].take() {
            handle.abort();
            let _ = handle.await;
        }
    }

    async fn connect(&mut self, groups: &[Vec<usize>]) {
        let link = Link {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            success_rate: probability!(1.0),
        };
        let names: Vec<PublicKey> = self.keys.iter().map(|key| key.public_key()).collect();
        for (a, from) in names.iter().enumerate() {
            for (b, to) in names.iter().enumerate().filter(|(b, _)| *b != a) {
                let _ = self.oracle.remove_link(from.clone(), to.clone()).await;
                if groups.iter().any(|group| group.contains(&a) && group.contains(&b)) {
                    self.oracle.add_link(from.clone(), to.clone(), link.clone()).await.unwrap();
                }
            }
        }
    }

    async fn wake(&mut self, member: usize) {
        self.work[member].notify_one();
    }

    async fn run_for(&mut self, ms: u64) {
        self.context.sleep(Duration::from_millis(ms)).await;
    }
}
