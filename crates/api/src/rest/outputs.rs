//! `/v1/tokens/owners/{owner}` and `/v1/tokens/outputs/{output}`: who holds what, and proofs of it.

use super::answer::{Answer, Asked, Refusal, read};
use super::{RestContext, finality, names};
use crate::limits::PAGE_DEFAULT;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_primitives::Bytes;
use bletchley_token::{Page, Unspent};
use serde::Deserialize;
use serde_json::{Value, json};

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    after: Option<u64>,
    limit: Option<usize>,
    /// Outputs that the address shares with others, instead of those that are its own.
    #[serde(default)]
    shared: bool,
}

/// An output with its canonical bytes, so that a client can spend it without knowing the JSON of every lock.
pub(super) fn shown(unspent: &Unspent) -> Value {
    json!({
        "reference": unspent.reference, "id": unspent.reference.to_string(), "index": unspent.index,
        "output": unspent.output, "encoded": Bytes::from(alloy_rlp::encode(&unspent.output)),
    })
}

pub(super) async fn of_owner(
    State(context): State<RestContext>,
    Path(owner): Path<String>,
    Asked(paging): Asked<Paging>,
) -> Answer {
    let whose = names::owner(&context, &owner)?;
    let limit = paging.limit.unwrap_or(PAGE_DEFAULT);
    let Page { items, next } = match (paging.shared, whose.address) {
        (true, Some(address)) => context.tokens.shared_outputs_of(address, paging.after, limit),
        (true, None) => return Err(Refusal::bad("owner", "shared outputs are listed by address")),
        (false, _) => context.tokens.outputs_of(whose.owner, paging.after, limit),
    };
    let items: Vec<Value> = items.iter().map(shown).collect();
    Ok(Json(json!({ "owner": whose.owner, "items": items, "next": next })))
}

pub(super) async fn balances(State(context): State<RestContext>, Path(owner): Path<String>) -> Answer {
    let whose = names::owner(&context, &owner)?;
    let list: Vec<Value> = context
        .tokens
        .balances(whose.owner)
        .into_iter()
        .map(|balance| {
            let definition = context.tokens.asset(balance.asset).map(|view| view.definition);
            let (peg, decimals) = definition.map(|asset| (asset.peg, asset.decimals)).unzip();
            json!({ "asset": balance.asset, "amount": balance.amount.to_string(), "peg": peg, "decimals": decimals })
        })
        .collect();
    Ok(Json(json!({ "owner": whose.owner, "balances": list })))
}

/// Unspent outputs that together pay an amount and that nothing waiting spends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    asset: String,
    amount: String,
}

pub(super) async fn select(
    State(context): State<RestContext>,
    Path(owner): Path<String>,
    Asked(wanted): Asked<Selection>,
) -> Answer {
    let (whose, asset) = (names::owner(&context, &owner)?, names::asset(&wanted.asset)?);
    let amount: u128 = wanted.amount.parse().map_err(|_| {
        Refusal::bad("amount", "an amount is a whole number of the asset's smallest units, up to 2^128 - 1")
    })?;
    let chosen = context.tokens.select(whose.owner, asset, amount).ok_or_else(|| {
        let has = context.tokens.balance(whose.owner, asset);
        Refusal::bad(
            "short",
            format!(
                "{amount} is more than is free to spend: {has} in all, part of which may wait for a block"
            ),
        )
    })?;
    let items: Vec<Value> = chosen.iter().map(shown).collect();
    Ok(Json(json!({ "owner": whose.owner, "asset": asset, "items": items })))
}

pub(super) async fn show(State(context): State<RestContext>, Path(output): Path<String>) -> Answer {
    let reference = names::output(&output)?;
    let waiting = context.tokens.waiting_spender(&reference);
    match context.tokens.unspent(&reference) {
        Some(unspent) => Ok(Json(json!({ "output": shown(&unspent), "waiting_spender": waiting }))),
        None => Err(Refusal::not_found(format!(
            "output {reference} is not unspent: it was never made, or it is spent; /v1/tokens/outputs/{reference}/proof tells which"
        ))),
    }
}

/// Everything that checks an output offline: the proof, the header that it leads to, and what makes that
/// header's block final.
pub(super) async fn proof(State(context): State<RestContext>, Path(output): Path<String>) -> Answer {
    let reference = names::output(&output)?;
    let tokens = context.tokens.clone();
    let found = read(move || {
        let Some((height, proof)) = tokens.prove(&reference).map_err(Refusal::internal)? else {
            return Ok(None);
        };
        let header = tokens.header(height).map_err(Refusal::internal)?;
        Ok(header.map(|header| (height, proof, header)))
    });
    let (height, proof, header) = found
        .await?
        .ok_or_else(|| Refusal::not_found(format!("output {reference} was never made on this ledger")))?;
    let finality = finality::of_block(&context.finality.tokens, height).await?;
    Ok(Json(json!({
        "output": reference.to_string(), "ledger": context.tokens.ledger(), "height": height, "block": header.hash(),
        "spent_by": proof.spent_by, "value": proof.output, "proof": Bytes::from(proof.encode_bytes()),
        "header": header.encode_bytes(), "state_root": header.state_root,
        "finality": finality::shown(&finality),
    })))
}
