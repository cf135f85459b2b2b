//! CryptoDelegate in the virtual machine: a precompiled contract through which a contract calls a cryptlet.
//!
//! Where the answer comes from depends on who executes. A proposer polls the fabric, and a call that is still running
//! defers its transaction. Everyone else, and every replay, reads the block's record with a cursor, and calls nobody.
//! Readers run the call live and leave no record. Gas is charged from the receipt, so that all of them agree.

use alloy_primitives::{Address, B256, Bytes, address, keccak256};
use alloy_sol_types::{SolCall, SolError, sol};
use bletchley_ledger::{
    Answer, Call, CallBounds, CallId, Delegate, DelegationRecord, Place, RecordError, Refusal, SignedReceipt,
    Status,
};
use bletchley_primitives::TxId;
use revm::{
    context_interface::{Cfg, ContextTr},
    handler::{EthPrecompiles, PrecompileProvider, precompile_output_to_interpreter_result},
    interpreter::{CallInputs, CallScheme, InterpreterResult},
    precompile::{PrecompileHalt, PrecompileOutput},
    primitives::{AddressSet, hardfork::SpecId},
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Where the delegate is, on every EVM ledger.
pub const DELEGATE_ADDRESS: Address = address!("00000000000000000000000000000000000b1e7c");

/// Gas of a delegated call before anything else.
pub const DELEGATE_GAS_BASE: u64 = 6_000;
/// Gas per byte of input and of output.
pub const DELEGATE_GAS_PER_BYTE: u64 = 16;
/// Fuel that one unit of gas pays for.
pub const DELEGATE_FUEL_PER_GAS: u64 = 64;
/// Gas per signature on the receipt: what `ecrecover` costs.
pub const DELEGATE_GAS_PER_SIGNATURE: u64 = 3_000;

mod abi {
    #![allow(missing_docs, unreachable_pub, clippy::missing_docs_in_private_items)]
    use super::sol;
    sol! {
        error CryptletFailed(uint8 status, string reason);
        function call(bytes32 cryptlet, string method, bytes input) external view returns (bytes output);
    }
}

/// A proposer puts no more receipts into a block once they have this size, so that its extension stays far below what
/// is decoded; the calls of later transactions wait for the next block.
const RECORD_SIZE_BYTES_MAX: usize = 16 << 20;

/// What a receipt's fields take beside its method, output and signatures, at most.
const RECEIPT_OVERHEAD_BYTES: usize = 512;

fn size_bytes(signed: &SignedReceipt) -> usize {
    RECEIPT_OVERHEAD_BYTES
        + signed.receipt.method.len()
        + signed.output.len()
        + signed.signatures.len() * (bletchley_primitives::Signature::SIZE_BYTES + 2)
}

/// Gas of a call whose receipt is known.
#[must_use]
pub fn delegate_gas(input_size_bytes: usize, receipt: &SignedReceipt) -> u64 {
    base_gas(input_size_bytes)
        .saturating_add((receipt.output.len() as u64).saturating_mul(DELEGATE_GAS_PER_BYTE))
        .saturating_add(receipt.receipt.fuel / DELEGATE_FUEL_PER_GAS)
        .saturating_add((receipt.signatures.len() as u64).saturating_mul(DELEGATE_GAS_PER_SIGNATURE))
}

const fn base_gas(input_size_bytes: usize) -> u64 {
    DELEGATE_GAS_BASE.saturating_add((input_size_bytes as u64).saturating_mul(DELEGATE_GAS_PER_BYTE))
}

/// Where answers come from.
pub(crate) enum Source {
    /// A proposer: the fabric is polled, and the receipts that execution consumes become the block's record.
    Build { delegate: Arc<dyn Delegate>, receipts: Vec<Arc<SignedReceipt>> },
    /// A block's record, consumed first to last.
    Record { record: Arc<DelegationRecord>, cursor: usize },
    /// A reader: calls run now. What one request asks again (a search for a gas limit does) is answered from memory.
    Live { delegate: Arc<dyn Delegate>, memo: FxHashMap<CallId, Result<SignedReceipt, Refusal>> },
    /// Prefetching: polled so that the call starts, and given up at the first one that is not ready.
    Probe { delegate: Arc<dyn Delegate> },
}

/// Why a transaction was abandoned in the middle of a delegated call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Halt {
    /// A call is still running.
    Pending,
    /// The block's record does not answer the call.
    Record(RecordError),
}

