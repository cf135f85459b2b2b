//! `/v1/evm/proofs`: transactions, receipts and state with everything that an outsider needs to believe them; and
//! certificates by height.

use super::RestContext;
use super::answer::{Answer, Asked, Refusal, read};
use crate::limits::{PROOF_SLOTS_MAX, REST_CERTIFICATE_ASKS_MAX, REST_CERTIFICATE_WAIT_MS};
use axum::Json;
use axum::extract::{Path, State};
use bletchley_evm::{BlockRef, Included, StateProof, header_link};
use bletchley_ledger::{FinalityProof, FinalityReader};
use bletchley_primitives::{Address, B256, Bytes, Height, U256};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Finds the certificates of a ledger of this node by its name.
pub type FindFinality = dyn Fn(&str) -> Option<Arc<dyn FinalityReader>> + Send + Sync;

/// Where the certificates of both ledgers are.
#[derive(Clone)]
pub struct Finalities {
    /// Of the token ledger.
    pub tokens: Arc<dyn FinalityReader>,
    /// Of the EVM ledger.
    pub evm: Arc<dyn FinalityReader>,
    /// Of any ledger of this node, by its name.
    pub of: Arc<FindFinality>,
}

/// What shows that the block at `height` is final. Members gather signatures behind a block, so that its certificate may
/// come a moment after it: this waits that long.
pub(super) async fn of_block(
    finality: &Arc<dyn FinalityReader>,
    height: Height,
) -> Result<FinalityProof, Refusal> {
    for _ in 0..REST_CERTIFICATE_ASKS_MAX {
        let reader = finality.clone();
        if let Some(proof) = read(move || reader.prove(height).map_err(Refusal::internal)).await? {
            return Ok(proof);
        }
        tokio::time::sleep(Duration::from_millis(REST_CERTIFICATE_WAIT_MS)).await;
    }
    Err(Refusal::unavailable(
        "not-certified",
        format!(
            "block {height} is final here, but too few validators have signed its certificate yet; ask again when more of them are connected"
        ),
    ))
}

/// The parts of a proof of finality, for programs that check it themselves (a contract on another chain, say).
pub(super) fn shown(proof: &FinalityProof) -> Value {
    let certificate = |certificate: &bletchley_ledger::Certificate| {
        let checkpoint = &certificate.checkpoint;
        let signatures: Vec<Bytes> =
            certificate.signatures.iter().map(|signature| Bytes::copy_from_slice(&signature.0)).collect();
        json!({
            "checkpoint": {
                "ledger": checkpoint.ledger, "height": checkpoint.height, "block": checkpoint.block,
                "state": checkpoint.state, "validators": checkpoint.validators, "next": checkpoint.next,
            },
            "signatures": signatures,
        })
    };
    let changes: Vec<Value> = proof
        .changes
        .iter()
        .map(|change| json!({ "certificate": certificate(&change.certificate), "next": change.next.members() }))
        .collect();
    json!({
        "changes": changes, "headers": proof.headers, "certificate": certificate(&proof.certificate),
        "encoded": proof.encode(),
    })
}

pub(super) async fn transaction(context: State<RestContext>, hash: Path<String>) -> Answer {
    inclusion(context, hash, Included::Transaction).await
}

pub(super) async fn receipt(context: State<RestContext>, hash: Path<String>) -> Answer {
    inclusion(context, hash, Included::Receipt).await
}

async fn inclusion(State(context): State<RestContext>, Path(text): Path<String>, list: Included) -> Answer {
    let hash: B256 = text
        .parse()
        .map_err(|_| Refusal::bad("hash", "a transaction is named by its hash: 0x and 64 hex digits"))?;
    let evm = context.evm.clone();
    let found = read(move || evm.prove_inclusion(hash, list).map_err(Refusal::internal)).await?;
    let Some((height, proof)) = found else {
        return Err(Refusal::not_found(format!("transaction {hash} is in no block of this ledger")));
    };
    let kind = match list {
        Included::Transaction => "transaction",
        Included::Receipt => "receipt",
    };
    let detail =
        json!({ "transaction": hash, "index": proof.index, "item": proof.item, "nodes": proof.nodes });
    answer(&context, kind, height, proof.encode(), detail).await
}

/// Which slots.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slots {
    /// Slots, with commas between them.
    slots: Option<String>,
}

pub(super) async fn state(
    State(context): State<RestContext>,
    Path(text): Path<String>,
    Asked(asked): Asked<Slots>,
) -> Answer {
    let address: Address = text
        .parse()
        .map_err(|_| Refusal::bad("address", "an account is named by its address: 0x and 40 hex digits"))?;
    let slots = asked.slots.unwrap_or_default();
    let slots: Vec<U256> = slots
        .split(',')
        .filter(|slot| !slot.is_empty())
        .map(|slot| slot.parse().map_err(|_| Refusal::bad("slots", format!("{slot:.80} is no slot"))))
        .collect::<Result<_, _>>()?;
    if slots.len() > PROOF_SLOTS_MAX {
        return Err(Refusal::bad("slots", format!("at most {PROOF_SLOTS_MAX} slots are proved at once")));
    }
    let evm = context.evm.clone();
    let (height, proof) = read(move || {
        let height = evm.head().height;
        let proof = evm.proof(address, &slots, BlockRef::Height(height)).map_err(Refusal::internal)?;
        Ok((height, StateProof::from(proof)))
    })
    .await?;
    let slots: Vec<Value> = proof
        .slots
        .iter()
        .map(|slot| json!({ "slot": slot.slot, "value": slot.value, "nodes": slot.nodes }))
        .collect();
    let detail = json!({
        "address": address, "nonce": proof.nonce, "balance": proof.balance, "code_hash": proof.code_hash,
        "storage_root": proof.storage_root, "nodes": proof.nodes, "slots": slots,
    });
    answer(&context, "state", height, proof.encode(), detail).await
}

async fn answer(context: &RestContext, kind: &str, height: Height, proof: Bytes, detail: Value) -> Answer {
    let finality = of_block(&context.finality.evm, height).await?;
    let header = finality.headers.first().cloned().unwrap_or_default();
    let block = header_link(&header).map_err(Refusal::internal)?.hash;
    Ok(Json(json!({
        "kind": kind, "ledger": context.evm.id(), "height": height, "block": block, "header": header,
        "proof": proof, "detail": detail, "finality": shown(&finality),
    })))
}

pub(super) async fn certificate(
    State(context): State<RestContext>,
    Path((ledger, height)): Path<(String, u64)>,
) -> Answer {
    let Some(reader) = (context.finality.of)(&ledger) else {
        let shown: String = ledger.chars().take(64).collect();
        return Err(Refusal::not_found(format!(
            "this node has no ledger {shown:?}; /status lists those that it has"
        )));
    };
    let height = Height(height);
    let found = read(move || reader.prove(height).map_err(Refusal::internal)).await?;
    let Some(proof) = found else {
        return Err(Refusal::not_found(format!(
            "no certificate makes block {height} final for outsiders: there is no such block, or too few validators have signed yet"
        )));
    };
    Ok(Json(json!({ "ledger": ledger, "height": height, "finality": shown(&proof) })))
}
