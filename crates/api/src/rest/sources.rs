//! `/v1/admin/sources/{name}`: where the host gets a source's data from. For this computer's administrator only.

use super::RestContext;
use super::answer::{Answer, Body, Refusal};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use bletchley_cryptlet::registry::RegistryView;
use serde::Deserialize;
use serde_json::json;
use std::sync::PoisonError;

/// Where to fetch from instead; null for the address that the manifest names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    url: Option<String>,
}

pub(super) async fn set(
    State(context): State<RestContext>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(mirror): Body<Mirror>,
) -> Answer {
    authorize(&context, &headers)?;
    let prefix = declared_prefix(&context, &name).ok_or_else(|| {
        Refusal::not_found(format!("no registered cryptlet declares a source named {name}"))
    })?;
    let granted = match &mirror.url {
        Some(url) => context.fetcher.grant_mirror(&prefix, &format!("{}/", url.trim_end_matches('/'))),
        None => context.fetcher.grant(&prefix),
    };
    granted.map_err(|error| Refusal::bad("source-refused", error))?;
    let mut mirrors = context.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
    let before = match mirror.url {
        Some(url) => mirrors.insert(name.clone(), url),
        None => mirrors.remove(&name),
    };
    Ok(Json(json!({ "source": name, "declared": prefix, "before": before })))
}

fn declared_prefix(context: &RestContext, name: &str) -> Option<String> {
    let height = context.registry.anchor().height;
    context.registry.with_index(|index| {
        let sources =
            index.packages(height).flat_map(|found| found.package.manifest.capabilities.fetch.clone());
        sources.into_iter().find(|source| source.name == name).map(|source| source.url_prefix)
    })
}

pub(super) fn authorize(context: &RestContext, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.strip_prefix("Bearer ").unwrap_or_default();
    if is_same(given.as_bytes(), context.admin_token.as_bytes()) {
        return Ok(());
    }
    Err(Refusal::forbidden(
        "administration needs the token in the data folder's node.json, as `Authorization: Bearer`",
    ))
}

/// Compares without stopping at the first difference, so that time tells nothing.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len()
        && given.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
