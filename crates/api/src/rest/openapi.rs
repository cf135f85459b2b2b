//! `/openapi.json`: the description of the REST interface, OpenAPI 3.1. A test compares it with the routes.

use axum::Json;
use serde_json::{Map, Value, json};

/// Shapes of what goes in and comes out.
const SCHEMAS: &str = include_str!("schemas.json");

/// A parameter behind `?`: its name, its type, what it does.
type Query = (&'static str, &'static str, &'static str);

struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [Query],
    /// Schema of the body.
    body: Option<&'static str>,
    /// Schema of the answer.
    answer: &'static str,
}

const fn get(path: &'static str, summary: &'static str, answer: &'static str) -> Operation {
    Operation { method: "get", path, summary, query: &[], body: None, answer }
}

const fn with(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    answer: &'static str,
) -> Operation {
    Operation { method, path, summary, query: &[], body: Some(body), answer }
}

impl Operation {
    const fn asking(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }
}

const LIMIT: Query = ("limit", "integer", "How many at most; 100 when not given, never more than 1000.");

fn operations() -> impl Iterator<Item = Operation> {
    node_operations()
        .into_iter()
        .chain(finality_operations())
        .chain(output_operations())
        .chain(token_operations())
}

fn finality_operations() -> Vec<Operation> {
    vec![
        get(
            "/v1/evm/proofs/transactions/{hash}",
            "Proof that a transaction stands in a final block, which verifies offline from the genesis document.",
            "EvmProof",
        ),
        get(
            "/v1/evm/proofs/receipts/{hash}",
            "Proof of a transaction's receipt in a final block: what became of it, and what it logged.",
            "EvmProof",
        ),
        get(
            "/v1/evm/proofs/state/{address}",
            "Proof of an account, and of some of its slots, in the newest block.",
            "EvmProof",
        )
        .asking(&[("slots", "string", "Slots of the account's storage, with commas between them.")]),
        get(
            "/v1/certificates/{ledger}/{height}",
            "What makes a block of a ledger of this node final for outsiders; `tokens` and `evm` are the first ones.",
            "BlockFinality",
        ),
    ]
}

fn node_operations() -> Vec<Operation> {
    vec![
        get("/openapi.json", "This description.", "Object"),
        get(
            "/v1/network",
            "Which network this is, its named accounts, and where its ledgers stand.",
            "Network",
        ),
        get(
            "/v1/consortium",
            "The members, their ledgers and parameters, open and closed proposals with their ballots.",
            "Consortium",
        ),
        get("/v1/cryptlets", "Registered cryptlets and hosts.", "Cryptlets").asking(&[(
            "text",
            "string",
            "Only those whose name, description, publisher, language or methods contain it.",
        )]),
        get(
            "/v1/cryptlets/{name}",
            "A cryptlet: its manifest, its versions, its Solidity header and JSON ABI.",
            "Object",
        ),
        with(
            "post",
            "/v1/admin/cryptlets",
            "Publish a package (RLP of manifest and code) in this member's name. Needs the token in the data folder's node.json as a bearer.",
            "PackageBytes",
            "Object",
        ),
        with(
            "put",
            "/v1/admin/cryptlets/{package}/status",
            "Deprecate or revoke a package. Needs the administrator's token.",
            "ReleaseStatus",
            "Object",
        ),
        Operation {
            method: "post",
            ..get(
                "/v1/admin/cryptlets/{package}/sources",
                "Let this host fetch from the sources that a package declares. Needs the administrator's token.",
                "Object",
            )
        },
        get(
            "/v1/admin/cryptlets/{name}/log",
            "What a cryptlet wrote to its log on this host. Needs the administrator's token.",
            "Object",
        )
        .asking(&[("after", "integer", "The number of the last line that is known."), LIMIT]),
        with(
            "put",
            "/v1/admin/sources/{name}",
            "Where this host fetches a source from. For this computer's administrator: needs the token in the data folder's node.json as a bearer.",
            "Mirror",
            "Object",
        ),
    ]
}

