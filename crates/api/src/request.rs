//! Reading JSON-RPC 2.0 requests without copying them: envelopes, batches, identifiers.

use crate::error::RpcError;
use crate::limits::BATCH_REQUESTS_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// One request, borrowed from the body.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// `None` for a notification, which is carried out but not answered.
    pub(crate) id: Option<&'a str>,
    pub(crate) method: Cow<'a, str>,
    /// JSON text of the parameters.
    pub(crate) params: Option<&'a str>,
}

/// A request that cannot be carried out, and the identifier to answer under.
#[derive(Debug)]
pub(crate) struct Malformed<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) error: RpcError,
}

pub(crate) type Parsed<'a> = Result<Request<'a>, Malformed<'a>>;

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Single(Parsed<'a>),
    Batch(Vec<Parsed<'a>>),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// `null` is an identifier that is present.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Reads a body. Whatever the bytes are, the result can be answered.
pub(crate) fn parse(bytes: &[u8]) -> Body<'_> {
    let refuse = |error| Body::Single(Err(Malformed { id: None, error }));
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return refuse(RpcError::parse(format_args!("the body is not UTF-8 ({error})"))),
    };
    if text.bytes().find(|byte| !byte.is_ascii_whitespace()) != Some(b'[') {
        return Body::Single(parse_one(text));
    }
    match serde_json::from_str::<Bounded<Envelope<'_>>>(text) {
        Ok(batch) => finish_batch(batch.0.into_iter().map(check)),
        // One element is not a request: look at each on its own, so that the others are carried out.
        Err(error) if error.is_data() => match serde_json::from_str::<Bounded<&RawValue>>(text) {
            Ok(batch) => finish_batch(batch.0.into_iter().map(|raw| parse_one(raw.get()))),
            Err(error) if error.is_data() => refuse(RpcError::invalid_request(format!(
                "batch too large: it holds more than {BATCH_REQUESTS_MAX} requests; send it in parts"
            ))),
            Err(error) => refuse(RpcError::parse(error)),
        },
        Err(error) => refuse(RpcError::parse(error)),
    }
}

fn finish_batch<'a>(requests: impl Iterator<Item = Parsed<'a>>) -> Body<'a> {
    let requests: Vec<_> = requests.collect();
    if requests.is_empty() {
        return Body::Single(Err(Malformed { id: None, error: RpcError::invalid_request("empty batch") }));
    }
    Body::Batch(requests)
}

fn parse_one(text: &str) -> Parsed<'_> {
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) => check(envelope),
        Err(error) if error.is_data() => {
            let id = serde_json::from_str::<IdOnly<'_>>(text).ok().and_then(|only| only.id);
            let id = id.map(RawValue::get).filter(|id| is_id(id));
            Err(Malformed { id, error: RpcError::invalid_request(format!("invalid request: {error}")) })
        }
        Err(error) => Err(Malformed { id: None, error: RpcError::parse(error) }),
    }
}

fn check(envelope: Envelope<'_>) -> Parsed<'_> {
    let id = envelope.id.map(RawValue::get);
    let problem = if id.is_some_and(|id| !is_id(id)) {
        "invalid request: id must be a string, a number or null"
    } else if envelope.jsonrpc != "2.0" {
        "invalid request: jsonrpc must be \"2.0\""
    } else if envelope.method.is_empty() {
        "invalid request: method is missing"
    } else {
        let params = envelope.params.map(RawValue::get);
        return Ok(Request { id, method: envelope.method, params });
    };
    let id = id.filter(|id| is_id(id));
    Err(Malformed { id, error: RpcError::invalid_request(problem) })
}

/// JSON-RPC 2.0 section 4: an identifier is a string, a number or null.
fn is_id(raw: &str) -> bool {
    raw == "null" || raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// At most [`BATCH_REQUESTS_MAX`] elements; reading stops at the first one too many.
struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of requests")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == BATCH_REQUESTS_MAX {
                        return Err(A::Error::custom("too many requests"));
                    }
                    elements.push(element);
                }
                Ok(Bounded(elements))
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn single(text: &str) -> Parsed<'_> {
        match parse(text.as_bytes()) {
            Body::Single(parsed) => parsed,
            Body::Batch(_) => panic!("{text} is one request"),
        }
    }

    #[test]
    fn reads_every_allowed_identifier() {
        for id in ["1", "-7", "1.5", "\"a\\\"b\"", "null", "18446744073709551616"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            assert_eq!(single(&text).unwrap().id, Some(id));
        }
        for id in ["true", "{}", "[1]"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            let malformed = single(&text).unwrap_err();
            assert_eq!((malformed.id, malformed.error.code), (None, -32600), "{id}");
        }
        assert_eq!(single(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap().id, None);
    }

    #[test]
    fn keeps_the_identifier_of_a_malformed_request() {
        let malformed = single(r#"{"jsonrpc":"2.0","method":5,"id":"x"}"#).unwrap_err();
        assert_eq!((malformed.id, malformed.error.code), (Some("\"x\""), -32600));
        assert_eq!(single(r#"{"jsonrpc":"1.0","method":"m","id":1}"#).unwrap_err().id, Some("1"));
        assert_eq!(single("{\"jsonrpc\":").unwrap_err().error.code, -32700);
        assert_eq!(single("[]").unwrap_err().error.message, "empty batch");
    }

    #[test]
    fn a_bad_element_does_not_spoil_its_batch() {
        let Body::Batch(batch) = parse(br#" [1, {"jsonrpc":"2.0","id":2,"method":"m","params":[1]}, []]"#)
        else {
            panic!("a batch")
        };
        assert_eq!(batch.len(), 3);
        assert_eq!(batch[0].as_ref().unwrap_err().error.code, -32600);
        assert_eq!(batch[1].as_ref().unwrap().params, Some("[1]"));
        assert_eq!(batch[2].as_ref().unwrap_err().error.code, -32600);
    }

    #[test]
    fn a_batch_is_bounded() {
        let text = format!("[{}1]", "1,".repeat(BATCH_REQUESTS_MAX));
        assert!(single(&text).unwrap_err().error.message.starts_with("batch too large"));
    }

    #[test]
    fn nesting_is_no_danger() {
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}"#, "[".repeat(1 << 20));
        assert_eq!(single(&deep).unwrap_err().error.code, -32700);
        let closed = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}{}}}"#,
            "[".repeat(1 << 20),
            "]".repeat(1 << 20)
        );
        assert!(single(&closed).is_ok());
    }
}
