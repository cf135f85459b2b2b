//! From the developer's folder to a package: generate, compile, check, describe.

mod c;
mod component;
mod inputs;
mod javascript;
mod python;
mod rust;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use bletchley_cryptlet::{
    header, host,
    host::CheckError,
    package::{Package, PackageError},
    schema,
};

pub use crate::generate::GenerateError;
use crate::{
    BuildReport, Language, OUT_FOLDER, Project, ToolError, Tools, generate, process, report::Tested,
};

/// What headers import.
const DELEGATE: &str = include_str!("../../../../contracts/src/CryptoDelegate.sol");

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The manifest asks for what the language does not have.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A tool is not there.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// There is no source.
    #[error("there is no {path}: it holds the functions of the cryptlet")]
    NoSource {
        /// Where it is looked for.
        path: String,
    },
    /// The source does not compile, or lacks a method.
    #[error("{source_file} does not build:\n{words}")]
    Compile {
        /// The developer's file.
        source_file: &'static str,
        /// What the compiler says.
        words: String,
    },
    /// The compiled code does not fit the manifest's world.
    #[error("{source_file} uses what world `{world}` does not have: {words}")]
    World {
        /// The developer's file.
        source_file: &'static str,
        /// World in the manifest.
        world: &'static str,
        /// What is wrong, and what to do.
        words: String,
    },
    /// The component would be refused by every host.
    #[error("the component would be refused by hosts: {0}")]
    Check(#[from] CheckError),
    /// The package is not one.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Builds what has changed.
pub(crate) fn build(
    project: &Project,
    tools: &Tools,
    progress: &dyn Fn(&str),
) -> Result<BuildReport, BuildError> {
    let (manifest, language) = (project.manifest(), project.language());
    let source = project.folder().join(language.source());
    if !source.is_file() {
        return Err(BuildError::NoSource { path: source.display().to_string() });
    }
    let generated = generate::files(manifest, language)?;
    generate::write(&project.generated(), &generated)
        .map_err(|(path, source)| BuildError::Io { path, source })?;
    let digest = inputs::digest(project, &generated)?;
    let was_current = inputs::is_current(project, &digest);
    if !was_current {
        progress(&format!("building {} from {}", manifest.name, language.source()));
        let component = match language {
            Language::JavaScript | Language::TypeScript => javascript::component(project, tools, progress)?,
            Language::Python => python::component(project, tools, progress)?,
            Language::C => c::component(project, tools, progress)?,
            Language::Rust => rust::component(project, tools, progress)?,
        };
        host::check(&component, manifest.world)?;
        replace(&project.component(), &component)?;
        inputs::mark(project, &digest, &component)?;
    }
    let package = Package::from_folder(project.folder())?;
    describe(project, &package, was_current)
}

/// Writes what contracts and clients see, and says what there is.
fn describe(project: &Project, package: &Package, was_current: bool) -> Result<BuildReport, BuildError> {
    let manifest = package.manifest();
    let interfaces = host::interfaces(package.code())?;
    let out = Path::new(OUT_FOLDER);
    let mut files = vec![PathBuf::from(format!("{}.wasm", manifest.name))];
    for (name, text) in [
        (format!("cryptlets/{}", header::file_name(package)), header::solidity(package)),
        // Beside the folder that it is in, the header finds what it imports.
        ("CryptoDelegate.sol".to_owned(), DELEGATE.to_owned()),
        ("abi.json".to_owned(), pretty(&header::json_abi(package))),
        ("schema.json".to_owned(), pretty(&schema::json_schema(manifest))),
    ] {
        let file = out.join(name);
        replace(&project.folder().join(&file), text.as_bytes())?;
        files.push(file);
    }
    Ok(BuildReport {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        language: project.language(),
        world: manifest.world,
        isolation: manifest.isolation,
        limits: manifest.limits,
        capabilities: manifest.capabilities.fetch.clone(),
        exports: interfaces.exports,
        imports: interfaces.imports,
        code_size_bytes: package.code().len() as u64,
        code_sha256: hex::encode(package.code_sha256()),
        package_id: package.id(),
        was_current,
        files,
        tests: Tested::of(project, package.id()),
    })
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Replaces a file as a whole: what was built before stays until this is complete.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let failed = |source| BuildError::Io { path: path.display().to_string(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut making = path.as_os_str().to_owned();
    making.push(format!(".{}", std::process::id()));
    let making = PathBuf::from(making);
    fs::write(&making, bytes).and_then(|()| fs::rename(&making, path)).map_err(|source| {
        let _ = fs::remove_file(&making);
        failed(source)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::Io { path: path.display().to_string(), source })
}

/// Runs a compiler; what it says is the developer's business.
fn compile(project: &Project, command: &mut Command) -> Result<(), BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = process::run(command).map_err(|source| BuildError::Io { path: program, source })?;
    if ended.succeeded {
        return Ok(());
    }
    // Paths below the project's folder are what a developer knows.
    let words = ended.words.replace(&format!("{}/", project.folder().display()), "");
    Err(BuildError::Compile { source_file: project.language().source(), words })
}
