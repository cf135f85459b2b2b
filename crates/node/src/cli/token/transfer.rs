//! `bletchley token transfer` and `bletchley token record`.

use super::{OnLedger, Session};
use crate::tokens::owner::Recipient;
use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result, bail};
use bletchley_primitives::{LedgerId, TxId};
use bletchley_token::{ContractPlace, Note, TxBuilder};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token transfer manufacturer/screw/0001 --to alice\n  bletchley token transfer manufacturer/screw/0001 --to 2-of:alice,bob,carol\n  bletchley token transfer manufacturer/screw/0001 --to-password --to-pin\n\nWhat is owned by an identity proof asks for its secrets when it is spent."
)]
pub(super) struct Transfer {
    /// The token: its id, or issuer/class/serial.
    token: String,
    #[command(flatten)]
    recipient: Recipient,
    /// Account that signs, when it is not the owner's that this folder has; several for a shared owner.
    #[arg(long = "as", value_name = "ACCOUNT")]
    signers: Vec<String>,
    /// Earlier transaction that this one corrects.
    #[arg(long, value_name = "TRANSACTION")]
    compensates: Option<B256>,
    #[command(flatten)]
    common: OnLedger,
}

impl Transfer {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let token = ledger.token(ledger.named_token(&self.token)?)?;
        let (reference, held) = ledger.spendable(&token)?;
        let to = self.recipient.required(&ledger)?;
        let keys = session.keys(&ledger, None, std::slice::from_ref(&held.lock), &self.signers)?;
        let what = format!(
            "{} went from {} to {}",
            ledger.token_name(token.token),
            ledger.owner_name(&held.lock),
            ledger.owner_name(&to)
        );
        let event = json!({ "event": "transferred", "token": token.token, "from": held.lock, "to": to });
        let mut builder = TxBuilder::transfer(ledger.ledger).spend(reference).token(token.token, to);
        if let Some(corrected) = self.compensates {
            builder = builder.compensating(TxId(corrected));
        }
        session.settle(&ledger, &builder, &keys, &what, event)
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token record manufacturer/phone/0001 --contract 0x5FbDB2315678afecb367f032d93F642f64180aa3\n  bletchley token record manufacturer/phone/0001 --digest 0x<sha-256 or keccak-256 of a document>"
)]
pub(super) struct Record {
    /// The token: its id, or issuer/class/serial.
    token: String,
    /// Contract of this network's EVM ledger that records the token under its id; what it logs then shows as acknowledged.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "digest")]
    contract: Option<Address>,
    /// Digest of a document.
    #[arg(long, value_name = "DIGEST", conflicts_with = "contract")]
    digest: Option<B256>,
    /// Account that signs, when it is not the owner's that this folder has.
    #[arg(long = "as", value_name = "ACCOUNT")]
    signers: Vec<String>,
    #[command(flatten)]
    common: OnLedger,
}

impl Record {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let token = ledger.token(ledger.named_token(&self.token)?)?;
        let (reference, held) = ledger.spendable(&token)?;
        let note = match (self.contract, self.digest) {
            (Some(contract), _) => {
                let network = session.client.rest("GET", "/v1/network", None)?;
                let chain_id =
                    network.get("chainId").and_then(Value::as_u64).context("the node names no chain id")?;
                let item = U256::from_be_bytes(token.token.0.0);
                let (ledger, transaction) = (LedgerId::default(), TxId::default());
                Note::Contract { place: ContractPlace { ledger, chain_id, contract, item, transaction } }
            }
            (None, Some(digest)) => Note::Digest { digest },
            (None, None) => bail!("what is to be attached? add --contract or --digest"),
        };
        let keys = session.keys(&ledger, None, std::slice::from_ref(&held.lock), &self.signers)?;
        let what = format!("attached to {}", ledger.token_name(token.token));
        let event = json!({ "event": "recorded", "token": token.token, "note": note });
        let builder = TxBuilder::record(ledger.ledger, (token.token, reference), note, held.lock);
        session.settle(&ledger, &builder, &keys, &what, event)
    }
}
