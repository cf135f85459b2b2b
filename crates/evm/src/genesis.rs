//! The genesis document of an EVM ledger: which rules hold, what exists at height 0, and the ledger's identity.

use alloy_consensus::Header;
use alloy_eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::{Encodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_ledger::{Extension, PROTOCOL_VERSION_WIDER_BLOCKS};
use bletchley_primitives::{LedgerId, TimestampMs};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{delegate::DELEGATE_ADDRESS, header};

const LEDGER_DOMAIN: Domain = Domain("bletchley/evm/genesis/1");

/// Gas limit of a block when the genesis document names none: room for some ten thousand token transfers.
pub const GAS_LIMIT_DEFAULT: u64 = 500_000_000;

/// Lowest gas limit that a genesis document may name: less would not hold one transaction of ordinary size.
pub const GAS_LIMIT_MIN: u64 = 1_000_000;

/// How many times that gas blocks may use from [`PROTOCOL_VERSION_WIDER_BLOCKS`] on.
const GAS_FACTOR_WIDER_BLOCKS: u64 = 2;

/// Code at the delegate's address: a single `INVALID`, so that `extcodesize` is not zero and compilers' checks for a
/// contract pass. It never runs, because the precompiled contract answers first.
const DELEGATE_CODE: &[u8] = &[0xfe];

/// Ethereum rule set of a ledger, by the name Ethereum gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fork {
    /// March 2024.
    Cancun,
    /// May 2025.
    Prague,
    /// December 2025, the rules of Ethereum's main network today.
    #[default]
    Osaka,
}

impl Fork {
    /// The rule set as the virtual machine names it.
    #[must_use]
    pub const fn spec(self) -> SpecId {
        match self {
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
            Self::Osaka => SpecId::OSAKA,
        }
    }

    /// The name in the genesis document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancun => "cancun",
            Self::Prague => "prague",
            Self::Osaka => "osaka",
        }
    }

    pub(crate) const fn has_history_contract(self) -> bool {
        !matches!(self, Self::Cancun)
    }
}

/// How the base fee of a block is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum BaseFee {
    /// Always zero: membership, not price, decides who may submit.
    #[default]
    Zero,
    /// EIP-1559 with Ethereum's parameters.
    Eip1559 {
        /// Base fee of the genesis block, in wei.
        initial: u64,
    },
}

/// An account that exists at height 0.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GenesisAccount {
    /// Balance in wei.
    pub balance: U256,
    /// Number of transactions it made, or contracts it created.
    pub nonce: u64,
    /// Code; empty for an account with a key.
    pub code: Bytes,
    /// Storage slots that are not zero.
    pub storage: BTreeMap<B256, B256>,
}

/// The genesis document of an EVM ledger. Its digest is the ledger's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// Chain id that transactions are signed for (EIP-155).
    pub chain_id: u64,
    /// Ethereum rule set.
    #[serde(default)]
    pub fork: Fork,
    /// How the base fee is found.
    #[serde(default)]
    pub base_fee: BaseFee,
    /// Gas limit of every block; of those of a later protocol version, see [`Genesis::gas_limit_at`].
    #[serde(default = "gas_limit_default")]
    pub gas_limit: u64,
    /// Time of the genesis block.
    pub time_ms: TimestampMs,
    /// Accounts that exist from the start.
    #[serde(default)]
    pub alloc: BTreeMap<Address, GenesisAccount>,
    /// A development ledger: state can be changed from outside, and blocks taken back. Never in production.
    #[serde(default)]
    pub dev: bool,
    /// Keep the state of every block rather than of the last ones. A choice of each node, not part of the identity.
    #[serde(default)]
    pub archive: bool,
    /// The ledger whose registry and members this one follows, for a ledger of a consortium. It does not stand in the
    /// document, because whoever reads it derives it from the rest of theirs.
    #[serde(skip)]
    pub root: Option<LedgerId>,
    /// Digest of the vote that created the ledger, for one that does not stand in the genesis document of its consortium.
    #[serde(skip)]
    pub charter: Option<B256>,
}

