//! Which web pages may talk to the server. A browser sends `Origin`; programs do not.
//!
//! A node on a loopback address is within reach of every page that its user opens, so pages of strangers are refused, and
//! so are host names that are not this machine's (DNS rebinding).

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Origins and host names that are accepted beyond the usual ones.
///
/// Always accepted: requests without `Origin`; pages from loopback addresses; wallets that are browser extensions; host
/// names that are addresses or `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Further origins, such as `https://remix.ethereum.org`; `*` accepts every page.
    pub origins: Vec<String>,
    /// Further host names; `*` accepts every name.
    pub hosts: Vec<String>,
}

impl AccessPolicy {
    /// Whether a page from `origin` may read answers.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|allowed| allowed == "*" || allowed == origin) {
            return true;
        }
        match origin.split_once("://") {
            Some(("http" | "https", authority)) => is_loopback(host_of(authority)),
            Some(("chrome-extension" | "moz-extension" | "safari-web-extension", _)) => true,
            _ => false,
        }
    }

    /// Whether a request that names `authority` as its host is meant for this machine.
    #[must_use]
    pub fn allows_host(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        is_address
            || is_loopback(host)
            || self.hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
    }

    fn refuses(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        if text(header::ORIGIN).is_some_and(|origin| !self.allows_origin(origin)) {
            return Some("pages from this origin are not allowed; the node's operator can allow it");
        }
        if text(header::HOST).is_some_and(|host| !self.allows_host(host)) {
            return Some(
                "this host name is not allowed; use the node's address, or let its operator allow the name",
            );
        }
        None
    }
}

fn host_of(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => authority.get(..=end).unwrap_or(authority),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Middleware that refuses strangers' pages before anything is read.
pub(crate) async fn guard(
    State(policy): State<std::sync::Arc<AccessPolicy>>,
    request: Request,
    next: Next,
) -> Response {
    match policy.refuses(request.headers()) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::AccessPolicy;

    #[test]
    fn strangers_are_refused() {
        let policy = AccessPolicy::default();
        for origin in
            ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443", "chrome-extension://abc"]
        {
            assert!(policy.allows_origin(origin), "{origin}");
        }
        for origin in
            ["https://example.com", "null", "http://localhost.example.com", "http://127.0.0.1.nip.io", ""]
        {
            assert!(!policy.allows_origin(origin), "{origin}");
        }
        for host in ["127.0.0.1:8545", "[::1]:8545", "localhost", "10.0.0.7:1", "node.localhost:80"] {
            assert!(policy.allows_host(host), "{host}");
        }
        assert!(!policy.allows_host("rebound.example.com:8545"));
    }

    #[test]
    fn operators_can_allow_more() {
        let policy = AccessPolicy {
            origins: vec!["https://remix.ethereum.org".into()],
            hosts: vec!["node.bank".into()],
        };
        assert!(policy.allows_origin("https://remix.ethereum.org") && policy.allows_host("Node.Bank:8545"));
        assert!(!policy.allows_origin("https://remix.ethereum.org.example"));
        assert!(AccessPolicy { origins: vec!["*".into()], hosts: vec![] }.allows_origin("null"));
    }
}
