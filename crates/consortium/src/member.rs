//! A member as everybody sees it.

use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_consensus::{PeerId, Validator};
use bletchley_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// Most members of a consortium, over its whole life.
pub const MEMBERS_MAX: usize = 128;
/// Longest name of a member or a ledger.
pub const NAME_SIZE_BYTES_MAX: usize = 63;
/// Longest address of a member's node.
const TEXT_SIZE_BYTES_MAX: usize = 253;

/// What a member does in the agreement on blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seat {
    /// It votes.
    Validator,
    /// It follows, checks and answers its clients, and does not vote.
    Observer,
}

/// A member: its name, its keys by purpose, where its node is reached. All of it is public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Name, unique in the consortium: lower-case letters, digits and hyphens.
    pub name: String,
    /// The node's ed25519 key on the network.
    pub peer: B256,
    /// Address of the key that signs checkpoints.
    pub validator: Address,
    /// Address of the key that proposes and votes, and administers the registry.
    pub administrator: Address,
    /// Address of the key of the member's cryptlet host.
    pub host: Address,
    /// Where the node is reached: `name:port` or `ip:port`.
    pub endpoint: String,
    /// Whether it votes on blocks.
    pub is_validator: bool,
}

/// Why a member's record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The name is not one.
    #[error("{0:?} is no name for a member: use 1 to 63 lower-case letters, digits and hyphens")]
    Name(String),
    /// The endpoint is not one.
    #[error(
        "{0:?} is no endpoint: write a host name or address, a colon and a port, such as node.bank-a.example:30300"
    )]
    Endpoint(String),
    /// A key is missing.
    #[error("member {0} lacks a key: peer, validator, administrator and host each need one")]
    NoKey(String),
    /// Two purposes share a key.
    #[error("member {0} uses one key for two purposes; each purpose needs its own")]
    SharedKey(String),
}

/// Whether a text can name a member or a ledger.
pub(crate) fn check_name(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (1..=NAME_SIZE_BYTES_MAX).contains(&name.len()) && letters && !name.starts_with('-')
}

impl Member {
    /// Its seat.
    #[must_use]
    pub const fn seat(&self) -> Seat {
        if self.is_validator { Seat::Validator } else { Seat::Observer }
    }

    /// Its node.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        PeerId(self.peer)
    }

    /// As the agreement on blocks knows it.
    #[must_use]
    pub fn as_validator(&self) -> Validator {
        Validator { name: self.name.clone(), peer: self.peer(), address: self.validator }
    }

    /// Addresses of its keys.
    #[must_use]
    pub const fn keys(&self) -> [Address; 3] {
        [self.validator, self.administrator, self.host]
    }

    /// Whether the record can be used.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn check(&self) -> Result<(), MemberError> {
        if !check_name(&self.name) {
            return Err(MemberError::Name(self.name.chars().take(NAME_SIZE_BYTES_MAX).collect()));
        }
        let endpoint = || MemberError::Endpoint(self.endpoint.chars().take(TEXT_SIZE_BYTES_MAX).collect());
        let (host, port) = self.endpoint.rsplit_once(':').ok_or_else(endpoint)?;
        let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
        let ported =
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if host.is_empty() || !plain || !ported || self.endpoint.len() > TEXT_SIZE_BYTES_MAX {
            return Err(endpoint());
        }
        if self.peer.is_zero() || self.keys().contains(&Address::ZERO) {
            return Err(MemberError::NoKey(self.name.clone()));
        }
        if self.validator == self.administrator
            || self.validator == self.host
            || self.administrator == self.host
        {
            return Err(MemberError::SharedKey(self.name.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: "bank-a".to_owned(),
            peer: B256::repeat_byte(1),
            validator: Address::repeat_byte(2),
            administrator: Address::repeat_byte(3),
            host: Address::repeat_byte(4),
            endpoint: "node.bank-a.example:30300".to_owned(),
            is_validator: true,
        }
    }

    #[test]
    fn a_record_that_cannot_be_used_is_refused() {
        assert_eq!(member().check(), Ok(()));
        for name in ["", "-a", "Bank", "bank a", "bank/a", &"a".repeat(64)] {
            let bad = Member { name: name.to_owned(), ..member() };
            assert!(matches!(bad.check(), Err(MemberError::Name(_))), "{name}");
        }
        for endpoint in
            ["", "host", ":1", "host:", "host:0", "host:65536", "a b:1", "host:1\n", "ho\u{1b}st:1"]
        {
            let bad = Member { endpoint: endpoint.to_owned(), ..member() };
            assert_eq!(bad.check(), Err(MemberError::Endpoint(endpoint.to_owned())));
        }
        for endpoint in ["[::1]:30300", "127.0.0.1:1", "localhost:65535"] {
            assert_eq!(Member { endpoint: endpoint.to_owned(), ..member() }.check(), Ok(()));
        }
        let shared = Member { host: Address::repeat_byte(2), ..member() };
        assert_eq!(shared.check(), Err(MemberError::SharedKey("bank-a".to_owned())));
        let keyless = Member { host: Address::ZERO, ..member() };
        assert_eq!(keyless.check(), Err(MemberError::NoKey("bank-a".to_owned())));
    }
}
