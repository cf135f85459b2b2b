//! Parts that are broken on purpose, each of which must be noticed, for the right reason.

#![allow(clippy::panic)]

use bletchley_sim::{Bug, Era, Fault, Misbehaviour, Plan, run};
use bletchley_storage::Fault as DiskFault;

/// Plays plans until one fails; says why it did.
fn noticed(plans: impl IntoIterator<Item = Plan>) -> String {
    for plan in plans {
        if let Err(failure) = run(&plan) {
            return failure.problem;
        }
    }
    panic!("nothing was noticed");
}

fn with(bug: Bug, faults: Vec<(u64, Fault)>) -> impl Iterator<Item = Plan> {
    (1..4).map(move |seed| {
        let plan = Plan::calm(seed, 0);
        Plan { bug, eras: vec![Era { ms: 6_000, faults: faults.clone() }], ..plan }
    })
}

fn power_cuts() -> Vec<(u64, Fault)> {
    (1..6).map(|second| (second * 1_000, Fault::PowerCut { member: 0, down_ms: 200 })).collect()
}

/// The same plans without the bug hold: the bug is what was noticed.
fn hold_without(plans: impl Iterator<Item = Plan>) {
    for plan in plans.take(1) {
        if let Err(failure) = run(&Plan { bug: Bug::None, ..plan }) {
            panic!("{failure}");
        }
    }
}

#[test]
fn a_store_that_skips_a_sync() {
    let plans = || with(Bug::SkippedSync, power_cuts());
    let problem = noticed(plans());
    assert!(problem.contains("lost") || problem.contains("stopped by itself"), "{problem}");
    hold_without(plans());
}

#[test]
fn a_runner_that_shows_blocks_before_they_are_durable() {
    let crash =
        |operations| Fault::Disk { member: 0, ledger: 0, operations, fault: DiskFault::Crash, down_ms: 200 };
    let plans = || with(Bug::ShownEarly, (1..6).map(|n| (n * 1_000, crash(n))).collect());
    let problem = noticed(plans());
    assert!(problem.contains("lost"), "{problem}");
    hold_without(plans());
}

#[test]
fn members_that_accept_two_blocks_for_one_height() {
    let groups = vec![vec![0, 2], vec![1, 3]];
    let plans =
        || with(Bug::HalfQuorum, vec![(1_000, Fault::Split { groups: groups.clone(), for_ms: 3_000 })]);
    let problem = noticed(plans());
    assert!(problem.contains("two histories"), "{problem}");
    hold_without(plans());
}

#[test]
fn a_member_that_keeps_its_own_block() {
    let problem = noticed(with(Bug::OwnBlock, Vec::new()));
    assert!(problem.contains("says that it kept") || problem.contains("two histories"), "{problem}");
}

#[test]
fn members_that_accept_every_block() {
    let lied_to = |plan| Plan { byzantine: Some((2, Misbehaviour::Lies)), ..plan };
    let plans = || with(Bug::Credulous, Vec::new()).map(lied_to);
    let problem = noticed(plans());
    assert!(problem.contains("says that it kept") || problem.contains("two histories"), "{problem}");
    hold_without(plans());
}
