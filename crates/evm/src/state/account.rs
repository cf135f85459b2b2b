//! Accounts, and their bytes in diffs and snapshots.

use alloy_rlp::{Decodable, Encodable, Header};
use bletchley_primitives::{Address, B256, Bytes, U256};
use revm::primitives::KECCAK_EMPTY;
use std::collections::BTreeMap;

/// An account; its storage is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Number of transactions sent, or of contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Hash of the code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY }
    }
}

impl Account {
    /// Whether the account is as good as absent (EIP-161).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// RLP of nonce, balance and, for contracts, code hash.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        let has_code = self.code_hash != KECCAK_EMPTY;
        let payload_length =
            self.nonce.length() + self.balance.length() + if has_code { self.code_hash.length() } else { 0 };
        Header { list: true, payload_length }.encode(&mut out);
        self.nonce.encode(&mut out);
        self.balance.encode(&mut out);
        if has_code {
            self.code_hash.encode(&mut out);
        }
        out
    }

    /// The account in `bytes`, which must be canonical and not empty in the sense of EIP-161.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let payload = &mut Header::decode_bytes(&mut bytes, true).ok()?;
        let nonce = u64::decode(payload).ok()?;
        let balance = U256::decode(payload).ok()?;
        let code_hash = if payload.is_empty() {
            KECCAK_EMPTY
        } else {
            B256::decode(payload).ok().filter(|hash| *hash != KECCAK_EMPTY)?
        };
        let account = Self { nonce, balance, code_hash };
        (bytes.is_empty() && payload.is_empty() && !account.is_empty()).then_some(account)
    }
}

/// An account as a genesis document gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocAccount {
    /// Number of transactions sent, or of contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Code; empty for an account that a key controls.
    pub code: Bytes,
    /// Storage; zeros are left out.
    pub storage: BTreeMap<U256, U256>,
}

const ACCOUNT: u8 = 0x01;
const SLOT: u8 = 0x02;
const CODE: u8 = 0x03;

/// What a key of a diff or a snapshot names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKey {
    Account(Address),
    Slot(Address, U256),
    Code(B256),
}

impl EntryKey {
    pub(super) fn account(address: &Address) -> [u8; 21] {
        let mut key = [ACCOUNT; 21];
        key[1..].copy_from_slice(address.as_slice());
        key
    }

    pub(super) fn slot(address: &Address, slot: &U256) -> [u8; 53] {
        let mut key = [SLOT; 53];
        key[1..21].copy_from_slice(address.as_slice());
        key[21..].copy_from_slice(&slot.to_be_bytes::<32>());
        key
    }

    pub(super) fn code(hash: &B256) -> [u8; 33] {
        let mut key = [CODE; 33];
        key[1..].copy_from_slice(hash.as_slice());
        key
    }

    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        match (*kind, rest.len()) {
            (ACCOUNT, 20) => Some(Self::Account(Address::from_slice(rest))),
            (SLOT, 52) => {
                let (address, slot) = rest.split_at(20);
                Some(Self::Slot(Address::from_slice(address), U256::from_be_slice(slot)))
            }
            (CODE, 32) => Some(Self::Code(B256::from_slice(rest))),
            _ => None,
        }
    }
}

/// A slot's value as it stands in diffs: big-endian without leading zeros; zero is a deletion.
pub(super) fn decode_slot_value(bytes: &[u8]) -> Option<U256> {
    let minimal = bytes.first().is_some_and(|first| *first != 0) && bytes.len() <= 32;
    minimal.then(|| U256::from_be_slice(bytes))
}
