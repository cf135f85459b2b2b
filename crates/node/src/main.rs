//! The `bletchley` binary: parses, runs, exits.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bletchley_node::memory::small_pages();
    ExitCode::from(bletchley_node::cli::run())
}
