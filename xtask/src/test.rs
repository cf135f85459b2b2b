//! `cargo xtask test`: every check of the project, in stages, cheap ones first.

use crate::place::Place;
use crate::{contracts, run, say, tidy, tools};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::process::Command;
use std::time::{Duration, Instant};

/// Arguments of `test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Runs only these stages.
    #[arg(long, value_enum, value_name = "STAGE")]
    only: Vec<Stage>,
    /// Leaves these stages out.
    #[arg(long, value_enum, value_name = "STAGE")]
    skip: Vec<Stage>,
    /// In the stage `world`: only suites whose names contain this. Suites that take many minutes run only when they are
    /// named: `--only world --suite long`.
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// Names the stages and does nothing.
    #[arg(long)]
    list: bool,
}

/// One check, or several of a kind.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// rustfmt finds nothing to change.
    Fmt,
    /// The shape of the house.
    Tidy,
    /// Licences, bans and sources of every dependency.
    Deny,
    /// Committed contract artefacts equal a fresh compile.
    Contracts,
    /// Lints over every target, none allowed to pass.
    Clippy,
    /// Unit and integration tests.
    Unit,
    /// Verifiers of hardware evidence, which are off elsewhere, on genuine evidence; only when it is named.
    Hardware,
    /// Examples in the documentation.
    Doc,
    /// The running node against the clients that the world uses.
    World,
}

/// How a stage ended; a failure is an error.
enum Ended {
    Passed,
    Skipped(String),
}

/// A line of the final table.
struct Row {
    stage: Stage,
    outcome: String,
    took: Duration,
}

impl Test {
    /// Runs the chosen stages up to the first that fails, then says how each ended.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        let chosen: Vec<Stage> = Stage::value_variants()
            .iter()
            .copied()
            .filter(|stage| if self.only.is_empty() { stage.is_usual() } else { self.only.contains(stage) })
            .filter(|stage| !self.skip.contains(stage))
            .collect();
        if self.list {
            chosen.iter().for_each(|stage| say::line(&format!("{:<10} {}", stage.name(), stage.what())));
            return Ok(());
        }
        let mut rows = Vec::new();
        let mut failure = None;
        for stage in chosen.iter().copied() {
            say::headline(&format!("{}: {}", stage.name(), stage.what()));
            let start = Instant::now();
            let ended = stage.run(place, &self.suite);
            let took = start.elapsed();
            let outcome = match &ended {
                Ok(Ended::Passed) => "passed".to_owned(),
                Ok(Ended::Skipped(reason)) => format!("skipped: {reason}"),
                Err(_) => "FAILED".to_owned(),
            };
            rows.push(Row { stage, outcome, took });
            if let Err(error) = ended {
                failure = Some(error.context(format!(
                    "stage {} failed; try it alone with `cargo xtask test --only {}`",
                    stage.name(),
                    stage.name()
                )));
                break;
            }
        }
        summary(&rows, chosen.len());
        failure.map_or(Ok(()), Err)
    }
}

