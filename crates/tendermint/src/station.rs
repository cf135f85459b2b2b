//! One member at one height: messages, timers and the application's answers go in, what to do comes out. Nothing here
//! waits.

use crate::backfill::Backfill;
use crate::context::{At, Digest, Seats, SignedProposal};
use crate::core::{Core, Entry, Output};
use crate::counters::Counters;
use crate::message::{Message, Seal};
use crate::settings::Settings;
use crate::signing::Pen;
use crate::timers::{Timers, millis};
use crate::wal::Record;
use crate::worker::{Done, Job};
use arc_malachitebft_core_consensus::Input;
use arc_malachitebft_core_types::{Round, TimeoutKind, Validity};
use bletchley_consensus::{Application, ApplicationError, Payload, PeerId, Proposal, Schedule, epoch_of};
use bletchley_primitives::{B256, BlockHash, Height, LedgerId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the member shall do, in this order.
#[derive(Debug)]
pub(crate) enum Act {
    /// Append to the log; durable before anything after it is sent.
    Log(Record),
    /// A new height's log begins.
    BeginLog(u64),
    /// Send to one, or to everybody.
    Send(Option<PeerId>, Message),
    /// Have the application do something.
    Work(Job),
    /// Send final blocks from a height on.
    Serve(PeerId, Height),
}

/// What other members are answered, each not too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Status,
    Payload,
    Final,
}

/// What is known of a payload at the height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The application executes it.
    Pending,
    /// It cannot be executed yet; it is tried again then.
    Early(u64),
    /// It holds.
    Valid,
    /// It does not.
    Invalid,
}

/// This member's turn to propose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) round: u32,
    pub(crate) next_ms: u64,
    busy: bool,
}

/// A member.
pub(crate) struct Station {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ledger: LedgerId,
    pub(crate) application: Arc<dyn Application>,
    schedule: Arc<dyn Schedule>,
    pub(crate) pen: Pen,
    pub(crate) core: Option<Core>,
    /// Whether the rules have begun this height: its validators must be known.
    pub(crate) begun: bool,
    pub(crate) height: u64,
    parent: B256,
    head_hash: BlockHash,
    head_ms: u64,
    pub(crate) payloads: BTreeMap<(u64, B256), (PeerId, Payload)>,
    proposals: Vec<SignedProposal>,
    verdicts: BTreeMap<B256, Verdict>,
    hashes: BTreeMap<B256, BlockHash>,
    /// Payloads that were proposed and did not come, and when to ask for them.
    pub(crate) wanted: BTreeMap<B256, u64>,
    asked_payloads: usize,
    deciding: Option<(Seal, Option<u64>)>,
    pub(crate) turn: Option<Turn>,
    pub(crate) timers: Timers,
    pub(crate) backfill: Backfill,
    pub(crate) status_ms: u64,
    pub(crate) answered_ms: BTreeMap<(PeerId, Answer), u64>,
    pub(crate) now_ms: u64,
    acts: Vec<Act>,
    pending: VecDeque<Digest>,
    /// What the log holds of the height, until the height has begun.
    records: Vec<Record>,
}

/// What a station stands on.
pub(crate) struct Ground {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ledger: LedgerId,
    pub(crate) application: Arc<dyn Application>,
    pub(crate) schedule: Arc<dyn Schedule>,
    pub(crate) pen: Pen,
}

/// Why a station cannot go on.
pub(crate) type Halt = ApplicationError;

impl Station {
    /// A station above the application's head.
    pub(crate) fn new(ground: Ground, now_ms: u64) -> Self {
        let Ground { settings, counters, ledger, application, schedule, pen } = ground;
        Self {
            settings,
            counters,
            ledger,
            application,
            schedule,
            pen,
            core: None,
            begun: false,
            height: 0,
            parent: B256::ZERO,
            head_hash: BlockHash::default(),
            head_ms: 0,
            payloads: BTreeMap::new(),
            proposals: Vec::new(),
            verdicts: BTreeMap::new(),
            hashes: BTreeMap::new(),
            wanted: BTreeMap::new(),
            asked_payloads: 0,
            deciding: None,
            turn: None,
            timers: Timers::default(),
            backfill: Backfill::default(),
            status_ms: now_ms,
            answered_ms: BTreeMap::new(),
            now_ms,
            acts: Vec::new(),
            pending: VecDeque::new(),
            records: Vec::new(),
        }
    }

