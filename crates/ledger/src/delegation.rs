//! The delegation record: the receipts of a block's delegated calls, in the order in which execution consumes them,
//! and the extension that carries it beside an Ethereum header.

use crate::SignedReceipt;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{
    B256, BlockHash, Bytes, DecodeError, Height, LedgerId, TimestampMs, decode_bounded,
};

/// Version of the extension's encoding.
pub const EXTENSION_VERSION: u8 = 1;

const EXTENSION_DOMAIN: Domain = Domain("bletchley/ledger/extension/1");

/// The registry state that a block's calls were resolved against: a final block of the registry ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, RlpEncodable, RlpDecodable)]
pub struct Anchor {
    /// The registry's ledger.
    pub ledger: LedgerId,
    /// Height of the block there.
    pub height: Height,
    /// Hash of that block.
    pub block: BlockHash,
}

impl Anchor {
    /// Whether a block may name this anchor when its parent names `parent`: anchors never go back, so that no proposer can
    /// use what the registry has revoked. On a ledger without a registry all are the default.
    #[must_use]
    pub fn follows(&self, parent: &Self) -> bool {
        let onwards = self.ledger == parent.ledger && self.height > parent.height;
        self == parent || onwards || *parent == Self::default()
    }
}

/// What a block's delegated calls returned. Execution consumes the receipts first to last; none may be left over.
#[derive(Clone, Debug, PartialEq, Eq, Default, RlpEncodable, RlpDecodable)]
pub struct DelegationRecord {
    /// Registry state that the calls were resolved against.
    pub anchor: Anchor,
    /// The receipts, in order of consumption.
    pub receipts: Vec<SignedReceipt>,
}

impl DelegationRecord {
    /// Most receipts in one block.
    pub const RECEIPTS_MAX: usize = 1024;
}

/// A change of state from outside any transaction, which only a development ledger accepts (`anvil_setBalance` and
/// its kin). It is in the block so that a replay sees it, and `verify` says how many there were.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Intervention {
    /// Name of the request that caused it.
    pub method: String,
    /// Canonical diff that it applied before the block's transactions ([`crate::DiffWriter`]).
    pub diff: Bytes,
}

/// What a block carries beside its header and transactions; the header commits to its digest.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Extension {
    /// [`EXTENSION_VERSION`].
    pub version: u8,
    /// Time of the block in milliseconds; its whole seconds are the header's timestamp.
    pub time_ms: TimestampMs,
    /// Results of delegated calls.
    pub record: DelegationRecord,
    /// Development interventions; empty on every other ledger.
    pub interventions: Vec<Intervention>,
}

impl Extension {
    /// Longest encoding that is decoded.
    pub const SIZE_BYTES_MAX: usize = 32 << 20;

    /// An extension with nothing but its time.
    #[must_use]
    pub fn at(time_ms: TimestampMs) -> Self {
        Self {
            version: EXTENSION_VERSION,
            time_ms,
            record: DelegationRecord::default(),
            interventions: Vec::new(),
        }
    }

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(self).into()
    }

    /// The extension in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are too long, not canonical, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let extension: Self = decode_bounded(bytes, Self::SIZE_BYTES_MAX)?;
        if extension.version != EXTENSION_VERSION {
            return Err(DecodeError::Malformed(format!(
                "extension version {}, this node reads version {EXTENSION_VERSION}",
                extension.version
            )));
        }
        Ok(extension)
    }

    /// What a header commits to: the digest of the canonical bytes.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> B256 {
        EXTENSION_DOMAIN.digest(&[bytes])
    }
}
