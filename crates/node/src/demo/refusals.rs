//! What cheats try, and why the ledger does not let them.

use super::items::{Phone, Workshop};
use crate::tokens::{Refused, sign};
use anyhow::{Context, Result, bail, ensure};
use bletchley_primitives::TxId;
use bletchley_token::{OutputRef, TxBuilder};
use serde_json::json;

/// How many of them there are.
pub(super) const COUNT: u32 = 4;
/// The screw whose serial number others would like to use again.
const FORGED_SCREW: u32 = 1;

fn expect(
    shop: &Workshop<'_>,
    attempt: &str,
    codes: &[&str],
    result: std::result::Result<TxId, Refused>,
) -> Result<()> {
    let Err(refused) = result else { bail!("the ledger took what it must refuse: {attempt}") };
    let message = shop.ledger.readable(&refused.message);
    ensure!(codes.contains(&refused.code.as_str()), "{attempt} was refused for another reason: {message}");
    shop.output.line(format!("  {attempt}"));
    shop.output.line(format!("      {} {}", shop.output.bad("refused:"), reason(&message)));
    shop.output.event(
        &json!({ "event": "refused", "attempt": attempt, "code": refused.code, "reason": refused.message }),
    );
    Ok(())
}

/// The reason behind `transaction ... is refused:`.
fn reason(message: &str) -> &str {
    message.split_once("is refused: ").map_or(message, |(_, reason)| reason)
}

/// Mallory issues a part in the manufacturer's name.
pub(super) fn forged_serial(shop: &Workshop<'_>) -> Result<()> {
    let (maker, mallory) = (shop.signer("manufacturer")?, shop.signer("mallory")?);
    let forged =
        (shop.record_of("screw", FORGED_SCREW)?, shop.label("screw", FORGED_SCREW), shop.lock("mallory")?);
    let builder = TxBuilder::issue(shop.ledger.ledger, maker.address(), [forged]);
    let attempt = format!(
        "mallory issues {} once more in the manufacturer's name, with her own key",
        shop.label("screw", FORGED_SCREW)
    );
    expect(shop, &attempt, &["not_the_issuer"], shop.ledger.submit(&sign(&builder, &[mallory])?)?)
}

/// The manufacturer issues a serial number again.
pub(super) fn serial_twice(shop: &Workshop<'_>) -> Result<()> {
    let maker = shop.signer("manufacturer")?;
    let again = (shop.record_of("screw", 1)?, shop.label("screw", 1), shop.lock("manufacturer")?);
    let builder = TxBuilder::issue(shop.ledger.ledger, maker.address(), [again]);
    let attempt = format!("manufacturer issues {} a second time", shop.label("screw", 1));
    expect(shop, &attempt, &["already_issued"], shop.ledger.submit(&sign(&builder, &[maker])?)?)
}

/// A distributor sells one phone to two buyers at once.
pub(super) fn double_sale(shop: &Workshop<'_>, phone: &mut Phone) -> Result<()> {
    let (first, second) = (shop.sale(phone, "alice")?, shop.sale(phone, "bob")?);
    shop.ledger.call(first.id.0, format!("\"sale of {} to alice\"", phone.label));
    let mut results = shop.ledger.submit_all(&[&first, &second])?.into_iter();
    let taken = results.next().context("the node answered nothing")?;
    let taken =
        taken.map_err(|refused| anyhow::anyhow!("selling {} to alice: {}", phone.label, refused.message))?;
    shop.ledger.await_final(taken)?;
    phone.sold_to("alice");
    let attempt = format!("distributor-south sells {} to alice, and at once to bob as well", phone.label);
    let second = results.next().context("the node answered one of two")?;
    expect(shop, &attempt, &["double_spend", "not_unspent"], second)
}

/// The owner of a phone sells one of its screws while the phone stands.
pub(super) fn part_alone(shop: &Workshop<'_>, phone: &Phone) -> Result<()> {
    let screw = *phone.screws.first().context("a phone without screws")?;
    // The newest output that ever carried the screw: that of its issue.
    let lineage = shop.ledger.lineage(screw)?;
    let issued = lineage.pointer("/events/0/tx").and_then(serde_json::Value::as_str);
    let issued = TxId(issued.context("a screw without an issue")?.parse()?);
    let transaction = shop.ledger.client.rest("GET", &format!("/v1/tokens/transactions/{issued}"), None)?;
    let outputs = transaction.pointer("/transaction/body/outputs").and_then(serde_json::Value::as_array);
    let carries = |output: &serde_json::Value| output.pointer("/value/token") == Some(&json!(screw));
    let position = outputs.into_iter().flatten().position(carries).context("an issue without the screw")?;
    let builder = TxBuilder::transfer(shop.ledger.ledger)
        .spend(OutputRef::new(issued, u32::try_from(position)?))
        .token(screw, shop.lock("bob")?);
    let attempt = format!(
        "customer sells {} out of {}, which still stands",
        shop.ledger.token_name(screw),
        phone.label
    );
    let result = shop.ledger.submit(&sign(&builder, &[shop.signer("customer")?])?)?;
    expect(shop, &attempt, &["double_spend", "not_unspent"], result)
}