    pub(crate) fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// What the log holds of the height.
    pub(crate) fn remember(&mut self, records: Vec<Record>) {
        self.records = records;
    }

    pub(crate) fn act(&mut self, act: Act) {
        self.acts.push(act);
    }

    /// Goes to the height above the head.
    pub(crate) fn arrive(&mut self) -> Result<(), Halt> {
        let head = self.application.head();
        let keep = |problem: &str| Halt::Keep { height: head.height, problem: problem.to_owned() };
        self.parent = crate::backfill::payload_digest(&*self.application, self.ledger, head.height).ok_or_else(|| {
            keep("the block at the head has no seal of this engine; restore the ledger from a copy that has")
        })?;
        (self.head_hash, self.head_ms, self.height) = (head.hash, head.time_ms.0, head.height.next().0);
        self.begun = false;
        self.deciding = None;
        self.turn = None;
        self.proposals.clear();
        self.verdicts.clear();
        self.hashes.clear();
        self.wanted.clear();
        self.pending.clear();
        self.timers.clear();
        self.payloads = self.payloads.split_off(&(self.height, B256::ZERO));
        Ok(())
    }

    /// Begins the height, once its validators are known.
    pub(crate) fn begin(&mut self) -> Result<(), Halt> {
        let epoch = epoch_of(Height(self.height), self.schedule.epoch_blocks());
        let Some(seats) = self.schedule.validators(epoch).and_then(|set| Seats::new(&set)) else {
            self.timers.set_begin(self.now_ms + millis(Settings::EARLY_RETRY));
            return Ok(());
        };
        let mut entries: Vec<Entry> = Vec::new();
        let own = self.pen.voter().0;
        for record in std::mem::take(&mut self.records) {
            match record {
                Record::Entry(entry) => {
                    if let Input::Proposal(proposal) = &entry {
                        self.proposals.push(proposal.clone());
                    }
                    if let Input::ProposedValue(value, _) = &entry {
                        let valid = value.validity.is_valid();
                        let verdict = if valid { Verdict::Valid } else { Verdict::Invalid };
                        self.verdicts.insert(value.value.0, verdict);
                    }
                    entries.push(entry);
                }
                Record::Payload(payload) => {
                    self.payloads.insert((self.height, payload.digest()), (own, payload));
                }
            }
        }
        self.begun = true;
        let at = At(self.height);
        let votes = self.settings.abstains_through.is_none_or(|last| epoch > last);
        let make = || Core::new(self.pen.clone(), self.counters.clone(), at, seats.clone(), votes);
        let kept = self.core.take().filter(|core| core.votes() == votes);
        let mut core = kept.unwrap_or_else(make);
        let begun = core.begin(at, seats, entries);
        self.core = Some(core);
        let outputs = begun.map_err(|error| self.halt(&error.to_string()))?;
        // Proposals that came out of the log were considered in an earlier life, or not: consider them again.
        self.pending.extend(self.proposals.iter().map(|proposal| proposal.value));
        self.absorb(outputs)?;
        self.take_arrived()
    }

    fn halt(&self, problem: &str) -> Halt {
        let problem = format!("{problem}; stop this member and restore its data before it votes again");
        Halt::Keep { height: Height(self.height), problem }
    }

