//! What members send each other so that one that fell behind, or joins, gets the blocks that it misses.

use crate::{Certificate, FinalityProof};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_primitives::{B256, Bytes, DecodeError, Height, decode_bounded};

/// Version of these messages.
const VERSION: u8 = 1;

/// A stretch of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, RlpEncodable, RlpDecodable)]
pub struct HeightRange {
    /// The first of them.
    pub from: Height,
    /// The last of them, not below the first.
    pub to: Height,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Claim {
    /// Its newest block.
    pub head: Height,
    /// Its newest block with a certificate; 0 for none.
    pub certified: Height,
}

/// Headers, and the certificates that make them final.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Headers {
    /// Height of the first.
    pub from: Height,
    /// In order; the last one is certified.
    pub headers: Vec<Bytes>,
    /// In order of their heights: of the last header, of each last block of an epoch, and of some before them.
    pub certificates: Vec<Certificate>,
}

/// A block without its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct BlockParts {
    /// Transactions.
    pub body: Bytes,
    /// Extension.
    pub extension: Bytes,
    /// What the engine keeps beside it.
    pub seal: Bytes,
    /// Receipts; empty when no results were asked for.
    pub receipts: Bytes,
    /// State changes; empty when no results were asked for.
    pub diff: Bytes,
}

/// Blocks that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct WantBlocks {
    /// Which ones.
    pub range: HeightRange,
    /// 1 with receipts and state changes, 0 without: they are found again by executing.
    pub results: u8,
}

/// Blocks in a row.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Blocks {
    /// Height of the first.
    pub from: Height,
    /// At least one; as many as fit.
    pub blocks: Vec<BlockParts>,
}

/// A piece of a block that is too long for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct WantPiece {
    /// The block.
    pub height: Height,
    /// As in [`WantBlocks`].
    pub results: u8,
    /// Where the piece begins in the encoding of its [`BlockParts`].
    pub offset: u64,
}

/// A piece of the encoding of a block's [`BlockParts`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Piece {
    /// The block.
    pub height: Height,
    /// Where it begins.
    pub offset: u64,
    /// Length of the whole encoding.
    pub size_bytes: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// Digest over the receipts of blocks, as they are kept: what headers do not commit to is compared between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct RangeDigest {
    /// Which blocks.
    pub range: HeightRange,
    /// The digest.
    pub digest: B256,
}

/// A message between members about blocks that one of them misses. Encoded as a byte with the version, a byte with the
/// kind, and an RLP item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncMessage {
    /// How far are you?
    Ask,
    /// So far.
    Claim(Claim),
    /// Show that your newest certified block is final.
    WantProof,
    /// It is.
    Proof(Box<FinalityProof>),
    /// Headers of these blocks.
    WantHeaders(HeightRange),
    /// Here they are, perhaps fewer.
    Headers(Headers),
    /// These blocks.
    WantBlocks(WantBlocks),
    /// Here they are, perhaps fewer.
    Blocks(Blocks),
    /// The rest of a long block.
    WantPiece(WantPiece),
    /// Some of it.
    Piece(Piece),
    /// The digest over what you keep of these blocks.
    WantDigest(HeightRange),
    /// Here it is.
    Digest(RangeDigest),
    /// What was asked for at this height is not here.
    Missing(Height),
}

