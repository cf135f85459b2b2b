//! The other end of the confined container: a process that jails itself, then answers calls of one cryptlet, or
//! compiles one. The same binary as the node's, started with [`ARGUMENT`]; it must come here before it has a second
//! thread.

mod code;
mod compile;
mod jail;
mod serve;
mod syscalls;
pub(crate) mod wire;

use std::{
    ffi::OsString,
    os::{fd::FromRawFd, unix::net::UnixStream},
    process::ExitCode,
};

pub use jail::{JailError, Limits};

use self::wire::{Channel, FRAME_SIZE_BYTES_MAX, FromWorker, Jailed};

/// First argument of a worker.
pub const ARGUMENT: &str = "--cryptlet-worker";

/// Descriptor of the channel.
pub(crate) const CHANNEL: i32 = 3;
/// Descriptor of the code: compiled for a worker that serves, a component for one that compiles.
pub(crate) const CODE: i32 = 4;
/// Descriptor of what a worker that compiles writes.
pub(crate) const OUTPUT: i32 = 5;

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answers calls.
    Serve,
    /// Compiles.
    Compile,
}

impl Task {
    /// Name in the arguments.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Compile => "compile",
        }
    }
}

/// Exit codes: a node shows them, and nothing depends on them.
const FAULT: u8 = 70;
const USAGE: u8 = 64;

/// Works and gives the exit code if this process was started as a worker. Call it first in `main`, before any thread,
/// runtime or logger exists.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(ExitCode::from(work(arguments.collect())))
}

fn work(arguments: Vec<OsString>) -> u8 {
    let Some((task, limits)) = parse(&arguments) else { return USAGE };
    let Some(channel) = jailed(&limits, true) else { return FAULT };
    let worked = match task {
        Task::Serve => serve::serve(channel),
        Task::Compile => compile::compile(channel),
    };
    if worked.is_ok() { 0 } else { FAULT }
}

/// Enters the jail and says over the channel how it stands.
fn jailed(limits: &Limits, filtered: bool) -> Option<Channel> {
    let jailed = enter(limits, filtered).ok()?;
    let mut channel = Channel::new(channel(), FRAME_SIZE_BYTES_MAX);
    channel.send(&FromWorker::Jailed(jailed)).ok()?;
    Some(channel)
}

fn enter(limits: &Limits, filtered: bool) -> Result<Jailed, JailError> {
    // Nobody reads what a worker prints, and nothing that it inherits is to stay.
    for descriptor in 0..CHANNEL {
        close(descriptor);
    }
    jail::enter(limits, filtered)
}

/// Works like a worker that serves, jail and protocol and all, but answers every call with the words of `prisoner`,
/// which runs as code of the cryptlet would if it had broken out of the engine. Tests of the jail start it, with
/// arguments like a worker's; unfiltered, to see that the other walls hold without the filter of system calls.
#[must_use]
pub fn imprison(filtered: bool, prisoner: impl FnMut() -> String) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let worked = parse(&arguments)
        .and_then(|(_, limits)| jailed(&limits, filtered))
        .map(|channel| serve::serve_prisoner(channel, filtered, prisoner));
    if matches!(worked, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::from(FAULT) }
}

fn parse(arguments: &[OsString]) -> Option<(Task, Limits)> {
    let [task, data, cpu, file] = arguments else { return None };
    let number = |text: &OsString| text.to_str()?.parse().ok();
    let task = [Task::Serve, Task::Compile].into_iter().find(|known| task == known.name())?;
    let limits =
        Limits { data_size_bytes: number(data)?, cpu_s: number(cpu)?, file_size_bytes: number(file)? };
    Some((task, limits))
}

#[allow(unsafe_code, reason = "closing a descriptor by its number")]
fn close(descriptor: i32) {
    // SAFETY: the standard streams, which nothing in a worker uses, or its code, which is mapped by then.
    unsafe { libc::close(descriptor) };
}

#[allow(unsafe_code, reason = "a descriptor that a worker is born with")]
fn channel() -> UnixStream {
    // SAFETY: the node puts the channel there, and nothing else in this process takes it.
    unsafe { UnixStream::from_raw_fd(CHANNEL) }
}
