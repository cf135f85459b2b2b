//! Who the members of a consortium are, and how they decide together.
//!
//! Governance is a fold: signed entries of the registry ledger go in, in the order of the ledger, and the consortium
//! comes out - members, validators, parameters, ledgers. Nothing here reads a file, a clock or the network.
//! `specs/consortium.md` says what it does.

mod fold;
mod history;
mod ledgers;
mod member;
mod parameters;
mod proposal;
mod refusal;
mod report;
mod standing;
mod statement;
mod tagged;

pub use fold::{
    CLOSED_KEPT_MAX, Consortium, OPEN_PER_MEMBER_MAX, Outcome, REFUSED_KEPT_MAX, Record, Refused,
};
pub use history::ConsortiumHistory;
pub use ledgers::{
    AGREED_HEARTBEAT_MS, BLOCK_MS, ENGINE_SOLO, ENGINES, EPOCH_BLOCKS, HEARTBEAT_MS_MAX, LEDGERS_MAX,
    LedgerError, LedgerKind, LedgerRecord, LedgerSpec,
};
pub use member::{MEMBERS_MAX, Member, MemberError, NAME_SIZE_BYTES_MAX, Seat};
pub use parameters::{PROPOSAL_BLOCKS, Parameter, ParameterError, Parameters, Rule};
pub use proposal::{Proposal, Status, Tally};
pub use refusal::{ActionError, Refusal};
pub use report::{ConsortiumView, ProposalReport, Report};
pub use standing::{
    Genesis, MemberRecord, PROTOCOL_VERSION_FIRST, SharedStanding, Standing, UPGRADES_MAX, Upgrade,
};
pub use statement::{
    ACTIONS_MAX, Action, NAMESPACE, NOTE_SIZE_BYTES_MAX, STATEMENT_SIZE_BYTES_MAX, STATEMENT_VERSION,
    Statement, StatementError, proposal_digest,
};
