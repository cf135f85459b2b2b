//! A lineage as people read it: one line an event, in names.

use super::TokenLedger;
use super::names::short;
use crate::output::Output;
use bletchley_token::TokenId;
use serde_json::Value;

/// Parts that are named before the rest is counted.
const PARTS_NAMED_MAX: usize = 4;

/// Prints a lineage, as `/v1/tokens/{id}/lineage` tells it.
pub(crate) fn print(ledger: &TokenLedger<'_>, output: Output, lineage: &Value) {
    for event in list(lineage, "events") {
        event_lines(ledger, output, event, 0);
    }
    if lineage.get("truncated").and_then(Value::as_bool) == Some(true) {
        output.line("  the story is longer than is told here");
    }
    for record in list(lineage, "records") {
        record_line(ledger, output, record);
    }
    if lineage.get("records_truncated").and_then(Value::as_bool) == Some(true) {
        output.line("  contracts logged more about it than is told here");
    }
    output.line(format!("  {}", standing(ledger, lineage)));
}

/// Where a token stands now, in a sentence.
fn standing(ledger: &TokenLedger<'_>, lineage: &Value) -> String {
    let owner = ledger.owner_told(lineage.get("owner"));
    let within: Vec<String> =
        list(lineage, "part_of").filter_map(Value::as_str).map(|id| token(ledger, Some(id))).collect();
    match lineage.pointer("/status/status").and_then(Value::as_str) {
        Some("part_of") => format!("now: part of {}, which belongs to {owner}", within.join(", part of ")),
        Some("held") => format!("now: belongs to {owner}"),
        Some("taken_apart") => "now: taken apart".to_owned(),
        Some("retired") => "now: ended for good".to_owned(),
        _ => "now: not known".to_owned(),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn token(ledger: &TokenLedger<'_>, id: Option<&str>) -> String {
    id.and_then(|id| id.parse().ok()).map_or_else(|| "?".to_owned(), |id| ledger.token_name(TokenId(id)))
}

fn account(ledger: &TokenLedger<'_>, value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or("?");
    text.parse().map_or_else(|_| text.to_owned(), |address| ledger.account_name(address))
}

/// `2026-11-22 12:30:01`, UTC.
pub(crate) fn time(time_ms: Option<&Value>) -> String {
    let ms = time_ms.and_then(Value::as_i64).unwrap_or_default();
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn event_lines(ledger: &TokenLedger<'_>, output: Output, event: &Value, depth: usize) {
    let place = event.get("height").map(ToString::to_string).unwrap_or_default();
    let corrects: Vec<String> = list(event, "compensates").filter_map(Value::as_str).map(short).collect();
    let corrects =
        if corrects.is_empty() { String::new() } else { format!(" (corrects {})", corrects.join(", ")) };
    output.line(format!(
        "  {}  token block {place:<5} {:indent$}{}{corrects}",
        time(event.get("time_ms")),
        "",
        event_text(ledger, event),
        indent = depth * 4
    ));
    for inner in list(event, "within") {
        event_lines(ledger, output, inner, depth + 1);
    }
}

fn event_text(ledger: &TokenLedger<'_>, event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let to = || ledger.owner_told(event.get("to"));
    let by = || account(ledger, event.get("by"));
    match text("event") {
        Some("issued") => format!("issued by {}, owned by {}", by(), to()),
        Some("assembled") => {
            format!("assembled by {} from {}; owned by {}", by(), parts(ledger, event), to())
        }
        Some("transferred") => {
            let from = ledger.owner_told(event.get("from"));
            if from == to() {
                format!("made anew for {from}")
            } else {
                format!("went from {from} to {}", to())
            }
        }
        Some("built_into") => format!("built into {} by {}", token(ledger, text("composite")), by()),
        Some("released") => {
            format!(
                "came out of {} when it was taken apart; owned by {}",
                token(ledger, text("composite")),
                to()
            )
        }
        Some("taken_apart") => format!("taken apart into {}", parts(ledger, event)),
        Some("recorded") => note(event.get("note").unwrap_or(&Value::Null), &to()),
        Some("registered") => {
            format!("registered by {} as {}; owned by {}", by(), text("version").unwrap_or("?"), to())
        }
        Some("supply_changed") => {
            format!("{}: {}", text("action").unwrap_or("?"), text("amount").unwrap_or("?"))
        }
        Some("retired") => format!("ended for good by {}", ledger.owner_told(event.get("from"))),
        other => other.unwrap_or("?").replace('_', " "),
    }
}

fn note(note: &Value, owner: &str) -> String {
    match note.get("kind").and_then(Value::as_str) {
        Some("contract") => {
            let contract = note.pointer("/place/contract").and_then(Value::as_str).unwrap_or("?");
            let chain = note.pointer("/place/chain_id").map(ToString::to_string).unwrap_or_default();
            format!("{owner} acknowledges contract {} on chain {chain}", short(contract))
        }
        _ => {
            let digest = note.get("digest").and_then(Value::as_str).unwrap_or("?");
            format!("{owner} attached a document with digest {}", short(digest))
        }
    }
}

fn parts(ledger: &TokenLedger<'_>, event: &Value) -> String {
    let all: Vec<&str> = list(event, "parts").filter_map(Value::as_str).collect();
    let mut named: Vec<String> = all.iter().map(|id| token(ledger, Some(id))).collect();
    named.sort();
    let rest = named.len().saturating_sub(PARTS_NAMED_MAX);
    named.truncate(PARTS_NAMED_MAX);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", named.join(", "))
}

fn record_line(ledger: &TokenLedger<'_>, output: Output, record: &Value) {
    let acknowledged = record.get("acknowledged").and_then(Value::as_bool) == Some(true);
    let contract = short(record.get("contract").and_then(Value::as_str).unwrap_or("?"));
    let what = match record.get("event").and_then(Value::as_str) {
        Some("item_recorded") => {
            format!("contract {contract} recorded it, called by {}", account(ledger, record.get("by")))
        }
        _ => {
            let (from, to) = (record.get("from"), account(ledger, record.get("to")));
            let minted = from
                .and_then(Value::as_str)
                .is_some_and(|from| from.trim_start_matches("0x").chars().all(|c| c == '0'));
            let from = account(ledger, from);
            if minted {
                format!("contract {contract} gave its ERC-721 to {to}")
            } else {
                format!("contract {contract} moved its ERC-721 from {from} to {to}")
            }
        }
    };
    let mark = if acknowledged {
        output.good("acknowledged by the owner")
    } else {
        output.bad("a stranger's claim, acknowledged by no owner")
    };
    let place = record.get("height").map(ToString::to_string).unwrap_or_default();
    output.line(format!("  {}  EVM   block {place:<5} {what} [{mark}]", time(record.get("time_ms"))));
}
