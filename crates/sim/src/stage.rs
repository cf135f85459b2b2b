//! One era on the stage: members run, faults happen, clients send, everything is watched.

use crate::broken::Bug;
use crate::chronicle::NAMES;
use crate::consortium::{Consortium, evm_genesis};
use crate::member::{Job, Life, Receiver, Running, Sender};
use crate::plan::{Era, Fault, LEDGERS, Misbehaviour, Weather};
use crate::politics::ATTEMPT_MS;
use bletchley_consensus::epoch_of;
use bletchley_net::{CHANNELS, Circle};
use bletchley_primitives::Height;
use bletchley_simplex::Settings;
use bletchley_storage::Disk;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{self, SplitTarget};
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock as _, Supervisor as _};
use commonware_utils::{NZUsize, Probability};
use std::sync::Arc;
use std::time::Duration;

/// How often everything is looked at.
const LOOK_MS: u64 = 20;
/// Least time between blocks.
pub(crate) const PACE_MS: u64 = 50;
/// Longest time that an idle ledger goes without a block.
pub(crate) const HEARTBEAT_MS: u64 = 400;
/// Time in which a block becomes final when all honest members run and hear each other.
const PROGRESS_MS: u64 = 20_000;
/// Time in which all members have the same blocks once nothing goes wrong any more.
const SETTLE_MS: u64 = 60_000;
/// Blocks that must become final while they settle.
const SETTLE_BLOCKS: u64 = 3;
/// How long a member stays off whose engine ended by itself, after its disk failed.
const AFTER_FAILURE_MS: u64 = 200;
/// Longest message.
const MESSAGE_SIZE_BYTES_MAX: u32 = 4 << 20;

type Oracle = simulated::Oracle<PublicKey, Context>;

/// A member on the stage.
struct Actor {
    /// One life for each body.
    lives: Vec<Life>,
    /// When it starts again.
    due_ms: u64,
    /// Its disk was told to fail; how long it stays off then.
    failing: Option<u64>,
    lifetimes: u64,
}

struct Stage<'a> {
    context: Context,
    oracle: Oracle,
    all: &'a mut Consortium,
    actors: Vec<Actor>,
    groups: Option<(Vec<Vec<usize>>, u64)>,
    storm: Option<(Weather, u64)>,
    /// Since when all honest members run and hear each other, and the height of each ledger at that time.
    healthy: Option<(u64, [Height; LEDGERS])>,
    next_load_ms: u64,
    next_attempt_ms: u64,
}

/// Plays an era. After the last one everything is mended and must settle.
pub(crate) async fn play(
    context: Context,
    all: &mut Consortium,
    era: &Era,
    is_last: bool,
) -> Result<(), String> {
    let config = simulated::Config {
        max_size: MESSAGE_SIZE_BYTES_MAX,
        max_peers_per_set: NZUsize!(16),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(2),
    };
    let peers: Vec<PublicKey> = (0..all.seats.len()).filter_map(|member| all.public(member)).collect();
    let (network, oracle) = simulated::Network::new_with_peers(context.child("network"), config, peers).await;
    network.start();
    let now_ms = all.now_ms;
    let actor = |_| Actor { lives: Vec::new(), due_ms: now_ms, failing: None, lifetimes: 0 };
    let actors = (0..all.seats.len()).map(actor).collect();
    let mut stage = Stage {
        context: context.child("stage"),
        oracle,
        all,
        actors,
        groups: None,
        storm: None,
        healthy: None,
        next_load_ms: now_ms,
        next_attempt_ms: now_ms,
    };
    stage.wire().await?;
    stage.faults(era, now_ms).await?;
    if is_last {
        stage.settle().await?;
    }
    stage.nobody_cut_off().await
}

