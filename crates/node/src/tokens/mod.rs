//! The token ledger as commands and stories use it: read through a node, signed here.

pub(crate) mod names;
pub(crate) mod owner;
pub(crate) mod prompt;
pub(crate) mod proof;
pub(crate) mod timeline;

use crate::client::{Client, Waiting};
use alloy_primitives::{Address, B256, Bytes};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_cryptlet::keys::Signer;
use bletchley_primitives::{LedgerId, TxId, decode_bounded};
use bletchley_token::{
    AssetId, Output, OutputRef, Owner, SignedTx, TokenId, TokenInfo, TokenRecord, Transaction, TxBuilder,
    Unspent, Witness,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest encoded public record or output that is decoded.
const ENCODED_SIZE_BYTES_MAX: usize = 64 << 10;
/// Longest wait for a transaction to become final.
const FINAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest pause between two looks.
const FINAL_PAUSE_MS_MAX: u64 = 50;

/// The token ledger of a running node.
pub(crate) struct TokenLedger<'a> {
    pub(crate) client: &'a Client,
    pub(crate) ledger: LedgerId,
    accounts: BTreeMap<Address, String>,
    labels: RefCell<BTreeMap<B256, Option<String>>>,
}

/// A token as it stands.
pub(crate) struct Held {
    pub(crate) token: TokenId,
    pub(crate) info: TokenInfo,
    /// `held`, `part_of`, `taken_apart` or `retired`.
    pub(crate) status: String,
    pub(crate) composite: Option<TokenId>,
    /// The unspent output that carries it.
    pub(crate) output: Option<(OutputRef, Output)>,
}

/// Why the ledger did not take a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Where a transaction became final.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Final {
    pub(crate) id: TxId,
    pub(crate) height: u64,
}

impl<'a> TokenLedger<'a> {
    /// The ledger of this node.
    pub(crate) fn open(client: &'a Client) -> Result<Self> {
        let network = client.rest("GET", "/v1/network", None)?;
        let ledger = network.pointer("/ledgers/tokens/id").and_then(Value::as_str);
        let ledger: B256 = ledger.context("the node does not name its token ledger")?.parse()?;
        let accounts = network.get("accounts").and_then(Value::as_array).into_iter().flatten();
        let accounts = accounts.filter_map(|account| {
            let address = account.get("address").and_then(Value::as_str)?.parse().ok()?;
            Some((address, account.get("name").and_then(Value::as_str)?.to_owned()))
        });
        Ok(Self {
            client,
            ledger: LedgerId(ledger),
            accounts: accounts.collect(),
            labels: RefCell::default(),
        })
    }

    /// A token, if it was ever issued.
    pub(crate) fn find(&self, token: TokenId) -> Result<Option<Held>> {
        let found = self.client.find(&format!("/v1/tokens/{token}"))?;
        found.as_ref().map(|value| held(token, value)).transpose()
    }

    /// A token that must exist.
    pub(crate) fn token(&self, token: TokenId) -> Result<Held> {
        self.find(token)?.ok_or_else(|| anyhow!("no token {token} was issued on this ledger"))
    }

    /// The output that carries a token, when its owner can spend it.
    pub(crate) fn spendable(&self, token: &Held) -> Result<(OutputRef, Output)> {
        if let Some(output) = &token.output {
            return Ok(output.clone());
        }
        let what = self.token_name(token.token);
        match (token.status.as_str(), token.composite) {
            ("part_of", Some(composite)) => bail!(
                "{what} is part of {} and moves only with it; take that apart first: bletchley token decompose {composite}",
                self.token_name(composite)
            ),
            ("taken_apart", _) => {
                bail!(
                    "{what} was taken apart; its parts move on their own: bletchley token lineage {}",
                    token.token
                )
            }
            (status, _) => bail!("{what} cannot move: it is {}", status.replace('_', " ")),
        }
    }

