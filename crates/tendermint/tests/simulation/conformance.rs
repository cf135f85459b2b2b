//! The suite that every engine runs.

use crate::cluster::Simulated;
use bletchley_consensus::conformance::Check;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};

const SEEDS: [u64; 2] = [1, 2];

fn passes(check: Check) {
    for seed in SEEDS {
        let members = check.members().max(4);
        let ran = deterministic::Runner::seeded(seed).start(async move |context| {
            let cluster = Simulated::new(context, members).await;
            let counters = cluster.counters.clone();
            check.run(cluster).await.map(|()| counters)
        });
        let counters = ran.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let seen: u64 = counters.iter().map(|counters| counters.equivocations()).sum();
        assert_eq!(seen, 0, "seed {seed}: a member said two things at once, after a crash or without");
    }
}

macro_rules! checks {
    ($($name:ident: $check:ident;)*) => {
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
    one_history: OneHistory;
    idle: Idle;
    paced: Paced;
    restart: Restart;
    blackout: Blackout;
    one_down: OneDown;
    far_behind: FarBehind;
    old_copy: OldCopy;
    wiped_disk: WipedDisk;
    no_quorum: NoQuorum;
    minority: Minority;
    halves: Halves;
    invalid_proposer: InvalidProposer;
    silent_proposer: SilentProposer;
    early: Early;
    set_change: SetChange;
}

#[test]
fn a_ledger_of_one_needs_nobody() {
    for check in Check::ALL.into_iter().filter(|check| check.members() == 1) {
        let ran = deterministic::Runner::seeded(1)
            .start(async move |context| check.run(Simulated::new(context, 1).await).await);
        ran.unwrap();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let state = |seed| {
        deterministic::Runner::seeded(seed).start(async move |context| {
            Check::Restart.run(Simulated::new(context.child("cluster"), 4).await).await.unwrap();
            context.auditor().state()
        })
    };
    assert_eq!(state(3), state(3));
    assert_ne!(state(3), state(4));
}
