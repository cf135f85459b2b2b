//! `bletchley token show`, `lineage` and `verify`.

use super::{OnLedger, Session};
use crate::tokens::{prompt, timeline};
use anyhow::{Result, bail};
use bletchley_token::{Identity, Properties, TokenInfo};
use clap::Args;
use serde_json::json;

/// Exit status when the properties are not the token's own.
const DIFFERS: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bletchley token lineage manufacturer/phone/0001")]
pub(super) struct Lineage {
    /// The token: its id, or issuer/class/serial.
    token: String,
    #[command(flatten)]
    common: OnLedger,
}

impl Lineage {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let token = ledger.token(ledger.named_token(&self.token)?)?.token;
        let lineage = ledger.lineage(token)?;
        session.output.event(&lineage);
        session.output.heading(format!("Lineage of {}", ledger.token_name(token)));
        timeline::print(&ledger, session.output, &lineage);
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bletchley token show manufacturer/phone/0001")]
pub(super) struct Show {
    /// The token: its id, or issuer/class/serial.
    token: String,
    #[command(flatten)]
    common: OnLedger,
}

impl Show {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let (ledger, output) = (session.ledger()?, session.output);
        let token = ledger.token(ledger.named_token(&self.token)?)?;
        let kind = match &token.info {
            TokenInfo::Identity { record, .. } => match record.identity {
                Identity::Thing { .. } => "a thing".to_owned(),
                Identity::Person { .. } => "a person, by a memory-hard digest".to_owned(),
                Identity::Organisation { .. } => "an organisation, by a memory-hard digest".to_owned(),
                Identity::Anonymous {} => "anonymous".to_owned(),
            },
            TokenInfo::Composite { record, parts, .. } => {
                format!("a whole of {parts} parts, assembled {} before", times(record.revision))
            }
            TokenInfo::Control { .. } => "the right to issue an asset".to_owned(),
            TokenInfo::Entry { namespace, .. } => format!("an entry of registry {namespace}"),
        };
        let (label, issuer) = (token.info.label(), token.info.issuer());
        output.heading(if label.is_empty() { "A token" } else { label });
        output.line(format!("  id        {}", token.token));
        output.line(format!("  is        {kind}"));
        output.line(format!("  issued by {}", ledger.account_name(issuer)));
        let place = match (&token.output, token.composite) {
            (Some((_, held)), _) => format!("belongs to {}", ledger.owner_name(&held.lock)),
            (None, Some(whole)) => format!("part of {} ({whole})", ledger.token_name(whole)),
            (None, None) => token.status.replace('_', " "),
        };
        output.line(format!("  stands    {place}"));
        if let Some((reference, _)) = &token.output {
            output.line(format!("  output    {reference}"));
        }
        let names = token.info.property_names();
        if !names.is_empty() {
            output.line(format!("  made from {} (bletchley token verify checks them)", names.join(", ")));
        }
        let output_id = token.output.as_ref().map(|(reference, _)| reference.to_string());
        let lock = token.output.as_ref().map(|(_, held)| &held.lock);
        output.event(&json!({
            "token": token.token, "info": token.info, "status": token.status, "composite": token.composite,
            "output": output_id, "owner": lock, "property_names": names,
        }));
        Ok(())
    }
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token verify manufacturer/phone/0001 class=phone serial=0001\n  bletchley token verify 0x<id of a person's token>      asks for each property\n\nExit status: 0 they match, 2 they do not, 1 nothing could be checked."
)]
pub(super) struct Verify {
    /// The token: its id, or issuer/class/serial.
    token: String,
    /// Properties that need not be asked for.
    #[arg(value_name = "NAME=VALUE")]
    properties: Vec<String>,
    #[command(flatten)]
    common: OnLedger,
}

impl Verify {
    pub(super) fn run(self) -> Result<u8> {
        let session = Session::open(&self.common)?;
        let (ledger, output) = (session.ledger()?, session.output);
        let token = ledger.token(ledger.named_token(&self.token)?)?;
        let names = token.info.property_names();
        if names.is_empty() {
            bail!("this token has no properties to check; its holder proves it by signing a transfer");
        }
        let mut pairs = Vec::new();
        for given in &self.properties {
            let Some((name, value)) = given.split_once('=') else {
                bail!("{given} is not NAME=VALUE; the token is made from {}", names.join(", "));
            };
            if !names.iter().any(|known| known == name) {
                bail!("the token has no property {name}; it is made from {}", names.join(", "));
            }
            pairs.push((name.to_owned(), value.to_owned()));
        }
        for name in &names {
            if !pairs.iter().any(|(given, _)| given == name) {
                pairs.push((name.clone(), prompt::ask(name)?.to_string()));
            }
        }
        let matches = token.info.matches(&Properties::new(pairs)?)?;
        let name = ledger.token_name(token.token);
        output.event(&json!({ "token": token.token, "matches": matches }));
        if matches {
            let issuer = ledger.account_name(token.info.issuer());
            output.line(format!(
                "{} these are the properties of {name}, issued by {issuer}",
                output.good("matches:")
            ));
            return Ok(0);
        }
        output.line(format!("{} these are not the properties of {name}", output.bad("differs:")));
        Ok(DIFFERS)
    }
}
