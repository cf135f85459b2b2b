//! Commands, one module each.

mod accounts;
mod cryptlet;
mod demo;
mod token;
mod up;
mod verify;

use crate::data::DEFAULT_DATA_DIR;
use crate::output::Output;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A shared ledger for several organisations, and trusted code beside it.
#[derive(Debug, Parser)]
#[command(name = "bletchley", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start here:\n  bletchley up --dev            a node for development\n  bletchley demo loan           a contract that calls cryptlets, on real exchange rates\n  bletchley demo supply-chain   parts, phones, owners, lineage; forgeries refused\n  bletchley verify              replay everything, offline"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a node with an EVM ledger and a token ledger.
    Up(up::Up),
    /// Tell a story on the running node, with real input.
    Demo(demo::Demo),
    /// Replay every ledger of a data folder from genesis, offline.
    Verify(verify::Verify),
    /// Tokens: issue, transfer, compose, trace, verify, pay.
    Token(token::TokenCommand),
    /// Cryptlets: list, show, call.
    Cryptlet(cryptlet::CryptletCommand),
    /// The named accounts of a data folder.
    Accounts(accounts::AccountsCommand),
}

/// Options that every command on a data folder has.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder with the node's ledgers, keys and genesis.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, env = "BLETCHLEY_DATA")]
    pub data: PathBuf,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

impl Common {
    fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// Runs the command line; returns the process's exit code.
#[must_use]
pub fn run() -> u8 {
    let cli = Cli::parse();
    let json = std::env::args().any(|argument| argument == "--json");
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            Output::new(json).error(&error);
            1
        }
    }
}

impl Cli {
    fn run(self) -> Result<u8> {
        match self.command {
            Command::Up(up) => up.run().map(|()| 0),
            Command::Demo(demo) => demo.run().map(|()| 0),
            Command::Verify(verify) => verify.run(),
            Command::Token(token) => token.run(),
            Command::Cryptlet(cryptlet) => cryptlet.run().map(|()| 0),
            Command::Accounts(accounts) => accounts.run().map(|()| 0),
        }
    }
}
