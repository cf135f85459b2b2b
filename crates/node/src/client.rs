//! A client of a running node, for commands: JSON-RPC, REST, and transactions signed here.

use crate::ceremony::Draft;
use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use crate::output::Output;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_cryptlet::keys::Signer;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Largest answer that a command reads.
const ANSWER_SIZE_BYTES_MAX: u64 = 256 << 20;
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a transaction to enter a block; a delegated call may take seconds, an unreachable source longer.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for a connection when a running node is looked for.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// Gas that commands allow one transaction.
const GAS_LIMIT: u64 = 10_000_000;

/// What a running node says of itself in its data folder.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    /// Process id.
    pub pid: u32,
    /// Which member it is.
    pub member: String,
    /// Where the nodes of other members reach it, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2p: Option<SocketAddr>,
    /// JSON-RPC over HTTP.
    pub rpc: String,
    /// JSON-RPC over WebSocket.
    pub ws: String,
    /// REST.
    pub rest: String,
    /// Secret that local administration presents.
    pub admin_token: String,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("pid", &self.pid).field("rpc", &self.rpc).finish_non_exhaustive()
    }
}

impl Running {
    /// This process, answering at `address`.
    #[must_use]
    pub fn at(address: SocketAddr, member: &str, p2p: Option<SocketAddr>, admin_token: String) -> Self {
        Self {
            pid: std::process::id(),
            member: member.to_owned(),
            p2p,
            rpc: format!("http://{address}"),
            ws: format!("ws://{address}"),
            rest: format!("http://{address}"),
            admin_token,
        }
    }

    /// What the node on this folder says of itself, if one runs there or ended without a word.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read(data: &DataDir) -> Result<Option<Self>> {
        let path = data.running();
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| format!("reading {}", path.display()))
    }

    /// Whether somebody listens where the node said it would.
    #[must_use]
    pub fn answers(&self) -> bool {
        let address = self.rpc.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.is_some_and(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok())
    }

    /// Writes it where commands look for it; only the node's user may read it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, data: &DataDir) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = data.running();
        let part = path.with_extension("json.part");
        let _ = std::fs::remove_file(&part);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.with_context(|| format!("writing {}", part.display()))?;
        serde_json::to_writer_pretty(file, self)?;
        std::fs::rename(&part, &path).with_context(|| format!("writing {}", path.display()))
    }
}

/// Header in which a node says why what is sent to it waits.
const WARNING_HEADER: &str = "x-bletchley-warning";

/// A connection to one node.
#[derive(Clone, Debug)]
pub struct Client {
    running: Running,
    agent: ureq::Agent,
    /// What the node last warned of.
    warning: Arc<Mutex<Option<String>>>,
    /// Path of the ledger that REST reaches: none for the first ones.
    ledger: String,
}

