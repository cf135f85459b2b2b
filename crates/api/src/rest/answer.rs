//! Answers of the REST interface, and its refusals: a status, a stable code, and what to do.

use crate::limits::REST_READS_RUNNING_MAX;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

/// A request that was refused; nothing was changed.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn bad(code: &'static str, message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.to_string() }
    }

    pub(super) fn not_found(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not-found", message: message.to_string() }
    }

    pub(super) fn forbidden(message: impl ToString) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message: message.to_string() }
    }

    pub(super) fn unavailable(code: &'static str, message: impl ToString) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code, message: message.to_string() }
    }

    pub(super) fn internal(message: impl ToString) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message: message.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        (self.status, Json(body)).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), code: "body", message: rejection.body_text() }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), code: "query", message: rejection.body_text() }
    }
}

/// What a handler gives: JSON, or a refusal.
pub(super) type Answer = Result<Json<serde_json::Value>, Refusal>;

/// A JSON body; another one is a refusal like any other.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(value) = Json::<T>::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// The part of the address behind `?`; what is not known there is refused.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

static READS: Semaphore = Semaphore::const_new(REST_READS_RUNNING_MAX);

/// Reads ledgers on a thread that may wait for the disk; only so many at once.
pub(super) async fn read<T: Send + 'static>(
    reading: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    run(&READS, reading).await
}

/// Does work on a thread of its own when `turns` has one free.
pub(super) async fn run<T: Send + 'static>(
    turns: &'static Semaphore,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let turn = turns.acquire().await.map_err(|_| Refusal::internal("the node is stopping"))?;
    // The turn ends with the work, even when the caller has gone away meanwhile.
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    done.await.map_err(|_| Refusal::internal("the work did not finish; ask again"))?
}

/// What no route answers.
pub(super) async fn no_such_path(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(120).collect();
    Refusal::not_found(format!("there is no {path} here; /openapi.json describes what there is"))
}

/// A path that is asked with another method than it has.
pub(super) async fn no_such_method(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(120).collect();
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method",
        message: format!("{path} does not take {}; /openapi.json says what it takes", request.method()),
    }
}
