//! Recorded fetches: a cryptlet asks a source by name, the host's policy says where that leads and whether it may.
//! Nothing here follows redirects, carries credentials, or lets a cryptlet name an address.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alloy_primitives::Bytes;
use parking_lot::RwLock;

use crate::{manifest::FetchSource, transcript::FetchRecord};

/// Longest answer of a source.
pub const RESPONSE_SIZE_BYTES_MAX: usize = 64 * 1024;
/// Longest path that a cryptlet may ask for.
pub const PATH_SIZE_BYTES_MAX: usize = 1024;
/// Longest words of a fault in a record.
const FAULT_SIZE_BYTES_MAX: usize = 256;
/// Idle connections kept per source.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 8;
/// How often a source is asked when its connection breaks: once more than there can be stale connections.
const TRIES_MAX: usize = IDLE_CONNECTIONS_PER_HOST_MAX + 1;
/// Most grants of one policy.
const GRANTS_MAX: usize = 256;

/// What a fetch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// An answer over HTTP, whatever its status.
    Response {
        /// HTTP status.
        status: u16,
        /// Body, at most [`RESPONSE_SIZE_BYTES_MAX`].
        body: Bytes,
    },
    /// Not granted.
    Denied(String),
    /// No answer.
    Unavailable(String),
    /// The body is longer than this bound.
    TooLarge(u64),
}

impl Fetched {
    /// The entry for the transcript.
    #[must_use]
    pub fn record(&self, source: &str, path: &str) -> FetchRecord {
        let (result, status, body) = match self {
            Self::Response { status, body } => (0, *status, body.clone()),
            Self::Denied(words) => (1, 0, words.clone().into_bytes().into()),
            Self::Unavailable(words) => (2, 0, words.clone().into_bytes().into()),
            Self::TooLarge(size_bytes_max) => (3, 0, size_bytes_max.to_be_bytes().to_vec().into()),
        };
        FetchRecord { source: source.to_owned(), path: path.to_owned(), result, status, body }
    }

    /// What an entry of a transcript says, or `None` if it is not well formed.
    #[must_use]
    pub fn from_record(record: &FetchRecord) -> Option<Self> {
        let words = || String::from_utf8(record.body.to_vec()).ok();
        match record.result {
            0 => (record.body.len() <= RESPONSE_SIZE_BYTES_MAX)
                .then(|| Self::Response { status: record.status, body: record.body.clone() }),
            1 => words().map(Self::Denied),
            2 => words().map(Self::Unavailable),
            3 => Some(Self::TooLarge(u64::from_be_bytes(record.body.as_ref().try_into().ok()?))),
            _ => None,
        }
    }
}

/// Gets outside data. The container records what it gives back.
pub trait Fetcher: Send + Sync {
    /// GET `path` of `source` within `timeout`. `path` has passed [`check_path`].
    fn get(&self, source: &FetchSource, path: &str, timeout: Duration) -> Fetched;
}

/// No outside data at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFetcher;

impl Fetcher for NoFetcher {
    fn get(&self, source: &FetchSource, _path: &str, _timeout: Duration) -> Fetched {
        Fetched::Denied(format!("this host fetches nothing, so not from `{}`", source.name))
    }
}

/// Why a grant was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The address is not one that a path can be put behind.
    #[error(
        "`{0}` cannot be granted: give an http:// or https:// address that ends with `/`, without `?` or `#`"
    )]
    Address(String),
    /// Plain http to another machine.
    #[error("`{0}` cannot be granted: plain http is allowed to this machine only, use https")]
    PlainHttp(String),
    /// Too many grants.
    #[error("`{0}` cannot be granted: there are already {GRANTS_MAX} grants, revoke one first")]
    Full(String),
}

/// Fetches over HTTP from the addresses that an administrator granted. A manifest's `url_prefix` is a request, the
/// grant decides: it may send the prefix elsewhere (a mirror, a local copy), and what is not granted is denied.
#[derive(Debug)]
pub struct HttpFetcher {
    agent: ureq::Agent,
    /// Declared prefix to the address that is really asked.
    grants: RwLock<BTreeMap<String, String>>,
}

impl Default for HttpFetcher {
    fn default() -> Self {
        Self::new(None)
    }
}

