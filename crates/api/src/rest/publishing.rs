//! `/v1/admin/cryptlets`: publishing, statuses, sources and logs of cryptlets. For this computer's administrator only: what
//! is published here is signed with the member's own publisher key.

use super::RestContext;
use super::answer::{Answer, Asked, Body, Refusal, read};
use super::sources::authorize;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use bletchley_cryptlet::package::{Package, PackageId};
use bletchley_cryptlet::registry::{RegisterError, RegistryView, ReleaseStatus};
use bletchley_primitives::{Address, TxId, keccak256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most lines of a log in one answer.
const LOG_LINES_MAX: usize = 1_000;

/// What only this member's node does about cryptlets.
pub trait Publishing: Send + Sync {
    /// Registers a package in this member's name, and keeps its code. It stands when the transaction is final.
    ///
    /// # Errors
    /// [`PublishError`]; nothing stands then.
    fn publish(&self, package: &Package) -> Result<Published, PublishError>;

    /// Deprecates or revokes a package.
    ///
    /// # Errors
    /// [`PublishError`].
    fn set_status(
        &self,
        package: PackageId,
        status: ReleaseStatus,
        reason: &str,
    ) -> Result<TxId, PublishError>;

    /// Lets this host fetch from the sources that a package declares, for good; gives their addresses.
    ///
    /// # Errors
    /// [`PublishError`].
    fn allow_sources(&self, package: PackageId) -> Result<Vec<String>, PublishError>;

    /// The newest `max` lines of a cryptlet's log on this host after number `after`, oldest first.
    fn log(&self, cryptlet: &str, after: u64, max: usize) -> Vec<LogLine>;
}

/// A package on its way into the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Transaction on the token ledger.
    pub transaction: TxId,
    /// The package.
    pub package: PackageId,
    /// Who signed.
    pub publisher: Address,
}

/// A line that a cryptlet wrote on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Counts the lines of this host since its start.
    pub number: u64,
    /// When, on this host's clock, milliseconds since 1970-01-01T00:00:00Z.
    pub time_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The words.
    pub message: String,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The registry would not accept it.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The token ledger does not take the transaction.
    #[error("the token ledger refuses the registration: {0}")]
    Ledger(String),
    /// This package is not registered.
    #[error("package {0} is not registered; `bletchley cryptlet list` shows what is")]
    Unknown(PackageId),
    /// This host could not keep something.
    #[error("{0}")]
    Host(String),
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unknown(_) => Self::not_found(error),
            PublishError::Host(_) => Self::internal(error),
            PublishError::Register(_) | PublishError::Ledger(_) => Self::bad("not-published", error),
        }
    }
}

fn publishing(context: &RestContext) -> Result<&dyn Publishing, Refusal> {
    context.publishing.as_deref().ok_or_else(|| Refusal::not_found("this node publishes nothing"))
}

pub(super) async fn publish(State(context): State<RestContext>, headers: HeaderMap, body: Bytes) -> Answer {
    authorize(&context, &headers)?;
    read(move || {
        let package = Package::decode(&body).map_err(|error| Refusal::bad("package", error))?;
        Ok(Json(json!(publishing(&context)?.publish(&package)?)))
    })
    .await
}

/// A new status of a package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusBody {
    status: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn set_status(
    State(context): State<RestContext>,
    Path(package): Path<String>,
    headers: HeaderMap,
    Body(body): Body<StatusBody>,
) -> Answer {
    authorize(&context, &headers)?;
    let package = package_of(&package)?;
    let all = [ReleaseStatus::Active, ReleaseStatus::Deprecated, ReleaseStatus::Revoked];
    let status = all.into_iter().find(|status| status.name() == body.status).ok_or_else(|| {
        Refusal::bad("status", format!("{:?} is no status; write active, deprecated or revoked", body.status))
    })?;
    read(move || {
        let transaction = publishing(&context)?.set_status(package, status, &body.reason)?;
        Ok(Json(json!({ "transaction": transaction, "package": package, "status": status.name() })))
    })
    .await
}

pub(super) async fn allow_sources(
    State(context): State<RestContext>,
    Path(package): Path<String>,
    headers: HeaderMap,
) -> Answer {
    authorize(&context, &headers)?;
    let package = package_of(&package)?;
    read(move || Ok(Json(json!({ "allowed": publishing(&context)?.allow_sources(package)? })))).await
}

/// Which lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

pub(super) async fn log(
    State(context): State<RestContext>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Asked(lines): Asked<Lines>,
) -> Answer {
    authorize(&context, &headers)?;
    let anchor = context.registry.anchor();
    if context.registry.resolve(keccak256(&name), anchor.height).is_none() {
        return Err(unknown(&name));
    }
    let max = lines.limit.unwrap_or(LOG_LINES_MAX).min(LOG_LINES_MAX);
    let lines: Vec<Value> =
        publishing(&context)?.log(&name, lines.after, max).into_iter().map(|line| json!(line)).collect();
    Ok(Json(json!({ "lines": lines })))
}

pub(super) fn unknown(name: &str) -> Refusal {
    let name: String = name.chars().take(64).collect();
    Refusal::not_found(format!("no cryptlet named {name} is registered; /v1/cryptlets lists those that are"))
}

fn package_of(text: &str) -> Result<PackageId, Refusal> {
    let wrong = |_| Refusal::bad("package", "a package id is 0x and 64 hexadecimal digits");
    text.parse().map(PackageId).map_err(wrong)
}