    /// Revision of the next composite of a thing, and the composite that stands.
    pub(crate) fn builds(&self, thing: TokenId) -> Result<(u32, Option<TokenId>)> {
        let builds = self.client.rest("GET", &format!("/v1/tokens/{thing}/builds"), None)?;
        let next = builds.get("next_revision").and_then(Value::as_u64).context("no revision")?;
        let standing = builds.get("standing").and_then(Value::as_str).map(str::parse).transpose()?;
        Ok((u32::try_from(next)?, standing.map(TokenId)))
    }

    /// The parts of a composite.
    pub(crate) fn parts(&self, composite: TokenId) -> Result<Vec<TokenId>> {
        let answer = self.client.rest("GET", &format!("/v1/tokens/{composite}/parts"), None)?;
        let parts = answer.get("parts").and_then(Value::as_array).into_iter().flatten();
        parts
            .map(|part| {
                let id = part.get("token").and_then(Value::as_str).context("a part without an id")?;
                Ok(TokenId(id.parse()?))
            })
            .collect()
    }

    /// A token by its id, or as `issuer/class/serial`: the composite that stands under these, or the thing itself.
    pub(crate) fn named_token(&self, text: &str) -> Result<TokenId> {
        if let Ok(id) = text.parse::<B256>() {
            return Ok(TokenId(id));
        }
        let mut words = text.splitn(3, '/');
        let (Some(issuer), Some(class), Some(serial)) = (words.next(), words.next(), words.next()) else {
            bail!("{text} names no token: give its id, or issuer/class/serial as in manufacturer/phone/0001");
        };
        let thing = TokenRecord::thing(self.address(issuer)?, class, serial)?.id();
        if let Some(standing) = self.builds(thing)?.1 {
            return Ok(standing);
        }
        if self.find(thing)?.is_some() {
            return Ok(thing);
        }
        bail!(
            "{issuer} has issued no {class} with serial number {serial} that stands; its id would be {thing}"
        )
    }

    /// The address of an account's name, or the address itself.
    pub(crate) fn address(&self, text: &str) -> Result<Address> {
        let named = self.accounts.iter().find(|(_, name)| *name == text).map(|(address, _)| *address);
        named.or_else(|| text.parse().ok()).ok_or_else(|| {
            let mut names: Vec<&str> = self.accounts.values().map(String::as_str).collect();
            names.sort_unstable();
            anyhow!("{text} is neither an address nor an account's name; there are {}", names.join(", "))
        })
    }

    /// The accounts' addresses and names.
    pub(crate) const fn accounts(&self) -> &BTreeMap<Address, String> {
        &self.accounts
    }

