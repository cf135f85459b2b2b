//! What stands between the component's one function and the developer's functions, written from the manifest.

mod c;
mod javascript;
mod kinds;
mod names;
mod python;
mod rust;

use std::{borrow::Cow, fs, io, path::Path};

use bletchley_cryptlet::manifest::{Manifest, World};

pub(crate) use kinds::Kind;
pub(crate) use python::signatures;

use crate::Language;

/// The world as every tool reads it.
pub(crate) const WIT: &str = include_str!("../../../../wit/cryptlet.wit");

/// A generated file.
pub(crate) struct File {
    /// Where it is below the folder of generated files.
    pub(crate) path: &'static str,
    /// What is in it.
    pub(crate) text: Cow<'static, str>,
}

/// Why nothing could be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// A type that the language's bindings do not have.
    #[error("`{method}.{parameter}` is `{kind}`, which cryptlets in {language} cannot have: {advice}")]
    Type {
        /// Method.
        method: String,
        /// Input or output.
        parameter: String,
        /// Its type in the manifest.
        kind: String,
        /// The language.
        language: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Two names that are one in the language.
    #[error("`{first}` and `{second}` are both `{name}` in {language}: rename one in cryptlet.toml")]
    Name {
        /// First name in the manifest.
        first: String,
        /// Second name in the manifest.
        second: String,
        /// What both become.
        name: String,
        /// The language.
        language: &'static str,
    },
}

/// Everything that a build of this language generates.
pub(crate) fn files(manifest: &Manifest, language: Language) -> Result<Vec<File>, GenerateError> {
    let mut files = match language {
        Language::JavaScript | Language::TypeScript => javascript::files(manifest, language)?,
        Language::Python => python::files(manifest)?,
        Language::C => c::files(manifest)?,
        Language::Rust => rust::files(manifest)?,
    };
    files.push(File { path: "wit/cryptlet.wit", text: WIT.into() });
    Ok(files)
}

/// Writes what is not there yet: a file that is written again looks changed to every tool.
pub(crate) fn write(folder: &Path, files: &[File]) -> Result<(), (String, io::Error)> {
    for file in files {
        let path = folder.join(file.path);
        let named = |source| (path.display().to_string(), source);
        if fs::read(&path).is_ok_and(|there| there == file.text.as_bytes()) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        fs::write(&path, file.text.as_bytes()).map_err(named)?;
    }
    Ok(())
}

/// Whether the world has outside data.
const fn has_fetch(world: World) -> bool {
    matches!(world, World::Oracle)
}

/// First line of every generated file of this project.
fn first_line(manifest: &Manifest) -> String {
    format!("Generated from cryptlet.toml of {} {}. Not to be edited.", manifest.name, manifest.version)
}
