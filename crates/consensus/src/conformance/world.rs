//! A cluster with its ledgers, watched all the time.

use super::numbers::{PlannedSchedule, validator};
use super::{Cluster, Member, Number, Numbers, Timing};
use crate::{Application, Validators};
use bletchley_primitives::BlockHash;
use std::sync::Arc;

/// How often the ledgers are looked at while time passes.
const LOOK_MS: u64 = 50;

pub(super) type Seen = Result<(), String>;

pub(super) struct World<C> {
    cluster: C,
    pub(super) timing: Timing,
    ledgers: Vec<Arc<Numbers>>,
    running: Vec<bool>,
    sets: Vec<Arc<Validators>>,
    epoch_blocks: u64,
    /// Every block that was ever final anywhere, by height.
    history: Vec<BlockHash>,
    submitted: Vec<Number>,
}

impl<C: Cluster> World<C> {
    /// All members run and vote, if not said otherwise by `sets`: members by epoch, of which the last stands for ever.
    pub(super) async fn begin(cluster: C, epoch_blocks: u64, sets: &[&[usize]]) -> Self {
        let peers = cluster.peers();
        let members = peers.iter().enumerate().map(|(index, peer)| validator(index, *peer));
        let members: Vec<_> = members.collect();
        let set = |chosen: &&[usize]| {
            Arc::new(Validators::new(chosen.iter().filter_map(|index| members.get(*index)).cloned()))
        };
        let sets = if sets.is_empty() {
            vec![Arc::new(Validators::new(members.clone()))]
        } else {
            sets.iter().map(set).collect()
        };
        let mut world = Self {
            timing: cluster.timing(),
            cluster,
            ledgers: peers.iter().map(|_| Arc::new(Numbers::default())).collect(),
            running: peers.iter().map(|_| false).collect(),
            sets,
            epoch_blocks,
            history: Vec::new(),
            submitted: Vec::new(),
        };
        for member in 0..peers.len() {
            world.start(member).await;
        }
        world
    }

    pub(super) fn count(&self) -> usize {
        self.ledgers.len()
    }

    pub(super) fn ledger(&self, member: usize) -> Result<&Arc<Numbers>, String> {
        self.ledgers.get(member).ok_or_else(|| format!("the cluster has no member {member}"))
    }

    pub(super) fn height(&self, member: usize) -> u64 {
        self.ledgers.get(member).map_or(0, |ledger| ledger.head().height.0)
    }

    pub(super) fn highest(&self) -> u64 {
        (0..self.count()).map(|member| self.height(member)).max().unwrap_or(0)
    }

    pub(super) async fn start(&mut self, member: usize) {
        let Some(application) = self.ledgers.get(member).cloned() else { return };
        let schedule = Arc::new(PlannedSchedule {
            application: application.clone(),
            epoch_blocks: self.epoch_blocks,
            sets: self.sets.clone(),
        });
        self.cluster.start(member, Member { application, schedule }).await;
        if let Some(running) = self.running.get_mut(member) {
            *running = true;
        }
    }

    pub(super) async fn crash(&mut self, member: usize) {
        self.cluster.crash(member).await;
        if let (Some(ledger), Some(running)) = (self.ledgers.get(member), self.running.get_mut(member)) {
            ledger.crash();
            *running = false;
        }
    }

    pub(super) async fn restart(&mut self, member: usize) {
        self.start(member).await;
        self.gossip(&[member]).await;
    }

    pub(super) async fn connect(&mut self, groups: &[&[usize]]) {
        let groups: Vec<Vec<usize>> = groups.iter().map(|group| group.to_vec()).collect();
        self.cluster.connect(&groups).await;
    }

    pub(super) async fn heal(&mut self) {
        let all = vec![(0..self.count()).collect()];
        self.cluster.connect(&all).await;
        let all: Vec<usize> = (0..self.count()).collect();
        self.gossip(&all).await;
    }

