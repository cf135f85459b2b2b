//! What stands in a path: ids, outputs, owners.

use super::RestContext;
use super::answer::Refusal;
use bletchley_primitives::{Address, B256, TxId};
use bletchley_token::{AssetId, OutputRef, Owner, TokenId};
use serde_json::Value;

/// Longest part of what was sent that a refusal repeats.
const ECHO_CHARS_MAX: usize = 80;

fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

fn hash(what: &str, text: &str) -> Result<B256, Refusal> {
    text.strip_prefix("0x")
        .filter(|digits| digits.len() == 64)
        .and_then(|_| text.parse().ok())
        .ok_or_else(|| Refusal::bad("id", format!("{} is not {what}: 0x and 64 hex digits", echo(text))))
}

pub(super) fn token(text: &str) -> Result<TokenId, Refusal> {
    hash("a token id", text).map(TokenId)
}

pub(super) fn asset(text: &str) -> Result<AssetId, Refusal> {
    hash("an asset id", text).map(AssetId)
}

pub(super) fn transaction(text: &str) -> Result<TxId, Refusal> {
    hash("a transaction id", text).map(TxId)
}

pub(super) fn output(text: &str) -> Result<OutputRef, Refusal> {
    text.parse().map_err(|error| Refusal::bad("id", error))
}

/// Whose outputs are asked for.
pub(super) struct Whose {
    pub(super) owner: Owner,
    /// The address, when it is one key's.
    pub(super) address: Option<Address>,
}

/// An owner: an account's name, an address, or the digest of a shared lock.
pub(super) fn owner(context: &RestContext, text: &str) -> Result<Whose, Refusal> {
    let accounts = context.network.get("accounts").and_then(Value::as_array);
    let of_name = |account: &&Value| account.get("name").and_then(Value::as_str) == Some(text);
    let named = accounts.into_iter().flatten().find(of_name).and_then(|account| account.get("address"));
    let text = named.and_then(Value::as_str).unwrap_or(text);
    if let (42, Ok(address)) = (text.len(), text.parse::<Address>()) {
        return Ok(Whose { owner: address.into(), address: Some(address) });
    }
    let what = "an owner: an account's name, an address, or the digest of a lock";
    hash(what, text).map(|digest| Whose { owner: Owner(digest), address: None })
}
