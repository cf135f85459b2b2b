//! A manufacturer's parts become phones, are sold, repaired, recorded in a contract, traced; cheating is refused.

use super::items::{Phone, Workshop};
use super::refusals;
use crate::accounts::Accounts;
use crate::client::Client;
use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use crate::output::Output;
use crate::proofs::Start;
use crate::tokens::{TokenLedger, proof, sign, timeline};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result, ensure};
use bletchley_cryptlet::keys::Signer;
use bletchley_primitives::TxId;
use bletchley_token::{
    ContractPlace, Lock, Note, Properties, TokenId, TxBuilder, Value as Carried, output_digest,
};
use serde_json::{Value, json};

sol! {
    contract ItemRegister {
        function record(bytes32 tokenId, bytes32 ledgerId, bytes32 outputId) external;
    }
}

const ARTIFACT: &str = include_str!("../../../../contracts/artifacts/ItemRegister.json");

/// Runs the story on a running node. It can be told again on the same folder: each run has serial numbers of its own.
///
/// # Errors
/// When the node refuses a step that must happen, or takes one that must not.
pub fn supply_chain(data: &DataDir, output: Output) -> Result<()> {
    let client = Client::of(data)?;
    let accounts = Accounts::open(data, client.is_dev()?)?;
    let ledger = TokenLedger::open(&client)?;
    let shop = Workshop::open(&ledger, &accounts, output)?;
    output.heading(format!("A supply chain, run {}", shop.run));
    let mut phones = make(&shop)?;
    sell(&shop, &mut phones)?;
    let [first, second, third] = &mut phones;
    repair(&shop, first)?;
    record(&shop, &client, second)?;
    let refused = cheat(&shop, second, third)?;
    audit(&shop, first, second)?;
    let proved = trust(&shop, data, second)?;
    output.event(&json!({
        "event": "done", "story": "supply-chain", "run": shop.run, "phones": phones.iter().map(|p| p.token).collect::<Vec<_>>(),
        "refused": refused, "proved": proved,
    }));
    Ok(())
}

fn make(shop: &Workshop<'_>) -> Result<[Phone; 3]> {
    let output = shop.output;
    let count = shop.issue_parts()?;
    output.line(format!(
        "  manufacturer tokenizes {count} parts: screws, lenses, sensors, screens and boards, each by its class, its serial"
    ));
    output.line("  number and the manufacturer's key. Nobody else can issue them, and nobody twice.");
    let phones = [shop.assemble(1)?, shop.assemble(2)?, shop.assemble(3)?];
    output.line(
        "  It builds three phones: each of a camera module (itself a whole of lens and sensor), a screen, a board and four screws.",
    );
    Ok(phones)
}

fn sell(shop: &Workshop<'_>, [first, second, third]: &mut [Phone; 3]) -> Result<()> {
    shop.output.heading("Sold");
    for (phone, path) in [
        (first, ["distributor-north", "customer"].as_slice()),
        (second, ["distributor-north", "distributor-south", "customer"].as_slice()),
        (third, ["distributor-south"].as_slice()),
    ] {
        let mut line = format!("  {}: manufacturer", phone.label);
        for buyer in path {
            shop.hand_over(phone, buyer)?;
            line.push_str(&format!(" -> {buyer}"));
        }
        shop.output.line(line);
    }
    Ok(())
}

fn repair(shop: &Workshop<'_>, phone: &mut Phone) -> Result<()> {
    shop.output.heading("Repaired");
    shop.hand_over(phone, "manufacturer")?;
    let (broken, spare) = shop.replace_screen(phone)?;
    shop.hand_over(phone, "customer")?;
    shop.output.line(format!(
        "  {} goes back, is taken apart, gets {spare} in the place of {broken}, which ends for good; it is assembled again",
        phone.label
    ));
    shop.output.line("  as its second revision, under its old serial number, and returns to customer.");
    Ok(())
}

/// Records a phone in a contract of the EVM ledger, and says so on the token ledger; a stranger's contract records it too.
fn record(shop: &Workshop<'_>, client: &Client, phone: &mut Phone) -> Result<()> {
    let (output, ledger) = (shop.output, shop.ledger);
    output.heading("Recorded in a contract");
    let (customer, mallory) = (shop.signer("customer")?, shop.signer("mallory")?);
    let contract = deploy(client, shop.signer("manufacturer")?)?;
    let network = client.rest("GET", "/v1/network", None)?;
    let chain_id = network.get("chainId").and_then(Value::as_u64).context("the node names no chain id")?;
    let transaction = claim(shop, client, contract, phone.token, customer)?;
    let place = ContractPlace {
        ledger: bletchley_primitives::LedgerId::default(),
        chain_id,
        contract,
        item: U256::from_be_bytes(phone.token.0.0),
        transaction,
    };
    let (reference, _) = ledger.spendable(&ledger.token(phone.token)?)?;
    let owner = Lock::key(customer.address());
    let note = Note::Contract { place };
    let builder = TxBuilder::record(ledger.ledger, (phone.token, reference), note, owner);
    shop.settle("recorded", &format!("record of {}", phone.label), &sign(&builder, &[customer])?)?;
    output.line(format!(
        "  customer records {} in ItemRegister {contract} on the EVM ledger, and names that contract on the token ledger.",
        phone.label
    ));
    let strange = deploy(client, mallory)?;
    claim(shop, client, strange, phone.token, mallory)?;
    output.line(
        "  mallory records the same phone in a contract of her own. She can, but see the lineage below.",
    );
    Ok(())
}

