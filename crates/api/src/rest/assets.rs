//! `/v1/tokens/assets`: fungible assets.

use super::answer::{Answer, Asked, Refusal};
use super::outputs::shown;
use super::{RestContext, names};
use crate::limits::PAGE_DEFAULT;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_token::AssetView;
use serde::Deserialize;
use serde_json::{Value, json};

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

fn described(view: &AssetView) -> Value {
    json!({ "asset": view.asset, "definition": view.definition, "control": view.control.as_ref().map(shown) })
}

pub(super) async fn list(State(context): State<RestContext>, Asked(paging): Asked<Paging>) -> Answer {
    let after = paging.after.as_deref().map(names::asset).transpose()?;
    let limit = paging.limit.unwrap_or(PAGE_DEFAULT).clamp(1, bletchley_token::limits::PAGE_MAX - 1);
    let mut assets = context.tokens.assets(after, limit + 1);
    let more = assets.len() > limit;
    assets.truncate(limit);
    let next = assets.last().filter(|_| more).map(|last| last.asset);
    Ok(Json(json!({ "items": assets.iter().map(described).collect::<Vec<_>>(), "next": next })))
}

pub(super) async fn show(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::asset(&id)?;
    let view = context.tokens.asset(id);
    view.map(|view| Json(described(&view)))
        .ok_or_else(|| Refusal::not_found(format!("no asset {id} is defined on this ledger")))
}
