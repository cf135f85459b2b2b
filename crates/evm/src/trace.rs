//! Traces as geth prints them: of transactions in blocks, with the record of their delegated calls, and of calls, live.

use alloy_primitives::B256;
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::{
    common::TraceResult,
    geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace},
};
use bletchley_primitives::Height;
use revm::{
    DatabaseCommit, ExecuteEvm, InspectEvm, context_interface::result::ResultAndState, database::CacheDB,
    state::EvmState,
};
use revm_inspectors::tracing::{
    DebugInspector, DebugInspectorError, TraceLimitBehavior, TraceLimits, TracingInspector,
    TransactionContext,
};
use std::sync::Arc;

use crate::{
    block::Kept,
    call::{CallError, Simulation, call_error},
    core::Core,
    delegate::{Session, Source},
    execute::{Reader, admit_sender, before_transactions, vm},
    header::Frame,
    ledger::EvmLedger,
    read::{BlockRef, LookupError},
    state::{Overrides, StateView},
    tx::RecoveredTx,
};

/// Most memory that one trace may take; opcode traces of long loops stop there.
pub const TRACE_SIZE_BYTES_MAX: usize = 256 << 20;

/// Why a trace was not made.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No such transaction in any block.
    #[error("transaction not found")]
    NoTransaction,
    /// The genesis block has nothing to trace.
    #[error("genesis is not traceable")]
    Genesis,
    /// The block or its state is not here.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The data could not be read.
    #[error(transparent)]
    Read(#[from] bletchley_ledger::ReadError),
    /// The call could not be made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The tracer or its configuration is not known.
    #[error("{0}")]
    Tracer(String),
    /// The trace is too large.
    #[error(
        "the trace exceeds {TRACE_SIZE_BYTES_MAX} bytes; ask without memory and stack, or for calls only"
    )]
    TooLarge,
    /// Execution did not repeat itself.
    #[error("replaying block {height} for a trace: {problem}")]
    Replay {
        /// The block.
        height: Height,
        /// What went wrong.
        problem: String,
    },
}

fn tracer_error<E: std::fmt::Display>(error: DebugInspectorError<E>) -> TraceError {
    TraceError::Tracer(match error {
        DebugInspectorError::InvalidTracerConfig => "invalid tracer config".to_owned(),
        DebugInspectorError::UnsupportedTracer => "tracer not found".to_owned(),
        DebugInspectorError::JsTracerNotEnabled => "JavaScript tracers are not supported".to_owned(),
        DebugInspectorError::MuxInspector(error) => error.to_string(),
        DebugInspectorError::Database(error) => error.to_string(),
    })
}

fn inspector(options: GethDebugTracingOptions) -> Result<DebugInspector, TraceError> {
    let limits = TraceLimits::default()
        .set_max_recorded_bytes(Some(TRACE_SIZE_BYTES_MAX))
        .set_behavior(TraceLimitBehavior::Halt);
    let limit = |tracing: TracingInspector| tracing.with_limits(limits);
    Ok(match DebugInspector::new(options).map_err(tracer_error)? {
        DebugInspector::CallTracer(tracing, config) => DebugInspector::CallTracer(limit(tracing), config),
        DebugInspector::PreStateTracer(tracing, config) => {
            DebugInspector::PreStateTracer(limit(tracing), config)
        }
        DebugInspector::FlatCallTracer(tracing) => DebugInspector::FlatCallTracer(limit(tracing)),
        DebugInspector::Default(tracing, config) => DebugInspector::Default(limit(tracing), config),
        other => other,
    })
}

fn exceeded(inspector: &DebugInspector) -> bool {
    match inspector {
        DebugInspector::CallTracer(tracing, _)
        | DebugInspector::PreStateTracer(tracing, _)
        | DebugInspector::FlatCallTracer(tracing)
        | DebugInspector::Default(tracing, _) => tracing.limit_exceeded(),
        _ => false,
    }
}

/// A block that is executed again on the state before it.
struct Replay<'a> {
    core: &'a Core,
    kept: Kept,
    frame: Frame,
    database: CacheDB<Reader<StateView>>,
    session: Option<Session>,
}

impl<'a> Replay<'a> {
    fn new(core: &'a Core, kept: Kept) -> Result<Self, TraceError> {
        let height = kept.block.height();
        let parent = height.0.checked_sub(1).map(Height).ok_or(TraceError::Genesis)?;
        let overrides = Overrides::decode(&kept.block.extension.interventions)
            .map_err(|error| TraceError::Replay { height, problem: error.to_string() })?;
        let view = core.state.view_at(parent).map_err(LookupError::from)?.with_overrides(overrides);
        let frame = core.frame_of_block(&kept.block);
        let record = Arc::new(kept.block.extension.record.clone());
        let session = Session::new(Source::Record { record, cursor: 0 }, core.place(&frame));
        Ok(Self { core, kept, frame, database: CacheDB::new(core.reader(view)), session: Some(session) })
    }

    fn failed(&self, problem: impl std::fmt::Display) -> TraceError {
        TraceError::Replay { height: self.frame.height, problem: problem.to_string() }
    }

    fn take_session(&mut self) -> Session {
        let place = self.core.place(&self.frame);
        self.session
            .take()
            .unwrap_or_else(|| Session::new(Source::Record { record: Arc::default(), cursor: 0 }, place))
    }