const fn gas_limit_default() -> u64 {
    GAS_LIMIT_DEFAULT
}

/// Why a genesis document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Chain ids start at 1.
    #[error("the genesis document's chainId is 0; wallets need a number that tells this ledger from others")]
    ChainId,
    /// The gas limit is too low.
    #[error(
        "the genesis document's gasLimit {0} is below {GAS_LIMIT_MIN}, and a block could hold next to nothing"
    )]
    GasLimit(u64),
    /// An address is taken by the system.
    #[error(
        "the genesis document allots something to {0}, which the rules of this ledger already give its content"
    )]
    Reserved(Address),
    /// Code is longer than the rules allow.
    #[error("the genesis code of {address} has {size_bytes} bytes, the rules allow {size_bytes_max}")]
    CodeSize {
        /// Account.
        address: Address,
        /// Its code's length.
        size_bytes: usize,
        /// EIP-170.
        size_bytes_max: usize,
    },
}

#[derive(RlpEncodable)]
struct SlotEntry {
    key: B256,
    value: B256,
}

#[derive(RlpEncodable)]
struct AllocEntry {
    address: Address,
    balance: U256,
    nonce: u64,
    code: Bytes,
    storage: Vec<SlotEntry>,
}

impl Genesis {
    /// A document with nothing but a chain id and a time: Osaka rules, no base fee, no accounts.
    #[must_use]
    pub fn new(chain_id: u64, time_ms: TimestampMs) -> Self {
        Self {
            chain_id,
            fork: Fork::default(),
            base_fee: BaseFee::default(),
            gas_limit: GAS_LIMIT_DEFAULT,
            time_ms,
            alloc: BTreeMap::new(),
            dev: false,
            archive: false,
            root: None,
            charter: None,
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn validate(&self) -> Result<(), GenesisError> {
        if self.chain_id == 0 {
            return Err(GenesisError::ChainId);
        }
        if self.gas_limit < GAS_LIMIT_MIN {
            return Err(GenesisError::GasLimit(self.gas_limit));
        }
        for address in self.system_accounts().keys() {
            if self.alloc.contains_key(address) {
                return Err(GenesisError::Reserved(*address));
            }
        }
        let size_bytes_max = revm::primitives::eip170::MAX_CODE_SIZE;
        for (address, account) in &self.alloc {
            if account.code.len() > size_bytes_max {
                return Err(GenesisError::CodeSize {
                    address: *address,
                    size_bytes: account.code.len(),
                    size_bytes_max,
                });
            }
        }
        Ok(())
    }

    /// Accounts that the rules themselves put at height 0: the delegate, and the block hashes of EIP-2935 where the
    /// fork has it. The contracts of EIP-4788, EIP-7002 and EIP-7251 speak to a beacon chain; there is none here, so they
    /// are absent and their calls are, as those EIPs say of absent code, without effect.
    #[must_use]
    pub fn system_accounts(&self) -> BTreeMap<Address, GenesisAccount> {
        let account = |code: &[u8]| GenesisAccount {
            nonce: 1,
            code: Bytes::copy_from_slice(code),
            ..GenesisAccount::default()
        };
        let mut accounts = BTreeMap::from([(DELEGATE_ADDRESS, account(DELEGATE_CODE))]);
        if self.fork.has_history_contract() {
            accounts.insert(HISTORY_STORAGE_ADDRESS, account(&HISTORY_STORAGE_CODE));
        }
        accounts
    }

    /// Everything that exists at height 0: what the document allots and what the rules add.
    #[must_use]
    pub fn accounts(&self) -> BTreeMap<Address, GenesisAccount> {
        let mut accounts = self.system_accounts();
        accounts.extend(self.alloc.iter().map(|(address, account)| (*address, account.clone())));
        accounts
    }

    /// The ledger's identity: a digest over every field but `archive`.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        let mut fields = Vec::new();
        self.chain_id.encode(&mut fields);
        self.fork.name().encode(&mut fields);
        match self.base_fee {
            BaseFee::Zero => "zero".encode(&mut fields),
            BaseFee::Eip1559 { initial } => {
                "eip1559".encode(&mut fields);
                initial.encode(&mut fields);
            }
        }
        self.gas_limit.encode(&mut fields);
        self.time_ms.encode(&mut fields);
        self.dev.encode(&mut fields);
        let alloc: Vec<AllocEntry> = self
            .alloc
            .iter()
            .map(|(address, account)| AllocEntry {
                address: *address,
                balance: account.balance,
                nonce: account.nonce,
                code: account.code.clone(),
                storage: account
                    .storage
                    .iter()
                    .map(|(key, value)| SlotEntry { key: *key, value: *value })
                    .collect(),
            })
            .collect();
        alloc.encode(&mut fields);
        if let Some(root) = self.root {
            root.0.encode(&mut fields);
        }
        if let Some(charter) = self.charter {
            charter.encode(&mut fields);
        }
        LedgerId(LEDGER_DOMAIN.digest(&[&fields]))
    }

    /// Most gas of a block that follows a protocol version.
    #[must_use]
    pub const fn gas_limit_at(&self, protocol_version: u32) -> u64 {
        if protocol_version >= PROTOCOL_VERSION_WIDER_BLOCKS {
            self.gas_limit.saturating_mul(GAS_FACTOR_WIDER_BLOCKS)
        } else {
            self.gas_limit
        }
    }

    /// Base fee of the genesis block.
    #[must_use]
    pub const fn base_fee_initial(&self) -> u64 {
        match self.base_fee {
            BaseFee::Zero => 0,
            BaseFee::Eip1559 { initial } => initial,
        }
    }

    /// The extension of the genesis block.
    #[must_use]
    pub fn extension(&self) -> Extension {
        Extension::at(self.time_ms)
    }

    /// The header of the genesis block, given the root of what [`Self::accounts`] lists.
    #[must_use]
    pub fn header(&self, state_root: B256) -> Header {
        header::genesis(self, state_root)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> Genesis {
        let mut genesis = Genesis::new(1337, TimestampMs(1_700_000_000_123));
        genesis.alloc.insert(
            Address::repeat_byte(1),
            GenesisAccount { balance: U256::from(7), ..GenesisAccount::default() },
        );
        genesis
    }

    #[test]
    fn identity_covers_every_rule_and_not_the_archive() {
        let base = example();
        let id = base.ledger_id();
        assert_eq!(Genesis { archive: true, ..base.clone() }.ledger_id(), id);
        let others = [
            Genesis { chain_id: 1, ..base.clone() },
            Genesis { fork: Fork::Prague, ..base.clone() },
            Genesis { base_fee: BaseFee::Eip1559 { initial: 0 }, ..base.clone() },
            Genesis { gas_limit: 1_000_000, ..base.clone() },
            Genesis { time_ms: TimestampMs(1), ..base.clone() },
            Genesis { dev: true, ..base.clone() },
            Genesis { alloc: BTreeMap::new(), ..base.clone() },
            Genesis { root: Some(LedgerId(B256::ZERO)), ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.ledger_id() != id));
    }

    #[test]
    fn json_round_trips_and_refuses_unknown_keys() {
        let genesis = example();
        let text = serde_json::to_string(&genesis).unwrap();
        assert_eq!(serde_json::from_str::<Genesis>(&text).unwrap(), genesis);
        let short: Genesis = serde_json::from_str(r#"{"chainId":5,"timeMs":9}"#).unwrap();
        assert_eq!(short, Genesis::new(5, TimestampMs(9)));
        assert!(serde_json::from_str::<Genesis>(r#"{"chainId":5,"timeMs":9,"gasLimmit":1}"#).is_err());
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert_eq!(Genesis { chain_id: 0, ..example() }.validate(), Err(GenesisError::ChainId));
        assert_eq!(Genesis { gas_limit: 1, ..example() }.validate(), Err(GenesisError::GasLimit(1)));
        let mut taken = example();
        taken.alloc.insert(DELEGATE_ADDRESS, GenesisAccount::default());
        assert_eq!(taken.validate(), Err(GenesisError::Reserved(DELEGATE_ADDRESS)));
        assert_eq!(example().validate(), Ok(()));
    }
}
