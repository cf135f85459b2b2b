//! `bletchley-sim`: plays the runs of many seeds.

use anyhow::Result;
use bletchley_sim::{Campaign, Scenario};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Plays the whole consortium in virtual time, with faults drawn from seeds.
#[derive(Parser)]
#[command(name = "bletchley-sim", version)]
struct Cli {
    /// What happens in them.
    #[arg(long, value_enum, default_value_t)]
    scenario: Scenario,
    /// Seeds to play.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Begin no further seed after so many hours.
    #[arg(long)]
    hours: Option<f64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Runs side by side.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let Cli { scenario, seeds, hours, first_seed, jobs, json } = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let longest = hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
    let summary = Campaign { scenario, first_seed, seeds, longest, jobs }.play();
    let text = if json { serde_json::to_string(&summary)? } else { summary.to_string() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
