//! From the bytes of a body to the bytes of its answer: requests in order, neighbouring submissions together.

use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply, too_large};
use crate::limits::{INLINE_SIZE_BYTES_MAX, RESPONSE_SIZE_BYTES_MAX};
use crate::methods::{self, Handler};
use crate::params::{Params, raw_transaction};
use crate::pool::Lane;
use crate::request::{Body, Malformed, Parsed, Request, parse};
use crate::session::Turn;
use crate::trace::{Trace, within};
use axum::body::Bytes;

const SUBMIT: &str = "eth_sendRawTransaction";
/// How far into a batch its lane is guessed from.
const LANE_PEEK_BYTES: usize = 256;

/// Answers one body; `None` when it holds notifications only.
///
/// `turn` is the WebSocket that the body came by, `trace` what its transactions are followed under.
pub(crate) async fn answer(
    context: &ApiContext,
    body: Bytes,
    turn: Option<Turn>,
    trace: Option<Trace>,
) -> Option<Vec<u8>> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let lane = if first == Some(&b'[') || body.len() > INLINE_SIZE_BYTES_MAX {
        guess_lane(&body)
    } else {
        match parse(&body) {
            Body::Single(Ok(request)) => match lane_of(context, &request) {
                Some(lane) => lane,
                None => return single(context, Ok(request), turn.as_ref()),
            },
            Body::Single(Err(malformed)) => return single(context, Err(malformed), None),
            Body::Batch(_) => Lane::Read,
        }
    };
    let job = {
        let context = context.clone();
        let span = tracing::Span::current();
        move || span.in_scope(|| within(trace, || run(&context, &body, turn.as_ref())))
    };
    match context.pool().run(lane, job).await {
        Ok(answer) => answer,
        Err(error) => {
            let mut out = Vec::new();
            write_response(&mut out, None, &Err(error));
            Some(out)
        }
    }
}

/// The lane only decides where the body waits.
fn guess_lane(body: &[u8]) -> Lane {
    let head = body.get(..LANE_PEEK_BYTES).unwrap_or(body);
    if head.windows(SUBMIT.len()).any(|window| window == SUBMIT.as_bytes()) {
        Lane::Submit
    } else {
        Lane::Read
    }
}

/// Where a request has to wait for a thread, `None` when it is answered at once.
fn lane_of(context: &ApiContext, request: &Request<'_>) -> Option<Lane> {
    match methods::find(&request.method) {
        Some(Handler::Heavy(_)) => Some(Lane::Read),
        Some(Handler::Wait(_) | Handler::Submit) => Some(Lane::Submit),
        Some(Handler::Dev(_)) => context.dev().map(|_| Lane::Read),
        Some(Handler::Quick(_) | Handler::Subscribe | Handler::Unsubscribe) | None => None,
    }
}

/// Answers a body on this thread.
pub(crate) fn run(context: &ApiContext, body: &[u8], turn: Option<&Turn>) -> Option<Vec<u8>> {
    match parse(body) {
        Body::Single(parsed) => single(context, parsed, turn),
        Body::Batch(batch) => many(context, &batch, turn),
    }
}

fn single(context: &ApiContext, parsed: Parsed<'_>, turn: Option<&Turn>) -> Option<Vec<u8>> {
    let (id, reply) = match &parsed {
        Ok(request) => (request.id?, one(context, request, turn)),
        Err(malformed) => {
            context.options().operation.rpc_answered(None, Some(&malformed.error), 1);
            (malformed.id.unwrap_or("null"), Err(malformed.error.clone()))
        }
    };
    let mut out = Vec::with_capacity(128);
    write_response(&mut out, Some(id), &reply);
    Some(out)
}

