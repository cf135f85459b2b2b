//! `bletchley token balance`, `issue-amount` and `pay`.

use super::{OnLedger, Session};
use crate::demo::table::Table;
use crate::tokens::owner::{Recipient, owner};
use crate::tokens::{TokenLedger, unspent};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_token::{AssetId, Lock, OutputRef, TxBuilder};
use clap::Args;
use serde_json::{Value, json};

/// Most assets that are looked through for one by name.
const ASSETS_MAX: usize = 100_000;

/// A fungible asset, as the node tells it.
struct Asset {
    id: AssetId,
    peg: String,
    decimals: u8,
    issuer: String,
    control: Option<(OutputRef, Lock)>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token balance alice\n  bletchley token balance 2-of:alice,bob"
)]
pub(super) struct Balance {
    /// The owner: an account's name, an address, a shared or a proved owner.
    owner: String,
    #[command(flatten)]
    common: OnLedger,
}

impl Balance {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let (ledger, output) = (session.ledger()?, session.output);
        let lock = owner(&ledger, &self.owner)?;
        let whose = lock.owner();
        let answer = session.client.rest("GET", &format!("/v1/tokens/owners/{whose}/balances"), None)?;
        output.heading(format!("What {} has", ledger.owner_name(&lock)));
        let mut table = Table::new(&[">amount", "asset"]);
        let mut lines = 0;
        for balance in answer.get("balances").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| balance.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let decimals = balance.get("decimals").and_then(Value::as_u64).unwrap_or_default();
            let amount = text("amount").parse().map(|units| shown(units, decimals as usize));
            table.row([amount.unwrap_or_else(|_| text("amount")), text("peg")]);
            lines += 1;
        }
        if lines > 0 {
            table.print(output);
        }
        let tokens: Vec<_> =
            ledger.outputs_of(whose)?.iter().filter_map(|held| held.output.value.unique()).collect();
        for token in &tokens {
            output.line(format!("  {:<30} {token}", ledger.token_name(*token)));
        }
        if lines == 0 && tokens.is_empty() {
            output.line("  nothing");
        }
        output.event(&json!({ "owner": whose, "balances": answer.get("balances"), "tokens": tokens }));
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token issue-amount 1000.00 EUR --as bank --to alice\n  bletchley token issue-amount 5 \"gold, 1 g\" --as treasury --decimals 3"
)]
pub(super) struct IssueAmount {
    /// How much.
    amount: String,
    /// What the asset is pegged to, as its definition says, for instance EUR.
    asset: String,
    /// Account that issues it, and signs.
    #[arg(long = "as", value_name = "ACCOUNT")]
    issuer: String,
    /// Decimals of the asset, when it is defined now.
    #[arg(long, default_value_t = 2)]
    decimals: u8,
    #[command(flatten)]
    recipient: Recipient,
    #[command(flatten)]
    common: OnLedger,
}

impl IssueAmount {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let issuer = session.accounts.signer(&self.issuer)?.address();
        let issuers = Lock::key(issuer);
        let to = self.recipient.lock(&ledger)?.unwrap_or_else(|| issuers.clone());
        let mut known = assets(&ledger)?.into_iter();
        let asset = match known.find(|asset| asset.peg == self.asset && asset.issuer == issuer.to_string()) {
            Some(asset) => asset,
            None => {
                units(&self.amount, self.decimals)?;
                let define = TxBuilder::define_asset(
                    ledger.ledger,
                    issuer,
                    &self.asset,
                    self.decimals,
                    issuers.clone(),
                );
                let keys = session.keys(&ledger, Some(&self.issuer), &[], &[])?;
                let id = AssetId::of(issuer, &self.asset, self.decimals);
                let what = format!("{} defined by {}", self.asset, self.issuer);
                session.settle(&ledger, &define, &keys, &what, json!({ "event": "defined", "asset": id }))?;
                let control = Some((OutputRef::new(define.id(), 0), issuers));
                Asset {
                    id,
                    peg: self.asset.clone(),
                    decimals: self.decimals,
                    issuer: issuer.to_string(),
                    control,
                }
            }
        };
        let amount = units(&self.amount, asset.decimals)?;
        let control = asset.control.context("nobody holds the right to issue this asset any more")?;
        let keys = session.keys(&ledger, None, std::slice::from_ref(&control.1), &[])?;
        let what = format!("{} {} issued to {}", self.amount, asset.peg, ledger.owner_name(&to));
        let event = json!({ "event": "amount-issued", "asset": asset.id, "amount": amount.to_string() });
        let builder = TxBuilder::issue_amount(ledger.ledger, asset.id, amount, control, to);
        session.settle(&ledger, &builder, &keys, &what, event)
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token pay 12.50 EUR --from alice --to bob\n  bletchley token pay 12.50 bank/EUR --from alice --to bob      when several issue EUR"
)]
pub(super) struct Pay {
    /// How much.
    amount: String,
    /// The asset: what it is pegged to, issuer/peg, or its id.
    asset: String,
    /// Who pays: an account's name, or a shared or proved owner.
    #[arg(long, value_name = "OWNER")]
    from: String,
    #[command(flatten)]
    recipient: Recipient,
    #[command(flatten)]
    common: OnLedger,
}