/// Delegated calls of one block, or of one request of a reader.
pub(crate) struct Session {
    source: Source,
    place: Place,
    transaction: TxId,
    sender: Address,
    calls: u32,
    occurrences: FxHashMap<B256, u32>,
    /// Receipts in the record before this transaction.
    mark: usize,
    /// Size of the record that is being built.
    size_bytes: usize,
    halt: Option<Halt>,
}

impl Session {
    pub(crate) fn new(source: Source, place: Place) -> Self {
        Self {
            source,
            place,
            transaction: TxId::default(),
            sender: Address::ZERO,
            calls: 0,
            occurrences: FxHashMap::default(),
            mark: 0,
            size_bytes: 0,
            halt: None,
        }
    }

    /// Begins a transaction: occurrences count anew.
    pub(crate) fn begin(&mut self, transaction: B256, sender: Address) {
        self.transaction = TxId(transaction);
        self.sender = sender;
        self.calls = 0;
        if !self.occurrences.is_empty() {
            self.occurrences.clear();
        }
        self.halt = None;
        self.mark = self.consumed();
    }

    /// Takes back what the abandoned transaction consumed.
    pub(crate) fn abandon(&mut self) {
        match &mut self.source {
            Source::Build { receipts, .. } => {
                receipts.truncate(self.mark);
                self.size_bytes = receipts.iter().map(|receipt| size_bytes(receipt)).sum();
            }
            Source::Record { cursor, .. } => *cursor = self.mark,
            Source::Live { .. } | Source::Probe { .. } => {}
        }
    }

    /// Why the transaction was abandoned, if it was.
    pub(crate) fn take_halt(&mut self) -> Option<Halt> {
        self.halt.take()
    }

    /// Whether the current transaction made a delegated call.
    pub(crate) const fn delegated(&self) -> bool {
        self.calls > 0
    }

    fn consumed(&self) -> usize {
        match &self.source {
            Source::Build { receipts, .. } => receipts.len(),
            Source::Record { cursor, .. } => *cursor,
            Source::Live { .. } | Source::Probe { .. } => 0,
        }
    }

    /// The record of a block that was built.
    pub(crate) fn take_receipts(&mut self) -> Vec<SignedReceipt> {
        match &mut self.source {
            Source::Build { receipts, .. } => receipts.drain(..).map(Arc::unwrap_or_clone).collect(),
            _ => Vec::new(),
        }
    }

    /// The answers of live calls.
    pub(crate) fn into_memo(self) -> FxHashMap<CallId, Result<SignedReceipt, Refusal>> {
        match self.source {
            Source::Live { memo, .. } => memo,
            _ => FxHashMap::default(),
        }
    }

    /// Refuses a record that execution did not use up.
    pub(crate) fn finish_record(&self) -> Result<(), RecordError> {
        match &self.source {
            Source::Record { record, cursor } if record.receipts.len() > *cursor => {
                Err(RecordError::Surplus(record.receipts.len() - cursor))
            }
            _ => Ok(()),
        }
    }