    /// Feeds the rules. Errors of theirs concern one message, except while a log is replayed.
    pub(crate) fn feed<E: std::fmt::Display>(
        &mut self,
        input: impl FnOnce(&mut Core) -> Result<Vec<Output>, E>,
    ) -> Result<(), Halt> {
        if !self.begun {
            return Ok(());
        }
        match self.core.as_mut().map(input) {
            Some(Ok(outputs)) => self.absorb(outputs),
            Some(Err(error)) => {
                tracing::warn!(height = self.height, %error, "tendermint.feed");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn absorb(&mut self, outputs: Vec<Output>) -> Result<(), Halt> {
        for output in outputs {
            match output {
                Output::Log(entry) => {
                    if let Input::Proposal(proposal) = &entry {
                        self.proposals.push(proposal.clone());
                        self.pending.push_back(proposal.value);
                    }
                    self.acts.push(Act::Log(Record::Entry(entry)));
                }
                Output::Send(message) => self.acts.push(Act::Send(None, message)),
                Output::Arm(timeout) if timeout.kind == TimeoutKind::Propose => {
                    self.await_proposal(timeout.round)
                }
                Output::Arm(timeout) => self.timers.arm(timeout, self.now_ms, &self.settings),
                Output::Disarm(timeout) => self.timers.disarm(timeout),
                Output::DisarmAll => self.timers.clear(),
                Output::Round(round) => {
                    self.turn = None;
                    self.counters.enter(round.as_u32().unwrap_or(0).into());
                    if round > Round::ZERO {
                        self.counters.lose_round();
                    }
                }
                Output::Propose(round) => {
                    let round = round.as_u32().unwrap_or(0);
                    self.turn = Some(Turn { round, next_ms: self.now_ms, busy: false });
                }
                Output::Resend(Digest(digest)) => self.send_payload(None, digest),
                Output::Decided(commit) => self.decide(Seal(commit)),
            }
        }
        while let Some(digest) = self.pending.pop_front() {
            self.consider(digest)?;
        }
        // A proposal of this round is signed already (it came out of the log): there must never be a second.
        let own = self.pen.voter();
        let signed = |turn: &Turn| {
            let same = |p: &SignedProposal| p.proposer == own && p.round == Round::Some(turn.round);
            self.proposals.iter().any(same)
        };
        if self.turn.as_ref().is_some_and(signed) {
            self.turn = None;
        }
        self.try_turn();
        Ok(())
    }

    /// Others wait for a proposal only once there is something to propose; later rounds are there to make progress.
    fn await_proposal(&mut self, round: Round) {
        let lazy = round == Round::ZERO && !self.has_work();
        let begin_ms = if lazy { self.heartbeat_ms() } else { self.paced_ms() };
        self.timers.await_proposal(round, begin_ms.max(self.now_ms), lazy, &self.settings);
    }

    fn has_work(&self) -> bool {
        self.application.ready() > 0 || self.schedule.change_pending()
    }

    fn heartbeat_ms(&self) -> u64 {
        let voted = self.schedule.pace().map(|pace| pace.heartbeat);
        self.head_ms.saturating_add(millis(voted.unwrap_or(self.settings.heartbeat)))
    }

    fn paced_ms(&self) -> u64 {
        let voted = self.schedule.pace().map(|pace| pace.block);
        self.head_ms.saturating_add(millis(voted.unwrap_or(self.settings.pace)))
    }

    /// Transactions may be ready.
    pub(crate) fn wake(&mut self) {
        if self.has_work() {
            self.timers.hurry(self.paced_ms().max(self.now_ms), &self.settings);
        }
        if let Some(turn) = &mut self.turn {
            turn.next_ms = self.now_ms;
        }
        self.try_turn();
    }

    /// Has a block built when it is time for one.
    pub(crate) fn try_turn(&mut self) {
        let (now_ms, paced_ms, heartbeat_ms) = (self.now_ms, self.paced_ms(), self.heartbeat_ms());
        let Some(mut turn) = self.turn.filter(|turn| !turn.busy && turn.next_ms <= now_ms) else { return };
        let allow_empty = turn.round > 0 || now_ms >= heartbeat_ms || self.schedule.change_pending();
        if now_ms < paced_ms {
            turn.next_ms = paced_ms;
        } else if !allow_empty && self.application.ready() == 0 {
            turn.next_ms = heartbeat_ms;
        } else {
            turn.busy = true;
            let (height, round, parent) = (Height(self.height), turn.round, self.head_hash);
            self.act(Act::Work(Job::Propose { height, round, parent, time_ms: now_ms, allow_empty }));
        }
        self.turn = Some(turn);
    }

    fn proposed(&mut self, round: u32, proposal: Option<Proposal>) -> Result<(), Halt> {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.round == round) else {
            if let Some(proposal) = proposal {
                self.act(Act::Work(Job::Abandon(proposal.hash)));
            }
            return Ok(());
        };
        let Some(proposal) = proposal else {
            turn.busy = false;
            turn.next_ms = self.now_ms + millis(Settings::BARREN_RETRY);
            return Ok(());
        };
        self.turn = None;
        let payload = Payload::new(self.parent, Height(self.height), proposal.block);
        let digest = payload.digest();
        self.hashes.insert(digest, proposal.hash);
        self.verdicts.insert(digest, Verdict::Valid);
        self.payloads.insert((self.height, digest), (self.pen.voter().0, payload.clone()));
        self.send_payload(None, digest);
        self.act(Act::Log(Record::Payload(payload)));
        self.feed(|core| core.propose(Round::Some(round), Digest(digest)))
    }

    pub(crate) fn send_payload(&mut self, to: Option<PeerId>, digest: B256) {
        if let Some((_, payload)) = self.payloads.get(&(self.height, digest)) {
            let message = Message::Payload(payload.clone());
            self.act(Act::Send(to, message));
        }
    }

    /// A payload was proposed or has come: find out whether it holds.
    pub(crate) fn consider(&mut self, digest: Digest) -> Result<(), Halt> {
        if self.verdicts.contains_key(&digest.0) || !self.proposals.iter().any(|p| p.value == digest) {
            return Ok(());
        }
        let Some((_, payload)) = self.payloads.get(&(self.height, digest.0)) else {
            let ask_ms = self.now_ms + millis(self.settings.patience);
            self.wanted.entry(digest.0).or_insert(ask_ms);
            return Ok(());
        };
        self.wanted.remove(&digest.0);
        if payload.parent != self.parent {
            return self.judge(digest.0, Verdict::Invalid);
        }
        self.verdicts.insert(digest.0, Verdict::Pending);
        let (height, digest, block) = (Height(self.height), digest.0, payload.block());
        self.act(Act::Work(Job::Verify { height, digest, block }));
        Ok(())
    }

    fn judge(&mut self, digest: B256, verdict: Verdict) -> Result<(), Halt> {
        self.verdicts.insert(digest, verdict);
        let validity = if verdict == Verdict::Valid { Validity::Valid } else { Validity::Invalid };
        let Some(proposal) = self.proposals.iter().find(|p| p.value == Digest(digest)).cloned() else {
            return Ok(());
        };
        if let Some((_, payload)) = self.payloads.get(&(self.height, digest)).filter(|_| validity.is_valid())
        {
            let record = Record::Payload(payload.clone());
            self.act(Act::Log(record));
        }
        self.feed(|core| core.judge(&proposal, validity))
    }

    fn verified(&mut self, digest: B256, result: Result<Proposal, ApplicationError>) -> Result<(), Halt> {
        if self.deciding.is_some() && !self.verdicts.contains_key(&digest) {
            return Ok(());
        }
        match result {
            Ok(proposal) if proposal.height != Height(self.height) => {
                self.act(Act::Work(Job::Abandon(proposal.hash)));
                self.judge(digest, Verdict::Invalid)
            }
            Ok(proposal) => {
                self.hashes.insert(digest, proposal.hash);
                let ahead_ms = proposal.time_ms.0.saturating_sub(self.now_ms);
                if ahead_ms > millis(self.settings.drift) {
                    return self.too_early(digest);
                }
                self.judge(digest, Verdict::Valid)
            }
            Err(error) if error.is_early() => self.too_early(digest),
            Err(error) => {
                tracing::warn!(height = self.height, %digest, %error, "tendermint.verify: a proposal is refused");
                // Whoever proposed the digest signed it, and the digest is of these bytes.
                if let Some(proposal) = self.proposals.iter().find(|p| p.value == Digest(digest)) {
                    self.application.refused(Height(self.height), proposal.proposer.0, &error);
                }
                self.judge(digest, Verdict::Invalid)
            }
        }
    }

    fn too_early(&mut self, digest: B256) -> Result<(), Halt> {
        self.verdicts.insert(digest, Verdict::Early(self.now_ms + millis(Settings::EARLY_RETRY)));
        Ok(())
    }

    /// Tries again what could not be executed yet.
    pub(crate) fn retry(&mut self) {
        let due = |(digest, verdict): (&B256, &Verdict)| match verdict {
            Verdict::Early(at_ms) if *at_ms <= self.now_ms => Some(*digest),
            _ => None,
        };
        let due: Vec<B256> = self.verdicts.iter().filter_map(due).collect();
        for digest in due {
            if let Some((_, payload)) = self.payloads.get(&(self.height, digest)) {
                let (height, block) = (Height(self.height), payload.block());
                self.verdicts.insert(digest, Verdict::Pending);
                self.act(Act::Work(Job::Verify { height, digest, block }));
            }
        }
        if self.deciding.as_ref().is_some_and(|(_, at_ms)| at_ms.is_some_and(|at_ms| at_ms <= self.now_ms)) {
            self.keep();
        }
        self.ask_payloads();
    }

    fn ask_payloads(&mut self) {
        let (now_ms, height) = (self.now_ms, Height(self.height));
        let due: Vec<B256> = self.wanted.iter().filter(|(_, at)| **at <= now_ms).map(|(d, _)| *d).collect();
        let Some(seats) = self.core.as_ref().map(|core| core.seats().clone()) else { return };
        for digest in due {
            self.wanted.insert(digest, now_ms + millis(self.settings.patience));
            self.asked_payloads = self.asked_payloads.wrapping_add(1);
            let at = self.asked_payloads.checked_rem(seats.len()).unwrap_or(0);
            if let Some(peer) =
                seats.get(at).map(|seat| seat.voter.0).filter(|peer| *peer != self.pen.voter().0)
            {
                self.act(Act::Send(Some(peer), Message::WantPayload(height, digest)));
            }
        }
    }

    /// Two thirds precommitted: the block is kept, whatever else is going on.
    pub(crate) fn decide(&mut self, seal: Seal) {
        if self.deciding.is_some() {
            return;
        }
        let winner = seal.0.value_id.0;
        for (digest, hash) in std::mem::take(&mut self.hashes) {
            if digest == winner {
                self.hashes.insert(digest, hash);
            } else {
                self.act(Act::Work(Job::Abandon(hash)));
            }
        }
        self.turn = None;
        self.deciding = Some((seal, None));
        self.keep();
    }

    pub(crate) const fn is_deciding(&self) -> bool {
        self.deciding.is_some()
    }

    /// The lowest height whose block is still to come.
    pub(crate) const fn next_needed(&self) -> u64 {
        self.height.saturating_add(self.deciding.is_some() as u64)
    }

    fn keep(&mut self) {
        let Some((seal, retry_ms)) = self.deciding.as_mut() else { return };
        *retry_ms = None;
        let (digest, height, seal) = (seal.0.value_id.0, Height(self.height), seal.encode());
        let Some((_, payload)) = self.payloads.get(&(self.height, digest)) else {
            // Decided out of the log, and the payload is gone: the others have it.
            self.wanted.entry(digest).or_insert(self.now_ms);
            return;
        };
        let (block, hash) = (payload.block(), self.hashes.get(&digest).copied());
        self.act(Act::Work(Job::Keep { height, hash, block, seal }));
    }

    /// A payload that was missing has come.
    pub(crate) fn payload_came(&mut self, digest: B256) -> Result<(), Halt> {
        self.wanted.remove(&digest);
        if self.deciding.as_ref().is_some_and(|(seal, _)| seal.0.value_id.0 == digest) {
            self.keep();
            return Ok(());
        }
        self.consider(Digest(digest))
    }

    fn kept(&mut self, result: Result<(), ApplicationError>) -> Result<(), Halt> {
        match result {
            Ok(()) => {
                self.backfill.kept(self.height);
                self.arrive()?;
                self.act(Act::BeginLog(self.height));
                self.begin()
            }
            Err(error) if error.is_early() => {
                if let Some((_, retry_ms)) = &mut self.deciding {
                    *retry_ms = Some(self.now_ms + millis(Settings::EARLY_RETRY));
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The application's answers.
    pub(crate) fn done(&mut self, done: Done) -> Result<(), Halt> {
        let now = Height(self.height);
        match done {
            Done::Proposed { height, round, result } if height == now && !self.is_deciding() => {
                self.proposed(round, result?)
            }
            Done::Verified { height, digest, result } if height == now => self.verified(digest, result),
            Done::Kept { height, result } if height == now => self.kept(result),
            Done::Proposed { result: Ok(Some(proposal)), .. }
            | Done::Verified { result: Ok(proposal), .. } => {
                self.act(Act::Work(Job::Abandon(proposal.hash)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// When [`Station::tick`] has something to do.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let early = self.verdicts.values().filter_map(|verdict| match verdict {
            Verdict::Early(at_ms) => Some(*at_ms),
            _ => None,
        });
        let turn = self.turn.filter(|turn| !turn.busy).map(|turn| turn.next_ms);
        let keep = self.deciding.as_ref().and_then(|(_, at_ms)| *at_ms);
        let backfill = self.backfill.due_ms(self.next_needed(), &self.settings);
        let others = [turn, keep, backfill, self.timers.next_ms(), Some(self.status_ms)];
        let wanted = self.wanted.values().copied();
        early.chain(wanted).chain(others.into_iter().flatten()).min().unwrap_or(self.status_ms)
    }
}
