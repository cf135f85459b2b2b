//! Signatures under votes and proposals, and what makes a certificate hold.

use crate::context::{At, Commit, Digest, Key, Polka, Proposal, Rules, Seats, Signature, Skip, Vote, Voter};
use arc_malachitebft_core_types::{
    CertificateError, NilOrVal, Round, RoundCertificateType, ThresholdParam, ThresholdParams, VoteType,
};
use bletchley_consensus::PeerId;
use bletchley_primitives::LedgerId;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{Signer as _, Verifier as _, ed25519};
use std::collections::BTreeSet;

/// Begins everything that is signed here; the ledger's identity follows, so that a vote counts on one ledger only.
const DOMAIN: &[u8] = b"bletchley/tendermint/message/1";

const TAG_PREVOTE: u8 = 1;
const TAG_PRECOMMIT: u8 = 2;
const TAG_PROPOSAL: u8 = 3;

/// The public key of a peer; none when its name is no point on the curve.
pub(crate) fn public_key(peer: PeerId) -> Option<ed25519::PublicKey> {
    ed25519::PublicKey::decode(peer.0.to_vec()).ok()
}

/// The name of a public key.
pub(crate) fn peer_id(key: &ed25519::PublicKey) -> PeerId {
    PeerId(bletchley_primitives::B256::try_from(key.as_ref()).unwrap_or_default())
}

/// Checks signatures for one ledger.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    namespace: Vec<u8>,
}

/// Signs for one validator on one ledger.
#[derive(Clone)]
pub(crate) struct Pen {
    pub(crate) checker: Checker,
    key: ed25519::PrivateKey,
}

fn round_bytes(round: Round) -> [u8; 8] {
    round.as_i64().to_be_bytes()
}

fn vote_bytes(kind: VoteType, height: At, round: Round, value: &NilOrVal<Digest>) -> Vec<u8> {
    let mut bytes = vec![match kind {
        VoteType::Prevote => TAG_PREVOTE,
        VoteType::Precommit => TAG_PRECOMMIT,
    }];
    bytes.extend(height.0.to_be_bytes());
    bytes.extend(round_bytes(round));
    match value {
        NilOrVal::Nil => bytes.push(0),
        NilOrVal::Val(digest) => {
            bytes.push(1);
            bytes.extend(digest.0);
        }
    }
    bytes
}

fn proposal_bytes(proposal: &Proposal) -> Vec<u8> {
    let mut bytes = vec![TAG_PROPOSAL];
    bytes.extend(proposal.height.0.to_be_bytes());
    bytes.extend(round_bytes(proposal.round));
    bytes.extend(round_bytes(proposal.pol_round));
    bytes.extend(proposal.value.0);
    bytes
}

impl Pen {
    pub(crate) fn new(ledger: LedgerId, key: ed25519::PrivateKey) -> Self {
        Self { checker: Checker::new(ledger), key }
    }

    pub(crate) fn voter(&self) -> Voter {
        Voter(peer_id(&self.key.public_key()))
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        let signature = self.key.sign(&self.checker.namespace, bytes);
        Signature(<[u8; 64]>::try_from(signature.as_ref()).unwrap_or([0; 64]))
    }

    pub(crate) fn vote(&self, vote: &Vote) -> Signature {
        self.sign(&vote_bytes(vote.kind, vote.height, vote.round, &vote.value))
    }

    pub(crate) fn proposal(&self, proposal: &Proposal) -> Signature {
        self.sign(&proposal_bytes(proposal))
    }
}

impl Checker {
    pub(crate) fn new(ledger: LedgerId) -> Self {
        Self { namespace: [DOMAIN, ledger.0.as_slice()].concat() }
    }

    fn check(&self, key: &Key, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519::Signature::decode(signature.0.to_vec());
        match (&key.0, signature) {
            (Some(key), Ok(signature)) => key.verify(&self.namespace, bytes, &signature),
            _ => false,
        }
    }

    pub(crate) fn vote(&self, key: &Key, vote: &Vote, signature: &Signature) -> bool {
        self.check(key, &vote_bytes(vote.kind, vote.height, vote.round, &vote.value), signature)
    }

    pub(crate) fn proposal(&self, key: &Key, proposal: &Proposal, signature: &Signature) -> bool {
        self.check(key, &proposal_bytes(proposal), signature)
    }

