//! What belongs to one call: its limits, its record, and how far it has come.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, Keccak256};
use wasmtime::{ResourceLimiter, StoreContextMut};

use super::{executor::Loaded, limits, wire::LogLevel};
use crate::{
    container::{FailureKind, Invocation, Outside, Status, UnavailableKind},
    fetch::{Fetched, Fetcher},
    manifest::FetchSource,
    transcript::{FETCHES_PER_CALL_MAX, Transcript, host_calls_next, host_calls_start},
};

const RANDOM_DOMAIN: &[u8] = b"bletchley/cryptlet/random/1";

/// What a call reaches outside itself: the world, or whoever stands between it and a confined worker.
pub(crate) trait Surroundings: Send + Sync {
    /// GET `path` of a source that the manifest names, within `timeout`.
    fn fetch(&self, source: &FetchSource, path: &str, timeout: Duration) -> Fetched;

    /// A line for the operator.
    fn log(&self, level: LogLevel, cryptlet: &str, message: &str);
}

/// The world itself.
pub(crate) struct World(pub(crate) Arc<dyn Fetcher>);

impl Surroundings for World {
    fn fetch(&self, source: &FetchSource, path: &str, timeout: Duration) -> Fetched {
        self.0.get(source, path, timeout)
    }

    fn log(&self, level: LogLevel, cryptlet: &str, message: &str) {
        // Without control characters, so that a cryptlet cannot write the operator's terminal.
        let said = message.escape_debug().to_string();
        match level {
            LogLevel::Debug => tracing::debug!(cryptlet, said, "cryptlet.log"),
            LogLevel::Info => tracing::info!(cryptlet, said, "cryptlet.log"),
            LogLevel::Warn => tracing::warn!(cryptlet, said, "cryptlet.log"),
            LogLevel::Error => tracing::error!(cryptlet, said, "cryptlet.log"),
        }
    }
}

/// A reason to end the call from inside a host function.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.reason())]
pub(super) struct Abort(pub(super) Status);

impl Abort {
    pub(super) fn failed(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self(Status::failed(kind, reason))
    }

    pub(super) fn unavailable(kind: UnavailableKind, reason: impl Into<String>) -> Self {
        Self(Status::unavailable(kind, reason))
    }
}

/// State of one call: the data of its store.
pub(crate) struct CallState {
    pub(super) call: Invocation,
    pub(super) package: Arc<Loaded>,
    pub(super) transcript: Transcript,
    pub(super) host_calls_digest: B256,
    host_calls: u32,
    surroundings: Arc<dyn Surroundings>,
    deadline: Instant,
    random: RandomStream,
    memory_bytes: usize,
    /// The last growth asked for was within the memory's own maximum: if it fails, the host is at fault.
    growth_was_fair: bool,
}

impl CallState {
    pub(super) fn new(
        call: Invocation,
        package: Arc<Loaded>,
        surroundings: Arc<dyn Surroundings>,
        deadline: Instant,
    ) -> Self {
        Self {
            random: RandomStream::new(call.call_id),
            call,
            package,
            transcript: Transcript::default(),
            host_calls_digest: host_calls_start(),
            host_calls: 0,
            surroundings,
            deadline,
            memory_bytes: 0,
            growth_was_fair: false,
        }
    }

    /// Hands a line to the operator; what is repeated from a record has been said before.
    pub(super) fn log(&self, level: LogLevel, message: &str) {
        if self.is_live() {
            self.surroundings.log(level, &self.package.methods.manifest.name, message);
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.call.outside, Outside::Live)
    }

    /// Whether a repeated execution left part of its record unused.
    pub(super) fn has_unused_record(&self) -> bool {
        match &self.call.outside {
            Outside::Live => false,
            Outside::Recorded(record) => record.fetches.len() != self.transcript.fetches.len(),
        }
    }

    pub(super) fn note(&mut self, name: &str, arguments: &[u8], result: &[u8]) {
        self.host_calls_digest = host_calls_next(self.host_calls_digest, name, arguments, result);
    }

    pub(super) fn random(&mut self, size_bytes: usize) -> Vec<u8> {
        self.random.take(size_bytes)
    }

