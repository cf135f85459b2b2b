//! What an output carries, and what a transaction does beside moving outputs.

use crate::codec::{OptionalHash, decimal, tagged_rlp};
use crate::identity::{Identity, is_plain};
use crate::ids::ENTRY_DATA;
use crate::limits::{
    CLAIMS_MAX, DECIMALS_MAX, LABEL_SIZE_BYTES_MAX, NAME_SIZE_BYTES_MAX, NAMESPACE_SIZE_BYTES_MAX, PARTS_MAX,
    PAYLOAD_SIZE_BYTES_MAX, PEG_SIZE_BYTES_MAX, VERSION_SIZE_BYTES_MAX,
};
use crate::{AssetId, Lock, TokenId};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{Address, B256, Bytes, LedgerId, TxId, U256};
use serde::Serialize;

/// What an output carries. All but amounts are unique: at most one unspent output carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Value {
    /// A unique token: a thing, a person, an organisation, an anonymous token or a composite.
    Token {
        /// Its id.
        token: TokenId,
    },
    /// An amount of a fungible asset.
    Amount {
        /// The asset.
        asset: AssetId,
        /// How much, in the asset's smallest unit; never zero.
        #[serde(serialize_with = "decimal")]
        amount: u128,
    },
    /// The right to issue and redeem an asset.
    Control {
        /// The asset.
        asset: AssetId,
    },
    /// The right to change a registry entry.
    Entry {
        /// The entry's id.
        entry: TokenId,
    },
}

tagged_rlp!(Value {
    1 => Token { token },
    2 => Amount { asset, amount },
    3 => Control { asset },
    4 => Entry { entry },
});

impl Value {
    /// The id under which the ledger keeps the story of this value; none for amounts.
    #[must_use]
    pub const fn unique(&self) -> Option<TokenId> {
        match self {
            Self::Token { token } => Some(*token),
            Self::Amount { .. } => None,
            Self::Control { asset } => Some(asset.control()),
            Self::Entry { entry } => Some(*entry),
        }
    }
}

/// Something of value, who may spend it, and a digest of data that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Output {
    /// What it carries.
    pub value: Value,
    /// Who may spend it.
    pub lock: Lock,
    /// Digest of data kept elsewhere, if any.
    pub data: OptionalHash,
}

impl Output {
    /// An output without data.
    #[must_use]
    pub const fn new(value: Value, lock: Lock) -> Self {
        Self { value, lock, data: OptionalHash(None) }
    }
}

/// A token that is issued: its identity, and a public label for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Claim {
    /// What it stands for.
    pub identity: Identity,
    /// What people call it; says nothing that is checked.
    pub label: String,
}

/// Where else a token is recorded: an item of a contract on some ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct ContractPlace {
    /// One of our ledgers, or zero.
    pub ledger: LedgerId,
    /// The chain id, as EVM ledgers have it.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// What the contract calls it.
    pub item: U256,
    /// The transaction there, or zero.
    pub transaction: TxId,
}

/// A note about a token, by its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Note {
    /// Digest of a document.
    Digest {
        /// The digest.
        digest: B256,
    },
    /// The token is recorded in a contract.
    Contract {
        /// Where.
        place: ContractPlace,
    },
}

tagged_rlp!(Note {
    1 => Digest { digest },
    2 => Contract { place },
});

/// A registry entry, as one revision of it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Entry {
    /// Which registry.
    pub namespace: String,
    /// Name there.
    pub name: String,
    /// Version, as the registry's users count.
    pub version: String,
    /// What it says, in the registry's own format.
    pub payload: Bytes,
}

impl Entry {
    /// The entry's id, which depends on namespace and name alone.
    #[must_use]
    pub fn id(&self) -> TokenId {
        TokenId::of_entry(&self.namespace, &self.name)
    }

    /// Digest that the entry's unspent output carries, so that an output proof shows what the entry says now.
    #[must_use]
    pub fn data_digest(&self) -> B256 {
        ENTRY_DATA.digest(&[
            self.namespace.as_bytes(),
            self.name.as_bytes(),
            self.version.as_bytes(),
            &self.payload,
        ])
    }

