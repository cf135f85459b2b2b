//! The one place that writes to the terminal: plain lines for people, or one JSON object a line for programs.

use serde_json::Value;
use std::io::{IsTerminal, Write};

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    /// Output for people, or for programs with `json`.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let colour = !json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    /// Whether programs are reading.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// A line for people; nothing when programs are reading. A closed pipe is not an error.
    pub fn line(self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
        }
    }

    /// A heading for people.
    pub fn heading(self, text: impl AsRef<str>) {
        self.line("");
        self.line(self.bold(text.as_ref()));
    }

    /// Progress for people, on the error stream so that results can be piped.
    pub fn progress(self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(std::io::stderr().lock(), "  {}", self.dim(text.as_ref()));
        }
    }

    /// Something that whoever runs a command should know meanwhile, on the error stream; programs read it there too.
    pub fn warning(text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
    }

    /// One event for programs; nothing when people are reading.
    pub fn event(self, value: &Value) {
        if self.json {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{value}");
            let _ = out.flush();
        }
    }

    /// Why a command failed: what was attempted, then each cause.
    pub fn error(self, error: &anyhow::Error) {
        if self.json {
            self.event(&serde_json::json!({ "error": format!("{error:#}") }));
            return;
        }
        let mut out = std::io::stderr().lock();
        let _ = writeln!(out, "{} {error:#}", self.bad("error:"));
    }

    /// `text` in bold where the terminal can.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// `text` dimmed where the terminal can.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `text` in green where the terminal can.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// `text` in red where the terminal can.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
