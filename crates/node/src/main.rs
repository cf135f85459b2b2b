//! The `bletchley` binary: parses, runs, exits.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A confined cryptlet's worker is this binary too, and jails itself while it has one thread.
    #[cfg(target_os = "linux")]
    if let Some(code) = bletchley_cryptlet::worker::run_if_asked() {
        return code;
    }
    bletchley_node::memory::small_pages();
    ExitCode::from(bletchley_node::cli::run())
}
