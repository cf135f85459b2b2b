//! A worker that answers calls of one cryptlet.

use std::{
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use bletchley_primitives::{Height, LedgerId, TimestampMs};
use parking_lot::Mutex;

use super::{
    CODE, FAULT, close, code, syscalls,
    syscalls::Stage,
    wire::{
        Answered, Channel, Fetch, FetchedFrame, FrameError, FromWorker, Invoke, Load, Loaded, Log, ToWorker,
    },
};
use crate::{
    aot,
    container::{Invocation, Outcome, Outside, Status},
    fetch::Fetched,
    host::{self, Executor, LogLevel, Methods, Patience, Places, Surroundings, Unready},
    manifest::{FetchSource, Isolation, Manifest},
    transcript::{FetchRecord, Transcript},
};

/// Nothing advances the engine's epoch here: the node keeps the time, and ends the process when it is up.
const NO_EPOCH: u64 = u64::MAX / 2;

/// The node at the other end, as the surroundings of a call.
struct Line(Mutex<Channel>);

impl Line {
    /// Whoever breaks off in the middle of a call has no use for its outcome.
    fn ask(&self, source: &str, path: &str) -> Result<FetchedFrame, FrameError> {
        let mut channel = self.0.lock();
        channel.send(&FromWorker::Fetch(Fetch { source: source.to_owned(), path: path.to_owned() }))?;
        match channel.receive()? {
            ToWorker::Fetched(fetched) => Ok(fetched),
            _ => Err(FrameError::Protocol("another frame than an answer")),
        }
    }
}

impl Surroundings for Line {
    fn fetch(&self, source: &FetchSource, path: &str, _timeout: Duration) -> Fetched {
        let answer = self.ask(&source.name, path).ok().and_then(|FetchedFrame { result, status, body }| {
            let (source, path) = (source.name.clone(), path.to_owned());
            Fetched::from_record(&FetchRecord { source, path, result, status, body })
        });
        answer.unwrap_or_else(|| process::exit(FAULT.into()))
    }

    fn log(&self, level: LogLevel, _cryptlet: &str, message: &str) {
        let log = Log { level: level as u8, message: message.to_owned() };
        if self.0.lock().send(&FromWorker::Log(log)).is_err() {
            process::exit(FAULT.into());
        }
    }
}

/// Serves until the node closes the channel.
pub(super) fn serve(mut channel: Channel) -> Result<(), FrameError> {
    let ToWorker::Load(load) = channel.receive()? else {
        return Err(FrameError::Protocol("another frame than a package"));
    };
    let executor = Executor::open(Places::One)
        .map_err(|error| Unready { stage: "start", reason: host::first_line(&error) });
    let linked = executor.and_then(|executor| {
        let loaded = link(&executor, &load)?;
        // From here on the cryptlet's own code may run.
        syscalls::allow(Stage::Running)
            .map_err(|error| Unready { stage: "start", reason: error.to_string() })?;
        Ok((executor, Arc::new(loaded)))
    });
    let line = Arc::new(Line(Mutex::new(channel)));
    let ready = linked.and_then(|(executor, loaded)| {
        if load.rehearse {
            executor.rehearse(&loaded, line.clone(), patience(Duration::MAX))?;
        }
        Ok((executor, loaded))
    });
    let (stage, reason) = match &ready {
        Ok(_) => Default::default(),
        Err(unready) => (unready.stage.to_owned(), unready.reason.clone()),
    };
    line.0.lock().send(&FromWorker::Loaded(Loaded { stage, reason }))?;
    let Ok((executor, loaded)) = ready else { return Ok(()) };
    loop {
        let frame = line.0.lock().receive()?;
        let ToWorker::Invoke(invoke) = frame else {
            return Err(FrameError::Protocol("another frame than a call"));
        };
        let timeout = Duration::from_millis(invoke.timeout_ms);
        let call = invocation(*invoke).ok_or(FrameError::Protocol("a record that does not decode"))?;
        let outcome = match loaded.methods.admit(&call) {
            Ok(types) => executor.run(&loaded, &call, types, line.clone(), patience(timeout)),
            Err(status) => Outcome::not_run(status),
        };
        line.0.lock().send(&FromWorker::Answered(Box::new(answered(outcome))))?;
    }
}

fn patience(timeout: Duration) -> Patience {
    let now = Instant::now();
    /// Longer than any call may take.
    const LONG: Duration = Duration::from_secs(1 << 20);
    Patience { deadline: now + timeout.min(LONG), epochs: NO_EPOCH }
}

fn link(executor: &Executor, load: &Load) -> Result<host::Loaded, Unready> {
    let unready = |stage, reason: String| Unready { stage, reason };
    let manifest = Manifest::decode(&load.manifest).map_err(|error| unready("link", error.to_string()))?;
    let methods = Methods::of(manifest)
        .ok_or_else(|| unready("link", "there is no known type in a method".to_owned()))?;
    let code =
        code::Code::map(CODE, load.code_size_bytes).map_err(|error| unready("compile", error.to_string()))?;
    close(CODE);
    let component = aot::deserialize(&executor.engine, code.bytes())
        .map_err(|error| unready("compile", host::first_line(&error)))?;
    // Images of memories are descriptors, which cannot be made any more once the cryptlet runs.
    component.initialize_copy_on_write_image().map_err(|error| unready("link", host::first_line(&error)))?;
    executor.link(&component, Arc::new(methods))
}

fn invocation(invoke: Invoke) -> Option<Invocation> {
    let outside = if invoke.recorded {
        Outside::Recorded(Arc::new(Transcript::decode(&invoke.record).ok()?))
    } else {
        Outside::Live
    };
    Some(Invocation {
        call_id: invoke.call_id,
        ledger: LedgerId(invoke.ledger),
        height: Height(invoke.height),
        block_time: TimestampMs(invoke.block_time_ms),
        as_of: TimestampMs(invoke.as_of_ms),
        caller: invoke.caller,
        method: invoke.method,
        input: invoke.input,
        fuel_max: invoke.fuel,
        timeout_ms: invoke.timeout_ms,
        outside,
        isolation: Isolation::Process,
    })
}

fn answered(outcome: Outcome) -> Answered {
    let fetches = outcome.transcript.fetches.into_iter();
    Answered {
        code: outcome.status.code(),
        reason: outcome.status.reason().to_owned(),
        output: outcome.output,
        fuel_used: outcome.fuel_used,
        host_calls_digest: outcome.host_calls_digest,
        fetches: fetches.map(|record| Fetch { source: record.source, path: record.path }).collect(),
    }
}

/// Does everything that a worker does, but answers each call with the words of `prisoner`, which runs where the code of
/// a cryptlet would: after the last wall stands.
pub(super) fn serve_prisoner(
    mut channel: Channel,
    filtered: bool,
    mut prisoner: impl FnMut() -> String,
) -> Result<(), FrameError> {
    let ToWorker::Load(_) = channel.receive()? else {
        return Err(FrameError::Protocol("another frame than a package"));
    };
    close(CODE);
    if filtered {
        syscalls::allow(Stage::Running).map_err(|_| FrameError::Protocol("no filter"))?;
    }
    let ready = Loaded { stage: String::new(), reason: String::new() };
    channel.send(&FromWorker::Loaded(ready))?;
    loop {
        let ToWorker::Invoke(_) = channel.receive()? else {
            return Err(FrameError::Protocol("another frame than a call"));
        };
        let status = Status::unavailable(crate::container::UnavailableKind::HostFault, prisoner());
        let answer = answered(Outcome::not_run(status));
        channel.send(&FromWorker::Answered(Box::new(answer)))?;
    }
}