impl HttpFetcher {
    /// A fetcher without grants. Proxies of the environment are not used, only one given here.
    #[must_use]
    pub fn new(proxy: Option<ureq::Proxy>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(concat!("bletchley/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(IDLE_CONNECTIONS_PER_HOST_MAX)
            .build()
            .new_agent();
        Self { agent, grants: RwLock::default() }
    }

    /// Lets manifests that declare `url_prefix` fetch from it.
    ///
    /// # Errors
    /// [`GrantError`]; nothing is changed.
    pub fn grant(&self, url_prefix: &str) -> Result<(), GrantError> {
        self.grant_mirror(url_prefix, url_prefix)
    }

    /// Lets manifests that declare `url_prefix` fetch from `address` in its place.
    ///
    /// # Errors
    /// [`GrantError`]; nothing is changed.
    pub fn grant_mirror(&self, url_prefix: &str, address: &str) -> Result<(), GrantError> {
        check_url_prefix(address)?;
        let mut grants = self.grants.write();
        if grants.len() >= GRANTS_MAX && !grants.contains_key(url_prefix) {
            return Err(GrantError::Full(url_prefix.to_owned()));
        }
        grants.insert(url_prefix.to_owned(), address.to_owned());
        Ok(())
    }

    /// Takes a grant back.
    pub fn revoke(&self, url_prefix: &str) {
        self.grants.write().remove(url_prefix);
    }
}

impl Fetcher for HttpFetcher {
    fn get(&self, source: &FetchSource, path: &str, timeout: Duration) -> Fetched {
        let Some(address) = self.grants.read().get(&source.url_prefix).cloned() else {
            return Fetched::Denied(bounded(format!(
                "this host does not grant `{}`, which source `{}` asks for",
                source.url_prefix, source.name
            )));
        };
        let started = Instant::now();
        let mut asked = 1;
        let mut response = loop {
            let left = timeout.saturating_sub(started.elapsed());
            let request =
                self.agent.get(format!("{address}{path}")).config().timeout_global(Some(left)).build();
            match request.call() {
                Ok(response) => break response,
                // A kept connection that the source has closed meanwhile shows only now.
                Err(ureq::Error::Io(_)) if asked < TRIES_MAX && !left.is_zero() => asked += 1,
                Err(error) => return unavailable(source, &error),
            }
        };
        let status = response.status().as_u16();
        match response.body_mut().with_config().limit(RESPONSE_SIZE_BYTES_MAX as u64).read_to_vec() {
            Ok(body) => Fetched::Response { status, body: body.into() },
            Err(ureq::Error::BodyExceedsLimit(_)) => Fetched::TooLarge(RESPONSE_SIZE_BYTES_MAX as u64),
            Err(error) => unavailable(source, &error),
        }
    }
}

fn unavailable(source: &FetchSource, error: &ureq::Error) -> Fetched {
    let words = match error {
        ureq::Error::Timeout(_) => "did not answer in time",
        ureq::Error::HostNotFound => "was not found",
        ureq::Error::ConnectionFailed => "refused the connection",
        ureq::Error::Io(_) => "broke the connection",
        // Plain words: they may stand in a transcript, and say nothing of this host.
        _ => "did not answer as HTTP has it",
    };
    tracing::debug!(source = %source.name, %error, "fetch.unavailable");
    Fetched::Unavailable(bounded(format!("source `{}` {words}", source.name)))
}

fn bounded(mut words: String) -> String {
    let end = (0..=FAULT_SIZE_BYTES_MAX).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    words.truncate(end);
    words
}

/// Whether a path may be put behind a source's address: it stays below that address and is plain ASCII.
///
/// # Errors
/// Plain words about what is wrong.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > PATH_SIZE_BYTES_MAX {
        return Err("the path is too long");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && !br##"<>"\^`{|}#@"##.contains(&byte)) {
        return Err("the path has a character that is not allowed; percent-encode it");
    }
    if path.starts_with('/') {
        return Err("the path must be relative, without a leading `/`");
    }
    let lower = path.to_ascii_lowercase();
    let folder = lower.split('?').next().unwrap_or_default();
    if folder.split('/').any(|segment| segment.replace("%2e", ".") == "..") || folder.contains("%2f") {
        return Err("the path leaves its source");
    }
    Ok(())
}

