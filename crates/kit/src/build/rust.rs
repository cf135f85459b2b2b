//! Rust: the developer's own cargo compiles the core module, and this binary encodes the component.

use std::{path::PathBuf, process::Command};

use super::{BuildError, ToolError, compile, component, read};
use crate::{Language, Project, Tools};

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn component(
    project: &Project,
    tools: &Tools,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, BuildError> {
    let advice = "install Rust (rustup.rs)";
    let cargo =
        tools.cargo().ok_or(ToolError::Missing { program: "cargo", what: "building Rust", advice })?;
    let target = project.generated().join("target");
    let mut command = Command::new(cargo);
    command.current_dir(project.folder()).args(["build", "--release", "--quiet", "--target", TARGET]);
    command.arg("--target-dir").arg(&target).envs(tools.rust_environment());
    // What the caller's own cargo set for another compiler.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    progress("running cargo");
    compile(project, &mut command).map_err(with_advice)?;
    let core: PathBuf = target.join(TARGET).join("release").join(format!("{}.wasm", crate_name(project)?));
    component::encode(read(&core)?, project.manifest().world, Language::Rust)
}

/// The name under which cargo leaves the library: that of the package, whatever the cryptlet is called.
fn crate_name(project: &Project) -> Result<String, BuildError> {
    let path = project.folder().join("Cargo.toml");
    let text = String::from_utf8_lossy(&read(&path)?).into_owned();
    let wrong = |words: &str| BuildError::Compile { source_file: "Cargo.toml", words: words.to_owned() };
    let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message()))?;
    let name = |table: &str| manifest.get(table)?.get("name")?.as_str().map(|name| name.replace('-', "_"));
    name("lib").or_else(|| name("package")).ok_or_else(|| wrong("there is no package.name"))
}

/// The compiler's words do not say how to get what is missing.
fn with_advice(error: BuildError) -> BuildError {
    match error {
        BuildError::Compile { source_file, words }
            if words.contains("can't find crate for `std`")
                || words.contains("can't find crate for `core`") =>
        {
            let words =
                format!("{words}\nthe compiler lacks its library for wasm: rustup target add {TARGET}");
            BuildError::Compile { source_file, words }
        }
        other => other,
    }
}
