//! The engine on the deterministic runtime and a simulated network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;
mod conformance;
mod hostile;
mod power;
