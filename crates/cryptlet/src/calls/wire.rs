//! Messages between the hosts of members, on [`bletchley_consensus::Protocol::Calls`] (specs/cryptodelegate.md: Between hosts).

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_ledger::{Receipt, SignedReceipt};
use bletchley_primitives::{DecodeError, Signature, decode_bounded};

use crate::registry::PAYLOAD_SIZE_BYTES_MAX;

/// Longest message: that of the protocol.
const MESSAGE_SIZE_BYTES_MAX: usize = bletchley_consensus::Protocol::Calls.size_bytes_max();
/// Longest piece of content in one message.
pub(super) const PIECE_SIZE_BYTES_MAX: usize = 1 << 20;
/// Longest words of a refusal.
const WORDS_SIZE_BYTES_MAX: usize = 256;

/// Asks a host to confirm and sign what another came to.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Ask {
    /// What is to be signed.
    pub(crate) receipt: Receipt,
    /// The output, or the reason.
    pub(crate) output: Bytes,
    /// Encoded evidence; when no host of the asking member could answer, input and fuel with an empty transcript.
    pub(crate) evidence: Bytes,
    /// Who signed the transaction.
    pub(crate) sender: Address,
    /// Time that the answer is worth something for.
    pub(crate) timeout_ms: u64,
}

/// Why a host does not sign, or has no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RefusalCode {
    /// Registry or policy, as this member knows them, do not let the call run.
    NotAllowed = 1,
    /// Another package, or another budget, stands there for the cryptlet.
    OtherPackage = 2,
    /// One of the two hosts is not among those that count.
    NotAHost = 3,
    /// The run came to something else.
    Differs = 4,
    /// This host could not answer the call itself.
    Unavailable = 5,
    /// It has an answer, where the asking member says that there is none.
    Answers = 6,
    /// The asking member's share of this host is used up.
    Busy = 7,
    /// The content is not here.
    NotHere = 8,
    /// The evidence is not that of the receipt.
    Evidence = 9,
    /// The host's key cannot be used.
    Key = 10,
}

impl RefusalCode {
    fn from_number(number: u8) -> Option<Self> {
        use RefusalCode::*;
        [NotAllowed, OtherPackage, NotAHost, Differs, Unavailable, Answers, Busy, NotHere, Evidence, Key]
            .into_iter()
            .find(|code| *code as u8 == number)
    }

    /// Name as logs and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::OtherPackage => "other-package",
            Self::NotAHost => "not-a-host",
            Self::Differs => "differs",
            Self::Unavailable => "unavailable",
            Self::Answers => "answers",
            Self::Busy => "busy",
            Self::NotHere => "not-here",
            Self::Evidence => "evidence",
            Self::Key => "key",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: RefusalCode,
    /// In words, for the log of who asked.
    pub(crate) words: String,
    /// Digest of the output that this host came to; zero without one.
    pub(crate) output_digest: B256,
}

impl Refused {
    pub(crate) fn new(code: RefusalCode, words: impl std::fmt::Display) -> Self {
        let mut words = words.to_string();
        let end = words.floor_char_boundary(WORDS_SIZE_BYTES_MAX);
        words.truncate(end);
        Self { code, words, output_digest: B256::ZERO }
    }
}

/// A message. Answers have the number of what they answer; the others give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Ask(Box<Ask>),
    Signed(Signature),
    Refused(Refused),
    /// A finished receipt, so that nobody else runs the call.
    Shared(Box<SignedReceipt>),
    /// Asks for content from an offset on.
    Want {
        digest: B256,
        offset: u64,
    },
    /// A piece of content, and how long all of it is.
    Piece {
        size_bytes: u64,
        bytes: Bytes,
    },
    /// A host's half of its registry entry, for an administrator to sign.
    HostRequest(Bytes),
}

#[derive(RlpEncodable, RlpDecodable)]
struct Envelope {
    kind: u8,
    number: u64,
    body: Bytes,
}

#[derive(RlpEncodable, RlpDecodable)]
struct RefusedBody {
    code: u8,
    words: String,
    output_digest: B256,
}

#[derive(RlpEncodable, RlpDecodable)]
struct WantBody {
    digest: B256,
    offset: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct PieceBody {
    size_bytes: u64,
    bytes: Bytes,
}

impl Message {
    pub(crate) fn encode(&self, number: u64) -> Bytes {
        let (kind, body) = match self {
            Self::Ask(ask) => (1, alloy_rlp::encode(ask.as_ref())),
            Self::Signed(signature) => (2, alloy_rlp::encode(signature)),
            Self::Refused(Refused { code, words, output_digest }) => {
                let body =
                    RefusedBody { code: *code as u8, words: words.clone(), output_digest: *output_digest };
                (3, alloy_rlp::encode(body))
            }
            Self::Shared(signed) => (4, alloy_rlp::encode(signed.as_ref())),
            Self::Want { digest, offset } => {
                (5, alloy_rlp::encode(WantBody { digest: *digest, offset: *offset }))
            }
            Self::Piece { size_bytes, bytes } => {
                (6, alloy_rlp::encode(PieceBody { size_bytes: *size_bytes, bytes: bytes.clone() }))
            }
            Self::HostRequest(payload) => (7, payload.to_vec()),
        };
        alloy_rlp::encode(Envelope { kind, number, body: body.into() }).into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Self), DecodeError> {
        let most = MESSAGE_SIZE_BYTES_MAX;
        let Envelope { kind, number, body } = decode_bounded(bytes, most)?;
        let malformed = |problem: &str| DecodeError::Malformed(problem.to_owned());
        let message = match kind {
            1 => Self::Ask(Box::new(decode_bounded(&body, most)?)),
            2 => Self::Signed(decode_bounded(&body, most)?),
            3 => {
                let RefusedBody { code, words, output_digest } = decode_bounded(&body, most)?;
                let code =
                    RefusalCode::from_number(code).ok_or_else(|| malformed("a refusal of no known code"))?;
                if words.len() > WORDS_SIZE_BYTES_MAX || words.chars().any(char::is_control) {
                    return Err(malformed("words that are too long or have control characters"));
                }
                Self::Refused(Refused { code, words, output_digest })
            }
            4 => Self::Shared(Box::new(decode_bounded(&body, most)?)),
            5 => {
                let WantBody { digest, offset } = decode_bounded(&body, most)?;
                Self::Want { digest, offset }
            }
            6 => {
                let PieceBody { size_bytes, bytes } = decode_bounded(&body, most)?;
                if bytes.is_empty() || bytes.len() > PIECE_SIZE_BYTES_MAX {
                    return Err(malformed("a piece that is empty or too long"));
                }
                Self::Piece { size_bytes, bytes }
            }
            7 if body.len() <= PAYLOAD_SIZE_BYTES_MAX => Self::HostRequest(body),
            _ => return Err(malformed("a message of no known kind")),
        };
        Ok((number, message))
    }
}

/// Whether bytes are a message of this protocol: what fuzzing asks.
#[must_use]
pub fn is_message(bytes: &[u8]) -> bool {
    Message::decode(bytes).is_ok_and(|(number, message)| message.encode(number).as_ref() == bytes)
}
