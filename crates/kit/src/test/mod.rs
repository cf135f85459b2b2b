//! Unit tests in the host that nodes run: the same engine, profile and limits, without a network.

mod fixtures;
mod logs;

use std::{fs, io, sync::Arc};

use alloy_dyn_abi::DynSolType;
use alloy_primitives::B256;
use bletchley_cryptlet::{
    abi,
    container::{Container, Invocation, LoadError, Outcome, Outside, Status},
    host::{OpenError, PROFILE_NAME, WasmContainer},
    manifest::{Isolation, Manifest},
    package::{Package, PackageError, PackageId},
};
use bletchley_primitives::{Height, LedgerId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::fixtures::Fixtures;
pub use crate::case::CaseError;
use crate::{
    BuildError, CaseReport, Project, TestReport, ToolError, Tools,
    case::{self, Case, Expected},
    report::Tested,
};

/// Why tests could not run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// There is nothing to test.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A test file.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// There are no tests, or none of this name.
    #[error("there is no test{} in tests/*.toml", .filter.as_ref().map(|name| format!(" with `{name}` in its name")).unwrap_or_default())]
    None {
        /// What was asked for.
        filter: Option<String>,
    },
    /// A tool.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The package cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The host does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host does not take the package.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What came out cannot be noted.
    #[error("cannot write what the tests came to: {0}")]
    Write(#[from] io::Error),
}

/// Builds, then runs the tests.
pub(crate) fn test(
    project: &Project,
    tools: &Tools,
    filter: Option<&str>,
    progress: &dyn Fn(&str),
) -> Result<TestReport, TestError> {
    let mut cases = case::read(project)?;
    cases.retain(|case| filter.is_none_or(|filter| case.name.contains(filter)));
    if cases.is_empty() {
        return Err(TestError::None { filter: filter.map(str::to_owned) });
    }
    project.build(tools, progress)?;
    let package = Package::from_folder(project.folder())?;
    let fixtures = Arc::new(Fixtures::default());
    let container = WasmContainer::open(Some(Arc::new(tools.aot()?)), Arc::clone(&fixtures) as _)?;
    progress(&format!("loading {} (compiled once for each build)", package.manifest().name));
    let loaded = container.load(&in_process(&package)?, Isolation::InProcess)?;
    let runner = Runner { container, loaded, fixtures, manifest: package.manifest().clone() };
    let reports: Vec<CaseReport> = cases.iter().map(|case| runner.run(case)).collect();
    let passed = reports.iter().filter(|report| report.passed).count();
    let report = TestReport {
        package_id: package.id(),
        profile: PROFILE_NAME.to_owned(),
        passed,
        failed: reports.len() - passed,
        cases: reports,
    };
    if filter.is_none() {
        fs::write(project.generated().join(Tested::FILE), Tested::from(&report).to_json())?;
    }
    Ok(report)
}

/// The developer runs their own code here: what the manifest asks of other hosts does not matter to an outcome.
fn in_process(package: &Package) -> Result<Package, PackageError> {
    let manifest = Manifest { isolation: Isolation::InProcess, ..package.manifest().clone() };
    Package::new(manifest, package.code().clone())
}

struct Runner {
    container: WasmContainer,
    loaded: PackageId,
    fixtures: Arc<Fixtures>,
    manifest: Manifest,
}

impl Runner {
    fn run(&self, case: &Case) -> CaseReport {
        let mut report = CaseReport {
            file: case.file.clone(),
            name: case.name.clone(),
            method: case.method.clone(),
            passed: false,
            fuel_used: 0,
            host_calls_digest: String::new(),
            fetches: 0,
            problems: Vec::new(),
            logs: Vec::new(),
        };
        let input = match self.manifest.encode_call(&case.method, &case.inputs) {
            Ok(input) => input,
            Err(error) => {
                report.problems.push(format!("inputs: {error}"));
                return report;
            }
        };
        let mut call = invocation(case, input);
        self.fixtures.begin(case.fixtures.clone());
        let (first, logs) = logs::of(|| self.container.invoke(&self.loaded, &call));
        report.problems = self.fixtures.problems();
        self.fixtures.begin(case.fixtures.clone());
        let second = self.container.invoke(&self.loaded, &call);
        call.outside = Outside::Recorded(Arc::new(first.transcript.clone()));
        let third = self.container.invoke(&self.loaded, &call);
        for (again, how) in [(second, "a second time"), (third, "from its record")] {
            if again != first {
                report
                    .problems
                    .push(format!("run {how}, the call comes to something else: {}", shown(&again)));
            }
        }
        report.problems.extend(self.judge(case, &first));
        report.passed = report.problems.is_empty();
        report.fuel_used = first.fuel_used;
        report.host_calls_digest = hex::encode(first.host_calls_digest);
        report.fetches = first.transcript.fetches.len();
        report.logs = logs;
        report
    }

    /// What is not as expected.
    fn judge(&self, case: &Case, outcome: &Outcome) -> Option<String> {
        match (&case.expected, &outcome.status) {
            (Expected::Outputs(outputs), Status::Ok) => {
                let found = match self.manifest.decode_output(&case.method, &outcome.output) {
                    Ok(found) => found,
                    Err(error) => return Some(error.to_string()),
                };
                match self.canonical(&case.method, outputs) {
                    Ok(expected) if expected == found => None,
                    Ok(expected) => Some(format!("expected {expected}\n   found {found}")),
                    Err(problem) => Some(format!("expect: {problem}\n   found {found}")),
                }
            }
            (Expected::Error(error), Status::Failed(_) | Status::Unavailable(_)) => {
                let (kind, reason) = (kind(&outcome.status), outcome.status.reason());
                let as_expected = kind == error.kind && reason.contains(&error.words);
                (!as_expected).then(|| {
                    format!("expected {}: ..{}..\n   found {kind}: {reason}", error.kind, error.words)
                })
            }
            (Expected::Outputs(outputs), _) => {
                Some(format!("expected {outputs}\n   found {}", shown(outcome)))
            }
            (Expected::Error(error), Status::Ok) => {
                let found = self.manifest.decode_output(&case.method, &outcome.output);
                let found = found.map_or_else(|error| error.to_string(), |found| found.to_string());
                Some(format!("expected {}: ..{}..\n   found {found}", error.kind, error.words))
            }
        }
    }

    /// Expected outputs as a call's outputs are shown: `7` and `"7"` are the same `uint256`.
    fn canonical(&self, method: &str, outputs: &Value) -> Result<Value, String> {
        let outputs_of = self.manifest.method(method).map(|method| method.outputs.as_slice());
        let types: Vec<(&str, DynSolType)> = outputs_of
            .unwrap_or_default()
            .iter()
            .map(|output| Ok((output.name.as_str(), abi::parse_type(&output.kind)?)))
            .collect::<Result<_, abi::AbiError>>()
            .map_err(|error| error.to_string())?;
        let bytes = abi::encode(&types, outputs).map_err(|error| error.to_string())?;
        abi::decode(&types, &bytes).map_err(|error| error.to_string())
    }
}

fn invocation(case: &Case, input: Vec<u8>) -> Invocation {
    // Another test, another call: its random bytes are its own, and the same on every run.
    let id = Sha256::digest(format!("{}\n{}", case.file.display(), case.name));
    Invocation {
        call_id: B256::from_slice(&id),
        ledger: LedgerId(B256::with_last_byte(1)),
        height: Height(case.height),
        block_time: case.block_time,
        as_of: case.as_of,
        caller: case.caller,
        method: case.method.clone(),
        input: input.into(),
        fuel_max: u64::MAX,
        timeout_ms: u64::MAX,
        outside: Outside::Live,
        isolation: Isolation::InProcess,
    }
}

fn kind(status: &Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Failed(failure) => failure.kind.name(),
        Status::Unavailable(unavailability) => unavailability.kind.name(),
    }
}

fn shown(outcome: &Outcome) -> String {
    match &outcome.status {
        Status::Ok => format!("0x{}", hex::encode(&outcome.output)),
        status => format!("{}: {}", kind(status), status.reason()),
    }
}
