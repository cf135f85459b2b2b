//! What members say, checked before anything is done with it.

use crate::context::{At, Voter};
use crate::counters::Refusal;
use crate::message::{Lane, Message, Seal};
use crate::station::{Act, Answer, Halt, Station};
use crate::timers::millis;
use bletchley_consensus::{Payload, PeerId};
use bletchley_primitives::{Bytes, Height};

/// Payloads of one member that are kept at a height without having been asked for.
const PAYLOADS_OF_PEER_MAX: usize = 2;
/// The same at the height after it.
const PAYLOADS_OF_PEER_AHEAD_MAX: usize = 1;
/// Members whose last question is remembered.
const ANSWERED_MAX: usize = 4_096;
/// Least time between two answers to one member.
const ANSWER_PAUSE_MS: u64 = 5;

/// What came of a message.
type Heard = Result<Result<(), Refusal>, Halt>;

impl Station {
    /// A message came.
    pub(crate) fn hear(&mut self, from: PeerId, lane: Lane, bytes: &[u8]) -> Result<(), Halt> {
        let heard = match Message::decode(bytes, lane) {
            Err(_) => Ok(Err(Refusal::Malformed)),
            Ok(message) => self.take_in(from, message),
        };
        if let Err(why) = heard? {
            tracing::trace!(%from, why = why.name(), "tendermint.hear: refused");
            self.counters.refuse(why);
        }
        Ok(())
    }

    fn take_in(&mut self, from: PeerId, message: Message) -> Heard {
        match message {
            Message::Vote(vote) => match self.placed(from, vote.height, vote.voter) {
                Err(why) => Ok(Err(why)),
                Ok(()) => self.feed(|core| core.vote(vote)).map(Ok),
            },
            Message::Proposal(proposal) => match self.placed(from, proposal.height, proposal.proposer) {
                // A validator may pass on another's proposal, once it is locked on it.
                Err(Refusal::Stranger) if self.may_pass_on(from, proposal.height, proposal.proposer) => {
                    self.feed(|core| core.proposal(proposal)).map(Ok)
                }
                Err(why) => Ok(Err(why)),
                Ok(()) => self.feed(|core| core.proposal(proposal)).map(Ok),
            },
            Message::Polka(polka) => match self.placed(from, polka.height, Voter(from)) {
                Ok(()) if polka.height == At(self.height) => self.feed(|core| core.polka(polka)).map(Ok),
                Ok(()) => Ok(Err(Refusal::Stale)),
                Err(why) => Ok(Err(why)),
            },
            Message::Skip(skip) => match self.placed(from, skip.height, Voter(from)) {
                Ok(()) if skip.height == At(self.height) => self.feed(|core| core.skip(skip)).map(Ok),
                Ok(()) => Ok(Err(Refusal::Stale)),
                Err(why) => Ok(Err(why)),
            },
            Message::Status(height) => {
                self.backfill.claim(from, height.0);
                self.ask_for_blocks();
                Ok(Ok(()))
            }
            Message::Payload(payload) => self.hear_payload(from, payload),
            Message::WantPayload(height, digest) => {
                if height.0 == self.height && self.may_answer(from, Answer::Payload) {
                    self.send_payload(Some(from), digest);
                } else if height.0 < self.height {
                    self.tell_status(from);
                }
                Ok(Ok(()))
            }
            Message::WantFinal(height) => {
                if height.0 == 0 || height.0 >= self.height {
                    return Ok(Err(Refusal::Stale));
                }
                if !self.may_answer(from, Answer::Final) {
                    return Ok(Err(Refusal::Surplus));
                }
                self.act(Act::Serve(from, height));
                Ok(Ok(()))
            }
            Message::Final(payload, seal) => self.hear_final(from, payload, seal),
        }
    }

    /// Whether a message that `voter` signed may come from this sender, at a height that is of interest.
    fn placed(&mut self, from: PeerId, height: At, voter: Voter) -> Result<(), Refusal> {
        if height.0 < self.height {
            self.tell_status(from);
            return Err(Refusal::Stale);
        }
        if height.0 > self.height {
            self.backfill.claim(from, height.0.saturating_sub(1));
            self.ask_for_blocks();
        }
        if height.0 > self.height.saturating_add(1) {
            return Err(Refusal::Stale);
        }
        let seated = self.core.as_ref().is_some_and(|core| core.seats().seat(&voter).is_some());
        if voter.0 == from && seated { Ok(()) } else { Err(Refusal::Stranger) }
    }

