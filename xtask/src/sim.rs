//! `cargo xtask sim`: plays the whole consortium in virtual time, with faults drawn from seeds.

use crate::place::Place;
use crate::{run, up};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// Arguments of `sim`.
#[derive(Args)]
pub(crate) struct Sim {
    /// Go to `bletchley-sim`, for example --seeds 1000 --hours 2 --first-seed 100 --json.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Sim {
    /// Builds the simulator and becomes it.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        up::build_binary(place, "bletchley-sim", "bletchley-sim")?;
        run::become_program(
            Command::new(place.built("bletchley-sim")).args(&self.args).current_dir(&place.root),
        )
    }
}
