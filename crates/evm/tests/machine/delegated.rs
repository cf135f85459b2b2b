//! Delegated calls: recorded while building, replayed from the record, live for readers; and delegates that misbehave.

use crate::world::*;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, sol};
use bletchley_evm::{BlockRef, CallEnd, DELEGATE_ADDRESS, Genesis, revert_reason};
use bletchley_ledger::{
    Anchor, Answer, Block, Call, CallBounds, Delegate, DelegationRecord, ExecuteError, Executed, Extension,
    Machine, Place, Receipt, RecordError, Refusal, SignedReceipt, Status,
};
use bletchley_primitives::{Height, Signature, TimestampMs};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

sol! {
    event Answered(bool ok, bytes output);
    function askCatching(string name, string method, bytes input) external returns (bool ok, bytes output);
    function ask(string name, string method, bytes input) external view returns (bytes);
    function call(bytes32 cryptlet, string method, bytes input) external view returns (bytes output);
}

/// How a scripted delegate answers while a block is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// As it should.
    Honest,
    /// Its receipts are for other inputs than the contract gave.
    WrongInputDigest,
    /// Its outputs are not those that were signed.
    WrongOutput,
    /// Its receipts were valid long ago.
    Expired,
    /// Its clock is hours off.
    ClockOff,
    /// It never finishes.
    PendingForever,
    /// Its cryptlet fails.
    Failing,
}

struct Scripted {
    behaviour: Mutex<Behaviour>,
    /// Whether running calls have finished.
    finished: AtomicBool,
    polls: AtomicUsize,
    runs: AtomicUsize,
    checks: AtomicUsize,
    refuse_records: AtomicBool,
}

impl Scripted {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            finished: AtomicBool::new(true),
            polls: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            refuse_records: AtomicBool::new(false),
        })
    }

    fn receipt(&self, call: &Call, place: &Place) -> SignedReceipt {
        let behaviour = *self.behaviour.lock();
        let failing = behaviour == Behaviour::Failing || call.method == "fail";
        let output: Bytes = if failing {
            Bytes::from_static(b"no such rate")
        } else {
            [b"answer to ", call.input.as_ref()].concat().into()
        };
        let mut receipt = Receipt {
            ledger: call.ledger,
            transaction: call.transaction,
            caller: call.caller,
            cryptlet: call.cryptlet,
            package: B256::repeat_byte(1),
            method: call.method.clone(),
            input_digest: keccak256(&call.input),
            occurrence: call.occurrence,
            status: if failing { Status::Failed } else { Status::Ok },
            output_digest: keccak256(&output),
            fuel: 6_400,
            profile: B256::ZERO,
            transcript: B256::ZERO,
            as_of_ms: place.time_ms,
            valid_from: place.height,
            valid_to: Height(place.height.0 + CallBounds::WINDOW_HEIGHTS),
        };
        let mut output = output;
        match behaviour {
            Behaviour::WrongInputDigest => receipt.input_digest = B256::repeat_byte(9),
            Behaviour::WrongOutput => output = Bytes::from_static(b"another"),
            Behaviour::Expired => receipt.valid_to = Height(0),
            Behaviour::ClockOff => receipt.as_of_ms = TimestampMs(place.time_ms.0 - 3_600_000),
            _ => {}
        }
        SignedReceipt { receipt, output, signatures: vec![Signature([1; 65]); 2] }
    }
}

impl Delegate for Scripted {
    fn poll(&self, call: &Call, place: &Place) -> Answer {
        self.polls.fetch_add(1, Ordering::SeqCst);
        if *self.behaviour.lock() == Behaviour::PendingForever || !self.finished.load(Ordering::SeqCst) {
            return Answer::Pending;
        }
        Answer::Ready(Arc::new(self.receipt(call, place)))
    }
    fn run(&self, call: &Call, place: &Place) -> Result<SignedReceipt, Refusal> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let behaviour = *self.behaviour.lock();
        match behaviour {
            Behaviour::PendingForever => Err(Refusal::Timeout(100)),
            _ => Ok(self.receipt(call, place)),
        }
    }
    fn anchor(&self) -> Anchor {
        Anchor { height: Height(7), ..Anchor::default() }
    }
    fn check(&self, record: &DelegationRecord, _: &Place) -> Result<(), RecordError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        assert_eq!(record.anchor, self.anchor());
        if self.refuse_records.load(Ordering::SeqCst) {
            return Err(RecordError::Anchor { height: record.anchor.height });
        }
        Ok(())
    }
}

