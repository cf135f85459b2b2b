//! `/v1/tokens/transactions`: submitting to the token ledger, and what became of it.

use super::answer::{Answer, Body, Refusal, read, run};
use super::{RestContext, names};
use crate::limits::SUBMITS_RUNNING_MAX;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_primitives::Bytes;
use bletchley_token::limits::SUBMIT_BATCH_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

static SUBMITS: Semaphore = Semaphore::const_new(SUBMITS_RUNNING_MAX);

/// Signed transactions, canonical bytes in hex, in the order in which they are to be taken in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    raw: Vec<Bytes>,
}

pub(super) async fn submit(State(context): State<RestContext>, Body(submission): Body<Submission>) -> Answer {
    let count = submission.raw.len();
    if count > SUBMIT_BATCH_MAX {
        let why =
            format!("{count} transactions at once; send at most {SUBMIT_BATCH_MAX}, then the next ones");
        return Err(Refusal::bad("batch", why));
    }
    let results = run(&SUBMITS, move || Ok(context.tokens.submit_batch(&submission.raw))).await?;
    let list: Vec<Value> = results
        .into_iter()
        .map(|result| match result {
            Ok(id) => json!({ "id": id }),
            Err(error) => json!({ "error": { "code": error.code(), "message": error.to_string() } }),
        })
        .collect();
    Ok(Json(json!({ "results": list })))
}

pub(super) async fn show(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::transaction(&id)?;
    match read(move || context.tokens.transaction(id).map_err(Refusal::internal)).await? {
        Some(status) => Ok(Json(json!(status))),
        None => Err(Refusal::not_found(format!("no token transaction {id} is known here"))),
    }
}
