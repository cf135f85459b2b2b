//! `bletchley token proof`.

use super::{OnLedger, Session};
use crate::genesis::NetworkGenesis;
use crate::proofs::Start;
use crate::tokens::proof::{Shown, check};
use crate::tokens::timeline;
use crate::verify::start_of;
use anyhow::{Context, Result, bail};
use bletchley_token::{Lock, Output, OutputRef, Value as Carried};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Longest file with a proof.
const PROOF_FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token proof manufacturer/phone/0001 --save phone-proof.json\n  bletchley token proof --check phone-proof.json --genesis genesis.json      no node is asked"
)]
pub(super) struct Proof {
    /// A token, or an output as <transaction id>:<position>.
    #[arg(required_unless_present = "check")]
    what: Option<String>,
    /// Write the proof into a file for others to check.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    save: Option<PathBuf>,
    /// Check the proof in a file offline.
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    check: Option<PathBuf>,
    /// Genesis document to start from; that of the data folder when not given.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    #[command(flatten)]
    common: OnLedger,
}

impl Proof {
    pub(super) fn run(self) -> Result<()> {
        let answer = match (&self.check, &self.what) {
            (Some(path), _) => read(path)?,
            (None, Some(what)) => self.ask(what)?,
            (None, None) => bail!("name a token or an output, or a file with --check"),
        };
        let genesis = match &self.genesis {
            Some(path) => NetworkGenesis::read_file(path)?,
            None => NetworkGenesis::read(&self.common.folder()?)?,
        };
        let start = match &self.common.ledger {
            Some(name) => start_of(&genesis, &self.common.folder()?, name)?,
            None => Start::of_tokens(&genesis),
        };
        let shown = check(&start, &answer).context("the proof does not hold")?;
        if let Some(path) = &self.save {
            std::fs::write(path, serde_json::to_vec_pretty(&answer)?)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        self.tell(&genesis, &shown)
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let reference = match what.parse::<OutputRef>() {
            Ok(reference) => reference,
            Err(_) => ledger.spendable(&ledger.token(ledger.named_token(what)?)?)?.0,
        };
        session.client.rest("GET", &format!("/v1/tokens/outputs/{reference}/proof"), None)
    }

    fn tell(&self, genesis: &NetworkGenesis, shown: &Shown) -> Result<()> {
        let output = self.common.output();
        output.event(&json!({
            "valid": true, "output": shown.reference.to_string(), "value": shown.output, "spent_by": shown.spent_by,
            "height": shown.height, "genesis": genesis.digest(),
        }));
        let state = match shown.spent_by {
            Some(by) => format!("existed and was spent by transaction {by}"),
            None => "exists and is not spent".to_owned(),
        };
        output.line(format!("{} output {} {state}", output.good("proved:"), shown.reference));
        output.line(format!(
            "  as of block {} of {}, which {} of {} validators signed",
            shown.height,
            timeline::time(Some(&json!(shown.time_ms))),
            shown.validators.0,
            shown.validators.1
        ));
        output.line(format!("  it carries {}", carried(genesis, &shown.output)));
        output.line(format!(
            "  checked with genesis document {} {}; no node was believed",
            genesis.digest(),
            if self.common.ledger.is_some() { "and the root ledger that it verifies" } else { "alone" }
        ));
        if let Some(path) = &self.save {
            output.line(format!(
                "  saved in {}; check it with `bletchley token proof --check`",
                path.display()
            ));
        }
        Ok(())
    }
}

/// What an output carries and whose it is, in the names of the genesis document.
fn carried(genesis: &NetworkGenesis, held: &Output) -> String {
    let name = |address: &alloy_primitives::Address| {
        let known = genesis.accounts.iter().find(|account| account.address == *address);
        known.map_or_else(|| address.to_string(), |account| account.name.clone())
    };
    let owner = match &held.lock {
        Lock::Key { address } => name(address),
        Lock::Proof { address, .. } => format!("whoever proves to be {address}"),
        Lock::Threshold { needed, keys } => {
            format!("any {needed} of {}", keys.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        Lock::HashTime { recipient, refund, .. } => {
            format!("{} with a preimage, or {} after the deadline", name(recipient), name(refund))
        }
    };
    let what = match held.value {
        Carried::Token { token } => format!("token {token}"),
        Carried::Amount { asset, amount } => format!("{amount} smallest units of asset {asset}"),
        Carried::Control { asset } => format!("the right to issue asset {asset}"),
        Carried::Entry { entry } => format!("registry entry {entry}"),
    };
    format!("{what}, owned by {owner}")
}

fn read(path: &std::path::Path) -> Result<Value> {
    let shown = path.display();
    let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {shown}"))?.len();
    if size_bytes > PROOF_FILE_SIZE_BYTES_MAX {
        bail!("{shown} has {size_bytes} bytes; a proof has at most {PROOF_FILE_SIZE_BYTES_MAX}");
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {shown}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {shown}"))
}
