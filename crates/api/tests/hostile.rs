//! Whatever bytes come in, a JSON-RPC answer goes out, nothing changes, and the next request is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bletchley_api::limits::{BATCH_REQUESTS_MAX, REQUEST_SIZE_BYTES_MAX};
use bletchley_api::serve;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::World;

static PLAIN: LazyLock<World> = LazyLock::new(World::plain);

/// Every method there is, and some that are not. Mining is left out: it is allowed to be slow.
const METHODS: &[&str] = &[
    "",
    "_",
    "eth_",
    "eth_nothing",
    "web3_clientVersion",
    "web3_sha3",
    "net_version",
    "net_listening",
    "net_peerCount",
    "rpc_modules",
    "eth_chainId",
    "eth_blockNumber",
    "eth_syncing",
    "eth_accounts",
    "eth_coinbase",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_feeHistory",
    "eth_blobBaseFee",
    "eth_getBalance",
    "eth_getStorageAt",
    "eth_getTransactionCount",
    "eth_getCode",
    "eth_getProof",
    "eth_getAccount",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getHeaderByNumber",
    "eth_getHeaderByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getBlockTransactionCountByHash",
    "eth_getUncleCountByBlockNumber",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getRawTransactionByHash",
    "eth_getTransactionReceipt",
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_sign",
    "eth_signTypedData_v4",
    "eth_signTransaction",
    "eth_fillTransaction",
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_simulateV1",
    "eth_getLogs",
    "eth_newFilter",
    "eth_newBlockFilter",
    "eth_newPendingTransactionFilter",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
    "eth_subscribe",
    "eth_unsubscribe",
    "txpool_status",
    "txpool_content",
    "txpool_contentFrom",
    "txpool_inspect",
    "debug_traceTransaction",
    "debug_traceCall",
    "debug_traceBlockByNumber",
    "debug_traceBlockByHash",
    "debug_getRawBlock",
    "debug_getRawHeader",
    "debug_getRawReceipts",
    "debug_getRawTransaction",
    "bletchley_ledgerInfo",
    "bletchley_getDelegationRecord",
    "bletchley_getDelegationRecordByTransaction",
    "bletchley_getInterventions",
    "personal_sign",
    "evm_snapshot",
    "evm_revert",
    "anvil_setBalance",
    "hardhat_setCode",
];

fn code_of(response: &Value) -> i64 {
    response["error"]["code"].as_i64().unwrap_or_else(|| panic!("an error was expected: {response}"))
}

#[test]
fn malformed_bodies_get_the_codes_of_the_standard() {
    let world = &*PLAIN;
    let cases: &[(&[u8], i64)] = &[
        (b"", -32700),
        (b"\0", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_chainId\"", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_chainId\"} trailing", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_\xc3\x28\"}", -32700),
        (b"[", -32700),
        (b"[{]", -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b"null", -32600),
        (b"7", -32600),
        (b"\"eth_chainId\"", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1}", -32600),
        (b"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"eth_chainId\"}", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"eth_chainId\"}", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":[\"eth_chainId\"]}", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"eth_chainId\"}", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_chainid\"}", -32601),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\u0000\"}", -32601),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"evm_mine\"}", -32601),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_subscribe\",\"params\":[\"newHeads\"]}", -32601),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getBalance\",\"params\":{\"address\":\"0x\"}}",
            -32602,
        ),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getBalance\",\"params\":[]}", -32602),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getBalance\",\"params\":[\"0x12\"]}", -32602),
    ];
    for (body, code) in cases {
        let response = world.raw(body).expect("an error is answered");
        assert_eq!(code_of(&response), *code, "{}: {response}", String::from_utf8_lossy(body));
    }
}

#[test]
fn notifications_are_not_answered() {
    assert_eq!(PLAIN.raw(br#"{"jsonrpc":"2.0","method":"eth_chainId"}"#), None);
    assert_eq!(
        PLAIN.raw(br#"[{"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","method":"nope"}]"#),
        None
    );
    let mixed = PLAIN
        .raw(br#"[{"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","id":"a","method":"eth_chainId"}]"#)
        .unwrap();
    assert_eq!(mixed, json!([{"jsonrpc": "2.0", "id": "a", "result": "0x7a69"}]));
}

#[test]
fn batches_answer_in_order_whatever_is_in_them() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": ["0x"]},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_sendRawTransaction", "params": ["0x02ff"]},
        {"jsonrpc": "2.0", "id": 3, "method": "eth_chainId"},
        7,
        {"jsonrpc": "2.0", "id": 4, "method": "eth_sendRawTransaction", "params": [{}]},
        {"jsonrpc": "2.0", "id": null, "method": "net_version", "params": []},
    ]);
    let answers = PLAIN.raw(batch.to_string().as_bytes()).unwrap();
    let seen: Vec<_> =
        answers.as_array().unwrap().iter().map(|a| (a["id"].clone(), a["error"]["code"].clone())).collect();
    assert_eq!(
        seen,
        [
            (json!(1), json!(-32602)),
            (json!(2), json!(-32000)),
            (json!(3), json!(null)),
            (json!(null), json!(-32600)),
            (json!(4), json!(-32602)),
            (json!(null), json!(null)),
        ]
    );
    assert_eq!(PLAIN.ledger.pool_status().pending, 0);
}

