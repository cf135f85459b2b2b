//! The EVM ledger over a store in memory: blocks exchanged between machines, transactions of every type, the mempool,
//! delegated calls against delegates named by their misbehaviour, reads, traces, development controls, restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

mod above;
mod adopting;
mod anchors;
mod blocks;
mod checkpoints;
mod delegated;
mod development;
mod hostile;
mod pooling;
mod proofs;
mod reading;
mod transactions;
mod world;
