//! The REST interface over a real server: shapes, refusals, proofs that hold offline, and strangers' contracts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use bletchley_api::rest::{Finalities, RestContext, router};
use bletchley_api::{ServerHandle, serve};
use bletchley_cryptlet::content::MemoryContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts};
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::registry::{Roots, TokenRegistry};
use bletchley_crypto::{Argon2Params, SecretKey};
use bletchley_evm::{EvmLedger, InclusionProof, StateProof, header_link};
use bletchley_ledger::{
    Certificate, Checkpoint, Executed, Finality, FinalityProof, FinalityProofError, FinalityReadError,
    FinalityReader, HeaderLink, Machine, ProposeContext, SharedStore, StoredFinality, ValidatorSet,
};
use bletchley_primitives::{DecodeError, Height, LedgerId, TimestampMs, TxId};
use bletchley_storage::MemoryStore;
use bletchley_token::{
    ContractPlace, Genesis, Header, Lock, Note, OutputProof, Properties, SignedTx, TokenId, TokenMachine,
    TokenRecord, TxBuilder,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{CHAIN_ID, World};

const LEDGER: LedgerId = LedgerId(B256::repeat_byte(0x1d));

fn validator() -> SecretKey {
    SecretKey::from_seed(b"validator")
}

fn validators() -> ValidatorSet {
    ValidatorSet::new([validator().address()])
}

fn certificate(ledger: LedgerId, link: &HeaderLink) -> Certificate {
    let set = validators().digest();
    let HeaderLink { height, hash: block, state, .. } = *link;
    let checkpoint = Checkpoint { ledger, height, block, state, validators: set, next: set };
    Certificate { checkpoint, signatures: vec![checkpoint.sign(&validator())] }
}

fn certify(ledger: LedgerId, executed: &Executed) -> Bytes {
    let link = HeaderLink {
        height: executed.meta.height,
        hash: executed.meta.hash,
        parent: executed.meta.parent,
        state: executed.state_root,
    };
    Finality { seal: Bytes::new(), certificate: Some(certificate(ledger, &link)) }.encode()
}

fn token_link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
    let header = Header::decode_bytes(bytes)?;
    let Header { height, parent, state_root: state, .. } = header;
    Ok(HeaderLink { height, hash: header.hash(), parent, state })
}

/// Certifies whatever block is asked about.
struct OneHeader(EvmLedger);

impl FinalityReader for OneHeader {
    fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        let link = self.header(height)?.map(|header| header_link(&header).unwrap());
        Ok(link.map(|link| certificate(self.0.id(), &link)))
    }

    fn header(&self, height: Height) -> Result<Option<Bytes>, FinalityReadError> {
        Ok(self.0.header(height)?.map(|header| alloy_rlp::encode(header).into()))
    }

    fn covered_until(&self, height: Height) -> Height {
        height
    }

    fn changes(&self, _height: Height) -> Vec<(Height, ValidatorSet)> {
        Vec::new()
    }
}

fn finalities(store: SharedStore, evm: EvmLedger) -> Finalities {
    let tokens: Arc<dyn FinalityReader> = Arc::new(StoredFinality::new(store));
    let evm: Arc<dyn FinalityReader> = Arc::new(OneHeader(evm));
    let named = [("tokens", tokens.clone()), ("evm", evm.clone())];
    let of =
        move |name: &str| named.iter().find(|(other, _)| *other == name).map(|(_, reader)| reader.clone());
    Finalities { tokens, evm, of: Arc::new(of) }
}

struct Node {
    world: World,
    tokens: Arc<TokenMachine>,
    store: SharedStore,
    server: ServerHandle,
    maker: SecretKey,
}