fn ask(method: &str, input: &[u8], nonce: u64) -> Tx {
    let call = askCatchingCall { name: "oracle".into(), method: method.into(), input: input.to_vec().into() };
    Tx { input: call.abi_encode().into(), gas: 500_000, ..Tx::to(ASKER, nonce) }
}

fn asking_genesis() -> Genesis {
    genesis()
}

fn answer(world: &World, hash: B256) -> (bool, Bytes) {
    let receipt = world.receipt(hash);
    assert!(receipt.success);
    let event = Answered::decode_log_data(&receipt.logs[0].data).unwrap();
    (event.ok, event.output)
}

fn worlds(behaviour: Behaviour) -> (Arc<Scripted>, World, Arc<Scripted>, World) {
    let (a, b) = (Scripted::new(behaviour), Scripted::new(Behaviour::Honest));
    let ours = World::with(asking_genesis(), a.clone());
    let theirs = World::with(asking_genesis(), b.clone());
    (a, ours, b, theirs)
}

#[test]
fn answers_are_recorded_and_replayed_without_calling_anyone() {
    let (_, ours, verifier, theirs) = worlds(Behaviour::Honest);
    let one = ours.send(&ask("rate", b"EUR", 0), 0);
    let two = ours.send(&ask("fail", b"XXX", 0), 1);
    let plain = ours.send(&Tx::transfer(key(1).address(), 1, 0), 2);
    let executed = ours.mine().unwrap();
    assert_eq!(executed.transactions, 3);
    assert_eq!(answer(&ours, one), (true, Bytes::from_static(b"answer to EUR")));
    let (ok, data) = answer(&ours, two);
    assert!(!ok);
    assert_eq!(revert_reason(&data).unwrap(), "CryptletFailed(1, \"no such rate\")");
    assert!(ours.receipt(plain).success);
    let extension = Extension::decode(&executed.block.extension).unwrap();
    assert_eq!(extension.record.receipts.len(), 2);
    assert_eq!(extension.record.anchor.height, Height(7));

    theirs.follow(&executed);
    assert_eq!(verifier.polls.load(Ordering::SeqCst), 0);
    assert_eq!(verifier.runs.load(Ordering::SeqCst), 0);
    assert_eq!(verifier.checks.load(Ordering::SeqCst), 1);
    // A block without calls names its anchor too, and that is checked.
    ours.send(&Tx::transfer(key(1).address(), 1, 1), 2);
    theirs.follow(&ours.mine().unwrap());
    assert_eq!(verifier.checks.load(Ordering::SeqCst), 2);
}

#[test]
fn gas_follows_from_the_receipt() {
    let (_, ours, _, _) = worlds(Behaviour::Honest);
    let call =
        callCall { cryptlet: keccak256("oracle"), method: "rate".into(), input: Bytes::from_static(b"EUR") };
    let input: Bytes = call.abi_encode().into();
    let delegate_gas =
        6_000 + 16 * (input.len() as u64 + b"answer to EUR".len() as u64) + 6_400 / 64 + 2 * 3_000;
    let calldata: u64 = input.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum();
    let hash = ours.send(&Tx { input, ..Tx::to(DELEGATE_ADDRESS, 0) }, 0);
    ours.mine().unwrap();
    let receipt = ours.receipt(hash);
    assert!(receipt.success);
    assert_eq!(receipt.gas_used, 21_000 + calldata + delegate_gas);
}

#[test]
fn a_pending_call_defers_its_transaction_and_nothing_else() {
    let (delegate, ours, _, theirs) = worlds(Behaviour::Honest);
    delegate.finished.store(false, Ordering::SeqCst);
    let waiting = ours.send(&ask("rate", b"EUR", 0), 0);
    let behind = ours.send(&Tx::transfer(key(1).address(), 1, 1), 0);
    let other = ours.send(&Tx::transfer(key(1).address(), 1, 0), 1);
    let executed = ours.mine().unwrap();
    assert_eq!(executed.transactions, 1);
    assert!(ours.receipt(other).success);
    theirs.follow(&executed);
    let record = Extension::decode(&executed.block.extension).unwrap().record;
    assert_eq!(record, DelegationRecord { anchor: delegate.anchor(), receipts: Vec::new() });
    // Tried again after the block, and found still pending: then nothing is ready until the fabric says so.
    assert!(ours.mine().is_none());
    assert_eq!(ours.ledger.machine().ready(), 0);
    assert_eq!(ours.ledger.nonce(&key(0).address(), BlockRef::Latest).unwrap(), 0);
    delegate.finished.store(true, Ordering::SeqCst);
    assert!(ours.ledger.wake_deferred());
    assert_eq!(ours.ledger.machine().ready(), 2);
    let executed = ours.mine().unwrap();
    assert_eq!(executed.transactions, 2);
    theirs.follow(&executed);
    assert!(answer(&ours, waiting).0);
    assert!(ours.receipt(behind).success);
}

