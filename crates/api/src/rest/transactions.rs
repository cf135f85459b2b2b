//! `/v1/tokens/transactions`: submitting to the token ledger, and what became of it.

use super::answer::{Answer, Body, Refusal, read, run};
use super::{RestContext, consortium, names};
use crate::limits::SUBMITS_RUNNING_MAX;
use crate::operation::Asker;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use bletchley_primitives::{B256, Bytes, LedgerId};
use bletchley_token::Transaction;
use bletchley_token::limits::SUBMIT_BATCH_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Name of the token ledger, for logs.
const TOKENS: &str = "tokens";
static SUBMITS: Semaphore = Semaphore::const_new(SUBMITS_RUNNING_MAX);

/// Signed transactions, canonical bytes in hex, in the order in which they are to be taken in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    raw: Vec<Bytes>,
}

pub(super) async fn submit(
    State(context): State<RestContext>,
    asker: Option<Extension<Asker>>,
    Body(mut submission): Body<Submission>,
) -> Answer {
    let count = submission.raw.len();
    if count > SUBMIT_BATCH_MAX {
        let why =
            format!("{count} transactions at once; send at most {SUBMIT_BATCH_MAX}, then the next ones");
        return Err(Refusal::bad("batch", why));
    }
    let asker = asker.map(|Extension(asker)| asker);
    let warning = asker.as_ref().and_then(|asker| asker.warning.clone());
    let asker = asker.filter(|asker| asker.trace.is_followed());
    let (results, refused) = run(&SUBMITS, move || {
        let refused = consortium::refuse(&context, &mut submission.raw);
        let follow = asker.as_ref().map(|asker| follow(asker, context.tokens.ledger(), &submission.raw));
        let results = context.tokens.submit_batch(&submission.raw);
        if let (Some(ids), Some(asker)) = (follow, asker) {
            let refused = ids.iter().zip(&results).filter(|(_, result)| result.is_err());
            refused.filter_map(|(id, _)| *id).for_each(|id| asker.followed.forget(id));
        }
        Ok((results, refused))
    })
    .await?;
    let list: Vec<Value> = results
        .into_iter()
        .enumerate()
        .map(|(place, result)| match result {
            _ if refused.contains_key(&place) => refused.get(&place).cloned().unwrap_or_default(),
            Ok(id) => json!({ "id": id }),
            Err(error) => json!({ "error": { "code": error.code(), "message": error.to_string() } }),
        })
        .collect();
    let mut answer = json!({ "results": list });
    if let (Some(warning), Some(object)) = (warning, answer.as_object_mut()) {
        object.insert("warning".to_owned(), json!(&*warning));
    }
    Ok(Json(answer))
}

/// Follows what decodes; the rest is refused in a moment.
fn follow(asker: &Asker, ledger: LedgerId, raws: &[Bytes]) -> Vec<Option<B256>> {
    let ids: Vec<Option<B256>> =
        raws.iter().map(|raw| Some(Transaction::decode_bytes(ledger, raw).ok()?.0.0)).collect();
    ids.iter().flatten().for_each(|id| asker.followed.follow(TOKENS, *id, asker.trace.id));
    ids
}

pub(super) async fn show(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::transaction(&id)?;
    match read(move || context.tokens.transaction(id).map_err(Refusal::internal)).await? {
        Some(status) => Ok(Json(json!(status))),
        None => Err(Refusal::not_found(format!("no token transaction {id} is known here"))),
    }
}
