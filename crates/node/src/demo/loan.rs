//! A bank lends in euros against repayments in another currency; the contract asks `calendar` and `fx-rates`.

use super::independent::{Expected, Rates, Terms, schedule};
use super::{ecb, table::Table};
use crate::accounts::Accounts;
use crate::client::Client;
use crate::data::DataDir;
use crate::output::Output;
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::{SolCall, SolConstructor, SolEvent, sol};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bletchley_cryptlet::keys::Signer;
use jiff::civil::Date;
use serde_json::{Value, json};

sol! {
    #[derive(Debug)]
    #[allow(clippy::too_many_arguments)] // as many as the contract's event has
    contract Loan {
        constructor(address lender, address borrower, uint256 principalEurCents, string currency, uint256 annualRateBps, uint32 firstDate, uint256 instalments);
        function settle(uint256 n) external returns (uint256);
        event InstalmentSettled(uint256 indexed n, uint32 nominalDate, uint32 businessDate, uint32 fixingDate, uint256 rateE8, uint256 interestEurCents, uint256 principalEurCents, uint256 amountForeignMinor);
    }
}

const ARTIFACT: &str = include_str!("../../../../contracts/artifacts/Loan.json");

/// What the story is told with.
#[derive(Clone, Debug)]
pub struct LoanStory {
    /// USD, GBP or JPY.
    pub currency: String,
    /// How many months, at least 24.
    pub instalments: u64,
}

/// Runs the story and checks every figure against an independent computation.
///
/// # Errors
/// When the node refuses a step, or a figure differs.
pub fn loan(data: &DataDir, output: Output, story: &LoanStory) -> Result<()> {
    let client = Client::of(data)?;
    let accounts = Accounts::open(data, client.is_dev()?)?;
    let (bank, borrower) = (accounts.signer("bank")?, accounts.signer("borrower")?);
    let terms = Terms {
        principal_eur_cents: 120_000_000,
        annual_rate_bps: 385,
        first_date: jiff::civil::date(2023, 1, 31),
        instalments: story.instalments,
        currency: story.currency.clone(),
    };
    output.heading("A loan in euros, repaid in another currency");
    output.line(format!(
        "  bank lends borrower {} EUR at {}.{:02} % for {} months, repaid in {} at the ECB's reference rate.",
        money(terms.principal_eur_cents.into(), 2),
        terms.annual_rate_bps / 100,
        terms.annual_rate_bps % 100,
        terms.instalments,
        terms.currency
    ));
    let history = ecb::History::embedded()?;
    let server = history.serve()?;
    let pointed = ecb::Pointed::to(data, &format!("{}/service/data", server.url()))?;
    output.progress(format!("serving the ECB's history 1999-2026 at {}, as the ECB serves it", server.url()));
    let result = tell(&client, output, &terms, &history, bank, borrower);
    pointed.back();
    result
}

fn tell(
    client: &Client,
    output: Output,
    terms: &Terms,
    history: &ecb::History,
    bank: &dyn Signer,
    borrower: &dyn Signer,
) -> Result<()> {
    let address = deploy(client, bank, borrower.address(), terms)?;
    output.line(format!("  The contract stands at {address}; bank is the lender, borrower pays."));
    let mut settled = Vec::new();
    let mut receipts = Vec::new();
    for n in 1..=terms.instalments {
        output.progress(format!("instalment {n} of {}", terms.instalments));
        let input = Loan::settleCall { n: U256::from(n) }.abi_encode();
        let receipt = client.transact(borrower, Some(address), input.into())?;
        let event = settled_event(&receipt)?;
        output.event(&json!({ "event": "instalment", "n": n, "nominal": event.nominalDate, "business": event.businessDate,
            "fixing": event.fixingDate, "rateE8": event.rateE8.to_string(), "foreignMinor": event.amountForeignMinor.to_string(),
            "transaction": receipt.get("transactionHash") }));
        settled.push(event);
        receipts.push(receipt);
    }
    print_instalments(output, terms, &settled);
    let rates = Rates::from_csv(history.csv(), &terms.currency).context("the CSV lacks the currency")?;
    let expected = schedule(terms, &rates).context("the CSV lacks a fixing")?;
    compare(&settled, &expected)?;
    output.heading("Why this can be trusted");
    output.line(format!(
        "  {} {} of {} instalments equal a second computation from the ECB's CSV, by other code.",
        output.good("equal:"),
        settled.len(),
        expected.len()
    ));
    explain(client, output, &receipts)?;
    output.event(&json!({ "event": "done", "story": "loan", "instalments": settled.len(), "equal": true }));
    Ok(())
}

fn deploy(client: &Client, bank: &dyn Signer, borrower: Address, terms: &Terms) -> Result<Address> {
    let artifact: Value = serde_json::from_str(ARTIFACT)?;
    let code = artifact.get("bytecode").and_then(Value::as_str).context("the artefact has no bytecode")?;
    let mut input = hex::decode(code)?;
    let arguments = Loan::constructorCall {
        lender: bank.address(),
        borrower,
        principalEurCents: U256::from(terms.principal_eur_cents),
        currency: terms.currency.clone(),
        annualRateBps: U256::from(terms.annual_rate_bps),
        firstDate: number(terms.first_date),
        instalments: U256::from(terms.instalments),
    };
    input.extend_from_slice(&arguments.abi_encode());
    let receipt = client.transact(bank, None, Bytes::from(input))?;
    let address = receipt.get("contractAddress").and_then(Value::as_str).context("no contract address")?;
    Ok(address.parse()?)
}

