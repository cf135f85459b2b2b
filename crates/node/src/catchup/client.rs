//! A ledger that catches up: how far the others are, what proves it, and the way there.

use super::chain::{Chain, Sets};
use super::exchange::{Event, Exchange};
use super::fetch::Fetch;
use super::peers::Peers;
use super::taker::{KnowsRules, SealHolds, Way};
use super::{Desk, GAP_BLOCKS, abstain};
use crate::certificates::ReadHeader;
use bletchley_consensus::{PeerId, Schedule, To, epoch_of};
use bletchley_ledger::{FinalityProof, Machine, SharedStore, SyncMessage, TableError};
use bletchley_primitives::{Address, Height, LedgerId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How often it is looked whether the others have gone on meanwhile.
const ROUNDS_MAX: usize = 64;

/// One ledger that may be behind.
pub(crate) struct Subject {
    /// Its name in the consortium.
    pub(crate) name: String,
    /// The ledger.
    pub(crate) ledger: LedgerId,
    /// Runs its blocks, or takes their results over.
    pub(crate) machine: Arc<dyn Machine>,
    /// Keeps them.
    pub(crate) store: SharedStore,
    /// Who validates when.
    pub(crate) schedule: Arc<dyn Schedule>,
    /// How its headers are read.
    pub(crate) read_header: ReadHeader,
    /// Whether what its engine keeps beside a block holds.
    pub(crate) seal_holds: SealHolds,
    /// Whether this program knows the rules of a block.
    pub(crate) knows_rules: KnowsRules,
    /// Who this member is when it signs checkpoints.
    pub(crate) me: Address,
    /// Whether its engine has files of its own for this ledger.
    pub(crate) has_engine_files: bool,
}

/// How patient a member is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// How long it waits for others to say how far they are.
    pub(crate) ask: Duration,
    /// How long an answer may take.
    pub(crate) answer: Duration,
    /// How long nothing may come in before it gives up.
    pub(crate) patience: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ask: Duration::from_millis(600),
            answer: Duration::from_secs(4),
            patience: Duration::from_secs(30),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Blocks that were taken in.
    pub(crate) blocks: u64,
    /// The last epoch in which this member must not vote.
    pub(crate) abstains_through: Option<u64>,
    /// Why it did not get to where the others are.
    pub(crate) gave_up: Option<String>,
}

pub(super) struct Client<'a> {
    pub(super) subject: &'a Subject,
    pub(super) exchange: &'a Exchange,
    pub(super) desk: &'a Desk,
    pub(super) times: Times,
    pub(super) peers: Peers,
    pub(super) events: Receiver<Event>,
    pub(super) sender: Sender<Event>,
    /// This member signed a block above the head that it had.
    pub(super) signed_above: bool,
    began_at: Height,
}

/// Takes in what the other members have and this one has not.
///
/// # Errors
/// When what it must remember cannot be written.
pub(crate) fn catch_up(
    subject: &Subject,
    exchange: &Exchange,
    desk: &Desk,
    times: Times,
) -> Result<Outcome, TableError> {
    let (sender, events) = channel();
    exchange.answer_to(Some(sender.clone()));
    let began_at = subject.machine.head().height;
    let mut client = Client {
        subject,
        exchange,
        desk,
        times,
        peers: Peers::default(),
        events,
        sender,
        signed_above: false,
        began_at,
    };
    let outcome = client.run();
    exchange.answer_to(None);
    desk.end(&subject.name);
    outcome
}

