//! `cargo xtask bench`: builds and runs the benchmark, with a peer to measure beside where there is one.

use crate::place::Place;
use crate::{run, say, tools, up};
use anyhow::{Result, bail};
use clap::Args;
use std::process::Command;

/// Arguments of `bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Go to `bletchley-bench`, for example --json.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Bench {
    /// Builds the node and the benchmark, finds anvil, and becomes the benchmark.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        if !place.at("crates/bench/Cargo.toml").is_file() {
            bail!("there is no crates/bench in this checkout, so there is nothing to measure with");
        }
        up::build_binary(place, "bletchley-node", "bletchley")?;
        up::build_binary(place, "bletchley-bench", "bletchley-bench")?;
        let mut bench = Command::new(place.built("bletchley-bench"));
        bench.args(&self.args).env("BLETCHLEY_BIN", place.built("bletchley")).current_dir(&place.root);
        match anvil(place) {
            Ok(path) => {
                bench.env("ANVIL_BIN", path);
            }
            Err(error) => say::step(&format!("measuring without anvil beside us: {error:#}")),
        }
        run::become_program(&mut bench)
    }
}

/// The native anvil out of its npm package, so that no script stands between it and the stopwatch.
fn anvil(place: &Place) -> Result<String> {
    if let Some(reason) = tools::node_is_missing() {
        bail!("{reason}");
    }
    let folder = place.at("tests/world");
    tools::npm_packages(&folder)?;
    let path = run::output_of(Command::new("node").args(["binaries.mjs", "anvil"]).current_dir(&folder))?;
    Ok(path.trim().to_owned())
}
