//! `/v1/consortium`: members, what they decided, what they are deciding; and entries that would be passed over.

use super::RestContext;
use super::answer::{Answer, Refusal, read};
use axum::Json;
use axum::extract::State;
use bletchley_primitives::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) async fn show(State(context): State<RestContext>) -> Answer {
    let Some(consortium) = context.consortium else {
        return Err(Refusal::not_found("this node follows no consortium"));
    };
    read(move || Ok(Json(json!(consortium.report())))).await
}

/// What is said about transactions whose entries the consortium would pass over, by their place; each is taken out, so
/// that it does not enter a block only to change nothing.
pub(super) fn refuse(context: &RestContext, raws: &mut [Bytes]) -> BTreeMap<usize, Value> {
    let Some(consortium) = &context.consortium else { return BTreeMap::new() };
    let mut refused = BTreeMap::new();
    for (place, raw) in raws.iter_mut().enumerate() {
        if let Err(refusal) = consortium.admits_transaction(raw) {
            let error =
                json!({ "code": format!("consortium-{}", refusal.code()), "message": refusal.to_string() });
            refused.insert(place, json!({ "error": error }));
            *raw = Bytes::new();
        }
    }
    refused
}
