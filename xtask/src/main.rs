//! The project's own tasks: `up`, `test`, `bench`, `sim`, `tidy`, `contracts`; not a part of what is shipped.

mod bench;
mod contracts;
mod place;
mod run;
mod say;
mod sim;
mod test;
mod tidy;
mod tools;
mod up;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what is missing, builds and starts a consortium of four; arguments go to `bletchley up`.
    Up(up::Up),
    /// Runs every check of the project.
    Test(test::Test),
    /// Measures the node and its peers; arguments go to `bletchley-bench`.
    Bench(bench::Bench),
    /// Plays the consortium in virtual time, with faults drawn from seeds; arguments go to `bletchley-sim`.
    Sim(sim::Sim),
    /// Checks the shape of the house: rows, sizes, names, reasons, words.
    Tidy(tidy::Tidy),
    /// Compiles the Solidity contracts and rewrites their artefacts.
    Contracts(contracts::Contracts),
}

fn main() -> ExitCode {
    let place = match place::Place::find() {
        Ok(place) => place,
        Err(error) => return say::failure(&error),
    };
    let outcome = match Cli::parse().task {
        Task::Up(task) => task.run(&place),
        Task::Test(task) => task.run(&place),
        Task::Bench(task) => task.run(&place),
        Task::Sim(task) => task.run(&place),
        Task::Tidy(task) => task.run(&place),
        Task::Contracts(task) => task.run(&place),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::failure(&error),
    }
}
