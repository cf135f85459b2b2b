//! The suite that every engine runs, over simplex on a seeded runtime and network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_consensus::PeerId;
use bletchley_consensus::conformance::{Check, Cluster, Member, Timing};
use bletchley_net::{CHANNELS, Circle, Hub, peer_id};
use bletchley_primitives::{B256, LedgerId};
use bletchley_simplex::Settings;
use bletchley_simplex::stack::{Parts, run};
use commonware_cryptography::Signer as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::simulated;
use commonware_runtime::{Clock as _, Handle, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, probability};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const TIMING: Timing = Timing { pace_ms: 20, heartbeat_ms: Some(500), settle_ms: 20_000 };
const LEDGER: LedgerId = LedgerId(B256::repeat_byte(7));

type Oracle = simulated::Oracle<PublicKey, deterministic::Context>;

/// Members on a seeded network.
struct Simulated {
    context: deterministic::Context,
    oracle: Oracle,
    keys: Vec<PrivateKey>,
    running: Vec<Option<(Handle<()>, Arc<Notify>)>>,
    lives: u64,
}

impl Simulated {
    async fn new(context: &deterministic::Context, members: usize) -> Self {
        let keys: Vec<PrivateKey> = (0..members).map(|index| PrivateKey::from_seed(index as u64)).collect();
        let config = simulated::Config {
            max_size: 1 << 20,
            max_peers_per_set: NZUsize!(8),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(2),
        };
        let peers = keys.iter().map(|key| key.public_key());
        let (network, oracle) =
            simulated::Network::new_with_peers(context.child("network"), config, peers).await;
        network.start();
        let running = keys.iter().map(|_| None).collect();
        let mut cluster = Self { context: context.child("cluster"), oracle, keys, running, lives: 0 };
        cluster.connect(&[(0..members).collect()]).await;
        cluster
    }

    fn public(&self, member: usize) -> PublicKey {
        self.keys[member].public_key()
    }
}

impl Cluster for Simulated {
    fn peers(&self) -> Vec<PeerId> {
        self.keys.iter().map(|key| peer_id(&key.public_key())).collect()
    }

    fn timing(&self) -> Timing {
        TIMING
    }

    async fn start(&mut self, member: usize, parts: Member) {
        let control = self.oracle.control(self.public(member));
        let mut channels = Vec::new();
        for (number, channel) in (0u64..).zip(CHANNELS) {
            channels.push(control.register(number, channel.quota()).await.unwrap());
        }
        let (key, circle, peers) =
            (self.keys[member].clone(), Circle::new(self.peers()), self.oracle.manager());
        let work = Arc::new(Notify::new());
        let notify = work.clone();
        assert!(parts.schedule.epoch_blocks() > 0);
        self.lives += 1;
        let context =
            self.context.child("member").with_attribute("index", member).with_attribute("life", self.lives);
        let handle = context.spawn(move |context| async move {
            let mut hub = Hub::start(&context, channels);
            let channels = hub.join(LEDGER, &circle).await.unwrap();
            run(Parts {
                context,
                partition: format!("member-{member}"),
                key,
                ledger: LEDGER,
                application: parts.application,
                schedule: parts.schedule,
                settings: Settings::new(
                    Duration::from_millis(TIMING.pace_ms),
                    Duration::from_millis(TIMING.heartbeat_ms.unwrap()),
                ),
                work: notify,
                channels: channels.engine,
                blocker: control,
                peers,
            })
            .await
            .unwrap();
        });
        self.running[member] = Some((handle, work));
    }

    async fn crash(&mut self, member: usize) {
        if let Some((handle, _)) = self.running[member].take() {
            handle.abort();
            let _ = handle.await;
        }
    }

    async fn connect(&mut self, groups: &[Vec<usize>]) {
        let link = simulated::Link {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(1),
            success_rate: probability!(1.0),
        };
        for from in 0..self.keys.len() {
            for to in (0..self.keys.len()).filter(|to| *to != from) {
                let _ = self.oracle.remove_link(self.public(from), self.public(to)).await;
                if groups.iter().any(|group| group.contains(&from) && group.contains(&to)) {
                    self.oracle.add_link(self.public(from), self.public(to), link.clone()).await.unwrap();
                }
            }
        }
    }

    async fn wake(&mut self, member: usize) {
        if let Some((_, work)) = &self.running[member] {
            work.notify_waiters();
        }
    }

    async fn run_for(&mut self, ms: u64) {
        self.context.sleep(Duration::from_millis(ms)).await;
    }
}

fn passes(check: Check) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    for seed in 0..2 {
        deterministic::Runner::seeded(seed).start(|context| async move {
            let cluster = Simulated::new(&context, check.members().max(4)).await;
            let blocked = cluster.oracle.clone();
            if let Err(failure) = check.run(cluster).await {
                panic!("seed {seed}: {failure}");
            }
            assert_eq!(blocked.blocked().await.unwrap(), [], "seed {seed}: an honest member was cut off");
        });
    }
}

macro_rules! checks {
    ($($name:ident: $check:ident,)*) => {
        $(#[test]
        fn $name() {
            passes(Check::$check);
        })*

        #[test]
        fn none_is_left_out() {
            assert_eq!([$(Check::$check),*], Check::ALL);
        }
    };
}

checks! {
    one_history: OneHistory,
    idle: Idle,
    paced: Paced,
    restart: Restart,
    blackout: Blackout,
    one_down: OneDown,
    far_behind: FarBehind,
    old_copy: OldCopy,
    wiped_disk: WipedDisk,
    no_quorum: NoQuorum,
    minority: Minority,
    halves: Halves,
    invalid_proposer: InvalidProposer,
    silent_proposer: SilentProposer,
    early: Early,
    set_change: SetChange,
}
