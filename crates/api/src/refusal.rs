//! The ledger's refusals in the codes and words that Ethereum tools look for.

use crate::error::{RpcError, code};
use bletchley_evm::{
    CallError, FeeHistoryError, LogsError, LookupError, ProofLookupError, SubmitError, TraceError,
    revert_reason, state::HistoryError,
};
use bletchley_ledger::ReadError;

/// A transaction was not taken in.
pub(crate) fn submit(error: &SubmitError) -> RpcError {
    RpcError::server(error.to_string())
}

/// The ledger's data could not be read.
pub(crate) fn read(error: &ReadError) -> RpcError {
    tracing::error!(%error, "api.read");
    RpcError::internal(format!("reading the ledger's data: {error}"))
}

/// A block, or the state after it, is not here.
pub(crate) fn lookup(error: &LookupError) -> RpcError {
    match error {
        LookupError::NoBlock(at) => {
            RpcError::server(format!("header not found: this ledger has no block {at}"))
        }
        LookupError::History(history) => history_error(history),
        LookupError::State(bletchley_evm::state::StateError::History(history)) => history_error(history),
        LookupError::State(state) => RpcError::internal(format!("reading state: {state}")),
        LookupError::Read(problem) => read(problem),
    }
}

/// geth says "missing trie node" where history ends, and tools look for these words.
fn history_error(error: &HistoryError) -> RpcError {
    match error {
        HistoryError::Pruned { .. } => RpcError::server(format!("missing trie node: {error}")),
        HistoryError::AboveHead { .. } => RpcError::server(format!("header not found: {error}")),
        HistoryError::Rewound { .. } => RpcError::server(error.to_string()),
    }
}

/// A proof was not given.
pub(crate) fn proof(error: &ProofLookupError) -> RpcError {
    match error {
        ProofLookupError::Lookup(error) => lookup(error),
        ProofLookupError::Proof(bletchley_evm::state::ProofError::History(history)) => history_error(history),
        ProofLookupError::Proof(problem) => {
            RpcError::new(code::LIMIT_EXCEEDED, format!("limit exceeded: {problem}"))
        }
    }
}

/// A call did not run, or did not return.
pub(crate) fn call(error: &CallError) -> RpcError {
    match error {
        CallError::Lookup(error) => lookup(error),
        CallError::Reverted(output) => {
            // Data that is merely readable is data, not a reason.
            let reason = revert_reason(output).filter(|reason| reason.as_bytes() != output.as_ref());
            RpcError::reverted(reason.as_deref(), output)
        }
        CallError::Override(_) | CallError::TwoPrices => RpcError::invalid_params(error.to_string()),
        CallError::State(problem) => RpcError::internal(problem.clone()),
        CallError::Invalid(_) | CallError::Halted(_) | CallError::Allowance(_) => {
            RpcError::server(error.to_string())
        }
    }
}

/// Logs were not given.
pub(crate) fn logs(error: &LogsError) -> RpcError {
    match error {
        LogsError::Range { .. } | LogsError::TooManyAlternatives(_) => {
            RpcError::invalid_params(error.to_string())
        }
        LogsError::TooManyBlocks(_) | LogsError::TooManyResults { .. } => RpcError::limit(error.to_string()),
        LogsError::Read(problem) => read(problem),
    }
}

/// No fee history.
pub(crate) fn fee_history(error: &FeeHistoryError) -> RpcError {
    match error {
        FeeHistoryError::Lookup(error) => lookup(error),
        FeeHistoryError::Percentile(_) | FeeHistoryError::TooMany(_) => {
            RpcError::invalid_params(error.to_string())
        }
    }
}

/// No trace.
pub(crate) fn trace(error: &TraceError) -> RpcError {
    match error {
        TraceError::Lookup(error) => lookup(error),
        TraceError::Read(problem) => read(problem),
        TraceError::Call(error) => call(error),
        TraceError::TooLarge => RpcError::limit(error.to_string()),
        TraceError::Replay { .. } => RpcError::internal(error.to_string()),
        TraceError::NoTransaction | TraceError::Genesis | TraceError::Tracer(_) => {
            RpcError::server(error.to_string())
        }
    }
}
