//! Bodies of JSON-RPC requests, answered by a development ledger in memory: the one with the most methods.

use crate::Verdict;
use crate::evm::{key, raw_transactions, small_genesis};
use alloy_primitives::{Address, B256};
use bletchley_api::{ApiContext, ApiOptions, DevControl, DevError, DevMode, Feed};
use bletchley_evm::{EvmLedger, TxPlace};
use bletchley_ledger::{Machine, NoDelegate, ProposeContext, SharedStore};
use bletchley_primitives::{Bytes, TimestampMs};
use bletchley_storage::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most blocks that one request gets here; the interface has a bound of its own, which is meant for a release build.
const BLOCKS_MAX: u64 = 32;
/// Time between blocks.
const STEP_MS: u64 = 1_000;

/// Makes blocks when it is told to.
struct Engine {
    ledger: EvmLedger,
    store: SharedStore,
    turn: Mutex<()>,
    automine: AtomicBool,
}

impl Engine {
    fn mine_one(&self) -> Result<bool, DevError> {
        let _turn = self.turn.lock();
        let time_ms = TimestampMs(self.ledger.head().time_ms.0.saturating_add(STEP_MS));
        let machine = self.ledger.machine();
        let (parent, proposer) = (machine.head().hash, Address::repeat_byte(0xcb));
        let context = ProposeContext { parent, time_ms, proposer, allow_empty: true };
        let proposed = machine.propose(&context).map_err(|error| DevError(error.to_string()))?;
        let executed = proposed.expect("empty blocks are allowed");
        let (hash, transactions) = (executed.meta.hash, executed.transactions);
        self.store.append(&executed.into_stored(Bytes::new())).unwrap();
        machine.commit(hash).unwrap();
        Ok(transactions > 0)
    }
}

impl DevControl for Engine {
    fn mine(&self, count: u64, _interval_s: Option<u64>) -> Result<(), DevError> {
        if count > BLOCKS_MAX {
            return Err(DevError(format!("at most {BLOCKS_MAX} blocks at once")));
        }
        (0..count).try_for_each(|_| self.mine_one().map(drop))
    }

    fn automine(&self) -> bool {
        self.automine.load(Ordering::Relaxed)
    }

