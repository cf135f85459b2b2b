//! Python: componentize-py puts CPython and the developer's modules, already imported, into one component.

use std::process::Command;

use super::{BuildError, compile, read};
use crate::{Language, Project, Tools, generate, tools};

/// Runs the tool from a folder that is in no environment of its own.
const SCRIPT: &str =
    "import sys; from componentize_py import script; sys.argv[0] = 'componentize-py'; script()";
/// Where developers put packages: `pip install --target packages NAME`.
const PACKAGES_FOLDER: &str = "packages";

pub(super) fn component(
    project: &Project,
    tools: &Tools,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, BuildError> {
    let modules = tools.python(progress)?;
    let generated = project.generated();
    let out = generated.join("component.wasm");
    let interpreter = tools::python3("building Python")?;
    let mut check = Command::new(&interpreter);
    check.current_dir(project.folder()).arg(generated.join("check.py")).arg(Language::Python.source());
    compile(project, check.args(generate::signatures(project.manifest())))?;
    let mut python = Command::new(interpreter);
    python.current_dir(project.folder()).env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1");
    // The snapshot holds Python's seed of hashes: a fixed one makes one source one component.
    python.env("PYTHONHASHSEED", "0").env_remove("VIRTUAL_ENV");
    python.args(["-c", SCRIPT, "--wit-path"]).arg(generated.join("wit"));
    python.args(["--world", project.manifest().world.name(), "componentize", "cryptlet_app", "--stub-wasi"]);
    python.arg("--python-path").arg(generated.join("python"));
    python.arg("--python-path").arg(project.folder().join("src"));
    let packages = project.folder().join(PACKAGES_FOLDER);
    if packages.is_dir() {
        python.arg("--python-path").arg(packages);
    }
    compile(project, python.arg("--output").arg(&out))?;
    read(&out)
}