#[test]
fn a_delegate_whose_receipts_do_not_fit_never_gets_them_into_a_block() {
    for behaviour in [
        Behaviour::WrongInputDigest,
        Behaviour::WrongOutput,
        Behaviour::Expired,
        Behaviour::ClockOff,
        Behaviour::PendingForever,
    ] {
        let (delegate, ours, _, theirs) = worlds(behaviour);
        ours.send(&ask("rate", b"EUR", 0), 0);
        let other = ours.send(&Tx::transfer(key(1).address(), 1, 0), 1);
        let executed = ours.mine().unwrap();
        assert_eq!(executed.transactions, 1, "{behaviour:?}");
        assert!(ours.receipt(other).success);
        theirs.follow(&executed);
        *delegate.behaviour.lock() = Behaviour::Honest;
        ours.ledger.wake_deferred();
        assert_eq!(ours.mine().unwrap().transactions, 1);
    }
}

/// Gives a block another record, and its header the digest of it.
fn with_record(executed: &Executed, change: impl FnOnce(&mut DelegationRecord)) -> Block {
    use alloy_rlp::Decodable;
    let mut extension = Extension::decode(&executed.block.extension).unwrap();
    change(&mut extension.record);
    let bytes = extension.encode();
    let mut header = alloy_consensus::Header::decode(&mut executed.block.header.as_ref()).unwrap();
    header.extra_data = Bytes::copy_from_slice(Extension::digest(&bytes).as_slice());
    Block { header: alloy_rlp::encode(&header).into(), extension: bytes, ..executed.block.clone() }
}

