//! What test suites expect of a development ledger, and that no other ledger has any of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, eip191_hash_message, keccak256};
use serde_json::{Value, json};
use world::{COUNTER, GENESIS_MS, World, revert_with};

const GENESIS_S: u64 = GENESIS_MS / 1_000;

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn head(world: &World) -> Value {
    world.ok("eth_getBlockByNumber", json!(["latest", false]))
}

#[test]
fn other_ledgers_have_none_of_it() {
    let world = World::plain();
    for method in [
        "evm_snapshot",
        "evm_revert",
        "evm_mine",
        "evm_increaseTime",
        "evm_setNextBlockTimestamp",
        "evm_setAutomine",
        "evm_setIntervalMining",
        "evm_setTime",
        "hardhat_setBalance",
        "anvil_setCode",
        "hardhat_setStorageAt",
        "anvil_setNonce",
        "hardhat_impersonateAccount",
        "anvil_autoImpersonateAccount",
        "anvil_mine",
        "hardhat_reset",
        "anvil_nodeInfo",
        "hardhat_metadata",
    ] {
        let error = world.error(method, json!([]));
        assert_eq!(error["code"], -32601, "{method}");
        assert!(error["message"].as_str().unwrap().contains("development ledger"), "{error}");
    }
    assert_eq!(world.error("eth_sign", json!([world.address(0), "0x00"]))["code"], -32000);
    let error =
        world.error("eth_sendTransaction", json!([{"from": world.address(0), "to": world.address(1)}]));
    assert!(error["message"].as_str().unwrap().starts_with("unknown account"));
    assert_eq!(world.ledger.pool_status().pending, 0);
    assert_eq!(World::dev().error("anvil_nothing", json!([]))["code"], -32601);
}

#[test]
fn sends_are_mined_when_they_return() {
    let world = World::dev();
    let counter = world.deploy_counter();
    let hash = world.ok("eth_sendTransaction", json!([{"from": world.address(0), "to": counter}]));
    let receipt = world.ok("eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x2")));
    let tx = world.ok("eth_getTransactionByHash", json!([hash]));
    assert_eq!((&tx["type"], &tx["nonce"]), (&json!("0x2"), &json!("0x1")));
    // Gas costs nothing here, and a sender is not made to pay.
    assert_eq!(tx["maxFeePerGas"], "0x0");
    // The estimate that was filled in is tight.
    assert!(number(&tx["gas"]) <= number(&receipt["gasUsed"]) * 1015 / 1000 + 2_300, "{tx}");
    let legacy = json!({"from": world.address(0), "to": counter, "gasPrice": "0x1", "gas": "0x186a0"});
    let hash = world.ok("eth_sendTransaction", json!([legacy]));
    assert_eq!(world.ok("eth_getTransactionByHash", json!([hash]))["type"], "0x0");

    let reverting = json!({"from": world.address(0), "to": counter, "data": revert_with("no")});
    let error = world.error("eth_sendTransaction", json!([reverting]));
    assert_eq!((&error["code"], &error["message"]), (&json!(3), &json!("execution reverted: no")));
    for bad in [
        json!({"to": counter}),
        json!({"from": world.address(0)}),
        json!({"from": world.address(0), "to": counter, "chainId": "0x1"}),
        json!({"from": world.address(0), "to": counter, "gasPrice": "0x1", "maxFeePerGas": "0x1"}),
        json!({"from": world.address(0), "to": counter, "data": "0x01", "input": "0x02"}),
    ] {
        assert_eq!(world.error("eth_sendTransaction", json!([bad]))["code"], -32602, "{bad}");
    }
    let receipt = world
        .ok("eth_sendRawTransactionSync", json!([world.signed(0, 3, TxKind::Call(counter), Bytes::new())]));
    assert_eq!(receipt["blockNumber"], "0x4");
}