/// The table, and one plain line that counts stages.
fn summary(rows: &[Row], chosen: usize) {
    say::headline("summary");
    for row in rows {
        say::line(&format!("{:<10} {:>7.1} s  {}", row.stage.name(), row.took.as_secs_f64(), row.outcome));
    }
    let failed = rows.iter().filter(|row| row.outcome == "FAILED").count();
    let skipped = rows.iter().filter(|row| row.outcome.starts_with("skipped")).count();
    if rows.len() < chosen {
        say::line(&format!("{} later stages did not run", chosen - rows.len()));
    }
    say::line(&format!("{} passed, {failed} failed, {skipped} skipped", rows.len() - failed - skipped));
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn what(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Whether it runs when no stage is named. The verifiers of hardware evidence switch on features of shared
    /// dependencies, so that most of the workspace would be built a second time.
    fn is_usual(self) -> bool {
        self != Self::Hardware
    }

    fn run(self, place: &Place, suites: &[String]) -> Result<Ended> {
        match self {
            Self::Fmt => run::to_the_end(&mut run::cargo(place, &["fmt", "--all", "--check"]))
                .context("run `cargo fmt --all`")?,
            Self::Tidy => tidy::check(place)?,
            Self::Deny => return deny(place),
            Self::Contracts => return with_node(place, |place| contracts::compile(place, true)),
            Self::Clippy => clippy(place)?,
            Self::Unit => unit(place)?,
            Self::Hardware => {
                let features =
                    ["test", "--locked", "--package", "bletchley-attest", "--features", "hardware"];
                run::to_the_end(run::cargo(place, &features).args(["--test", "genuine"]))?
            }
            Self::Doc => {
                run::to_the_end(&mut run::cargo(place, &["test", "--locked", "--workspace", "--doc"]))?
            }
            Self::World => return with_node(place, |place| world(place, suites)),
        }
        Ok(Ended::Passed)
    }
}

fn clippy(place: &Place) -> Result<()> {
    let args = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run::to_the_end(&mut run::cargo(place, &args))
}

/// cargo-deny, where it can be had.
fn deny(place: &Place) -> Result<Ended> {
    let tool = match tools::cargo_tool(place, "cargo-deny") {
        Ok(tool) => tool,
        Err(error) if place.is_ci => return Err(error),
        Err(error) => return Ok(Ended::Skipped(format!("{error:#}"))),
    };
    // Fetched first: cargo-deny reads the licence of every package, also of those for other systems.
    run::to_the_end(&mut run::cargo(place, &["fetch", "--locked"]))?;
    let mut command = Command::new(tool);
    command.args(["--locked", "--offline", "check", "--allow", "duplicate", "licenses", "bans", "sources"]);
    command.current_dir(&place.root);
    run::for_children_of_cargo(&mut command, place);
    run::to_the_end(&mut command)?;
    Ok(Ended::Passed)
}

/// What the names of tests begin with that need a simulated TPM.
const TPM_TESTS: &str = "with_a_tpm_";

/// cargo-nextest runs each test in its own process; cargo's own runner serves where it is missing. Tests with a simulated
/// TPM are left out only where it cannot be installed and somebody reads that it is so.
fn unit(place: &Place) -> Result<()> {
    tools::guest_rust(place)?;
    let without_swtpm = match tools::swtpm() {
        Ok(()) => false,
        Err(error) if place.is_ci => return Err(error),
        Err(error) => {
            say::step(&format!("leaving out the tests with a TPM: {error:#}"));
            true
        }
    };
    match tools::cargo_tool(place, "cargo-nextest") {
        Ok(tool) => {
            let mut command = Command::new(tool);
            command
                .args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast"])
                .current_dir(&place.root);
            if without_swtpm {
                command.args(["-E", &format!("not test({TPM_TESTS})")]);
            }
            run::for_children_of_cargo(&mut command, place);
            run::to_the_end(&mut command)
        }
        Err(error) => {
            say::step(&format!("using cargo's own runner: {error:#}"));
            let args = ["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
            let mut command = run::cargo(place, &args);
            if without_swtpm {
                command.args(["--", "--skip", TPM_TESTS]);
            }
            run::to_the_end(&mut command)
        }
    }
}

/// Runs a stage that needs Node.js; without it, that is said, and unattended it is a failure.
fn with_node(place: &Place, stage: impl Fn(&Place) -> Result<()>) -> Result<Ended> {
    match tools::node_is_missing() {
        None => stage(place).map(|()| Ended::Passed),
        Some(reason) if place.is_ci => bail!("{reason}"),
        Some(reason) => Ok(Ended::Skipped(reason)),
    }
}

/// Starts the built node and drives it with clients that are not ours.
fn world(place: &Place, suites: &[String]) -> Result<()> {
    // The same targets as the tests before it, so that cargo settles on the same features and compiles nothing twice.
    run::to_the_end(&mut run::cargo(place, &["build", "--locked", "--workspace", "--all-targets"]))?;
    let contracts = place.at("contracts");
    tools::npm_packages(&contracts)?;
    let folder = place.at("tests/world");
    tools::npm_packages(&folder)?;
    let mut node = Command::new("node");
    node.arg("run.mjs").args(suites).current_dir(&folder);
    node.env("BLETCHLEY_BIN", place.built("bletchley"));
    run::to_the_end(&mut node)
}
