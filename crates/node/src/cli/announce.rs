//! What `up` and `node start` say when they are ready.

use crate::data::DEFAULT_DATA_DIR;
use crate::node::Node;
use crate::output::Output;
use serde_json::{Value, json};

/// What programs hear of a node that is ready.
pub(super) fn ready(node: &Node) -> Value {
    let (running, genesis) = (node.running(), node.genesis());
    let accounts: Vec<_> =
        genesis.accounts.iter().map(|a| json!({ "name": a.name, "address": a.address })).collect();
    json!({
        "ready": true, "member": running.member, "rpc": running.rpc, "ws": running.ws, "rest": running.rest,
        "p2p": running.p2p, "pid": running.pid, "data": node.data().root(), "chainId": genesis.evm.chain_id,
        "dev": genesis.dev, "genesis": genesis.digest(), "consortium": genesis.name,
        "ledgers": { "evm": genesis.evm.ledger_id(), "tokens": genesis.tokens().ledger }, "accounts": accounts,
    })
}

/// One node, alone.
pub(super) fn node(node: &Node, output: Output) {
    let (running, genesis) = (node.running(), node.genesis());
    let data = node.data().root().display().to_string();
    output.event(&ready(node));
    output.heading(format!("Bletchley is up{}", if genesis.dev { ", for development" } else { "" }));
    if !genesis.dev {
        output.line(format!("  member      {} of {}", running.member, genesis.name));
    }
    output.line(format!("  JSON-RPC    {}   (chain id {})", running.rpc, genesis.evm.chain_id));
    output.line(format!("  WebSocket   {}", running.ws));
    output.line(format!("  REST        {}/v1   (described in {0}/openapi.json)", running.rest));
    if let Some(p2p) = running.p2p {
        output.line(format!("  members     {p2p}"));
    }
    output.line(format!("  data        {data}"));
    output.line(format!("  genesis     {}", genesis.digest()));
    output.line("  host        this node, evidence: software (no trusted hardware vouches for it)");
    accounts(&ready(node), output);
    if genesis.dev {
        output.line(output.dim("  keys: test test test test test test test test test test test junk (public; never use them elsewhere)"));
    }
    suggest(&data, &running.rpc, output);
    output.line(output.dim("Ctrl-C stops the node; the data stays."));
}

/// Members of a consortium, each in its own process.
pub(super) fn consortium(members: &[Value], data: &str, output: Output) {
    let Some(first) = members.first() else { return };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number = |value: &Value, key: &str| value.get(key).map(ToString::to_string).unwrap_or_default();
    let listed: Vec<Value> = members
        .iter()
        .map(|member| {
            let of = |key: &str| member.get(key).cloned().unwrap_or_default();
            json!({
                "name": of("member"), "pid": of("pid"), "rpc": of("rpc"), "ws": of("ws"), "rest": of("rest"),
                "p2p": of("p2p"), "data": of("data"),
            })
        })
        .collect();
    let mut event = first.clone();
    if let Some(event) = event.as_object_mut() {
        event.insert("members".to_owned(), Value::Array(listed));
        event.insert("root".to_owned(), json!(data));
        event.insert("supervisor".to_owned(), json!(std::process::id()));
    }
    output.event(&event);
    output.heading(format!("Bletchley is up: {}, {} members", text(first, "consortium"), members.len()));
    output.line(output.dim(&format!(
        "  {:<15} {:>7}  {:<24} {:<22} {}",
        "member", "pid", "JSON-RPC, REST, WebSocket", "to members", "data"
    )));
    for member in members {
        output.line(format!(
            "  {:<15} {:>7}  {:<25} {:<22} {}",
            text(member, "member"),
            number(member, "pid"),
            text(member, "rpc"),
            text(member, "p2p"),
            text(member, "data")
        ));
    }
    output.line("");
    output.line(format!("  chain id    {}", number(first, "chainId")));
    output.line(format!("  genesis     {}", text(first, "genesis")));
    output.line("  hosts       one in each node, evidence: software (no trusted hardware vouches for them)");
    accounts(first, output);
    output.line(output.dim(&format!(
        "  keys: in {data}/keys, shared by all members so that one computer can try everything; members' own keys are not"
    )));
    suggest(data, &text(first, "rpc"), output);
    output.line(output.dim("Commands go to the first member that answers; --member NAME picks another."));
    output.line(output.dim("Ctrl-C stops every member; the data stays."));
}

fn accounts(ready: &Value, output: Output) {
    output.heading("Accounts");
    for account in ready.get("accounts").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| account.get(key).and_then(Value::as_str).unwrap_or_default();
        output.line(format!("  {:<18} {}", text("name"), text("address")));
    }
}

fn suggest(data: &str, rpc: &str, output: Output) {
    let flag = if data == DEFAULT_DATA_DIR { String::new() } else { format!(" --data {data}") };
    output.heading("Three things to try, in another terminal");
    output.line(format!("  bletchley demo loan{flag}"));
    output.line(format!("  bletchley demo supply-chain{flag}"));
    output.line(format!("  cast block latest --rpc-url {rpc}"));
    output.line("");
}
