//! A new project: a manifest, a source with a function for each method, and tests that pass.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bletchley_cryptlet::{
    manifest::{self, Manifest, ManifestError},
    package::MANIFEST_FILE,
};

use crate::{GENERATED_FOLDER, Language, generate, generate::GenerateError};

/// Who answers for a cryptlet until its developer says so.
const PUBLISHER: &str = "Nobody yet";

/// Why there is no new project.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A name that manifests may not have.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is something in the folder.
    #[error("{path} is not empty: give the name of a folder that is not there yet")]
    NotEmpty {
        /// Which folder.
        path: String,
    },
    /// The template's own bindings.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Makes a project that builds and whose tests pass, and gives the files that a developer may look at.
///
/// # Errors
/// [`CreateError`]; a folder that is not empty is left as it is.
pub fn create(folder: &Path, name: &str, language: Language) -> Result<Vec<PathBuf>, CreateError> {
    manifest::check_name(name)?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| CreateError::Io { path, source }
    };
    if folder.exists() && !is_empty(folder).map_err(failed(folder))? {
        return Err(CreateError::NotEmpty { path: folder.display().to_string() });
    }
    let mut written = Vec::new();
    for (path, text) in template(language) {
        let file = folder.join(path);
        let text = filled(text, name, language);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::write(&file, text).map_err(failed(&file))?;
        written.push(file);
    }
    // At once, so that an editor knows the types before the first build.
    let manifest = Manifest::from_toml(&filled(MANIFEST, name, language))?;
    generate::write(&folder.join(GENERATED_FOLDER), &generate::files(&manifest, language)?)
        .map_err(|(path, source)| CreateError::Io { path, source })?;
    Ok(written)
}

/// Whether there is nothing in a folder but what a version control system keeps.
fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.flatten().all(|entry| entry.file_name() == ".git"))
}

const MANIFEST: &str = include_str!("../templates/cryptlet.toml");

fn template(language: Language) -> Vec<(&'static str, &'static str)> {
    let source = match language {
        Language::JavaScript => include_str!("../templates/javascript/main.js"),
        Language::TypeScript => include_str!("../templates/typescript/main.ts"),
        Language::Python => include_str!("../templates/python/main.py"),
        Language::C => include_str!("../templates/c/main.c"),
        Language::Rust => include_str!("../templates/rust/lib.rs"),
    };
    let mut files = vec![
        (MANIFEST_FILE, MANIFEST),
        (language.source(), source),
        ("tests/hello.toml", include_str!("../templates/tests.toml")),
        (".gitignore", include_str!("../templates/gitignore")),
    ];
    let package = ("package.json", include_str!("../templates/javascript/package.json"));
    match language {
        Language::JavaScript => {
            files.extend([package, ("jsconfig.json", include_str!("../templates/javascript/jsconfig.json"))]);
        }
        Language::TypeScript => {
            files.extend([package, ("tsconfig.json", include_str!("../templates/typescript/tsconfig.json"))]);
        }
        Language::Python => {
            files.push(("pyrightconfig.json", "{ \"extraPaths\": [\".bletchley/python\"] }\n"));
        }
        Language::C => files.push(("compile_flags.txt", "-std=c17\n-I.bletchley\n")),
        Language::Rust => files.push(("Cargo.toml", include_str!("../templates/rust/Cargo.toml"))),
    }
    files
}

fn filled(text: &str, name: &str, language: Language) -> String {
    let (fuel, memory_bytes) = match language {
        Language::JavaScript | Language::TypeScript => ("50_000_000", "16_777_216"),
        Language::Python => ("500_000_000", "134_217_728"),
        Language::C | Language::Rust => ("10_000_000", "2_097_152"),
    };
    let ignored = match language {
        Language::JavaScript | Language::TypeScript => "/node_modules/",
        Language::Python => "__pycache__/",
        Language::C => "*.o",
        Language::Rust => "/target/",
    };
    text.replace("@name@", name)
        .replace("@publisher@", PUBLISHER)
        .replace("@language@", language.name())
        .replace("@fuel@", fuel)
        .replace("@memory_bytes@", memory_bytes)
        .replace("@ignored@", ignored)
}
