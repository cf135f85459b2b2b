//! Proofs about smart-contract ledgers in files: what a stranger checks with the genesis document and nothing else.

use crate::genesis::NetworkGenesis;
use alloy_consensus::{ReceiptEnvelope, Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, Bytes};
use anyhow::{Context, Result, bail, ensure};
use bletchley_crypto::recover;
use bletchley_evm::{Included, InclusionProof, StateProof, header_link};
use bletchley_ledger::{FinalityProof, ProvedBlock, ValidatorSet};
use bletchley_primitives::{LedgerId, Signature};
use serde_json::{Value, json};
use std::path::Path;

/// Longest file with a proof.
const PROOF_FILE_SIZE_BYTES_MAX: u64 = 256 << 20;

/// What a proof shows, for people and for programs.
#[derive(Clone, Debug)]
pub struct Proved {
    /// One line for people.
    pub line: String,
    /// The same for programs.
    pub facts: Value,
    /// The block, and what makes it final.
    pub block: ProvedBlock,
}

/// Where trust in a ledger's certificates starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// The ledger.
    pub ledger: LedgerId,
    /// The validators of its first epoch.
    pub validators: ValidatorSet,
}

impl Start {
    /// The token ledger of the genesis document.
    #[must_use]
    pub fn of_tokens(genesis: &NetworkGenesis) -> Self {
        Self { ledger: genesis.tokens().ledger, validators: genesis.validator_set() }
    }

    /// The smart-contract ledger of the genesis document.
    #[must_use]
    pub fn of(genesis: &NetworkGenesis) -> Self {
        Self { ledger: genesis.evm.ledger_id(), validators: genesis.validator_set() }
    }
}

/// Reads a file that `bletchley prove` wrote.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Value> {
    let shown = path.display();
    let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {shown}"))?.len();
    if size_bytes > PROOF_FILE_SIZE_BYTES_MAX {
        bail!("{shown} has {size_bytes} bytes; a proof has at most {PROOF_FILE_SIZE_BYTES_MAX}");
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {shown}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {shown}"))
}

/// Checks an answer of `/v1/evm/proofs`, asking nobody: certificates from the first validators on, headers
/// by the certificates, the item by its header. Whatever else stands in the answer is not looked at.
///
/// # Errors
/// Which link does not hold.
pub fn check(start: &Start, answer: &Value) -> Result<Proved> {
    let bytes = |pointer: &str| -> Result<Bytes> {
        let text = answer.pointer(pointer).and_then(Value::as_str);
        text.with_context(|| format!("it has no {pointer}"))?
            .parse()
            .with_context(|| format!("its {pointer} is not hex"))
    };
    let finality = FinalityProof::decode(&bytes("/finality/encoded")?).context("its proof of finality")?;
    let block = finality.verify(start.ledger, &start.validators, header_link)?;
    let proof = bytes("/proof")?;
    let (line, facts) = match answer.get("kind").and_then(Value::as_str) {
        Some("transaction") => transaction(&proof, &block)?,
        Some("receipt") => receipt(&proof, &block)?,
        Some("state") => state(&proof, &block)?,
        _ => bail!("its kind is none of transaction, receipt and state"),
    };
    Ok(Proved { line, facts, block })
}

fn included(proof: &[u8], list: Included, block: &ProvedBlock) -> Result<InclusionProof> {
    let proof = InclusionProof::decode(proof).context("its proof of inclusion")?;
    ensure!(proof.list == list, "it is of another kind than it says");
    proof.verify(&block.header)?;
    Ok(proof)
}

fn transaction(proof: &[u8], block: &ProvedBlock) -> Result<(String, Value)> {
    let proof = included(proof, Included::Transaction, block)?;
    let hash: B256 = proof.transaction().unwrap_or_default();
    let tx = TxEnvelope::decode_2718(&mut &proof.item[..]).context("the transaction")?;
    let signature = tx.signature();
    let mut bytes = [0u8; Signature::SIZE_BYTES];
    let (rs, v) = bytes.split_at_mut(64);
    let (r, s) = rs.split_at_mut(32);
    r.copy_from_slice(&signature.r().to_be_bytes::<32>());
    s.copy_from_slice(&signature.s().to_be_bytes::<32>());
    v.copy_from_slice(&[u8::from(signature.v())]);
    // A development ledger may hold transactions that nobody signed.
    let from = recover(tx.signature_hash(), &Signature(bytes)).ok();
    let sender = from.map_or_else(|| "nobody's signature".to_owned(), |from| from.to_string());
    let to = tx.to().map_or_else(|| "a new contract".to_owned(), |to| to.to_string());
    let line = format!("transaction {hash} from {sender} to {to}, position {} of its block", proof.index);
    let facts =
        json!({ "transaction": hash, "from": from, "to": tx.to(), "index": proof.index, "raw": proof.item });
    Ok((line, facts))
}

fn receipt(proof: &[u8], block: &ProvedBlock) -> Result<(String, Value)> {
    let proof = included(proof, Included::Receipt, block)?;
    let receipt = ReceiptEnvelope::decode_2718(&mut &proof.item[..]).context("the receipt")?;
    let success = receipt.status();
    let outcome = if success { "succeeded" } else { "was reverted" };
    let logs: Vec<Value> = receipt
        .logs()
        .iter()
        .map(|log| json!({ "address": log.address, "topics": log.topics(), "data": log.data.data }))
        .collect();
    let line = format!(
        "the transaction at position {} of its block {outcome} and logged {} times",
        proof.index,
        logs.len()
    );
    Ok((line, json!({ "index": proof.index, "success": success, "logs": logs })))
}

fn state(proof: &[u8], block: &ProvedBlock) -> Result<(String, Value)> {
    let proof = StateProof::decode(proof).context("its proof of state")?;
    proof.verify(block.link.state)?;
    let slots: Vec<Value> =
        proof.slots.iter().map(|slot| json!({ "slot": slot.slot, "value": slot.value })).collect();
    let line = format!(
        "account {} has {} wei and nonce {}, and {} slots as shown",
        proof.address,
        proof.balance,
        proof.nonce,
        slots.len()
    );
    let facts = json!({
        "address": proof.address, "balance": proof.balance, "nonce": proof.nonce, "code_hash": proof.code_hash,
        "slots": slots,
    });
    Ok((line, facts))
}