#[test]
fn a_batch_of_sends_is_one_block_or_few() {
    let world = World::dev();
    let batch: Vec<Value> = (0..50u64)
        .map(|nonce| {
            let raw = world.signed(0, nonce, TxKind::Call(world.address(1)), Bytes::new());
            json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": [raw]})
        })
        .collect();
    let answers = world.raw(Value::from(batch).to_string().as_bytes()).unwrap();
    for (nonce, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["id"], nonce);
        assert!(world.ok("eth_getTransactionReceipt", json!([answer["result"]])).is_object(), "{answer}");
    }
    assert_eq!(head(&world)["number"], "0x1");
}

#[test]
fn accounts_sign() {
    let world = World::dev();
    let message = Bytes::from_static(b"hello");
    let signature: Bytes =
        serde_json::from_value(world.ok("eth_sign", json!([world.address(0), message]))).unwrap();
    assert_eq!(world.ok("personal_sign", json!([message, world.address(0), ""])), json!(signature));
    let parsed = Signature::from_raw(&signature).unwrap();
    assert!(signature[64] == 27 || signature[64] == 28);
    let mut ours = [0u8; 65];
    ours[..64].copy_from_slice(&signature[..64]);
    ours[64] = u8::from(parsed.v());
    let signer =
        bletchley_crypto::recover(eip191_hash_message(&message), &bletchley_primitives::Signature(ours));
    assert_eq!(signer, Ok(world.address(0)));

    // EIP-712's own example: its digest is published.
    let typed = json!({
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
            ],
            "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
            "Mail": [
                {"name": "from", "type": "Person"}, {"name": "to", "type": "Person"}, {"name": "contents", "type": "string"},
            ],
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail", "version": "1", "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
            "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
            "contents": "Hello, Bob!",
        },
    });
    let signature: Bytes =
        serde_json::from_value(world.ok("eth_signTypedData_v4", json!([world.address(1), typed]))).unwrap();
    assert_eq!(
        world.ok("eth_signTypedData_v4", json!([world.address(1), typed.to_string()])),
        json!(signature)
    );
    ours[..64].copy_from_slice(&signature[..64]);
    ours[64] = signature[64] - 27;
    let digest = "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2".parse().unwrap();
    assert_eq!(
        bletchley_crypto::recover(digest, &bletchley_primitives::Signature(ours)),
        Ok(world.address(1))
    );
    assert_eq!(world.error("eth_signTypedData_v4", json!([world.address(1), {"types": {}}]))["code"], -32602);
    assert_eq!(world.error("eth_sign", json!([Address::ZERO, "0x"]))["code"], -32000);

    let signed = world.ok(
        "eth_signTransaction",
        json!([{"from": world.address(0), "to": world.address(1), "value": "0x5"}]),
    );
    let hash = world.ok("eth_sendRawTransaction", json!([signed["raw"]]));
    assert_eq!(world.ok("eth_getTransactionByHash", json!([hash]))["value"], "0x5");
}

#[test]
fn snapshots_take_everything_back() {
    let world = World::dev();
    let counter = world.deploy_counter();
    let first = world.ok("evm_snapshot", json!([]));
    let second = world.ok("evm_snapshot", json!([]));
    let blocks = world.ok("eth_newBlockFilter", json!([]));
    world.ok("anvil_setBalance", json!([counter, "0x7"]));
    let hash = world.ok("eth_sendTransaction", json!([{"from": world.address(0), "to": counter}]));
    assert_eq!(world.ok("eth_getBalance", json!([counter])), "0x7");
    assert_eq!(world.ok("eth_getFilterChanges", json!([blocks])).as_array().unwrap().len(), 1);

    assert_eq!(world.ok("evm_revert", json!([second])), true);
    assert_eq!(world.ok("eth_getBalance", json!([counter])), "0x0");
    assert_eq!(world.ok("eth_getTransactionReceipt", json!([hash])), Value::Null);
    assert_eq!(world.ok("eth_blockNumber", json!([])), "0x1");
    assert_eq!(world.ok("eth_getTransactionCount", json!([world.address(0), "pending"])), "0x1");
    assert_eq!(world.ok("evm_revert", json!([second])), false);
    // The filter reports the new block of an old number.
    world.ok("evm_mine", json!([]));
    assert_eq!(world.ok("eth_getFilterChanges", json!([blocks])), json!([head(&world)["hash"]]));
    assert_eq!(world.ok("evm_revert", json!([first])), true);
    world.ok("hardhat_reset", json!([]));
    assert_eq!(world.ok("eth_blockNumber", json!([])), "0x0");
    assert_eq!(world.ok("eth_getCode", json!([counter])), "0x");
    world.ok("anvil_reset", json!([{"forking": {}}]));
    assert_eq!(world.error("anvil_reset", json!([{"forking": {"jsonRpcUrl": "http://x"}}]))["code"], -32000);
}