fn output_operations() -> Vec<Operation> {
    vec![
        with(
            "post",
            "/v1/tokens/transactions",
            "Submit signed transactions, in order. Each is taken or refused on its own; a refused one changes nothing.",
            "Submission",
            "Submitted",
        ),
        get(
            "/v1/tokens/transactions/{id}",
            "A transaction, and whether it waits or is final.",
            "TransactionStatus",
        ),
        get("/v1/tokens/owners/{owner}/outputs", "Unspent outputs of an owner, oldest first.", "Outputs")
            .asking(&[
                ("after", "integer", "The `next` of the page before."),
                LIMIT,
                (
                    "shared",
                    "boolean",
                    "Outputs that the address shares with others instead of those that are its own.",
                ),
            ]),
        get("/v1/tokens/owners/{owner}/balances", "What an owner has of each asset.", "Balances"),
        get(
            "/v1/tokens/owners/{owner}/selection",
            "Outputs to pay an amount with: those that nothing waiting spends.",
            "Outputs",
        )
        .asking(&[
            ("asset", "string", "The asset's id."),
            ("amount", "string", "How much, in the asset's smallest unit, decimal."),
        ]),
        get(
            "/v1/tokens/outputs/{output}",
            "An unspent output, written `<transaction id>:<position>`.",
            "UnspentOutput",
        ),
        get(
            "/v1/tokens/outputs/{output}/proof",
            "Proof that an output exists, and whether it is spent: with the header it leads to and what makes that final, so that it verifies offline.",
            "OutputProof",
        ),
        get("/v1/tokens/assets", "Fungible assets, in order of their ids.", "Assets")
            .asking(&[("after", "string", "The `next` of the page before."), LIMIT]),
        get("/v1/tokens/assets/{asset}", "A fungible asset.", "Asset"),
    ]
}

fn token_operations() -> Vec<Operation> {
    vec![
        get("/v1/tokens/entries", "Names of the registries.", "Namespaces"),
        get(
            "/v1/tokens/entries/{namespace}",
            "The newest revision of each entry of a registry, by name.",
            "Entries",
        )
        .asking(&[("after", "string", "The `next` of the page before."), LIMIT]),
        get(
            "/v1/tokens/entries/{namespace}/{name}",
            "Every revision of an entry, oldest first; the name may contain slashes.",
            "EntryHistory",
        ),
        get("/v1/tokens/{id}", "A token as it stands: what it is, where it is, whose it is.", "Token"),
        get("/v1/tokens/{id}/parts", "The parts that a composite was made of.", "Parts"),
        get(
            "/v1/tokens/{id}/builds",
            "Which composite stands under a thing's manufacturer, class and serial number, and the revision of the next.",
            "Builds",
        ),
        get(
            "/v1/tokens/{id}/lineage",
            "The story of a token: provenance, owners, composites, notes; and what contracts of the EVM ledger recorded about it, acknowledged or not.",
            "Lineage",
        ),
        with(
            "post",
            "/v1/tokens/{id}/verify",
            "Whether these are the properties that the token was made from. They are kept nowhere; who does not trust this node checks the public record at home.",
            "Check",
            "Checked",
        ),
    ]
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(operation.method.to_owned(), described(&operation));
        }
    }
    let refusal = json!({ "description": "Refused; nothing was changed.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } } });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bletchley", "version": env!("CARGO_PKG_VERSION"),
            "description": "Token ledger, registry and administration of one node. Ethereum JSON-RPC is at `/`. A ledger that a vote created has the paths of its kind under `/ledgers/{name}`: `/v1/network` and `/v1/tokens/…`, or `/v1/evm/…` with JSON-RPC at `/ledgers/{name}` itself. `specs/token.md` has every encoding.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": serde_json::from_str::<Value>(SCHEMAS).unwrap_or_default(),
            "responses": { "Refused": refusal },
            "securitySchemes": { "administrator": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let in_path = operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(operation.query.iter().map(|(name, kind, what)| {
        let required = operation.path.ends_with("/selection");
        json!({ "name": name, "in": "query", "required": required, "description": what, "schema": { "type": kind } })
    }));
    let content = |schema: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    let mut out = json!({
        "operationId": identifier(operation), "summary": operation.summary, "parameters": parameters,
        "responses": {
            "200": { "description": "The answer.", "content": content(operation.answer) },
            "default": { "$ref": "#/components/responses/Refused" },
        },
    });
    if let Some(object) = out.as_object_mut() {
        if let Some(body) = operation.body {
            let content = if body == "PackageBytes" {
                json!({ "application/octet-stream": { "schema": { "$ref": "#/components/schemas/PackageBytes" } } })
            } else {
                content(body)
            };
            object.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
        }
        if operation.path.starts_with("/v1/admin/") {
            object.insert("security".to_owned(), json!([{ "administrator": [] }]));
        }
    }
    out
}

/// Method and path as one word: `get_tokens_id_lineage`.
fn identifier(operation: &Operation) -> String {
    let words =
        operation.path.trim_start_matches("/v1").split(['/', '.', '{', '}']).filter(|word| !word.is_empty());
    std::iter::once(operation.method).chain(words).collect::<Vec<_>>().join("_")
}

pub(super) async fn show() -> Json<Value> {
    Json(document())
}