    /// Brings every number that is not final there to these members, as their clients or peers would in the end.
    async fn gossip(&mut self, members: &[usize]) {
        for member in members {
            if self.running.get(*member) != Some(&true) {
                continue;
            }
            if let Some(ledger) = self.ledgers.get(*member) {
                self.submitted.iter().for_each(|number| ledger.submit(*number));
            }
            self.cluster.wake(*member).await;
        }
    }

    /// Submits a new number to these members, as far as they run.
    pub(super) async fn submit(&mut self, members: &[usize]) {
        let number = self.submitted.len() as u64 + 1;
        self.submitted.push(number);
        for member in members {
            if self.running.get(*member) == Some(&true) {
                if let Some(ledger) = self.ledgers.get(*member) {
                    ledger.submit(number);
                }
                self.cluster.wake(*member).await;
            }
        }
    }

    pub(super) async fn submit_to_all(&mut self) {
        let all: Vec<usize> = (0..self.count()).collect();
        self.submit(&all).await;
    }

    /// Submits `numbers` numbers, one every `every_ms`.
    pub(super) async fn load(&mut self, numbers: usize, every_ms: u64) -> Seen {
        for _ in 0..numbers {
            self.submit_to_all().await;
            self.run_for(every_ms).await?;
        }
        Ok(())
    }

    /// Lets time pass, and looks at every ledger on the way.
    pub(super) async fn run_for(&mut self, ms: u64) -> Seen {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(LOOK_MS);
            self.cluster.run_for(step_ms).await;
            left_ms -= step_ms;
            self.look()?;
        }
        Ok(())
    }

    /// Lets time pass until `done`, or fails with `problem`.
    pub(super) async fn until(&mut self, problem: &str, done: impl Fn(&Self) -> bool) -> Seen {
        let mut left_ms = self.timing.settle_ms;
        while !done(self) {
            if left_ms == 0 {
                let heights: Vec<u64> = (0..self.count()).map(|member| self.height(member)).collect();
                return Err(format!("{problem}, {} ms later; heights {heights:?}", self.timing.settle_ms));
            }
            let step_ms = left_ms.min(LOOK_MS);
            self.run_for(step_ms).await?;
            left_ms -= step_ms;
        }
        Ok(())
    }

    /// One history, and no misuse.
    fn look(&mut self) -> Seen {
        for (member, ledger) in self.ledgers.iter().enumerate() {
            if let Some(violation) = ledger.violations().first() {
                return Err(format!("member {member}: {violation}"));
            }
            for (at, hash) in ledger.history().iter().enumerate() {
                match self.history.get(at) {
                    None => self.history.push(*hash),
                    Some(known) if known == hash => {}
                    Some(known) => {
                        let height = at + 1;
                        return Err(format!(
                            "member {member} has {hash} at height {height}, another had {known}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until the members named have all blocks and every submitted number.
    pub(super) async fn settle(&mut self, members: &[usize]) -> Seen {
        let wanted = self.submitted.len();
        let settled = |world: &Self| {
            let history = world.history.len();
            members.iter().all(|member| {
                world.ledgers.get(*member).is_some_and(|ledger| {
                    ledger.numbers().len() >= wanted && ledger.head().height.0 as usize + 1 >= history
                })
            })
        };
        self.until(&format!("members {members:?} do not have all {wanted} numbers and blocks"), settled)
            .await?;
        self.exactly_once(members)
    }

    pub(super) async fn settle_all(&mut self) -> Seen {
        let all: Vec<usize> = (0..self.count()).collect();
        self.settle(&all).await
    }

    fn exactly_once(&self, members: &[usize]) -> Seen {
        for member in members {
            let mut numbers = self.ledger(*member)?.numbers();
            numbers.sort_unstable();
            if numbers != self.submitted {
                return Err(format!(
                    "member {member} holds {numbers:?}, submitted were {:?}",
                    self.submitted
                ));
            }
        }
        Ok(())
    }

    /// Fails when a block becomes final anywhere in this time.
    pub(super) async fn stands_still(&mut self, ms: u64, why: &str) -> Seen {
        let before = self.highest();
        self.run_for(ms).await?;
        if self.highest() == before { Ok(()) } else { Err(format!("a block became final {why}")) }
    }
}
