//! The suite that every engine runs: over the solo engine, over a model of an engine, and over broken models, each of
//! which it must catch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_consensus::conformance::{Check, Cluster, Failure, Member, Timing};
use bletchley_consensus::{
    Application, Cadence, CadenceHandle, Engine, PeerId, Signal, Signals, Solo, epoch_of,
};
use bletchley_ledger::Block;
use bletchley_primitives::{B256, Bytes, Height, TimestampMs};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const TIMING: Timing = Timing { pace_ms: 20, heartbeat_ms: Some(500), settle_ms: 5_000 };

/// Runs a future that never waits for anything.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("these clusters never wait"),
    }
}

fn peers(count: usize) -> Vec<PeerId> {
    (0..count).map(|index| PeerId(B256::with_last_byte(index as u8 + 1))).collect()
}

/// A clock that stops the engine at `end_ms`.
struct Slice {
    now_ms: Mutex<u64>,
    end_ms: u64,
}

impl Signals for Slice {
    fn now_ms(&self) -> TimestampMs {
        TimestampMs(*self.now_ms.lock().unwrap())
    }

    fn wait(&self, deadline_ms: Option<TimestampMs>) -> Signal {
        let deadline_ms = deadline_ms.map_or(u64::MAX, |at| at.0);
        let mut now_ms = self.now_ms.lock().unwrap();
        *now_ms = deadline_ms.min(self.end_ms).max(*now_ms);
        if deadline_ms < self.end_ms { Signal::Deadline } else { Signal::Stop }
    }

    fn mined(&self, _: u32) {}

    fn on_wake(&self, _: Box<dyn Fn() + Send + Sync>) {}
}

/// One member that agrees with itself: it keeps nothing between two slices of time, which is a restart each.
#[derive(Default)]
struct Alone {
    now_ms: u64,
    application: Option<Arc<dyn Application>>,
}

impl Cluster for Alone {
    fn peers(&self) -> Vec<PeerId> {
        peers(1)
    }

    fn timing(&self) -> Timing {
        TIMING
    }

    async fn start(&mut self, _: usize, parts: Member) {
        self.application = Some(parts.application);
    }

    async fn crash(&mut self, _: usize) {
        self.application = None;
    }

    async fn connect(&mut self, _: &[Vec<usize>]) {}

    async fn wake(&mut self, _: usize) {}

    async fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        if let Some(application) = self.application.clone() {
            let slice = Arc::new(Slice { now_ms: Mutex::new(self.now_ms), end_ms });
            let cadence = Cadence::Paced { pace_ms: TIMING.pace_ms, heartbeat_ms: TIMING.heartbeat_ms };
            Box::new(Solo::new(CadenceHandle::new(cadence))).run(application, slice).unwrap();
        }
        self.now_ms = end_ms;
    }
}

#[test]
fn the_solo_engine_passes() {
    for check in Check::ALL.into_iter().filter(|check| check.members() == 1) {
        at_once(check.run(Alone::default())).unwrap();
    }
}

/// What a model of an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Any group goes on without a quorum.
    NoQuorum,
    /// A member that comes back is believed to have what the others have.
    NoCatchUp,
    /// Makes two blocks and finalizes the later one first.
    OutOfOrder,
    /// Finalizes what it did not verify.
    Unverified,
    /// Makes empty blocks all the time.
    Restless,
    /// Keeps no distance between blocks.
    Hasty,
    /// One proposer for ever.
    OneProposer,
    /// Nothing is left beside a block.
    NoSeal,
    /// The first validators stay for ever.
    OldSet,
    /// A proposer that waits for its heartbeat does not hear of work.
    Deaf,
}

/// Members that agree by looking into each other's heads: what an engine shall look like from outside.
struct Model {
    bug: Bug,
    now_ms: u64,
    turn: usize,
    members: Vec<Option<Member>>,
    groups: Vec<Vec<usize>>,
}

impl Model {
    const STEP_MS: u64 = 5;

    fn new(members: usize, bug: Bug) -> Self {
        let groups = vec![(0..members).collect()];
        Self { bug, now_ms: 0, turn: 0, members: (0..members).map(|_| None).collect(), groups }
    }

    fn has_quorum(&self, members: &[usize], like: &Member, height: Height) -> bool {
        let epoch = epoch_of(height, like.schedule.epoch_blocks());
        let epoch = if self.bug == Bug::OldSet { 0 } else { epoch };
        let set = like.schedule.validators(epoch).unwrap();
        let names = peers(self.members.len());
        let present = members.iter().filter(|member| set.get(names[**member]).is_some()).count();
        self.bug == Bug::NoQuorum || present * 3 > set.as_slice().len() * 2
    }

