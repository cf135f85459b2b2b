//! What is measured, row by row.

use crate::consortium;
use crate::delegated;
use crate::erc20::{self, CHAIN_ID, Load, Population};
use crate::fabric;
use crate::process::Node;
use crate::report::{Report, bounded};
use crate::tokens;
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Measures Bletchley from outside, with anvil beside it where `ANVIL_BIN` names one.
#[derive(Debug, Parser)]
pub(crate) struct Bench {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these groups: erc20, million, tokens, delegated, fabric, start, consortium, members-load.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Transfers in each load.
    #[arg(long, default_value_t = 60_000)]
    transactions: usize,
    /// Keep the data folders here, to look at them afterwards.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The node.
    #[arg(long, env = "BLETCHLEY_BIN", default_value = "bletchley")]
    bletchley: String,
    /// The peer; rows that compare are left out without it.
    #[arg(long, env = "ANVIL_BIN")]
    anvil: Option<String>,
}

const SENDERS: usize = 10_000;
const ACCOUNTS: usize = 10_000;
const MANY_ACCOUNTS: usize = 1_000_000;

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let mut report = Report::default();
        let temporary = tempfile::tempdir()?;
        let folder = self.keep.as_deref().unwrap_or(temporary.path());
        if self.wants("start") {
            self.start(folder, &mut report)?;
        }
        if self.wants("erc20") || self.wants("million") {
            self.erc20(folder, &mut report)?;
        }
        if self.wants("tokens") {
            self.tokens(folder, &mut report)?;
        }
        if self.wants("delegated") {
            self.delegated(folder, &mut report)?;
        }
        if self.wants("fabric") {
            self.say("fabric: workers on their own");
            fabric::measure(&self.bletchley, &mut report)?;
        }
        if self.wants("consortium") {
            let names = |name: &str| path(folder, name);
            let say = |text: &str| self.say(text);
            consortium::measure(&self.bletchley, &names, self.transactions, &say, &mut report)?;
        }
        // Not a row of its own: part of `consortium`, asked for by name only.
        if self.only.iter().any(|only| only == "members-load") {
            let names = |name: &str| path(folder, name);
            consortium::measure_load(&self.bletchley, &names, self.transactions, &mut report)?;
        }
        let text = if self.json { report.json().to_string() } else { report.text() };
        writeln!(std::io::stdout().lock(), "{text}")?;
        Ok(())
    }

    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group)
    }

    fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "  {text}");
    }

    fn start(&self, folder: &Path, report: &mut Report) -> Result<()> {
        let data = path(folder, "start")?;
        self.say("start: a new folder, then the same again");
        let first = Node::bletchley(&self.bletchley, &["--data", &data, "--members", "1"])?;
        let fresh = first.ready;
        first.await_idle()?;
        let idle = first.resident_bytes()? as f64 / 1e6;
        first.stop()?;
        let again = Node::bletchley(&self.bletchley, &["--data", &data, "--members", "1"])?;
        let ready = again.ready;
        again.await_idle()?;
        let idle_again = again.resident_bytes()? as f64 / 1e6;
        again.stop()?;
        report.push(bounded(
            "start_ready_s",
            "start to ready, new folder",
            fresh.as_secs_f64(),
            "s",
            2.0,
            0.5,
            true,
        ));
        report.figure("restart_ready_s", "start to ready, again", ready.as_secs_f64(), "s");
        report.push(bounded(
            "idle_memory_mb",
            "idle memory after a restart",
            idle_again,
            "MB",
            200.0,
            100.0,
            true,
        ));
        report.figure("idle_memory_first_mb", "idle memory after the first start", idle, "MB");
        Ok(())
    }

    fn erc20(&self, folder: &Path, report: &mut Report) -> Result<()> {
        let population = Population::new(ACCOUNTS, SENDERS);
        let data = path(folder, "erc20")?;
        let ours = self.ours(&population, &data, self.transactions)?;
        report.figure(
            "erc20_per_cpu_s",
            "ERC-20 transfers per node CPU-second, 10k accounts",
            ours.per_cpu_second(),
            "tx/CPU-s",
        );
        report.figure(
            "erc20_wall_per_s",
            "the same on the clock, loader beside it",
            ours.transactions as f64 / ours.wall_s,
            "tx/s",
        );
        if self.wants("erc20") {
            if let Some(anvil) = &self.anvil {
                let peer = self.anvil(anvil, &population, folder)?;
                report.figure("anvil_per_cpu_s", "anvil, the same load", peer.per_cpu_second(), "tx/CPU-s");
                let ratio = ours.per_cpu_second() / peer.per_cpu_second();
                report.push(bounded("erc20_anvil_ratio", "ratio to anvil", ratio, "x", 3.0, 4.0, false));
            }
            let replay = self.replay(&data)?;
            report.push(bounded(
                "verify_tx_per_s",
                "replay of these blocks by verify, 2 cores",
                replay,
                "tx/s",
                25e3,
                40e3,
                false,
            ));
        }
        if self.wants("million") {
            let population = Population::new(MANY_ACCOUNTS, SENDERS);
            let many = self.ours(&population, &path(folder, "million")?, self.transactions)?;
            report.figure(
                "erc20_million_per_cpu_s",
                "ERC-20 transfers per node CPU-second, 1M accounts",
                many.per_cpu_second(),
                "tx/CPU-s",
            );
            let ratio = many.per_cpu_second() / ours.per_cpu_second();
            report.push(bounded("million_ratio", "1M accounts against 10k", ratio, "x", 0.7, 0.9, false));
        }
        Ok(())
    }

    fn ours(&self, population: &Population, data: &str, transactions: usize) -> Result<Load> {
        self.say(&format!("bletchley: {} accounts", population.holders.len()));
        let genesis =
            Node::bletchley(&self.bletchley, &["--data", data, "--members", "1", "--block-ms", "500"])?; // makes keys and a genesis document
        genesis.stop()?;
        let document = Path::new(data).join("genesis.json");
        let mut genesis: Value = serde_json::from_slice(&std::fs::read(&document)?)?;
        let evm = genesis
            .get_mut("evm")
            .and_then(Value::as_object_mut)
            .context("the genesis document has no evm")?;
        evm.insert("chainId".into(), json!(CHAIN_ID));
        evm.insert("gasLimit".into(), json!(1_000_000_000u64));
        evm.insert("alloc".into(), population.alloc()?);
        std::fs::write(&document, serde_json::to_vec(&genesis)?)?;
        std::fs::remove_dir_all(Path::new(data).join("ledgers"))?;
        let node = Node::bletchley(&self.bletchley, &["--data", data])?;
        let load = erc20::load(&node, population, transactions)?;
        self.say(&format!("{load:?}, {:.0} MB", node.resident_bytes()? as f64 / 1e6));
        node.stop()?;
        Ok(load)
    }

    fn anvil(&self, bin: &str, population: &Population, folder: &Path) -> Result<Load> {
        self.say("anvil: the same accounts and load");
        let genesis = json!({
            "config": { "chainId": CHAIN_ID }, "difficulty": "0x0", "gasLimit": "0x3b9aca00", "alloc": population.alloc()?,
        });
        let file = path(folder, "anvil-genesis.json")?;
        std::fs::write(&file, serde_json::to_vec(&genesis)?)?;
        let args = [
            "--init",
            &file,
            "--block-time",
            "1",
            "--gas-limit",
            "1000000000",
            "--no-request-size-limit",
            "--quiet",
        ];
        let node = Node::anvil(bin, &args)?;
        let load = erc20::load(&node, population, self.transactions)?;
        self.say(&format!("{load:?}"));
        node.stop()?;
        Ok(load)
    }

    fn replay(&self, data: &str) -> Result<f64> {
        self.say("verify: replaying the blocks of the load");
        let events = self.verify(data)?;
        let evm = events
            .iter()
            .find(|e| e.get("ledger") == Some(&json!("evm")))
            .context("no report of the EVM ledger")?;
        evm.get("transactionsPerSecond").and_then(Value::as_f64).context("no rate")
    }

    fn verify(&self, data: &str) -> Result<Vec<Value>> {
        let out = Command::new(&self.bletchley)
            .args(["verify", data, "--json"])
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(out.stdout)?;
        if !out.status.success() {
            bail!("verify did not hold: {text}");
        }
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn tokens(&self, folder: &Path, report: &mut Report) -> Result<()> {
        self.say("tokens: transfers on the UTXO ledger");
        let data = path(folder, "tokens")?;
        let node =
            Node::bletchley(&self.bletchley, &["--data", &data, "--members", "1", "--block-ms", "200"])?;
        let load = tokens::load(&node, self.transactions)?;
        self.say(&format!("{load:?}"));
        node.stop()?;
        let per_second = load.transactions as f64 / load.wall_s;
        report.push(bounded(
            "token_transfers_per_s",
            "token transfers, one node, loader beside it",
            per_second,
            "tx/s",
            15e3,
            30e3,
            false,
        ));
        report.figure(
            "token_transfers_per_cpu_s",
            "token transfers per node CPU-second",
            load.per_cpu_second(),
            "tx/CPU-s",
        );
        Ok(())
    }

    fn delegated(&self, folder: &Path, report: &mut Report) -> Result<()> {
        self.say("delegated: the same work with and without a cryptlet");
        let data = path(folder, "delegated")?;
        let node = Node::bletchley(&self.bletchley, &["--data", &data, "--dev"])?;
        let (plain, delegated) = delegated::measure(&node)?;
        node.stop()?;
        self.say("delegated: the same, every cryptlet confined");
        let data = path(folder, "confined")?;
        let node = Node::bletchley(&self.bletchley, &["--data", &data, "--dev", "--confine"])?;
        let (plain_beside, confined) = delegated::measure(&node)?;
        node.stop()?;
        report.push(bounded(
            "delegated_confined_us",
            "what asking a confined cryptlet adds, its worker included",
            confined - plain_beside,
            "us CPU",
            400.0,
            250.0,
            true,
        ));
        report.figure("plain_call_us", "a transaction that works its weekday out itself", plain, "us CPU");
        let extra = delegated - plain;
        report.push(bounded(
            "delegated_call_us",
            "what asking a cryptlet adds",
            extra,
            "us CPU",
            250.0,
            150.0,
            true,
        ));
        Ok(())
    }
}

fn path(folder: &Path, name: &str) -> Result<String> {
    let path: PathBuf = folder.join(name);
    Ok(path.to_str().context("the temporary folder's name is not UTF-8")?.to_owned())
}

/// Says why nothing was measured.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
}
