//! JavaScript and TypeScript: esbuild bundles, componentize-qjs puts the bundle into QuickJS.

use std::process::Command;

use super::{BuildError, compile, read};
use crate::{Language, Project, Tools, process};

pub(super) fn component(
    project: &Project,
    tools: &Tools,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, BuildError> {
    let folder = tools.javascript(progress)?;
    if project.language() == Language::TypeScript {
        check_types(project, progress)?;
    }
    let mut node = Command::new("node");
    node.current_dir(project.folder()).arg(project.generated().join("build.mjs"));
    node.arg(folder).arg(project.manifest().world.name());
    compile(project, &mut node)?;
    read(&project.generated().join("component.wasm"))
}

/// Types are checked where the developer has a compiler for it; esbuild only takes them out.
fn check_types(project: &Project, progress: &dyn Fn(&str)) -> Result<(), BuildError> {
    let own = project.folder().join("node_modules").join(".bin").join("tsc");
    let Some(tsc) = Some(own).filter(|own| own.exists()).or_else(|| process::on_path("tsc")) else {
        progress("types are not checked: there is no `tsc` (`npm install --save-dev typescript` brings it)");
        return Ok(());
    };
    compile(project, Command::new(tsc).current_dir(project.folder()).args(["--noEmit", "--project", "."]))
}
