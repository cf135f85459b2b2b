//! What xtask says to people; the only module that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line tool talks through these

use std::io::Write;
use std::process::ExitCode;

/// A line of progress.
pub(crate) fn step(text: &str) {
    line(&format!("[xtask] {text}"));
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
