//! Subscriptions over a real WebSocket client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use alloy_primitives::{Bytes, TxKind};
use bletchley_api::{
    ServerHandle,
    limits::{WS_QUEUE_MESSAGES_MAX, WS_SUBSCRIPTIONS_MAX},
    serve,
};
use bletchley_evm::Observer;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use world::World;

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    notifications: Vec<Value>,
    next_id: u64,
}

impl Client {
    async fn connect(server: &ServerHandle) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/", server.address())).await.unwrap();
        Self { socket, notifications: Vec::new(), next_id: 0 }
    }

    async fn read(&mut self) -> Value {
        loop {
            match self.socket.next().await.expect("open").expect("readable") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The response to a request; notifications that come first are kept.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(body)).await.unwrap();
        loop {
            let message = self.read().await;
            if message["id"] == id {
                return message;
            }
            self.notifications.push(message);
        }
    }

    async fn notification(&mut self) -> Value {
        if self.notifications.is_empty() { self.read().await } else { self.notifications.remove(0) }
    }
}

async fn start(world: &World) -> ServerHandle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve(listener, world.context.clone(), Vec::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_after_the_answer() {
    let world = World::dev();
    let counter = world.deploy_counter();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    let heads = client.call("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    let topic = format!("0x{:064x}", 0x11);
    let logs = client.call("eth_subscribe", json!(["logs", {"address": counter, "topics": [topic]}])).await["result"].clone();
    let other =
        client.call("eth_subscribe", json!(["logs", {"address": world.address(2)}])).await["result"].clone();
    let pending = client.call("eth_subscribe", json!(["newPendingTransactions"])).await["result"].clone();
    assert!([&heads, &logs, &other, &pending].iter().all(|id| id.as_str().unwrap().starts_with("0x")));

    for nonce in 1..=3u64 {
        let raw = world.signed(0, nonce, TxKind::Call(counter), Bytes::new());
        let hash = client.call("eth_sendRawTransaction", json!([raw])).await["result"].clone();
        let number = format!("{:#x}", nonce + 1);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let notification = client.notification().await;
            assert_eq!(notification["method"], "eth_subscription");
            let (id, result) = (&notification["params"]["subscription"], &notification["params"]["result"]);
            if *id == heads {
                assert_eq!(result["number"], number);
                seen.push("head");
            } else if *id == logs {
                assert_eq!((&result["transactionHash"], &result["blockNumber"]), (&hash, &json!(number)));
                assert_eq!(result["data"], format!("0x{nonce:064x}"));
                seen.push("log");
            } else {
                assert_eq!((id, result), (&pending, &hash));
                seen.push("pending");
            }
        }
        // Of one block the head comes before its logs; the pool speaks on its own.
        seen.retain(|what| *what != "pending");
        assert_eq!(seen, ["head", "log"]);
    }

    assert_eq!(client.call("eth_unsubscribe", json!([heads])).await["result"], true);
    assert_eq!(
        client.call("eth_unsubscribe", json!([heads])).await["error"]["message"],
        "subscription not found"
    );
    client.call("evm_mine", json!([])).await;
    assert!(client.notifications.is_empty());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_frames_are_answered_and_subscriptions_bounded() {
    let world = World::plain();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    for (message, code) in [
        (Message::text("{"), -32700),
        (Message::binary(vec![0xff, 0x00]), -32700),
        (Message::text(""), -32700),
        (Message::text("[]"), -32600),
        (Message::text("\u{0}"), -32700),
        (Message::text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["weather"]}"#), -32601),
        (
            Message::text(
                r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",{"topics":7}]}"#,
            ),
            -32602,
        ),
        (Message::text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":[{}]}"#), -32602),
    ] {
        client.socket.send(message).await.unwrap();
        assert_eq!(client.read().await["error"]["code"], code);
    }
    for _ in 0..WS_SUBSCRIPTIONS_MAX {
        assert!(client.call("eth_subscribe", json!(["newHeads"])).await["result"].is_string());
    }
    assert_eq!(client.call("eth_subscribe", json!(["newHeads"])).await["error"]["code"], -32005);
    assert_eq!(client.call("eth_chainId", json!([])).await["result"], "0x7a69");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_subscribe() {
    let world = World::dev();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber"},
    ]);
    client.socket.send(Message::text(batch.to_string())).await.unwrap();
    let answer = client.read().await;
    assert_eq!(answer[1]["result"], "0x0");
    world.control.mine_one();
    assert_eq!(client.notification().await["params"]["subscription"], answer[0]["result"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_is_cut_off_with_a_reason() {
    let world = World::dev();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    client.call("eth_subscribe", json!(["newPendingTransactions", true])).await;
    assert!(world.feed.transactions_watched());
    // One large transaction, told again and again to a client that does not read.
    let raw = world.signed(0, 5, TxKind::Call(world.address(1)), vec![7u8; 4_000].into());
    let hash = world.ledger.submit(raw).unwrap();
    let tx = world.ledger.transaction(hash).unwrap().unwrap().tx;
    while world.feed.transactions_watched() {
        world.feed.pooled(&tx);
        tokio::task::yield_now().await;
    }
    let frame = loop {
        match client.socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => break Some(frame),
            Some(Ok(_)) => {}
            // The peer's buffers were full for longer than the farewell may take.
            Some(Err(_)) | None => break None,
        }
    };
    if let Some(frame) = frame {
        assert_eq!(frame.code, CloseCode::Policy);
        assert!(frame.reason.contains("too slow"), "{}", frame.reason);
    }
    let mut again = Client::connect(&server).await;
    assert_eq!(again.call("eth_chainId", json!([])).await["result"], "0x7a69");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_block_is_no_reason_to_cut_a_reader_off() {
    let world = World::dev();
    let counter = world.deploy_counter();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    let logs = client.call("eth_subscribe", json!(["logs", {"address": counter}])).await["result"].clone();
    world.ok("evm_setAutomine", json!([false]));
    // More than a queue holds, over three senders because each may have so many waiting.
    let each = WS_QUEUE_MESSAGES_MAX as u64 / 2;
    for sender in 0..3 {
        let first = u64::from(sender == 0);
        let raws: Vec<Bytes> = (first..first + each)
            .map(|nonce| world.signed(sender, nonce, TxKind::Call(counter), Bytes::new()))
            .collect();
        assert!(world.ledger.submit_batch(&raws).iter().all(Result::is_ok));
    }
    world.control.mine_one();
    for count in 1..=3 * each {
        let notification = client.notification().await;
        assert_eq!(notification["params"]["subscription"], logs);
        assert_eq!(notification["params"]["result"]["data"], format!("0x{count:064x}"));
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_says_goodbye() {
    let world = World::plain();
    let server = start(&world).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.call("net_version", json!([])).await["result"], "31337");
    server.shutdown().await;
    match client.socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("a close frame was expected, not {other:?}"),
    }
}
