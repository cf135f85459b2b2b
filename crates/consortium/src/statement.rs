//! What members say on the ledger: proposals, ballots, withdrawals, and their encoding.

use crate::tagged::{Tagged, TaggedRow, unknown};
use crate::{LedgerSpec, Member, Parameter};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{B256, Bytes, DecodeError, Height, decode_bounded};
use serde::{Deserialize, Serialize};

/// Namespace of the consortium's entries on the root ledger.
pub const NAMESPACE: &str = "consortium";
/// Version of the encoding.
pub const STATEMENT_VERSION: u8 = 1;
/// Longest statement.
pub const STATEMENT_SIZE_BYTES_MAX: usize = 16 << 10;
/// Most actions of one proposal.
pub const ACTIONS_MAX: usize = 16;
/// Longest note of a proposal.
pub const NOTE_SIZE_BYTES_MAX: usize = 512;

const PROPOSAL: Domain = Domain("bletchley/consortium/proposal/1");

/// One thing that a proposal does when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Action {
    /// A new member.
    AddMember {
        /// Who.
        member: Member,
    },
    /// A member leaves for good; its name and keys are not used again.
    RemoveMember {
        /// Who.
        name: String,
    },
    /// A member votes on blocks, or no longer does.
    SetValidator {
        /// Who.
        name: String,
        /// Whether it votes.
        is_validator: bool,
    },
    /// A member changes its endpoint, or some of its keys; what it replaces is not used again.
    UpdateMember {
        /// The member as it is from then on; the name says which, the seat stays.
        member: Member,
    },
    /// A parameter changes.
    SetParameter {
        /// Which, and to what.
        parameter: Parameter,
    },
    /// A new ledger.
    CreateLedger {
        /// Which.
        ledger: LedgerSpec,
    },
    /// From a root-ledger block on, ledgers follow the rules of a later protocol version.
    Upgrade {
        /// Protocol version.
        version: u32,
        /// First root-ledger block of that version.
        height: Height,
    },
}