    /// Every unspent output of an owner.
    pub(crate) fn outputs_of(&self, owner: Owner) -> Result<Vec<Unspent>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.client.rest(
                "GET",
                &format!("/v1/tokens/owners/{owner}/outputs?limit=1000{after}"),
                None,
            )?;
            all.extend(unspent_list(&page)?);
            match page.get("next").and_then(Value::as_u64) {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Outputs that pay an amount.
    pub(crate) fn select(&self, owner: Owner, asset: AssetId, amount: u128) -> Result<Vec<Unspent>> {
        let path = format!("/v1/tokens/owners/{owner}/selection?asset={asset}&amount={amount}");
        unspent_list(&self.client.rest("GET", &path, None)?)
    }

    /// Sends a transaction; a refusal is an answer, not an error.
    pub(crate) fn submit(&self, signed: &SignedTx) -> Result<std::result::Result<TxId, Refused>> {
        let mut results = self.submit_all(&[signed])?;
        results.pop().context("the node answered nothing")
    }

    /// Sends transactions in this order.
    pub(crate) fn submit_all(&self, all: &[&SignedTx]) -> Result<Vec<std::result::Result<TxId, Refused>>> {
        let raw: Vec<&Bytes> = all.iter().map(|signed| &signed.bytes).collect();
        let answer = self.client.rest("POST", "/v1/tokens/transactions", Some(&json!({ "raw": raw })))?;
        let results = answer.get("results").and_then(Value::as_array).into_iter().flatten().zip(all);
        let text =
            |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or("?").to_owned();
        Ok(results
            .map(|(result, signed)| match result.get("error") {
                None => Ok(signed.id),
                Some(error) => Err(Refused { code: text(error, "/code"), message: text(error, "/message") }),
            })
            .collect())
    }

    /// Sends a transaction and waits until it is final.
    pub(crate) fn settle(&self, signed: &SignedTx) -> Result<Final> {
        match self.submit(signed)? {
            Ok(id) => self.await_final(id),
            Err(refused) => bail!("refused ({}): {}", refused.code, self.readable(&refused.message)),
        }
    }

    /// Waits until a transaction is final.
    pub(crate) fn await_final(&self, id: TxId) -> Result<Final> {
        let (started, mut pause_ms, mut waiting) = (Instant::now(), 2, Waiting::default());
        loop {
            let status = self.client.find(&format!("/v1/tokens/transactions/{id}"))?;
            let status = status.with_context(|| {
                format!("transaction {id} was dropped before a block took it; something it spends was spent by another")
            })?;
            if let Some(height) = status.get("height").and_then(Value::as_u64) {
                return Ok(Final { id, height });
            }
            waiting.say(self.client);
            if started.elapsed() > FINAL_TIMEOUT {
                let why = self.client.warning();
                let why = why.unwrap_or_else(|| "is the node still making blocks?".to_owned());
                bail!("no block took transaction {id} within {FINAL_TIMEOUT:?}; {why}");
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
            pause_ms = (pause_ms * 2).min(FINAL_PAUSE_MS_MAX);
        }
    }

    /// The lineage of a token, as the node tells it.
    pub(crate) fn lineage(&self, token: TokenId) -> Result<Value> {
        self.client.rest("GET", &format!("/v1/tokens/{token}/lineage"), None)
    }
}

/// Signs a transaction with these keys, each once.
pub(crate) fn sign(builder: &TxBuilder, signers: &[&dyn Signer]) -> Result<SignedTx> {
    let id = builder.id();
    let (mut signatures, mut seen) = (Vec::new(), Vec::new());
    for signer in signers {
        if !seen.contains(&signer.address()) {
            seen.push(signer.address());
            signatures.push(signer.sign(id.0)?);
        }
    }
    let witness = Witness { signatures, preimages: Vec::new() };
    let transaction = Transaction { body: builder.body().clone(), witness };
    let bytes = transaction.encode_bytes();
    Ok(SignedTx { id, transaction, bytes })
}

fn encoded(value: &Value, at: &str) -> Result<Bytes> {
    let text =
        value.pointer(at).and_then(Value::as_str).with_context(|| format!("the node's answer lacks {at}"))?;
    Ok(text.parse()?)
}

fn held(token: TokenId, value: &Value) -> Result<Held> {
    let text = |at: &str| value.pointer(at).and_then(Value::as_str);
    let info = decode_bounded(&encoded(value, "/info_encoded")?, ENCODED_SIZE_BYTES_MAX)?;
    let output = match value.get("output").filter(|output| !output.is_null()) {
        Some(output) => {
            let unspent = unspent(output)?;
            Some((unspent.reference, unspent.output))
        }
        None => None,
    };
    let composite = text("/status/composite").map(str::parse).transpose()?.map(TokenId);
    Ok(Held {
        token,
        info,
        status: text("/status/status").unwrap_or("unknown").to_owned(),
        composite,
        output,
    })
}

fn unspent_list(page: &Value) -> Result<Vec<Unspent>> {
    page.get("items").and_then(Value::as_array).into_iter().flatten().map(unspent).collect()
}

/// An output as the node shows it.
pub(crate) fn unspent(value: &Value) -> Result<Unspent> {
    let reference = value.get("id").and_then(Value::as_str).context("an output without an id")?.parse()?;
    let index = value.get("index").and_then(Value::as_u64).context("an output without an index")?;
    let output = decode_bounded(&encoded(value, "/encoded")?, ENCODED_SIZE_BYTES_MAX)?;
    Ok(Unspent { reference, index, output })
}