    /// Whether all parts are within their bounds, and names use `A-Z a-z 0-9 . _ : / @ + -` alone.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let named = |text: &str, size_bytes_max: usize| {
            (1..=size_bytes_max).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b))
        };
        named(&self.namespace, NAMESPACE_SIZE_BYTES_MAX)
            && named(&self.name, NAME_SIZE_BYTES_MAX)
            && named(&self.version, VERSION_SIZE_BYTES_MAX)
            && self.payload.len() <= PAYLOAD_SIZE_BYTES_MAX
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Moves outputs; everything in comes out again.
    Transfer {},
    /// Makes unique tokens. The issuer signs: provenance.
    Issue {
        /// Who vouches for them.
        issuer: Address,
        /// The tokens; each is in exactly one output.
        claims: Vec<Claim>,
    },
    /// Defines a fungible asset; one output carries its control.
    DefineAsset {
        /// Who issues it, and signs.
        issuer: Address,
        /// What it is pegged to: `EUR`, `gold, 1 g`.
        peg: String,
        /// Decimals of its smallest unit.
        decimals: u8,
    },
    /// Issues an amount; the control is among the inputs and the outputs.
    IssueAmount {
        /// The asset.
        asset: AssetId,
        /// How much more comes out than went in.
        #[serde(serialize_with = "decimal")]
        amount: u128,
    },
    /// Takes an amount out of circulation; the control is among the inputs and the outputs.
    Redeem {
        /// The asset.
        asset: AssetId,
        /// How much less comes out than went in.
        #[serde(serialize_with = "decimal")]
        amount: u128,
    },
    /// Builds tokens into one whole.
    Compose {
        /// Who assembles it, and signs.
        issuer: Address,
        /// Digest of the whole's own class and serial number.
        properties: B256,
        /// How often it was assembled before.
        revision: u32,
        /// What people call it.
        label: String,
        /// The parts, ascending; all are among the inputs.
        parts: Vec<TokenId>,
    },
    /// Takes a whole apart; its parts come out again.
    Decompose {
        /// The whole; it is among the inputs.
        composite: TokenId,
        /// Its parts, ascending, just as its id commits to them.
        parts: Vec<TokenId>,
    },
    /// Ends tokens for good.
    Retire {
        /// The tokens, ascending; all are among the inputs.
        tokens: Vec<TokenId>,
    },
    /// Attaches a note to a token.
    Record {
        /// The token; it is among the inputs and the outputs.
        token: TokenId,
        /// The note.
        note: Note,
    },
    /// Makes a registry entry, or its next revision.
    Register {
        /// Who publishes it, and signs.
        issuer: Address,
        /// What it says.
        entry: Entry,
    },
}

tagged_rlp!(Action {
    0 => Transfer {},
    1 => Issue { issuer, claims },
    2 => DefineAsset { issuer, peg, decimals },
    3 => IssueAmount { asset, amount },
    4 => Redeem { asset, amount },
    5 => Compose { issuer, properties, revision, label, parts },
    6 => Decompose { composite, parts },
    7 => Retire { tokens },
    8 => Record { token, note },
    9 => Register { issuer, entry },
});

impl Action {
    /// Its name, as reports and errors call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Transfer {} => "transfer",
            Self::Issue { .. } => "issue",
            Self::DefineAsset { .. } => "define asset",
            Self::IssueAmount { .. } => "issue amount",
            Self::Redeem { .. } => "redeem",
            Self::Compose { .. } => "compose",
            Self::Decompose { .. } => "decompose",
            Self::Retire { .. } => "retire",
            Self::Record { .. } => "record",
            Self::Register { .. } => "register",
        }
    }

    /// The first rule of form that this action breaks.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let label_ok = |label: &str| label.len() <= LABEL_SIZE_BYTES_MAX && is_plain(label);
        let ascending = |tokens: &[TokenId]| tokens.is_sorted_by(|a, b| a < b);
        let (ok, rule) = match self {
            Self::Transfer {} | Self::Record { .. } => (true, ""),
            Self::Issue { claims, .. } => (
                (1..=CLAIMS_MAX).contains(&claims.len())
                    && claims.iter().all(|claim| label_ok(&claim.label) && claim.identity.is_well_formed()),
                "an issue has 1 to 512 claims, each with a well-formed identity and a plain label of at most 64 bytes",
            ),
            Self::DefineAsset { peg, decimals, .. } => (
                (1..=PEG_SIZE_BYTES_MAX).contains(&peg.len()) && is_plain(peg) && *decimals <= DECIMALS_MAX,
                "a peg is plain text of 1 to 32 bytes, with at most 36 decimals",
            ),
            Self::IssueAmount { amount, .. } | Self::Redeem { amount, .. } => {
                (*amount > 0, "an amount is not zero")
            }
            Self::Compose { label, parts, .. } => (
                label_ok(label) && (1..=PARTS_MAX).contains(&parts.len()) && ascending(parts),
                "a composite has 1 to 512 parts, ascending, and a plain label of at most 64 bytes",
            ),
            Self::Decompose { parts, .. } => (
                (1..=PARTS_MAX).contains(&parts.len()) && ascending(parts),
                "a composite has 1 to 512 parts, ascending",
            ),
            Self::Retire { tokens } => (
                (1..=PARTS_MAX).contains(&tokens.len()) && ascending(tokens),
                "retired tokens are 1 to 512, ascending",
            ),
            Self::Register { entry, .. } => (
                entry.is_well_formed(),
                "an entry has namespace, name and version of A-Z a-z 0-9 . _ : / @ + - and at most 32, 128 and 64 bytes, and a payload of at most 64 KiB",
            ),
        };
        (!ok).then_some(rule)
    }
}

impl Identity {
    pub(crate) fn is_well_formed(&self) -> bool {
        match self {
            Self::Thing { .. } | Self::Anonymous {} => true,
            Self::Person { hard } | Self::Organisation { hard } => hard.is_well_formed(),
        }
    }
}
