//! `bletchley prove` and `bletchley check`.

use super::Common;
use crate::client::Client;
use crate::genesis::NetworkGenesis;
use crate::governance::EVM_LEDGER;
use crate::proofs::{self, Start};
use crate::verify::start_of;
use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley prove tx 0x... > transaction.json\n  bletchley prove receipt 0x... --save receipt.json\n  bletchley check receipt.json --genesis genesis.json      no node is asked\n  bletchley prove tx 0x... --ledger banks --member bank-a      of a ledger that a vote created"
)]
pub(super) struct Prove {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Args)]
struct Manner {
    /// Which smart-contract ledger.
    #[arg(long, value_name = "NAME", default_value = EVM_LEDGER)]
    ledger: String,
    /// Write the proof into a file instead of printing it.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// That a transaction stands in a final block.
    Tx {
        /// Its hash.
        hash: B256,
        #[command(flatten)]
        manner: Manner,
    },
    /// What became of a transaction, and what it logged.
    Receipt {
        /// The transaction's hash.
        hash: B256,
        #[command(flatten)]
        manner: Manner,
    },
    /// What an account holds, and some of its slots.
    State {
        /// The account.
        address: Address,
        /// Slots of its storage.
        slots: Vec<U256>,
        #[command(flatten)]
        manner: Manner,
    },
}

impl Prove {
    pub(super) fn run(self) -> Result<()> {
        let (path, Manner { ledger, save, common }) = match self.what {
            What::Tx { hash, manner } => (format!("/v1/evm/proofs/transactions/{hash}"), manner),
            What::Receipt { hash, manner } => (format!("/v1/evm/proofs/receipts/{hash}"), manner),
            What::State { address, slots, manner } => {
                let slots: Vec<String> = slots.iter().map(|slot| format!("{slot:#x}")).collect();
                (format!("/v1/evm/proofs/state/{address}?slots={}", slots.join(",")), manner)
            }
        };
        let data = common.folder()?;
        let named = Some(ledger.as_str()).filter(|name| *name != EVM_LEDGER);
        let answer = Client::of(&data)?.on(named).rest("GET", &path, None)?;
        // What a stranger would refuse is not worth a file.
        let start = start_of(&NetworkGenesis::read(&data)?, &data, &ledger)?;
        proofs::check(&start, &answer).context("the node's proof does not hold")?;
        let mut text = serde_json::to_vec_pretty(&answer)?;
        text.push(b'\n');
        match &save {
            Some(file) => std::fs::write(file, text).with_context(|| format!("writing {}", file.display())),
            None => std::io::stdout().lock().write_all(&text).context("writing the proof"),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley check receipt.json --genesis genesis.json\n\nExit status: 0 it holds, 2 it does not, 1 it could not be read."
)]
pub(super) struct Check {
    /// A proof that `bletchley prove` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which smart-contract ledger. What a ledger that a vote created starts from is computed from the root ledger in the
    /// data folder, which is verified for it.
    #[arg(long, value_name = "NAME", default_value = EVM_LEDGER)]
    ledger: String,
    /// Genesis document to start from; that of the data folder when not given.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Check {
    pub(super) fn run(self) -> Result<u8> {
        let output = self.common.output();
        let answer = proofs::read(&self.file)?;
        let genesis = match &self.genesis {
            Some(path) => NetworkGenesis::read_file(path)?,
            None => NetworkGenesis::read(&self.common.folder()?)?,
        };
        let start = if self.ledger == EVM_LEDGER {
            Start::of(&genesis)
        } else {
            start_of(&genesis, &self.common.folder()?, &self.ledger)?
        };
        let proved = match proofs::check(&start, &answer) {
            Ok(proved) => proved,
            Err(error) => {
                output.line(format!("{} {error:#}", output.bad("does not hold:")));
                output.event(
                    &json!({ "valid": false, "problem": format!("{error:#}"), "genesis": genesis.digest() }),
                );
                return Ok(2);
            }
        };
        let (block, set) = (&proved.block, proved.block.validators.members().len());
        output.line(format!("{} {}", output.good("proved:"), proved.line));
        output.line(format!(
            "  in block {} ({}), final by the certificate of block {}, which {} of {set} validators signed",
            block.link.height, block.link.hash, block.certified, block.signatures
        ));
        let with = if self.ledger == EVM_LEDGER { "alone" } else { "and the root ledger that it verifies" };
        output.line(format!(
            "  checked with genesis document {} {with}; no node was believed",
            genesis.digest()
        ));
        output.event(&json!({
            "valid": true, "height": block.link.height, "block": block.link.hash, "certified": block.certified,
            "signatures": block.signatures, "validators": set, "genesis": genesis.digest(), "facts": proved.facts,
        }));
        Ok(0)
    }
}
