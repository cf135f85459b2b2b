//! Refusals of the REST interface: a status, a stable code, and what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

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

/// What a handler gives: JSON, or a refusal.
pub(super) type Answer = Result<Json<serde_json::Value>, Refusal>;