impl Client {
    /// The node that runs on this data folder.
    ///
    /// # Errors
    /// When no node runs on it, with what to do.
    pub fn of(data: &DataDir) -> Result<Self> {
        let start = start_command(data);
        let running = Running::read(data)?
            .ok_or_else(|| anyhow!("no node runs on {}: start one with `{start}`", data.root().display()))?;
        let config =
            ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).http_status_as_error(false);
        let agent = config.build().into();
        let client = Self { running, agent, warning: Arc::default(), ledger: String::new() };
        client.rpc("eth_chainId", &json!([])).with_context(|| {
            format!(
                "the node of {} (pid {}) does not answer at {}; if it has crashed, start it again with `{start}`",
                data.root().display(),
                client.running.pid,
                client.running.rpc
            )
        })?;
        Ok(client)
    }

    /// Where it is.
    #[must_use]
    pub const fn running(&self) -> &Running {
        &self.running
    }

    /// The same, with REST of one ledger that a vote created; of the first ones when none is named.
    #[must_use]
    pub fn on(self, ledger: Option<&str>) -> Self {
        let ledger = ledger.map(|name| format!("/ledgers/{name}")).unwrap_or_default();
        Self { ledger, ..self }
    }

    /// Whether the node's ledgers are for development.
    ///
    /// # Errors
    /// As [`Self::rpc`].
    pub fn is_dev(&self) -> Result<bool> {
        let network = self.rest("GET", "/v1/network", None)?;
        network
            .get("dev")
            .and_then(Value::as_bool)
            .context("the node does not say whether it is for development")
    }

    /// One JSON-RPC call.
    ///
    /// # Errors
    /// Transport errors, and the node's own refusal in its words.
    pub fn rpc(&self, method: &str, params: &Value) -> Result<Value> {
        self.rpc_or_revert(method, params)?.map_err(|error| {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("refused without a reason");
            anyhow!("{method}: {message}")
        })
    }

    /// One JSON-RPC call, and the node's refusal as it is: code, message, data.
    ///
    /// # Errors
    /// Transport errors.
    pub fn rpc_or_revert(&self, method: &str, params: &Value) -> Result<Result<Value, Value>> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = self.agent.post(&self.running.rpc).send_json(&request)?;
        self.heed(&response);
        let mut answer: Value = response.body_mut().with_config().limit(ANSWER_SIZE_BYTES_MAX).read_json()?;
        if let Some(error) = answer.get_mut("error") {
            return Ok(Err(error.take()));
        }
        Ok(Ok(answer.get_mut("result").map(Value::take).unwrap_or(Value::Null)))
    }

    /// Posts bytes.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub fn send_bytes(&self, path: &str, bytes: &[u8]) -> Result<Value> {
        let url = format!("{}{path}", self.running.rest);
        let bearer = format!("Bearer {}", self.running.admin_token);
        let request = self.agent.post(&url).header("authorization", &bearer);
        let mut response = request.content_type("application/octet-stream").send(bytes)?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(ANSWER_SIZE_BYTES_MAX).read_to_string()?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_success() { Ok(value) } else { Err(refused(path, status, &value)) }
    }

    /// One REST call; `body` makes it a POST (or the method named), none a GET.
    ///
    /// # Errors
    /// Transport errors, and the node's own refusal in its words.
    pub fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, value) = self.ask(method, path, body)?;
        if status.is_success() { Ok(value) } else { Err(refused(path, status, &value)) }
    }

    /// Reads something that may not be there.
    ///
    /// # Errors
    /// As [`Self::rest`], for every refusal but "not found".
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let (status, value) = self.ask("GET", path, None)?;
        match status.as_u16() {
            404 => Ok(None),
            _ if status.is_success() => Ok(Some(value)),
            _ => Err(refused(path, status, &value)),
        }
    }

    fn heed(&self, response: &ureq::http::Response<ureq::Body>) {
        let warning = response.headers().get(WARNING_HEADER).and_then(|value| value.to_str().ok());
        *self.warning.lock() = warning.map(str::to_owned);
    }

    /// Why a transaction waits, as the node's newest answer has it; none when nothing keeps it from becoming final.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.warning.lock().clone()
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(ureq::http::StatusCode, Value)> {
        let url = format!("{}{}{path}", self.running.rest, self.ledger);
        let bearer = format!("Bearer {}", self.running.admin_token);
        let mut response = match (method, body) {
            ("GET", _) => self.agent.get(&url).header("authorization", &bearer).call()?,
            ("PUT", Some(body)) => self.agent.put(&url).header("authorization", &bearer).send_json(body)?,
            (_, Some(body)) => self.agent.post(&url).header("authorization", &bearer).send_json(body)?,
            (_, None) => self.agent.post(&url).header("authorization", &bearer).send_empty()?,
        };
        self.heed(&response);
        let status = response.status();
        let text = response.body_mut().with_config().limit(ANSWER_SIZE_BYTES_MAX).read_to_string()?;
        let value: Value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok((status, value))
    }

    /// Sends a contract call or creation signed by `signer`, and waits for its receipt.
    ///
    /// # Errors
    /// Refusals, a reverted transaction with its reason, and no block within two minutes.
    pub fn transact(&self, signer: &dyn Signer, to: Option<Address>, input: Bytes) -> Result<Value> {
        let chain_id = quantity(&self.rpc("eth_chainId", &json!([]))?)?;
        let nonce = quantity(&self.rpc("eth_getTransactionCount", &json!([signer.address(), "pending"]))?)?;
        let fee = quantity(&self.rpc("eth_gasPrice", &json!([]))?)?;
        let tx = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: GAS_LIMIT,
            max_fee_per_gas: u128::from(fee) * 2,
            max_priority_fee_per_gas: 0,
            to: to.map_or(TxKind::Create, TxKind::Call),
            value: U256::ZERO,
            access_list: Default::default(),
            input: input.clone(),
        };
        let signature = signer.sign(tx.signature_hash())?;
        let (rs, v) = signature.0.split_at(64);
        let signed = tx.into_signed(alloy_primitives::Signature::from_bytes_and_parity(rs, v == [1]));
        let raw = TxEnvelope::from(signed).encoded_2718();
        let hash = self.rpc("eth_sendRawTransaction", &json!([hex::encode_prefixed(raw)]))?;
        let receipt = self.await_receipt(&hash)?;
        if receipt.get("status").and_then(Value::as_str) == Some("0x1") {
            return Ok(receipt);
        }
        let block = receipt.get("blockNumber").cloned().unwrap_or(Value::Null);
        let call = json!([{ "from": signer.address(), "to": to, "input": input }, block]);
        let why = self.rpc("eth_call", &call).err().map_or("without a reason".to_owned(), |e| e.to_string());
        bail!("transaction {} was reverted: {why}", hash.as_str().unwrap_or_default())
    }

    fn await_receipt(&self, hash: &Value) -> Result<Value> {
        let started = Instant::now();
        let (mut pause_ms, mut waiting) = (2, Waiting::default());
        loop {
            let receipt = self.rpc("eth_getTransactionReceipt", &json!([hash]))?;
            if !receipt.is_null() {
                return Ok(receipt);
            }
            waiting.say(self);
            if started.elapsed() > RECEIPT_TIMEOUT {
                let why = self.warning().unwrap_or_else(|| "see txpool_inspect".to_owned());
                bail!("no block took transaction {hash} within {RECEIPT_TIMEOUT:?}; {why}");
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
            pause_ms = (pause_ms * 2).min(100);
        }
    }
}