#[test]
fn time_moves_as_told() {
    let world = World::dev();
    let time = |world: &World| number(&head(world)["timestamp"]);
    world.ok("evm_mine", json!([]));
    assert_eq!(time(&world), GENESIS_S + 1);
    assert_eq!(world.ok("evm_increaseTime", json!([3600])), 3600);
    assert_eq!(world.ok("evm_increaseTime", json!(["0x3c"])), 3660);
    world.ok("evm_mine", json!([]));
    assert_eq!(time(&world), GENESIS_S + 3660 + 2);
    world.ok("evm_setNextBlockTimestamp", json!([GENESIS_S + 10_000]));
    world.ok("evm_mine", json!([]));
    assert_eq!(time(&world), GENESIS_S + 10_000);
    world.ok("evm_mine", json!([GENESIS_S + 20_000]));
    assert_eq!(time(&world), GENESIS_S + 20_000);
    let error = world.error("evm_setNextBlockTimestamp", json!([GENESIS_S]));
    assert!(error["message"].as_str().unwrap().contains("lower than the previous block"), "{error}");
    world.ok("hardhat_mine", json!(["0x3", "0x3c"]));
    let heads = [4u64, 5, 6, 7].map(|n| world.ok("eth_getBlockByNumber", json!([format!("{n:#x}"), false])));
    let times = heads.map(|head| number(&head["timestamp"]));
    assert_eq!((times[2] - times[1], times[3] - times[2]), (60, 60));
    world.ok("evm_mine", json!([{"blocks": 2}]));
    assert_eq!(world.ok("eth_blockNumber", json!([])), "0x9");
    assert_eq!(world.error("anvil_mine", json!(["0xffffff"]))["code"], -32005);
    assert_eq!(world.ok("anvil_mine", json!([0])), Value::Null);
}

#[test]
fn mining_can_be_switched() {
    let world = World::dev();
    assert_eq!(world.ok("hardhat_getAutomine", json!([])), true);
    world.ok("evm_setAutomine", json!([false]));
    let hash = world.ok("eth_sendTransaction", json!([{"from": world.address(0), "to": world.address(1)}]));
    assert_eq!(world.ok("eth_getTransactionReceipt", json!([hash])), Value::Null);
    world.ok("evm_mine", json!([]));
    assert_eq!(world.ok("eth_getTransactionReceipt", json!([hash]))["status"], "0x1");
    let raw = world.signed(2, 0, TxKind::Call(world.address(1)), Bytes::new());
    let hash = world.ok("eth_sendRawTransaction", json!([raw]));
    assert_eq!(world.ok("anvil_dropTransaction", json!([hash])), hash);
    assert_eq!(world.ok("anvil_dropTransaction", json!([hash])), Value::Null);
    assert_eq!(world.ok("eth_getTransactionByHash", json!([hash])), Value::Null);
    world.ok("evm_setIntervalMining", json!([2_000]));
    assert_eq!(world.ok("anvil_getIntervalMining", json!([])), 2);
    world.ok("anvil_setIntervalMining", json!([0]));
    assert_eq!(world.ok("anvil_getIntervalMining", json!([])), Value::Null);
    assert_eq!(world.ok("anvil_getAutomine", json!([])), false);
    world.ok("anvil_setAutomine", json!([true]));
    world.ok("evm_setIntervalMining", json!([0]));
    assert_eq!(world.ok("anvil_getAutomine", json!([])), true);
    world.ok("anvil_setAutomine", json!([false]));
    // Waiting without a miner ends with the hash, as EIP-7966 has it.
    let raw = world.signed(1, 0, TxKind::Call(world.address(2)), Bytes::new());
    let error = world.error("eth_sendRawTransactionSync", json!([raw, "0x1"]));
    assert_eq!(
        (&error["code"], error["data"].as_str().unwrap()),
        (&json!(4), keccak256(&raw).to_string().as_str())
    );
}

