//! Who the members of a consortium are, and how they decide together.
//!
//! Governance is a fold: signed entries of the registry ledger go in, in the order of the ledger, and the consortium
//! comes out - members, validators, parameters, ledgers. Nothing here reads a file, a clock or the network.

mod member;

pub use member::{Member, MemberError, Seat};
