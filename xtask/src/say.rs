//! What xtask says to people; the only module that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line tool talks through these

use std::io::Write;
use std::process::ExitCode;

/// A line of progress, on the error stream: what `up --json` and `bench --json` print stays for programs alone.
pub(crate) fn step(text: &str) {
    eprintln!("[xtask] {text}");
}

/// A heading before something long.
pub(crate) fn headline(text: &str) {
    line(&format!("\n=== {text} ==="));
}

/// A plain line.
pub(crate) fn line(text: &str) {
    println!("{text}");
    // Children write to the same pipe: what is said before them must stand before them.
    let _ = std::io::stdout().flush();
}

/// The end of a task that failed.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("\nxtask: {error:#}");
    ExitCode::FAILURE
}
