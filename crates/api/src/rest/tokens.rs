//! `/v1/tokens`: the token ledger.

use super::RestContext;
use super::answer::{Answer, Refusal};
use axum::Json;
use axum::extract::{Path, State};
use bletchley_primitives::{B256, Bytes, TxId};
use serde::Deserialize;
use serde_json::{Value, json};

/// Signed transactions, canonical bytes in hex, in the order in which they are to be taken in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    raw: Vec<Bytes>,
}

pub(super) async fn submit(State(context): State<RestContext>, Json(submission): Json<Submission>) -> Answer {
    let results = tokio::task::spawn_blocking(move || context.tokens.submit_batch(&submission.raw)).await;
    let results = results
        .map_err(|_| Refusal::internal("taking in the transactions did not finish; send them again"))?;
    let list: Vec<Value> = results
        .into_iter()
        .map(|result| match result {
            Ok(id) => json!({ "id": id }),
            Err(error) => json!({ "error": { "code": error.code(), "message": error.to_string() } }),
        })
        .collect();
    Ok(Json(json!({ "results": list })))
}

pub(super) async fn transaction(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id: B256 = id
        .parse()
        .map_err(|_| Refusal::bad("id", format!("{id} is not a transaction id: 0x and 64 hex digits")))?;
    match context.tokens.transaction(TxId(id)) {
        Ok(Some(status)) => Ok(Json(json!(status))),
        Ok(None) => Err(Refusal::not_found(format!("no token transaction {id} is known here"))),
        Err(error) => Err(Refusal::internal(error)),
    }
}
