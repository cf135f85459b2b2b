//! Asking on the terminal; secrets are not shown while they are typed. Without a terminal, one line of input each.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, IsTerminal, Write};
use zeroize::Zeroizing;

/// Longest answer.
const ANSWER_SIZE_BYTES_MAX: usize = 4096;

/// Asks for a line.
pub(crate) fn ask(question: &str) -> Result<Zeroizing<String>> {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question}: ");
    let _ = err.flush();
    let answer = read_line(question);
    if !std::io::stdin().is_terminal() {
        let _ = writeln!(err);
    }
    answer
}

/// Asks for a secret; what is typed does not show.
pub(crate) fn secret(question: &str) -> Result<Zeroizing<String>> {
    let hidden = std::io::stdin().is_terminal().then(Hidden::start).transpose()?;
    let answer = ask(question);
    if hidden.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    answer
}

/// Asks for a new secret, twice.
pub(crate) fn new_secret(question: &str) -> Result<Zeroizing<String>> {
    let first = secret(&format!("New {question}"))?;
    if *secret(&format!("The same {question} again"))? != *first {
        bail!("the two differ; nothing was done, try again");
    }
    Ok(first)
}

fn read_line(question: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_SIZE_BYTES_MAX));
    let mut input = std::io::stdin().lock();
    let limit = ANSWER_SIZE_BYTES_MAX as u64;
    std::io::Read::take(&mut input, limit).read_until(b'\n', &mut bytes).context("reading the answer")?;
    if bytes.is_empty() {
        bail!("no answer to `{question}`: the input ended");
    }
    let text = std::str::from_utf8(&bytes).context("the answer is not UTF-8 text")?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// The terminal without echo, until this is dropped.
struct Hidden(libc::termios);

#[expect(unsafe_code, reason = "the standard library cannot turn a terminal's echo off")]
impl Hidden {
    fn start() -> Result<Self> {
        // SAFETY: `termios` is plain data for which all zeroes is a value; it is filled in by the call below before use.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live, exclusively borrowed `termios`.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &raw mut settings) } != 0 {
            bail!("the terminal's settings cannot be read, so that a secret would show; nothing was asked");
        }
        let before = settings;
        settings.c_lflag &= !libc::ECHO;
        // SAFETY: the pointer is to a live `termios` that `tcgetattr` filled in.
        if unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &raw const settings) } != 0 {
            bail!("the terminal's echo cannot be turned off, so that a secret would show; nothing was asked");
        }
        Ok(Self(before))
    }
}

#[expect(unsafe_code, reason = "the standard library cannot turn a terminal's echo on again")]
impl Drop for Hidden {
    fn drop(&mut self) {
        // SAFETY: the pointer is to a live `termios` that `tcgetattr` filled in.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &raw const self.0) };
    }
}
