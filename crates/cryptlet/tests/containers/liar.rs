//! A worker that was taken over and speaks for itself: whatever it says over its channel, the node takes nothing that
//! cannot be true, and ends it.
#![allow(unsafe_code, reason = "writing to the channel behind the back of the code that owns it")]

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Encodable, Header};
use bletchley_cryptlet::{
    container::{OUTPUT_SIZE_BYTES_MAX, REASON_SIZE_BYTES_MAX, Status, UnavailableKind},
    transcript::FETCHES_PER_CALL_MAX,
};

use crate::{guests, prison::Scene};

/// Descriptor of a worker's channel.
const CHANNEL: i32 = 3;
/// How a liar's deed begins.
pub(crate) const PREFIX: &str = "lie-";

/// Lies, and how the node's words about them go on.
const LIES: [(&str, &str); 15] = [
    ("length", "a length out of bounds"),
    ("empty", "a length out of bounds"),
    ("version", "another version"),
    ("kind", "fields do not decode"),
    ("fields", "fields do not decode"),
    ("more", "bytes after the fields"),
    ("turn", "a frame out of turn"),
    ("status", "an unknown status"),
    ("fuel", "more fuel or words than there can be"),
    ("words", "more fuel or words than there can be"),
    ("type", "an output that is not of its type"),
    ("both", "an output of a call that failed"),
    ("record", "fetches that do not add up"),
    ("fetch", "a fetch that the manifest forbids"),
    ("flood", "a line for the log out of bounds"),
];

fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let size = u32::try_from(fields.len() + 2).unwrap();
    [size.to_be_bytes().as_slice(), &[1, kind], fields].concat()
}

fn list(fields: &[&dyn Encodable]) -> Vec<u8> {
    let mut payload = Vec::new();
    fields.iter().for_each(|field| field.encode(&mut payload));
    let mut bytes = Vec::new();
    Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
    [bytes, payload].concat()
}

fn answered(code: u8, reason: &str, output: Vec<u8>, fuel: u64, fetches: usize) -> Vec<u8> {
    let fetch = list(&[&"feed", &"abc"]);
    let mut all = Vec::new();
    Header { list: true, payload_length: fetch.len() * fetches }.encode(&mut all);
    all.extend(fetch.repeat(fetches));
    let mut fields = Vec::new();
    code.encode(&mut fields);
    reason.encode(&mut fields);
    Bytes::from(output).encode(&mut fields);
    fuel.encode(&mut fields);
    B256::ZERO.encode(&mut fields);
    fields.extend(all);
    let mut bytes = Vec::new();
    Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
    frame(5, &[bytes, fields].concat())
}

fn words(lie: &str) -> Vec<u8> {
    let (ok, denied) = (0, 2);
    match lie {
        "length" => vec![0xff; 64],
        "empty" => vec![0; 64],
        "version" => [&[0, 0, 0, 4], [9, 5, 0xc1, 0x80].as_slice()].concat(),
        "kind" => frame(77, &list(&[])),
        "fields" => frame(5, &list(&[&1_u8])),
        "more" => frame(3, &[list(&[&"feed", &"abc"]), vec![0]].concat()),
        "turn" => frame(2, &list(&[&"", &""])),
        "status" => answered(99, "", Vec::new(), 1, 0),
        "fuel" => answered(ok, "", guests::input(), u64::MAX, 0),
        "words" => answered(denied, &"x".repeat(REASON_SIZE_BYTES_MAX + 1), Vec::new(), 1, 0),
        "type" => answered(ok, "", vec![7; OUTPUT_SIZE_BYTES_MAX + 1], 1, 0),
        "both" => answered(denied, "no", guests::input(), 1, 0),
        "record" => answered(ok, "", guests::input(), 1, FETCHES_PER_CALL_MAX + 1),
        "fetch" => frame(3, &list(&[&"feed", &"abc"])),
        // More lines than a call may say, and one after the other without an end.
        "flood" => frame(4, &list(&[&0_u8, &"x"])).repeat(64),
        _ => Vec::new(),
    }
}

/// Speaks for a worker, and waits for what comes of it.
pub(crate) fn lie(lie: &str) -> String {
    let words = words(lie);
    loop {
        // SAFETY: bytes that live longer than the call.
        unsafe { libc::write(CHANNEL, words.as_ptr().cast(), words.len()) };
        if lie == "flood" {
            continue;
        }
        loop {
            let mut byte = 0_u8;
            // SAFETY: room for one byte.
            unsafe { libc::read(CHANNEL, (&raw mut byte).cast(), 1) };
        }
    }
}

/// No lie becomes an outcome.
pub(crate) fn no_lie_becomes_an_outcome() {
    for (lie, expected) in LIES {
        let scene = Scene::of(&format!("{PREFIX}{lie}"));
        let status = scene.play(20_000);
        assert_eq!(status.reason(), format!("the worker breaks the protocol: {expected}"), "{lie}");
        assert_eq!(status.code(), UnavailableKind::HostFault.code());
        assert_eq!(scene.workers(), 0, "{lie}: the worker is still there");
    }
    // Half a frame and then silence: time decides.
    let scene = Scene::of("lie-silence");
    let status = scene.play(300);
    assert!(
        matches!(&status, Status::Unavailable(trouble) if trouble.kind == UnavailableKind::Timeout),
        "{status:?}"
    );
    assert_eq!(scene.workers(), 0);
}
