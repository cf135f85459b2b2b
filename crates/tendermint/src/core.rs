//! Malachite's rules for one height after another: inputs in, effects out, no waiting.

use crate::context::{At, Commit, Digest, Polka, Rules, Seats, SignedProposal, SignedVote, Skip, Voter};
use crate::counters::{Counters, Refusal};
use crate::message::Message;
use crate::signing::{Checker, Pen};
use arc_malachitebft_core_consensus::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, ProposedValue,
    Resumable as _, Resume, SignedConsensusMsg, State, ValuePayload, process,
};
use arc_malachitebft_core_types::{
    CertificateError, Round, SignedMessage, ThresholdParams, Timeout, Validity, ValueOrigin,
    VoteExtensionPolicy,
};
use bletchley_consensus::PeerId;
use std::sync::Arc;

/// Heights ahead of which messages are kept.
const AHEAD_HEIGHTS_MAX: usize = 2;
/// Messages of each of them that are kept.
const AHEAD_MESSAGES_MAX: usize = 2_048;

/// What goes into the write-ahead log, and what comes out of it after a crash.
pub(crate) type Entry = Input<Rules>;

/// What the rules ask for, in this order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Make this durable before anything after it is sent.
    Log(Entry),
    /// Send to everybody.
    Send(Message),
    /// Begin to wait.
    Arm(Timeout),
    /// Wait no longer.
    Disarm(Timeout),
    /// Wait for nothing any longer.
    DisarmAll,
    /// A round begins.
    Round(Round),
    /// It is this member's turn.
    Propose(Round),
    /// Send this payload again.
    Resend(Digest),
    /// This height is decided.
    Decided(Commit),
}

/// The rules, and where they stand.
pub(crate) struct Core {
    state: State<Rules>,
    pen: Pen,
    counters: Arc<Counters>,
    votes: bool,
}

impl Core {
    /// Rules that begin at `height`; call [`Core::begin`] next. A member that does not vote has a seat of nobody's.
    pub(crate) fn new(pen: Pen, counters: Arc<Counters>, height: At, seats: Seats, votes: bool) -> Self {
        let params = Params {
            address: if votes { pen.voter() } else { Voter(PeerId::default()) },
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let state = State::new(Rules, height, seats, params, AHEAD_HEIGHTS_MAX, AHEAD_MESSAGES_MAX);
        Self { state, pen, counters, votes }
    }

    pub(crate) fn height(&self) -> At {
        self.state.height()
    }

    /// Whether this member votes.
    pub(crate) const fn votes(&self) -> bool {
        self.votes
    }

    pub(crate) fn seats(&self) -> &Seats {
        self.state.validator_set()
    }

    /// Begins a height; `entries` are what the log holds of it.
    pub(crate) fn begin(
        &mut self,
        height: At,
        seats: Seats,
        entries: Vec<Entry>,
    ) -> Result<Vec<Output>, Error<Rules>> {
        self.state.index_wal_entries(&entries);
        let replaying = !entries.is_empty();
        let start = Input::StartHeight(height, seats, replaying, None, VoteExtensionPolicy::Disabled);
        let mut outputs = self.process(start)?;
        if !replaying {
            self.state.reset_entries_index();
            return Ok(outputs);
        }
        for entry in &entries {
            outputs.extend(self.process(entry.clone())?);
        }
        self.state.reset_entries_index();
        // What is in the log already need not go there again.
        outputs.retain(|output| !matches!(output, Output::Log(entry) if entries.contains(entry)));
        Ok(outputs)
    }

    pub(crate) fn vote(&mut self, vote: SignedVote) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::Vote(vote))
    }

    pub(crate) fn proposal(&mut self, proposal: SignedProposal) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::Proposal(proposal))
    }

    pub(crate) fn polka(&mut self, polka: Polka) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::PolkaCertificate(polka))
    }

    pub(crate) fn skip(&mut self, skip: Skip) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::RoundCertificate(skip))
    }

    pub(crate) fn elapsed(&mut self, timeout: Timeout) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::TimeoutElapsed(timeout))
    }

    /// The value that this member proposes in `round`.
    pub(crate) fn propose(&mut self, round: Round, value: Digest) -> Result<Vec<Output>, Error<Rules>> {
        self.process(Input::Propose(LocallyProposedValue::new(self.height(), round, value)))
    }

    /// Whether the payload of a proposal holds.
    pub(crate) fn judge(
        &mut self,
        proposal: &SignedProposal,
        validity: Validity,
    ) -> Result<Vec<Output>, Error<Rules>> {
        let value = ProposedValue {
            height: proposal.height,
            round: proposal.round,
            valid_round: proposal.pol_round,
            proposer: proposal.proposer,
            value: proposal.value,
            validity,
        };
        self.process(Input::ProposedValue(value, ValueOrigin::Consensus))
    }

    fn process(&mut self, input: Entry) -> Result<Vec<Output>, Error<Rules>> {
        let mut outputs = Vec::new();
        let Self { state, pen, counters, .. } = self;
        let result: Result<(), Error<Rules>> = process!(
            input: input,
            state: state,
            metrics: &(),
            with: effect => Ok::<_, Error<Rules>>(answer(pen, counters, &mut outputs, effect))
        );
        result.map(|()| outputs)
    }
}

