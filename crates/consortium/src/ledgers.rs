//! The ledgers of a consortium, as its members agreed on them.

use crate::member::check_name;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_primitives::Height;
use serde::{Deserialize, Serialize};

/// Most ledgers of a consortium, over its whole life.
pub const LEDGERS_MAX: usize = 64;
/// Engines that a ledger can name.
pub const ENGINES: [&str; 3] = [ENGINE_SOLO, "simplex", "tendermint"];
/// The engine of a ledger with one validator, and of no other.
pub const ENGINE_SOLO: &str = "solo";

/// Fewest and most blocks of an epoch.
pub const EPOCH_BLOCKS: (u64, u64) = (2, 1_000_000);
/// Least and most time between blocks that have something to hold, in milliseconds. A development ledger may have 0: a
/// block as soon as there is a transaction.
pub const BLOCK_MS: (u64, u64) = (1, 60_000);
/// Longest silence of an idle ledger that can be asked for, in milliseconds; 0 is for any.
pub const HEARTBEAT_MS_MAX: u64 = 86_400_000;
/// Shortest and longest silence of a ledger whose members agree, in milliseconds: others wait for a silent leader a little
/// longer than this.
pub const AGREED_HEARTBEAT_MS: (u64, u64) = (100, 30_000);

/// What a ledger runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerKind {
    /// Smart contracts.
    Evm,
    /// Tokens.
    Utxo,
}

impl LedgerKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evm => "evm",
            Self::Utxo => "utxo",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Evm => 1,
            Self::Utxo => 2,
        }
    }
}

impl Encodable for LedgerKind {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.number().encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl Decodable for LedgerKind {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match u8::decode(buf)? {
            1 => Ok(Self::Evm),
            2 => Ok(Self::Utxo),
            _ => Err(alloy_rlp::Error::Custom("unknown kind of ledger")),
        }
    }
}

/// A ledger that the members want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LedgerSpec {
    /// Name, unique in the consortium: lower-case letters, digits and hyphens.
    pub name: String,
    /// What it runs.
    pub kind: LedgerKind,
    /// Who orders its blocks: one of [`ENGINES`].
    pub engine: String,
    /// Chain id of an EVM ledger, unique in the consortium; 0 for others.
    pub chain_id: u64,
    /// Blocks for which a validator set stands at least.
    pub epoch_blocks: u64,
    /// Least time between blocks that have something to hold, in milliseconds.
    pub block_ms: u64,
    /// Longest silence of an idle ledger, in milliseconds; 0 for any.
    pub heartbeat_ms: u64,
    /// Names of the members that share it, ascending; empty when all do, those who join later too.
    pub members: Vec<String>,
}

/// A ledger that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRecord {
    /// What was agreed.
    pub spec: LedgerSpec,
    /// Root-ledger block that created it; 0 for those of the genesis document.
    pub created_at: Height,
}

/// Why a ledger cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The name is not one.
    #[error("{0:?} is no name for a ledger: use 1 to 63 lower-case letters, digits and hyphens")]
    Name(String),
    /// No such engine.
    #[error("there is no engine {0:?}; there are solo, simplex and tendermint")]
    Engine(String),
    /// An EVM ledger without a chain id, or another ledger with one.
    #[error("ledger {0}: an EVM ledger has a chain id above 0, any other ledger has none")]
    ChainId(String),
    /// A number is out of bounds.
    #[error("{what} of ledger {ledger} can be {least} to {most}, not {value}")]
    Bounds {
        /// The ledger.
        ledger: String,
        /// Which number.
        what: &'static str,
        /// What was given.
        value: u64,
        /// Least.
        least: u64,
        /// Most.
        most: u64,
    },
    /// Blocks would come more rarely than the ledger may be silent.
    #[error(
        "ledger {ledger}: blockMs ({block_ms}) must not exceed heartbeatMs ({heartbeat_ms}); change both in one proposal"
    )]
    Order {
        /// The ledger.
        ledger: String,
        /// Time between blocks.
        block_ms: u64,
        /// Longest silence.
        heartbeat_ms: u64,
    },
    /// The members' names are not ascending.
    #[error("ledger {0} must name its members in ascending order, each once")]
    MemberOrder(String),
}

impl LedgerSpec {
    /// Whether a member with this name shares the ledger.
    #[must_use]
    pub fn is_shared_with(&self, name: &str) -> bool {
        self.members.is_empty() || self.members.iter().any(|member| member == name)
    }

    /// Whether only some members share it.
    #[must_use]
    pub const fn is_subset(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether what it says can be used, whoever the members are.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn check(&self) -> Result<(), LedgerError> {
        if !check_name(&self.name) {
            return Err(LedgerError::Name(self.name.chars().take(64).collect()));
        }
        if !ENGINES.contains(&self.engine.as_str()) {
            return Err(LedgerError::Engine(self.engine.chars().take(64).collect()));
        }
        if (self.kind == LedgerKind::Evm) != (self.chain_id > 0) {
            return Err(LedgerError::ChainId(self.name.clone()));
        }
        self.within("epochBlocks", self.epoch_blocks, EPOCH_BLOCKS)?;
        self.check_pace()?;
        if !self.members.is_sorted_by(|a, b| a < b) {
            return Err(LedgerError::MemberOrder(self.name.clone()));
        }
        Ok(())
    }

    fn within(&self, what: &'static str, value: u64, (least, most): (u64, u64)) -> Result<(), LedgerError> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(LedgerError::Bounds { ledger: self.name.clone(), what, value, least, most })
    }

    /// Whether its pace is within bounds; 0 between blocks is left to genesis documents.
    pub(crate) fn check_pace(&self) -> Result<(), LedgerError> {
        self.within("blockMs", self.block_ms, (0, BLOCK_MS.1))?;
        self.within("heartbeatMs", self.heartbeat_ms, (0, HEARTBEAT_MS_MAX))?;
        let (block_ms, heartbeat_ms) = (self.block_ms, self.heartbeat_ms);
        if heartbeat_ms > 0 && block_ms > heartbeat_ms {
            return Err(LedgerError::Order { ledger: self.name.clone(), block_ms, heartbeat_ms });
        }
        Ok(())
    }

    /// Whether one validator decides alone.
    #[must_use]
    pub fn is_solo(&self) -> bool {
        self.engine == ENGINE_SOLO
    }

    /// Whether the silence that a vote asks for suits the engine.
    pub(crate) fn check_heartbeat(&self) -> Result<(), LedgerError> {
        if self.is_solo() {
            return Ok(());
        }
        self.within("heartbeatMs", self.heartbeat_ms, AGREED_HEARTBEAT_MS)
    }

    /// As [`Self::check`], for a ledger that is voted on.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn check_voted(&self) -> Result<(), LedgerError> {
        self.check()?;
        self.check_heartbeat()?;
        self.within("blockMs", self.block_ms, BLOCK_MS)
    }
}
