//! The node's side of a conversation with a worker, which is believed in nothing that can be checked.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    container::{FailureKind, Invocation, Outcome, Outside, Status, UnavailableKind},
    fetch::{Fetched, PATH_SIZE_BYTES_MAX},
    host::{LogLevel, MethodTypes, Methods, Surroundings, fuel_of, limits},
    manifest::NAME_SIZE_BYTES_MAX,
    transcript::{FETCHES_PER_CALL_MAX, FetchRecord, Transcript},
    worker::wire::{
        Answered, Fetch, FetchedFrame, FrameError, FromWorker, Invoke, Load, Loaded, Log, ToWorker, is_reason,
    },
};

use super::process::Process;

/// Why a worker gave no answer. Either way it is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It did not answer in time.
    #[error("the worker did not answer in time")]
    TimedOut,
    /// It is gone.
    #[error("the worker is gone")]
    Gone,
    /// It broke the protocol.
    #[error("{0}")]
    Broken(String),
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Channel(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Self::TimedOut,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    Self::Gone
                }
                _ => Self::Broken(error.to_string()),
            },
            FrameError::Protocol(problem) => broken(problem),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        FrameError::from(error).into()
    }
}

fn broken(problem: &str) -> Fault {
    Fault::Broken(format!("the worker breaks the protocol: {problem}"))
}

/// Has the worker make a package ready.
pub(super) fn load(worker: &mut Process, load: Load, deadline: Instant) -> Result<Loaded, Fault> {
    worker.send(&ToWorker::Load(load))?;
    match worker.receive(deadline)? {
        FromWorker::Loaded(loaded) => Ok(loaded),
        _ => Err(broken("another frame than what came of loading")),
    }
}

/// One call under way.
pub(super) struct Session<'a> {
    pub(super) call: &'a Invocation,
    pub(super) methods: &'a Methods,
    pub(super) types: &'a MethodTypes,
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
}

impl Session<'_> {
    /// Has the worker answer the call, which the manifest admits.
    pub(super) fn run(&self, worker: &mut Process) -> Result<Outcome, Fault> {
        worker.send(&self.invoke())?;
        let (mut fetched, mut lines) = (Vec::new(), 0);
        loop {
            match worker.receive(self.deadline)? {
                FromWorker::Answered(answered) => return self.outcome(*answered, fetched),
                FromWorker::Fetch(fetch) => {
                    let answer = self.fetch(&fetch, fetched.len())?;
                    let record = answer.record(&fetch.source, &fetch.path);
                    let FetchRecord { result, status, body, .. } = record.clone();
                    fetched.push(record);
                    worker.send(&ToWorker::Fetched(FetchedFrame { result, status, body }))?;
                }
                FromWorker::Log(log) => {
                    lines += 1;
                    self.log(&log, lines)?;
                }
                FromWorker::Jailed(_) | FromWorker::Loaded(_) => return Err(broken("a frame out of turn")),
            }
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.call.outside, Outside::Live)
    }

    fn invoke(&self) -> ToWorker {
        let call = self.call;
        ToWorker::Invoke(Box::new(Invoke {
            call_id: call.call_id,
            ledger: call.ledger.0,
            height: call.height.0,
            block_time_ms: call.block_time.0,
            as_of_ms: call.as_of.0,
            caller: call.caller,
            method: call.method.clone(),
            input: call.input.clone(),
            fuel: fuel_of(call, self.methods),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            recorded: !self.is_live(),
            record: match &call.outside {
                Outside::Live => Default::default(),
                Outside::Recorded(record) => record.encode().into(),
            },
        }))
    }

    fn fetch(&self, fetch: &Fetch, before: usize) -> Result<Fetched, Fault> {
        let Fetch { source, path } = fetch;
        if !self.is_live() || before >= FETCHES_PER_CALL_MAX {
            return Err(broken("a fetch that the call does not have"));
        }
        let sources = &self.methods.manifest.capabilities.fetch;
        let declared = sources.iter().find(|declared| declared.name == *source);
        let declared = declared.filter(|_| self.methods.forbids_fetch(source, path).is_none());
        let declared = declared.ok_or_else(|| broken("a fetch that the manifest forbids"))?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::TimedOut);
        }
        Ok(self.surroundings.fetch(declared, path, left))
    }

    fn log(&self, log: &Log, lines: u32) -> Result<(), Fault> {
        let level = LogLevel::from_code(log.level);
        let level = level.filter(|_| self.is_live() && lines <= limits::HOST_CALLS_MAX);
        let fits = log.message.len() <= limits::LOG_MESSAGE_SIZE_BYTES_MAX;
        let level = level.filter(|_| fits).ok_or_else(|| broken("a line for the log out of bounds"))?;
        self.surroundings.log(level, &self.methods.manifest.name, &log.message);
        Ok(())
    }

    /// What the worker says, where it can be true; the record of fetches is the node's own.
    fn outcome(&self, answered: Answered, fetched: Vec<FetchRecord>) -> Result<Outcome, Fault> {
        let Answered { code, reason, output, fuel_used, host_calls_digest, fetches } = answered;
        if fuel_used > fuel_of(self.call, self.methods) || !is_reason(&reason) {
            return Err(broken("more fuel or words than there can be"));
        }
        let transcript = self.transcript(fetches, fetched)?;
        let status = match (FailureKind::from_code(code), UnavailableKind::from_code(code)) {
            (Some(kind), _) => Status::failed(kind, reason),
            (None, Some(kind)) => Status::unavailable(kind, reason),
            (None, None) if code == Status::Ok.code() && reason.is_empty() => Status::Ok,
            (None, None) => return Err(broken("an unknown status")),
        };
        if status == Status::Ok {
            if self.types.accept(output.to_vec()).0 != Status::Ok {
                return Err(broken("an output that is not of its type"));
            }
        } else if !output.is_empty() {
            return Err(broken("an output of a call that failed"));
        }
        Ok(Outcome { status, output, fuel_used, host_calls_digest, transcript })
    }

    /// What was really answered, in the order that the worker gives, which must account for all of it.
    fn transcript(&self, named: Vec<Fetch>, fetched: Vec<FetchRecord>) -> Result<Transcript, Fault> {
        let unaccounted = || broken("fetches that do not add up");
        if named.len() > FETCHES_PER_CALL_MAX {
            return Err(unaccounted());
        }
        let answered: &[FetchRecord] = match &self.call.outside {
            Outside::Live => &fetched,
            Outside::Recorded(record) => &record.fetches,
        };
        let mut answered = answered.iter().peekable();
        let mut fetches = Vec::with_capacity(named.len());
        for Fetch { source, path } in named {
            if source.len() > NAME_SIZE_BYTES_MAX || path.len() > PATH_SIZE_BYTES_MAX {
                return Err(unaccounted());
            }
            let denied = self.methods.forbids_fetch(&source, &path).filter(|_| self.is_live());
            let record = match denied {
                Some(denied) => denied.record(&source, &path),
                None => answered
                    .next()
                    .filter(|record| record.source == source && record.path == path)
                    .cloned()
                    .ok_or_else(unaccounted)?,
            };
            fetches.push(record);
        }
        if self.is_live() && answered.peek().is_some() {
            return Err(unaccounted());
        }
        Ok(Transcript { fetches })
    }
}
