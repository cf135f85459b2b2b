//! Bytes of votes, proposals and certificates: fixed widths, big endian, one encoding for each value.

use crate::context::{
    At, Commit, Digest, Polka, Proposal, Rules, Signature, SignedProposal, SignedVote, Skip, Vote, Voter,
};
use arc_malachitebft_core_types::{
    CommitSignature, NilOrVal, PolkaSignature, Round, RoundCertificateType, RoundSignature, SignedMessage,
    VoteType,
};
use bletchley_consensus::PeerId;
use bletchley_primitives::B256;

/// Most validators whose signatures a certificate can hold.
pub(crate) const SIGNATURES_MAX: usize = 256;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

pub(crate) type Decoded<T> = Result<T, Malformed>;

/// Takes values off the front of some bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, size: usize) -> Decoded<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn hash(&mut self) -> Decoded<B256> {
        self.array().map(B256::new)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn end(&self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    pub(crate) fn height(&mut self) -> Decoded<At> {
        self.u64().map(At)
    }

    pub(crate) fn round(&mut self) -> Decoded<Round> {
        self.array().map(|bytes| Round::Some(u32::from_be_bytes(bytes)))
    }

    fn round_or_nil(&mut self) -> Decoded<Round> {
        match self.byte()? {
            0 => Ok(Round::Nil),
            1 => self.round(),
            _ => Err(Malformed),
        }
    }

    fn digest(&mut self) -> Decoded<Digest> {
        self.hash().map(Digest)
    }

    fn value(&mut self) -> Decoded<NilOrVal<Digest>> {
        match self.byte()? {
            0 => Ok(NilOrVal::Nil),
            1 => self.digest().map(NilOrVal::Val),
            _ => Err(Malformed),
        }
    }

    fn kind(&mut self) -> Decoded<VoteType> {
        match self.byte()? {
            0 => Ok(VoteType::Prevote),
            1 => Ok(VoteType::Precommit),
            _ => Err(Malformed),
        }
    }

    fn voter(&mut self) -> Decoded<Voter> {
        self.hash().map(|hash| Voter(PeerId(hash)))
    }

    fn signature(&mut self) -> Decoded<Signature> {
        self.array().map(Signature)
    }

    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Decoded<T>) -> Decoded<Vec<T>> {
        let count = usize::from(u16::from_be_bytes(self.array()?));
        if count > SIGNATURES_MAX {
            return Err(Malformed);
        }
        (0..count).map(|_| one(self)).collect()
    }

    pub(crate) fn vote(&mut self) -> Decoded<SignedVote> {
        let kind = self.kind()?;
        let (height, round, value) = (self.height()?, self.round()?, self.value()?);
        let vote = Vote { kind, height, round, value, voter: self.voter()? };
        Ok(SignedMessage::new(vote, self.signature()?))
    }

    pub(crate) fn proposal(&mut self) -> Decoded<SignedProposal> {
        let (height, round, value) = (self.height()?, self.round()?, self.digest()?);
        let (pol_round, proposer) = (self.round_or_nil()?, self.voter()?);
        Ok(SignedMessage::new(Proposal { height, round, value, pol_round, proposer }, self.signature()?))
    }

    pub(crate) fn polka(&mut self) -> Decoded<Polka> {
        let (height, round, value_id) = (self.height()?, self.round()?, self.digest()?);
        let one = |r: &mut Self| Ok(PolkaSignature::<Rules>::new(r.voter()?, r.signature()?));
        Ok(Polka { height, round, value_id, polka_signatures: self.many(one)? })
    }

    pub(crate) fn skip(&mut self) -> Decoded<Skip> {
        let (height, round) = (self.height()?, self.round()?);
        let cert_type = match self.byte()? {
            0 => RoundCertificateType::Skip,
            1 => RoundCertificateType::Precommit,
            _ => return Err(Malformed),
        };
        let one = |r: &mut Self| {
            let (kind, value) = (r.kind()?, r.value()?);
            Ok(RoundSignature::<Rules>::new(kind, value, r.voter()?, r.signature()?))
        };
        Ok(Skip { height, round, cert_type, round_signatures: self.many(one)? })
    }

    /// A commit certificate without its height and value, which stand beside it.
    pub(crate) fn commit(&mut self, height: At, value_id: Digest) -> Decoded<Commit> {
        let round = self.round()?;
        let one = |r: &mut Self| Ok(CommitSignature::<Rules>::new(r.voter()?, r.signature()?));
        Ok(Commit { height, round, value_id, commit_signatures: self.many(one)? })
    }
}

/// Puts values at the end of some bytes.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn put(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub(crate) fn byte(&mut self, byte: u8) -> &mut Self {
        self.put([byte])
    }

    pub(crate) fn height(&mut self, height: At) -> &mut Self {
        self.put(height.0.to_be_bytes())
    }

    pub(crate) fn round(&mut self, round: Round) -> &mut Self {
        self.put(round.as_u32().unwrap_or(0).to_be_bytes())
    }

    fn round_or_nil(&mut self, round: Round) -> &mut Self {
        match round {
            Round::Nil => self.byte(0),
            Round::Some(_) => self.byte(1).round(round),
        }
    }

    fn value(&mut self, value: &NilOrVal<Digest>) -> &mut Self {
        match value {
            NilOrVal::Nil => self.byte(0),
            NilOrVal::Val(digest) => self.byte(1).put(digest.0),
        }
    }

    fn kind(&mut self, kind: VoteType) -> &mut Self {
        self.byte(u8::from(kind == VoteType::Precommit))
    }

    fn signed(&mut self, voter: &Voter, signature: &Signature) -> &mut Self {
        self.put(voter.0.0).put(signature.0)
    }

    /// Certificates never hold more than one signature of each validator; the bound is the set's.
    fn many<T>(&mut self, all: &[T], one: impl Fn(&mut Self, &T)) -> &mut Self {
        let count = all.len().min(SIGNATURES_MAX);
        self.put(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        all.iter().take(count).for_each(|item| one(self, item));
        self
    }

    pub(crate) fn vote(&mut self, vote: &SignedVote) -> &mut Self {
        self.kind(vote.kind).height(vote.height).round(vote.round).value(&vote.value);
        self.signed(&vote.voter, &vote.signature)
    }

    pub(crate) fn proposal(&mut self, proposal: &SignedProposal) -> &mut Self {
        self.height(proposal.height).round(proposal.round).put(proposal.value.0);
        self.round_or_nil(proposal.pol_round).signed(&proposal.proposer, &proposal.signature)
    }

    pub(crate) fn polka(&mut self, polka: &Polka) -> &mut Self {
        self.height(polka.height).round(polka.round).put(polka.value_id.0);
        self.many(&polka.polka_signatures, |w, s| {
            w.signed(&s.address, &s.signature);
        })
    }

    pub(crate) fn skip(&mut self, skip: &Skip) -> &mut Self {
        self.height(skip.height).round(skip.round);
        self.byte(u8::from(skip.cert_type == RoundCertificateType::Precommit));
        self.many(&skip.round_signatures, |w, s| {
            w.kind(s.vote_type).value(&s.value_id).signed(&s.address, &s.signature);
        })
    }

    pub(crate) fn commit(&mut self, commit: &Commit) -> &mut Self {
        self.round(commit.round);
        self.many(&commit.commit_signatures, |w, s| {
            w.signed(&s.address, &s.signature);
        })
    }
}
