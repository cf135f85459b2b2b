//! The maps that execution reads. Keys come from outside, so their hashers are seeded; nothing depends on their order.

use super::{
    Account,
    changes::{AccountChange, BlockChanges, ContractChange, SlotChange},
    history::Record,
};
use alloy_primitives::map::{AddressMap, B256Map, U256Map};
use bletchley_primitives::{Address, B256, U256};
use revm::primitives::KECCAK_EMPTY;
use revm::state::{AccountInfo, Bytecode};

/// Index into the code table; 0 is empty code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct CodeId(u32);

/// An account with its code by index: a third smaller than with its hash, and its code is one step away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlatAccount {
    pub(super) balance: U256,
    pub(super) nonce: u64,
    pub(super) code: CodeId,
}

/// Contract code, each once.
pub(super) struct Codes {
    table: Vec<(B256, Bytecode)>,
    by_hash: B256Map<CodeId>,
}

impl Default for Codes {
    fn default() -> Self {
        Self { table: vec![(KECCAK_EMPTY, Bytecode::default())], by_hash: B256Map::default() }
    }
}

impl Codes {
    pub(super) fn contains(&self, hash: &B256) -> bool {
        *hash == KECCAK_EMPTY || self.by_hash.contains_key(hash)
    }

    pub(super) fn get(&self, hash: &B256) -> Option<&Bytecode> {
        if *hash == KECCAK_EMPTY {
            return self.table.first().map(|(_, code)| code);
        }
        self.by_hash.get(hash).and_then(|id| self.table.get(id.0 as usize)).map(|(_, code)| code)
    }

    fn entry(&self, id: CodeId) -> (B256, Bytecode) {
        self.table.get(id.0 as usize).cloned().unwrap_or_else(|| (KECCAK_EMPTY, Bytecode::default()))
    }

    fn hash(&self, id: CodeId) -> B256 {
        self.table.get(id.0 as usize).map_or(KECCAK_EMPTY, |(hash, _)| *hash)
    }

    fn id(&self, hash: &B256) -> CodeId {
        self.by_hash.get(hash).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, hash: B256, code: Bytecode) -> CodeId {
        if hash == KECCAK_EMPTY {
            return CodeId::default();
        }
        let next = CodeId(self.table.len() as u32);
        let id = *self.by_hash.entry(hash).or_insert(next);
        match self.table.get_mut(id.0 as usize) {
            Some(entry) => entry.1 = code,
            None => self.table.push((hash, code)),
        }
        id
    }

    /// The hash of code that accounts name and that was never added.
    pub(super) fn missing(&self) -> Option<B256> {
        self.table.iter().skip(1).find(|(_, code)| code.is_empty()).map(|(hash, _)| *hash)
    }

    /// Forgets code that a rewound block brought; its place stays empty, so that no index ever names other code.
    fn remove(&mut self, hash: &B256) {
        if let Some(id) = self.by_hash.remove(hash)
            && let Some(entry) = self.table.get_mut(id.0 as usize)
        {
            entry.1 = Bytecode::default();
        }
    }
}

/// Accounts, storage and code of the head.
#[derive(Default)]
pub(super) struct Flat {
    pub(super) accounts: AddressMap<FlatAccount>,
    pub(super) storage: AddressMap<U256Map<U256>>,
    pub(super) codes: Codes,
}

impl Flat {
    pub(super) fn account(&self, address: &Address) -> Option<Account> {
        self.accounts.get(address).map(|account| self.expand(account))
    }

    pub(super) fn expand(&self, account: &FlatAccount) -> Account {
        Account { nonce: account.nonce, balance: account.balance, code_hash: self.codes.hash(account.code) }
    }

    pub(super) fn info(&self, account: &FlatAccount) -> AccountInfo {
        let (code_hash, code) = self.codes.entry(account.code);
        AccountInfo::new(account.balance, account.nonce, code_hash, code)
    }

    #[inline]
    pub(super) fn slot(&self, address: &Address, slot: &U256) -> U256 {
        self.storage.get(address).and_then(|slots| slots.get(slot)).copied().unwrap_or_default()
    }

    /// Sets an account whose code is already known, or will be added under its hash later.
    pub(super) fn compact(&mut self, account: &Account) -> FlatAccount {
        let code = if account.code_hash == KECCAK_EMPTY {
            CodeId::default()
        } else if self.codes.contains(&account.code_hash) {
            self.codes.id(&account.code_hash)
        } else {
            self.codes.add(account.code_hash, Bytecode::default())
        };
        FlatAccount { balance: account.balance, nonce: account.nonce, code }
    }

    /// Applies a block's changes; what is returned takes them back.
    pub(super) fn apply(&mut self, changes: BlockChanges) -> Record {
        let codes = changes.codes.iter().map(|(hash, _)| *hash).collect();
        for (hash, code) in changes.codes {
            self.codes.add(hash, code);
        }
        // Records are kept for many blocks: new vectors of the right size, not the larger ones of the changes.
        let mut accounts = Vec::with_capacity(changes.accounts.len());
        for AccountChange { address, new } in changes.accounts {
            let old = match new {
                Some(account) => {
                    let account = self.compact(&account);
                    self.accounts.insert(address, account)
                }
                None => self.accounts.remove(&address),
            };
            accounts.push((address, old));
        }
        let mut contracts = Vec::with_capacity(changes.contracts.len());
        for ContractChange { address, slots } in changes.contracts {
            let stored = self.storage.entry(address).or_default();
            let mut replaced = Vec::with_capacity(slots.len());
            for SlotChange { slot, old, new } in slots {
                if new.is_zero() {
                    stored.remove(&slot);
                } else {
                    stored.insert(slot, new);
                }
                replaced.push((slot, old));
            }
            if stored.is_empty() {
                self.storage.remove(&address);
            }
            contracts.push((address, replaced));
        }
        Record { accounts, contracts, codes }
    }

    /// Takes a block back; what is returned are the changes that this made, for the tries.
    pub(super) fn undo(&mut self, record: &Record) -> BlockChanges {
        let changes = self.changes_to(record);
        let forward = BlockChanges {
            accounts: changes.accounts.clone(),
            contracts: changes.contracts.clone(),
            codes: Vec::new(),
        };
        self.apply(forward);
        for hash in &record.codes {
            self.codes.remove(hash);
        }
        changes
    }

    /// The changes from the head to the values of `record`.
    pub(super) fn changes_to(&self, record: &Record) -> BlockChanges {
        let accounts = record
            .accounts
            .iter()
            .map(|(address, old)| AccountChange {
                address: *address,
                new: old.map(|account| self.expand(&account)),
            })
            .collect();
        let contracts = record
            .contracts
            .iter()
            .map(|(address, slots)| ContractChange {
                address: *address,
                slots: slots
                    .iter()
                    .map(|(slot, old)| SlotChange { slot: *slot, old: self.slot(address, slot), new: *old })
                    .collect(),
            })
            .collect();
        BlockChanges { accounts, contracts, codes: Vec::new() }
    }
}
