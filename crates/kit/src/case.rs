//! Test files: a call, what outside data it meets, and what it should come to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::Address;
use bletchley_cryptlet::{container::FailureKind, container::UnavailableKind, fetch::check_path};
use bletchley_primitives::TimestampMs;
use serde::Deserialize;
use serde_json::Value;

use crate::{Project, TESTS_FOLDER};

/// Most test files.
const FILES_MAX: usize = 1_000;
/// Most bytes of a test file.
const FILE_SIZE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// 2026-01-01T00:00:00Z, for tests that do not care.
const AS_OF_MS: u64 = 1_767_225_600_000;

/// Why a test file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct CaseError {
    /// Which file.
    path: String,
    /// What is wrong.
    problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default, rename = "case")]
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    method: String,
    #[serde(default)]
    inputs: Value,
    as_of: Option<Moment>,
    block_time: Option<Moment>,
    height: Option<u64>,
    caller: Option<String>,
    expect: Option<Value>,
    error: Option<ExpectedError>,
    #[serde(default)]
    fetch: Vec<RawFixture>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Ms(u64),
    Text(String),
}

/// A failure that a test expects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedError {
    /// Stable name of the kind, such as `invalid-input`.
    pub(crate) kind: String,
    /// Words that its reason contains.
    #[serde(default)]
    pub(crate) words: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFixture {
    source: String,
    path: String,
    #[serde(default = "ok")]
    status: u16,
    body: Option<String>,
    body_file: Option<PathBuf>,
    error: Option<String>,
}

const fn ok() -> u16 {
    200
}

/// A test.
pub(crate) struct Case {
    /// File that it is from, relative to the project's folder.
    pub(crate) file: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// Method that it calls.
    pub(crate) method: String,
    /// Values of the inputs.
    pub(crate) inputs: Value,
    /// As-of time.
    pub(crate) as_of: TimestampMs,
    /// Time of the block.
    pub(crate) block_time: TimestampMs,
    /// Height of the block.
    pub(crate) height: u64,
    /// Contract that calls.
    pub(crate) caller: Address,
    /// What it should come to.
    pub(crate) expected: Expected,
    /// Outside data.
    pub(crate) fixtures: Vec<Fixture>,
}

/// What a call should come to.
pub(crate) enum Expected {
    /// These outputs.
    Outputs(Value),
    /// This failure.
    Error(ExpectedError),
}

/// An answer of a source.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    /// Name of the source.
    pub(crate) source: String,
    /// Path that is asked for.
    pub(crate) path: String,
    /// What it answers.
    pub(crate) answer: Answer,
}

/// What a source answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Over HTTP.
    Response {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
    /// Not granted by the host.
    Denied,
    /// No answer.
    Unavailable,
}

/// All tests of a project, by file and in the order of each file.
pub(crate) fn read(project: &Project) -> Result<Vec<Case>, CaseError> {
    let folder = project.folder().join(TESTS_FOLDER);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().take(FILES_MAX) {
        let shown = file.strip_prefix(project.folder()).unwrap_or(file).to_owned();
        let wrong = |problem: String| CaseError { path: shown.display().to_string(), problem };
        let size_bytes = file.metadata().map_err(|error| wrong(error.to_string()))?.len();
        if size_bytes > FILE_SIZE_BYTES_MAX {
            return Err(wrong(format!("{size_bytes} bytes, more than the {FILE_SIZE_BYTES_MAX} allowed")));
        }
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let parsed: CaseFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for (at, raw) in parsed.cases.into_iter().enumerate() {
            let name = raw.name.clone().unwrap_or_else(|| format!("{} {}", raw.method, at + 1));
            let case = case(raw, name.clone(), shown.clone(), &folder)
                .map_err(|problem| wrong(format!("test `{name}`: {problem}")))?;
            cases.push(case);
        }
    }
    Ok(cases)
}

fn case(raw: RawCase, name: String, file: PathBuf, folder: &Path) -> Result<Case, String> {
    let as_of = raw.as_of.map_or(Ok(AS_OF_MS), |moment| time(&moment))?;
    let caller = match raw.caller {
        None => Address::with_last_byte(1),
        Some(text) => text.parse().map_err(|_| format!("caller `{text}` is not an address"))?,
    };
    let expected = match (raw.expect, raw.error) {
        (Some(outputs), None) => Expected::Outputs(outputs),
        (None, Some(error)) => {
            check_kind(&error.kind)?;
            Expected::Error(error)
        }
        _ => return Err("needs either `expect` or `error`".to_owned()),
    };
    Ok(Case {
        file,
        name,
        method: raw.method,
        inputs: if raw.inputs.is_null() { Value::Object(serde_json::Map::new()) } else { raw.inputs },
        as_of: TimestampMs(as_of),
        block_time: TimestampMs(raw.block_time.map_or(Ok(as_of), |moment| time(&moment))?),
        height: raw.height.unwrap_or(1),
        caller,
        expected,
        fixtures: raw.fetch.into_iter().map(|raw| fixture(raw, folder)).collect::<Result<_, _>>()?,
    })
}

fn time(moment: &Moment) -> Result<u64, String> {
    match moment {
        Moment::Ms(time_ms) => Ok(*time_ms),
        Moment::Text(text) => {
            let wrong = || format!("`{text}` is not a time such as \"2026-01-05T12:00:00Z\"");
            let instant: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
            u64::try_from(instant.as_millisecond()).map_err(|_| wrong())
        }
    }
}

/// A kind that no host ever reports would make a test that cannot pass.
fn check_kind(kind: &str) -> Result<(), String> {
    let failures = (0..=u8::MAX).filter_map(FailureKind::from_code).map(FailureKind::name);
    let unavailable = (0..=u8::MAX).filter_map(UnavailableKind::from_code).map(UnavailableKind::name);
    let all: Vec<&str> = failures.chain(unavailable).collect();
    if all.contains(&kind) {
        return Ok(());
    }
    Err(format!("there is no error of kind `{kind}`; there are: {}", all.join(", ")))
}

fn fixture(raw: RawFixture, folder: &Path) -> Result<Fixture, String> {
    check_path(&raw.path).map_err(|problem| format!("fetch of `{}`: {problem}", raw.path))?;
    let body = match (raw.body, raw.body_file) {
        (Some(_), Some(_)) => return Err("a fetch has either `body` or `body_file`".to_owned()),
        (Some(text), None) => text.into_bytes(),
        (None, Some(file)) => {
            let file = folder.join(file);
            fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
        }
        (None, None) => Vec::new(),
    };
    let answer = match raw.error.as_deref() {
        None => Answer::Response { status: raw.status, body },
        Some("denied") => Answer::Denied,
        Some("unavailable") => Answer::Unavailable,
        Some(other) => return Err(format!("a fetch ends in `denied` or `unavailable`, not `{other}`")),
    };
    Ok(Fixture { source: raw.source, path: raw.path, answer })
}