/// Somebody who waits for a transaction, and is told once why it takes long.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    said: Option<String>,
}

impl Waiting {
    /// Says on the error stream what the node warns of, unless it was said before.
    pub(crate) fn say(&mut self, client: &Client) {
        let Some(warning) = client.warning() else { return };
        if self.said.as_ref() != Some(&warning) {
            Output::warning(&format!("taken in, but it has to wait: {warning}"));
            self.said = Some(warning);
        }
    }
}

/// The folder of the node that is meant by a folder and, if several members' folders are in it, a name: the first whose
/// node answers when there is no name, or the first of all when none does.
///
/// # Errors
/// When there is no such member.
pub fn folder_of(data: DataDir, member: Option<&str>) -> Result<DataDir> {
    if !data.is_consortium() {
        if let Some(name) = member
            && data.genesis().exists()
            && NetworkGenesis::read(&data)?.members.iter().all(|member| member.name != name)
        {
            bail!("{} is not the folder of a consortium with a member {name:?}", data.root().display());
        }
        return Ok(data);
    }
    let members = Draft::read(&data.consortium())?.members;
    let folder = |name: &str| data.member(name);
    if let Some(name) = member {
        if members.iter().any(|member| member.name == name) {
            return Ok(folder(name));
        }
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        bail!("{} has no member {name:?}; there are {}", data.root().display(), names.join(", "));
    }
    let answers = |folder: &DataDir| matches!(Running::read(folder), Ok(Some(running)) if running.answers());
    let mut folders = members.iter().map(|member| folder(&member.name));
    let first = members.first().map(|member| folder(&member.name));
    folders.find(answers).or(first).with_context(|| format!("{} has no members", data.root().display()))
}

/// The command that starts a node on this folder.
#[must_use]
pub fn start_command(data: &DataDir) -> String {
    if data.config().exists() {
        format!("bletchley node start --config {}", data.config().display())
    } else {
        format!("bletchley up --data {}", data.root().display())
    }
}

fn refused(path: &str, status: ureq::http::StatusCode, answer: &Value) -> anyhow::Error {
    let message = answer.pointer("/error/message").or_else(|| answer.get("message")).and_then(Value::as_str);
    let path = path.split('?').next().unwrap_or(path);
    anyhow!("{path}: {} ({status})", message.unwrap_or("refused without a reason"))
}

/// A hex quantity.
///
/// # Errors
/// When the value is not one.
pub fn quantity(value: &Value) -> Result<u64> {
    let text = value.as_str().context("not a quantity")?;
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .with_context(|| format!("{text} is not a quantity"))
}