impl Stage<'_> {
    async fn faults(&mut self, era: &Era, began_ms: u64) -> Result<(), String> {
        let mut faults = era.faults.iter();
        let mut next = faults.next();
        while self.all.now_ms < began_ms + era.ms {
            while let Some((at_ms, fault)) = next.filter(|(at_ms, _)| began_ms + at_ms <= self.all.now_ms) {
                tracing::info!(at_ms, ?fault, "sim.fault");
                self.happen(fault).await?;
                next = faults.next();
            }
            self.step().await?;
        }
        Ok(())
    }

    async fn happen(&mut self, fault: &Fault) -> Result<(), String> {
        let now_ms = self.all.now_ms;
        match fault {
            Fault::PowerCut { member, down_ms } => self.stop(*member, *down_ms, true).await,
            Fault::Kill { member, down_ms } => self.stop(*member, *down_ms, false).await,
            Fault::Disk { member, ledger, operations, fault, down_ms } => {
                let bodies = self.all.seats.get(*member).map(|seat| &seat.bodies);
                let body = bodies.and_then(|bodies| bodies.first());
                if let Some(disk) = body.and_then(|body| body.disks.get(*ledger)) {
                    disk.plan(disk.operations() + operations, *fault);
                }
                if let Some(actor) = self.actors.get_mut(*member) {
                    actor.failing = Some(*down_ms);
                }
                Ok(())
            }
            Fault::Split { groups, for_ms } => {
                self.groups = Some((groups.clone(), now_ms + for_ms));
                self.wire().await
            }
            Fault::Storm { weather, for_ms } => {
                self.storm = Some((*weather, now_ms + for_ms));
                self.wire().await
            }
        }
    }

    /// Sets every link as partition and weather have it.
    async fn wire(&mut self) -> Result<(), String> {
        let weather = self.storm.map_or(self.all.plan.weather, |(weather, _)| weather);
        let rate = Probability::new(1_000 - weather.lost_per_mille.min(1_000), 1_000);
        let link = simulated::Link {
            latency: Duration::from_millis(weather.latency_ms),
            jitter: Duration::from_millis(weather.jitter_ms),
            success_rate: rate.ok_or("a probability is out of range")?,
        };
        let members = self.actors.len();
        for (from, to) in
            (0..members).flat_map(|from| (0..members).map(move |to| (from, to))).filter(|(a, b)| a != b)
        {
            let (Some(sender), Some(receiver)) = (self.all.public(from), self.all.public(to)) else {
                continue;
            };
            let _ = self.oracle.remove_link(sender.clone(), receiver.clone()).await;
            let together = |group: &Vec<usize>| group.contains(&from) && group.contains(&to);
            if self.groups.as_ref().is_none_or(|(groups, _)| groups.iter().any(together)) {
                let added = self.oracle.add_link(sender, receiver, link.clone()).await;
                added.map_err(|error| format!("linking members {from} and {to}: {error}"))?;
            }
        }
        self.healthy = None;
        Ok(())
    }

    async fn start(&mut self, member: usize) -> Result<(), String> {
        let seat = self.all.seats.get(member).ok_or("no such member")?;
        let key = self.all.public(member).ok_or("no such member")?;
        let control = self.oracle.control(key);
        let mut channels: Vec<Vec<(Sender, Receiver)>> = seat.bodies.iter().map(|_| Vec::new()).collect();
        for (number, channel) in (0u64..).zip(CHANNELS) {
            let registered = control.register(number, channel.quota()).await;
            let (sender, receiver) = registered.map_err(|error| error.to_string())?;
            if let [first, second] = channels.as_mut_slice() {
                let split = self.context.child("twins");
                let (one, other) = receiver.split_with(split, |_: &_| SplitTarget::Both);
                first.push((sender.clone(), one));
                second.push((sender, other));
            } else if let Some(only) = channels.first_mut() {
                only.push((sender, receiver));
            }
        }
        let mut lives = Vec::new();
        for (body, channels) in channels.into_iter().enumerate() {
            let job = self.job(member, body, &control).ok_or("no such member")?;
            let lifetime = self.actors.get(member).map_or(0, |actor| actor.lifetimes);
            let context = self.context.child("member").with_attribute("index", member);
            let context = context.with_attribute("body", body).with_attribute("life", lifetime);
            let life = Life::start(context, job, channels).await;
            if seat.is_honest
                && let Some(running) = &life.running
            {
                for (ledger, head) in running.heads().iter().enumerate() {
                    self.all.chronicle.reopened(member, ledger, head);
                }
            }
            lives.push(life);
        }
        if let Some(actor) = self.actors.get_mut(member) {
            actor.lives = lives;
            actor.lifetimes += 1;
        }
        self.healthy = None;
        Ok(())
    }

    fn job(
        &self,
        member: usize,
        body: usize,
        control: &simulated::Control<PublicKey, Context>,
    ) -> Option<Job> {
        let (all, plan) = (&*self.all, &self.all.plan);
        let seat = all.seats.get(member)?;
        let parts = seat.bodies.get(body)?;
        let everybody: Vec<usize> = (0..all.seats.len()).collect();
        let half: Vec<usize> = everybody.iter().copied().filter(|other| other % 2 == member % 2).collect();
        let voters = if plan.bug == Bug::HalfQuorum { half } else { everybody };
        let disk = |disk: &bletchley_storage::SimulatedDisk| -> Arc<dyn Disk> { Arc::new(disk.clone()) };
        Some(Job {
            member,
            body,
            is_honest: seat.is_honest,
            misbehaviour: plan.byzantine.filter(|(who, _)| *who == member).map(|(_, how)| how),
            bug: plan.bug,
            seed: plan.seed,
            peer: seat.peer.clone(),
            validator: seat.validator.clone(),
            disks: parts.disks.iter().map(disk).collect(),
            circle: Circle::new(all.peers(&parts.talks_to)),
            agreement: plan.agreement,
            roll: all.roll(&voters),
            chronicle: all.chronicle.clone(),
            honest: all.peers(&all.honest()),
            evm_genesis: evm_genesis(&all.clients),
            settings: Settings::new(Duration::from_millis(PACE_MS), Duration::from_millis(HEARTBEAT_MS)),
            control: control.clone(),
            manager: self.oracle.manager(),
            remembered: Arc::default(),
        })
    }

    /// Ends a member for a while.
    async fn stop(&mut self, member: usize, down_ms: u64, power: bool) -> Result<(), String> {
        self.look(member);
        let Some(actor) = self.actors.get_mut(member) else { return Ok(()) };
        actor.due_ms = actor.due_ms.max(self.all.now_ms + down_ms);
        actor.failing = None;
        for life in std::mem::take(&mut actor.lives) {
            life.end().await;
        }
        for disk in
            self.all.seats.get(member).iter().flat_map(|seat| &seat.bodies).flat_map(|body| &body.disks)
        {
            if power { disk.cut_power() } else { disk.kill() }
        }
        self.healthy = None;
        Ok(())
    }

    /// A reader looks at a member.
    fn look(&self, member: usize) {
        let Some(actor) = self.actors.get(member) else { return };
        if !self.all.seats.get(member).is_some_and(|seat| seat.is_honest) {
            return;
        }
        for running in actor.lives.iter().filter_map(|life| life.running.as_ref()) {
            for (ledger, head) in running.heads().iter().enumerate() {
                self.all.chronicle.seen(member, ledger, head);
            }
        }
    }

    /// Lets a little time pass.
    async fn step(&mut self) -> Result<(), String> {
        for member in 0..self.actors.len() {
            self.mind(member).await?;
        }
        let now_ms = self.all.now_ms;
        if self.groups.as_ref().is_some_and(|(_, until)| *until <= now_ms) {
            self.groups = None;
            self.wire().await?;
        }
        if self.storm.is_some_and(|(_, until)| until <= now_ms) {
            self.storm = None;
            self.wire().await?;
        }
        while self.next_load_ms <= now_ms {
            self.load();
            self.next_load_ms += self.all.plan.load_every_ms.max(1);
        }
        if self.next_attempt_ms <= now_ms && !self.all.has_decided() {
            self.decide();
            self.next_attempt_ms = now_ms + ATTEMPT_MS;
        }
        self.progress()?;
        if let Some(problem) = self.all.chronicle.problem() {
            return Err(problem);
        }
        self.context.sleep(Duration::from_millis(LOOK_MS)).await;
        self.all.now_ms += LOOK_MS;
        Ok(())
    }

    /// Looks after one member: starts it when it is time, and buries it when it has ended.
    async fn mind(&mut self, member: usize) -> Result<(), String> {
        let Some(actor) = self.actors.get(member) else { return Ok(()) };
        if actor.lives.is_empty() {
            return if actor.due_ms <= self.all.now_ms { self.start(member).await } else { Ok(()) };
        }
        self.look(member);
        let seat = self.all.seats.get(member).ok_or("no such member")?;
        let is_down = seat.bodies.iter().flat_map(|body| &body.disks).any(|disk| disk.is_down());
        let ended = actor.lives.iter().find_map(|life| life.ended.lock().clone());
        let failing = actor.failing;
        if is_down {
            return self.stop(member, failing.unwrap_or(AFTER_FAILURE_MS), true).await;
        }
        let Some(reason) = ended else { return Ok(()) };
        if !seat.is_honest {
            return Ok(());
        }
        match failing {
            // Its disk failed, and it rightly stopped.
            Some(down_ms) => self.stop(member, down_ms, false).await,
            None => Err(format!("member {member} stopped by itself: {reason}")),
        }
    }

    /// One transaction of a client, to a member that runs.
    fn load(&mut self) {
        let draw = &mut self.all.draw;
        let member = draw.below(self.actors.len().max(1) as u64) as usize;
        let life = self.actors.get(member).and_then(|actor| actor.lives.first());
        if let Some(running) = life.and_then(|life| life.running.as_ref()) {
            self.all.clients.send(running, draw);
        }
    }

    /// The members' next decision, through one that runs.
    fn decide(&mut self) {
        let draw = &mut self.all.draw;
        let member = draw.below(self.actors.len().max(1) as u64) as usize;
        let life = self.actors.get(member).and_then(|actor| actor.lives.first());
        if let Some(running) = life.and_then(|life| life.running.as_ref()) {
            self.all.decide(running);
        }
    }

    fn heights(&self) -> [Height; LEDGERS] {
        [self.all.chronicle.height(0), self.all.chronicle.height(1)]
    }

    /// With a quorum that hears each other, blocks become final in bounded time.
    fn progress(&mut self) -> Result<(), String> {
        let runs = |member: &usize| self.actors.get(*member).is_some_and(|actor| !actor.lives.is_empty());
        let is_healthy = self.groups.is_none() && self.storm.is_none() && self.all.honest().iter().all(runs);
        if !is_healthy {
            self.healthy = None;
            return Ok(());
        }
        let (now_ms, heights) = (self.all.now_ms, self.heights());
        let (since_ms, before) = *self.healthy.get_or_insert((now_ms, heights));
        let stuck = before.iter().zip(&heights).position(|(before, now)| before == now);
        match stuck {
            None => self.healthy = Some((now_ms, heights)),
            Some(ledger) if now_ms - since_ms > PROGRESS_MS => {
                let name = NAMES.get(ledger).copied().unwrap_or_default();
                let heads = self.heads();
                return Err(format!(
                    "no block of {name} became final for {PROGRESS_MS} ms, although all honest members run and hear each other; heads {heads:?}"
                ));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn heads(&self) -> Vec<Vec<u64>> {
        let of = |actor: &Actor| {
            let running = actor.lives.iter().filter_map(|life| life.running.as_ref());
            running.flat_map(|running| running.heads().map(|head| head.height.0)).collect()
        };
        self.actors.iter().map(of).collect()
    }

    /// Everything is mended; all honest members come to the same blocks, certificates included, and the money is there.
    async fn settle(&mut self) -> Result<(), String> {
        (self.groups, self.storm) = (None, None);
        self.wire().await?;
        let wanted = self.heights().map(|height| Height(height.0 + SETTLE_BLOCKS));
        let until_ms = self.all.now_ms + SETTLE_MS;
        for disk in self.all.seats.iter().flat_map(|seat| &seat.bodies).flat_map(|body| &body.disks) {
            disk.plan(u64::MAX, bletchley_storage::Fault::Crash);
        }
        while !self.has_settled(wanted) {
            if self.all.now_ms > until_ms {
                let heads = self.heads();
                return Err(format!(
                    "honest members have not all reached blocks {wanted:?} with certificates {SETTLE_MS} ms after everything was mended; heads {heads:?}"
                ));
            }
            self.step().await?;
        }
        for member in self.all.honest() {
            let life = self.actors.get(member).and_then(|actor| actor.lives.first());
            let running =
                life.and_then(|life| life.running.as_ref()).ok_or("an honest member does not run")?;
            self.all.clients.count(running).map_err(|problem| format!("member {member}: {problem}"))?;
            for (ledger, wanted) in wanted.iter().enumerate() {
                self.certified(ledger, running, *wanted)
                    .map_err(|problem| format!("member {member}: {problem}"))?;
            }
        }
        self.agreed()
    }

    fn honest_running(&self) -> impl Iterator<Item = Option<&Running>> {
        self.all.honest().into_iter().map(|member| {
            let life = self.actors.get(member).and_then(|actor| actor.lives.first());
            life.and_then(|life| life.running.as_ref())
        })
    }

    fn has_settled(&self, wanted: [Height; LEDGERS]) -> bool {
        self.all.has_decided()
            && self.honest_running().all(|running| {
                running.is_some_and(|running| {
                    let heads = running.heads();
                    let certified = running.assembled.iter().map(|assembled| assembled.certified());
                    let stand = heads.iter().zip(certified).zip(wanted);
                    stand
                        .into_iter()
                        .all(|((head, certified), wanted)| head.height >= wanted && certified >= wanted)
                        && validate_as_decided(running)
                })
            })
    }

    /// Everybody counted the same ballots to the same end.
    fn agreed(&self) -> Result<(), String> {
        let running: Vec<&Running> = self.honest_running().flatten().collect();
        let height = running.iter().map(|running| running.heads()[0].height).min().unwrap_or_default();
        let stand = running.iter().filter_map(|running| running.governance.as_ref());
        let digests: Vec<_> =
            stand.map(|governance| governance.at(height).map(|standing| standing.digest())).collect();
        let is_one = digests.windows(2).all(|two| two.first() == two.last());
        if is_one {
            Ok(())
        } else {
            Err(format!("the members stand differently at block {height}: {digests:?}"))
        }
    }

    /// The certificate of the newest certified block is of the final block, by a quorum of its epoch's validators.
    fn certified(&self, ledger: usize, running: &Running, wanted: Height) -> Result<(), String> {
        let assembled = running.assembled.get(ledger).ok_or("no such ledger")?;
        let newest = assembled.certified().max(wanted);
        let found = assembled.certificate(newest).map_err(|error| error.to_string())?;
        let certificate = found.ok_or_else(|| format!("block {newest} has no certificate"))?;
        let schedule = running.schedules.get(ledger).ok_or("no such ledger")?;
        let validators = schedule.validators(epoch_of(newest, schedule.epoch_blocks()));
        let validators = validators.ok_or_else(|| format!("nobody validates block {newest}"))?;
        certificate.verify(&validators.checkpoint_set()).map_err(|error| error.to_string())?;
        if Some(certificate.checkpoint.state) != self.all.chronicle.state_root(ledger, newest) {
            return Err(format!("the certificate of block {newest} is for another state"));
        }
        Ok(())
    }

    /// No honest member was cut off by another one.
    async fn nobody_cut_off(&self) -> Result<(), String> {
        let blocked = self.oracle.blocked().await.map_err(|error| error.to_string())?;
        let honest = self.all.honest();
        let twins = matches!(self.all.plan.byzantine, Some((_, Misbehaviour::Twins)));
        for (by, whom) in blocked {
            let member = |key: &PublicKey| {
                (0..self.actors.len()).find(|member| self.all.public(*member).as_ref() == Some(key))
            };
            let (by, whom) = (member(&by), member(&whom));
            let both = [by, whom].iter().flatten().all(|member| honest.contains(member));
            if both && !twins {
                return Err(format!("honest member {whom:?} was cut off by honest member {by:?}"));
            }
        }
        Ok(())
    }
}

/// Whether those validate the next block of each ledger whom the members decided on.
fn validate_as_decided(running: &Running) -> bool {
    let Some(governance) = &running.governance else { return true };
    let decided = governance.standing().validators();
    running.schedules.iter().zip(running.heads()).all(|(schedule, head)| {
        let epoch = epoch_of(head.height.next(), schedule.epoch_blocks());
        schedule.validators(epoch).is_some_and(|validators| *validators == decided)
    })
}
