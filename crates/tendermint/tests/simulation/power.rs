//! The power fails for everybody at once, and what was not synced to disk is gone.

use crate::cluster::Simulated;
use bletchley_consensus::conformance::{Cluster as _, Member, Number, Numbers};
use bletchley_consensus::{FixedSchedule, Validator, Validators};
use bletchley_primitives::{Address, BlockHash};
use commonware_runtime::{Runner as _, Storage as _, deterministic};
use std::sync::Arc;

const MEMBERS: usize = 4;
const LIVES: u64 = 8;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

async fn start(cluster: &mut Simulated, ledgers: &[Arc<Numbers>], member: usize) {
    let validator = |(at, peer): (usize, &bletchley_consensus::PeerId)| Validator {
        name: format!("member-{at}"),
        peer: *peer,
        address: Address::with_last_byte(at as u8),
    };
    let validators = Arc::new(Validators::new(cluster.peers().iter().enumerate().map(validator)));
    let schedule = Arc::new(FixedSchedule { epoch_blocks: 300, validators });
    cluster.start(member, Member { application: ledgers[member].clone(), schedule }).await;
}

async fn live(cluster: &mut Simulated, ledgers: &[Arc<Numbers>], life: u64) {
    for member in 0..ledgers.len() {
        start(cluster, ledgers, member).await;
    }
    // Everything of earlier lives is told again: pools are in memory only.
    let numbers: Vec<Number> = (1..=(life + 1) * 10).collect();
    for number in numbers {
        for (member, ledger) in ledgers.iter().enumerate() {
            ledger.submit(number);
            cluster.wake(member).await;
        }
        cluster.run_for(if number > life * 10 { 31 } else { 0 }).await;
    }
    // The power fails at another moment of the engines' work each time.
    cluster.run_for(100 + 37 * life).await;
}

/// Plays all lives; says how often somebody was seen to vote or propose twice.
fn play(seed: u64) -> u64 {
    let ledgers: Vec<Arc<Numbers>> = (0..MEMBERS).map(|_| Arc::default()).collect();
    let (mut checkpoint, mut seen): (Option<deterministic::Checkpoint>, Vec<BlockHash>) = (None, Vec::new());
    let mut equivocations = 0;
    for life in 0..LIVES {
        let runner = checkpoint
            .take()
            .map_or_else(|| deterministic::Runner::seeded(seed), deterministic::Runner::from);
        let here = ledgers.clone();
        let (twice, after) = runner.start_and_recover(async move |context| {
            let mut cluster = Simulated::new(context, MEMBERS).await;
            live(&mut cluster, &here, life).await;
            if life + 1 == LIVES {
                cluster.run_for(15_000).await;
            }
            cluster.counters.iter().map(|counters| counters.equivocations()).sum::<u64>()
        });
        equivocations += twice;
        checkpoint = Some(after);
        for ledger in &ledgers {
            ledger.crash();
            assert_eq!(ledger.violations(), Vec::<String>::new(), "seed {seed}, life {life}");
            let history = ledger.history();
            let common = history.len().min(seen.len());
            assert_eq!(history[..common], seen[..common], "seed {seed}, life {life}: two histories");
            if history.len() > seen.len() {
                seen = history;
            }
        }
    }
    for ledger in &ledgers {
        let mut numbers = ledger.numbers();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=LIVES * 10).collect::<Vec<_>>(), "seed {seed}");
    }
    equivocations
}

#[test]
fn nothing_final_is_lost_and_nobody_votes_twice() {
    for seed in SEEDS {
        assert_eq!(play(seed), 0, "seed {seed}: somebody voted twice");
    }
}

/// One member crashes again and again while the others go on, with or without its log; says how often the others saw
/// it vote or propose twice.
fn crash_often(forgetful: bool) -> u64 {
    deterministic::Runner::seeded(1).start(async move |context| {
        let ledgers: Vec<Arc<Numbers>> = (0..MEMBERS).map(|_| Arc::default()).collect();
        let mut cluster = Simulated::new(context, MEMBERS).await;
        live(&mut cluster, &ledgers, 0).await;
        for time in 0..100 {
            for (member, ledger) in ledgers.iter().enumerate() {
                ledger.submit(1_000 + time);
                cluster.wake(member).await;
            }
            cluster.run_for(60 + time).await;
            cluster.crash(0).await;
            ledgers[0].crash();
            if forgetful {
                cluster.context.remove("member-0", None).await.unwrap();
            }
            start(&mut cluster, &ledgers, 0).await;
        }
        cluster.run_for(5_000).await;
        cluster.counters.iter().skip(1).map(|counters| counters.equivocations()).sum()
    })
}

/// What the log is for: a member that loses it says something else after a crash, and the others notice.
#[test]
fn only_a_member_without_its_log_votes_twice() {
    assert_eq!(crash_often(false), 0);
    assert!(crash_often(true) > 0);
}
