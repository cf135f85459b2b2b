//! Running the tools of a language, and keeping the part of their words that helps.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Lines of a tool's words that an error keeps.
const WORDS_LINES_MAX: usize = 60;
/// Length of one of these lines.
const LINE_CHARS_MAX: usize = 300;

/// How a program ended.
pub(crate) struct Ended {
    /// Whether it says that it did what it was told.
    pub(crate) succeeded: bool,
    /// What it wrote, errors last, cut to what a person reads.
    pub(crate) words: String,
}

/// Runs a program to its end, without input.
pub(crate) fn run(command: &mut Command) -> io::Result<Ended> {
    let output = command.stdin(Stdio::null()).output()?;
    let words = [output.stdout, output.stderr].concat();
    Ok(Ended { succeeded: output.status.success(), words: shortened(&String::from_utf8_lossy(&words)) })
}

/// A program on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    {
        file.is_file()
    }
}

/// First lines without the colours that some tools write even into a pipe.
fn shortened(words: &str) -> String {
    let mut plain = String::with_capacity(words.len());
    let mut letters = words.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            // CSI: up to its final letter.
            let _ = letters.by_ref().find(char::is_ascii_alphabetic);
        } else if letter == '\n' || letter == '\t' || !letter.is_control() {
            plain.push(letter);
        }
    }
    let lines: Vec<String> = plain
        .lines()
        .map(|line| line.trim_end().chars().take(LINE_CHARS_MAX).collect::<String>())
        .filter(|line| !line.is_empty())
        .collect();
    let cut = lines.len().saturating_sub(WORDS_LINES_MAX);
    let mut kept: Vec<String> = lines.into_iter().take(WORDS_LINES_MAX).collect();
    if cut > 0 {
        kept.push(format!("({cut} more lines)"));
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_colours_and_length() {
        assert_eq!(shortened("\u{1b}[31mred\u{1b}[0m\r\n\nx  \n"), "red\nx");
        let long = "line\n".repeat(WORDS_LINES_MAX + 5);
        assert!(shortened(&long).ends_with("(5 more lines)"));
    }

    #[test]
    fn programs_are_found_on_path_only() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-anywhere").is_none());
    }
}