impl Client<'_> {
    fn run(&mut self) -> Result<Outcome, TableError> {
        let mut outcome = Outcome::default();
        let head = || self.subject.machine.head().height;
        let before = head();
        let mut newest = Height(0);
        self.gather();
        for _ in 0..ROUNDS_MAX {
            newest =
                self.peers.claims().map(|(_, claim)| claim.certified).max().unwrap_or_default().max(newest);
            let Some((peer, claim)) = self.peers.best() else { break };
            if claim.certified.0 <= head().0.saturating_add(GAP_BLOCKS) {
                outcome.gave_up = None;
                break;
            }
            let Some(proof) = self.prove(peer) else { continue };
            match self.fetch(peer, &proof) {
                Ok(()) => {}
                Err(problem) => {
                    tracing::warn!(ledger = self.subject.name, head = %head(), %problem, "sync.stopped: the engine goes on from here");
                    outcome.gave_up = Some(problem);
                    break;
                }
            }
            self.gather();
        }
        outcome.blocks = head().0.saturating_sub(before.0);
        self.settle_votes(&mut outcome, newest)?;
        Ok(outcome)
    }

    /// Finds out whether this member may vote.
    fn settle_votes(&self, outcome: &mut Outcome, newest: Height) -> Result<(), TableError> {
        let Subject { store, schedule, has_engine_files, name, .. } = self.subject;
        // Blocks, but none of the engine's own notes: somebody removed them.
        let forgot = !has_engine_files && self.began_at > Height(0) && newest > self.began_at;
        if (self.signed_above || forgot) && !self.desk.votes_at_once {
            let newest = newest.max(self.subject.machine.head().height);
            let epoch = abstain::note(&**store, newest, &**schedule)?;
            tracing::warn!(
                ledger = name,
                epoch,
                "sync.abstains: this data is older than what this member signed; it follows until that epoch ends, and votes again then"
            );
        }
        if !self.desk.votes_at_once {
            outcome.abstains_through = abstain::abstains_through(&**store, &**schedule)?;
        }
        Ok(())
    }

    /// Asks everybody how far they are, and waits until enough have said so.
    fn gather(&mut self) {
        let deadline = Instant::now() + self.times.ask;
        let epoch = epoch_of(self.subject.machine.head().height.next(), self.subject.schedule.epoch_blocks());
        let validators = self.subject.schedule.validators(epoch);
        let others = validators.map_or(1, |set| set.as_slice().len().saturating_sub(1));
        let enough = (others * 2).div_ceil(3).max(1);
        let mut asked: Option<Instant> = None;
        let mut answered = std::collections::BTreeSet::new();
        loop {
            let now = Instant::now();
            if answered.len() >= enough || now >= deadline {
                return;
            }
            if asked.is_none_or(|asked| now.duration_since(asked) >= self.times.ask / 6) {
                self.exchange.send(To::All, &SyncMessage::Ask);
                asked = Some(now);
            }
            let wait = (self.times.ask / 6).min(deadline.saturating_duration_since(now));
            if let Ok(Event::Answer(peer, message, size_bytes)) = self.events.recv_timeout(wait) {
                self.exchange.looked_at(size_bytes);
                if let SyncMessage::Claim(claim) = *message {
                    self.peers.claim(peer, claim);
                    answered.insert(peer);
                }
            }
        }
    }

    /// The proof that the newest certified block of `peer` is final; none when it has none that holds.
    fn prove(&mut self, peer: PeerId) -> Option<FinalityProof> {
        let deadline = Instant::now() + self.times.answer;
        self.exchange.send(To::One(peer), &SyncMessage::WantProof);
        while let Some(wait) = deadline.checked_duration_since(Instant::now()) {
            let Ok(event) = self.events.recv_timeout(wait) else { break };
            let Event::Answer(from, message, size_bytes) = event else { continue };
            self.exchange.looked_at(size_bytes);
            match *message {
                SyncMessage::Claim(claim) => self.peers.claim(from, claim),
                SyncMessage::Proof(proof) if from == peer => {
                    return match self.check_proof(peer, &proof) {
                        Ok(()) => Some(*proof),
                        Err(problem) => {
                            self.refuse(peer, &problem);
                            None
                        }
                    };
                }
                SyncMessage::Missing(_) if from == peer => break,
                _ => {}
            }
        }
        self.refuse(peer, "it claims a certified block, and does not show it");
        None
    }

    fn check_proof(&self, peer: PeerId, proof: &FinalityProof) -> Result<(), String> {
        let genesis = self.subject.schedule.validators(0).ok_or("the first validators are not known")?;
        let genesis = genesis.checkpoint_set();
        let proved = proof.verify(self.subject.ledger, &genesis, self.subject.read_header);
        let proved = proved.map_err(|error| error.to_string())?;
        let claimed = self.peers.claims().find(|(known, _)| *known == peer).map(|(_, claim)| claim.certified);
        let claimed = claimed.unwrap_or_default();
        if proved.certified.0.saturating_add(GAP_BLOCKS) < claimed.0 {
            return Err(format!(
                "it claims that block {claimed} is certified, and shows block {}",
                proved.certified
            ));
        }
        Ok(())
    }

    /// A member is not asked again, and the log says why.
    pub(super) fn refuse(&mut self, peer: PeerId, problem: &str) {
        if self.peers.refuse(peer) {
            self.desk.refused.fetch_add(1, Ordering::Relaxed);
            let member = self.name_of(peer);
            tracing::warn!(
                ledger = self.subject.name,
                member,
                problem,
                "sync.refused: this member is not asked again"
            );
        }
    }

    pub(super) fn name_of(&self, peer: PeerId) -> String {
        let epoch_blocks = self.subject.schedule.epoch_blocks();
        let epoch = epoch_of(self.subject.machine.head().height.next(), epoch_blocks);
        let found = self.subject.schedule.validators(epoch);
        let name = found.and_then(|set| set.get(peer).map(|validator| validator.name.clone()));
        name.unwrap_or_else(|| peer.to_string())
    }

    /// Gets everything up to the block that the proof shows.
    fn fetch(&mut self, peer: PeerId, proof: &FinalityProof) -> Result<(), String> {
        let target = proof.certificate.checkpoint.height;
        let head = self.subject.machine.head();
        let executes = self.desk.replay || !self.subject.machine.adopts();
        let step = if executes { "replay" } else { "snapshot" };
        let member = self.name_of(peer);
        tracing::info!(ledger = self.subject.name, from = %head.height, to = %target, member, step, "sync.begin");
        self.desk.begin(self.subject, step, target, member);
        let genesis = self.subject.schedule.validators(0).ok_or("the first validators are not known")?;
        let sets = Sets::of(&genesis.checkpoint_set(), proof);
        let chain =
            Chain::above(self.subject.ledger, self.subject.read_header, sets, (head.height, head.hash));
        let way = Way { machine: self.subject.machine.clone(), executes };
        let began = Instant::now();
        let fetched = Fetch::new(self, chain, target).run(&way);
        let head = self.subject.machine.head().height;
        tracing::info!(ledger = self.subject.name, %head, seconds = began.elapsed().as_secs_f64(), "sync.end");
        fetched
    }
}
