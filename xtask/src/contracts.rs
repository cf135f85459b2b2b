//! `cargo xtask contracts`: the Solidity contracts and their committed artefacts.

use crate::place::Place;
use crate::{run, say, tools};
use anyhow::{Result, bail};
use clap::Args;
use std::process::Command;

/// Arguments of `contracts`.
#[derive(Args)]
pub(crate) struct Contracts {
    /// Writes nothing; fails where an artefact differs from a fresh compile.
    #[arg(long)]
    check: bool,
}

impl Contracts {
    /// Compiles, and writes or compares.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        if let Some(reason) = tools::node_is_missing() {
            bail!("cannot compile contracts: {reason}");
        }
        compile(place, self.check)
    }
}

/// Compiles every contract with the pinned compiler. `check` only compares with what is committed.
pub(crate) fn compile(place: &Place, check: bool) -> Result<()> {
    let folder = place.at("contracts");
    tools::npm_packages(&folder)?;
    say::step(if check { "comparing artefacts with a fresh compile" } else { "compiling contracts" });
    let mut node = Command::new("node");
    node.arg("compile.mjs").current_dir(&folder);
    if check {
        node.arg("--check");
    }
    run::to_the_end(&mut node)
}
