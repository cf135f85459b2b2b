//! `bletchley token issue`.

use super::{OnLedger, Session};
use crate::tokens::owner::{Key, Recipient, fresh};
use crate::tokens::prompt;
use anyhow::{Result, bail};
use bletchley_crypto::{Argon2Params, SecretKey};
use bletchley_token::{Lock, Properties, TokenRecord, TxBuilder};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token issue --as manufacturer --class screw --serial 0001 --serial 0002\n  bletchley token issue --as bank --person --property name --property born --to alice\n  bletchley token issue --anonymous --to-password\n\nValues of properties that are not given are asked for. Only a salted, memory-hard digest of a person's or an\norganisation's properties goes to the ledger."
)]
pub(super) struct Issue {
    /// Account that issues, and signs: the manufacturer of things, whoever vouches for people and organisations.
    #[arg(long = "as", value_name = "ACCOUNT", required_unless_present = "anonymous")]
    issuer: Option<String>,
    /// Class of the things.
    #[arg(long, requires = "serial")]
    class: Option<String>,
    /// Serial number; several times for several things.
    #[arg(long, requires = "class")]
    serial: Vec<String>,
    /// Issue a person's token.
    #[arg(long, requires = "property", conflicts_with_all = ["class", "organisation", "anonymous"])]
    person: bool,
    /// Issue an organisation's token.
    #[arg(long, requires = "property", conflicts_with_all = ["class", "anonymous"])]
    organisation: bool,
    /// Issue a token that names nobody: a fresh key issues it and is forgotten.
    #[arg(long, conflicts_with_all = ["class", "property", "issuer"])]
    anonymous: bool,
    /// Identifying property, NAME to be asked for its value, or NAME=VALUE.
    #[arg(long, value_name = "NAME[=VALUE]")]
    property: Vec<String>,
    /// What people are to call it; public, and nothing checks it.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    recipient: Recipient,
    #[command(flatten)]
    common: OnLedger,
}

/// Properties from `NAME=VALUE`, and from the terminal where the value is missing.
pub(super) fn properties(given: &[String]) -> Result<Properties> {
    let mut pairs = Vec::new();
    for text in given {
        let pair = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.clone(), prompt::ask(text)?.to_string()),
        };
        pairs.push(pair);
    }
    Ok(Properties::new(pairs)?)
}

impl Issue {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let fresh_key =
            self.anonymous.then(|| fresh().map(|seed| SecretKey::from_seed(seed.as_slice()))).transpose()?;
        let (issuer, keys) = match (&self.issuer, fresh_key) {
            (Some(name), _) => {
                let signer = session.accounts.signer(name)?;
                (signer.address(), vec![Key::Account(signer)])
            }
            (None, Some(key)) => (key.address(), vec![Key::Derived(Box::new(key))]),
            (None, None) => bail!("who issues it? add --as ACCOUNT"),
        };
        let owner = match self.recipient.lock(&ledger)? {
            Some(lock) => lock,
            None if self.anonymous => {
                bail!("an anonymous token needs an owner: add --to-password, or --to OWNER")
            }
            None => Lock::key(issuer),
        };
        let mut tokens = Vec::new();
        let mut names = Vec::new();
        for (record, default) in self.records(issuer)? {
            let label = self.label.clone().unwrap_or(default);
            session.output.event(&json!({ "event": "token", "token": record.id(), "label": label }));
            names.push((label.clone(), record.id()));
            tokens.push((record, label, owner.clone()));
        }
        let builder = TxBuilder::issue(ledger.ledger, issuer, tokens);
        let what = format!("issued {} to {}", plural(names.len()), ledger.owner_name(&owner));
        let ids: Vec<_> = names.iter().map(|(_, id)| *id).collect();
        session.settle(&ledger, &builder, &keys, &what, json!({ "event": "issued", "tokens": ids }))?;
        for (label, id) in names {
            session.output.line(format!("  {label:<30} {id}"));
        }
        Ok(())
    }

    fn records(&self, issuer: alloy_primitives::Address) -> Result<Vec<(TokenRecord, String)>> {
        if let Some(class) = &self.class {
            let record =
                |serial: &String| Ok((TokenRecord::thing(issuer, class, serial)?, label(class, serial)));
            return self.serial.iter().map(record).collect();
        }
        if self.anonymous {
            return Ok(vec![(TokenRecord::anonymous(issuer), String::new())]);
        }
        if !self.person && !self.organisation {
            bail!(
                "what is to be issued? add --class and --serial, or --person, --organisation or --anonymous"
            );
        }
        let (properties, salt) = (properties(&self.property)?, fresh()?);
        let params = Argon2Params::RECOMMENDED;
        let record = if self.person {
            TokenRecord::person(issuer, &properties, salt, params)?
        } else {
            TokenRecord::organisation(issuer, &properties, salt, params)?
        };
        Ok(vec![(record, if self.person { "person" } else { "organisation" }.to_owned())])
    }
}

/// What a thing is called when nobody says: its class and serial number, as far as a label goes.
pub(super) fn label(class: &str, serial: &str) -> String {
    let mut text = format!("{class} {serial}");
    while text.len() > bletchley_token::limits::LABEL_SIZE_BYTES_MAX {
        text.pop();
    }
    text.retain(|c| !c.is_control());
    text
}

fn plural(count: usize) -> String {
    if count == 1 { "one token".to_owned() } else { format!("{count} tokens") }
}
