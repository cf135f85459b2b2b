//! What a delegated call adds to a transaction: the same contract and work, with a cryptlet and without.

use crate::erc20::CHAIN_ID;
use crate::process::Node;
use crate::rpc;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex, keccak256};
use anyhow::{Context, Result, bail};
use bletchley_crypto::SecretKey;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Standard development accounts that send, so that the fabric's share for one sender does not bound the load.
const TRANSACTIONS: usize = 2_000;
/// Rounds, plain and delegated in turn.
const ROUNDS: u32 = 3;
const BATCH: usize = 50;
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const MINED_TIMEOUT: Duration = Duration::from_secs(120);
/// 2026-11-22, a Sunday.
const DATE: u32 = 20_261_122;

/// CPU microseconds of the node for one transaction: plain, delegated.
pub(crate) fn measure(node: &Node) -> Result<(f64, f64)> {
    let keys = bletchley_node::accounts::dev_keys();
    let deployer = keys.first().context("no development accounts")?;
    let contract = deploy(node, deployer)?;
    let mut nonces: Vec<u64> =
        keys.iter().map(|key| u64::from(key.address() == deployer.address())).collect();
    await_cryptlet(node, deployer, contract)?;
    rpc::call(&node.rpc, "evm_setAutomine", &json!([false]))?;
    rpc::call(&node.rpc, "evm_setIntervalMining", &json!([200]))?;
    node.await_idle()?;
    load(node, &keys, contract, "countPlain(uint32)", &mut nonces, BATCH)?;
    load(node, &keys, contract, "countDelegated(uint32)", &mut nonces, BATCH)?;
    let (mut plain, mut delegated) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        plain += load(node, &keys, contract, "countPlain(uint32)", &mut nonces, TRANSACTIONS)?;
        delegated += load(node, &keys, contract, "countDelegated(uint32)", &mut nonces, TRANSACTIONS)?;
    }
    Ok((plain / f64::from(ROUNDS), delegated / f64::from(ROUNDS)))
}

fn load(
    node: &Node,
    keys: &[SecretKey],
    to: Address,
    method: &str,
    nonces: &mut [u64],
    count: usize,
) -> Result<f64> {
    let input = input(method);
    let mut raw = Vec::with_capacity(count);
    for index in 0..count {
        let sender = index % keys.len();
        let (Some(key), Some(nonce)) = (keys.get(sender), nonces.get_mut(sender)) else { break };
        raw.push(sign(key, *nonce, TxKind::Call(to), input.clone()));
        *nonce += 1;
    }
    let from = rpc::quantity(&rpc::call(&node.rpc, "eth_blockNumber", &json!([]))?)?;
    let bodies = rpc::batches(&raw, BATCH);
    let before = node.cpu_s()?;
    rpc::post_lanes(&node.rpc, vec![bodies])?;
    let head = rpc::await_mined(&node.rpc, from, count as u64, MINED_TIMEOUT)?;
    let spent = node.cpu_s()? - before;
    let last = rpc::call(&node.rpc, "eth_getBlockReceipts", &json!([format!("{head:#x}")]))?;
    if last.as_array().into_iter().flatten().any(|receipt| receipt.get("status") != Some(&json!("0x1"))) {
        bail!("a transaction of the load was reverted");
    }
    Ok(spent * 1e6 / count as f64)
}

fn deploy(node: &Node, key: &SecretKey) -> Result<Address> {
    let artifact: Value = serde_json::from_str(include_str!("../../../contracts/artifacts/Delegating.json"))?;
    let code = artifact.get("bytecode").and_then(Value::as_str).context("no bytecode")?;
    let raw = sign(key, 0, TxKind::Create, hex::decode(code)?.into());
    let hash = rpc::call(&node.rpc, "eth_sendRawTransaction", &json!([hex::encode_prefixed(raw)]))?;
    let receipt = rpc::call(&node.rpc, "eth_getTransactionReceipt", &json!([hash]))?;
    Ok(receipt.get("contractAddress").and_then(Value::as_str).context("no contract address")?.parse()?)
}

/// Cryptlets are compiled behind the ready line of a new folder; the load starts when one answers.
fn await_cryptlet(node: &Node, key: &SecretKey, to: Address) -> Result<()> {
    let started = Instant::now();
    let request =
        json!([{ "from": key.address(), "to": to, "input": input("countDelegated(uint32)") }, "latest"]);
    while let Err(error) = rpc::call(&node.rpc, "eth_call", &request) {
        if started.elapsed() > READY_TIMEOUT {
            bail!("the cryptlet does not answer: {error}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn input(method: &str) -> Bytes {
    let mut input = keccak256(method).0.get(..4).unwrap_or_default().to_vec();
    input.extend_from_slice(&U256::from(DATE).to_be_bytes::<32>());
    input.into()
}

fn sign(key: &SecretKey, nonce: u64, to: TxKind, input: Bytes) -> Vec<u8> {
    let tx = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 2_000_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        value: U256::ZERO,
        access_list: Default::default(),
        input,
    };
    let signature = key.sign(tx.signature_hash());
    let (rs, v) = signature.0.split_at(64);
    TxEnvelope::from(tx.into_signed(Signature::from_bytes_and_parity(rs, v == [1]))).encoded_2718()
}
