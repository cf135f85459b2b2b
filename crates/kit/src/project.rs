//! A folder that a cryptlet is developed in.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use bletchley_cryptlet::{
    manifest::{MANIFEST_SIZE_BYTES_MAX, Manifest, ManifestError},
    package::MANIFEST_FILE,
};

use crate::{BuildError, BuildReport, Language, TestError, TestReport, Tools, build, test};

/// Where generated files are, relative to the project's folder; nothing in it is worth keeping.
pub const GENERATED_FOLDER: &str = ".bletchley";
/// Where the header, the ABI and the schema are written.
pub const OUT_FOLDER: &str = "out";
/// Where tests are.
pub const TESTS_FOLDER: &str = "tests";

/// A folder that a cryptlet is developed in.
#[derive(Clone, Debug)]
pub struct Project {
    folder: PathBuf,
    manifest: Manifest,
    language: Language,
}

/// Why a folder is not a project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The manifest cannot be read.
    #[error("cannot read {path}: {source}; `bletchley cryptlet new` makes a project")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is wrong.
    #[error("{path}: {source}")]
    Manifest {
        /// Which file.
        path: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// A language that there is no build for.
    #[error("{path}: language `{language}` is not one that can be built here: {known}")]
    Language {
        /// Which file.
        path: String,
        /// Name in the manifest.
        language: String,
        /// Those that can be.
        known: String,
    },
}

impl Project {
    /// Reads a folder's manifest.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub fn open(folder: &Path) -> Result<Self, ProjectError> {
        let file = folder.join(MANIFEST_FILE);
        let path = file.display().to_string();
        let mut text = String::new();
        fs::File::open(&file)
            .and_then(|file| file.take(MANIFEST_SIZE_BYTES_MAX as u64 + 1).read_to_string(&mut text))
            .map_err(|source| ProjectError::Read { path: path.clone(), source })?;
        let manifest = Manifest::from_toml(&text)
            .map_err(|source| ProjectError::Manifest { path: path.clone(), source })?;
        let language = Language::parse(&manifest.language).ok_or_else(|| ProjectError::Language {
            path,
            language: manifest.language.clone(),
            known: crate::language::names(),
        })?;
        // Absolute: tools run in other folders. A folder that was just read can be found.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Ok(Self { folder, manifest, language })
    }

    /// The project's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it is, answers and asks for.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is written in.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Builds `<name>.wasm`, the header, the ABI and the schema, if anything has changed since they were built.
    /// Afterwards the folder is a package that `Package::from_folder` reads.
    ///
    /// `progress` gets a line before each step that may take a while.
    ///
    /// # Errors
    /// [`BuildError`]; what was built before is left as it was.
    pub fn build(&self, tools: &Tools, progress: &dyn Fn(&str)) -> Result<BuildReport, BuildError> {
        build::build(self, tools, progress)
    }

    /// Builds, then runs the tests whose names contain `filter`, each twice and once more from its record, in the
    /// host that nodes run.
    ///
    /// # Errors
    /// [`TestError`] if they could not run; a test that fails is part of the report.
    pub fn test(
        &self,
        tools: &Tools,
        filter: Option<&str>,
        progress: &dyn Fn(&str),
    ) -> Result<TestReport, TestError> {
        test::test(self, tools, filter, progress)
    }

    pub(crate) fn generated(&self) -> PathBuf {
        self.folder.join(GENERATED_FOLDER)
    }

    pub(crate) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.manifest.name))
    }
}
