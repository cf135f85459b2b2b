//! The same plan gives the same run, to the last event.

#![allow(clippy::unwrap_used)]

use bletchley_sim::{Agreement, Misbehaviour, Plan, run};

#[test]
fn the_same_seed_gives_the_same_trace() {
    let plan = Plan::of_seed(3);
    let first = run(&plan).unwrap();
    assert_eq!(first, run(&plan).unwrap());
    let other = run(&Plan { seed: 4, ..plan }).unwrap();
    assert_ne!(first.digest, other.digest);
}

#[test]
fn clients_get_their_transactions_into_blocks() {
    let outcome = run(&Plan::calm(1, 5_000)).unwrap();
    assert!(outcome.transactions > 50, "{outcome:?}");
}

#[test]
fn a_member_that_lies_is_refused_and_named() {
    for agreement in [Agreement::Simplex, Agreement::Tendermint] {
        let lies = Some((1, Misbehaviour::Lies));
        let plan = Plan { agreement, byzantine: lies, ..Plan::calm(2, 4_000) };
        let outcome = run(&plan).unwrap();
        assert!(outcome.refused > 0, "{outcome:?}");
        assert_eq!(run(&Plan { byzantine: None, ..plan }).unwrap().refused, 0);
    }
}

#[test]
fn noise_on_every_channel_disturbs_nobody() {
    for agreement in [Agreement::Simplex, Agreement::Tendermint] {
        let noise = Some((3, Misbehaviour::Noise));
        let outcome = run(&Plan { agreement, byzantine: noise, ..Plan::calm(7, 5_000) }).unwrap();
        assert!(outcome.transactions > 50, "{outcome:?}");
    }
}

#[test]
fn members_come_and_go_by_votes() {
    for agreement in [Agreement::Simplex, Agreement::Tendermint] {
        let plan = Plan { agreement, ..Plan::calm(5, 6_000).voting() };
        let outcome = run(&plan).unwrap();
        assert_eq!(outcome.decisions, 2, "{outcome:?}");
        assert_eq!(outcome, run(&plan).unwrap());
    }
}
