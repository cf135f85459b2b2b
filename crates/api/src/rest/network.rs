//! `/v1/network`: which network this is, and where its ledgers stand.

use super::RestContext;
use super::answer::Answer;
use axum::Json;
use axum::extract::State;
use bletchley_ledger::{Head, Machine};
use serde_json::{Value, json};

pub(super) async fn show(State(context): State<RestContext>) -> Answer {
    let mut network = context.network.clone();
    let ledgers = json!({
        "tokens": ledger(context.tokens.ledger().to_string(), context.tokens.head()),
        "evm": ledger(context.evm.id().to_string(), context.evm.head()),
    });
    if let Some(object) = network.as_object_mut() {
        object.insert("ledgers".to_owned(), ledgers);
    }
    Ok(Json(network))
}

fn ledger(id: String, head: Head) -> Value {
    json!({ "id": id, "height": head.height, "head": head.hash, "stateRoot": head.state_root, "timeMs": head.time_ms })
}
