//! Names instead of hex: accounts, tokens by their labels, owners in words.

use super::TokenLedger;
use alloy_primitives::{Address, B256};
use bletchley_token::{Lock, TokenId};
use serde_json::Value;

/// Hex digits of an id that are shown at each end.
const SHORT_HEAD: usize = 6;
const SHORT_TAIL: usize = 4;

/// `0x1234…abcd`.
pub(crate) fn short(hex: &str) -> String {
    let count = hex.chars().count();
    if count <= SHORT_HEAD + SHORT_TAIL + 1 {
        return hex.to_owned();
    }
    let head: String = hex.chars().take(SHORT_HEAD).collect();
    let tail: String = hex.chars().skip(count - SHORT_TAIL).collect();
    format!("{head}…{tail}")
}

impl TokenLedger<'_> {
    /// An account's name, or its address in short.
    pub(crate) fn account_name(&self, address: Address) -> String {
        self.accounts().get(&address).cloned().unwrap_or_else(|| short(&address.to_string()))
    }

    /// Calls an id by a name from now on.
    pub(crate) fn call(&self, id: B256, name: String) {
        self.labels.borrow_mut().insert(id, Some(name));
    }

    /// A token's label, or its id in short.
    pub(crate) fn token_name(&self, token: TokenId) -> String {
        let known = self.labels.borrow().get(&token.0).cloned();
        let label = known.unwrap_or_else(|| {
            let found = self.find(token).ok().flatten().map(|held| held.info.label().to_owned());
            self.labels.borrow_mut().insert(token.0, found.clone());
            found
        });
        label.filter(|label| !label.is_empty()).unwrap_or_else(|| short(&token.to_string()))
    }

    /// An owner in words.
    pub(crate) fn owner_name(&self, lock: &Lock) -> String {
        match lock {
            Lock::Key { address } => self.account_name(*address),
            Lock::Threshold { needed, keys } => {
                let names: Vec<String> = keys.iter().map(|key| self.account_name(*key)).collect();
                format!("any {needed} of {}", names.join(", "))
            }
            Lock::Proof { address, proof } => {
                let factors: Vec<&str> =
                    proof.factors.iter().map(|kind| super::owner::factor_name(*kind)).collect();
                format!("whoever proves {} ({})", factors.join(" and "), short(&address.to_string()))
            }
            Lock::HashTime { recipient, refund, .. } => format!(
                "{} with a preimage, or {} after the deadline",
                self.account_name(*recipient),
                self.account_name(*refund)
            ),
        }
    }

    /// An owner in words, from a lock as the node tells it.
    pub(crate) fn owner_told(&self, lock: Option<&Value>) -> String {
        let Some(lock) = lock.filter(|lock| !lock.is_null()) else { return "nobody".to_owned() };
        let name = |value: &Value| {
            let text = value.as_str().unwrap_or("?");
            text.parse().map_or_else(|_| text.to_owned(), |address| self.account_name(address))
        };
        let field = |key: &str| lock.get(key).map(name).unwrap_or_default();
        match lock.get("kind").and_then(Value::as_str) {
            Some("key") => field("address"),
            Some("threshold") => {
                let keys: Vec<String> =
                    lock.get("keys").and_then(Value::as_array).into_iter().flatten().map(name).collect();
                format!("any {} of {}", lock.get("needed").unwrap_or(&Value::Null), keys.join(", "))
            }
            Some("proof") => {
                let factors: Vec<String> = lock
                    .pointer("/proof/factors")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|factor| {
                        factor.as_str().map(|text| text.replace('_', " ").replace("pin", "PIN"))
                    })
                    .collect();
                format!("whoever proves {}", factors.join(" and "))
            }
            Some("hash_time") => {
                format!("{} with a preimage, or {} after the deadline", field("recipient"), field("refund"))
            }
            _ => "an owner of a kind that this program does not know".to_owned(),
        }
    }

    /// A text with names in the place of the addresses and ids that it holds.
    pub(crate) fn readable(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("0x") {
            let (before, hex) = rest.split_at(at);
            out.push_str(before);
            let digits = hex.chars().skip(2).take_while(char::is_ascii_hexdigit).count();
            let (hex, after) = hex.split_at(2 + digits);
            match digits {
                40 => out.push_str(
                    &hex.parse().map_or_else(|_| hex.to_owned(), |a: Address| self.account_name(a)),
                ),
                64 => out.push_str(
                    &hex.parse().map_or_else(|_| hex.to_owned(), |id: B256| self.token_name(TokenId(id))),
                ),
                _ => out.push_str(hex),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}
