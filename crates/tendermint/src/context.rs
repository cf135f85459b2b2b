//! Malachite's types, filled in: values are digests of payloads, validators have one vote each, turns go round.

use bletchley_consensus::{PeerId, Validators};
use bletchley_primitives::B256;
use commonware_cryptography::ed25519;

use arc_malachitebft_core_types::{self as types, NilOrVal, Round, SignedMessage, VoteType, VotingPower};
use std::fmt;

/// What malachite is generic over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules;

/// Digest of a payload: what is voted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) B256);

/// A height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At(pub(crate) u64);

/// A validator's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Voter(pub(crate) PeerId);

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signature(pub(crate) [u8; 64]);

/// A validator's key; none when its name is no point on the curve: it stands in the set and can never vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Option<ed25519::PublicKey>);

/// A prevote or precommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: At,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Digest>,
    pub(crate) voter: Voter,
}

/// A proposal: which payload, and since which round it has been valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: At,
    pub(crate) round: Round,
    pub(crate) value: Digest,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Voter,
}

/// One validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) voter: Voter,
    pub(crate) key: Key,
}

/// The validators of a height, in ascending order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    first: Seat,
    rest: Vec<Seat>,
}

/// Payloads travel as messages of their own, whole: malachite's parts are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPart;

/// Ed25519 over the ledger's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme;

pub(crate) type SignedVote = SignedMessage<Rules, Vote>;
pub(crate) type SignedProposal = SignedMessage<Rules, Proposal>;
pub(crate) type Polka = types::PolkaCertificate<Rules>;
pub(crate) type Skip = types::RoundCertificate<Rules>;
pub(crate) type Commit = types::CommitCertificate<Rules>;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

impl types::Value for Digest {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

impl types::Address for Voter {}

impl types::Height for At {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl types::ProposalPart<Rules> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl types::Validator<Rules> for Seat {
    fn address(&self) -> &Voter {
        &self.voter
    }

    fn public_key(&self) -> &Key {
        &self.key
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

impl Seats {
    /// The seats of a set; none when it is empty, and nobody could ever agree.
    pub(crate) fn new(validators: &Validators) -> Option<Self> {
        let mut seats = validators.as_slice().iter().map(|validator| Seat {
            voter: Voter(validator.peer),
            key: Key(crate::signing::public_key(validator.peer)),
        });
        Some(Self { first: seats.next()?, rest: seats.collect() })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Seat> {
        index.checked_sub(1).map_or(Some(&self.first), |index| self.rest.get(index))
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len().saturating_add(1)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Seat> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(crate) fn seat(&self, voter: &Voter) -> Option<&Seat> {
        self.all().find(|seat| seat.voter == *voter)
    }

    /// Whose turn it is.
    pub(crate) fn proposer(&self, height: At, round: Round) -> &Seat {
        let turn = height.0.wrapping_add(u64::from(round.as_u32().unwrap_or(0)));
        let index = turn.checked_rem(self.len() as u64).unwrap_or(0);
        usize::try_from(index).ok().and_then(|index| self.get(index)).unwrap_or(&self.first)
    }
}

impl types::ValidatorSet<Rules> for Seats {
    fn count(&self) -> usize {
        self.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.len() as VotingPower
    }

    fn get_by_address(&self, address: &Voter) -> Option<&Seat> {
        self.seat(address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Seat> {
        self.get(index)
    }
}

impl types::Vote<Rules> for Vote {
    fn height(&self) -> At {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Digest> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Digest> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Voter {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedMessage<Rules, ()>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedMessage<Rules, ()>> {
        None
    }

    fn extend(self, _: SignedMessage<Rules, ()>) -> Self {
        self
    }
}

impl types::Proposal<Rules> for Proposal {
    fn height(&self) -> At {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Digest {
        &self.value
    }

    fn take_value(self) -> Digest {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Voter {
        &self.proposer
    }
}

impl types::SigningScheme for Scheme {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = Key;
    /// Malachite never signs: [`crate::signing::Pen`] does.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        <[u8; 64]>::try_from(bytes).map(Signature).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Key, Self::DecodingError> {
        let peer = B256::try_from(bytes).map_err(|_| "a public key has 32 bytes")?;
        Ok(Key(crate::signing::public_key(PeerId(peer))))
    }

    fn encode_public_key(key: &Key) -> Vec<u8> {
        key.0.as_ref().map(|key| key.as_ref().to_vec()).unwrap_or_default()
    }
}

impl types::Context for Rules {
    type Address = Voter;
    type Height = At;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Seat;
    type ValidatorSet = Seats;
    type Timeouts = types::LinearTimeouts;
    type Value = Digest;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Scheme;

    fn select_proposer<'a>(&self, seats: &'a Seats, height: At, round: Round) -> &'a Seat {
        seats.proposer(height, round)
    }

    fn new_proposal(
        &self,
        height: At,
        round: Round,
        value: Digest,
        pol_round: Round,
        proposer: Voter,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: At, round: Round, value: NilOrVal<Digest>, voter: Voter) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(&self, height: At, round: Round, value: NilOrVal<Digest>, voter: Voter) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, voter }
    }
}
