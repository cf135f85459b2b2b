//! Why an action cannot happen, and why an entry is passed over.

use crate::{
    LEDGERS_MAX, LedgerError, MEMBERS_MAX, MemberError, ParameterError, StatementError, UPGRADES_MAX,
};
use bletchley_primitives::{Address, B256, Height};

/// Why an action cannot happen as things stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The member's record.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No such member.
    #[error("there is no member {0}; `bletchley consortium members` lists them")]
    NoMember(String),
    /// The member is gone.
    #[error("{0} has left the consortium")]
    HasLeft(String),
    /// It is so already.
    #[error("{0}; nothing to decide")]
    NoChange(String),
    /// A name that another member has or had.
    #[error("the name {0} belongs to a member, past or present; choose another")]
    NameTaken(String),
    /// A key that another member has or had, or that was replaced.
    #[error("key {0} belongs or belonged to a member; make a fresh one")]
    KeyTaken(Address),
    /// A node that another member has or had, or that was replaced.
    #[error("node key {0} belongs or belonged to a member; make a fresh one")]
    PeerTaken(B256),
    /// Two nodes in one place.
    #[error("two members would be at {0}; each node needs an endpoint of its own")]
    EndpointTaken(String),
    /// An update that changes the seat.
    #[error("an update of {0} cannot change whether it is a validator; propose set-validator")]
    SeatInUpdate(String),
    /// Too many members.
    #[error("a consortium has at most {MEMBERS_MAX} members over its whole life")]
    TooManyMembers,
    /// No such ledger.
    #[error("there is no ledger {0}; `bletchley consortium show` lists them")]
    NoLedger(String),
    /// A ledger's name twice.
    #[error("there is a ledger {0} already; choose another name")]
    LedgerTaken(String),
    /// A chain id twice.
    #[error("chain id {0} belongs to another ledger; choose another")]
    ChainIdTaken(u64),
    /// Too many ledgers.
    #[error("a consortium has at most {LEDGERS_MAX} ledgers over its whole life")]
    TooManyLedgers,
    /// Too many upgrades.
    #[error("a consortium has at most {UPGRADES_MAX} upgrades over its whole life")]
    TooManyUpgrades,
    /// A protocol version that does not follow.
    #[error("protocol version {version} does not follow version {before}; propose a later one")]
    VersionNotLater {
        /// What was proposed.
        version: u32,
        /// The last one before.
        before: u32,
    },
    /// A height that is past, or before the upgrade before.
    #[error("an upgrade at block {height} comes too early; propose a block after {after}")]
    HeightNotLater {
        /// What was proposed.
        height: Height,
        /// What it must lie after.
        after: Height,
    },
    /// Nobody would vote on blocks.
    #[error("no validator would remain; make another member a validator first, or in the same proposal")]
    NoValidator,
    /// Nobody would vote on a ledger's blocks.
    #[error("ledger {0} would have no validator among its members; add one first, or in the same proposal")]
    LedgerWithoutValidator(String),
    /// The solo engine, and not exactly one member.
    #[error(
        "ledger {name} has the solo engine, which is for one member alone: name that one with --members ({listed} are named), or choose simplex or tendermint"
    )]
    SoloMembers {
        /// The ledger.
        name: String,
        /// How many are named.
        listed: usize,
    },
    /// An engine of several members, and one validator.
    #[error(
        "ledger {name} would have one validator, and {engine} is for members that agree; choose solo, or share it with more validators"
    )]
    AgreesAlone {
        /// The ledger.
        name: String,
        /// Its engine.
        engine: String,
    },
    /// The solo engine, and more than one validator.
    #[error(
        "ledger {name} has the solo engine, which is for one validator, and would have {validators}; create ledgers for more with simplex or tendermint"
    )]
    SoloLedger {
        /// The ledger.
        name: String,
        /// How many there would be.
        validators: usize,
    },
}

/// Why an entry changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not what members say.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Signed by somebody else.
    #[error(
        "{0} is not the administrator key of a member; members propose and vote, with the key that the consortium knows"
    )]
    NotMember(Address),
    /// No such proposal.
    #[error("there is no proposal {0}; `bletchley consortium proposals` lists them")]
    NoProposal(u64),
    /// The proposal is no longer open.
    #[error("proposal {number} is closed: it is {status}")]
    Closed {
        /// Which.
        number: u64,
        /// How it ended.
        status: &'static str,
    },
    /// The digest is that of another proposal.
    #[error("proposal {number} has digest {expected}, not {found}; read it again before voting")]
    Digest {
        /// Which.
        number: u64,
        /// What the statement says.
        found: B256,
        /// What it is.
        expected: B256,
    },
    /// Somebody else's proposal.
    #[error("proposal {number} is {author}'s, who alone can withdraw it; vote no instead")]
    NotAuthor {
        /// Which.
        number: u64,
        /// Whose it is.
        author: String,
    },
    /// The author has too many open proposals.
    #[error("{author} has {open} open proposals, the most there may be; withdraw one or wait for their end")]
    TooManyOpen {
        /// Who.
        author: String,
        /// How many.
        open: usize,
    },
    /// The same ballot again.
    #[error("{member} has voted so on proposal {number} already")]
    SameBallot {
        /// Which proposal.
        number: u64,
        /// Who.
        member: String,
    },
    /// An action that cannot happen.
    #[error("action {}: {source}", position.saturating_add(1))]
    Action {
        /// Position in the proposal.
        position: usize,
        /// Why.
        source: ActionError,
    },
}

impl Refusal {
    /// A short stable name, for programs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Statement(_) => "statement",
            Self::NotMember(_) => "not-member",
            Self::NoProposal(_) => "no-proposal",
            Self::Closed { .. } => "closed",
            Self::Digest { .. } => "digest",
            Self::NotAuthor { .. } => "not-author",
            Self::TooManyOpen { .. } => "too-many-open",
            Self::SameBallot { .. } => "same-ballot",
            Self::Action { .. } => "action",
        }
    }
}
