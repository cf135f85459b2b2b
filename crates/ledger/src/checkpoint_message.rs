//! What members send each other about checkpoints.

use crate::{Certificate, CheckpointVote};
use alloy_rlp::{Decodable, Encodable};
use bletchley_primitives::{Bytes, DecodeError, Height, decode_bounded};

/// Version of these messages.
const VERSION: u8 = 1;

/// A message between members about the checkpoints of one ledger. Encoded as a byte with the version, a byte with the kind,
/// and an RLP list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointMessage {
    /// Votes of the sender.
    Votes(Vec<CheckpointVote>),
    /// Heights whose certificates the sender misses.
    Want(Vec<Height>),
    /// Certificates that were asked for.
    Certificates(Vec<Certificate>),
}

impl CheckpointMessage {
    /// Longest encoding.
    pub const SIZE_BYTES_MAX: usize = 128 << 10;
    /// Most votes in a message.
    pub const VOTES_MAX: usize = 256;
    /// Most heights that are asked for at once.
    pub const HEIGHTS_MAX: usize = 256;
    /// Most certificates in a message.
    pub const CERTIFICATES_MAX: usize = 256;

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Votes(votes) => list(0, votes, &mut out),
            Self::Want(heights) => list(1, heights, &mut out),
            Self::Certificates(certificates) => list(2, certificates, &mut out),
        }
        out.into()
    }

    /// The message in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, rest) = bytes.split_first().ok_or_else(|| malformed("an empty message"))?;
        if *version != VERSION {
            return Err(malformed("another version of checkpoint messages"));
        }
        let (kind, list) = rest.split_first().ok_or_else(|| malformed("a message without a kind"))?;
        match kind {
            0 => items(list, Self::VOTES_MAX).map(Self::Votes),
            1 => items(list, Self::HEIGHTS_MAX).map(Self::Want),
            2 => items(list, Self::CERTIFICATES_MAX).map(Self::Certificates),
            _ => Err(malformed("an unknown kind of checkpoint message")),
        }
    }

    /// Messages with all these certificates, each within the bounds.
    #[must_use]
    pub fn certificates(certificates: Vec<Certificate>) -> Vec<Self> {
        // Kind, version and the longest header of a list.
        let room = Self::SIZE_BYTES_MAX - 16;
        let (mut messages, mut batch, mut size_bytes) = (Vec::new(), Vec::new(), 0);
        for certificate in certificates {
            let next = certificate.length();
            if next > room {
                continue;
            }
            if size_bytes + next > room || batch.len() >= Self::CERTIFICATES_MAX {
                messages.push(Self::Certificates(std::mem::take(&mut batch)));
                size_bytes = 0;
            }
            size_bytes += next;
            batch.push(certificate);
        }
        if !batch.is_empty() {
            messages.push(Self::Certificates(batch));
        }
        messages
    }
}

fn list<T: Encodable>(kind: u8, items: &[T], out: &mut Vec<u8>) {
    out.push(kind);
    alloy_rlp::encode_list(items, out);
}

fn items<T: Decodable>(bytes: &[u8], count_max: usize) -> Result<Vec<T>, DecodeError> {
    let all: Vec<T> = decode_bounded(bytes, CheckpointMessage::SIZE_BYTES_MAX)?;
    if all.is_empty() || all.len() > count_max {
        return Err(malformed("an empty message, or one with too many items"));
    }
    Ok(all)
}

fn malformed(problem: &str) -> DecodeError {
    DecodeError::Malformed(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded() {
        let want = |count: usize| CheckpointMessage::Want(vec![Height(7); count]).encode();
        let most = want(CheckpointMessage::HEIGHTS_MAX);
        assert_eq!(CheckpointMessage::decode(&most).map(|message| message.encode()), Ok(most));
        for refused in [want(0), want(CheckpointMessage::HEIGHTS_MAX + 1), Bytes::new(), vec![1u8].into()] {
            assert!(CheckpointMessage::decode(&refused).is_err());
        }
        assert!(CheckpointMessage::decode(&[2, 1, 0xc1, 7]).is_err(), "another version");
        assert!(CheckpointMessage::decode(&[1, 3, 0xc1, 7]).is_err(), "another kind");
    }
}