    /// Answers a fetch, from the world or from the record, and records it.
    pub(super) fn fetch(&mut self, source: &str, path: &str) -> Result<Fetched, Abort> {
        let at = self.transcript.fetches.len();
        if at >= FETCHES_PER_CALL_MAX {
            let reason = format!("more than {FETCHES_PER_CALL_MAX} fetches in one call");
            return Err(Abort::failed(FailureKind::HostCallLimit, reason));
        }
        let methods = &self.package.methods;
        // What manifest and path forbid is forbidden on every host, so a record cannot say otherwise.
        let forbidden = methods.forbids_fetch(source, path);
        let declared = methods.manifest.capabilities.fetch.iter().find(|declared| declared.name == source);
        let fetched = match (&self.call.outside, forbidden, declared) {
            (Outside::Live, Some(denied), _) => denied,
            (Outside::Live, None, Some(declared)) => {
                let left = self.deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Abort::unavailable(
                        UnavailableKind::Timeout,
                        "the time ran out before a fetch",
                    ));
                }
                self.surroundings.fetch(declared, path, left)
            }
            (Outside::Recorded(record), forbidden, _) => {
                let fetched = record
                    .fetches
                    .get(at)
                    .filter(|record| record.source == source && record.path == path)
                    .and_then(Fetched::from_record);
                match (fetched, forbidden) {
                    (Some(fetched), None) => fetched,
                    (Some(fetched), Some(denied)) if fetched == denied => fetched,
                    _ => {
                        let reason = format!("fetch {at} of the record is not the one the cryptlet makes");
                        return Err(Abort::unavailable(UnavailableKind::TranscriptMismatch, reason));
                    }
                }
            }
            (Outside::Live, None, None) => Fetched::Denied("no such source".to_owned()),
        };
        let record = fetched.record(source, path);
        self.note("fetch.get", &[], &alloy_rlp::encode(&record));
        self.transcript.fetches.push(record);
        Ok(fetched)
    }
}

/// Counts a host call and charges for it, before it does anything.
pub(super) fn charge(store: &mut StoreContextMut<'_, CallState>, moved_bytes: usize) -> wasmtime::Result<()> {
    let state = store.data_mut();
    state.host_calls += 1;
    if state.host_calls > limits::HOST_CALLS_MAX {
        let reason = format!("more than {} host calls in one call", limits::HOST_CALLS_MAX);
        return Err(Abort::failed(FailureKind::HostCallLimit, reason).into());
    }
    charge_fuel(store, limits::HOST_CALL_FUEL.saturating_add(byte_fuel(moved_bytes)))
}

/// Charges fuel that wasm instructions do not.
pub(super) fn charge_fuel(store: &mut StoreContextMut<'_, CallState>, fuel: u64) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    store.set_fuel(left.saturating_sub(fuel))?;
    if left < fuel { Err(Abort::failed(FailureKind::OutOfFuel, OUT_OF_FUEL).into()) } else { Ok(()) }
}

/// Fuel of moving this many bytes.
pub(super) fn byte_fuel(moved_bytes: usize) -> u64 {
    limits::HOST_CALL_BYTE_FUEL.saturating_mul(moved_bytes as u64)
}

/// Words of the commonest failure, the same wherever it strikes.
pub(super) const OUT_OF_FUEL: &str = "the cryptlet ran out of fuel";

impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.package.memory_bytes_max;
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > allowed {
            // A refusal that the guest could survive would let one outcome depend on how it does.
            let reason =
                format!("the cryptlet asked for {total} bytes of memory, its manifest allows {allowed}");
            return Err(Abort::failed(FailureKind::OutOfMemory, reason).into());
        }
        self.growth_was_fair = maximum.is_none_or(|maximum| desired <= maximum);
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if self.growth_was_fair {
            tracing::warn!(%error, "host.memory");
            return Err(Abort::unavailable(UnavailableKind::HostFault, "the host has no memory left").into());
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS_MAX {
            let reason = format!(
                "the cryptlet asked for a table of {desired}, allowed are {}",
                limits::TABLE_ELEMENTS_MAX
            );
            return Err(Abort::failed(FailureKind::OutOfMemory, reason).into());
        }
        Ok(true)
    }
}

/// Bytes that are a function of the call id: keccak256(domain, call id, counter), counter by counter.
struct RandomStream {
    call_id: B256,
    counter: u64,
    block: B256,
    used: usize,
}

impl RandomStream {
    fn new(call_id: B256) -> Self {
        Self { call_id, counter: 0, block: B256::ZERO, used: B256::len_bytes() }
    }

    fn take(&mut self, size_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_bytes);
        while bytes.len() < size_bytes {
            if self.used == B256::len_bytes() {
                let mut hasher = Keccak256::new();
                hasher.update(RANDOM_DOMAIN);
                hasher.update(self.call_id);
                hasher.update(self.counter.to_be_bytes());
                self.block = hasher.finalize();
                self.counter += 1;
                self.used = 0;
            }
            let wanted = (size_bytes - bytes.len()).min(B256::len_bytes() - self.used);
            bytes.extend(self.block.iter().skip(self.used).take(wanted));
            self.used += wanted;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_random_stream_does_not_depend_on_how_it_is_read() {
        let id = B256::repeat_byte(7);
        let whole = RandomStream::new(id).take(100);
        let mut stream = RandomStream::new(id);
        let parts: Vec<u8> = [1, 31, 0, 33, 35].into_iter().flat_map(|size| stream.take(size)).collect();
        assert_eq!(parts, whole);
        assert_ne!(RandomStream::new(B256::repeat_byte(8)).take(100), whole);
        assert_ne!(whole[..32], whole[32..64]);
    }
}
