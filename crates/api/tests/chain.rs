//! A scripted chain, and what the interface says about it: snapshots that change only on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use alloy_primitives::{Bytes, TxKind, keccak256};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use world::{World, revert_with};

/// Block 1 creates the counter, block 2 calls it twice, block 3 reverts, block 4 is empty.
fn chain() -> (World, alloy_primitives::Address, Vec<Value>) {
    let world = World::dev();
    let counter = world.deploy_counter();
    let creation = world.ok("eth_getBlockByNumber", json!(["0x1", false]))["transactions"][0].clone();
    world.ok("evm_setAutomine", json!([false]));
    let mut hashes = vec![creation];
    for nonce in 1..=2 {
        let raw = world.signed(0, nonce, TxKind::Call(counter), Bytes::new());
        hashes.push(world.ok("eth_sendRawTransaction", json!([raw])));
    }
    world.control.mine_one();
    let raw = world.signed(1, 0, TxKind::Call(counter), revert_with("not today"));
    hashes.push(world.ok("eth_sendRawTransaction", json!([raw])));
    world.control.mine_one();
    world.control.mine_one();
    (world, counter, hashes)
}

#[test]
fn blocks_transactions_and_receipts() {
    let (world, _, hashes) = chain();
    assert_json_snapshot!("genesis", world.ok("eth_getBlockByNumber", json!(["earliest", true])));
    assert_json_snapshot!("block_full", world.ok("eth_getBlockByNumber", json!(["0x2", true])));
    let by_number = world.ok("eth_getBlockByNumber", json!(["0x2", false]));
    assert_json_snapshot!("block_hashes", by_number);
    assert_eq!(world.ok("eth_getBlockByHash", json!([by_number["hash"], false])), by_number);
    assert_eq!(world.ok("eth_getHeaderByNumber", json!(["0x2"]))["hash"], by_number["hash"]);
    assert_json_snapshot!("transaction", world.ok("eth_getTransactionByHash", json!([hashes[2]])));
    for (method, block) in [
        ("eth_getTransactionByBlockHashAndIndex", &by_number["hash"]),
        ("eth_getTransactionByBlockNumberAndIndex", &json!("0x2")),
    ] {
        assert_eq!(world.ok(method, json!([block, "0x1"]))["hash"], hashes[2]);
        assert_eq!(world.ok(method, json!([block, "0x2"])), Value::Null);
    }
    assert_json_snapshot!("receipt_creation", world.ok("eth_getTransactionReceipt", json!([hashes[0]])));
    let receipts = world.ok("eth_getBlockReceipts", json!(["0x2"]));
    assert_json_snapshot!("receipts", receipts);
    for (index, hash) in hashes[1..=2].iter().enumerate() {
        assert_eq!(world.ok("eth_getTransactionReceipt", json!([hash])), receipts[index]);
    }
    assert_json_snapshot!("receipt_reverted", world.ok("eth_getTransactionReceipt", json!([hashes[3]])));
    assert_eq!(world.ok("eth_getBlockTransactionCountByNumber", json!(["0x2"])), "0x2");
    assert_eq!(world.ok("eth_getUncleCountByBlockNumber", json!(["0x2"])), "0x0");

    let none = keccak256("none");
    for method in ["eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getRawTransactionByHash"] {
        assert_eq!(world.ok(method, json!([none])), Value::Null, "{method}");
    }
    assert_eq!(world.ok("eth_getBlockByHash", json!([none, false])), Value::Null);
    assert_eq!(world.ok("eth_getBlockByNumber", json!(["0x99", false])), Value::Null);
}

