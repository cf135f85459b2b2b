//! The suite of the Container seam: what every implementation does with good and hostile guests, that all of them do the
//! same to the last bit, and that a worker's jail holds code that has broken out of the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prisoners tell their node by their output")]

#[path = "../support/mod.rs"]
mod support;

mod guests;
mod liar;
mod pool;
mod prison;
mod same;
mod suite;

use std::process::ExitCode;

use bletchley_cryptlet::worker;
use libtest_mimic::Arguments;

pub(crate) use suite::Kind;

fn main() -> ExitCode {
    // Before any thread: a worker jails itself first.
    let other = worker::run_if_asked()
        .or_else(prison::run_if_asked)
        .or_else(prison::tell_walls_if_asked)
        .or_else(pool::run_if_asked);
    other.unwrap_or_else(|| libtest_mimic::run(&Arguments::from_args(), suite::trials()).exit_code())
}
