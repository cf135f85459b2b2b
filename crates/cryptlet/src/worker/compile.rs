//! A worker that compiles one component: the compiler reads code of strangers too, so it works where a mistake of it
//! reaches nothing.

use std::{fs::File, io::Write, os::fd::FromRawFd};

use super::{
    CODE, OUTPUT, code, syscalls,
    syscalls::Stage,
    wire::{Channel, FrameError, FromWorker, Loaded, ToWorker},
};
use crate::host;

/// Compiles what it is told to, writes it to its output, says how it went, and ends.
pub(super) fn compile(mut channel: Channel) -> Result<(), FrameError> {
    let ToWorker::Compile(told) = channel.receive()? else {
        return Err(FrameError::Protocol("another frame than a component"));
    };
    let compiled = host::compiler().map_err(|error| host::first_line(&error)).and_then(|engine| {
        syscalls::allow(Stage::Running).map_err(|error| error.to_string())?;
        let code = code::Code::map(CODE, told.code_size_bytes).map_err(|error| error.to_string())?;
        let compiled = engine.precompile_component(code.bytes()).map_err(|error| host::first_line(&error))?;
        output().write_all(&compiled).map_err(|error| error.to_string())
    });
    let (stage, reason) = match compiled {
        Ok(()) => Default::default(),
        Err(reason) => ("compile".to_owned(), reason),
    };
    channel.send(&FromWorker::Loaded(Loaded { stage, reason }))
}

#[allow(unsafe_code, reason = "a descriptor that a worker is born with")]
fn output() -> File {
    // SAFETY: the node puts the output there, and nothing else in this process takes it.
    unsafe { File::from_raw_fd(OUTPUT) }
}
