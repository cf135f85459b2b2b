//! Which worker answers next: each belongs to one ledger's calls of one package, few are kept, one that crashed is
//! replaced after a pause.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bletchley_primitives::LedgerId;

use super::process::Process;
use crate::package::PackageId;

/// Workers of one node.
pub const WORKERS_MAX: usize = 32;
/// Workers of one package for one ledger; each answers one call at a time.
pub const WORKERS_PER_LANE_MAX: usize = 8;
/// How long a worker that nobody calls is kept.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// Busy time after which a worker is replaced: half of what the kernel would end it at.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(300);
/// Pause after a first crash; it doubles with each that follows.
pub const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Lanes whose crashes are remembered; beyond them the calmest are forgotten.
const LANES_MAX: usize = 1024;

/// Whose calls of what.
pub(super) type LaneId = (LedgerId, PackageId);

/// A worker between calls.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: Process,
    /// Time of all its calls together, which its processor time cannot be above.
    pub(super) busy: Duration,
}

#[derive(Debug, Default)]
struct Lane {
    /// The one used last stands last.
    idle: Vec<(Worker, Instant)>,
    /// Workers, those at work included.
    live: usize,
    crashes: u32,
    rests_until: Option<Instant>,
}

/// The workers of a node.
#[derive(Debug, Default)]
pub(super) struct Pool {
    lanes: HashMap<LaneId, Lane>,
    live: usize,
}

/// What a call gets.
#[derive(Debug)]
pub(super) enum Turn {
    /// This worker.
    Take(Box<Worker>),
    /// Leave to start one; the second, if any, has to go for it.
    Start(Option<Box<Worker>>),
    /// Its lane rests after a crash.
    Rest(Duration),
    /// All are at work.
    Wait,
}

impl Pool {
    /// What a call on this lane gets now.
    pub(super) fn turn(&mut self, id: LaneId, now: Instant) -> Turn {
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&id) {
            self.lanes.retain(|_, lane| lane.live > 0 || lane.rests_until.is_some_and(|until| until > now));
        }
        let lane = self.lanes.entry(id).or_default();
        if let Some((worker, _)) = lane.idle.pop() {
            return Turn::Take(Box::new(worker));
        }
        if let Some(left) = lane.rests_until.and_then(|until| until.checked_duration_since(now)) {
            return Turn::Rest(left);
        }
        if lane.live >= WORKERS_PER_LANE_MAX {
            return Turn::Wait;
        }
        let mut leaves = None;
        if self.live >= WORKERS_MAX {
            leaves = self.oldest_idle();
            if leaves.is_none() {
                return Turn::Wait;
            }
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.live += 1;
            self.live += 1;
        }
        Turn::Start(leaves.map(Box::new))
    }

    fn oldest_idle(&mut self) -> Option<Worker> {
        let oldest = |lane: &Lane| lane.idle.first().map(|(_, since)| *since);
        let (id, _) = self
            .lanes
            .iter()
            .filter_map(|(id, lane)| Some((*id, oldest(lane)?)))
            .min_by_key(|(_, since)| *since)?;
        let lane = self.lanes.get_mut(&id)?;
        lane.live -= 1;
        self.live -= 1;
        Some(lane.idle.remove(0).0)
    }

    /// Takes back a worker whose call went well, or gives it back to be ended if it has worked long enough.
    pub(super) fn give_back(&mut self, id: LaneId, worker: Worker, now: Instant) -> Option<Worker> {
        let lane = self.lanes.entry(id).or_default();
        lane.crashes = 0;
        lane.rests_until = None;
        if worker.busy < BUSY_MAX {
            lane.idle.push((worker, now));
            return None;
        }
        self.gone(id);
        Some(worker)
    }

    /// Counts a worker that is no more, through no fault of its own.
    pub(super) fn gone(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.live = lane.live.saturating_sub(1);
            self.live = self.live.saturating_sub(1);
        }
    }

    /// Counts a worker that crashed or did not start; its lane pauses.
    pub(super) fn crashed(&mut self, id: LaneId, now: Instant) {
        self.gone(id);
        let lane = self.lanes.entry(id).or_default();
        lane.crashes = lane.crashes.saturating_add(1);
        lane.rests_until = Some(now + pause(lane.crashes));
    }

    /// Takes out what has idled too long, or belongs to this package.
    pub(super) fn retire(&mut self, now: Instant, package: Option<&PackageId>) -> Vec<Worker> {
        let mut retired = Vec::new();
        for ((_, of), lane) in &mut self.lanes {
            let goes = |since: &Instant| {
                package.map_or_else(
                    || now.saturating_duration_since(*since) >= IDLE_MAX,
                    |package| package == of,
                )
            };
            let (go, stay) = std::mem::take(&mut lane.idle).into_iter().partition(|(_, since)| goes(since));
            lane.idle = stay;
            let go: Vec<(Worker, Instant)> = go;
            lane.live = lane.live.saturating_sub(go.len());
            self.live = self.live.saturating_sub(go.len());
            retired.extend(go.into_iter().map(|(worker, _)| worker));
        }
        retired
    }

    /// Process ids of the workers between calls.
    pub(super) fn idle_pids(&self) -> Vec<i32> {
        let idle = self.lanes.values().flat_map(|lane| &lane.idle);
        idle.map(|(worker, _)| worker.process.pid()).collect()
    }

    /// Workers, those at work included.
    pub(super) const fn live(&self) -> usize {
        self.live
    }
}

fn pause(crashes: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1_u32.checked_shl(crashes.saturating_sub(1)).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_crashes_on_and_on_pauses_longer_up_to_a_bound() {
        let id = (LedgerId::default(), PackageId(Default::default()));
        let (mut pool, mut now, mut last) = (Pool::default(), Instant::now(), Duration::ZERO);
        for crash in 0..12 {
            assert!(matches!(pool.turn(id, now), Turn::Start(None)), "{crash}");
            pool.crashed(id, now);
            let Turn::Rest(pause) = pool.turn(id, now) else { unreachable!("no pause after a crash") };
            assert!(pause >= last && pause <= PAUSE_MAX, "{pause:?}");
            (last, now) = (pause, now + pause + Duration::from_millis(1));
        }
        assert_eq!((last, pool.live()), (PAUSE_MAX, 0));
    }

    #[test]
    fn a_lane_and_a_node_have_so_many_workers_and_no_more() {
        let mut pool = Pool::default();
        let now = Instant::now();
        let lane = |number: u8| (LedgerId::default(), PackageId(alloy_primitives::B256::repeat_byte(number)));
        let mut started = 0;
        for number in 0..=u8::MAX {
            while matches!(pool.turn(lane(number), now), Turn::Start(None)) {
                started += 1;
            }
            assert!(pool.lanes.get(&lane(number)).is_none_or(|lane| lane.live <= WORKERS_PER_LANE_MAX));
        }
        assert_eq!((started, pool.live()), (WORKERS_MAX, WORKERS_MAX));
        pool.gone(lane(0));
        assert!(matches!(pool.turn(lane(9), now), Turn::Start(None)));
        assert!(matches!(pool.turn(lane(9), now), Turn::Wait));
    }
}