#[test]
fn state_is_set_at_once_and_stays_in_the_chain() {
    let world = World::dev();
    let there = Address::repeat_byte(0x77);
    world.ok("hardhat_setBalance", json!([there, "0xde0b6b3a7640000"]));
    world.ok("hardhat_setNonce", json!([there, "0x5"]));
    world.ok("hardhat_setCode", json!([there, Bytes::from_static(&COUNTER)]));
    assert_eq!(world.ok("hardhat_setStorageAt", json!([there, "0x0", format!("0x{:064x}", 9)])), true);
    let seen = |at: &str| {
        (
            world.ok("eth_getBalance", json!([there, at])),
            world.ok("eth_getTransactionCount", json!([there, at])),
            world.ok("eth_getStorageAt", json!([there, "0x0", at])),
        )
    };
    let expected = (json!("0xde0b6b3a7640000"), json!("0x5"), json!(format!("0x{:064x}", 9)));
    assert_eq!(seen("latest"), expected);
    assert_eq!(world.ok("eth_call", json!([{"to": there}])), format!("0x{:064x}", 10));
    world.ok("evm_mine", json!([]));
    assert_eq!(seen("0x1"), expected);
    assert_eq!(seen("0x0").0, "0x0");
    let interventions = world.ok("bletchley_getInterventions", json!(["0x1"]));
    assert_eq!(interventions.as_array().unwrap().len(), 4);
    for (method, params) in [
        ("anvil_setBalance", json!([there, "much"])),
        ("anvil_setCode", json!([there, "0x1"])),
        ("anvil_setNonce", json!([there, "0x1ffffffffffffffff"])),
        ("anvil_setStorageAt", json!([there, "0x0", "0x1"])),
        ("anvil_setBalance", json!([there, "0x1", "0x2"])),
    ] {
        assert_eq!(world.error(method, params)["code"], -32602, "{method}");
    }
    for method in
        ["anvil_setPrevRandao", "hardhat_setCoinbase", "hardhat_setNextBlockBaseFeePerGas", "anvil_loadState"]
    {
        let error = world.error(method, json!(["0x0"]));
        assert!(error["message"].as_str().unwrap().starts_with("not supported on this ledger"), "{error}");
    }
    assert_eq!(seen("latest"), expected);
}

#[test]
fn impersonation_lasts_until_it_is_stopped() {
    let world = World::dev();
    let counter = world.deploy_counter();
    world.ok("anvil_setBalance", json!([counter, "0xde0b6b3a7640000"]));
    let send = json!([{"from": counter, "to": world.address(2), "value": "0x1"}]);
    assert!(
        world.error("eth_sendTransaction", send.clone())["message"]
            .as_str()
            .unwrap()
            .starts_with("unknown account")
    );
    world.ok("hardhat_impersonateAccount", json!([counter]));
    let hash = world.ok("eth_sendTransaction", send.clone());
    let tx = world.ok("eth_getTransactionByHash", json!([hash]));
    assert_eq!((tx["from"].clone(), tx["nonce"].clone()), (json!(counter), json!("0x1")));
    let receipt = world.ok("eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["status"], &receipt["from"]), (&json!("0x1"), &json!(counter)));
    let balance: U256 =
        serde_json::from_value(world.ok("eth_getBalance", json!([world.address(2)]))).unwrap();
    assert_eq!(balance, U256::from(10).pow(U256::from(21)) + U256::ONE);
    world.ok("anvil_stopImpersonatingAccount", json!([counter]));
    world.error("eth_sendTransaction", send.clone());
    world.ok("anvil_autoImpersonateAccount", json!([true]));
    world.ok("eth_sendTransaction", send);
}
