//! Guests that mean harm: each is refused or fails with its own code, and the host answers the next call.
use std::{
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use crate::{Kind, support::invocation};
use alloy_primitives::{B256, Bytes, keccak256};
use bletchley_cryptlet::{
    container::{
        Container, FailureKind, INPUT_SIZE_BYTES_MAX, Invocation, LoadError, OUTPUT_SIZE_BYTES_MAX, Outcome,
        Outside, Status, UnavailableKind,
    },
    fetch::{Fetched, Fetcher, NoFetcher},
    host::{CheckError, WasmContainer, limits},
    manifest::{FetchSource, Isolation, Manifest},
    package::{CODE_SIZE_BYTES_MAX, Package, PackageId},
    transcript::FETCHES_PER_CALL_MAX,
};
use serde_json::json;

const FUEL: u64 = 10_000_000;
const MEMORY_BYTES: u64 = 1 << 20;

pub(crate) fn manifest(world: &str, more: &str) -> Manifest {
    let source = if world == "oracle" {
        "[[capabilities.fetch]]\nname = \"feed\"\nurl_prefix = \"https://feed.example/\"\n"
    } else {
        ""
    };
    Manifest::from_toml(&format!(
        "name = \"guest\"\nversion = \"1.0.0\"\npublisher = \"test\"\nlanguage = \"wat\"\nworld = \"{world}\"\n\
         [limits]\nfuel = {FUEL}\nmemory_bytes = {MEMORY_BYTES}\ntimeout_ms = 5000\n{more}{source}\
         [[methods]]\nname = \"echo\"\ninputs = [{{ name = \"given\", type = \"bytes\" }}]\noutputs = [{{ name = \"back\", type = \"bytes\" }}]\n"
    ))
    .unwrap()
}

/// A component whose `handle(method, method_size, input, input_size)` has this body. `imports` are instances of the
/// component, `lowered` core functions made of them, `host` how the core module imports those.
fn component(imports: &str, lowered: &str, host: &str, module: &str, body: &str) -> Vec<u8> {
    let with = if host.is_empty() { "" } else { "(with \"host\" (instance $lowered))" };
    let text = format!(
        r#"(component
            (import "bletchley:cryptlet/types@1.0.0" (instance $types
                (type $e (variant (case "invalid-input" string) (case "denied" string) (case "unavailable" string) (case "internal" string)))
                (export "cryptlet-error" (type (eq $e)))))
            (alias export $types "cryptlet-error" (type $error))
            {imports}
            (core module $memory (memory (export "memory") 1)
                (global $heap (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    (local.get $at)))
            (core instance $shared (instantiate $memory))
            (alias core export $shared "memory" (core memory $mem))
            (alias core export $shared "realloc" (core func $realloc))
            {lowered}
            (core module $main
                (import "shared" "memory" (memory 1))
                {host}
                {module}
                (func (export "handle") (param $method i32) (param $method_size i32) (param $input i32) (param $input_size i32) (result i32)
                    {body}))
            (core instance $main (instantiate $main (with "shared" (instance $shared)) {with}))
            (func $handle (param "method" string) (param "input" (list u8)) (result (result (list u8) (error $error)))
                (canon lift (core func $main "handle") (memory $mem) (realloc $realloc)))
            (instance $handler (export "handle" (func $handle)))
            (export "bletchley:cryptlet/handler@1.0.0" (instance $handler)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn pure(module: &str, body: &str) -> Vec<u8> {
    component("", "", "", module, body)
}

/// Answers ok with what is at these places in memory.
pub(crate) fn answer(at: &str, size: &str) -> String {
    format!(
        "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) {at}) (i32.store (i32.const 8) {size}) (i32.const 0)"
    )
}

pub(crate) fn echo() -> Vec<u8> {
    pure("", &answer("(local.get $input)", "(local.get $input_size)"))
}

pub(crate) fn package(world: &str, code: Vec<u8>) -> Package {
    Package::new(manifest(world, ""), code.into()).unwrap()
}

fn open(kind: Kind) -> Box<dyn Container> {
    kind.open(Arc::new(NoFetcher))
}

pub(crate) fn input() -> Vec<u8> {
    manifest("utility", "").encode_call("echo", &json!(["0x0102"])).unwrap()
}

pub(crate) fn is_alive(container: &dyn Container) {
    let id = container.load(&package("utility", echo()), Isolation::InProcess).unwrap();
    let outcome = container.invoke(&id, &invocation("echo", input()));
    assert_eq!((&outcome.status, &outcome.output), (&Status::Ok, &Bytes::from(input())));
}

/// Another container, which every outcome of the suite is compared with.
static TWIN: LazyLock<WasmContainer> = LazyLock::new(|| WasmContainer::open(None, Arc::new(Feed)).unwrap());

fn run(container: &dyn Container, world: &str, code: Vec<u8>) -> Outcome {
    let package = package(world, code);
    let id = container.load(&package, Isolation::InProcess).unwrap();
    let call = invocation("echo", input());
    let outcome = container.invoke(&id, &call);
    TWIN.load(&package, Isolation::InProcess).unwrap();
    assert_eq!(outcome, TWIN.invoke(&id, &call), "{} and its twin differ", container.name());
    let repeated = Invocation { outside: Outside::Recorded(Arc::new(outcome.transcript.clone())), ..call };
    assert_eq!(container.invoke(&id, &repeated), outcome, "{} repeats", container.name());
    is_alive(container);
    outcome
}

fn fails(container: &dyn Container, code: Vec<u8>, kind: FailureKind) -> Outcome {
    let outcome = run(container, "utility", code);
    assert_eq!(outcome.status.code(), kind.code(), "{:?}", outcome.status);
    assert!(outcome.output.is_empty() && outcome.status.is_recordable());
    let reason = outcome.status.reason();
    assert!(!reason.is_empty() && !reason.contains("0x") && !reason.contains('\n'), "{reason}");
    outcome
}

pub(crate) fn code_that_runs_wild_fails_with_its_own_code(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let spin = fails(container, pure("", "(loop $l (br $l)) (unreachable)"), FailureKind::OutOfFuel);
    assert_eq!(spin.fuel_used, FUEL);
    fails(container, pure("(func $f (call $f))", "(call $f) (unreachable)"), FailureKind::StackOverflow);
    let wide = "(func $f (param i64 i64 i64 i64) (result i64) (local i64 i64 i64 i64 i64 i64) (i64.add (call $f (local.get 1) (local.get 2) (local.get 3) (local.get 0)) (local.get 1)))";
    fails(
        container,
        pure(wide, "(drop (call $f (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4))) (unreachable)"),
        FailureKind::StackOverflow,
    );
    fails(
        container,
        pure("", "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (unreachable)"),
        FailureKind::OutOfMemory,
    );
    fails(
        container,
        pure("", "(drop (memory.grow (i32.const 65000))) (unreachable)"),
        FailureKind::OutOfMemory,
    );
    fails(container, pure("", "(unreachable)"), FailureKind::Trap);
    fails(container, pure("", "(i32.div_u (i32.const 1) (i32.const 0))"), FailureKind::Trap);
    fails(container, pure("", "(i32.load (i32.const -4))"), FailureKind::Trap);
    let table = "(table $t 1 funcref)";
    fails(
        container,
        pure(
            table,
            "(loop $l (drop (table.grow $t (ref.null func) (i32.const 30000))) (br $l)) (unreachable)",
        ),
        FailureKind::OutOfMemory,
    );
}

pub(crate) fn answers_that_break_the_convention_fail_with_their_own_code(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let sized = |size: usize| {
        pure(
            "",
            &format!(
                "(drop (memory.grow (i32.const 15))) {}",
                answer("(i32.const 0)", &format!("(i32.const {size})"))
            ),
        )
    };
    fails(container, sized(OUTPUT_SIZE_BYTES_MAX + 1), FailureKind::OutputTooLarge);
    fails(container, sized(limits::TRANSFER_SIZE_BYTES_MAX + 1), FailureKind::OutputTooLarge);
    // Past the end of memory, misaligned, no such case, no such error, an error that is not UTF-8.
    fails(container, sized(2 << 20), FailureKind::AbiViolation);
    fails(container, pure("", "(i32.const 2)"), FailureKind::AbiViolation);
    fails(container, pure("", "(i32.const -4)"), FailureKind::AbiViolation);
    fails(
        container,
        pure("", "(i32.store8 (i32.const 0) (i32.const 7)) (i32.const 0)"),
        FailureKind::AbiViolation,
    );
    fails(
        container,
        pure(
            "",
            "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 9)) (i32.const 0)",
        ),
        FailureKind::AbiViolation,
    );
    let not_text = "(i32.store8 (i32.const 64) (i32.const 255)) (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0)) (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 1)) (i32.const 0)";
    fails(container, pure("", not_text), FailureKind::AbiViolation);
    // Bytes, but not the tuple that the manifest declares.
    fails(container, pure("", &answer("(local.get $input)", "(i32.const 33)")), FailureKind::AbiViolation);
    fails(container, pure("", &answer("(i32.const 0)", "(i32.const 0)")), FailureKind::AbiViolation);
}

pub(crate) fn what_the_host_is_called_with_is_bounded(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let clock =
        r#"(import "bletchley:cryptlet/clock@1.0.0" (instance $clock (export "now" (func (result u64)))))"#;
    let lowered = r#"(core func $now (canon lower (func $clock "now"))) (core instance $lowered (export "now" (func $now)))"#;
    let host = r#"(import "host" "now" (func $now (result i64)))"#;
    let flood = component(clock, lowered, host, "", "(loop $l (drop (call $now)) (br $l)) (unreachable)");
    fails(container, flood.clone(), FailureKind::HostCallLimit);

    let random = r#"(import "bletchley:cryptlet/random@1.0.0" (instance $random (export "bytes" (func (param "size-bytes" u32) (result (list u8))))))"#;
    let lowered = r#"(core func $bytes (canon lower (func $random "bytes") (memory $mem) (realloc $realloc))) (core instance $lowered (export "bytes" (func $bytes)))"#;
    let host = r#"(import "host" "bytes" (func $bytes (param i32 i32)))"#;
    let much =
        component(random, lowered, host, "", "(call $bytes (i32.const 4097) (i32.const 512)) (unreachable)");
    fails(container, much, FailureKind::HostCallLimit);

    let log = r#"(import "bletchley:cryptlet/log@1.0.0" (instance $log
        (type $l (enum "debug" "info" "warn" "error")) (export "level" (type $level (eq $l)))
        (export "emit" (func (param "level" $level) (param "message" string)))))"#;
    let lowered = r#"(core func $emit (canon lower (func $log "emit") (memory $mem))) (core instance $lowered (export "emit" (func $emit)))"#;
    let host = r#"(import "host" "emit" (func $emit (param i32 i32 i32)))"#;
    // Fuel pays for every byte, so that a flood of long lines ends early.
    let long = component(
        log,
        lowered,
        host,
        "",
        "(loop $l (call $emit (i32.const 1) (i32.const 2048) (i32.const 60000)) (br $l)) (unreachable)",
    );
    fails(container, long, FailureKind::OutOfFuel);
    let outside = component(
        log,
        lowered,
        host,
        "",
        "(call $emit (i32.const 1) (i32.const 2048) (i32.const -1)) (unreachable)",
    );
    fails(container, outside, FailureKind::AbiViolation);
    let no_level = component(
        log,
        lowered,
        host,
        "",
        "(call $emit (i32.const 9) (i32.const 0) (i32.const 0)) (unreachable)",
    );
    fails(container, no_level, FailureKind::AbiViolation);
}

/// Answers every path with its own length of `x`.
pub(crate) struct Feed;

impl Fetcher for Feed {
    fn get(&self, _source: &FetchSource, path: &str, _timeout: Duration) -> Fetched {
        Fetched::Response { status: 200, body: vec![b'x'; path.len()].into() }
    }
}

fn fetching(source: &str, body: &str) -> Vec<u8> {
    let fetch = r#"(import "bletchley:cryptlet/fetch@1.0.0" (instance $fetch
        (type $r (record (field "status" u16) (field "body" (list u8)))) (export "response" (type $response (eq $r)))
        (type $f (variant (case "denied" string) (case "unavailable" string) (case "too-large" u64))) (export "fetch-error" (type $error (eq $f)))
        (export "get" (func (param "source" string) (param "path" string) (result (result $response (error $error)))))))"#;
    let lowered = r#"(core func $get (canon lower (func $fetch "get") (memory $mem) (realloc $realloc))) (core instance $lowered (export "get" (func $get)))"#;
    let host = r#"(import "host" "get" (func $get (param i32 i32 i32 i32 i32)))"#;
    component(
        fetch,
        lowered,
        host,
        &format!("(data (i32.const 256) \"{source}\")(data (i32.const 300) \"abc/../d\")"),
        body,
    )
}

pub(crate) fn fetches_are_counted_granted_and_recorded(kind: Kind) {
    let container = kind.open(Arc::new(Feed));
    let container = container.as_ref();
    let get = |path: u32, size: u32| {
        format!(
            "(call $get (i32.const 256) (i32.const 4) (i32.const {path}) (i32.const {size}) (i32.const 512))"
        )
    };
    let echo = answer("(local.get $input)", "(local.get $input_size)");

    let two = run(container, "oracle", fetching("feed", &format!("{} {} {echo}", get(300, 3), get(300, 8))));
    assert_eq!(two.status, Status::Ok);
    let records: Vec<_> =
        two.transcript.fetches.iter().map(|record| (record.result, record.body.len())).collect();
    assert_eq!(records[0], (0, 3));
    assert_eq!(records[1].0, 1, "a path that leaves its source is denied");

    let stranger = run(container, "oracle", fetching("food", &format!("{} {echo}", get(300, 3))));
    assert_eq!(
        stranger.transcript.fetches[0].result, 1,
        "a source that the manifest does not name is denied"
    );

    let flood = run(
        container,
        "oracle",
        fetching("feed", &format!("(loop $l {} (br $l)) (unreachable)", get(300, 3))),
    );
    assert_eq!(flood.status.code(), FailureKind::HostCallLimit.code());
    assert_eq!(flood.transcript.fetches.len(), FETCHES_PER_CALL_MAX);
    let long = run(container, "oracle", fetching("feed", &format!("{} (unreachable)", get(1024, 2000))));
    assert_eq!(long.status.code(), FailureKind::HostCallLimit.code());
}

pub(crate) fn what_is_no_cryptlet_is_refused_before_it_is_compiled(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let refused =
        |world: &str, code: Vec<u8>| match container.load(&package(world, code), Isolation::InProcess) {
            Err(LoadError::Refused { source, .. }) => source,
            other => panic!("{other:?}"),
        };
    let fetch = fetching("feed", "(unreachable)");
    let CheckError::Import { import, world } = refused("utility", fetch) else { panic!("no import") };
    assert_eq!((import.as_str(), world), ("bletchley:cryptlet/fetch@1.0.0", "utility"));
    let wasi = component(r#"(import "wasi:cli/environment@0.2.0" (instance))"#, "", "", "", "(unreachable)");
    let CheckError::Import { import, .. } = refused("oracle", wasi) else { panic!("no import") };
    assert_eq!(import, "wasi:cli/environment@0.2.0");
    let version =
        component(r#"(import "bletchley:cryptlet/clock@2.0.0" (instance))"#, "", "", "", "(unreachable)");
    assert!(matches!(refused("utility", version), CheckError::Import { .. }));
    assert_eq!(refused("utility", wat::parse_str("(component)").unwrap()), CheckError::NoHandler);
    assert!(matches!(
        refused("utility", wat::parse_str("(module)").unwrap()),
        CheckError::NotAComponent { .. }
    ));
    assert!(matches!(refused("utility", b"(component)".to_vec()), CheckError::NotAComponent { .. }));
    let threads = pure("(memory $m 1 1 shared)", "(unreachable)");
    assert!(matches!(refused("utility", threads), CheckError::Invalid(_)));
    let wide_memory = pure("(memory $m i64 1)", "(unreachable)");
    assert!(matches!(refused("utility", wide_memory), CheckError::Invalid(_)));
    let relaxed = pure(
        "",
        "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))) (unreachable)",
    );
    assert!(matches!(refused("utility", relaxed), CheckError::Invalid(_)));
    let good = echo();
    for cut in (8..good.len()).step_by(37) {
        refused("utility", good[..cut].to_vec());
    }
    let mut state = 1_u32;
    for _ in 0..300 {
        let mut bad = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bad.len();
            bad[at] = (state >> 24) as u8;
        }
        // Most are refused; the rest (a changed constant, say) are components like any other.
        if let Ok(id) = container.load(&package("utility", bad), Isolation::InProcess) {
            container.invoke(&id, &invocation("echo", input()));
            container.unload(&id);
        }
    }
    assert!(Package::new(manifest("utility", ""), vec![0; CODE_SIZE_BYTES_MAX + 1].into()).is_err());
    is_alive(container);
}

pub(crate) fn what_cannot_start_or_asks_too_much_is_not_loaded(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    for module in [
        "(func $s (loop $l (br $l))) (start $s)",
        "(func $s (unreachable)) (start $s)",
        "(memory $m 100)",
        "(memory $m 60000)",
        "(table $t 100000 funcref)",
    ] {
        let loaded = container.load(&package("utility", pure(module, "(unreachable)")), Isolation::InProcess);
        assert!(matches!(loaded, Err(LoadError::Unusable { .. })), "{module}: {loaded:?}");
        is_alive(container);
    }
    let many = "(core module $n) ".to_owned()
        + &"(core instance (instantiate $n)) ".repeat(limits::CORE_INSTANCES_MAX as usize);
    let loaded = container
        .load(&package("utility", component("", &many, "", "", "(unreachable)")), Isolation::InProcess);
    assert!(matches!(loaded, Err(LoadError::Unusable { .. })), "{loaded:?}");
    for (from, to) in [("10000000", "99999999999"), ("1048576", "999999999"), ("5000", "99999")] {
        let text = "name = \"guest\"\nversion = \"1.0.0\"\npublisher = \"test\"\nlanguage = \"wat\"\nworld = \"utility\"\n\
             [limits]\nfuel = 10000000\nmemory_bytes = 1048576\ntimeout_ms = 5000\n[[methods]]\nname = \"echo\"\n";
        let greedy =
            Package::new(Manifest::from_toml(&text.replacen(from, to, 1)).unwrap(), echo().into()).unwrap();
        assert!(
            matches!(container.load(&greedy, Isolation::InProcess), Err(LoadError::TooDemanding { .. })),
            "{to}"
        );
    }
    is_alive(container);
}

pub(crate) fn a_call_that_cannot_be_one_does_not_run(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let id = container.load(&package("utility", echo()), Isolation::InProcess).unwrap();
    let code = |method: &str, input: Vec<u8>| container.invoke(&id, &invocation(method, input)).status.code();
    assert_eq!(code("ecco", input()), FailureKind::UnknownMethod.code());
    assert_eq!(code("echo", vec![0; INPUT_SIZE_BYTES_MAX + 1]), FailureKind::InputTooLarge.code());
    assert_eq!(code("echo", vec![1, 2, 3]), FailureKind::InvalidInput.code());
    assert_eq!(code("echo", [input(), vec![0; 32]].concat()), FailureKind::InvalidInput.code());
    let absent = PackageId(B256::ZERO);
    assert_eq!(
        container.invoke(&absent, &invocation("echo", input())).status.code(),
        UnavailableKind::NotLoaded.code()
    );
    container.unload(&id);
    assert_eq!(code("echo", input()), UnavailableKind::NotLoaded.code());
}

pub(crate) fn the_wall_clock_is_a_backstop_and_no_result(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let text = manifest("utility", "");
    let patient = Manifest {
        limits: bletchley_cryptlet::manifest::Limits { fuel: limits::FUEL_MAX, ..text.limits },
        ..text
    };
    let package = Package::new(patient, pure("", "(loop $l (br $l)) (unreachable)").into()).unwrap();
    let id = container.load(&package, Isolation::InProcess).unwrap();
    let mut call = invocation("echo", input());
    call.timeout_ms = 30;
    let outcome = container.invoke(&id, &call);
    assert_eq!(outcome.status.code(), UnavailableKind::Timeout.code());
    assert!(!outcome.status.is_recordable());
    is_alive(container);
}

pub(crate) fn the_call_s_context_and_randomness_are_its_own(kind: Kind) {
    let container = open(kind);
    let container = container.as_ref();
    let context = r#"(import "bletchley:cryptlet/context@1.0.0" (instance $context
        (type $r (record (field "call-id" (list u8)) (field "ledger" (list u8)) (field "height" u64) (field "block-time-ms" u64) (field "caller" (list u8))))
        (export "call-context" (type $call (eq $r)))
        (export "current" (func (result $call)))))
        (import "bletchley:cryptlet/random@1.0.0" (instance $random (export "bytes" (func (param "size-bytes" u32) (result (list u8))))))"#;
    let lowered = r#"(core func $current (canon lower (func $context "current") (memory $mem) (realloc $realloc)))
        (core func $bytes (canon lower (func $random "bytes") (memory $mem) (realloc $realloc)))
        (core instance $lowered (export "current" (func $current)) (export "bytes" (func $bytes)))"#;
    let host = r#"(import "host" "current" (func $current (param i32))) (import "host" "bytes" (func $bytes (param i32 i32)))"#;
    // The ABI's bytes of 32 + 8 + 8 + 20 + 32: call id, height, time, caller, randomness.
    let body = format!(
        "(call $current (i32.const 512)) (i32.store8 (i32.const 631) (i32.const 32)) (i32.store8 (i32.const 663) (i32.const 100))
         (memory.copy (i32.const 664) (i32.load (i32.const 512)) (i32.const 32))
         (memory.copy (i32.const 696) (i32.const 528) (i32.const 16))
         (memory.copy (i32.const 712) (i32.load (i32.const 544)) (i32.const 20))
         (call $bytes (i32.const 32) (i32.const 576))
         (memory.copy (i32.const 732) (i32.load (i32.const 576)) (i32.const 32)) {}",
        answer("(i32.const 600)", "(i32.const 192)")
    );
    let package = package("utility", component(context, lowered, host, "", &body));
    let id = container.load(&package, Isolation::InProcess).unwrap();
    let mut call = invocation("echo", input());
    let first = container.invoke(&id, &call);
    assert_eq!(first.status, Status::Ok);
    let seen = first.output.slice(64..164);
    assert_eq!(seen[..32], call.call_id[..]);
    assert_eq!(seen[32..40], call.height.0.to_le_bytes());
    assert_eq!(seen[40..48], call.block_time.0.to_le_bytes());
    assert_eq!(seen[48..68], call.caller[..]);
    let expected =
        keccak256([b"bletchley/cryptlet/random/1".as_slice(), call.call_id.as_slice(), &[0; 8]].concat());
    assert_eq!(seen[68..], expected[..]);
    assert_eq!(container.invoke(&id, &call), first);
    call.call_id = B256::repeat_byte(9);
    let second = container.invoke(&id, &call);
    assert_ne!(second.output.slice(132..164), first.output.slice(132..164));
    assert_ne!(second.host_calls_digest, first.host_calls_digest);
    assert_eq!(second.fuel_used, first.fuel_used);
}

pub(crate) fn outcomes_are_the_same_on_every_host_and_thread(kind: Kind) {
    let guests = [
        echo(),
        pure("", "(loop $l (br $l)) (unreachable)"),
        pure("", "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (unreachable)"),
        pure("(func $f (call $f))", "(call $f) (unreachable)"),
    ];
    for code in guests {
        let (first, second) = (open(kind), open(kind));
        let id = first.load(&package("utility", code.clone()), Isolation::InProcess).unwrap();
        second.load(&package("utility", code), Isolation::InProcess).unwrap();
        let expected = first.invoke(&id, &invocation("echo", input()));
        let (first, second, expected) = (first.as_ref(), second.as_ref(), &expected);
        // More threads than places, so that some wait for one.
        thread::scope(|scope| {
            for worker in 0..limits::CONCURRENT_CALLS_MAX + 8 {
                scope.spawn(move || {
                    let container = if worker % 2 == 0 { first } else { second };
                    for _ in 0..5 {
                        assert_eq!(&container.invoke(&id, &invocation("echo", input())), expected);
                    }
                });
            }
        });
    }
}