    /// Executes what comes before the transaction at `index`, in one journal.
    fn advance(&mut self, index: usize) -> Result<(), TraceError> {
        let session = self.take_session();
        let (spec, chain_id) = (self.frame.fork.spec(), self.core.genesis.chain_id);
        let mut vm = vm(&mut self.database, spec, chain_id, self.frame.env(), session, ());
        let frame = self.frame;
        let mut problem = before_transactions(&mut vm, &frame).err();
        for tx in self.kept.block.transactions.iter().take(index) {
            if problem.is_some() {
                break;
            }
            vm.precompiles.session.begin(tx.hash, tx.sender);
            admit_sender(&mut vm, tx);
            problem = vm.transact_one(tx.env()).err().map(|error| error.to_string());
        }
        let state = vm.finalize();
        self.session = Some(vm.precompiles.session);
        if let Some(problem) = problem {
            return Err(self.failed(problem));
        }
        self.database.commit(settled(state));
        Ok(())
    }

    /// Traces one transaction on what came before it, and keeps its changes for the next.
    fn trace(
        &mut self,
        tx: &RecoveredTx,
        index: usize,
        inspector: &mut DebugInspector,
    ) -> Result<GethTrace, TraceError> {
        let session = self.take_session();
        let (spec, chain_id) = (self.frame.fork.spec(), self.core.genesis.chain_id);
        let block = self.frame.env();
        let env = tx.env();
        let mut vm = vm(&mut self.database, spec, chain_id, block.clone(), session, &mut *inspector);
        vm.precompiles.session.begin(tx.hash, tx.sender);
        admit_sender(&mut vm, tx);
        let result = vm.inspect_one_tx(env.clone());
        let state = vm.finalize();
        self.session = Some(vm.precompiles.session);
        if exceeded(inspector) {
            return Err(TraceError::TooLarge);
        }
        let result = ResultAndState::new(result.map_err(|error| self.failed(error))?, state);
        let context = TransactionContext::default()
            .with_block_hash(self.kept.block.hash.0)
            .with_tx_index(index)
            .with_tx_hash(tx.hash);
        let trace = inspector
            .get_result(Some(context), &env, &block, &result, &mut self.database)
            .map_err(tracer_error)?;
        self.database.commit(settled(result.state));
        Ok(trace)
    }
}

/// The final state of a journal over several transactions, as a database takes it: an account that was destroyed and made
/// again is a new one.
fn settled(mut state: EvmState) -> EvmState {
    for account in state.values_mut() {
        if account.is_selfdestructed() && !account.is_selfdestructed_locally() {
            account.unmark_selfdestruct();
            account.mark_created();
        }
    }
    state
}

impl EvmLedger {
    /// Traces a transaction of a block, after executing what came before it there. Its delegated calls are answered from
    /// the block's record.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_transaction(
        &self,
        hash: B256,
        options: GethDebugTracingOptions,
    ) -> Result<GethTrace, TraceError> {
        let found = self.receipt(hash)?.ok_or(TraceError::NoTransaction)?;
        let mut inspector = inspector(options)?;
        let tx = found.tx().cloned().ok_or(TraceError::NoTransaction)?;
        let mut replay = Replay::new(&self.core, Kept { block: found.block, receipts: found.receipts })?;
        replay.advance(found.index)?;
        replay.trace(&tx, found.index, &mut inspector)
    }

    /// Traces every transaction of a block.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_block(
        &self,
        at: BlockRef,
        options: GethDebugTracingOptions,
    ) -> Result<Vec<TraceResult<GethTrace, String>>, TraceError> {
        let height = self.core.height_of(at)?;
        let kept = self.core.kept(height)?.ok_or(LookupError::NoBlock(at))?;
        let mut inspector = inspector(options)?;
        let txs = kept.block.transactions.clone();
        let mut replay = Replay::new(&self.core, kept)?;
        replay.advance(0)?;
        let mut traces = Vec::with_capacity(txs.len());
        for (index, tx) in txs.iter().enumerate() {
            let result = replay.trace(tx, index, &mut inspector)?;
            traces.push(TraceResult::Success { result, tx_hash: Some(tx.hash) });
            inspector.fuse().map_err(tracer_error)?;
        }
        Ok(traces)
    }

    /// Traces a call on the state of a block. Cryptlets that it calls run live.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_call(
        &self,
        request: &TransactionRequest,
        at: BlockRef,
        options: GethDebugTracingCallOptions,
    ) -> Result<GethTrace, TraceError> {
        let GethDebugTracingCallOptions { tracing_options, state_overrides, block_overrides, tx_index } =
            options;
        if tx_index.is_some() {
            return Err(TraceError::Tracer("txIndex is not supported".to_owned()));
        }
        let mut inspector = inspector(tracing_options)?;
        let mut simulation = Simulation::new(&self.core, at, state_overrides, block_overrides.as_ref())?;
        let env = simulation.env(request)?;
        let mut vm = simulation.vm(&env, &mut inspector);
        let result = vm.inspect_one_tx(env.clone());
        let state = vm.finalize();
        drop(vm);
        if exceeded(&inspector) {
            return Err(TraceError::TooLarge);
        }
        let result = ResultAndState::new(result.map_err(call_error)?, state);
        inspector
            .get_result(None, &env, &simulation.block, &result, &mut simulation.database)
            .map_err(tracer_error)
    }
}
