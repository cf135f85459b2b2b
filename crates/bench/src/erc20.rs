//! Pre-signed ERC-20 transfers over batched JSON-RPC, the same load and the same genesis for every node.

use crate::process::Node;
use crate::rpc;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, address, hex, keccak256};
use anyhow::{Context, Result};
use bletchley_crypto::SecretKey;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Where the token stands in the genesis of every node measured.
pub(crate) const TOKEN: Address = address!("00000000000000000000000000000000000e2c20");
/// Chain id of every node measured.
pub(crate) const CHAIN_ID: u64 = 31337;
/// Transactions in one request.
pub(crate) const BATCH: usize = 100;
/// Connections that a load uses.
pub(crate) const LANES: usize = 4;
/// One sender in so many sends single transactions, whose finality is measured.
const PROBE_SENDERS_SHARE: usize = 10;
const MINED_TIMEOUT: Duration = Duration::from_secs(300);

/// A population: `holders` accounts with ether and tokens, the first `senders` of which send.
pub(crate) struct Population {
    keys: Vec<SecretKey>,
    /// Every holder.
    pub(crate) holders: Vec<Address>,
}

impl Population {
    pub(crate) fn new(holders: usize, senders: usize) -> Self {
        let keys: Vec<_> =
            (0..senders.min(holders)).map(|i| SecretKey::from_seed(&i.to_be_bytes())).collect();
        let rest = (keys.len()..holders).map(|i| Address::from_word(keccak256(i.to_be_bytes())));
        let holders = keys.iter().map(SecretKey::address).chain(rest).collect();
        Self { keys, holders }
    }

    /// Genesis allocation in geth's format: ether for each holder, and the token with a balance for each.
    pub(crate) fn alloc(&self) -> Result<Value> {
        let artifact: Value = serde_json::from_str(include_str!("../../../contracts/artifacts/Erc20.json"))?;
        let code = artifact.get("deployedBytecode").and_then(Value::as_str).context("no deployedBytecode")?;
        let storage: serde_json::Map<String, Value> = self
            .holders
            .iter()
            .map(|holder| {
                let slot = keccak256([holder.into_word().0, [0; 32]].concat());
                (
                    slot.to_string(),
                    json!("0x0000000000000000000000000000000000000000000000001000000000000000"),
                )
            })
            .collect();
        let mut alloc: serde_json::Map<String, Value> = self
            .holders
            .iter()
            .map(|h| (h.to_string().to_lowercase(), json!({ "balance": "0xd3c21bcecceda1000000" })))
            .collect();
        let code = if code.starts_with("0x") { code.to_owned() } else { format!("0x{code}") };
        alloc.insert(
            TOKEN.to_string().to_lowercase(),
            json!({ "balance": "0x0", "code": code, "storage": storage }),
        );
        Ok(Value::Object(alloc))
    }

    /// The next `transactions` transfers, dealt to [`LANES`] lanes.
    pub(crate) fn lanes(&self, transactions: usize, nonces: &mut [u64]) -> Vec<Vec<Vec<u8>>> {
        (0..LANES).map(|lane| self.sign(lane, transactions / LANES, nonces)).collect()
    }

    /// The next `transactions` transfers in the order in which they are sent, and others by senders who send nothing else.
    pub(crate) fn split_probes(
        &self,
        transactions: usize,
        nonces: &mut [u64],
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let probing = self.keys.len() - self.keys.len() / PROBE_SENDERS_SHARE;
        let mut signed = |sender: usize| {
            let nonce = nonces.get_mut(sender)?;
            let raw = transfer(self.keys.get(sender)?, *nonce, *self.holders.get(sender)?);
            *nonce += 1;
            Some(raw)
        };
        let load = (0..transactions).filter_map(|index| signed(index % probing)).collect();
        let probes = (probing..self.keys.len()).filter_map(&mut signed).collect();
        (load, probes)
    }

    /// A nonce for each sender, before the first transfer.
    pub(crate) fn nonces(&self) -> Vec<u64> {
        vec![0; self.keys.len()]
    }

    /// `per_lane` transfers for each lane, nonces continuing from `round`; senders belong to one lane each.
    fn sign(&self, lane: usize, per_lane: usize, nonces: &mut [u64]) -> Vec<Vec<u8>> {
        let own: Vec<usize> = (lane..self.keys.len()).step_by(LANES).collect();
        let mut draw = lane as u64 + 1;
        (0..per_lane)
            .filter_map(|i| {
                let sender = *own.get(i % own.len())?;
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let to = self.holders.get((draw >> 20) as usize % self.holders.len())?;
                let nonce = nonces.get_mut(sender)?;
                let raw = transfer(self.keys.get(sender)?, *nonce, *to);
                *nonce += 1;
                Some(raw)
            })
            .collect()
    }
}

fn transfer(key: &SecretKey, nonce: u64, to: Address) -> Vec<u8> {
    let mut input = hex!("a9059cbb").to_vec();
    input.extend_from_slice(to.into_word().as_slice());
    input.extend_from_slice(&U256::from(1).to_be_bytes::<32>());
    let tx = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 80_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(TOKEN),
        value: U256::ZERO,
        access_list: Default::default(),
        input: Bytes::from(input),
    };
    let signature = key.sign(tx.signature_hash());
    let (rs, v) = signature.0.split_at(64);
    let signature = Signature::from_bytes_and_parity(rs, v == [1]);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
}

/// What one load gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) transactions: u64,
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
}

impl Load {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.transactions as f64 / self.cpu_s
    }
}

/// Sends a warm-up and then `transactions` transfers; counts the node's CPU from the first byte to the last block.
pub(crate) fn load(node: &Node, population: &Population, transactions: usize) -> Result<Load> {
    let mut nonces = population.nonces();
    send(node, population, LANES * BATCH * 5, &mut nonces)?;
    send(node, population, transactions, &mut nonces)
}

fn send(node: &Node, population: &Population, transactions: usize, nonces: &mut [u64]) -> Result<Load> {
    let lanes = population.lanes(transactions, nonces);
    let transactions = lanes.iter().map(Vec::len).sum::<usize>() as u64;
    let lanes: Vec<Vec<String>> = lanes.iter().map(|lane| rpc::batches(lane, BATCH)).collect();
    let from = rpc::quantity(&rpc::call(&node.rpc, "eth_blockNumber", &json!([]))?)?;
    let (cpu, wall) = (node.cpu_s()?, Instant::now());
    rpc::post_lanes(&node.rpc, lanes)?;
    rpc::await_mined(&node.rpc, from, transactions, MINED_TIMEOUT)?;
    Ok(Load { transactions, cpu_s: node.cpu_s()? - cpu, wall_s: wall.elapsed().as_secs_f64() })
}
