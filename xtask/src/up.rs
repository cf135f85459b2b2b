//! `cargo xtask up`: from a fresh machine to a running consortium.

use crate::place::Place;
use crate::{run, say, tools};
use anyhow::{Result, bail};
use clap::Args;
use std::process::Command;

/// Arguments of `up`.
#[derive(Args)]
pub(crate) struct Up {
    /// Go to `bletchley up`, for example --members 7, --dev or --data DIR.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Up {
    /// Checks, builds, and becomes `bletchley up`.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        say::step("looking for a Rust toolchain and a C compiler");
        say::step(&format!("found {}", run::output_of(Command::new("rustc").arg("--version"))?.trim()));
        ensure_c_compiler()?;
        build_binary(place, "bletchley-node", "bletchley")?;
        say::step("starting; Ctrl-C stops everything and the data stays");
        let mut node = Command::new(place.built("bletchley"));
        node.arg("up").args(&self.args);
        run::become_program(&mut node)
    }
}

/// Builds one binary of the workspace, with cargo's own progress.
pub(crate) fn build_binary(place: &Place, package: &str, binary: &str) -> Result<()> {
    if place.built(binary).is_file() {
        say::step(&format!("building {binary} (only what has changed)"));
    } else {
        say::step(&format!("building {binary}; the first time this takes some fifteen minutes on two cores"));
    }
    run::to_the_end(&mut run::cargo(place, &["build", "--locked", "--package", package, "--bin", binary]))
}

/// Some dependencies are C: secp256k1, the KZG library, the allocator.
fn ensure_c_compiler() -> Result<()> {
    if ["cc", "gcc", "clang"].iter().any(|name| run::is_on_path(name)) {
        say::step("found a C compiler");
        return Ok(());
    }
    if !run::is_on_path("apt-get") || !tools::is_superuser() {
        bail!(
            "there is no C compiler on PATH; install one, for example `sudo apt-get install gcc libc6-dev` or \
             `xcode-select --install`, and run this again"
        );
    }
    say::step("installing a C compiler with apt-get");
    tools::apt_install(&["gcc", "libc6-dev"])
}
