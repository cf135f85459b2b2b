//! JSON-RPC errors with the codes and words that geth uses, so that every Ethereum tool understands them.

use crate::limits::METHOD_ECHO_CHARS_MAX;
use alloy_primitives::Bytes;
use serde::Serialize;
use std::borrow::Cow;

/// Codes of JSON-RPC 2.0 (section 5.1), EIP-1474 and geth.
pub(crate) mod code {
    pub(crate) const PARSE: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL: i32 = -32603;
    pub(crate) const SERVER: i32 = -32000;
    pub(crate) const RESPONSE_TOO_LARGE: i32 = -32003;
    pub(crate) const LIMIT_EXCEEDED: i32 = -32005;
    pub(crate) const REVERTED: i32 = 3;
}

/// Why a request was refused, as it stands in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// Stable number of the kind of error.
    pub code: i32,
    /// What was attempted and what to do next, in plain words.
    pub message: Cow<'static, str>,
    /// Output of a reverted call, or what else a program may want.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl RpcError {
    /// An error with any code.
    pub fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The body is not JSON.
    pub fn parse(problem: impl std::fmt::Display) -> Self {
        Self::new(code::PARSE, format!("parse error: {problem}"))
    }

    /// JSON, but not a JSON-RPC 2.0 request.
    pub fn invalid_request(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INVALID_REQUEST, problem)
    }

    /// No such method.
    #[must_use]
    pub fn method_not_found(method: &str) -> Self {
        let shown: String = method.chars().take(METHOD_ECHO_CHARS_MAX).collect();
        Self::new(code::METHOD_NOT_FOUND, format!("the method {shown} does not exist/is not available"))
    }

    /// A method that only development ledgers have.
    #[must_use]
    pub fn dev_only(method: &str) -> Self {
        let shown: String = method.chars().take(METHOD_ECHO_CHARS_MAX).collect();
        Self::new(
            code::METHOD_NOT_FOUND,
            format!(
                "the method {shown} does not exist/is not available: it changes a ledger from outside and exists only \
                 on a development ledger (start one with --dev)"
            ),
        )
    }

    /// A parameter is missing, superfluous or of the wrong shape.
    pub fn invalid_params(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INVALID_PARAMS, problem)
    }

    /// A failure of ours.
    pub fn internal(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INTERNAL, problem)
    }

    /// A request that cannot be served as it stands.
    pub fn server(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::SERVER, problem)
    }

    /// A named bound is exceeded.
    pub fn limit(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::LIMIT_EXCEEDED, problem)
    }

    /// Too many requests wait already.
    #[must_use]
    pub fn busy() -> Self {
        Self::limit("server busy: too many requests are waiting; try again")
    }

    /// The block is not known here.
    #[must_use]
    pub fn header_not_found() -> Self {
        Self::server("header not found")
    }

    /// The filter was never installed here, was removed, or was not asked for too long.
    #[must_use]
    pub fn filter_not_found() -> Self {
        Self::server("filter not found")
    }

    /// Execution reverted with `output`; `reason` is its decoded text, where it has one.
    #[must_use]
    pub fn reverted(reason: Option<&str>, output: &Bytes) -> Self {
        let message = match reason {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        let data = Some(serde_json::Value::String(output.to_string()));
        Self { code: code::REVERTED, message: message.into(), data }
    }

    /// The same error with data for programs.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }
}
