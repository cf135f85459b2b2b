//! Members and strangers who send what nobody should.

use crate::cluster::{Pair, Simulated};
use bletchley_consensus::conformance::{Cluster as _, Member, Numbers};
use bletchley_consensus::{Application as _, FixedSchedule, Validator, Validators};
use bletchley_primitives::{Address, B256, LedgerId};
use bletchley_tendermint::Refusal;
use commonware_cryptography::Signer as _;
use commonware_cryptography::ed25519::PublicKey;
use commonware_macros::select;
use commonware_p2p::{Receiver as _, Recipients, Sender as _};
use commonware_runtime::{Clock as _, Runner as _, deterministic};
use std::sync::Arc;
use std::time::Duration;

/// Three honest validators of four, and one more node that has no vote; members 3 and 4 are for the test to play.
struct World {
    cluster: Simulated,
    ledgers: Vec<Arc<Numbers>>,
    schedule: Arc<FixedSchedule>,
    submitted: u64,
}

impl World {
    async fn begin(context: crate::cluster::Context) -> Self {
        let cluster = Simulated::new(context, 5).await;
        let validator = |(at, peer): (usize, &bletchley_consensus::PeerId)| Validator {
            name: format!("member-{at}"),
            peer: *peer,
            address: Address::with_last_byte(at as u8),
        };
        let validators = Arc::new(Validators::new(cluster.peers().iter().enumerate().take(4).map(validator)));
        let schedule = Arc::new(FixedSchedule { epoch_blocks: 300, validators });
        let ledgers = (0..5).map(|_| Arc::new(Numbers::default())).collect();
        let mut world = Self { cluster, ledgers, schedule, submitted: 0 };
        for member in 0..3 {
            world.start(member).await;
        }
        world
    }

    async fn start(&mut self, member: usize) {
        let (application, schedule) = (self.ledgers[member].clone(), self.schedule.clone());
        self.cluster.start(member, Member { application, schedule }).await;
    }

    /// Three of four go on, whatever the fourth does.
    async fn goes_on(&mut self) {
        for _ in 0..4 {
            self.submitted += 1;
            for member in 0..3 {
                self.ledgers[member].submit(self.submitted);
                self.cluster.wake(member).await;
            }
            self.cluster.run_for(200).await;
        }
        self.cluster.run_for(10_000).await;
        let numbers = self.ledgers[0].numbers();
        assert_eq!(numbers.len() as u64, self.submitted, "everything is final");
        for member in 1..3 {
            assert_eq!(self.ledgers[member].numbers(), numbers);
        }
        assert_eq!(self.ledgers[0].violations(), Vec::<String>::new());
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.cluster.counters[0].refused(why)
    }
}

/// Messages that reach this member within a while.
async fn overhear(world: &World, pair: &mut Pair) -> Vec<Vec<u8>> {
    let (mut heard, context) = (Vec::new(), &world.cluster.context);
    let end = context.current() + Duration::from_secs(3);
    loop {
        select! {
            message = pair.1.recv() => heard.push(message.unwrap().1.as_ref().to_vec()),
            _ = context.sleep_until(end) => break,
        }
    }
    assert!(heard.len() > 3, "members speak");
    heard
}

fn send(pair: &mut Pair, to: &PublicKey, bytes: Vec<u8>) {
    pair.0.send(Recipients::One(to.clone()), bytes, false);
}

/// Overhears votes as `member`, then sends what `forge` makes of each of them.
/// `forge` is told the height that the others work on.
fn forged(member: usize, forge: fn(Vec<u8>, u64) -> Vec<u8>, why: Refusal) {
    deterministic::Runner::seeded(5).start(async move |context| {
        let mut world = World::begin(context).await;
        let [mut votes, mut blocks, mut backfill] = world.cluster.channels(member).await;
        world.goes_on().await;
        let heard = overhear(&world, &mut votes).await;
        let before = world.refused(why);
        let target = world.cluster.keys[0].public_key();
        for bytes in heard.iter().cycle().take(60) {
            let height = world.ledgers[0].head().height.0 + 1;
            for pair in [&mut votes, &mut blocks, &mut backfill] {
                send(pair, &target, forge(bytes.clone(), height));
            }
            world.cluster.run_for(5).await;
        }
        world.goes_on().await;
        assert!(world.refused(why) >= before + 20, "{}: {} and {before}", why.name(), world.refused(why));
    });
}

#[test]
fn truncated_messages_are_refused() {
    forged(3, |bytes, _| bytes[..bytes.len() - 1].to_vec(), Refusal::Malformed);
}

#[test]
fn oversized_messages_are_refused() {
    forged(3, |bytes, _| [bytes, vec![0; 100_000]].concat(), Refusal::Malformed);
}

#[test]
fn messages_of_another_version_are_refused() {
    forged(3, |bytes, _| [&[9], &bytes[1..]].concat(), Refusal::Malformed);
}

#[test]
fn replayed_messages_are_refused() {
    forged(3, |bytes, _| bytes, Refusal::Stale);
}

#[test]
fn a_stranger_that_speaks_for_others_is_refused() {
    // Of the height that is being decided, so that only the sender is wrong.
    forged(
        4,
        |mut bytes, height| {
            let height_at = if bytes[1] == 1 { 3 } else { 2 };
            bytes[height_at..height_at + 8].copy_from_slice(&height.to_be_bytes());
            bytes
        },
        Refusal::Stranger,
    );
}

#[test]
fn a_validator_that_changes_what_others_said_is_refused() {
    forged(
        3,
        |mut bytes, height| {
            // A certificate of its own making: two thirds of nobody.
            let mut polka = vec![1, 3];
            polka.extend(height.to_be_bytes());
            polka.extend([0; 4]);
            polka.extend([7; 32]);
            polka.extend([0; 2]);
            std::mem::swap(&mut bytes, &mut polka);
            bytes
        },
        Refusal::Signature,
    );
}

/// A validator that means another ledger: its signatures do not count on this one.
#[test]
fn votes_for_another_ledger_are_refused() {
    deterministic::Runner::seeded(6).start(async move |context| {
        let mut world = World::begin(context).await;
        world.cluster.ledgers[3] = LedgerId(B256::repeat_byte(8));
        world.start(3).await;
        world.goes_on().await;
        assert!(
            world.cluster.counters[3].refused(Refusal::Signature) > 0,
            "it hears the others, and refuses them"
        );
        assert_eq!(world.ledgers[3].head().height.0, 0);
    });
}

/// Nobody hears a node without a vote, but it may follow.
#[test]
fn a_node_without_a_vote_follows() {
    deterministic::Runner::seeded(7).start(async move |context| {
        let mut world = World::begin(context).await;
        world.start(4).await;
        world.goes_on().await;
        world.cluster.run_for(3_000).await;
        assert_eq!(world.ledgers[4].numbers(), world.ledgers[0].numbers());
    });
}