/// Whether an address can have a path put behind it.
///
/// # Errors
/// [`GrantError`] in plain words.
pub fn check_url_prefix(address: &str) -> Result<(), GrantError> {
    let wrong = || GrantError::Address(address.chars().take(200).collect());
    if address.len() > PATH_SIZE_BYTES_MAX
        || !address.ends_with('/')
        || !address.bytes().all(|byte| byte.is_ascii_graphic() && !br##"<>"\^`{|}#?@"##.contains(&byte))
    {
        return Err(wrong());
    }
    let plain = address.strip_prefix("http://");
    let rest = plain.or_else(|| address.strip_prefix("https://")).ok_or_else(wrong)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    if host.is_empty() || rest.split('/').any(|segment| segment == "..") {
        return Err(wrong());
    }
    if plain.is_some() && !matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
        return Err(GrantError::PlainHttp(address.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    fn source(url_prefix: &str) -> FetchSource {
        FetchSource { name: "s".into(), url_prefix: url_prefix.into() }
    }

    /// Answers as many connections as there are answers, one request each, and returns the request lines.
    fn serve(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/data/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut lines = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    let read = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..read]);
                }
                lines.push(String::from_utf8(request).unwrap().lines().next().unwrap().to_owned());
                let _ = stream.write_all(&answer);
            }
            lines
        });
        (address, server)
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
                .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn asks_the_mirror_and_gives_back_what_came() {
        let redirect =
            b"HTTP/1.1 302 Found\r\nlocation: http://example.invalid/\r\ncontent-length: 0\r\n\r\n".to_vec();
        let (address, server) = serve(vec![
            answer("200 OK", b"1.25"),
            answer("404 Not Found", b"none"),
            redirect,
            answer("200 OK", &vec![b'x'; RESPONSE_SIZE_BYTES_MAX + 1]),
        ]);
        let fetcher = HttpFetcher::default();
        fetcher.grant_mirror("https://real.example/", &address).unwrap();
        let source = source("https://real.example/");
        let get = |path| fetcher.get(&source, path, Duration::from_secs(10));
        assert_eq!(get("a?b=c"), Fetched::Response { status: 200, body: Bytes::from_static(b"1.25") });
        assert_eq!(get("d"), Fetched::Response { status: 404, body: Bytes::from_static(b"none") });
        assert_eq!(get("e"), Fetched::Response { status: 302, body: Bytes::new() });
        assert_eq!(get("f"), Fetched::TooLarge(RESPONSE_SIZE_BYTES_MAX as u64));
        let lines = server.join().unwrap();
        assert_eq!(lines[0], "GET /data/a?b=c HTTP/1.1");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn what_is_not_granted_is_denied_and_what_is_gone_is_unavailable() {
        let fetcher = HttpFetcher::default();
        let asked = source("https://real.example/");
        assert!(matches!(fetcher.get(&asked, "a", Duration::from_secs(1)), Fetched::Denied(_)));
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/", listener.local_addr().unwrap())
        };
        fetcher.grant_mirror("https://real.example/", &gone).unwrap();
        assert!(matches!(fetcher.get(&asked, "a", Duration::from_secs(10)), Fetched::Unavailable(_)));
        fetcher.revoke("https://real.example/");
        assert!(matches!(fetcher.get(&asked, "a", Duration::from_secs(1)), Fetched::Denied(_)));
    }

    #[test]
    fn grants_are_addresses_that_a_path_can_follow() {
        for good in
            ["https://a.example/", "https://a.example:8443/b/", "http://127.0.0.1:80/", "http://localhost/x/"]
        {
            assert_eq!(check_url_prefix(good), Ok(()), "{good}");
        }
        for bad in [
            "https://a.example",
            "ftp://a.example/",
            "https:///x/",
            "https://a.example/?q=/",
            "https://u@a.example/",
            "http://a.example/",
            "http://127.0.0.1.example/",
            "https://a.example/../",
        ] {
            assert!(check_url_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_their_source() {
        for good in ["", "data/EXR/D.USD.EUR.SP00.A?startPeriod=2024-01-01&format=csvdata", "a..b/c", "a%20b"]
        {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        let long = "a".repeat(PATH_SIZE_BYTES_MAX + 1);
        for bad in [
            "/a",
            "../a",
            "a/../b",
            "a/%2E%2e/b",
            "a/.%2e/b",
            "a%2fb",
            "a b",
            "a#b",
            "a\r\nb",
            "é",
            "a@b",
            &long,
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_hold_every_result() {
        for fetched in [
            Fetched::Response { status: 200, body: Bytes::from_static(b"x") },
            Fetched::Denied("no".into()),
            Fetched::Unavailable("gone".into()),
            Fetched::TooLarge(7),
        ] {
            assert_eq!(Fetched::from_record(&fetched.record("s", "p")), Some(fetched));
        }
    }
}
