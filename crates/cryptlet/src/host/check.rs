//! What is read of a component before it is compiled: its size, that it is valid, what it imports and exports.

use wasmparser::{Encoding, Parser, Payload, Validator};

use super::engine::FEATURES;
use crate::{manifest::World, package::CODE_SIZE_BYTES_MAX};

/// The interface that every cryptlet exports.
pub const HANDLER: &str = "bletchley:cryptlet/handler@1.0.0";
/// Interfaces without functions: types that others share.
const TYPES: &str = "bletchley:cryptlet/types@1.0.0";
const UTILITY: &[&str] = &[
    TYPES,
    "bletchley:cryptlet/context@1.0.0",
    "bletchley:cryptlet/clock@1.0.0",
    "bletchley:cryptlet/random@1.0.0",
    "bletchley:cryptlet/log@1.0.0",
];
const ORACLE: &[&str] = &["bletchley:cryptlet/fetch@1.0.0"];
/// Most imports, and most exports, of a component.
const EXTERNS_MAX: usize = 64;

/// Why a component was refused before it was compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Longer than [`CODE_SIZE_BYTES_MAX`].
    #[error("the code is {size_bytes} bytes, more than the {CODE_SIZE_BYTES_MAX} allowed")]
    TooLong {
        /// Its length.
        size_bytes: usize,
    },
    /// Not a wasm component.
    #[error(
        "the code is {found}, not a wasm component: build it with the tools of your language for components"
    )]
    NotAComponent {
        /// What it is.
        found: &'static str,
    },
    /// A component that is not valid, or that uses features of wasm that the profile leaves out.
    #[error("the component is not valid under the profile: {0}")]
    Invalid(String),
    /// An import that the world does not grant.
    #[error("the component imports `{import}`, which world `{world}` does not grant")]
    Import {
        /// Name of the import.
        import: String,
        /// World in the manifest.
        world: &'static str,
    },
    /// No handler.
    #[error("the component does not export `{HANDLER}`")]
    NoHandler,
    /// Too many imports or exports.
    #[error("the component has more than {EXTERNS_MAX} imports or exports")]
    TooManyExterns,
}

/// Interfaces that a world grants.
pub(super) fn granted(world: World) -> impl Iterator<Item = &'static str> {
    let more: &[&str] = match world {
        World::Utility => &[],
        World::Oracle => ORACLE,
    };
    UTILITY.iter().chain(more).copied()
}

/// Reads a component without compiling it.
///
/// # Errors
/// [`CheckError`] for the first thing that is wrong.
pub fn check(code: &[u8], world: World) -> Result<(), CheckError> {
    if code.len() > CODE_SIZE_BYTES_MAX {
        return Err(CheckError::TooLong { size_bytes: code.len() });
    }
    // Imports first: a plain word about them helps more than a validator's.
    let externs = externs(code)?;
    for import in externs.imports {
        if !granted(world).any(|granted| granted == import) {
            let import = import.chars().take(128).collect();
            return Err(CheckError::Import { import, world: world.name() });
        }
    }
    if !externs.exports.contains(&HANDLER) {
        return Err(CheckError::NoHandler);
    }
    Validator::new_with_features(FEATURES).validate_all(code).map_err(invalid)?;
    Ok(())
}

/// What a component imports and exports, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// Interfaces that it asks for.
    pub imports: Vec<String>,
    /// Interfaces that it offers.
    pub exports: Vec<String>,
}

/// The names of what a component imports and exports.
///
/// # Errors
/// [`CheckError`] if it is not a component that can be read.
pub fn interfaces(code: &[u8]) -> Result<Interfaces, CheckError> {
    let externs = externs(code)?;
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Ok(Interfaces { imports: owned(externs.imports), exports: owned(externs.exports) })
}

struct Externs<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

fn externs(code: &[u8]) -> Result<Externs<'_>, CheckError> {
    let mut externs = Externs { imports: Vec::new(), exports: Vec::new() };
    if !code.starts_with(b"\0asm") {
        return Err(CheckError::NotAComponent { found: "no wasm" });
    }
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(code) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(CheckError::NotAComponent { found: "a core wasm module" });
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    push(&mut externs.imports, import.map_err(invalid)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    push(&mut externs.exports, export.map_err(invalid)?.name.name)?;
                }
            }
            _ => {}
        }
    }
    Ok(externs)
}

fn push<'a>(names: &mut Vec<&'a str>, name: &'a str) -> Result<(), CheckError> {
    if names.len() >= EXTERNS_MAX {
        return Err(CheckError::TooManyExterns);
    }
    names.push(name);
    Ok(())
}

fn invalid(error: wasmparser::BinaryReaderError) -> CheckError {
    CheckError::Invalid(format!(
        "{} at byte {}",
        error.message().chars().take(200).collect::<String>(),
        error.offset()
    ))
}