impl SyncMessage {
    /// Longest encoding.
    pub const SIZE_BYTES_MAX: usize = 4 << 20;
    /// Most headers in a message, and most blocks that are asked for at once.
    pub const HEADERS_MAX: usize = 1_024;
    /// Most certificates in a message.
    pub const CERTIFICATES_MAX: usize = 1_280;
    /// Most blocks in a message.
    pub const BLOCKS_MAX: usize = 256;
    /// Longest encoding of a block's parts: a record of a store.
    pub const PARTS_SIZE_BYTES_MAX: usize = 64 << 20;

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        let mut put = |kind: u8, item: &dyn Encodable| {
            out.push(kind);
            item.encode(&mut out);
        };
        match self {
            Self::Ask => put(0, &Bytes::new()),
            Self::Claim(item) => put(1, item),
            Self::WantProof => put(2, &Bytes::new()),
            Self::Proof(item) => put(3, &**item),
            Self::WantHeaders(item) => put(4, item),
            Self::Headers(item) => put(5, item),
            Self::WantBlocks(item) => put(6, item),
            Self::Blocks(item) => put(7, item),
            Self::WantPiece(item) => put(8, item),
            Self::Piece(item) => put(9, item),
            Self::WantDigest(item) => put(10, item),
            Self::Digest(item) => put(11, item),
            Self::Missing(item) => put(12, item),
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
            return Err(malformed("another version of sync messages"));
        }
        let (kind, rest) = rest.split_first().ok_or_else(|| malformed("a message without a kind"))?;
        let message = match kind {
            0 => nothing(rest).map(|()| Self::Ask),
            1 => item(rest).map(Self::Claim),
            2 => nothing(rest).map(|()| Self::WantProof),
            3 => item(rest).map(|proof| Self::Proof(Box::new(proof))),
            4 => item(rest).map(Self::WantHeaders),
            5 => item(rest).map(Self::Headers),
            6 => item(rest).map(Self::WantBlocks),
            7 => item(rest).map(Self::Blocks),
            8 => item(rest).map(Self::WantPiece),
            9 => item(rest).map(Self::Piece),
            10 => item(rest).map(Self::WantDigest),
            11 => item(rest).map(Self::Digest),
            12 => item(rest).map(Self::Missing),
            _ => Err(malformed("an unknown kind of sync message")),
        }?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let range = |range: &HeightRange, count_max: usize| {
            let count = range.to.0.checked_sub(range.from.0);
            let fits = count.is_some_and(|count| count < count_max as u64) && range.from > Height(0);
            if fits { Ok(()) } else { Err(malformed("a range that is empty or too long")) }
        };
        let results = |results: u8| if results <= 1 { Ok(()) } else { Err(malformed("an unknown choice")) };
        match self {
            Self::WantHeaders(wanted) => range(wanted, Self::HEADERS_MAX),
            Self::WantDigest(wanted) => range(wanted, Self::BLOCKS_MAX),
            Self::Digest(digest) => range(&digest.range, Self::BLOCKS_MAX),
            Self::WantBlocks(wanted) => {
                results(wanted.results)?;
                range(&wanted.range, Self::BLOCKS_MAX)
            }
            Self::WantPiece(wanted) => results(wanted.results),
            Self::Headers(Headers { headers, certificates, .. }) => {
                let fits = !headers.is_empty()
                    && headers.len() <= Self::HEADERS_MAX
                    && !certificates.is_empty()
                    && certificates.len() <= Self::CERTIFICATES_MAX;
                if fits { Ok(()) } else { Err(malformed("no, or too many, headers or certificates")) }
            }
            Self::Blocks(Blocks { blocks, .. }) => {
                let fits = !blocks.is_empty() && blocks.len() <= Self::BLOCKS_MAX;
                if fits { Ok(()) } else { Err(malformed("no, or too many, blocks")) }
            }
            Self::Piece(Piece { offset, size_bytes, bytes, .. }) => {
                let end = offset.checked_add(bytes.len() as u64);
                let fits = !bytes.is_empty()
                    && *size_bytes <= Self::PARTS_SIZE_BYTES_MAX as u64
                    && end.is_some_and(|end| end <= *size_bytes);
                if fits { Ok(()) } else { Err(malformed("a piece that lies outside of its block")) }
            }
            _ => Ok(()),
        }
    }
}

fn item<T: Decodable>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_bounded(bytes, SyncMessage::SIZE_BYTES_MAX)
}

fn nothing(bytes: &[u8]) -> Result<(), DecodeError> {
    let empty: Bytes = item(bytes)?;
    if empty.is_empty() { Ok(()) } else { Err(malformed("a question with something behind it")) }
}

fn malformed(problem: &str) -> DecodeError {
    DecodeError::Malformed(problem.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> HeightRange {
        HeightRange { from: Height(from), to: Height(to) }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let parts = BlockParts { body: Bytes::from_static(b"body"), ..BlockParts::default() };
        for message in [
            SyncMessage::Ask,
            SyncMessage::Claim(Claim { head: Height(9), certified: Height(7) }),
            SyncMessage::WantProof,
            SyncMessage::WantHeaders(range(1, 1_024)),
            SyncMessage::WantBlocks(WantBlocks { range: range(3, 3), results: 1 }),
            SyncMessage::Blocks(Blocks { from: Height(3), blocks: vec![parts; 2] }),
            SyncMessage::WantPiece(WantPiece { height: Height(3), results: 0, offset: 5 }),
            SyncMessage::Piece(Piece {
                height: Height(3),
                offset: 5,
                size_bytes: 9,
                bytes: Bytes::from_static(b"four"),
            }),
            SyncMessage::WantDigest(range(3, 4)),
            SyncMessage::Digest(RangeDigest { range: range(3, 4), digest: B256::repeat_byte(1) }),
            SyncMessage::Missing(Height(8)),
        ] {
            assert_eq!(SyncMessage::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn messages_out_of_bounds_are_refused() {
        let piece = |offset, size_bytes, bytes: &'static [u8]| {
            SyncMessage::Piece(Piece {
                height: Height(1),
                offset,
                size_bytes,
                bytes: Bytes::from_static(bytes),
            })
        };
        for message in [
            SyncMessage::WantHeaders(range(0, 3)),
            SyncMessage::WantHeaders(range(4, 3)),
            SyncMessage::WantHeaders(range(1, 1_025)),
            SyncMessage::WantBlocks(WantBlocks { range: range(1, 257), results: 1 }),
            SyncMessage::WantBlocks(WantBlocks { range: range(1, 2), results: 2 }),
            SyncMessage::Blocks(Blocks { from: Height(1), blocks: Vec::new() }),
            SyncMessage::Headers(Headers { from: Height(1), headers: Vec::new(), certificates: Vec::new() }),
            piece(8, 9, b"ab"),
            piece(u64::MAX, 9, b"a"),
            piece(0, 9, b""),
            piece(0, 1 << 40, b"a"),
        ] {
            assert!(SyncMessage::decode(&message.encode()).is_err(), "{message:?}");
        }
        for bytes in [&[][..], &[1], &[2, 0, 0x80], &[1, 99, 0x80], &[1, 0, 0x81, 7], &[1, 0, 0x80, 0]] {
            assert!(SyncMessage::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
