//! Identifiers, and the domain of every digest that this crate makes.

use alloy_rlp::{RlpDecodable, RlpDecodableWrapper, RlpEncodable, RlpEncodableWrapper};
use bletchley_crypto::Domain;
use bletchley_primitives::{Address, B256, TxId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transaction's id, and what its signatures sign: `(ledger, body)`.
pub(crate) const TRANSACTION: Domain = Domain("bletchley/token/transaction/1");
/// A leaf of a block's transactions root: `(transaction id, witness)`.
pub(crate) const WITNESSED: Domain = Domain("bletchley/token/witnessed/1");
/// Id of a token with an identity: `(issuer, identity)`.
pub(crate) const IDENTITY: Domain = Domain("bletchley/token/identity/1");
/// Digest of a thing's properties: `(properties)`.
pub(crate) const PROPERTIES: Domain = Domain("bletchley/token/properties/1");
/// Id of a composite: `(issuer, properties digest, revision, parts root)`.
pub(crate) const COMPOSITE: Domain = Domain("bletchley/token/composite/1");
/// Id of an asset: `(issuer, peg, decimals)`.
pub(crate) const ASSET: Domain = Domain("bletchley/token/asset/1");
/// Id of a registry entry: `(namespace, name)`.
pub(crate) const ENTRY: Domain = Domain("bletchley/token/entry/1");
/// Data digest of a registry entry's output: `(namespace, name, version, payload)`.
pub(crate) const ENTRY_DATA: Domain = Domain("bletchley/token/entry-data/1");
/// Owner that several keys or conditions share: `(lock)`.
pub(crate) const LOCK: Domain = Domain("bletchley/token/lock/1");
/// Seed of the key that an identity proof derives: `(Argon2id output)`.
pub(crate) const PROOF_KEY: Domain = Domain("bletchley/token/proof-key/1");
/// An output where it was made: `(transaction id, position, output)`.
pub(crate) const OUTPUT: Domain = Domain("bletchley/token/output/1");
/// Leaf of the output tree: `(output digest, spender or nothing)`.
pub(crate) const LEAF: Domain = Domain("bletchley/token/leaf/1");
/// State commitment: `(number of outputs, root of the output tree)`.
pub(crate) const STATE: Domain = Domain("bletchley/token/state/1");
/// Header hash: `(header)`.
pub(crate) const HEADER: Domain = Domain("bletchley/token/header/1");
/// Digest of a block's receipts: `(receipts)`.
pub(crate) const RECEIPTS: Domain = Domain("bletchley/token/receipts/1");

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
            RlpEncodableWrapper, RlpDecodableWrapper,
        )]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

digest_id!(
    /// One-way digest that names a unique token: a thing, a person, an organisation, a composite, a registry entry, or
    /// the right to issue an asset. Never given twice.
    TokenId
);
digest_id!(
    /// Names a fungible asset: its issuer, peg and decimals.
    AssetId
);
digest_id!(
    /// Whom an output belongs to: an address (left-padded to 32 bytes), or the digest of a lock that several share.
    Owner
);

impl AssetId {
    /// The asset that `issuer` pegs to `peg` with this many decimals.
    #[must_use]
    pub fn of(issuer: Address, peg: &str, decimals: u8) -> Self {
        Self(ASSET.digest(&[issuer.as_slice(), peg.as_bytes(), &[decimals]]))
    }

    /// The token that stands for the right to issue and redeem this asset.
    #[must_use]
    pub const fn control(self) -> TokenId {
        TokenId(self.0)
    }
}

impl TokenId {
    /// The registry entry of this name.
    #[must_use]
    pub fn of_entry(namespace: &str, name: &str) -> Self {
        Self(ENTRY.digest(&[namespace.as_bytes(), name.as_bytes()]))
    }
}

impl From<Address> for Owner {
    fn from(address: Address) -> Self {
        Self(address.into_word())
    }
}

/// An output, by the transaction that made it and its position there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, RlpEncodable, RlpDecodable,
)]
pub struct OutputRef {
    /// The transaction.
    pub tx: TxId,
    /// Position among its outputs.
    pub position: u32,
}

impl OutputRef {
    /// The output at `position` of `tx`.
    #[must_use]
    pub const fn new(tx: TxId, position: u32) -> Self {
        Self { tx, position }
    }
}

impl fmt::Display for OutputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tx, self.position)
    }
}

/// Why text is not an output's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an output is written as <transaction id>:<position>, this is {0:?}")]
pub struct OutputRefError(pub String);

impl std::str::FromStr for OutputRef {
    type Err = OutputRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || OutputRefError(text.chars().take(80).collect());
        let (tx, position) = text.split_once(':').ok_or_else(refused)?;
        Ok(Self {
            tx: TxId(tx.parse().map_err(|_| refused())?),
            position: position.parse().map_err(|_| refused())?,
        })
    }
}