#[derive(RlpEncodable, RlpDecodable)]
struct Named {
    name: String,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Seated {
    name: String,
    is_validator: bool,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Scheduled {
    version: u32,
    height: Height,
}

impl Tagged for Action {
    fn to_row(&self) -> TaggedRow {
        match self {
            Self::AddMember { member } => TaggedRow::of(1, member),
            Self::RemoveMember { name } => TaggedRow::of(2, &Named { name: name.clone() }),
            Self::SetValidator { name, is_validator } => {
                TaggedRow::of(3, &Seated { name: name.clone(), is_validator: *is_validator })
            }
            Self::UpdateMember { member } => TaggedRow::of(4, member),
            Self::SetParameter { parameter } => TaggedRow::of(5, &parameter.to_row()),
            Self::CreateLedger { ledger } => TaggedRow::of(6, ledger),
            Self::Upgrade { version, height } => {
                TaggedRow::of(7, &Scheduled { version: *version, height: *height })
            }
        }
    }

    fn from_row(row: &TaggedRow) -> Result<Self, DecodeError> {
        let (body, most) = (&row.body, STATEMENT_SIZE_BYTES_MAX);
        Ok(match row.kind {
            1 => Self::AddMember { member: decode_bounded(body, most)? },
            2 => Self::RemoveMember { name: decode_bounded::<Named>(body, most)?.name },
            3 => {
                let Seated { name, is_validator } = decode_bounded(body, most)?;
                Self::SetValidator { name, is_validator }
            }
            4 => Self::UpdateMember { member: decode_bounded(body, most)? },
            5 => {
                let row: TaggedRow = decode_bounded(body, most)?;
                Self::SetParameter { parameter: Parameter::from_row(&row)? }
            }
            6 => Self::CreateLedger { ledger: decode_bounded(body, most)? },
            7 => {
                let Scheduled { version, height } = decode_bounded(body, most)?;
                Self::Upgrade { version, height }
            }
            other => return Err(unknown("action", other.into())),
        })
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddMember { member } => {
                let seat = if member.is_validator { "validator" } else { "observer" };
                write!(f, "add member {} ({seat}, at {})", member.name, member.endpoint)
            }
            Self::RemoveMember { name } => write!(f, "remove member {name}"),
            Self::SetValidator { name, is_validator: true } => write!(f, "make {name} a validator"),
            Self::SetValidator { name, is_validator: false } => write!(f, "make {name} an observer"),
            Self::UpdateMember { member } => {
                write!(f, "update keys or endpoint of {} (at {})", member.name, member.endpoint)
            }
            Self::SetParameter { parameter } => write!(f, "set {parameter}"),
            Self::CreateLedger { ledger } => {
                let (name, kind) = (&ledger.name, ledger.kind.name());
                write!(f, "create ledger {name} ({kind}, engine {}", ledger.engine)?;
                if ledger.chain_id > 0 {
                    write!(f, ", chain id {}", ledger.chain_id)?;
                }
                if ledger.is_subset() {
                    write!(f, ", for {} only", ledger.members.join(", "))?;
                }
                f.write_str(")")
            }
            Self::Upgrade { version, height } => {
                write!(f, "follow protocol version {version} from block {height}")
            }
        }
    }
}

/// What one entry says. Who says it is whoever signed the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "statement", rename_all = "kebab-case")]
pub enum Statement {
    /// A new proposal; its author votes for it.
    Propose {
        /// What it does, in this order, all or nothing.
        actions: Vec<Action>,
        /// Why, in words.
        note: String,
    },
    /// A ballot, in the place of the voter's earlier one.
    Vote {
        /// Number of the proposal.
        proposal: u64,
        /// Its digest, so that nobody votes for something unseen.
        digest: B256,
        /// For or against.
        yes: bool,
    },
    /// The author takes a proposal back.
    Withdraw {
        /// Number of the proposal.
        proposal: u64,
        /// Its digest.
        digest: B256,
    },
}

#[derive(RlpEncodable, RlpDecodable)]
struct Envelope {
    version: u8,
    statement: TaggedRow,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Proposed {
    actions: Vec<TaggedRow>,
    note: String,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Voted {
    proposal: u64,
    digest: B256,
    yes: bool,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Withdrawn {
    proposal: u64,
    digest: B256,
}

/// Why bytes are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// They are not the encoding of one.
    #[error("this is no statement of a consortium: {0}")]
    Bytes(#[from] DecodeError),
    /// They are of another version.
    #[error("the statement has version {0}, version {STATEMENT_VERSION} is known here")]
    Version(u8),
    /// Too little or too much is proposed.
    #[error("a proposal has 1 to {ACTIONS_MAX} actions, not {0}")]
    Actions(usize),
    /// The note is too long, or not plain.
    #[error("a note is one line of at most {NOTE_SIZE_BYTES_MAX} bytes without control characters")]
    Note,
}

impl Statement {
    fn row(&self) -> TaggedRow {
        match self {
            Self::Propose { actions, note } => {
                let actions = actions.iter().map(Tagged::to_row).collect();
                TaggedRow::of(1, &Proposed { actions, note: note.clone() })
            }
            Self::Vote { proposal, digest, yes } => {
                TaggedRow::of(2, &Voted { proposal: *proposal, digest: *digest, yes: *yes })
            }
            Self::Withdraw { proposal, digest } => {
                TaggedRow::of(3, &Withdrawn { proposal: *proposal, digest: *digest })
            }
        }
    }

    /// Canonical bytes: the payload of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(Envelope { version: STATEMENT_VERSION, statement: self.row() }).into()
    }

    /// Reads canonical bytes, and checks what can be checked without knowing the consortium.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let Envelope { version, statement } = decode_bounded(bytes, STATEMENT_SIZE_BYTES_MAX)?;
        if version != STATEMENT_VERSION {
            return Err(StatementError::Version(version));
        }
        let (body, most) = (&statement.body, STATEMENT_SIZE_BYTES_MAX);
        match statement.kind {
            1 => {
                let Proposed { actions, note } = decode_bounded(body, most)?;
                if !(1..=ACTIONS_MAX).contains(&actions.len()) {
                    return Err(StatementError::Actions(actions.len()));
                }
                if note.len() > NOTE_SIZE_BYTES_MAX || note.chars().any(char::is_control) {
                    return Err(StatementError::Note);
                }
                let actions = actions.iter().map(Action::from_row).collect::<Result<_, _>>()?;
                Ok(Self::Propose { actions, note })
            }
            2 => {
                let Voted { proposal, digest, yes } = decode_bounded(body, most)?;
                Ok(Self::Vote { proposal, digest, yes })
            }
            3 => {
                let Withdrawn { proposal, digest } = decode_bounded(body, most)?;
                Ok(Self::Withdraw { proposal, digest })
            }
            other => Err(unknown("statement", other.into()).into()),
        }
    }

    /// A name for the entry that carries it, the same for the same statement at the same turn. Names say nothing to the
    /// fold: they only have to be free on the ledger.
    #[must_use]
    pub fn entry_name(&self, member: &str, turn: u64) -> String {
        match self {
            Self::Propose { .. } => format!("proposal/{member}/{turn}"),
            Self::Vote { proposal, .. } => format!("ballot/{proposal}/{member}/{turn}"),
            Self::Withdraw { proposal, .. } => format!("withdrawal/{proposal}/{member}/{turn}"),
        }
    }
}

/// Digest of a proposal: what ballots name beside its number.
#[must_use]
pub fn proposal_digest(number: u64, author: &str, statement: &[u8]) -> B256 {
    PROPOSAL.digest(&[&number.to_be_bytes(), author.as_bytes(), statement])
}