    /// The receipt for a call; an error abandons the transaction.
    fn answer(&mut self, call: &Call) -> Result<Arc<SignedReceipt>, Halt> {
        match &mut self.source {
            Source::Build { delegate, receipts } => {
                if receipts.len() >= DelegationRecord::RECEIPTS_MAX
                    || self.size_bytes >= RECORD_SIZE_BYTES_MAX
                {
                    return Err(Halt::Pending);
                }
                match delegate.poll(call, &self.place) {
                    Answer::Pending => Err(Halt::Pending),
                    Answer::Ready(receipt) => match fits(&receipt, call, &self.place) {
                        Ok(()) => {
                            self.size_bytes += size_bytes(&receipt);
                            receipts.push(receipt.clone());
                            Ok(receipt)
                        }
                        Err(problem) => {
                            tracing::warn!(call = %call.id(), problem, "the fabric's receipt does not fit its place");
                            Err(Halt::Pending)
                        }
                    },
                }
            }
            Source::Record { record, cursor } => {
                let index = *cursor;
                let Some(receipt) = record.receipts.get(index) else {
                    let (call, found) = (describe(call), "nothing more".to_owned());
                    return Err(Halt::Record(RecordError::Order { call, found }));
                };
                if !receipt.receipt.answers(call) {
                    let found = format!(
                        "an answer to {}.{} for {} in transaction {}",
                        receipt.receipt.cryptlet,
                        receipt.receipt.method,
                        receipt.receipt.caller,
                        receipt.receipt.transaction
                    );
                    return Err(Halt::Record(RecordError::Order { call: describe(call), found }));
                }
                if let Err(problem) = fits(receipt, call, &self.place) {
                    return Err(Halt::Record(RecordError::Receipt {
                        index,
                        cryptlet: receipt.receipt.cryptlet.to_string(),
                        method: receipt.receipt.method.clone(),
                        problem: problem.to_owned(),
                    }));
                }
                *cursor += 1;
                Ok(Arc::new(receipt.clone()))
            }
            Source::Live { delegate, memo } => {
                let answer = memo.entry(call.id()).or_insert_with(|| delegate.run(call, &self.place)).clone();
                Ok(Arc::new(answer.unwrap_or_else(|refusal| unanswered(call, &self.place, &refusal))))
            }
            Source::Probe { delegate } => match delegate.poll(call, &self.place) {
                Answer::Ready(receipt) => Ok(receipt),
                Answer::Pending => Err(Halt::Pending),
            },
        }
    }

    /// Runs one call of the precompiled contract.
    fn run(
        &mut self,
        caller: Address,
        input: &[u8],
        gas_limit: u64,
        reservoir: u64,
    ) -> Result<PrecompileOutput, Halt> {
        let base = base_gas(input.len());
        if base > gas_limit {
            return Ok(PrecompileOutput::halt(PrecompileHalt::OutOfGas, reservoir));
        }
        let refuse =
            |reason: &str| Ok(PrecompileOutput::revert(base, failure(Status::Refused, reason), reservoir));
        if input.len() > CallBounds::INPUT_SIZE_BYTES_MAX + ABI_OVERHEAD_BYTES {
            return refuse("the input is too long for a delegated call");
        }
        let Ok(decoded) = abi::callCall::abi_decode_validate(input) else {
            return refuse("not an ABI-encoded call(bytes32,string,bytes)");
        };
        if decoded.method.len() > CallBounds::METHOD_SIZE_BYTES_MAX {
            return refuse("the method's name is too long");
        }
        if decoded.input.len() > CallBounds::INPUT_SIZE_BYTES_MAX {
            return refuse("the input is too long for a delegated call");
        }
        if self.calls >= CallBounds::CALLS_PER_TX_MAX {
            return refuse("the transaction makes too many delegated calls");
        }
        let mut call = Call {
            ledger: self.place.ledger,
            transaction: self.transaction,
            sender: self.sender,
            caller,
            cryptlet: decoded.cryptlet,
            method: decoded.method,
            input: decoded.input,
            occurrence: 0,
        };
        let occurrence = self.occurrences.entry(call.id().0).or_insert(0);
        call.occurrence = *occurrence;
        *occurrence += 1;
        self.calls += 1;
        let receipt = self.answer(&call)?;
        let gas = delegate_gas(input.len(), &receipt);
        if gas > gas_limit {
            return Ok(PrecompileOutput::halt(PrecompileHalt::OutOfGas, reservoir));
        }
        Ok(match receipt.receipt.status {
            Status::Ok => {
                let output = abi::callCall::abi_encode_returns(&receipt.output);
                PrecompileOutput::new(gas, output.into(), reservoir)
            }
            status => {
                let reason = String::from_utf8_lossy(&receipt.output);
                PrecompileOutput::revert(gas, failure(status, &reason), reservoir)
            }
        })
    }
}

/// Selector, three heads, two lengths and the padding of the method and the input.
const ABI_OVERHEAD_BYTES: usize = 4 + 5 * 32 + CallBounds::METHOD_SIZE_BYTES_MAX + 2 * 32;

fn failure(status: Status, reason: &str) -> Bytes {
    abi::CryptletFailed { status: status as u8, reason: reason.to_owned() }.abi_encode().into()
}

/// The reason in revert data that the delegate made.
pub(crate) fn failure_reason(output: &[u8]) -> Option<String> {
    let failed = abi::CryptletFailed::abi_decode(output).ok()?;
    Some(format!("CryptletFailed({}, {:?})", failed.status, failed.reason))
}

