//! `bletchley token compose` and `bletchley token decompose`.

use super::{OnLedger, Session, issue};
use crate::tokens::owner::Recipient;
use anyhow::{Context, Result, bail};
use bletchley_token::{Lock, TokenInfo, TokenRecord, TxBuilder};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bletchley token compose --as manufacturer --class phone --serial 0001 manufacturer/screw/0001 manufacturer/screen/0001\n\nA part may be a whole itself. While the whole stands its parts move with it and cannot move alone."
)]
pub(super) struct Compose {
    /// The parts: ids, or issuer/class/serial.
    #[arg(required = true, value_name = "PART")]
    parts: Vec<String>,
    /// Account that assembles the whole, and signs for it.
    #[arg(long = "as", value_name = "ACCOUNT")]
    issuer: String,
    /// Class of the whole.
    #[arg(long)]
    class: String,
    /// Serial number of the whole.
    #[arg(long)]
    serial: String,
    /// What people are to call it; public, and nothing checks it.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    recipient: Recipient,
    #[command(flatten)]
    common: OnLedger,
}

impl Compose {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let issuer = session.accounts.signer(&self.issuer)?.address();
        let thing = TokenRecord::thing(issuer, &self.class, &self.serial)?.id();
        let (revision, standing) = ledger.builds(thing)?;
        if let Some(standing) = standing {
            bail!(
                "a {} with serial number {} stands already; take it apart first: bletchley token decompose {standing}",
                self.class,
                self.serial
            );
        }
        let (mut parts, mut locks) = (Vec::new(), Vec::new());
        for text in &self.parts {
            let token = ledger.token(ledger.named_token(text)?)?;
            let (reference, held) = ledger.spendable(&token)?;
            parts.push((token.token, reference));
            locks.push(held.lock);
        }
        let owner = self.recipient.lock(&ledger)?.unwrap_or_else(|| Lock::key(issuer));
        let label = self.label.clone().unwrap_or_else(|| issue::label(&self.class, &self.serial));
        let to = ledger.owner_name(&owner);
        let builder = TxBuilder::compose(
            ledger.ledger,
            issuer,
            &self.class,
            &self.serial,
            revision,
            &label,
            &parts,
            owner,
        )?;
        let made = builder.body().outputs.first().and_then(|output| output.value.unique());
        let made = made.context("a composite without an output")?;
        let keys = session.keys(&ledger, Some(&self.issuer), &locks, &[])?;
        let what = format!("{label} assembled from {} parts for {to}", parts.len());
        let event = json!({ "event": "assembled", "token": made, "label": label, "revision": revision });
        session.settle(&ledger, &builder, &keys, &what, event)?;
        session.output.line(format!("  token {made}"));
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bletchley token decompose manufacturer/phone/0001 --to manufacturer")]
pub(super) struct Decompose {
    /// The whole: its id, or issuer/class/serial.
    token: String,
    #[command(flatten)]
    recipient: Recipient,
    /// Account that signs, when it is not the owner's that this folder has; several for a shared owner.
    #[arg(long = "as", value_name = "ACCOUNT")]
    signers: Vec<String>,
    #[command(flatten)]
    common: OnLedger,
}

impl Decompose {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let token = ledger.token(ledger.named_token(&self.token)?)?;
        let name = ledger.token_name(token.token);
        if !matches!(token.info, TokenInfo::Composite { .. }) {
            bail!("{name} has no parts, so that there is nothing to take apart");
        }
        let (reference, held) = ledger.spendable(&token)?;
        let parts = ledger.parts(token.token)?;
        let owner = self.recipient.lock(&ledger)?.unwrap_or_else(|| held.lock.clone());
        let keys = session.keys(&ledger, None, std::slice::from_ref(&held.lock), &self.signers)?;
        let builder = TxBuilder::decompose(ledger.ledger, (token.token, reference), &parts, &owner);
        let what = format!("{name} taken apart into {} parts for {}", parts.len(), ledger.owner_name(&owner));
        let event = json!({ "event": "taken-apart", "token": token.token, "parts": parts });
        session.settle(&ledger, &builder, &keys, &what, event)?;
        for part in parts {
            session.output.line(format!("  {:<30} {part}", ledger.token_name(part)));
        }
        Ok(())
    }
}
