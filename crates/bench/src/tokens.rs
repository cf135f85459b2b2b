//! Transfers of unique tokens on the UTXO ledger, over batched REST.

#![allow(clippy::indexing_slicing)] // indices are taken modulo the length of what they index

use crate::erc20::Load;
use crate::process::Node;
use anyhow::{Context, Result, bail};
use bletchley_crypto::SecretKey;
use bletchley_primitives::{LedgerId, TxId};
use bletchley_token::{Lock, OutputRef, SignedTx, TokenId, TokenRecord, TxBuilder};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const BATCH: usize = 200;
const LANES: usize = 4;
const OWNERS: usize = 1_000;
/// Tokens that one transaction issues.
const ISSUED_AT_ONCE: usize = 50;
const FINAL_TIMEOUT: Duration = Duration::from_secs(300);

/// Issues a token for each transfer, then transfers each one once and counts until all are final.
pub(crate) fn load(node: &Node, transactions: usize) -> Result<Load> {
    let network = get(node, "/v1/network")?;
    let ledger = network.pointer("/ledgers/tokens/id").and_then(Value::as_str).context("no token ledger")?;
    let ledger = LedgerId(ledger.parse()?);
    let maker = SecretKey::from_seed(b"bench maker");
    let owners: Vec<SecretKey> =
        (0..OWNERS).map(|i| SecretKey::from_seed(format!("owner {i}").as_bytes())).collect();
    let (issues, tokens) = issue(ledger, &maker, &owners, transactions)?;
    let ids: Vec<TxId> = issues.iter().map(|tx| tx.id).collect();
    post(node, vec![bodies(&issues)])?;
    await_final(node, &ids)?;
    let transfers: Vec<SignedTx> =
        tokens.iter().enumerate().map(|(i, token)| token.transfer(ledger, &owners, i)).collect();
    let lanes: Vec<Vec<String>> = transfers.chunks(transactions.div_ceil(LANES)).map(bodies).collect();
    let last: Vec<TxId> = transfers.chunks(BATCH).filter_map(|chunk| chunk.last()).map(|tx| tx.id).collect();
    let (cpu, wall) = (node.cpu_s()?, Instant::now());
    post(node, lanes)?;
    await_final(node, &last)?;
    Ok(Load {
        transactions: transfers.len() as u64,
        cpu_s: node.cpu_s()? - cpu,
        wall_s: wall.elapsed().as_secs_f64(),
    })
}

struct Held {
    token: TokenId,
    output: OutputRef,
    owner: usize,
}

impl Held {
    fn transfer(&self, ledger: LedgerId, owners: &[SecretKey], draw: usize) -> SignedTx {
        let next = &owners[(self.owner * 7 + draw) % owners.len()];
        TxBuilder::transfer(ledger)
            .spend(self.output)
            .token(self.token, Lock::key(next.address()))
            .sign(&[&owners[self.owner]])
    }
}

fn issue(
    ledger: LedgerId,
    maker: &SecretKey,
    owners: &[SecretKey],
    count: usize,
) -> Result<(Vec<SignedTx>, Vec<Held>)> {
    let (mut issues, mut held) = (Vec::new(), Vec::new());
    let serials: Vec<usize> = (0..count).collect();
    for chunk in serials.chunks(ISSUED_AT_ONCE) {
        let mut tokens = Vec::new();
        for serial in chunk {
            let text = format!("{serial:08}");
            let record = TokenRecord::thing(maker.address(), "screw", &text)?;
            tokens.push((record, text, Lock::key(owners[serial % owners.len()].address())));
        }
        let ids: Vec<TokenId> = tokens.iter().map(|(record, ..)| record.id()).collect();
        let issue = TxBuilder::issue(ledger, maker.address(), tokens).sign(&[maker]);
        for (position, (token, serial)) in ids.into_iter().zip(chunk).enumerate() {
            held.push(Held {
                token,
                output: issue.output(u32::try_from(position)?),
                owner: serial % owners.len(),
            });
        }
        issues.push(issue);
    }
    Ok((issues, held))
}

fn bodies(transactions: &[SignedTx]) -> Vec<String> {
    let raw = |tx: &SignedTx| alloy_primitives::hex::encode_prefixed(&tx.bytes);
    transactions
        .chunks(BATCH)
        .map(|chunk| json!({ "raw": chunk.iter().map(raw).collect::<Vec<_>>() }).to_string())
        .collect()
}

fn post(node: &Node, lanes: Vec<Vec<String>>) -> Result<()> {
    let url = format!("{}/v1/tokens/transactions", node.rpc);
    crate::rpc::post_lanes(&url, lanes)
}

fn await_final(node: &Node, ids: &[TxId]) -> Result<()> {
    let started = Instant::now();
    for id in ids {
        loop {
            let status = get(node, &format!("/v1/tokens/transactions/{id}"))?;
            if status.get("status").and_then(Value::as_str) == Some("final") {
                break;
            }
            if started.elapsed() > FINAL_TIMEOUT {
                bail!("token transaction {id} is not final after {FINAL_TIMEOUT:?}: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn get(node: &Node, path: &str) -> Result<Value> {
    Ok(ureq::get(format!("{}{path}", node.rpc)).call()?.body_mut().read_json()?)
}
