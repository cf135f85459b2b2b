//! `bletchley-bench`: measures the product from outside, peers in the same run; asserts nothing.

mod consortium;
mod delegated;
mod erc20;
mod fabric;
mod members;
mod process;
mod report;
mod rows;
mod rpc;
mod tokens;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match rows::Bench::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            rows::complain(&error);
            ExitCode::FAILURE
        }
    }
}