fn settled_event(receipt: &Value) -> Result<Loan::InstalmentSettled> {
    let logs = receipt.get("logs").and_then(Value::as_array).context("no logs")?;
    logs.iter()
        .find_map(|log| {
            let log: alloy_primitives::Log = serde_json::from_value(log.clone()).ok()?;
            Loan::InstalmentSettled::decode_log(&log).ok().map(|log| log.data)
        })
        .ok_or_else(|| anyhow!("the contract logged no instalment"))
}

fn print_instalments(output: Output, terms: &Terms, settled: &[Loan::InstalmentSettled]) {
    let foreign = if terms.currency == "JPY" { 0 } else { 2 };
    let mut table = Table::new(&[
        ">#",
        "nominal",
        "paid on",
        "fixing of",
        ">rate",
        ">principal EUR",
        ">interest EUR",
        ">paid",
    ]);
    for event in settled {
        let small = |value: U256| u128::try_from(value).unwrap_or(u128::MAX);
        table.row([
            event.n.to_string(),
            iso(event.nominalDate),
            iso(event.businessDate),
            iso(event.fixingDate),
            trim(&money(small(event.rateE8), 8)),
            money(small(event.principalEurCents), 2),
            money(small(event.interestEurCents), 2),
            format!("{} {}", money(small(event.amountForeignMinor), foreign), terms.currency),
        ]);
    }
    output.line("");
    table.print(output);
}

fn compare(settled: &[Loan::InstalmentSettled], expected: &[Expected]) -> Result<()> {
    ensure!(
        settled.len() == expected.len(),
        "{} instalments settled, {} expected",
        settled.len(),
        expected.len()
    );
    for (event, expected) in settled.iter().zip(expected) {
        let same = event.nominalDate == number(expected.nominal)
            && event.businessDate == number(expected.business)
            && event.fixingDate == number(expected.fixing)
            && event.rateE8 == U256::from(expected.rate_e8)
            && event.interestEurCents == U256::from(expected.interest_eur_cents)
            && event.principalEurCents == U256::from(expected.principal_eur_cents)
            && event.amountForeignMinor == U256::from(expected.foreign_minor);
        if !same {
            bail!("instalment {} differs: the ledger says {event:?}, the CSV gives {expected:?}", event.n);
        }
    }
    Ok(())
}

fn explain(client: &Client, output: Output, receipts: &[Value]) -> Result<()> {
    let registry = client.rest("GET", "/v1/cryptlets", None)?;
    let list = |key: &str| registry.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let (known, known_hosts) = (list("cryptlets"), list("hosts"));
    let text = |value: Option<&Value>, key: &str| {
        value.and_then(|value| value.get(key)).and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    let (mut calls, mut hosts, mut cryptlets) =
        (0u64, std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for receipt in receipts {
        let record = client
            .rpc("bletchley_getDelegationRecordByTransaction", &json!([receipt.get("transactionHash")]))?;
        for call in record.get("receipts").and_then(Value::as_array).into_iter().flatten() {
            calls += 1;
            let package = call.get("package").cloned().unwrap_or(Value::Null);
            let name = known.iter().find(|known| known.get("package") == Some(&package));
            cryptlets.insert(text(name, "name"));
            for signature in call.get("signatures").and_then(Value::as_array).into_iter().flatten() {
                let signer = signature.get("signer").cloned().unwrap_or(Value::Null);
                if let Some(host) = known_hosts.iter().find(|host| host.get("host") == Some(&signer)) {
                    hosts.insert(format!(
                        "{} (evidence: {})",
                        text(Some(host), "member"),
                        text(Some(host), "evidence")
                    ));
                }
            }
        }
    }
    let join = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
    output.line(format!(
        "  {calls} calls of {} left signed receipts in the blocks, by host {}.",
        join(&cryptlets),
        join(&hosts)
    ));
    output.line("  Each block's header commits to them: `bletchley verify` replays the loan without asking anyone again.");
    output
        .line("  Evidence `software` means that no trusted hardware vouches for the host: its member does.");
    Ok(())
}

/// `yyyymmdd`.
fn number(date: Date) -> u32 {
    u32::try_from(i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day()))
        .unwrap_or(0)
}

fn iso(number: u32) -> String {
    format!("{:04}-{:02}-{:02}", number / 10_000, number / 100 % 100, number % 100)
}

/// Minor units as a decimal with thin groups of thousands.
fn money(minor: u128, decimals: u32) -> String {
    let unit = 10u128.pow(decimals);
    let whole = (minor / unit).to_string();
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    if decimals == 0 {
        grouped
    } else {
        format!("{grouped}.{:0width$}", minor % unit, width = decimals as usize)
    }
}

fn trim(decimal: &str) -> String {
    decimal.trim_end_matches('0').trim_end_matches('.').to_owned()
}
