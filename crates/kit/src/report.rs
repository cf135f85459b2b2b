//! What a build and a test run came to, to be printed or serialized.

use std::path::PathBuf;

use bletchley_cryptlet::{
    manifest::{FetchSource, Isolation, Limits, World},
    package::PackageId,
};
use serde::{Deserialize, Serialize};

use crate::{Language, Project};

/// What a build came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildReport {
    /// Name in the manifest.
    pub name: String,
    /// Version in the manifest.
    pub version: String,
    /// Source language.
    pub language: Language,
    /// Permission profile.
    pub world: World,
    /// How far the code must be kept from the host.
    pub isolation: Isolation,
    /// Budgets of one call.
    pub limits: Limits,
    /// Sources of outside data that it asks for.
    pub capabilities: Vec<FetchSource>,
    /// Interfaces that the component exports.
    pub exports: Vec<String>,
    /// Interfaces that the component imports: what it uses of its world.
    pub imports: Vec<String>,
    /// Length of the component.
    pub code_size_bytes: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub code_sha256: String,
    /// Identity of the package.
    pub package_id: PackageId,
    /// Nothing had changed since the build before, so nothing was compiled.
    pub was_current: bool,
    /// Files that were written, or were current, relative to the project's folder.
    pub files: Vec<PathBuf>,
    /// What the tests used, if they ran with exactly this package.
    pub tests: Vec<CaseFuel>,
}

/// Fuel of one test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseFuel {
    /// Name of the test.
    pub name: String,
    /// Method that it calls.
    pub method: String,
    /// Fuel that the call used.
    pub fuel_used: u64,
}

/// What a test run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// Identity of the package that was tested.
    pub package_id: PackageId,
    /// Name of the profile of the host, as on a node.
    pub profile: String,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Every test, in the order of files and of tests in them.
    pub cases: Vec<CaseReport>,
}

/// What one test came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// File that it is from, relative to the project's folder.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// Method that it calls.
    pub method: String,
    /// Whether everything was as expected.
    pub passed: bool,
    /// Fuel that the call used.
    pub fuel_used: u64,
    /// Digest over its sequence of host calls, in hexadecimal.
    pub host_calls_digest: String,
    /// Fetches that it made.
    pub fetches: usize,
    /// What is wrong, a line each; empty if it passed.
    pub problems: Vec<String>,
    /// Lines that the cryptlet logged.
    pub logs: Vec<String>,
}

/// The note of a full test run, for the report of a build.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tested {
    package_id: PackageId,
    cases: Vec<CaseFuel>,
}

impl Tested {
    /// Where it is, in the folder of generated files.
    pub(crate) const FILE: &'static str = "tested.json";

    /// What the tests of exactly this package used.
    pub(crate) fn of(project: &Project, package_id: PackageId) -> Vec<CaseFuel> {
        std::fs::read(project.generated().join(Self::FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|tested| tested.package_id == package_id)
            .map(|tested| tested.cases)
            .unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> String {
        // Names and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<&TestReport> for Tested {
    fn from(report: &TestReport) -> Self {
        let fuel = |case: &CaseReport| CaseFuel {
            name: case.name.clone(),
            method: case.method.clone(),
            fuel_used: case.fuel_used,
        };
        Self { package_id: report.package_id, cases: report.cases.iter().map(fuel).collect() }
    }
}
