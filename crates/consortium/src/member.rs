//! A member as everybody sees it.

use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_consensus::{PeerId, Validator};
use bletchley_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// Most members of a consortium, over its whole life.
pub const MEMBERS_MAX: usize = 128;
/// Longest name of a member, and longest address of its node.
pub const TEXT_SIZE_BYTES_MAX: usize = 253;

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
    #[error("{0:?} is no endpoint: write a host name or address, a colon and a port, such as node.bank-a.example:30300")]
    Endpoint(String),
    /// Two purposes share a key.
    #[error("member {0} uses one key for two purposes; each purpose needs its own")]
    SharedKey(String),
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

    /// Whether the record can be used.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn check(&self) -> Result<(), MemberError> {
        let letters = self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if self.name.is_empty() || self.name.len() > 63 || !letters || self.name.starts_with('-') {
            return Err(MemberError::Name(self.name.clone()));
        }
        let endpoint = || MemberError::Endpoint(self.endpoint.clone());
        let (host, port) = self.endpoint.rsplit_once(':').ok_or_else(endpoint)?;
        if host.is_empty() || self.endpoint.len() > TEXT_SIZE_BYTES_MAX || port.parse::<u16>().is_err() {
            return Err(endpoint());
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
