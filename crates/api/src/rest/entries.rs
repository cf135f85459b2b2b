//! `/v1/tokens/entries`: registries on the token ledger.

use super::RestContext;
use super::answer::{Answer, Asked, Refusal};
use crate::limits::PAGE_DEFAULT;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_token::limits::PAGE_MAX;
use serde::Deserialize;
use serde_json::json;

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn namespaces(State(context): State<RestContext>) -> Answer {
    Ok(Json(json!({ "namespaces": context.tokens.namespaces() })))
}

pub(super) async fn list(
    State(context): State<RestContext>,
    Path(namespace): Path<String>,
    Asked(paging): Asked<Paging>,
) -> Answer {
    let mut entries = context.tokens.entries(&namespace);
    entries.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
    entries.retain(|found| paging.after.as_ref().is_none_or(|after| found.entry.name > *after));
    let limit = paging.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| last.entry.name.clone());
    Ok(Json(json!({ "namespace": namespace, "items": entries, "next": next })))
}

pub(super) async fn history(
    State(context): State<RestContext>,
    Path((namespace, name)): Path<(String, String)>,
) -> Answer {
    let mut revisions = context.tokens.entry_history(&namespace, &name);
    if revisions.is_empty() {
        return Err(Refusal::not_found(format!(
            "there is no such entry; /v1/tokens/entries/{} lists those that there are",
            namespace.chars().take(80).collect::<String>()
        )));
    }
    let older = revisions.len().saturating_sub(PAGE_MAX);
    let revisions = revisions.split_off(older);
    Ok(Json(json!({ "namespace": namespace, "name": name, "revisions": revisions, "older": older })))
}