#[test]
fn raw_forms_hash_to_what_they_are() {
    let (world, _, hashes) = chain();
    let bytes = |value: Value| -> Bytes { serde_json::from_value(value).unwrap() };
    let raw = bytes(world.ok("eth_getRawTransactionByHash", json!([hashes[1]])));
    assert_eq!(keccak256(&raw).to_string(), hashes[1].as_str().unwrap());
    let header = bytes(world.ok("debug_getRawHeader", json!(["0x2"])));
    let block = world.ok("eth_getBlockByNumber", json!(["0x2", false]));
    assert_eq!(keccak256(&header).to_string(), block["hash"].as_str().unwrap());

    let body = bytes(world.ok("debug_getRawBlock", json!(["0x2"])));
    let decoded: alloy_consensus::Block<alloy_consensus::TxEnvelope> =
        alloy_rlp::Decodable::decode(&mut body.as_ref()).unwrap();
    assert_eq!(decoded.header.hash_slow().to_string(), block["hash"].as_str().unwrap());
    assert_eq!(
        alloy_consensus::proofs::calculate_transaction_root(&decoded.body.transactions),
        decoded.header.transactions_root
    );
    let receipts = world.ok("debug_getRawReceipts", json!(["0x2"]));
    let receipts: Vec<Bytes> = serde_json::from_value(receipts).unwrap();
    let receipts: Vec<alloy_consensus::ReceiptEnvelope> = receipts
        .iter()
        .map(|raw| alloy_eips::eip2718::Decodable2718::decode_2718_exact(raw).unwrap())
        .collect();
    assert_eq!(alloy_consensus::proofs::calculate_receipt_root(&receipts), decoded.header.receipts_root);
}

#[test]
fn state_now_and_then() {
    let (world, counter, _) = chain();
    let (rich, block) = (world.address(0), world.ok("eth_getBlockByNumber", json!(["0x2", false])));
    let slot = |at: Value| world.ok("eth_getStorageAt", json!([counter, "0x0", at]));
    let word = |n: u64| json!(format!("0x{n:064x}"));
    assert_eq!((slot(json!("latest")), slot(json!("0x1"))), (word(2), word(0)));
    assert_eq!(slot(json!({"blockHash": block["hash"], "requireCanonical": true})), word(2));
    assert_eq!(
        (slot(json!({"blockNumber": "0x1"})), slot(json!("safe")), slot(json!("finalized"))),
        (word(0), word(2), word(2))
    );
    assert_eq!(world.ok("eth_getTransactionCount", json!([rich, "earliest"])), "0x0");
    assert_eq!(world.ok("eth_getTransactionCount", json!([rich, "0x1"])), "0x1");
    assert_eq!(world.ok("eth_getTransactionCount", json!([rich])), "0x3");
    let raw = world.signed(0, 3, TxKind::Call(counter), Bytes::new());
    world.ok("eth_sendRawTransaction", json!([raw]));
    assert_eq!(world.ok("eth_getTransactionCount", json!([rich, "pending"])), "0x4");
    let code: Bytes = serde_json::from_value(world.ok("eth_getCode", json!([counter, "latest"]))).unwrap();
    assert_eq!(code.as_ref(), world::COUNTER);
    assert_eq!(world.ok("eth_getCode", json!([counter, "0x0"])), "0x");
    assert_eq!(world.ok("eth_getBalance", json!([world.address(2), "latest"])), "0x3635c9adc5dea00000");
    assert_json_snapshot!("no_such_block", world.error("eth_getBalance", json!([rich, "0x99"])));
    assert_json_snapshot!("no_such_hash", world.error("eth_getBalance", json!([rich, keccak256("none")])));
    assert_json_snapshot!("proof", world.ok("eth_getProof", json!([counter, ["0x0", word(7)], "latest"])));
    assert_json_snapshot!("account", world.ok("eth_getAccount", json!([counter, "latest"])));
}

#[test]
fn pruned_history_says_what_to_do() {
    let world = World::dev();
    world.control.mine_one();
    world.ok("anvil_mine", json!(["0x100"]));
    let error = world.error("eth_getBalance", json!([world.address(0), "0x1"]));
    assert_eq!(error["code"], -32000);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("missing trie node") && message.contains("archive"), "{message}");
    let archive = World::with(|genesis| (genesis.dev, genesis.archive) = (true, true));
    archive.ok("anvil_mine", json!(["0x100"]));
    assert_eq!(archive.ok("eth_getBalance", json!([archive.address(0), "0x1"])), "0x3635c9adc5dea00000");
}