    fn may_pass_on(&self, from: PeerId, height: At, proposer: Voter) -> bool {
        let Some(core) = self.core.as_ref().filter(|_| height.0 == self.height) else { return false };
        core.seats().seat(&Voter(from)).is_some() && core.seats().seat(&proposer).is_some()
    }

    /// Tells a member that is behind how far this one is; not too often.
    fn tell_status(&mut self, to: PeerId) {
        if self.may_answer(to, Answer::Status) {
            self.act(Act::Send(Some(to), Message::Status(Height(self.height.saturating_sub(1)))));
        }
    }

    fn may_answer(&mut self, peer: PeerId, what: Answer) -> bool {
        let now_ms = self.now_ms;
        if self.answered_ms.len() >= ANSWERED_MAX {
            self.answered_ms.retain(|_, at_ms| now_ms < at_ms.saturating_add(ANSWER_PAUSE_MS));
        }
        if self.answered_ms.len() >= ANSWERED_MAX {
            return false;
        }
        let at_ms = self.answered_ms.entry((peer, what)).or_default();
        let may = *at_ms == 0 || now_ms >= at_ms.saturating_add(ANSWER_PAUSE_MS);
        if may {
            *at_ms = now_ms;
        }
        may
    }

    fn hear_payload(&mut self, from: PeerId, payload: Payload) -> Heard {
        let height = payload.height.0;
        if height < self.height || height > self.height.saturating_add(1) {
            return Ok(Err(Refusal::Stale));
        }
        let digest = payload.digest();
        let wanted = height == self.height && self.wanted.contains_key(&digest);
        let seated = self.core.as_ref().is_some_and(|core| core.seats().seat(&Voter(from)).is_some());
        if !wanted && !seated {
            return Ok(Err(Refusal::Stranger));
        }
        let of_peer =
            self.payloads.iter().filter(|((h, _), (peer, _))| *h == height && *peer == from).count();
        let of_peer_max =
            if height == self.height { PAYLOADS_OF_PEER_MAX } else { PAYLOADS_OF_PEER_AHEAD_MAX };
        if !wanted && of_peer >= of_peer_max {
            return Ok(Err(Refusal::Surplus));
        }
        self.payloads.entry((height, digest)).or_insert((from, payload));
        if height == self.height { self.payload_came(digest).map(Ok) } else { Ok(Ok(())) }
    }

    fn hear_final(&mut self, from: PeerId, payload: Payload, seal: Bytes) -> Heard {
        let until_ms = self.now_ms + millis(self.settings.answer);
        if payload.height.0 < self.height || !self.backfill.take(from, payload, seal, until_ms) {
            return Ok(Err(Refusal::Surplus));
        }
        self.take_arrived().map(Ok)
    }

    /// Keeps a block that came with its certificate, when its turn has come.
    pub(crate) fn take_arrived(&mut self) -> Result<(), Halt> {
        if self.is_deciding() || !self.begun {
            return Ok(());
        }
        let Some((from, payload, seal)) = self.backfill.arrived(self.height) else {
            self.ask_for_blocks();
            return Ok(());
        };
        let Some(seats) = self.core.as_ref().map(|core| core.seats().clone()) else { return Ok(()) };
        let digest = payload.digest();
        // The votes decide about the digest, and the digest about everything else, the parent too.
        let seal = Seal::decode(Height(self.height), &seal)
            .ok()
            .filter(|seal| seal.0.value_id.0 == digest && self.pen.checker.commit(&seats, &seal.0).is_ok());
        let Some(seal) = seal else {
            tracing::warn!(height = self.height, %from, "tendermint.backfill: a block without a certificate that holds");
            self.counters.refuse(Refusal::Signature);
            self.backfill.forget(from);
            return Ok(());
        };
        self.counters.catch_up();
        self.payloads.insert((self.height, digest), (from, payload));
        self.decide(seal);
        Ok(())
    }

    fn ask_for_blocks(&mut self) {
        let height = self.next_needed();
        if let Some(peer) = self.backfill.ask(height, self.now_ms, &self.settings) {
            self.act(Act::Send(Some(peer), Message::WantFinal(Height(height))));
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) -> Result<(), Halt> {
        if self.timers.take_begin(self.now_ms) {
            self.begin()?;
        }
        while let Some(timeout) = self.timers.elapsed(self.now_ms) {
            self.feed(|core| core.elapsed(timeout))?;
        }
        self.retry();
        self.try_turn();
        self.ask_for_blocks();
        if self.status_ms <= self.now_ms {
            self.status_ms = self.now_ms + millis(self.settings.status);
            let status = Message::Status(Height(self.height.saturating_sub(1)));
            self.act(Act::Send(None, status));
        }
        Ok(())
    }
}