    fn catch_up(from: &Member, to: &Member) -> Option<()> {
        while to.application.head().height < from.application.head().height {
            let height = to.application.head().height.next();
            let proposal = to.application.verify(from.application.block(height)?).ok()?;
            to.application.finalize(proposal.hash, from.application.seal(height)?).unwrap();
        }
        Some(())
    }

    fn step(&mut self, group: &[usize]) -> Option<()> {
        let alive: Vec<usize> =
            group.iter().copied().filter(|member| self.members[*member].is_some()).collect();
        let parts = |member: &usize| self.members[*member].clone();
        let best = alive.iter().filter_map(parts).max_by_key(|parts| parts.application.head().height)?;
        if self.bug != Bug::NoCatchUp {
            for parts in alive.iter().filter_map(parts) {
                Self::catch_up(&best, &parts)?;
            }
        }
        let turn = if self.bug == Bug::OneProposer { 2 } else { self.turn };
        let leader = alive.get(turn % alive.len().max(1)).and_then(parts)?;
        let head = leader.application.head();
        if !self.has_quorum(&alive, &leader, head.height.next()) {
            return None;
        }
        let since_ms = self.now_ms.saturating_sub(head.time_ms.0);
        let work = leader.application.ready() > 0 && self.bug != Bug::Deaf;
        let beat = since_ms >= 500 || leader.schedule.change_pending() || self.bug == Bug::Restless;
        if (!work && !beat) || (since_ms < TIMING.pace_ms && self.bug != Bug::Hasty) {
            return None;
        }
        self.turn += 1;
        let time_ms = TimestampMs(self.now_ms);
        let proposal = leader.application.propose(head.hash, time_ms, beat).ok()??;
        let voters: Vec<Member> = alive.iter().filter_map(|member| self.members[*member].clone()).collect();
        if self.bug == Bug::OutOfOrder && head.height.0 == 3 {
            let above = leader.application.propose(proposal.hash, time_ms, true).ok()??;
            let _ = leader.application.finalize(above.hash, Bytes::new());
        }
        if self.bug != Bug::Unverified {
            let accepts =
                |block: Block| voters.iter().all(|parts| parts.application.verify(block.clone()).is_ok());
            if !accepts(proposal.block) {
                return None;
            }
        }
        let seal = if self.bug == Bug::NoSeal { Bytes::new() } else { Bytes::from_static(b"seal") };
        for parts in voters {
            let _ = parts.application.finalize(proposal.hash, seal.clone());
        }
        Some(())
    }
}

impl Cluster for Model {
    fn peers(&self) -> Vec<PeerId> {
        peers(self.members.len())
    }

    fn timing(&self) -> Timing {
        TIMING
    }

    async fn start(&mut self, member: usize, parts: Member) {
        self.members[member] = Some(parts);
    }

    async fn crash(&mut self, member: usize) {
        self.members[member] = None;
    }

    async fn connect(&mut self, groups: &[Vec<usize>]) {
        self.groups = groups.to_vec();
    }

    async fn wake(&mut self, _: usize) {}

    async fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms + Self::STEP_MS <= end_ms {
            self.now_ms += Self::STEP_MS;
            for group in self.groups.clone() {
                let _ = self.step(&group);
            }
        }
        self.now_ms = end_ms;
    }
}

fn model(check: Check, bug: Bug) -> Result<(), Failure> {
    at_once(check.run(Model::new(check.members().max(4), bug)))
}

#[test]
fn a_model_of_an_engine_passes_every_check() {
    for check in Check::ALL {
        model(check, Bug::None).unwrap();
    }
}

#[test]
fn every_broken_model_is_caught() {
    for (bug, check, says) in [
        (Bug::NoQuorum, Check::Halves, "halves"),
        (Bug::NoQuorum, Check::NoQuorum, "without a quorum"),
        (Bug::NoQuorum, Check::Minority, "another had"),
        (Bug::NoCatchUp, Check::OldCopy, "do not have all"),
        (Bug::NoCatchUp, Check::WipedDisk, "do not have all"),
        (Bug::NoCatchUp, Check::FarBehind, "do not have all"),
        (Bug::OutOfOrder, Check::OneHistory, "out of order"),
        (Bug::Unverified, Check::OneHistory, "without being executed"),
        (Bug::Restless, Check::Idle, "heartbeats of silence"),
        (Bug::Hasty, Check::Paced, "after the one before"),
        (Bug::OneProposer, Check::InvalidProposer, "do not have all"),
        (Bug::OneProposer, Check::SilentProposer, "do not have all"),
        (Bug::NoSeal, Check::OneHistory, "no seal"),
        (Bug::OldSet, Check::SetChange, "stands still"),
        (Bug::Deaf, Check::Idle, "just after a heartbeat"),
    ] {
        let Err(failure) = model(check, bug) else { panic!("{bug:?} passed {check}") };
        assert!(failure.problem.contains(says), "{bug:?} in {check}: {failure}");
    }
}
