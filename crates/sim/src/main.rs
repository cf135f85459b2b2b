//! `bletchley-sim`: plays the runs of many seeds, one after the other or side by side.

use anyhow::Result;
use bletchley_sim::{Failure, Outcome, Plan, run};
use clap::Parser;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Plays the whole consortium in virtual time, with faults drawn from seeds.
#[derive(Parser)]
#[command(name = "bletchley-sim", version)]
struct Cli {
    /// Seeds to play.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Stop after so many hours, whatever is left.
    #[arg(long)]
    hours: Option<f64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Runs side by side.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    first_seed: u64,
    played: u64,
    failed: usize,
    virtual_hours: f64,
    blocks: u64,
    transactions: u64,
    faults: usize,
    seconds: f64,
    failures: Vec<Failure>,
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn report(result: &Result<Outcome, Failure>) {
    match result {
        Err(failure) => say(&failure.to_string()),
        Ok(outcome) => {
            let Outcome { seed, digest, virtual_ms, heights: [tokens, evm], transactions, faults, byzantine } =
                outcome;
            let short = digest.get(..8).unwrap_or_default();
            let byzantine = byzantine.map_or_else(String::new, |how| format!(", one member: {how:?}"));
            say(&format!(
                "seed {seed}: {tokens} + {evm} blocks, {transactions} transactions, {faults} faults{byzantine}, \
                 {virtual_ms} ms, trace {short}"
            ));
        }
    }
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let chosen = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(chosen.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")))
        .with_writer(std::io::stderr)
        .init();
    let began = Instant::now();
    let deadline = cli.hours.map(|hours| began + Duration::from_secs_f64(hours.max(0.0) * 3600.0));
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let results = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if number >= cli.seeds || late || over.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = run(&Plan::of_seed(cli.first_seed.wrapping_add(number)));
                    report(&result);
                    match results.lock() {
                        Ok(mut results) => results.push(result),
                        Err(_) => over.store(true, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let good: Vec<&Outcome> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    let summary = Summary {
        first_seed: cli.first_seed,
        played: results.len() as u64,
        failed: results.len() - good.len(),
        virtual_hours: good.iter().map(|outcome| outcome.virtual_ms as f64).sum::<f64>() / 3.6e6,
        blocks: good.iter().flat_map(|outcome| outcome.heights).sum(),
        transactions: good.iter().map(|outcome| outcome.transactions).sum(),
        faults: good.iter().map(|outcome| outcome.faults).sum(),
        seconds: began.elapsed().as_secs_f64(),
        failures: results.iter().filter_map(|result| result.as_ref().err().cloned()).collect(),
    };
    let text = if cli.json {
        serde_json::to_string(&summary)?
    } else {
        format!(
            "{} of {} seeds held, {:.2} virtual hours in {:.0} s",
            good.len(),
            results.len(),
            summary.virtual_hours,
            summary.seconds
        )
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
