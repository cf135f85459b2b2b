//! The fabric over a registry in memory and containers that are named by their misbehaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod check;
mod component;
mod ledger;
mod liar;
mod members;
mod poll;
mod quorum;
mod registry;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
mod world;
