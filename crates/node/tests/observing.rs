//! What a running node says about itself, to parsers and to a terminal that are not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const BIN: &str = env!("CARGO_BIN_EXE_bletchley");

/// A development node; stopped when dropped.
struct Node {
    child: Child,
    rest: String,
    log: std::sync::mpsc::Receiver<String>,
}

impl Node {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(BIN)
            .args([
                "up",
                "--dev",
                "--json",
                "--port-base",
                "0",
                "--log",
                "info",
                "--log-format",
                "json",
                "--data",
            ])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, log) = std::sync::mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).all(|line| said.send(line).is_ok()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .find_map(|line| serde_json::from_str::<Value>(&line.ok()?).ok().filter(|v| v["ready"] == true));
        let ready =
            ready.unwrap_or_else(|| panic!("no ready line: {:?}", log.try_iter().collect::<Vec<_>>()));
        Self { child, rest: ready["rest"].as_str().unwrap().to_owned(), log }
    }

    fn get(&self, path: &str) -> ureq::http::Response<ureq::Body> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent.get(format!("{}{path}", self.rest)).call().unwrap()
    }

    fn json(&self, path: &str) -> Value {
        self.get(path).body_mut().read_json().unwrap()
    }

    fn rpc(&self, body: &Value, traceparent: Option<&str>) -> (Value, String) {
        let mut request = ureq::post(&self.rest);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let mut response = request.send_json(body).unwrap();
        let trace = response.headers()["x-trace-id"].to_str().unwrap().to_owned();
        assert!(response.headers()["traceresponse"].to_str().unwrap().contains(&trace));
        (response.body_mut().read_json().unwrap(), trace)
    }

    /// The next line of the log that `wanted` likes.
    fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).expect("the log says so in time");
            match serde_json::from_str::<Value>(&line) {
                Ok(line) if wanted(&line) => return line,
                _ => {}
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rpc(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// A transfer by the first development account, as `cast` signs it.
fn transfer(node: &Node) -> Value {
    let accounts = node.rpc(&rpc("eth_accounts", json!([])), None).0;
    let (from, to) = (&accounts["result"][0], &accounts["result"][1]);
    let ask = json!([{ "from": from, "to": to, "value": "0x1", "gas": "0x5208" }]);
    let signed = node.rpc(&rpc("eth_signTransaction", ask), None).0;
    let raw = signed["result"]["raw"].as_str().or(signed["result"].as_str());
    Value::String(raw.unwrap_or_else(|| panic!("{signed}")).to_owned())
}

#[test]
fn a_running_node_is_scraped_traced_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    a_transaction_is_followed_to_its_block(&node);
    somebody_elses_parser_reads_the_scrape(&node);
    probes_and_status_agree(&node);
    commands_show_the_same(folder.path());
    top_draws_on_a_terminal(folder.path());
    drop(node);
    who_is_gone_is_shown_as_down(folder.path());
}

fn a_transaction_is_followed_to_its_block(node: &Node) {
    let raw = transfer(node);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let (answer, trace) = node.rpc(&rpc("eth_sendRawTransaction", json!([raw])), Some(&parent));
    assert_eq!(trace, TRACE);
    let hash = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let line = |name: &str| node.logged(|line| line["message"] == name && line["trace"] == TRACE);
    assert_eq!(line("transaction.received")["transaction"], hash);
    assert_eq!(line("transaction.final")["transaction"], hash);
    let block = line("block.final");
    assert_eq!((&block["ledger"], &block["transactions"]), (&json!("evm"), &json!(1)), "{block}");
    assert!(block["height"].as_u64().unwrap() >= 1 && block["member"].is_string(), "{block}");
    let (_, first) = node.rpc(&rpc("eth_chainId", json!([])), None);
    let (_, second) = node.rpc(&rpc("eth_chainId", json!([])), None);
    assert_ne!(first, second);
}

fn somebody_elses_parser_reads_the_scrape(node: &Node) {
    node.rpc(&rpc("no_such_method_as_this", json!([])), None);
    let mut response = node.get("/metrics");
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.body_mut().read_to_string().unwrap();
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    for sample in &scrape.samples {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.metric.strip_suffix(end));
        let documented = |name: &str| scrape.docs.contains_key(name);
        assert!(
            documented(&sample.metric) || family.is_some_and(documented),
            "{} has no help",
            sample.metric
        );
        let typed = !matches!(sample.value, prometheus_parse::Value::Untyped(_));
        assert!(typed || family.is_some(), "{} has no type", sample.metric);
    }
    let find = |name: &str, label: &str, value: &str| {
        scrape.samples.iter().find(|sample| sample.metric == name && sample.labels.get(label) == Some(value))
    };
    for ledger in ["tokens", "evm"] {
        for name in
            ["bletchley_ledger_height", "bletchley_engine_running", "bletchley_ledger_finality_seconds"]
        {
            assert!(find(name, "ledger", ledger).is_some(), "{name} of {ledger}:\n{text}");
        }
    }
    assert!(find("bletchley_api_requests_total", "method", "eth_sendRawTransaction").is_some(), "{text}");
    assert!(find("bletchley_api_requests_total", "method", "unknown").is_some());
    assert!(!text.contains("no_such_method"), "callers do not make labels up");
    assert!(scrape.samples.iter().any(|sample| sample.metric == "process_resident_memory_bytes"));
    assert!(scrape.samples.len() < 2_000, "labels are bounded");
}

