//! Many seeds, one after the other or side by side.

use crate::{Failure, Outcome, Plan, Scenario, run};
use serde::Serialize;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which seeds to play, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What happens in them.
    pub scenario: Scenario,
    /// The first seed.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// No further one is begun after so long.
    pub longest: Option<Duration>,
    /// Runs side by side.
    pub jobs: u64,
}

/// What a campaign came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The first seed.
    pub first_seed: u64,
    /// Seeds that were played.
    pub played: usize,
    /// Virtual time of those that held.
    pub virtual_hours: f64,
    /// Final blocks in them.
    pub blocks: u64,
    /// Transactions in these.
    pub transactions: u64,
    /// Faults that were played.
    pub faults: usize,
    /// Time that it took.
    pub seconds: f64,
    /// Those that did not hold.
    pub failures: Vec<Failure>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { played, virtual_hours, blocks, transactions, faults, seconds, failures, .. } = self;
        let held = played - failures.len();
        write!(
            f,
            "{held} of {played} seeds held: {blocks} blocks, {transactions} transactions, {faults} faults, \
             {virtual_hours:.2} virtual hours in {seconds:.0} s"
        )
    }
}

fn say(result: &Result<Outcome, Failure>) {
    let text = match result {
        Err(failure) => failure.to_string(),
        Ok(outcome) => {
            let Outcome {
                seed,
                digest,
                virtual_ms,
                heights: [tokens, evm],
                transactions,
                faults,
                byzantine,
                ..
            } = outcome;
            let trace = digest.get(..8).unwrap_or_default();
            let byzantine = byzantine.map_or_else(String::new, |how| format!(", one member: {how:?}"));
            format!(
                "seed {seed}: {tokens} + {evm} blocks, {transactions} transactions, {faults} faults{byzantine}, \
                 {virtual_ms} ms, trace {trace}"
            )
        }
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Campaign {
    /// Plays the seeds and tells of each on the error stream.
    #[must_use]
    pub fn play(&self) -> Summary {
        let began = Instant::now();
        let (next, results) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.seeds
                            || self.longest.is_some_and(|longest| began.elapsed() >= longest)
                        {
                            break;
                        }
                        let result = run(&Plan::of(self.scenario, self.first_seed.wrapping_add(number)));
                        say(&result);
                        if let Ok(mut results) = results.lock() {
                            results.push(result);
                        }
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_default();
        let held: Vec<&Outcome> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        Summary {
            first_seed: self.first_seed,
            played: results.len(),
            virtual_hours: held.iter().map(|outcome| outcome.virtual_ms as f64).sum::<f64>() / 3.6e6,
            blocks: held.iter().flat_map(|outcome| outcome.heights).sum(),
            transactions: held.iter().map(|outcome| outcome.transactions).sum(),
            faults: held.iter().map(|outcome| outcome.faults).sum(),
            seconds: began.elapsed().as_secs_f64(),
            failures: results.iter().filter_map(|result| result.as_ref().err().cloned()).collect(),
        }
    }
}