#[test]
fn altered_records_are_refused_and_the_honest_one_is_then_accepted() {
    let (_, ours, verifier, theirs) = worlds(Behaviour::Honest);
    ours.send(&ask("rate", b"EUR", 0), 0);
    ours.send(&ask("rate", b"USD", 1), 0);
    let executed = ours.mine().unwrap();
    let machine = theirs.ledger.machine();
    let refused = |block: Block| {
        let outcome = machine.prepare(block).and_then(|prepared| machine.execute(prepared));
        match outcome {
            Err(ExecuteError::Record { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    let surplus = refused(with_record(&executed, |record| record.receipts.push(record.receipts[0].clone())));
    assert_eq!(surplus, RecordError::Surplus(1));
    let reordered = refused(with_record(&executed, |record| record.receipts.reverse()));
    assert!(matches!(reordered, RecordError::Order { .. }), "{reordered:?}");
    let missing = refused(with_record(&executed, |record| drop(record.receipts.pop())));
    assert!(matches!(missing, RecordError::Order { .. }), "{missing:?}");
    let output =
        refused(with_record(&executed, |record| record.receipts[1].output = Bytes::from_static(b"gold")));
    assert!(matches!(output, RecordError::Receipt { index: 1, .. }), "{output:?}");
    let digest =
        refused(with_record(&executed, |record| record.receipts[0].receipt.input_digest = B256::ZERO));
    assert!(matches!(digest, RecordError::Order { .. }), "{digest:?}");
    let expired = refused(with_record(&executed, |record| record.receipts[0].receipt.valid_to = Height(0)));
    assert!(matches!(expired, RecordError::Receipt { index: 0, .. }), "{expired:?}");
    let early =
        refused(with_record(&executed, |record| record.receipts[0].receipt.as_of_ms = TimestampMs(0)));
    assert!(matches!(early, RecordError::Receipt { index: 0, .. }), "{early:?}");
    let long = refused(with_record(&executed, |record| record.receipts[0].output = vec![0; 70_000].into()));
    assert!(matches!(long, RecordError::Receipt { index: 0, .. }), "{long:?}");
    let many = refused(with_record(&executed, |record| {
        record.receipts = vec![record.receipts[0].clone(); DelegationRecord::RECEIPTS_MAX + 1];
    }));
    assert!(matches!(many, RecordError::TooMany { .. }), "{many:?}");
    verifier.refuse_records.store(true, Ordering::SeqCst);
    let anchor = refused(executed.block.clone());
    assert!(matches!(anchor, RecordError::Anchor { .. }), "{anchor:?}");
    verifier.refuse_records.store(false, Ordering::SeqCst);
    theirs.follow(&executed);
}

#[test]
fn equal_calls_count_on_even_when_a_frame_reverts() {
    use op::*;
    let (_, ours, _, theirs) = worlds(Behaviour::Honest);
    // Calls the asker with its own call data twice; the asker's first answer is thrown away by a reverting middleman.
    // Forwards its call data to ASKER, then reverts.
    let mut middleman =
        vec![CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY, PUSH0, PUSH0, CALLDATASIZE, PUSH0, PUSH0, PUSH20];
    middleman.extend_from_slice(ASKER.as_slice());
    middleman.extend_from_slice(&[GAS, 0xf1, PUSH0, PUSH0, REVERT]);
    let middle = ours.send(&Tx::create(deployer(&middleman), 0), 0);
    theirs.follow(&ours.mine().unwrap());
    let middle = ours.receipt(middle).contract.unwrap();
    // Calls the middleman, then the asker directly.
    let mut both = vec![CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY];
    for target in [middle, ASKER] {
        both.extend_from_slice(&[PUSH0, PUSH0, CALLDATASIZE, PUSH0, PUSH0, PUSH20]);
        both.extend_from_slice(target.as_slice());
        both.extend_from_slice(&[GAS, 0xf1, POP]);
    }
    let both_hash = ours.send(&Tx::create(deployer(&both), 1), 0);
    theirs.follow(&ours.mine().unwrap());
    let both = ours.receipt(both_hash).contract.unwrap();
    let call =
        askCatchingCall { name: "oracle".into(), method: "rate".into(), input: Bytes::from_static(b"EUR") };
    let hash = ours.send(&Tx { input: call.abi_encode().into(), gas: 900_000, ..Tx::to(both, 2) }, 0);
    let executed = ours.mine().unwrap();
    let record = Extension::decode(&executed.block.extension).unwrap().record;
    let occurrences: Vec<u32> = record.receipts.iter().map(|signed| signed.receipt.occurrence).collect();
    assert_eq!(occurrences, [0, 1]);
    assert_eq!(ours.receipt(hash).logs.len(), 1, "one of the two frames was reverted");
    theirs.follow(&executed);
}

#[test]
fn too_many_calls_and_bad_input_revert_without_a_receipt() {
    let (_, ours, _, theirs) = worlds(Behaviour::Honest);
    // DELEGATECALL would let a contract speak for its caller.
    use op::*;
    let mut code = vec![PUSH0, PUSH0, PUSH0, PUSH0, PUSH20];
    code.extend_from_slice(DELEGATE_ADDRESS.as_slice());
    code.extend_from_slice(&[GAS, DELEGATECALL, PUSH0, SSTORE]);
    let contract = ours.send(&Tx::create(deployer(&code), 0), 0);
    let garbage = ours.send(&Tx { input: vec![1, 2, 3].into(), ..Tx::to(DELEGATE_ADDRESS, 0) }, 1);
    let value = ours.send(&Tx { value: U256::from(1), ..Tx::to(DELEGATE_ADDRESS, 0) }, 2);
    theirs.follow(&ours.mine().unwrap());
    assert!(!ours.receipt(garbage).success);
    assert!(!ours.receipt(value).success);
    let contract = ours.receipt(contract).contract.unwrap();
    let receipt = ours.run(&Tx::to(contract, 1), 0);
    assert!(receipt.success);
    assert_eq!(ours.ledger.storage(&contract, &U256::ZERO, BlockRef::Latest).unwrap(), U256::ZERO);
    assert_eq!(ours.ledger.balance(&DELEGATE_ADDRESS, BlockRef::Latest).unwrap(), U256::ZERO);
}

#[test]
fn readers_run_calls_live_and_leave_no_record() {
    let (delegate, ours, _, _) = worlds(Behaviour::Honest);
    let call = askCall { name: "oracle".into(), method: "rate".into(), input: Bytes::from_static(b"EUR") };
    let request = alloy_rpc_types_eth::TransactionRequest {
        to: Some(ASKER.into()),
        input: Bytes::from(call.abi_encode()).into(),
        ..Default::default()
    };
    let outcome = ours.ledger.call(&request, BlockRef::Latest, None, None).unwrap();
    let CallEnd::Returned(output) = outcome.end else { panic!("{outcome:?}") };
    assert_eq!(askCall::abi_decode_returns(&output).unwrap(), Bytes::from_static(b"answer to EUR"));
    assert_eq!(delegate.runs.load(Ordering::SeqCst), 1);
    assert_eq!(delegate.polls.load(Ordering::SeqCst), 0);
    // A search for the gas limit asks the cryptlet once.
    let gas = ours.ledger.estimate_gas(&request, BlockRef::Latest, None, None).unwrap();
    assert_eq!(delegate.runs.load(Ordering::SeqCst), 2);
    let exact = Tx { gas, input: Bytes::from(call.abi_encode()), ..Tx::to(ASKER, 0) };
    assert!(ours.run(&exact, 0).success);
    *delegate.behaviour.lock() = Behaviour::PendingForever;
    let outcome = ours.ledger.call(&request, BlockRef::Latest, None, None).unwrap();
    let CallEnd::Reverted(output) = outcome.end else { panic!("{outcome:?}") };
    assert!(revert_reason(&output).unwrap().starts_with("CryptletFailed(3"), "unavailable");
}

#[test]
fn a_ledger_without_a_fabric_refuses_and_says_so() {
    let world = World::new(asking_genesis());
    let hash = world.send(&ask("rate", b"EUR", 0), 0);
    let executed = world.mine().unwrap();
    let (ok, data) = answer(&world, hash);
    assert!(!ok);
    assert!(revert_reason(&data).unwrap().contains("no cryptlet fabric"));
    World::new(asking_genesis()).follow(&executed);
}

#[test]
fn traces_of_old_transactions_use_the_record() {
    let (delegate, ours, _, _) = worlds(Behaviour::Honest);
    ours.send(&ask("rate", b"EUR", 0), 0);
    let hash = ours.send(&ask("rate", b"USD", 1), 0);
    ours.mine().unwrap();
    let polls = delegate.polls.load(Ordering::SeqCst);
    let options: alloy_rpc_types_trace::geth::GethDebugTracingOptions =
        serde_json::from_value(serde_json::json!({"tracer": "callTracer"})).unwrap();
    let trace = serde_json::to_value(ours.ledger.trace_transaction(hash, options).unwrap()).unwrap();
    assert_eq!(trace["calls"][0]["to"], "0x00000000000000000000000000000000000b1e7c");
    assert_eq!(trace["calls"][0]["type"], "STATICCALL");
    assert_eq!((delegate.polls.load(Ordering::SeqCst), delegate.runs.load(Ordering::SeqCst)), (polls, 0));
}

/// A delegate that tells when it is polled, and by which transaction.
struct Announcing {
    polled: Mutex<std::sync::mpsc::Sender<B256>>,
}

impl Delegate for Announcing {
    fn poll(&self, call: &Call, _: &Place) -> Answer {
        self.polled.lock().send(call.transaction.0).unwrap();
        Answer::Pending
    }
    fn run(&self, _: &Call, _: &Place) -> Result<SignedReceipt, Refusal> {
        Err(Refusal::NoFabric)
    }
    fn anchor(&self) -> Anchor {
        Anchor::default()
    }
    fn check(&self, _: &DelegationRecord, _: &Place) -> Result<(), RecordError> {
        Ok(())
    }
}

#[test]
fn calls_start_when_a_transaction_enters_the_pool() {
    let (sender, polled) = std::sync::mpsc::channel();
    let world = World::with(asking_genesis(), Arc::new(Announcing { polled: Mutex::new(sender) }));
    let patience = std::time::Duration::from_secs(120);
    let one = world.send(&ask("rate", b"EUR", 0), 0);
    assert_eq!(polled.recv_timeout(patience), Ok(one));
    // What is known to delegate is simulated every time, also behind a transaction that did not run yet.
    let two = world.send(&ask("rate", b"USD", 1), 0);
    assert_eq!(polled.recv_timeout(patience), Ok(two));
    assert_eq!(world.ledger.head().height, Height(0));
    let pooled = world.ledger.transaction(two).unwrap().unwrap().tx;
    world.ledger.prefetch(&pooled);
    assert_eq!(polled.recv_timeout(patience), Ok(two));
}
