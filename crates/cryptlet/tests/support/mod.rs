//! What the tests of the host share: a container with a cache of compiled code, calls, and the ECB's real history.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use alloy_primitives::{Address, B256, Bytes};
use bletchley_cryptlet::{
    aot::{AotCache, AotSecret},
    container::{Container, Invocation, Outcome, Outside, Status},
    ecb::{ECB_PATH_PREFIX, History},
    fetch::{Fetched, Fetcher},
    host::WasmContainer,
    manifest::{FetchSource, Isolation},
    package::{Package, PackageId},
};
use bletchley_primitives::{Height, LedgerId, TimestampMs};
use serde_json::Value;

/// 2026-10-31T12:00:00Z, the day after the history ends.
pub(crate) const AS_OF_MS: u64 = 1_793_448_000_000;

pub(crate) static HISTORY: LazyLock<History> =
    LazyLock::new(|| History::from_zip(include_bytes!("../../../../tests/data/eurofxref-hist.zip")).unwrap());

/// Answers from the real history, without a socket.
pub(crate) struct EcbFetcher;

impl Fetcher for EcbFetcher {
    fn get(&self, source: &FetchSource, path: &str, _timeout: Duration) -> Fetched {
        assert_eq!(source.name, "ecb");
        let response = HISTORY.respond(&format!("{ECB_PATH_PREFIX}{path}"));
        Fetched::Response { status: response.status, body: response.body.into_bytes().into() }
    }
}

pub(crate) fn cryptlet(name: &str) -> Package {
    Package::from_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cryptlets").join(name)).unwrap()
}

/// A container over a cache that outlives the test run, so that the ready-made cryptlets compile once.
pub(crate) fn container(fetcher: Arc<dyn Fetcher>) -> WasmContainer {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cryptlet-aot");
    let cache = AotCache::open(&folder, AotSecret::new([7; 32].into())).unwrap();
    WasmContainer::open(Some(Arc::new(cache)), fetcher).unwrap()
}

pub(crate) fn invocation(method: &str, input: Vec<u8>) -> Invocation {
    Invocation {
        call_id: B256::repeat_byte(1),
        ledger: LedgerId(B256::repeat_byte(2)),
        height: Height(3),
        block_time: TimestampMs(AS_OF_MS - 1),
        as_of: TimestampMs(AS_OF_MS),
        caller: Address::repeat_byte(4),
        method: method.to_owned(),
        input: Bytes::from(input),
        fuel_max: u64::MAX,
        timeout_ms: u64::MAX,
        outside: Outside::Live,
        isolation: Isolation::InProcess,
    }
}

/// Calls with values by JSON, and gives the outputs by JSON or the failure's code and reason.
pub(crate) fn call(
    container: &WasmContainer,
    package: &PackageId,
    method: &str,
    values: &Value,
) -> Result<(Value, Outcome), (u8, String)> {
    let manifest = container.manifest(package).unwrap();
    let outcome =
        container.invoke(package, &invocation(method, manifest.encode_call(method, values).unwrap()));
    match &outcome.status {
        Status::Ok => Ok((manifest.decode_output(method, &outcome.output).unwrap(), outcome)),
        other => Err((other.code(), other.reason().to_owned())),
    }
}
