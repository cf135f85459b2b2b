//! `bletchley up`.

use super::Common;
use crate::data::DataDir;
use crate::node::{Node, NodeConfig};
use crate::output::Output;
use anyhow::Result;
use clap::Args;
use serde_json::json;

/// First port when none is named: what Ethereum tools try first.
const DEFAULT_PORT_BASE: u16 = 8545;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley up\n  bletchley up --dev --port-base 9545 --data /tmp/play\n  bletchley up --json | jq ."
)]
pub(super) struct Up {
    /// First port that the node listens on, on the loopback interface; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT_BASE)]
    port_base: u16,
    /// A development ledger: standard accounts, a block for every transaction, methods that test suites expect.
    #[arg(long)]
    dev: bool,
    /// Keep the state of every block, not only of the last ones; development ledgers always do.
    #[arg(long)]
    archive: bool,
    /// Milliseconds that blocks lie apart at least, while there is something to put into them.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    block_ms: u64,
    #[command(flatten)]
    common: Common,
}

impl Up {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        start_log();
        let config = NodeConfig {
            data: DataDir::new(&self.common.data),
            port: self.port_base,
            dev: self.dev,
            archive: self.archive,
            block_ms: self.block_ms,
        };
        let node = Node::start(config, &|step| output.progress(step))?;
        announce(&node, output);
        node.run_until_stopped(output)
    }
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("BLETCHLEY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

fn announce(node: &Node, output: Output) {
    let (running, genesis) = (node.running(), node.genesis());
    let data = node.data().root().display().to_string();
    let accounts: Vec<_> =
        genesis.accounts.iter().map(|a| json!({ "name": a.name, "address": a.address })).collect();
    output.event(&json!({
        "ready": true, "rpc": running.rpc, "ws": running.ws, "rest": running.rest, "pid": running.pid, "data": data,
        "chainId": genesis.evm.chain_id, "dev": genesis.dev, "genesis": genesis.digest(),
        "ledgers": { "evm": genesis.evm.ledger_id(), "tokens": genesis.tokens().ledger }, "accounts": accounts,
    }));
    output.heading(format!("Bletchley is up{}", if genesis.dev { ", for development" } else { "" }));
    output.line(format!("  JSON-RPC    {}   (chain id {})", running.rpc, genesis.evm.chain_id));
    output.line(format!("  WebSocket   {}", running.ws));
    output.line(format!("  REST        {}/v1   (described in {0}/openapi.json)", running.rest));
    output.line(format!("  data        {data}"));
    output.line(format!("  genesis     {}", genesis.digest()));
    output.line("  host        this node, evidence: software (no trusted hardware vouches for it)");
    output.heading("Accounts");
    for account in &genesis.accounts {
        output.line(format!("  {:<18} {}", account.name, account.address));
    }
    if genesis.dev {
        output.line(output.dim("  keys: test test test test test test test test test test test junk (public; never use them elsewhere)"));
    }
    let flag = if data == crate::data::DEFAULT_DATA_DIR { String::new() } else { format!(" --data {data}") };
    output.heading("Three things to try, in another terminal");
    output.line(format!("  bletchley demo loan{flag}"));
    output.line(format!("  bletchley demo supply-chain{flag}"));
    output.line(format!("  cast block latest --rpc-url {}", running.rpc));
    output.line("");
    output.line(output.dim("Ctrl-C stops the node; the data stays."));
}
