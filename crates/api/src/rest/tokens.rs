//! `/v1/tokens/{id}`: one token; its parts, its builds, and whether given properties are its own.

use super::answer::{Answer, Asked, Body, Refusal, read, run};
use super::outputs::shown;
use super::{RestContext, names};
use crate::limits::REST_VERIFICATIONS_RUNNING_MAX;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_primitives::Bytes;
use bletchley_token::{Properties, TokenId, TokenMachine, TokenView};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::Semaphore;

static VERIFICATIONS: Semaphore = Semaphore::const_new(REST_VERIFICATIONS_RUNNING_MAX);

/// No question behind the address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What a token is checked against; used for the check and kept nowhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    properties: BTreeMap<String, String>,
}

pub(super) fn existing(tokens: &TokenMachine, id: TokenId) -> Result<TokenView, Refusal> {
    tokens.token(id).ok_or_else(|| Refusal::not_found(format!("no token {id} was issued on this ledger")))
}

pub(super) async fn show(
    State(context): State<RestContext>,
    Path(id): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let view = existing(&context.tokens, names::token(&id)?)?;
    let encoded = Bytes::from(alloy_rlp::encode(&view.info));
    let output = view.output.as_ref().map(shown);
    let mut answer = json!(view);
    if let Some(object) = answer.as_object_mut() {
        object.insert("info_encoded".to_owned(), json!(encoded));
        object.insert("output".to_owned(), json!(output));
        object.insert("property_names".to_owned(), json!(view.info.property_names()));
    }
    Ok(Json(answer))
}

pub(super) async fn parts(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::token(&id)?;
    existing(&context.tokens, id)?;
    let tokens = context.tokens.clone();
    let parts = read(move || tokens.parts(id).map_err(Refusal::internal)).await?;
    let parts = parts.ok_or_else(|| Refusal::bad("no-composite", format!("token {id} has no parts")))?;
    let list: Vec<Value> = parts
        .iter()
        .map(|part| {
            let label = context.tokens.token(*part).map(|view| view.info.label().to_owned());
            json!({ "token": part, "label": label })
        })
        .collect();
    Ok(Json(json!({ "token": id, "parts": list })))
}

/// Which revision the next composite of a thing's manufacturer, class and serial number has, and which one stands.
pub(super) async fn builds(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::token(&id)?;
    let (next_revision, standing) = context.tokens.build(id);
    Ok(Json(json!({ "thing": id, "next_revision": next_revision, "standing": standing })))
}

pub(super) async fn verify(
    State(context): State<RestContext>,
    Path(id): Path<String>,
    Body(check): Body<Check>,
) -> Answer {
    let id = names::token(&id)?;
    let view = existing(&context.tokens, id)?;
    let names = view.info.property_names();
    if names.is_empty() {
        let why = "this token has no properties to check: its holder proves it by signing";
        return Err(Refusal::bad("no-properties", why));
    }
    let properties = Properties::new(check.properties).map_err(|error| Refusal::bad("properties", error))?;
    let matches = run(&VERIFICATIONS, move || {
        view.info.matches(&properties).map_err(|error| Refusal::bad("properties", error))
    });
    Ok(Json(json!({ "token": id, "matches": matches.await?, "property_names": names })))
}