impl Node {
    async fn start() -> Self {
        let world = World::dev();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let genesis = Genesis { ledger: LEDGER, time_ms: TimestampMs(1_000) };
        let tokens = Arc::new(TokenMachine::open(genesis, store.clone()).unwrap());
        let maker = SecretKey::from_seed(b"maker");
        let roots = Roots { registry: LEDGER, administrators: vec![maker.address()] };
        let registry = Arc::new(TokenRegistry::open(tokens.clone(), roots).unwrap());
        let parts = FabricParts {
            registry: registry.clone(),
            content: Arc::new(MemoryContent::default()),
            hosts: Vec::new(),
        };
        let context = RestContext {
            tokens: tokens.clone(),
            registry,
            evm: world.ledger.clone(),
            finality: finalities(store.clone(), world.ledger.clone()),
            consortium: None,
            fabric: Arc::new(Fabric::start(parts, FabricConfig::default()).unwrap()),
            fetcher: Arc::new(HttpFetcher::default()),
            network: json!({ "name": "test", "accounts": [{ "name": "maker", "address": maker.address() }] }),
            admin_token: "secret".to_owned(),
            publishing: None,
            mirrors: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = serve(listener, world.context.clone(), vec![router(context)]).unwrap();
        Self { world, tokens, store, server, maker }
    }

    /// Makes a block of whatever waits.
    fn block(&self) {
        let time_ms = TimestampMs(self.tokens.head().time_ms.0 + 1);
        let context = ProposeContext {
            parent: self.tokens.head().hash,
            time_ms,
            proposer: Address::ZERO,
            allow_empty: false,
        };
        let executed = self.tokens.propose(&context).unwrap().expect("something waits");
        let hash = executed.meta.hash;
        let certificate = certify(LEDGER, &executed);
        self.store.append(&executed.into_stored(certificate)).unwrap();
        self.tokens.commit(hash).unwrap();
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{path} answered no JSON: {body}")))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// The code of a refusal; every refusal has a message too.
    async fn refusal(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        let (status, value) = self.ask(method, path, body).await;
        assert!(
            value["error"]["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{path}: {value}"
        );
        (status, value["error"]["code"].as_str().unwrap().to_owned())
    }

    async fn submit(&self, signed: &SignedTx) -> Value {
        let body = json!({ "raw": [signed.bytes] }).to_string();
        let (status, answer) = self.ask("POST", "/v1/tokens/transactions", Some(&body)).await;
        assert_eq!(status, 200);
        answer["results"][0].clone()
    }

    async fn screw(&self) -> (TokenId, SignedTx) {
        let owner = Lock::key(self.maker.address());
        let issue = TxBuilder::issue_thing(LEDGER, self.maker.address(), "screw", "1", owner).unwrap();
        let issue = issue.sign(&[&self.maker]);
        assert_eq!(self.submit(&issue).await, json!({ "id": issue.id }));
        (TokenRecord::thing(self.maker.address(), "screw", "1").unwrap().id(), issue)
    }
}

#[tokio::test]
async fn a_token_from_its_submission_to_its_proof() {
    let node = Node::start().await;
    let (screw, issue) = node.screw().await;
    let path = format!("/v1/tokens/transactions/{}", issue.id);
    assert_eq!(node.get(&path).await["status"], "waiting");
    node.block();
    assert_eq!(node.get(&path).await["status"], "final");
    let shown = node.get(&format!("/v1/tokens/{screw}")).await;
    assert_eq!(shown["info"]["label"], "screw");
    assert_eq!(shown["property_names"], json!(["class", "serial"]));
    let output = shown["output"]["id"].as_str().unwrap();
    assert_eq!(output, issue.output(0).to_string());
    let held = node.get("/v1/tokens/owners/maker/outputs?limit=1").await;
    assert_eq!(held["items"][0], shown["output"]);
    assert_eq!(held["next"], Value::Null);

    let proof = node.get(&format!("/v1/tokens/outputs/{output}/proof")).await;
    let bytes = |key: &str| proof[key].as_str().unwrap().parse::<Bytes>().unwrap();
    let header = Header::decode_bytes(&bytes("header")).unwrap();
    assert_eq!((header.hash(), header.ledger), (node.tokens.head().hash, LEDGER));
    OutputProof::decode_bytes(&bytes("proof")).unwrap().verify(header.state_root).unwrap();
    let finality = proof["finality"]["encoded"].as_str().unwrap().parse::<Bytes>().unwrap();
    let finality = FinalityProof::decode(&finality).unwrap();
    let proved = finality.verify(LEDGER, &validators(), token_link).unwrap();
    assert_eq!((proved.link.height, proved.link.state), (node.tokens.head().height, header.state_root));
    let strangers = ValidatorSet::new([Address::repeat_byte(1)]);
    let refused = finality.verify(LEDGER, &strangers, token_link).unwrap_err();
    assert!(matches!(refused, FinalityProofError::Certificate { .. }), "{refused}");
    let certificate = node.get("/v1/certificates/tokens/1").await;
    assert_eq!(certificate["finality"], proof["finality"]);
    assert_eq!(node.refusal("GET", "/v1/certificates/tokens/99", None).await.0, 404);
    assert_eq!(proof["spent_by"], Value::Null);

    let sale = TxBuilder::transfer(LEDGER).spend(issue.output(0)).token(screw, Lock::key(Address::ZERO));
    let sale = sale.sign(&[&node.maker]);
    node.submit(&sale).await;
    node.block();
    let proof = node.get(&format!("/v1/tokens/outputs/{output}/proof")).await;
    assert_eq!(proof["spent_by"], json!(sale.id));
    assert_eq!(node.refusal("GET", &format!("/v1/tokens/outputs/{output}"), None).await.0, 404);
    assert_eq!(node.submit(&sale).await["error"]["code"], "final");
    let again =
        TxBuilder::transfer(LEDGER).spend(issue.output(0)).token(screw, Lock::key(Address::repeat_byte(1)));
    let refused = node.submit(&again.sign(&[&node.maker])).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("spent"), "{refused}");
}

#[tokio::test]
async fn properties_are_checked_for_things_and_people() {
    let node = Node::start().await;
    let (screw, _) = node.screw().await;
    let who = Properties::new([("name", "Ada Lovelace")]).unwrap();
    let salt = B256::repeat_byte(7);
    let record = TokenRecord::person(node.maker.address(), &who, salt, Argon2Params::LEAST).unwrap();
    let person = record.id();
    let tokens = [(record, String::new(), Lock::key(Address::ZERO))];
    node.submit(&TxBuilder::issue(LEDGER, node.maker.address(), tokens).sign(&[&node.maker])).await;
    node.block();
    for (token, properties, matches) in [
        (screw, json!({ "class": "screw", "serial": "1" }), true),
        (screw, json!({ "class": "screw", "serial": "2" }), false),
        (person, json!({ "name": "Ada Lovelace" }), true),
        (person, json!({ "name": "Charles Babbage" }), false),
    ] {
        let body = json!({ "properties": properties }).to_string();
        let (status, answer) = node.ask("POST", &format!("/v1/tokens/{token}/verify"), Some(&body)).await;
        assert_eq!((status, &answer["matches"]), (200, &json!(matches)), "{properties}");
    }
    let path = format!("/v1/tokens/{person}/verify");
    assert_eq!(
        node.refusal("POST", &path, Some(r#"{"properties":{}}"#)).await,
        (400, "properties".to_owned())
    );
    assert_eq!(node.refusal("POST", &path, Some(r#"{"name":"Ada"}"#)).await, (422, "body".to_owned()));
}

/// Init code that logs `ItemRecorded` as a contract of its own.
fn recorder(token: TokenId, by: Address) -> Bytes {
    let mut code = hex!("7f").to_vec();
    code.extend_from_slice(&[0x0d; 32]); // the output that it claims
    code.extend_from_slice(&hex!("5f52"));
    for topic in
        [by.into_word(), LEDGER.0, token.0, keccak256("ItemRecorded(bytes32,bytes32,bytes32,address)")]
    {
        code.push(0x7f);
        code.extend_from_slice(topic.as_slice());
    }
    code.extend_from_slice(&hex!("60205fa400"));
    code.into()
}

#[tokio::test]
async fn a_contract_that_the_owner_named_is_told_from_a_strangers() {
    let node = Node::start().await;
    let (screw, issue) = node.screw().await;
    node.block();
    let mut contracts = Vec::new();
    for account in [0, 1] {
        let by = node.world.address(account);
        let raw = node.world.signed(account, 0, TxKind::Create, recorder(screw, by));
        node.world.ok("eth_sendRawTransaction", json!([raw]));
        contracts.push(by.create(0));
    }
    let place = ContractPlace {
        ledger: LedgerId::default(),
        chain_id: CHAIN_ID,
        contract: contracts[0],
        item: U256::from_be_bytes(screw.0.0),
        transaction: TxId::default(),
    };
    let owner = Lock::key(node.maker.address());
    let note = TxBuilder::record(LEDGER, (screw, issue.output(0)), Note::Contract { place }, owner);
    node.submit(&note.sign(&[&node.maker])).await;
    node.block();
    let lineage = node.get(&format!("/v1/tokens/{screw}/lineage")).await;
    let happened: Vec<&Value> =
        lineage["events"].as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(happened, ["issued", "recorded"]);
    let records = lineage["records"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{records:?}");
    for (record, (contract, acknowledged)) in records.iter().zip(contracts.iter().zip([true, false])) {
        assert_eq!(record["contract"], json!(contract));
        assert_eq!(record["acknowledged"], json!(acknowledged));
        assert_eq!(record["event"], "item_recorded");
        assert_eq!(record["output_id"], json!(B256::repeat_byte(0x0d)));
    }
    assert_eq!(lineage["records_truncated"], false);
}

#[tokio::test]
async fn refusals_are_typed_and_change_nothing() {
    let node = Node::start().await;
    let before = node.tokens.head();
    let unknown = B256::repeat_byte(9);
    for (method, path, body, status, code) in [
        ("GET", "/v1/tokens/xyz".to_owned(), None, 400, "id"),
        ("GET", format!("/v1/tokens/{unknown}"), None, 404, "not-found"),
        ("GET", format!("/v1/tokens/{unknown}/lineage"), None, 404, "not-found"),
        ("GET", format!("/v1/tokens/outputs/{unknown}"), None, 400, "id"),
        ("GET", format!("/v1/tokens/outputs/{unknown}:0/proof"), None, 404, "not-found"),
        ("GET", "/v1/tokens/owners/nobody/balances".to_owned(), None, 400, "id"),
        ("GET", "/v1/tokens/owners/maker/outputs?limits=1".to_owned(), None, 400, "query"),
        ("GET", "/v1/tokens/entries/none/at/all".to_owned(), None, 404, "not-found"),
        ("GET", "/v1/nowhere".to_owned(), None, 404, "not-found"),
        ("DELETE", "/v1/network".to_owned(), None, 405, "method"),
        ("POST", "/v1/tokens/transactions".to_owned(), Some("{"), 400, "body"),
        ("POST", "/v1/tokens/transactions".to_owned(), Some(r#"{"raw":["0xzz"]}"#), 422, "body"),
        ("PUT", "/v1/admin/sources/ecb".to_owned(), Some(r#"{"url":null}"#), 403, "forbidden"),
    ] {
        assert_eq!(node.refusal(method, &path, body).await, (status, code.to_owned()), "{method} {path}");
    }
    let many = json!({ "raw": vec!["0x00"; bletchley_token::limits::SUBMIT_BATCH_MAX + 1] }).to_string();
    assert_eq!(node.refusal("POST", "/v1/tokens/transactions", Some(&many)).await, (400, "batch".to_owned()));
    let (_, answer) = node.ask("POST", "/v1/tokens/transactions", Some(r#"{"raw":["0x00"]}"#)).await;
    assert_eq!(answer["results"][0]["error"]["code"], "malformed");
    assert_eq!((node.tokens.head(), node.tokens.waiting()), (before, 0));
}

#[tokio::test]
async fn evm_transactions_receipts_and_state_are_proved_to_outsiders() {
    let node = Node::start().await;
    let raw = node.world.signed(0, 0, TxKind::Call(Address::ZERO), Bytes::new());
    let hash = keccak256(&raw);
    node.world.ok("eth_sendRawTransaction", json!([raw]));
    let finality = |proof: &Value| {
        let encoded = proof["finality"]["encoded"].as_str().unwrap().parse::<Bytes>().unwrap();
        let ledger = node.world.ledger.id();
        FinalityProof::decode(&encoded).unwrap().verify(ledger, &validators(), header_link).unwrap()
    };
    let bytes = |proof: &Value| proof["proof"].as_str().unwrap().parse::<Bytes>().unwrap();
    for kind in ["transactions", "receipts"] {
        let proof = node.get(&format!("/v1/evm/proofs/{kind}/{hash}")).await;
        let proved = finality(&proof);
        let inclusion = InclusionProof::decode(&bytes(&proof)).unwrap();
        inclusion.verify(&proved.header).unwrap();
        if kind == "transactions" {
            assert_eq!(inclusion.transaction(), Some(hash));
        }
    }
    let sender = node.world.address(0);
    let proof = node.get(&format!("/v1/evm/proofs/state/{sender}?slots=0,0x7")).await;
    let state = StateProof::decode(&bytes(&proof)).unwrap();
    state.verify(finality(&proof).link.state).unwrap();
    assert_eq!((state.nonce, state.slots.len()), (1, 2));
    let unknown = format!("/v1/evm/proofs/receipts/{}", keccak256("unknown"));
    assert_eq!(node.refusal("GET", &unknown, None).await, (404, "not-found".to_owned()));
    assert_eq!(node.refusal("GET", "/v1/evm/proofs/receipts/1", None).await, (400, "hash".to_owned()));
    assert_eq!(node.refusal("GET", "/v1/evm/proofs/state/1", None).await, (400, "address".to_owned()));
}