fn deploy(client: &Client, signer: &dyn Signer) -> Result<Address> {
    let artifact: Value = serde_json::from_str(ARTIFACT)?;
    let code = artifact.get("bytecode").and_then(Value::as_str).context("the artefact has no bytecode")?;
    let receipt = client.transact(signer, None, Bytes::from(hex::decode(code)?))?;
    let address = receipt.get("contractAddress").and_then(Value::as_str).context("no contract address")?;
    Ok(address.parse()?)
}

fn claim(
    shop: &Workshop<'_>,
    client: &Client,
    contract: Address,
    token: TokenId,
    by: &dyn Signer,
) -> Result<TxId> {
    let (reference, held) = shop.ledger.spendable(&shop.ledger.token(token)?)?;
    let output_id = output_digest(&reference, &held);
    let call =
        ItemRegister::recordCall { tokenId: token.0, ledgerId: shop.ledger.ledger.0, outputId: output_id };
    let receipt = client.transact(by, Some(contract), call.abi_encode().into())?;
    let hash = receipt.get("transactionHash").and_then(Value::as_str).context("no transaction hash")?;
    shop.output.event(&json!({ "event": "recorded-in-contract", "token": token, "contract": contract, "transaction": hash }));
    Ok(TxId(hash.parse()?))
}

fn cheat(shop: &Workshop<'_>, standing: &Phone, for_sale: &mut Phone) -> Result<u32> {
    shop.output.heading("Refused");
    refusals::forged_serial(shop)?;
    refusals::serial_twice(shop)?;
    refusals::double_sale(shop, for_sale)?;
    refusals::part_alone(shop, standing)?;
    Ok(refusals::COUNT)
}

fn audit(shop: &Workshop<'_>, repaired: &Phone, recorded: &Phone) -> Result<()> {
    let screw = *repaired.screws.first().context("a phone without screws")?;
    for (token, why) in [(screw, "one screw"), (recorded.token, "one phone")] {
        let lineage = shop.ledger.lineage(token)?;
        shop.output
            .heading(format!("The auditor asks for the lineage of {why}: {}", shop.ledger.token_name(token)));
        timeline::print(shop.ledger, shop.output, &lineage);
        shop.output.event(&json!({ "event": "lineage", "of": why, "lineage": lineage }));
    }
    Ok(())
}

/// What anyone can check at home, with the genesis document and nothing else.
fn trust(shop: &Workshop<'_>, data: &DataDir, phone: &Phone) -> Result<bool> {
    let (output, ledger) = (shop.output, shop.ledger);
    output.heading("Why this can be trusted");
    let held = ledger.token(phone.token)?;
    let (reference, _) = ledger.spendable(&held)?;
    let answer = ledger.client.rest("GET", &format!("/v1/tokens/outputs/{reference}/proof"), None)?;
    let shown = proof::check(&Start::of_tokens(&NetworkGenesis::read(data)?), &answer)?;
    ensure!(shown.spent_by.is_none(), "the phone's newest output is spent");
    ensure!(
        shown.output.value == Carried::Token { token: phone.token },
        "the proof is about something else than the phone"
    );
    output.line(format!(
        "  {} {} belongs to {}: checked in this program with the genesis document alone, against block {} of {}, which {} of {} validators signed.",
        output.good("proved:"),
        phone.label,
        ledger.owner_name(&shown.output.lock),
        shown.height,
        timeline::time(Some(&json!(shown.time_ms))),
        shown.validators.0,
        shown.validators.1
    ));
    let serial = shop.serial("PHN", 2);
    let same = held.info.matches(&Properties::of_thing("phone", &serial)?)?;
    let other = held.info.matches(&Properties::of_thing("phone", &shop.serial("PHN", 9))?)?;
    ensure!(same && !other, "the phone's identity does not follow from its class and serial number");
    output.line(format!(
        "  {} the token's id follows from class `phone`, serial `{serial}` and its parts, signed by manufacturer; another serial gives another id.",
        output.good("matches:")
    ));
    output.line(
        "  Every owner signed every change of hands. Nothing was deleted: the broken screen's story stays.",
    );
    output.line("  `bletchley verify` replays both ledgers from genesis, offline; one changed bit is found.");
    Ok(same)
}