fn many(context: &ApiContext, batch: &[Parsed<'_>], turn: Option<&Turn>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(batch.len().saturating_mul(110));
    let mut rest = batch;
    while let Some((first, after)) = rest.split_first() {
        let submissions = rest.iter().take_while(|parsed| is_submission(parsed)).count();
        if let Some((run, after)) = rest.split_at_checked(submissions).filter(|(run, _)| !run.is_empty()) {
            for (request, reply) in run.iter().flatten().zip(submit(context, run.iter().flatten())) {
                append(&mut out, request.id, &reply);
            }
            rest = after;
            continue;
        }
        match first {
            Ok(request) => append(&mut out, request.id, &one(context, request, turn)),
            Err(Malformed { id, error }) => append(&mut out, Some(id.unwrap_or("null")), &Err(error.clone())),
        }
        rest = after;
    }
    if out.is_empty() {
        return None;
    }
    out.push(b']');
    Some(out)
}

fn is_submission(parsed: &Parsed<'_>) -> bool {
    matches!(parsed, Ok(request) if request.method == SUBMIT)
}

/// Adds a response to a batch; results that no longer fit are replaced by an error, as geth does.
fn append(out: &mut Vec<u8>, id: Option<&str>, reply: &Reply) {
    let Some(id) = id else { return };
    out.push(if out.is_empty() { b'[' } else { b',' });
    let fits = |json: &Json| out.len().saturating_add(json.0.len()) <= RESPONSE_SIZE_BYTES_MAX;
    if reply.as_ref().is_ok_and(|json| !fits(json)) {
        write_response(out, Some(id), &Err(too_large()));
    } else {
        write_response(out, Some(id), reply);
    }
}

fn one(context: &ApiContext, request: &Request<'_>, turn: Option<&Turn>) -> Reply {
    let handler = methods::find(&request.method);
    let reply = match handler {
        Some(handler) => carry_out(context, handler, request, turn),
        None => Err(RpcError::method_not_found(&request.method)),
    };
    // Submissions are counted where they are taken together.
    if !matches!(handler, Some(Handler::Submit)) {
        let method = handler.map(|_| &*request.method);
        context.options().operation.rpc_answered(method, reply.as_ref().err(), 1);
    }
    reply
}

fn carry_out(context: &ApiContext, handler: Handler, request: &Request<'_>, turn: Option<&Turn>) -> Reply {
    match handler {
        Handler::Submit => submit(context, std::iter::once(request))
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(RpcError::internal("the submission gave no result"))),
        Handler::Quick(method) | Handler::Heavy(method) | Handler::Wait(method) => {
            method(context, &Params::parse(request.params)?)
        }
        Handler::Dev(method) => match context.dev() {
            Some(dev) => method(context, dev, &Params::parse(request.params)?),
            None => Err(RpcError::dev_only(&request.method)),
        },
        Handler::Subscribe => turn.ok_or_else(unsupported)?.subscribe(&Params::parse(request.params)?),
        Handler::Unsubscribe => turn.ok_or_else(unsupported)?.unsubscribe(&Params::parse(request.params)?),
    }
}

fn unsupported() -> RpcError {
    RpcError::new(
        crate::error::code::METHOD_NOT_FOUND,
        "notifications not supported: subscriptions need a WebSocket connection",
    )
}

/// Decodes, recovers and pools a run of transactions in one go.
fn submit<'a>(context: &ApiContext, requests: impl Iterator<Item = &'a Request<'a>>) -> Vec<Reply> {
    let mut raws = Vec::new();
    let slots: Vec<Result<(), RpcError>> =
        requests.map(|request| raw_transaction(request.params).map(|raw| raws.push(raw))).collect();
    let mut results = context.submit_batch(&raws).into_iter();
    let lost = || Err(RpcError::internal("the submission gave no result"));
    let replies: Vec<Reply> = slots
        .into_iter()
        .map(|slot| slot.and_then(|()| results.next().unwrap_or_else(lost)).and_then(|hash| Json::of(&hash)))
        .collect();
    let operation = &context.options().operation;
    let taken = replies.iter().filter(|reply| reply.is_ok()).count();
    if taken > 0 {
        operation.rpc_answered(Some(SUBMIT), None, u64::try_from(taken).unwrap_or(u64::MAX));
    }
    for error in replies.iter().filter_map(|reply| reply.as_ref().err()) {
        operation.rpc_answered(Some(SUBMIT), Some(error), 1);
    }
    replies
}

/// Writes one JSON-RPC response object.
pub(crate) fn write_response(out: &mut Vec<u8>, id: Option<&str>, reply: &Reply) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.unwrap_or("null").as_bytes());
    match reply {
        Ok(json) => {
            out.extend_from_slice(b",\"result\":");
            out.extend_from_slice(&json.0);
        }
        Err(error) => {
            out.extend_from_slice(b",\"error\":");
            let start = out.len();
            if serde_json::to_writer(&mut *out, error).is_err() {
                out.truncate(start);
                out.extend_from_slice(
                    b"{\"code\":-32603,\"message\":\"the error could not be written as JSON\"}",
                );
            }
        }
    }
    out.push(b'}');
}