    /// Each signer has a seat, none signs twice, every signature holds, and together they reach the threshold.
    fn tally<'a>(
        &self,
        seats: &Seats,
        threshold: ThresholdParam,
        signatures: impl Iterator<Item = (&'a Voter, &'a Signature, Vec<u8>)>,
    ) -> Result<(), CertificateError<Rules>> {
        let mut signers = BTreeSet::new();
        for (voter, signature, bytes) in signatures {
            let seat = seats.seat(voter).ok_or(CertificateError::UnknownValidator(*voter))?;
            if !signers.insert(*voter) {
                return Err(CertificateError::DuplicateVote(*voter));
            }
            if !self.check(&seat.key, &bytes, signature) {
                return Err(CertificateError::UnknownValidator(*voter));
            }
        }
        let (signed, total) = (signers.len() as u64, seats.len() as u64);
        if threshold.is_met(signed, total) {
            Ok(())
        } else {
            Err(CertificateError::NotEnoughVotingPower {
                signed,
                total,
                expected: threshold.min_expected(total),
            })
        }
    }

    /// Two thirds and more precommitted this value.
    pub(crate) fn commit(&self, seats: &Seats, commit: &Commit) -> Result<(), CertificateError<Rules>> {
        let bytes =
            vote_bytes(VoteType::Precommit, commit.height, commit.round, &NilOrVal::Val(commit.value_id));
        let signatures = commit.commit_signatures.iter().map(|s| (&s.address, &s.signature, bytes.clone()));
        self.tally(seats, ThresholdParam::TWO_F_PLUS_ONE, signatures)
    }

    /// Two thirds and more prevoted this value.
    pub(crate) fn polka(&self, seats: &Seats, polka: &Polka) -> Result<(), CertificateError<Rules>> {
        let bytes = vote_bytes(VoteType::Prevote, polka.height, polka.round, &NilOrVal::Val(polka.value_id));
        let signatures = polka.polka_signatures.iter().map(|s| (&s.address, &s.signature, bytes.clone()));
        self.tally(seats, ThresholdParam::TWO_F_PLUS_ONE, signatures)
    }

    /// Enough voted in this round to leave it, or to enter it.
    pub(crate) fn skip(
        &self,
        seats: &Seats,
        skip: &Skip,
        thresholds: ThresholdParams,
    ) -> Result<(), CertificateError<Rules>> {
        let precommits = skip.cert_type == RoundCertificateType::Precommit;
        let threshold = if precommits { thresholds.quorum } else { thresholds.honest };
        if let Some(odd) =
            skip.round_signatures.iter().find(|s| precommits && s.vote_type == VoteType::Prevote)
        {
            return Err(CertificateError::InvalidRoundSignature(odd.clone()));
        }
        let signatures = skip.round_signatures.iter().map(|s| {
            (&s.address, &s.signature, vote_bytes(s.vote_type, skip.height, skip.round, &s.value_id))
        });
        self.tally(seats, threshold, signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Seats, SignedVote};
    use arc_malachitebft_core_types::SignedMessage;
    use bletchley_consensus::{Validator, Validators};
    use bletchley_primitives::{Address, B256};

    fn pens(ledger: LedgerId) -> Vec<Pen> {
        (0..4).map(|seed| Pen::new(ledger, ed25519::PrivateKey::from_seed(seed))).collect()
    }

    fn seats(pens: &[Pen]) -> Seats {
        let validator =
            |pen: &Pen| Validator { name: String::new(), peer: pen.voter().0, address: Address::ZERO };
        Seats::new(&Validators::new(pens.iter().map(validator))).unwrap()
    }

    fn precommit(pen: &Pen, digest: Digest) -> SignedVote {
        let (height, round, value) = (At(3), Round::Some(1), NilOrVal::Val(digest));
        let vote = Vote { kind: VoteType::Precommit, height, round, value, voter: pen.voter() };
        let signature = pen.vote(&vote);
        SignedMessage::new(vote, signature)
    }

    #[test]
    fn a_certificate_needs_three_of_four_different_validators_of_this_ledger() {
        let ledger = LedgerId(B256::repeat_byte(1));
        let (pens, digest) = (pens(ledger), Digest(B256::repeat_byte(9)));
        let (seats, checker) = (seats(&pens), Checker::new(ledger));
        let votes = |by: &[usize]| by.iter().map(|at| precommit(&pens[*at], digest)).collect::<Vec<_>>();
        let commit = |votes| Commit::new(At(3), Round::Some(1), digest, votes);
        assert!(checker.commit(&seats, &commit(votes(&[0, 1, 3]))).is_ok());
        assert!(checker.commit(&seats, &commit(votes(&[0, 1]))).is_err(), "too few");
        assert!(checker.commit(&seats, &commit(votes(&[0, 1, 1]))).is_err(), "one of them twice");
        let mut other = commit(votes(&[0, 1, 3]));
        other.value_id = Digest(B256::repeat_byte(8));
        assert!(checker.commit(&seats, &other).is_err(), "votes for another value");
        other = commit(votes(&[0, 1, 3]));
        other.height = At(4);
        assert!(checker.commit(&seats, &other).is_err(), "votes at another height");
        let elsewhere = Checker::new(LedgerId(B256::repeat_byte(2)));
        assert!(elsewhere.commit(&seats, &commit(votes(&[0, 1, 3]))).is_err(), "votes on another ledger");
        let stranger = Pen::new(ledger, ed25519::PrivateKey::from_seed(99));
        let mut with_stranger = votes(&[0, 1]);
        with_stranger.push(precommit(&stranger, digest));
        assert!(checker.commit(&seats, &commit(with_stranger)).is_err(), "a vote by a stranger");
    }

    #[test]
    fn a_vote_is_signed_as_what_it_is() {
        let pens = pens(LedgerId::default());
        let vote = precommit(&pens[0], Digest(B256::ZERO));
        let key = Key(Some(pens[0].key.public_key()));
        let checker = &pens[0].checker;
        assert!(checker.vote(&key, &vote, &vote.signature));
        let prevote = Vote { kind: VoteType::Prevote, ..vote.message.clone() };
        assert!(!checker.vote(&key, &prevote, &vote.signature));
        let nil = Vote { value: NilOrVal::Nil, ..vote.message.clone() };
        assert!(!checker.vote(&key, &nil, &vote.signature));
        assert!(!checker.vote(&Key(None), &vote, &vote.signature));
    }
}