#[test]
fn calls_and_their_failures() {
    let (world, counter, _) = chain();
    let (from, to) = (world.address(1), counter);
    assert_eq!(world.ok("eth_call", json!([{"from": from, "to": to}, "latest"])), format!("0x{:064x}", 3));
    assert_eq!(world.ok("eth_call", json!([{"to": to}, "0x1"])), format!("0x{:064x}", 1));
    let overridden =
        json!({to.to_string(): {"stateDiff": {format!("0x{:064x}", 0): format!("0x{:064x}", 41)}}});
    assert_eq!(world.ok("eth_call", json!([{"to": to}, "latest", overridden])), format!("0x{:064x}", 42));
    assert_json_snapshot!(
        "call_reverted",
        world.error("eth_call", json!([{"to": to, "data": revert_with("not today")}]))
    );
    assert_json_snapshot!(
        "call_reverted_bare",
        world.error("eth_call", json!([{"to": to, "input": "0x01"}]))
    );
    assert_json_snapshot!(
        "call_two_inputs",
        world.error("eth_call", json!([{"to": to, "data": "0x01", "input": "0x02"}]))
    );
    assert_json_snapshot!(
        "estimate_reverted",
        world.error("eth_estimateGas", json!([{"to": to, "data": revert_with("no")}]))
    );
    assert_json_snapshot!(
        "estimate_poor",
        world.error("eth_estimateGas", json!([{"from": to, "to": from, "value": "0x1"}]))
    );
    assert_eq!(
        world.ok("eth_estimateGas", json!([{"from": from, "to": world.address(2), "value": "0x1"}])),
        "0x5208"
    );
    assert_json_snapshot!(
        "access_list",
        world.ok("eth_createAccessList", json!([{"from": from, "to": to}, "latest"]))
    );
}

