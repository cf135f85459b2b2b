//! The scenarios.

use super::world::{Seen, World};
use super::{Cluster, Failure, Lie};
use crate::Application;
use bletchley_primitives::Height;
use std::fmt;

/// Blocks in an epoch where no set changes.
const EPOCH_BLOCKS: u64 = 300;
/// Blocks in an epoch where sets do change.
const SHORT_EPOCH_BLOCKS: u64 = 8;

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Everything submitted becomes final once, in one order, on all members.
    OneHistory,
    /// An idle ledger makes no blocks beyond the heartbeat.
    Idle,
    /// Blocks keep their distance.
    Paced,
    /// A member that restarts goes on where it was.
    Restart,
    /// All members end at once, several times, under load.
    Blackout,
    /// A member ends and comes back while the others go on.
    OneDown,
    /// A member comes back when the others are far ahead.
    FarBehind,
    /// A member comes back with an older copy of its ledger.
    OldCopy,
    /// A member comes back with nothing.
    WipedDisk,
    /// Without a quorum nothing becomes final, and all goes on when it is back.
    NoQuorum,
    /// A minority that is cut off makes nothing, and catches up.
    Minority,
    /// Two halves make nothing, and go on once they hear each other.
    Halves,
    /// A proposer whose blocks do not verify is passed over.
    InvalidProposer,
    /// A proposer that proposes nothing is passed over.
    SilentProposer,
    /// Blocks that cannot be verified yet are tried again.
    Early,
    /// Validators change at the end of an epoch: one leaves, one comes.
    SetChange,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::OneHistory,
        Self::Idle,
        Self::Paced,
        Self::Restart,
        Self::Blackout,
        Self::OneDown,
        Self::FarBehind,
        Self::OldCopy,
        Self::WipedDisk,
        Self::NoQuorum,
        Self::Minority,
        Self::Halves,
        Self::InvalidProposer,
        Self::SilentProposer,
        Self::Early,
        Self::SetChange,
    ];

    /// How many members the cluster must have. Checks that take one member run with any number.
    #[must_use]
    pub const fn members(self) -> usize {
        match self {
            Self::OneHistory | Self::Idle | Self::Paced | Self::Restart | Self::Blackout => 1,
            Self::SetChange => 5,
            _ => 4,
        }
    }

    /// Plays the scenario on a fresh cluster.
    ///
    /// # Errors
    /// [`Failure`] when the engine did what none may do, or did not do in time what it must.
    pub async fn run<C: Cluster>(self, cluster: C) -> Result<(), Failure> {
        let problem = match self {
            Self::SetChange => {
                let sets: [&[usize]; 2] = [&[0, 1, 2, 3], &[1, 2, 3, 4]];
                set_change(&mut World::begin(cluster, SHORT_EPOCH_BLOCKS, &sets).await).await
            }
            check => check.play(&mut World::begin(cluster, EPOCH_BLOCKS, &[]).await).await,
        };
        problem.map_err(|problem| Failure { check: self, problem })
    }

    async fn play<C: Cluster>(self, world: &mut World<C>) -> Seen {
        match self {
            Self::OneHistory => one_history(world).await,
            Self::Idle => idle(world).await,
            Self::Paced => paced(world).await,
            Self::Restart => restart(world).await,
            Self::Blackout => blackout(world).await,
            Self::OneDown => one_down(world).await,
            Self::FarBehind => comes_back(world, 0).await,
            Self::OldCopy => comes_back(world, 3).await,
            Self::WipedDisk => comes_back(world, usize::MAX).await,
            Self::NoQuorum => no_quorum(world).await,
            Self::Minority => minority(world).await,
            Self::Halves => halves(world).await,
            Self::InvalidProposer => bad_proposer(world, Lie::InvalidBlocks).await,
            Self::SilentProposer => bad_proposer(world, Lie::Silence).await,
            Self::Early => early(world).await,
            Self::SetChange => set_change(world).await,
        }
    }
}

async fn one_history<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(20, 70).await?;
    world.settle_all().await?;
    // Seals: those who agree leave something beside every block; a lone engine may not need it.
    for member in 0..world.count() {
        for height in 1..=world.height(member) {
            let seal = world.ledger(member)?.seal(Height(height));
            if world.count() > 1 && seal.is_none_or(|seal| seal.is_empty()) {
                return Err(format!("member {member} keeps no seal beside block {height}"));
            }
        }
    }
    Ok(())
}

async fn idle<C: Cluster>(world: &mut World<C>) -> Seen {
    const BEATS: u64 = 10;
    world.submit_to_all().await;
    world.settle_all().await?;
    let before = world.highest();
    let Some(heartbeat_ms) = world.timing.heartbeat_ms else {
        return world.stands_still(world.timing.settle_ms, "although nothing was submitted").await;
    };
    world.run_for(heartbeat_ms.saturating_mul(BEATS)).await?;
    let made = world.highest() - before;
    if made > BEATS + 1 {
        return Err(format!("{made} blocks in {BEATS} heartbeats of silence"));
    }
    if made < BEATS / 2 {
        return Err(format!("only {made} blocks in {BEATS} heartbeats"));
    }
    // Whoever waits for the heartbeat must notice that there is work.
    let beat = world.highest();
    world.until("no heartbeat came", |world| world.highest() > beat).await?;
    world.submit_to_all().await;
    world.run_for(heartbeat_ms / 2).await?;
    if world.ledger(0)?.numbers().len() < 2 {
        return Err(format!(
            "work that came just after a heartbeat was not done {} ms later",
            heartbeat_ms / 2
        ));
    }
    world.settle_all().await
}

