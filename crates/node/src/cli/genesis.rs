//! `bletchley genesis`.

use crate::ceremony::Draft;
use crate::data::CONSORTIUM;
use crate::genesis::{Agreement, NetworkGenesis};
use crate::output::Output;
use crate::signals::wall_now_ms;
use alloy_primitives::hex;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// Bytes of a key that a table shows.
const SHORT_KEY_SIZE_BYTES: usize = 6;

#[derive(Debug, Args)]
#[command(after_help = "`bletchley consortium --help` tells the whole way from a name to running nodes.")]
pub(super) struct GenesisCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the genesis document of a draft. Once: another run makes another consortium.
    #[command(after_help = "Example:\n  bletchley genesis build --draft consortium.json --out genesis.json")]
    Build(Build),
    /// Show what a genesis document says, and the digest that members compare by voice.
    #[command(after_help = "Example:\n  bletchley genesis inspect genesis.json")]
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Build {
    /// The draft, with every member admitted.
    #[arg(long, value_name = "FILE", default_value = CONSORTIUM)]
    draft: PathBuf,
    /// File for the genesis document; one that exists is not overwritten.
    #[arg(long, value_name = "FILE", default_value = "genesis.json")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Inspect {
    /// The genesis document.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl GenesisCommand {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::Build(build) => {
                let output = Output::new(build.json);
                let genesis = Draft::read(&build.draft)?.build(wall_now_ms())?;
                genesis.write_file(&build.out)?;
                output.line(format!("{} {}", output.good("written"), build.out.display()));
                show(&genesis, output);
                output.line("Send it to every member; each compares the digest with the others, by voice.");
                Ok(())
            }
            Action::Inspect(inspect) => {
                show(&NetworkGenesis::read_file(&inspect.file)?, Output::new(inspect.json));
                Ok(())
            }
        }
    }
}

fn show(genesis: &NetworkGenesis, output: Output) {
    let (tokens, evm) = (genesis.tokens().ledger, genesis.evm.ledger_id());
    output.event(&json!({
        "name": genesis.name, "digest": genesis.digest(), "dev": genesis.dev, "chainId": genesis.evm.chain_id,
        "timeMs": genesis.time_ms, "members": genesis.members, "agreements": genesis.agreements,
        "ledgers": { "tokens": tokens, "evm": evm }, "accounts": genesis.accounts,
    }));
    output.heading(format!("Consortium {}", genesis.name));
    output.line(format!("  digest      {}", output.bold(&genesis.digest().to_string())));
    output.line(format!("  chain id    {}", genesis.evm.chain_id));
    output.line(format!(
        "  accounts    {} with a name, {} in all",
        genesis.accounts.len(),
        genesis.evm.alloc.len()
    ));
    output.heading("Ledgers");
    for (name, id, agreement) in
        [("tokens", tokens, genesis.agreements.tokens), ("evm", evm, genesis.agreements.evm)]
    {
        let Agreement { engine, epoch_blocks, block_ms, heartbeat_ms } = agreement;
        output.line(format!("  {name:<8} {id}"));
        output.line(format!(
            "           {}, {block_ms} ms between blocks, heartbeat {heartbeat_ms} ms, epochs of {epoch_blocks} blocks",
            engine.name()
        ));
    }
    output.heading(format!("Members ({})", genesis.members.len()));
    output.line(output.dim(&format!(
        "  {:<15} {:<9} {:<14} {:<14} {:<14} {:<14} {}",
        "name", "seat", "peer", "validator", "administrator", "host", "endpoint"
    )));
    for member in &genesis.members {
        let seat = if member.is_validator { "validator" } else { "observer" };
        output.line(format!(
            "  {:<15} {seat:<9} {:<14} {:<14} {:<14} {:<14} {}",
            member.name,
            short(member.peer.as_slice()),
            short(member.validator.as_slice()),
            short(member.administrator.as_slice()),
            short(member.host.as_slice()),
            member.endpoint
        ));
    }
    output.line("");
}

fn short(key: &[u8]) -> String {
    hex::encode(key.get(..SHORT_KEY_SIZE_BYTES).unwrap_or(key))
}
