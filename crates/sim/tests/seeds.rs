//! A fixed set of seeds: whatever they bring, the invariants hold. `cargo xtask sim` plays others.

#![allow(clippy::panic)]

use bletchley_sim::{Era, Fault, Plan, Scenario, run};
use bletchley_storage::Fault as DiskFault;

fn holds(plan: &Plan) {
    match run(plan) {
        Ok(outcome) => assert!(outcome.heights.iter().all(|height| *height > 0), "{outcome:?}"),
        Err(failure) => panic!("{failure}"),
    }
}

fn hold(seeds: std::ops::Range<u64>) {
    hold_in(Scenario::Usual, seeds);
}

fn hold_in(scenario: Scenario, seeds: std::ops::Range<u64>) {
    seeds.for_each(|seed| holds(&Plan::of(scenario, seed)));
}

#[test]
fn seeds_from_0() {
    hold(0..4);
}

#[test]
fn seeds_from_4() {
    hold(4..8);
}

#[test]
fn seeds_from_8() {
    hold(8..12);
}

#[test]
fn seeds_from_12() {
    hold(12..16);
}

#[test]
fn seeds_from_16() {
    hold(16..20);
}

#[test]
fn seeds_from_20() {
    hold(20..24);
}

#[test]
fn seeds_from_24() {
    hold(24..28);
}

#[test]
fn seeds_from_28() {
    hold(28..32);
}

#[test]
fn members_vote_from_200() {
    hold_in(Scenario::Votes, 200..204);
}

#[test]
fn members_vote_from_204() {
    hold_in(Scenario::Votes, 204..208);
}

#[test]
fn members_vote_from_208() {
    hold_in(Scenario::Votes, 208..212);
}

#[test]
fn tendermint_from_300() {
    hold_in(Scenario::Tendermint, 300..304);
}

#[test]
fn tendermint_from_304() {
    hold_in(Scenario::Tendermint, 304..308);
}

#[test]
fn tendermint_from_308() {
    hold_in(Scenario::Tendermint, 308..312);
}

/// Every member in turn ends at the n-th operation of a disk after it came back: while it recovers, and in the midst of a block.
#[test]
fn crashes_at_every_operation_of_a_disk() {
    for ledger in 0..2 {
        let fault = |operations: u64| {
            let member = (operations % 4) as usize;
            Fault::Disk { member, ledger, operations, fault: DiskFault::Crash, down_ms: 50 }
        };
        let faults = (0..40).map(|n| (500 + n * 400, fault(n))).collect();
        holds(&Plan { eras: vec![Era { ms: 18_000, faults }], ..Plan::calm(100, 0) });
    }
}

#[test]
fn seven_members_of_whom_two_are_always_away() {
    let down = |n: u64| {
        let member = (n % 7) as usize;
        if n.is_multiple_of(2) {
            Fault::PowerCut { member, down_ms: 900 }
        } else {
            Fault::Kill { member, down_ms: 900 }
        }
    };
    let faults = (0..12).map(|n| (500 + n * 500, down(n))).collect();
    holds(&Plan { members: 7, eras: vec![Era { ms: 7_000, faults }], ..Plan::calm(101, 0) });
}