fn probes_and_status_agree(node: &Node) {
    assert_eq!(node.get("/livez").status(), 200);
    assert_eq!(node.json("/readyz"), json!({ "ready": true, "reasons": [], "warnings": [] }));
    let status = node.json("/status");
    let ledgers: Vec<&str> =
        status["ledgers"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(ledgers, ["tokens", "evm"]);
    assert_eq!(
        (&status["ready"], &status["ledgers"][1]["engine"]),
        (&json!(true), &json!("solo")),
        "{status}"
    );
    assert!(status["ledgers"][0]["height"].as_u64().unwrap() > 0);
}

fn bletchley(arguments: &[&str], data: &Path) -> (Option<i32>, String) {
    let output = Command::new(BIN).args(arguments).arg("--data").arg(data).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn commands_show_the_same(data: &Path) {
    let (code, text) = bletchley(&["status"], data);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ready") && text.contains("tokens") && text.contains("solo"), "{text}");
    let (_, text) = bletchley(&["status", "--json"], data);
    let member: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&member["up"], &member["status"]["ready"]), (&json!(true), &json!(true)));
    let (code, text) = bletchley(&["top", "--once"], data);
    assert!(code == Some(0) && text.contains("MEMBER"), "{text}");
}

fn who_is_gone_is_shown_as_down(data: &Path) {
    let (code, text) = bletchley(&["status"], data);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("down") && text.contains("does not answer"), "{text}");
}

/// `top` in a pseudo-terminal: what it writes goes through a terminal emulator, and the screen is looked at.
fn top_draws_on_a_terminal(data: &Path) {
    let (mut pty, slave) = pty_process::blocking::open().unwrap();
    pty.resize(pty_process::Size::new(30, 150)).unwrap();
    let command =
        pty_process::blocking::Command::new(BIN).args(["top", "--interval-ms", "100", "--data"]).arg(data);
    let mut top = command.spawn(slave).unwrap();
    let side = |cells: u16| std::num::NonZeroU16::new(cells).unwrap();
    let mut screen = vt100::Parser::new(side(30), side(150), 0);
    let mut bytes = [0; 4096];
    let until = Instant::now() + PATIENCE;
    loop {
        let count = pty.read(&mut bytes).unwrap();
        screen.process(&bytes[..count]);
        let shown = screen.screen().contents();
        if shown.contains("tx/s")
            && shown.contains("evm")
            && shown.contains("ready")
            && shown.contains("q quits")
        {
            break;
        }
        assert!(Instant::now() < until, "the screen shows:\n{shown}");
    }
    assert!(screen.screen().alternate_screen() && screen.screen().hide_cursor());
    pty.write_all(b"q").unwrap();
    // The end of the pseudo-terminal is an error on Linux (EIO), and what came before it is the restored screen.
    while let Ok(count @ 1..) = pty.read(&mut bytes) {
        screen.process(&bytes[..count]);
    }
    assert!(top.wait().unwrap().success());
    assert!(
        !screen.screen().alternate_screen() && !screen.screen().hide_cursor(),
        "the terminal is as before"
    );
}
