//! Runs other programs, with an error that says which one and how to try it by hand.

use crate::place::Place;
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// `cargo`, the one that runs xtask, building where `place` says.
pub(crate) fn cargo(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(&place.root);
    for_children_of_cargo(&mut command, place);
    command
}

/// Sets what every cargo below us must see, and takes away what `cargo run` left for xtask alone: build scripts that watch those
/// variables would run again each time that cargo is called directly after xtask, or the other way round.
pub(crate) fn for_children_of_cargo(command: &mut Command, place: &Place) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours = text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO", "LD_LIBRARY_PATH"]
                .contains(&&*text);
        if is_ours {
            command.env_remove(&name);
        }
    }
    command.env("CARGO_TARGET_DIR", &place.target);
    if place.is_ci {
        command.env("CARGO_INCREMENTAL", "0");
    }
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn to_the_end(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("starting `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and gives what it printed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", shown(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{}`", shown(command)))
}

/// Becomes another program; returns only when that fails.
pub(crate) fn become_program(command: &mut Command) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        let error = command.exec();
        Err(error).with_context(|| format!("starting `{}`", shown(command)))
    }
    #[cfg(not(unix))]
    {
        let status = command.status().with_context(|| format!("starting `{}`", shown(command)))?;
        std::process::exit(status.code().unwrap_or(1))
    }
}

/// Whether a program is on PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    let Some(path) = env::var_os("PATH") else { return false };
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).any(|dir| is_file(&dir.join(&file)))
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