    fn set_automine(&self, on: bool) -> Result<(), DevError> {
        self.automine.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn interval_ms(&self) -> Option<u64> {
        None
    }

    fn set_interval_ms(&self, _interval_ms: Option<u64>) -> Result<(), DevError> {
        Ok(())
    }

    fn settle(&self, transaction: B256, _timeout: Duration) {
        let is_pending = || {
            let found = self.ledger.transaction(transaction);
            matches!(found, Ok(Some(found)) if matches!(found.place, TxPlace::Pending))
        };
        while self.automine() && is_pending() && self.mine_one() == Ok(true) {}
    }

    fn paused(&self, change: &mut dyn FnMut()) {
        let _turn = self.turn.lock();
        change();
    }
}

fn context() -> ApiContext {
    let store: SharedStore = Arc::new(MemoryStore::rewindable());
    let feed = Arc::new(Feed::default());
    let delegate = Arc::new(NoDelegate);
    let ledger =
        EvmLedger::new(small_genesis(), Arc::clone(&store), delegate, Arc::clone(&feed) as _).unwrap();
    let engine =
        Engine { ledger: ledger.clone(), store, turn: Mutex::new(()), automine: AtomicBool::new(true) };
    let mode = DevMode { accounts: vec![key(0), key(1)], control: Arc::new(engine) };
    ApiContext::new(ledger, feed, ApiOptions { dev: Some(mode), ..ApiOptions::default() })
}

/// Each answer has a result or an error with a code, never both. Whether all have results.
fn is_result(answer: &Value) -> bool {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    let (result, error) = (answer.get("result"), answer.get("error"));
    assert!(result.is_some() != error.is_some(), "{answer}");
    assert!(error.is_none_or(|error| error["code"].is_i64() && error["message"].is_string()), "{answer}");
    assert!(error.is_none_or(|error| error["code"] != -32603), "an internal error: {answer}");
    result.is_some()
}

pub(crate) mod body {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let context = context();
        let verdict = match context.answer_here(bytes) {
            None => Verdict::Accepted,
            Some(answer) => match serde_json::from_slice::<Value>(&answer).expect("every answer is JSON") {
                Value::Array(answers) => {
                    assert!(!answers.is_empty());
                    Verdict::of(answers.iter().filter(|answer| is_result(answer)).count() == answers.len())
                }
                answer => Verdict::of(is_result(&answer)),
            },
        };
        let after = context.answer_here(br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&after).unwrap()["result"],
            "0x7a69",
            "it no longer answers"
        );
        verdict
    }

    /// Requests that succeed, by name and parameters.
    fn requests() -> Vec<(&'static str, Value)> {
        let (one, two) = (key(0).address(), key(1).address());
        let contract = Address::repeat_byte(0xc0);
        let call = json!({"from": one, "to": contract, "gas": "0x30d40", "data": "0x01"});
        let transfer = json!({"from": one, "to": two, "value": "0x5", "gas": "0x5208"});
        let overrides = json!({two.to_string(): {"balance": "0x1", "code": "0x00", "stateDiff": {}}});
        let filter =
            json!({"fromBlock": "0x0", "toBlock": "latest", "address": [contract], "topics": [null, []]});
        let slot = json!(B256::ZERO);
        vec![
            ("eth_getBalance", json!([one, "latest"])),
            ("eth_getStorageAt", json!([contract, "0x0", "0x0"])),
            ("eth_getProof", json!([contract, [slot], "latest"])),
            ("eth_getTransactionCount", json!([one, {"blockNumber": "0x0"}])),
            ("eth_getBlockByNumber", json!(["pending", true])),
            ("eth_getBlockReceipts", json!(["earliest"])),
            ("eth_feeHistory", json!(["0x4", "latest", [10, 50.5]])),
            ("eth_getLogs", json!([filter])),
            ("eth_newFilter", json!([filter])),
            ("eth_call", json!([call, "latest", overrides])),
            ("eth_estimateGas", json!([call])),
            ("eth_createAccessList", json!([call, "latest"])),
            ("eth_sign", json!([one, "0x1234"])),
            ("eth_sendTransaction", json!([transfer])),
            ("eth_sendRawTransaction", json!([raw_transactions()[0]])),
            (
                "debug_traceCall",
                json!([call, "latest", {"tracer": "callTracer", "tracerConfig": {"withLog": true}}]),
            ),
            ("debug_traceCall", json!([call, "latest", {"enableMemory": true}])),
            ("txpool_contentFrom", json!([one])),
            ("web3_sha3", json!(["0x68656c6c6f"])),
            ("evm_snapshot", json!([])),
            ("evm_mine", json!([])),
            ("evm_increaseTime", json!([3600])),
            ("evm_setNextBlockTimestamp", json!([1_800_000_000])),
            ("hardhat_mine", json!(["0x3"])),
            ("hardhat_setBalance", json!([two, "0x100"])),
            ("hardhat_setNonce", json!([two, "0x9"])),
            ("anvil_setCode", json!([two, "0x6001"])),
            ("anvil_setStorageAt", json!([contract, "0x1", slot])),
            ("hardhat_impersonateAccount", json!([contract])),
        ]
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let all: Vec<Value> = requests()
            .into_iter()
            .map(|(method, params)| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .collect();
        // Time that moved is felt by the next block, and a batch is answered in order.
        let mine = json!({"jsonrpc": "2.0", "id": "mine", "method": "evm_mine"});
        let batch = |method: &str| {
            let first = all.iter().find(|request| request["method"] == method).unwrap();
            json!([first, mine, {"jsonrpc": "2.0", "method": "eth_chainId"}, mine])
        };
        let batches = ["evm_increaseTime", "evm_setNextBlockTimestamp", "hardhat_setBalance", "evm_snapshot"]
            .map(batch);
        all.iter().chain(&batches).map(|request| request.to_string().into_bytes()).collect()
    }
}