async fn paced<C: Cluster>(world: &mut World<C>) -> Seen {
    let pace_ms = world.timing.pace_ms;
    world.load(40, (pace_ms / 4).max(1)).await?;
    world.settle_all().await?;
    let times = world.ledger(0)?.times_ms();
    for (at, pair) in times.windows(2).enumerate() {
        if let [earlier, later] = pair
            && later.saturating_sub(*earlier) < pace_ms
        {
            return Err(format!(
                "block {} came {} ms after the one before",
                at + 2,
                later.saturating_sub(*earlier)
            ));
        }
    }
    Ok(())
}

async fn restart<C: Cluster>(world: &mut World<C>) -> Seen {
    for round in 0..4_u64 {
        world.load(4, 60).await?;
        for member in 0..world.count() {
            world.crash(member).await;
            // A different moment of the engine's work each time.
            world.run_for(7 + 13 * round).await?;
            world.restart(member).await;
        }
    }
    world.settle_all().await
}

async fn blackout<C: Cluster>(world: &mut World<C>) -> Seen {
    for round in 0..6_u64 {
        world.load(3, 41 + 17 * round).await?;
        for member in 0..world.count() {
            world.crash(member).await;
        }
        world.stands_still(100, "while no member ran").await?;
        for member in 0..world.count() {
            world.restart(member).await;
        }
    }
    world.settle_all().await
}

async fn one_down<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(5, 60).await?;
    for down in 0..world.count() {
        world.crash(down).await;
        let others: Vec<usize> = (0..world.count()).filter(|member| *member != down).collect();
        world.load(6, 60).await?;
        world.settle(&others).await?;
        world.restart(down).await;
        world.settle_all().await?;
    }
    Ok(())
}

async fn comes_back<C: Cluster>(world: &mut World<C>, lost: usize) -> Seen {
    world.load(10, 60).await?;
    world.settle_all().await?;
    world.crash(1).await;
    world.ledger(1)?.lose(lost);
    let wanted = world.highest() + 60;
    while world.highest() < wanted {
        let before = world.highest();
        world.submit(&[0, 2, 3]).await;
        world.until("three of four members stand still", |world| world.highest() > before).await?;
    }
    world.restart(1).await;
    world.settle_all().await?;
    // Not only has it caught up: it is needed, and there.
    world.crash(2).await;
    world.load(6, 60).await?;
    world.settle(&[0, 1, 3]).await
}

async fn no_quorum<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(5, 60).await?;
    world.settle_all().await?;
    world.crash(2).await;
    world.crash(3).await;
    // A block that already had its votes may still become final.
    world.run_for(1_000).await?;
    world.submit_to_all().await;
    world.stands_still(world.timing.settle_ms / 2, "without a quorum").await?;
    world.restart(3).await;
    world.settle(&[0, 1, 3]).await?;
    world.restart(2).await;
    world.settle_all().await
}

async fn minority<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(5, 60).await?;
    world.settle_all().await?;
    world.connect(&[&[0], &[1, 2, 3]]).await;
    world.run_for(1_000).await?;
    let (alone, before) = (world.height(0), world.height(1));
    for _ in 0..10 {
        world.submit(&[1, 2, 3]).await;
        world.run_for(100).await?;
    }
    world.settle(&[1, 2, 3]).await?;
    if world.height(0) > alone || world.height(1) <= before {
        return Err(format!(
            "the lone member went from {alone} to {}, the others from {before} to {}",
            world.height(0),
            world.height(1)
        ));
    }
    world.heal().await;
    world.settle_all().await
}

async fn halves<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(5, 60).await?;
    world.settle_all().await?;
    world.connect(&[&[0, 1], &[2, 3]]).await;
    world.run_for(1_000).await?;
    world.submit_to_all().await;
    world.stands_still(world.timing.settle_ms / 2, "in one of two halves").await?;
    world.heal().await;
    world.settle_all().await
}

async fn bad_proposer<C: Cluster>(world: &mut World<C>, lie: Lie) -> Seen {
    let liar = 2;
    world.ledger(liar)?.lie(lie);
    let others: Vec<usize> = (0..world.count()).filter(|member| *member != liar).collect();
    // At least two turns of everybody.
    for _ in 0..world.count() * 2 {
        world.submit(&others).await;
        world.settle(&others).await?;
    }
    let refused =
        (0..world.count()).try_fold(0, |sum, member| world.ledger(member).map(|l| sum + l.refused()))?;
    if lie == Lie::InvalidBlocks && refused == 0 {
        return Err("nobody was asked to verify the invalid blocks".to_owned());
    }
    world.ledger(liar)?.lie(Lie::None);
    world.settle_all().await
}

async fn early<C: Cluster>(world: &mut World<C>) -> Seen {
    world.load(3, 60).await?;
    for _ in 0..5 {
        for member in 0..world.count() {
            world.ledger(member)?.be_early(3);
        }
        world.submit_to_all().await;
        world.settle_all().await?;
    }
    Ok(())
}

/// Member 0 votes in epoch 0 only, member 4 from epoch 1 on; both follow all the time.
async fn set_change<C: Cluster>(world: &mut World<C>) -> Seen {
    // The change is pending: the epoch must end without anything to do.
    world
        .until("an idle epoch does not end although a change waits for it", |world| {
            world.highest() >= SHORT_EPOCH_BLOCKS
        })
        .await?;
    world.load(5, 60).await?;
    world.settle_all().await?;
    // The one that left is not missed, and the one that came is needed.
    world.crash(0).await;
    world.crash(1).await;
    let before = world.highest();
    while world.highest() < before + SHORT_EPOCH_BLOCKS * 2 {
        let height = world.highest();
        world.submit(&[2, 3, 4]).await;
        world.until("the new set stands still", |world| world.highest() > height).await?;
    }
    world.restart(0).await;
    world.restart(1).await;
    world.settle_all().await
}