#[test]
fn logs_and_filters() {
    let (world, counter, _) = chain();
    let topic = format!("0x{:064x}", 0x11);
    let all =
        world.ok("eth_getLogs", json!([{"fromBlock": "earliest", "address": counter, "topics": [[topic]]}]));
    assert_json_snapshot!("logs", all);
    assert_eq!(world.ok("eth_getLogs", json!([{"fromBlock": "0x3"}])), json!([]));
    assert_eq!(world.ok("eth_getLogs", json!([{"fromBlock": "0x0", "topics": [null, topic]}])), json!([]));
    let hash = &all[0]["blockHash"];
    assert_eq!(world.ok("eth_getLogs", json!([{"blockHash": hash}])), all);
    assert_json_snapshot!(
        "logs_backwards",
        world.error("eth_getLogs", json!([{"fromBlock": "0x3", "toBlock": "0x1"}]))
    );
    assert_json_snapshot!(
        "logs_unknown",
        world.error("eth_getLogs", json!([{"blockHash": keccak256("none")}]))
    );

    let logs = world.ok("eth_newFilter", json!([{"address": counter, "fromBlock": "0x0"}]));
    let blocks = world.ok("eth_newBlockFilter", json!([]));
    let pending = world.ok("eth_newPendingTransactionFilter", json!([]));
    for filter in [&logs, &blocks, &pending] {
        assert_eq!(world.ok("eth_getFilterChanges", json!([filter])), json!([]));
    }
    let raw = world.signed(0, 3, TxKind::Call(counter), Bytes::new());
    let sent = world.ok("eth_sendRawTransaction", json!([raw]));
    assert_eq!(world.ok("eth_getFilterChanges", json!([pending])), json!([sent]));
    world.control.mine_one();
    let head = world.ok("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(world.ok("eth_getFilterChanges", json!([blocks])), json!([head["hash"]]));
    let changes = world.ok("eth_getFilterChanges", json!([logs]));
    assert_eq!((changes.as_array().unwrap().len(), &changes[0]["transactionHash"]), (1, &sent));
    assert_eq!(world.ok("eth_getFilterLogs", json!([logs])).as_array().unwrap().len(), 3);
    assert_eq!(world.ok("eth_uninstallFilter", json!([logs])), true);
    assert_eq!(world.ok("eth_uninstallFilter", json!([logs])), false);
    assert_json_snapshot!("filter_gone", world.error("eth_getFilterChanges", json!([logs])));
}

#[test]
fn fees() {
    let (world, _, _) = chain();
    assert_json_snapshot!(
        "fee_history",
        world.ok("eth_feeHistory", json!(["0x3", "latest", [0.0, 50.0, 100.0]]))
    );
    assert_json_snapshot!(
        "fee_history_backwards",
        world.error("eth_feeHistory", json!([4, "latest", [50, 10]]))
    );
    assert_eq!(world.ok("eth_gasPrice", json!([])), world.ok("eth_maxPriorityFeePerGas", json!([])));
    assert_eq!(world.ok("eth_blobBaseFee", json!([])), "0x1");
}

#[test]
fn traces() {
    let (world, counter, hashes) = chain();
    assert_json_snapshot!(
        "trace_call",
        world.ok("debug_traceTransaction", json!([hashes[3], {"tracer": "callTracer"}]))
    );
    assert_json_snapshot!(
        "trace_prestate",
        world.ok("debug_traceTransaction", json!([hashes[2], {"tracer": "prestateTracer"}]))
    );
    let opcodes = world.ok("debug_traceTransaction", json!([hashes[2]]));
    assert_eq!(
        (&opcodes["structLogs"][0]["op"], &opcodes["failed"]),
        (&json!("CALLDATASIZE"), &json!(false))
    );
    let live = world.ok(
        "debug_traceCall",
        json!([{"to": counter}, "latest", {"tracer": "callTracer", "tracerConfig": {"withLog": true}}]),
    );
    assert_eq!(live["output"], format!("0x{:064x}", 3));
    assert_eq!(
        world
            .ok("debug_traceBlockByNumber", json!(["0x2", {"tracer": "callTracer"}]))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_json_snapshot!("trace_unknown", world.error("debug_traceTransaction", json!([keccak256("none")])));
    assert_json_snapshot!(
        "trace_tracer",
        world.error("debug_traceTransaction", json!([hashes[1], {"tracer": "{}"}]))
    );
}

#[test]
fn what_waits() {
    let world = World::dev();
    world.ok("evm_setAutomine", json!([false]));
    for nonce in [0, 1, 3] {
        let raw = world.signed(0, nonce, TxKind::Call(world.address(1)), Bytes::new());
        world.ok("eth_sendRawTransaction", json!([raw]));
    }
    assert_json_snapshot!("pool_status", world.ok("txpool_status", json!([])));
    assert_json_snapshot!("pool_inspect", world.ok("txpool_inspect", json!([])));
    assert_json_snapshot!("pool_content", world.ok("txpool_content", json!([])));
    let from = world.ok("txpool_contentFrom", json!([world.address(0)]));
    assert_eq!(from["queued"].as_object().unwrap().keys().collect::<Vec<_>>(), ["3"]);
    let pending = world.ok("eth_getBlockByNumber", json!(["pending", false]));
    assert_eq!((&pending["hash"], pending["transactions"].as_array().unwrap().len()), (&Value::Null, 2));
    let hash = pending["transactions"][0].clone();
    let waiting = world.ok("eth_getTransactionByHash", json!([hash]));
    assert_eq!((&waiting["blockHash"], &waiting["blockNumber"]), (&Value::Null, &Value::Null));
    assert_eq!(world.ok("eth_getTransactionReceipt", json!([hash])), Value::Null);
    let raw = world.signed(0, 0, TxKind::Call(world.address(1)), Bytes::new());
    assert_json_snapshot!("already_known", world.error("eth_sendRawTransaction", json!([raw])));
    world.control.mine_one();
    assert_json_snapshot!("nonce_too_low", world.error("eth_sendRawTransaction", json!([raw])));
}

#[test]
fn who_and_what_this_is() {
    let world = World::dev();
    for method in [
        "web3_clientVersion",
        "net_version",
        "net_listening",
        "net_peerCount",
        "eth_chainId",
        "eth_syncing",
        "eth_mining",
        "eth_accounts",
        "eth_coinbase",
        "rpc_modules",
        "bletchley_ledgerInfo",
        "hardhat_metadata",
        "anvil_nodeInfo",
    ] {
        assert_json_snapshot!(method, world.ok(method, json!([])));
    }
    assert_eq!(world.ok("web3_sha3", json!(["0x68656c6c6f"])), keccak256("hello").to_string());
    assert_eq!(World::plain().ok("eth_accounts", json!([])), json!([]));
    let record = world.ok("bletchley_getDelegationRecord", json!(["latest"]));
    assert_eq!(record["receipts"], json!([]));
}