fn count<T>(
    counters: &Counters,
    verdict: Result<T, CertificateError<Rules>>,
) -> Result<T, CertificateError<Rules>> {
    verdict.inspect_err(|_| counters.refuse(Refusal::Signature))
}

fn holds(
    checker: &Checker,
    signed: &SignedMessage<Rules, ConsensusMsg<Rules>>,
    key: &crate::context::Key,
) -> bool {
    match &signed.message {
        ConsensusMsg::Vote(vote) => checker.vote(key, vote, &signed.signature),
        ConsensusMsg::Proposal(proposal) => checker.proposal(key, proposal, &signed.signature),
    }
}

/// Signs and checks at once; everything else is noted down for later.
fn answer(pen: &Pen, counters: &Counters, outputs: &mut Vec<Output>, effect: Effect<Rules>) -> Resume<Rules> {
    let mut note = |output| outputs.push(output);
    match effect {
        Effect::SignVote(vote, resume) => {
            let signature = pen.vote(&vote);
            return resume.resume_with(SignedMessage::new(vote, signature));
        }
        Effect::SignProposal(proposal, resume) => {
            let signature = pen.proposal(&proposal);
            return resume.resume_with(SignedMessage::new(proposal, signature));
        }
        Effect::VerifySignature(signed, key, resume) => {
            let holds = holds(&pen.checker, &signed, &key);
            if !holds {
                counters.refuse(Refusal::Signature);
            }
            return resume.resume_with(holds);
        }
        Effect::VerifyCommitCertificate(commit, seats, _, resume) => {
            return resume.resume_with(count(counters, pen.checker.commit(&seats, &commit)));
        }
        Effect::VerifyPolkaCertificate(polka, seats, _, resume) => {
            return resume.resume_with(count(counters, pen.checker.polka(&seats, &polka)));
        }
        Effect::VerifyRoundCertificate(skip, seats, thresholds, resume) => {
            return resume.resume_with(count(counters, pen.checker.skip(&seats, &skip, thresholds)));
        }
        // Only for values that come through malachite's own synchronisation, which is not used.
        Effect::VerifyExtendedCommitCertificate(_, _, thresholds, _, resume) => {
            let expected = thresholds.quorum.min_expected(0);
            let refused = CertificateError::NotEnoughVotingPower { signed: 0, total: 0, expected };
            return resume.resume_with(Err(refused));
        }
        // Votes have no extensions.
        Effect::ExtendVote(_, _, _, _, resume) => return resume.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => return resume.resume_with(Ok(())),
        Effect::CancelAllTimeouts(_) => note(Output::DisarmAll),
        Effect::CancelTimeout(timeout, _) => note(Output::Disarm(timeout)),
        Effect::ScheduleTimeout(timeout, _) => note(Output::Arm(timeout)),
        Effect::StartRound(_, round, _, _, _) => note(Output::Round(round)),
        Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), _)
        | Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), _)
        | Effect::RepublishVote(vote, _) => note(Output::Send(Message::Vote(vote))),
        Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), _) => {
            note(Output::Send(Message::Proposal(proposal)));
        }
        Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(polka), _) => {
            note(Output::Send(Message::Polka(polka)));
        }
        Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(skip), _)
        | Effect::RepublishRoundCertificate(skip, _) => note(Output::Send(Message::Skip(skip))),
        Effect::GetValue(_, round, _, _) => note(Output::Propose(round)),
        Effect::RestreamProposal(_, _, _, _, value, _) => note(Output::Resend(value)),
        Effect::WalAppend(_, entry, _) => note(Output::Log(entry)),
        Effect::Decide(commit, _, _) => note(Output::Decided(commit)),
        Effect::Finalize(_, _, evidence, _) => {
            let times = evidence.proposals.iter().count() + evidence.votes.iter().count();
            counters.equivocate(times as u64);
        }
        Effect::CertVerifiedSyncValue(..) | Effect::CertRejectedSyncValue(..) => {}
    }
    Resume::Continue
}
