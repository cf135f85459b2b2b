//! Commands, one module each.

mod accounts;
mod announce;
mod attest;
mod consortium;
mod cryptlet;
mod demo;
mod genesis;
mod log;
mod member;
mod modules;
mod node;
mod prove;
mod status;
mod token;
mod top;
mod up;
mod verify;

use crate::client;
use crate::data::{DEFAULT_DATA_DIR, DataDir};
use crate::output::Output;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// A shared ledger for several organisations, and trusted code beside it.
#[derive(Debug, Parser)]
#[command(name = "bletchley", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start here:\n  bletchley up                  a consortium of four members, each in a process of its own\n  bletchley up --dev            a node for development\n  bletchley demo loan           a contract that calls cryptlets, on real exchange rates\n  bletchley demo supply-chain   parts, phones, owners, lineage; forgeries refused\n  bletchley verify              replay everything, offline"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a consortium on this computer, or one node for development.
    Up(up::Up),
    /// How the members stand: heights, finality, peers, mempools.
    Status(status::Status),
    /// The same, live.
    Top(top::Top),
    /// What can be chosen for consensus, network, database and the rest, and how far it is supported.
    Modules(modules::Modules),
    /// Tell a story on the running node, with real input.
    Demo(demo::Demo),
    /// Replay every ledger of a data folder from genesis, offline.
    Verify(verify::Verify),
    /// Prove a transaction, its receipt, or an account to somebody who has the genesis document and no node.
    Prove(prove::Prove),
    /// Check such a proof, offline.
    Check(prove::Check),
    /// Tokens: issue, transfer, compose, trace, verify, pay.
    Token(token::TokenCommand),
    /// Cryptlets: write, test, publish, look up, call.
    Cryptlet(cryptlet::CryptletCommand),
    /// What vouches for a host: show it, quote it, check it offline.
    Attest(attest::AttestCommand),
    /// The named accounts of a data folder.
    Accounts(accounts::AccountsCommand),
    /// Found a consortium with others; show it, propose and vote while it runs.
    Consortium(consortium::ConsortiumCommand),
    /// Take part in a consortium: ask, and admit who asks.
    Member(member::MemberCommand),
    /// The document that a consortium's ledgers start from.
    Genesis(genesis::GenesisCommand),
    /// One member's node, from its configuration file.
    Node(node::NodeCommand),
}

/// Options that every command on a data folder has.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder of a node, or of the members of a consortium on this computer.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, env = "BLETCHLEY_DATA")]
    pub data: PathBuf,
    /// Which member, of a consortium on this computer; the first that answers when none is named.
    #[arg(long, value_name = "NAME")]
    pub member: Option<String>,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// The data folder of the node that is meant.
    fn folder(&self) -> Result<DataDir> {
        self.folder_in(&self.data)
    }

    fn folder_in(&self, data: &Path) -> Result<DataDir> {
        client::folder_of(DataDir::new(data), self.member.as_deref())
    }

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
            Command::Status(status) => status.run(),
            Command::Top(top) => top.run().map(|()| 0),
            Command::Modules(modules) => modules.run().map(|()| 0),
            Command::Demo(demo) => demo.run().map(|()| 0),
            Command::Verify(verify) => verify.run(),
            Command::Prove(prove) => prove.run().map(|()| 0),
            Command::Check(check) => check.run(),
            Command::Token(token) => token.run(),
            Command::Cryptlet(cryptlet) => cryptlet.run().map(|()| 0),
            Command::Attest(attest) => attest.run(),
            Command::Accounts(accounts) => accounts.run().map(|()| 0),
            Command::Consortium(consortium) => consortium.run().map(|()| 0),
            Command::Member(member) => member.run().map(|()| 0),
            Command::Genesis(genesis) => genesis.run().map(|()| 0),
            Command::Node(node) => node.run().map(|()| 0),
        }
    }
}
