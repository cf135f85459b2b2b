//! `bletchley consortium`.

mod propose;
mod running;
mod speak;

use crate::accounts::Named;
use crate::ceremony::Draft;
use crate::data::{CONSORTIUM, DataDir};
use crate::genesis::{DEFAULT_CHAIN_ID, EPOCH_BLOCKS, EngineName};
use crate::output::Output;
use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "How a consortium is founded, with nothing but files that pass between people:\n  1. one founder:   bletchley consortium new trade-net\n  2. every member:  bletchley member request --name bank-a --endpoint node.bank-a.example:30300\n  3. that founder:  bletchley member admit bank-a.request.json --draft consortium.json     for each member\n  4. that founder:  bletchley genesis build --draft consortium.json\n  5. every member:  bletchley genesis inspect genesis.json      compares the digest with the others, by voice\n  6. every member:  puts genesis.json beside its member.toml\n                    bletchley node start --config bletchley-data/member.toml"
)]
pub(super) struct ConsortiumCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the draft that members are admitted to.
    #[command(
        after_help = "Example:\n  bletchley consortium new trade-net --chain-id 4242 --fund treasury=0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    )]
    New(New),
    #[command(flatten)]
    Running(running::Running),
}

#[derive(Debug, Args)]
struct New {
    /// Name of the consortium: lower-case letters, digits and hyphens.
    name: String,
    /// Folder that the draft, consortium.json, is written into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Number that wallets tell the smart-contract ledger from others by.
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_CHAIN_ID)]
    chain_id: u64,
    /// How both ledgers agree. [default: solo for one validator, simplex for more]
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Milliseconds that blocks lie apart at least, while there is something to put into them.
    #[arg(long, value_name = "MS", default_value_t = 200)]
    block_ms: u64,
    /// Longest silence of an idle ledger, in milliseconds. [default: 60000 for solo, 2000 where members agree]
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Blocks for which a set of validators stands at least.
    #[arg(long, value_name = "BLOCKS", default_value_t = EPOCH_BLOCKS)]
    epoch_blocks: u64,
    /// An account that owns 10,000 ether from the start.
    #[arg(long, value_name = "NAME=ADDRESS")]
    fund: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ConsortiumCommand {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::New(new) => new.run(),
            Action::Running(running) => running.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let path = DataDir::new(&self.dir).root().join(CONSORTIUM);
        if path.exists() {
            bail!("{} exists already; choose another folder with --dir", path.display());
        }
        let mut draft = Draft::new(&self.name, self.chain_id, self.engine, self.block_ms)?;
        draft.heartbeat_ms = self.heartbeat_ms;
        draft.epoch_blocks = self.epoch_blocks;
        draft.accounts = self.fund.iter().map(|text| funded(text)).collect::<Result<_>>()?;
        draft.write(&path)?;
        let shown = path.display();
        output.event(&json!({ "draft": path, "name": draft.name }));
        output.line(format!("{} {shown}: {} has no members yet", output.good("written"), draft.name));
        output.line("Next, every member: bletchley member request --name NAME --endpoint HOST:PORT");
        output.line(format!("and for each of their files: bletchley member admit FILE --draft {shown}"));
        Ok(())
    }
}

fn funded(text: &str) -> Result<Named> {
    let (name, address) =
        text.split_once('=').with_context(|| format!("{text:?} is not NAME=ADDRESS, as --fund wants it"))?;
    let address: Address = address.parse().with_context(|| format!("{address:?} is no address"))?;
    Ok(Named { name: name.to_owned(), address })
}