impl Pay {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.common)?;
        let ledger = session.ledger()?;
        let asset = asset_named(&ledger, &self.asset)?;
        let amount = units(&self.amount, asset.decimals)?;
        let from = owner(&ledger, &self.from)?;
        let to = self.recipient.required(&ledger)?;
        let has = balance_of(&ledger, &from, asset.id)?;
        if has < amount {
            let has = shown(has, usize::from(asset.decimals));
            bail!(
                "{} has {has} {}, which is not enough to pay {}",
                ledger.owner_name(&from),
                asset.peg,
                self.amount
            );
        }
        let chosen = ledger.select(from.owner(), asset.id, amount)?;
        let locks: Vec<Lock> = chosen.iter().map(|unspent| unspent.output.lock.clone()).collect();
        let keys = session.keys(&ledger, None, &locks, &[])?;
        let what = format!(
            "{} {} paid by {} to {}",
            self.amount,
            asset.peg,
            ledger.owner_name(&from),
            ledger.owner_name(&to)
        );
        let event = json!({ "event": "paid", "asset": asset.id, "amount": amount.to_string(), "from": from, "to": to });
        let builder = TxBuilder::transfer(ledger.ledger).pay(asset.id, amount, &chosen, to, from)?;
        session.settle(&ledger, &builder, &keys, &what, event)
    }
}

fn balance_of(ledger: &TokenLedger<'_>, lock: &Lock, asset: AssetId) -> Result<u128> {
    let answer = ledger.client.rest("GET", &format!("/v1/tokens/owners/{}/balances", lock.owner()), None)?;
    let mut balances = answer.get("balances").and_then(Value::as_array).into_iter().flatten();
    let held = balances.find(|balance| balance.get("asset") == Some(&json!(asset)));
    let amount = held.and_then(|balance| balance.get("amount")).and_then(Value::as_str);
    Ok(amount.map(str::parse).transpose()?.unwrap_or_default())
}

fn assets(ledger: &TokenLedger<'_>) -> Result<Vec<Asset>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = ledger.client.rest("GET", &format!("/v1/tokens/assets?limit=999{after}"), None)?;
        for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            all.push(asset(item)?);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) if all.len() < ASSETS_MAX => after = format!("&after={next}"),
            _ => return Ok(all),
        }
    }
}

fn asset(item: &Value) -> Result<Asset> {
    let text =
        |at: &str| item.pointer(at).and_then(Value::as_str).with_context(|| format!("an asset without {at}"));
    let decimals = item.pointer("/definition/decimals").and_then(Value::as_u64).unwrap_or_default();
    let control = item.get("control").filter(|control| !control.is_null()).map(unspent).transpose()?;
    Ok(Asset {
        id: AssetId(text("/asset")?.parse()?),
        peg: text("/definition/peg")?.to_owned(),
        decimals: u8::try_from(decimals)?,
        issuer: text("/definition/issuer")?.parse::<alloy_primitives::Address>()?.to_string(),
        control: control.map(|held| (held.reference, held.output.lock)),
    })
}

fn asset_named(ledger: &TokenLedger<'_>, text: &str) -> Result<Asset> {
    let (issuer, peg) = match text.split_once('/') {
        Some((issuer, peg)) => (Some(ledger.address(issuer)?.to_string()), peg),
        None => (None, text),
    };
    let fits = |asset: &Asset| {
        asset.id.to_string() == text
            || (asset.peg == peg && issuer.as_ref().is_none_or(|issuer| asset.issuer == *issuer))
    };
    let mut found: Vec<Asset> = assets(ledger)?.into_iter().filter(fits).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), more) => bail!("{} assets are called {text}; name one as issuer/{peg}", more + 1),
        (None, _) => Err(anyhow!(
            "no asset is called {text}; issue some with `bletchley token issue-amount AMOUNT {peg} --as ACCOUNT`"
        )),
    }
}

/// A decimal amount in smallest units.
fn units(text: &str, decimals: u8) -> Result<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        bail!("{text} is not an amount: write it as 1250 or 1250.00");
    }
    if fraction.len() > usize::from(decimals) {
        bail!("{text} has more decimals than the asset, which has {decimals}");
    }
    let padded = format!("{whole}{fraction:0<width$}", width = usize::from(decimals));
    let units: u128 = padded.parse().with_context(|| format!("{text} is more than an amount can be"))?;
    if units == 0 {
        bail!("an amount is not zero");
    }
    Ok(units)
}

/// Smallest units as a decimal.
fn shown(units: u128, decimals: usize) -> String {
    let digits = format!("{units:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
    if decimals == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(units("12.5", 2).unwrap(), 1250);
        assert_eq!(units("12", 0).unwrap(), 12);
        assert_eq!(units("340282366920938463463374607431768211455", 0).unwrap(), u128::MAX);
        for wrong in ["", ".5", "1.234", "-1", "1e3", "0.00", "340282366920938463463374607431768211456"] {
            assert!(units(wrong, 2).is_err(), "{wrong}");
        }
        assert_eq!(shown(1250, 2), "12.50");
        assert_eq!(shown(5, 2), "0.05");
        assert_eq!(shown(5, 0), "5");
    }
}
