//! Messages between members, and what stands beside a final block.

use crate::codec::{Decoded, Malformed, Reader, SIGNATURES_MAX, Writer};
use crate::context::{At, Commit, Digest, Polka, SignedProposal, SignedVote, Skip};
use bletchley_consensus::Payload;
use bletchley_primitives::{B256, Bytes, Height, LedgerId, decode_bounded};

/// First byte of every message: the version of the format.
const VERSION: u8 = 1;
/// First byte of what follows the digest in a seal.
const SEAL_VERSION: u8 = 1;
/// Bytes of a signature with its signer.
const SIGNED_SIZE_BYTES: usize = 96;

/// What members say to each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// A prevote or precommit.
    Vote(SignedVote),
    /// Which payload a proposer proposes.
    Proposal(SignedProposal),
    /// Two thirds prevoted a value.
    Polka(Polka),
    /// Why a round was entered.
    Skip(Skip),
    /// The sender's newest final height.
    Status(Height),
    /// Asks for a payload that was proposed.
    WantPayload(Height, B256),
    /// Asks for final payloads from this height on.
    WantFinal(Height),
    /// A proposed payload.
    Payload(Payload),
    /// A final payload with its seal.
    Final(Payload, Bytes),
}

/// What a channel carries; the longest message is its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Votes, proposals and certificates.
    Votes,
    /// Proposed payloads.
    Blocks,
    /// Questions and answers of members that are behind.
    Backfill,
}

impl Lane {
    pub(crate) const fn size_bytes_max(self) -> usize {
        match self {
            // A round certificate is the longest: each signature with vote and value.
            Self::Votes => 128 + SIGNATURES_MAX * (SIGNED_SIZE_BYTES + 34),
            Self::Blocks | Self::Backfill => Payload::SIZE_BYTES_MAX,
        }
    }
}

impl Message {
    pub(crate) const fn lane(&self) -> Lane {
        match self {
            Self::Vote(_) | Self::Proposal(_) | Self::Polka(_) | Self::Skip(_) | Self::Status(_) => {
                Lane::Votes
            }
            Self::Payload(_) => Lane::Blocks,
            Self::WantPayload(..) | Self::WantFinal(_) | Self::Final(..) => Lane::Backfill,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer(vec![VERSION]);
        match self {
            Self::Vote(vote) => to.byte(1).vote(vote),
            Self::Proposal(proposal) => to.byte(2).proposal(proposal),
            Self::Polka(polka) => to.byte(3).polka(polka),
            Self::Skip(skip) => to.byte(4).skip(skip),
            Self::Status(height) => to.byte(5).height(At(height.0)),
            Self::WantPayload(height, digest) => to.byte(6).height(At(height.0)).put(digest),
            Self::WantFinal(height) => to.byte(7).height(At(height.0)),
            Self::Payload(payload) => to.byte(8).put(alloy_rlp::encode(payload)),
            Self::Final(payload, seal) => {
                let size = u32::try_from(seal.len()).unwrap_or(u32::MAX);
                to.byte(9).put(size.to_be_bytes()).put(seal).put(alloy_rlp::encode(payload))
            }
        };
        to.0
    }

    /// Decodes a message that came on `lane`.
    pub(crate) fn decode(bytes: &[u8], lane: Lane) -> Decoded<Self> {
        if bytes.len() > lane.size_bytes_max() {
            return Err(Malformed);
        }
        let mut from = Reader(bytes);
        if from.byte()? != VERSION {
            return Err(Malformed);
        }
        let message = match from.byte()? {
            1 => Self::Vote(from.vote()?),
            2 => Self::Proposal(from.proposal()?),
            3 => Self::Polka(from.polka()?),
            4 => Self::Skip(from.skip()?),
            5 => Self::Status(Height(from.u64()?)),
            6 => Self::WantPayload(Height(from.u64()?), from.hash()?),
            7 => Self::WantFinal(Height(from.u64()?)),
            8 => Self::Payload(payload(from.rest())?),
            9 => {
                let size = usize::try_from(u32::from_be_bytes(from.array()?)).map_err(|_| Malformed)?;
                if size > Seal::SIZE_BYTES_MAX {
                    return Err(Malformed);
                }
                let seal = Bytes::copy_from_slice(from.take(size)?);
                Self::Final(payload(from.rest())?, seal)
            }
            _ => return Err(Malformed),
        };
        from.end()?;
        if message.lane() == lane { Ok(message) } else { Err(Malformed) }
    }
}

pub(crate) fn payload(bytes: &[u8]) -> Decoded<Payload> {
    decode_bounded(bytes, Payload::SIZE_BYTES_MAX).map_err(|_| Malformed)
}

/// What stands beside a final block: its payload's digest, which the next payload names, and the votes that made it
/// final, so that any member can prove any block to one that fell behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal(pub(crate) Commit);

impl Seal {
    const SIZE_BYTES_MAX: usize = 64 + SIGNATURES_MAX * SIGNED_SIZE_BYTES;

    pub(crate) fn encode(&self) -> Bytes {
        let mut to = Writer(self.0.value_id.0.to_vec());
        to.byte(SEAL_VERSION).commit(&self.0);
        to.0.into()
    }

    pub(crate) fn decode(height: Height, bytes: &[u8]) -> Decoded<Self> {
        let mut from = Reader(bytes);
        let digest = Digest(from.hash()?);
        if from.byte()? != SEAL_VERSION {
            return Err(Malformed);
        }
        let commit = from.commit(At(height.0), digest)?;
        from.end().map(|()| Self(commit))
    }

