//! C: zig's clang compiles what is in `src` without a C library, and this binary encodes the component.

use std::{fs, path::PathBuf, process::Command};

use super::{BuildError, compile, component, read};
use crate::{Language, Project, Tools};

const FLAGS: &[&str] = &[
    "cc",
    "--target=wasm32-freestanding",
    "-std=c23",
    "-Oz",
    "-Wall",
    "-Wextra",
    "-nostdlib",
    "-fno-builtin",
    "-fno-sanitize=all",
    // Solidity's integers; what clang allows without it is 128 bits here.
    "-Xclang",
    "-fexperimental-max-bitint-width=256",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=131072",
];

pub(super) fn component(
    project: &Project,
    tools: &Tools,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, BuildError> {
    let zig = tools.zig(progress)?;
    let generated = project.generated();
    let core = generated.join("core.wasm");
    let mut command = Command::new(zig);
    command.current_dir(project.folder()).env("ZIG_GLOBAL_CACHE_DIR", tools.folder().join("zig-cache"));
    command.env("ZIG_LOCAL_CACHE_DIR", generated.join("zig-cache"));
    command.args(FLAGS).arg("-I").arg(&generated).arg("-o").arg(&core);
    command.args(sources(project)?).arg(generated.join("cryptlet.c"));
    compile(project, &mut command)?;
    component::encode(read(&core)?, project.manifest().world, Language::C)
}

/// Every C file of the developer, in a fixed order.
fn sources(project: &Project) -> Result<Vec<PathBuf>, BuildError> {
    let folder = project.folder().join("src");
    let failed = |source| BuildError::Io { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