fn describe(call: &Call) -> String {
    format!("{}.{} for {} (occurrence {})", call.cryptlet, call.method, call.caller, call.occurrence)
}

/// What a reader's contract sees when a live call gave no receipt.
fn unanswered(call: &Call, place: &Place, refusal: &Refusal) -> SignedReceipt {
    let mut receipt = SignedReceipt::refused(call, place, &refusal.to_string());
    if matches!(refusal, Refusal::Timeout(_)) {
        receipt.receipt.status = Status::Unavailable;
    }
    receipt
}

/// Whether a receipt belongs to this call and this place, as far as that shows without the registry.
fn fits(signed: &SignedReceipt, call: &Call, place: &Place) -> Result<(), &'static str> {
    let receipt = &signed.receipt;
    if !receipt.answers(call) {
        return Err("it answers another call");
    }
    if place.height < receipt.valid_from || receipt.valid_to < place.height {
        return Err("it is not valid at this height");
    }
    if receipt.as_of_ms.0.abs_diff(place.time_ms.0) > CallBounds::AS_OF_SKEW_MS_MAX {
        return Err("its time is too far from the block's");
    }
    if keccak256(&signed.output) != receipt.output_digest {
        return Err("its output is not the one that was signed");
    }
    Ok(())
}

/// Checks the bounds of a record that came from outside.
pub(crate) fn check_bounds(record: &DelegationRecord) -> Result<(), RecordError> {
    let count = record.receipts.len();
    if count > DelegationRecord::RECEIPTS_MAX {
        return Err(RecordError::TooMany { count, count_max: DelegationRecord::RECEIPTS_MAX });
    }
    for (index, signed) in record.receipts.iter().enumerate() {
        let problem = if signed.output.len() > CallBounds::OUTPUT_SIZE_BYTES_MAX {
            "its output is too long"
        } else if signed.signatures.len() > SignedReceipt::SIGNATURES_MAX {
            "it has too many signatures"
        } else if signed.receipt.method.len() > CallBounds::METHOD_SIZE_BYTES_MAX {
            "its method's name is too long"
        } else {
            continue;
        };
        return Err(RecordError::Receipt {
            index,
            cryptlet: signed.receipt.cryptlet.to_string(),
            method: signed.receipt.method.clone(),
            problem: problem.to_owned(),
        });
    }
    Ok(())
}

/// Ethereum's precompiled contracts and the delegate.
pub(crate) struct Precompiles {
    eth: EthPrecompiles,
    warm: AddressSet,
    pub(crate) session: Session,
}

impl Precompiles {
    pub(crate) fn new(spec: SpecId, session: Session) -> Self {
        let eth = EthPrecompiles::new(spec);
        let mut warm = eth.warm_addresses().clone();
        warm.insert(DELEGATE_ADDRESS);
        Self { eth, warm, session }
    }
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for Precompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = <EthPrecompiles as PrecompileProvider<CTX>>::set_spec(&mut self.eth, spec);
        if changed {
            self.warm.clone_from(self.eth.warm_addresses());
            self.warm.insert(DELEGATE_ADDRESS);
        }
        changed
    }

    fn run(&mut self, context: &mut CTX, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        if inputs.bytecode_address != DELEGATE_ADDRESS {
            return <EthPrecompiles as PrecompileProvider<CTX>>::run(&mut self.eth, context, inputs);
        }
        // Under DELEGATECALL and CALLCODE the caller is whom the calling contract speaks for, not that contract.
        let direct = matches!(inputs.scheme, CallScheme::Call | CallScheme::StaticCall);
        let output = if !direct || inputs.transfers_value() {
            let reason = "call the delegate with CALL or STATICCALL and without value";
            PrecompileOutput::revert(DELEGATE_GAS_BASE, failure(Status::Refused, reason), inputs.reservoir)
        } else {
            let input = inputs.input.as_bytes(context).to_vec();
            match self.session.run(inputs.caller, &input, inputs.gas_limit, inputs.reservoir) {
                Ok(output) => output,
                Err(halt) => {
                    self.session.halt = Some(halt);
                    return Err("the transaction waits for a delegated call".to_owned());
                }
            }
        };
        Ok(Some(precompile_output_to_interpreter_result(output, inputs.gas_limit)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}