    /// Digest of the payload that a seal belongs to.
    pub(crate) fn digest(bytes: &[u8]) -> Decoded<B256> {
        Reader(bytes).hash()
    }
}

/// Whether the votes beside a final block are those of two thirds of `validators` and more for the payload `digest`.
#[must_use]
pub fn seal_holds(
    ledger: LedgerId,
    validators: &bletchley_consensus::Validators,
    height: Height,
    digest: &B256,
    seal: &[u8],
) -> bool {
    let (Ok(seal), Some(seats)) = (Seal::decode(height, seal), crate::context::Seats::new(validators)) else {
        return false;
    };
    seal.0.value_id.0 == *digest && crate::signing::Checker::new(ledger).commit(&seats, &seal.0).is_ok()
}

/// For fuzzing: one message of every kind, and a seal.
#[must_use]
pub fn examples() -> (Vec<Vec<u8>>, Vec<u8>) {
    use crate::context::{Proposal, Rules, Signature, Vote, Voter};
    use arc_malachitebft_core_types::{self as types, NilOrVal, Round, SignedMessage, VoteType};
    use bletchley_consensus::PeerId;

    let (height, round, signature) = (At(7), Round::Some(2), Signature([5; 64]));
    let (digest, voter) = (Digest(B256::repeat_byte(3)), Voter(PeerId(B256::repeat_byte(4))));
    let vote = |kind, value| Vote { kind, height, round, value, voter };
    let precommit = SignedMessage::new(vote(VoteType::Precommit, NilOrVal::Val(digest)), signature);
    let prevote = SignedMessage::new(vote(VoteType::Prevote, NilOrVal::Val(digest)), signature);
    let nil = SignedMessage::new(vote(VoteType::Prevote, NilOrVal::Nil), signature);
    let proposal = |pol_round| {
        SignedMessage::new(Proposal { height, round, value: digest, pol_round, proposer: voter }, signature)
    };
    let commit = Commit::new(height, round, digest, vec![precommit.clone()]);
    let polka = Polka::new(height, round, digest, vec![prevote.clone()]);
    let one = |vote: &SignedVote| {
        types::RoundSignature::<Rules>::new(vote.kind, vote.value, vote.voter, vote.signature)
    };
    let round_signatures = vec![one(&precommit), one(&nil)];
    let skip = Skip { height, round, cert_type: types::RoundCertificateType::Skip, round_signatures };
    let part = |text: &'static str| Bytes::from_static(text.as_bytes());
    let block = bletchley_ledger::Block { header: part("header"), body: part("body"), extension: part("") };
    let payload = Payload::new(digest.0, Height(7), block);
    let seal = Seal(commit).encode();
    let messages = [
        Message::Vote(precommit),
        Message::Vote(nil),
        Message::Proposal(proposal(Round::Nil)),
        Message::Proposal(proposal(Round::Some(1))),
        Message::Polka(polka),
        Message::Skip(skip),
        Message::Status(Height(7)),
        Message::WantPayload(Height(7), digest.0),
        Message::WantFinal(Height(7)),
        Message::Payload(payload.clone()),
        Message::Final(payload, seal.clone()),
    ];
    (messages.iter().map(Message::encode).collect(), seal.to_vec())
}

/// For fuzzing: decodes a message of any lane and, when it is one, checks that it encodes to the same bytes.
#[must_use]
pub fn decodes(bytes: &[u8]) -> Option<bool> {
    [Lane::Votes, Lane::Blocks, Lane::Backfill]
        .into_iter()
        .find_map(|lane| Message::decode(bytes, lane).ok())
        .map(|message| message.encode() == bytes)
}

/// For fuzzing: the same for what stands beside a final block.
#[must_use]
pub fn seal_decodes(bytes: &[u8]) -> Option<bool> {
    Seal::decode(Height(7), bytes).ok().map(|seal| *seal.encode() == *bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANES: [Lane; 3] = [Lane::Votes, Lane::Blocks, Lane::Backfill];

    #[test]
    fn every_message_comes_back_on_its_lane_and_on_no_other() {
        let (messages, seal) = examples();
        for bytes in messages {
            let decoded: Vec<Message> =
                LANES.into_iter().filter_map(|lane| Message::decode(&bytes, lane).ok()).collect();
            assert_eq!(decoded.iter().map(Message::encode).collect::<Vec<_>>(), vec![bytes.clone()]);
            for end in 0..bytes.len() {
                assert_eq!(decodes(&bytes[..end]), None, "a truncated message");
            }
            assert_eq!(decodes(&[bytes, vec![0]].concat()), None, "a message with something behind it");
        }
        assert_eq!(seal_decodes(&seal), Some(true));
        assert_eq!(Seal::digest(&seal), Ok(B256::repeat_byte(3)));
    }

    #[test]
    fn no_message_is_longer_than_its_lane() {
        assert!(Message::decode(&vec![1; Lane::Votes.size_bytes_max() + 1], Lane::Votes).is_err());
    }

    proptest! {
        #[test]
        fn one_encoding_for_each_message(at in 0_usize..11, place in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = examples().0.swap_remove(at);
            *place.get_mut(&mut bytes) = byte;
            prop_assert_ne!(decodes(&bytes), Some(false));
        }
    }
}
