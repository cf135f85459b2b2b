//! Trace ids: one number that follows a request through the node and, when it submits a transaction, to its block.
//!
//! A client may bring its own (W3C Trace Context, header `traceparent`); otherwise the node makes one. Every answer
//! names it, in `traceresponse` (W3C Trace Context level 2) and in `x-trace-id`.

use alloy_primitives::B256;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Transactions that are followed at once; the oldest is forgotten for a new one.
pub const FOLLOWED_MAX: usize = 4_096;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
/// Length of `traceparent` version 00: `00-<32>-<16>-<2>`.
const TRACEPARENT_CHARS: usize = 55;

/// Which request something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A request's trace, and whether its sender asked to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// Whether the client brought it.
    pub asked: bool,
}

static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static REQUESTS: AtomicU64 = AtomicU64::new(1);

impl Trace {
    /// The client's trace, or one of this node's.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let brought = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse);
        brought.map_or_else(Self::new, |id| Self { id, asked: true })
    }

    /// A trace that no other request has. It costs two hashes: the operating system is not asked.
    #[must_use]
    pub fn new() -> Self {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let high = u128::from(PROCESS.hash_one(0_u64)) << 64;
        Self { id: TraceId(high | u128::from(PROCESS.hash_one(number)) | 1), asked: false }
    }

    /// Names it in an answer.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let id = self.id.to_string();
        // The span is the node's part of the trace: the low half of what only this request has.
        let span = PROCESS.hash_one(self.id) | 1;
        let response = format!("00-{id}-{span:016x}-{:02x}", u8::from(self.asked));
        if let (Ok(response), Ok(id)) = (HeaderValue::try_from(response), HeaderValue::try_from(id)) {
            headers.insert(TRACERESPONSE, response);
            headers.insert(TRACE_ID, id);
        }
    }

    /// Whether transactions of this request are to be followed to their block: the client asked for it, or the log does.
    pub(crate) fn is_followed(self) -> bool {
        self.asked || tracing::enabled!(tracing::Level::INFO)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    static CURRENT: Cell<Option<Trace>> = const { Cell::new(None) };
}

/// Does `work` as part of a trace; what it submits on this thread is followed under it.
pub(crate) fn within<T>(trace: Option<Trace>, work: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(trace);
    let result = work();
    CURRENT.set(before);
    result
}

/// The trace of the request that this thread works on, if its transactions are to be followed.
pub(crate) fn followed_now() -> Option<TraceId> {
    CURRENT.get().filter(|trace| trace.is_followed()).map(|trace| trace.id)
}

/// W3C Trace Context 3.2: version 00 exactly; of later versions the part that they share.
fn parse(text: &str) -> Option<TraceId> {
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = text.trim().splitn(5, '-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), id.len(), span.len(), flags.len()] == [2, 32, 16, 2];
    let hex = [version, id, span, flags].into_iter().all(is_hex);
    let exact = version != "00" || text.trim().len() == TRACEPARENT_CHARS;
    if !lengths || !hex || !exact || version == "ff" || span.bytes().all(|b| b == b'0') {
        return None;
    }
    u128::from_str_radix(id, 16).ok().filter(|id| *id != 0).map(TraceId)
}

/// Transactions on their way to a block, and the request that each came by.
#[derive(Debug, Default)]
pub struct Followed {
    table: Mutex<Table>,
    /// How many there are, to be asked without a lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    traces: FxHashMap<B256, TraceId>,
    order: VecDeque<B256>,
}

impl Followed {
    /// Follows a transaction that is about to be taken in; its block may come at once.
    pub fn follow(&self, ledger: &str, transaction: B256, trace: TraceId) {
        tracing::info!(ledger, %transaction, %trace, "transaction.received");
        let mut table = self.table.lock();
        if table.traces.insert(transaction, trace).is_none() {
            table.order.push_back(transaction);
        }
        while table.order.len() > FOLLOWED_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.traces.remove(&oldest);
        }
        self.count.store(table.traces.len(), Ordering::Relaxed);
    }

    /// Whether any is followed. No lock is taken.
    #[must_use]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Forgets a transaction that was refused.
    pub fn forget(&self, transaction: B256) {
        let mut table = self.table.lock();
        if table.traces.remove(&transaction).is_some() {
            table.order.retain(|other| *other != transaction);
        }
        self.count.store(table.traces.len(), Ordering::Relaxed);
    }

    /// Takes the traces of those transactions that are followed.
    pub fn finished(
        &self,
        ledger: &str,
        height: u64,
        transactions: &mut dyn Iterator<Item = B256>,
    ) -> Vec<TraceId> {
        let mut table = self.table.lock();
        let mut found = Vec::new();
        for transaction in transactions {
            if let Some(trace) = table.traces.remove(&transaction) {
                tracing::info!(ledger, height, %transaction, %trace, "transaction.final");
                if !found.contains(&trace) {
                    found.push(trace);
                }
            }
        }
        if !found.is_empty() {
            let Table { traces, order } = &mut *table;
            order.retain(|transaction| traces.contains_key(transaction));
        }
        self.count.store(table.traces.len(), Ordering::Relaxed);
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"; // W3C Trace Context 3.2

    #[test]
    fn a_clients_trace_is_kept_and_nonsense_is_not() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        let trace = Trace::of(&headers);
        assert!(trace.asked);
        assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
    }

    #[test]
    fn traces_of_the_node_differ_and_can_be_read_back() {
        let (one, other) = (Trace::new(), Trace::new());
        assert_ne!(one.id, other.id);
        let mut headers = HeaderMap::new();
        one.write(&mut headers);
        let response = headers.get(TRACERESPONSE).unwrap().to_str().unwrap();
        assert_eq!(parse(response), Some(one.id));
    }

    #[test]
    fn following_is_bounded_and_ends_with_the_block() {
        let followed = Followed::default();
        let id = |number: usize| B256::from(alloy_primitives::U256::from(number));
        let trace = Trace::new().id;
        (0..FOLLOWED_MAX + 10).for_each(|number| followed.follow("evm", id(number), trace));
        assert_eq!(followed.table.lock().traces.len(), FOLLOWED_MAX);
        assert_eq!(followed.finished("evm", 1, &mut [id(0)].into_iter()), []);
        assert_eq!(followed.finished("evm", 1, &mut (0..FOLLOWED_MAX + 10).map(id)), [trace]);
        assert!(!followed.any() && followed.table.lock().order.is_empty());
    }
}
