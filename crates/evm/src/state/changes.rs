//! What one block changes, with old and new values, out of what execution leaves behind.

use super::{Account, StageError, account::EntryKey, flat::Flat, overrides::Overrides};
use bletchley_ledger::DiffWriter;
use bletchley_primitives::{Address, B256, Bytes, U256};
use revm::primitives::KECCAK_EMPTY;
use revm::state::{Account as EvmAccount, AccountStatus, Bytecode, EvmState};
use std::collections::{BTreeMap, BTreeSet};

/// One account afterwards.
#[derive(Clone, Debug)]
pub(super) struct AccountChange {
    pub(super) address: Address,
    pub(super) new: Option<Account>,
}

/// One slot before and after; zero is absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotChange {
    pub(super) slot: U256,
    pub(super) old: U256,
    pub(super) new: U256,
}

/// The slots of one contract that changed.
#[derive(Clone, Debug)]
pub(super) struct ContractChange {
    pub(super) address: Address,
    pub(super) slots: Vec<SlotChange>,
}

/// Everything that a block changes: nothing that stays as it was, in ascending order of addresses, slots and hashes.
#[derive(Debug, Default)]
pub(super) struct BlockChanges {
    pub(super) accounts: Vec<AccountChange>,
    pub(super) contracts: Vec<ContractChange>,
    /// Code that the state did not hold.
    pub(super) codes: Vec<(B256, Bytecode)>,
}

impl BlockChanges {
    /// The difference between the head and what a block's execution on `overrides` left in the journal.
    ///
    /// The journal spans the whole block, so that its own notion of "original" (re-set at each transaction that warms a
    /// slot or an account) says nothing: the head is compared with the values at the end.
    pub(super) fn of_block(
        flat: &Flat,
        overrides: Option<&Overrides>,
        journal: EvmState,
    ) -> Result<Self, StageError> {
        let mut collected = Collector { flat, overrides, changes: Self::default(), codes: BTreeMap::new() };
        collected.changes.accounts.reserve(journal.len());
        if let Some(overrides) = overrides {
            collected.untouched_overrides(overrides, &journal)?;
        }
        for (address, account) in journal {
            if account.is_touched() {
                collected.journaled(address, account)?;
            }
        }
        Ok(collected.finish())
    }

    /// The canonical diff.
    pub(super) fn diff(&self) -> Bytes {
        let mut writer = DiffWriter::default();
        for change in &self.accounts {
            let key = EntryKey::account(&change.address);
            match &change.new {
                Some(account) => writer.put(&key, &account.encode()),
                None => writer.delete(&key),
            }
        }
        for contract in &self.contracts {
            for change in &contract.slots {
                let key = EntryKey::slot(&contract.address, &change.slot);
                if change.new.is_zero() {
                    writer.delete(&key);
                } else {
                    writer.put(&key, &change.new.to_be_bytes_trimmed_vec());
                }
            }
        }
        for (hash, code) in &self.codes {
            writer.put(&EntryKey::code(hash), code.original_byte_slice());
        }
        writer.finish()
    }

    /// How many values change.
    pub(super) fn len(&self) -> usize {
        self.accounts.len() + self.contracts.iter().map(|contract| contract.slots.len()).sum::<usize>()
    }
}

struct Collector<'a> {
    flat: &'a Flat,
    overrides: Option<&'a Overrides>,
    changes: BlockChanges,
    codes: BTreeMap<B256, Bytecode>,
}

impl Collector<'_> {
    fn journaled(&mut self, address: Address, account: EvmAccount) -> Result<(), StageError> {
        // The local flag is lifted when a later transaction loads the account again, so it says whether the account was
        // destroyed by the last transaction that knew it; the flag without "local" only says that it was once.
        let destroyed = account.status.contains(AccountStatus::SelfDestructedLocal);
        let gone = destroyed || account.info.is_empty();
        let is_fresh = gone || account.is_selfdestructed() || account.is_created();
        let new = (!gone).then(|| Account {
            nonce: account.info.nonce,
            balance: account.info.balance,
            code_hash: if account.info.code_hash.is_zero() { KECCAK_EMPTY } else { account.info.code_hash },
        });
        if let Some(Account { code_hash, .. }) = new {
            self.code(code_hash, account.info.code.as_ref())?;
        }
        self.account(address, new);

        let stored = self.flat.storage.get(&address);
        let mut slots: Vec<SlotChange> = Vec::new();
        for (slot, value) in &account.storage {
            let old = stored.and_then(|stored| stored.get(slot)).copied().unwrap_or_default();
            let new = if gone { U256::ZERO } else { value.present_value };
            if old != new {
                slots.push(SlotChange { slot: *slot, old, new });
            }
        }
        if is_fresh {
            let others =
                stored.into_iter().flatten().filter(|(slot, _)| !account.storage.contains_key(*slot));
            slots.extend(others.map(|(slot, old)| SlotChange { slot: *slot, old: *old, new: U256::ZERO }));
        } else if let Some(overrides) = self.overrides {
            let others = overrides.slots_of(&address).filter(|(slot, _)| !account.storage.contains_key(slot));
            slots.extend(
                others.filter_map(|(slot, new)| slot_change(stored.and_then(|s| s.get(&slot)), slot, new)),
            );
        }
        self.contract(address, slots);
        Ok(())
    }

    fn untouched_overrides(&mut self, overrides: &Overrides, journal: &EvmState) -> Result<(), StageError> {
        let untouched = |address: &Address| !journal.get(address).is_some_and(EvmAccount::is_touched);
        for (address, account) in overrides.accounts().filter(|(address, _)| untouched(address)) {
            if let Some(account) = account {
                self.code(account.code_hash, None)?;
            }
            self.account(*address, *account);
        }
        let contracts: BTreeSet<Address> =
            overrides.contracts().filter(|address| untouched(address)).collect();
        for address in contracts {
            let stored = self.flat.storage.get(&address);
            let slots = overrides.slots_of(&address);
            let slots =
                slots.filter_map(|(slot, new)| slot_change(stored.and_then(|s| s.get(&slot)), slot, new));
            self.contract(address, slots.collect());
        }
        Ok(())
    }

    fn account(&mut self, address: Address, new: Option<Account>) {
        let old = self.flat.account(&address);
        if old != new {
            self.changes.accounts.push(AccountChange { address, new });
        }
    }

    fn contract(&mut self, address: Address, mut slots: Vec<SlotChange>) {
        if !slots.is_empty() {
            slots.sort_unstable_by_key(|change| change.slot);
            self.changes.contracts.push(ContractChange { address, slots });
        }
    }

    fn code(&mut self, hash: B256, code: Option<&Bytecode>) -> Result<(), StageError> {
        if self.flat.codes.contains(&hash) || self.codes.contains_key(&hash) {
            return Ok(());
        }
        let code = code
            .filter(|code| !code.is_empty())
            .or_else(|| self.overrides.and_then(|overrides| overrides.code(&hash)))
            .cloned()
            .ok_or(StageError::CodeMissing(hash))?;
        self.codes.insert(hash, code);
        Ok(())
    }

    fn finish(self) -> BlockChanges {
        let mut changes = self.changes;
        changes.accounts.sort_unstable_by_key(|change| change.address);
        changes.contracts.sort_unstable_by_key(|change| change.address);
        changes.codes = self.codes.into_iter().collect();
        changes
    }
}

fn slot_change(old: Option<&U256>, slot: U256, new: U256) -> Option<SlotChange> {
    let old = old.copied().unwrap_or_default();
    (old != new).then_some(SlotChange { slot, old, new })
}