#[test]
fn bombs_are_refused_by_size_not_by_effort() {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let full = format!("[{}{request}]", format!("{request},").repeat(BATCH_REQUESTS_MAX - 1));
    assert_eq!(PLAIN.raw(full.as_bytes()).unwrap().as_array().unwrap().len(), BATCH_REQUESTS_MAX);
    let over = format!("[{}{request}]", format!("{request},").repeat(BATCH_REQUESTS_MAX));
    assert_eq!(code_of(&PLAIN.raw(over.as_bytes()).unwrap()), -32600);

    let depth = 200_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[{nested}]}}"#);
    assert_eq!(code_of(&PLAIN.raw(body.as_bytes()).unwrap()), -32602);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":{nested}}}"#);
    assert_eq!(code_of(&PLAIN.raw(body.as_bytes()).unwrap()), -32602);
    assert_eq!(code_of(&PLAIN.raw(nested.as_bytes()).unwrap()[0]), -32600);

    let digits = "9".repeat(100_000);
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":[{digits},false]}}"#);
    assert_eq!(code_of(&PLAIN.raw(body.as_bytes()).unwrap()), -32602);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0x{digits}",false]}}"#
    );
    assert_eq!(code_of(&PLAIN.raw(body.as_bytes()).unwrap()), -32602);
    let name = "x".repeat(1_000_000);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}"}}"#);
    let response = PLAIN.raw(body.as_bytes()).unwrap();
    assert!(response.to_string().len() < 300, "a long name is not echoed whole");
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "0x[0-9a-fA-F]{0,70}",
        Just("latest".to_owned()),
        Just("pending".to_owned()),
        Just("earliest".to_owned()),
        Just(format!("{:#x}", PLAIN.address(0))),
        Just(format!("{}", PLAIN.ledger.head().hash)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let key = prop_oneof![
            Just("from"),
            Just("to"),
            Just("data"),
            Just("input"),
            Just("value"),
            Just("gas"),
            Just("nonce"),
            Just("gasPrice"),
            Just("fromBlock"),
            Just("toBlock"),
            Just("blockHash"),
            Just("address"),
            Just("topics"),
            Just("tracer"),
            Just("calls"),
            Just("blockStateCalls"),
            Just("stateOverrides"),
            Just("blockOverrides"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn is_response(value: &Value) -> bool {
    value["jsonrpc"] == "2.0"
        && value.get("id").is_some()
        && (value.get("result").is_some() != value.get("error").is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let answer = PLAIN.raw(&bytes).expect("noise is no notification");
        prop_assert!(is_response(&answer) && answer["error"].is_object(), "{answer}");
    }

    #[test]
    fn any_parameters_get_an_answer(method in prop::sample::select(METHODS), params in any_json()) {
        let before = PLAIN.ledger.head();
        let response = PLAIN.respond(method, params);
        prop_assert!(is_response(&response), "{method}: {response}");
        prop_assert_eq!(PLAIN.ledger.head(), before);
    }

    #[test]
    fn any_positional_parameters_get_an_answer(
        method in prop::sample::select(METHODS),
        params in prop::collection::vec(any_json(), 0..5),
    ) {
        let response = PLAIN.respond(method, Value::from(params));
        prop_assert!(is_response(&response), "{method}: {response}");
    }

    #[test]
    fn a_cut_or_bent_request_gets_an_answer(at in 0usize..200, byte in any::<u8>(), cut in any::<bool>()) {
        let mut body = json!({
            "jsonrpc": "2.0", "id": 9, "method": "eth_call",
            "params": [{"to": PLAIN.address(1), "data": "0x01"}, "latest"],
        }).to_string().into_bytes();
        let at = at % body.len();
        if cut { body.truncate(at) } else { body[at] = byte }
        let answer = PLAIN.raw(&body);
        // One bent byte can turn "id" into another word: that is a notification, and rightly not answered.
        prop_assert!(answer.is_none_or(|answer| is_response(&answer)));
    }
}

/// Sends bytes as they are and reads until the server closes.
async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    let world = World::plain();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = serve(listener, world.context.clone(), Vec::new()).unwrap();
    let address = server.address();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let length = format!("Content-Length: {}\r\n", body.len());

    let good = exchange(address, &post(&length, body)).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("application/json"), "{good}");
    assert!(good.ends_with(r#"{"jsonrpc":"2.0","id":1,"result":"0x7a69"}"#), "{good}");

    let large = format!("Content-Length: {}\r\n", REQUEST_SIZE_BYTES_MAX + 1);
    let answer = exchange(address, &post(&large, "{")).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("-32600"), "{answer}");

    let chunked = "Transfer-Encoding: chunked\r\n";
    let answer = exchange(address, &post(chunked, "5\r\n[1,2,\r\n2\r\n3]\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("-32600").count() == 3, "{answer}");

    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    let silent = format!("Content-Length: {}\r\n", notification.len());
    assert!(exchange(address, &post(&silent, notification)).await.starts_with("HTTP/1.1 204"));

    let stranger = format!("{length}Origin: https://example.com\r\n");
    assert!(exchange(address, &post(&stranger, body)).await.starts_with("HTTP/1.1 403"));
    let local = format!("{length}Origin: http://localhost:3000\r\n");
    let answer = exchange(address, &post(&local, body)).await;
    assert!(answer.contains("access-control-allow-origin: http://localhost:3000"), "{answer}");
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: http://localhost:3000\r\n\
                     Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n";
    let answer = exchange(address, preflight.as_bytes()).await;
    assert!(answer.contains("access-control-allow-headers: content-type"), "{answer}");
    let rebound = format!("POST / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{length}\r\n{body}");
    assert!(exchange(address, rebound.as_bytes()).await.starts_with("HTTP/1.1 403"));

    for path in ["/healthz", "/livez", "/readyz", "/status", "/metrics", "/"] {
        let answer = exchange(
            address,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    exchange(address, b"\0\x01\x02 not HTTP\r\n\r\n").await;
    assert!(exchange(address, &post(&length, body)).await.starts_with("HTTP/1.1 200"));
    server.shutdown().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}
