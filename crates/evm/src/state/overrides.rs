//! Changes of state from outside any transaction, which development ledgers accept.

use super::{
    Account, State, Visible,
    account::{EntryKey, decode_slot_value},
};
use bletchley_ledger::{DiffError, DiffReader, DiffWriter, Intervention};
use bletchley_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::primitives::KECCAK_EMPTY;
use revm::state::Bytecode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why an intervention was refused. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterventionError {
    /// Its diff does not decode.
    #[error("intervention {method}: {source}")]
    Diff {
        /// Name of the request that caused it.
        method: String,
        /// What is wrong with the diff.
        source: DiffError,
    },
    /// Its diff sets something that is no account, slot or code.
    #[error("intervention {method}: entry {position} of its diff is no account, slot or code")]
    Entry {
        /// Name of the request that caused it.
        method: String,
        /// Position in the diff.
        position: usize,
    },
    /// The code is an ill-formed delegation designator.
    #[error(
        "the code starts like an EIP-7702 delegation but is none; give plain code or 0xef0100 and an address"
    )]
    Code,
}

/// One change of an intervention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// Balance in wei.
    Balance(Address, U256),
    /// Nonce.
    Nonce(Address, u64),
    /// Code.
    Code(Address, Bytes),
    /// Slot and its value.
    Slot(Address, U256, U256),
}

/// Interventions as a layer over the head: what they set, and their diffs as the next block carries them.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    accounts: BTreeMap<Address, Option<Account>>,
    slots: BTreeMap<(Address, U256), U256>,
    codes: BTreeMap<B256, Bytecode>,
    interventions: Vec<Intervention>,
}

impl Overrides {
    /// The layer that a block's interventions make; none if there are none.
    ///
    /// # Errors
    /// [`InterventionError`] when a diff is not canonical.
    pub fn decode(interventions: &[Intervention]) -> Result<Option<Arc<Self>>, InterventionError> {
        let mut overrides = Self::default();
        for intervention in interventions {
            overrides.add(intervention.clone())?;
        }
        Ok((!interventions.is_empty()).then(|| Arc::new(overrides)))
    }

    /// The layer over the head that a block with these interventions runs on when it stands above the head: `changes`
    /// are those from the head to its parent's state. They are no interventions, and never wait for a block. Costs as
    /// much as there are changes.
    ///
    /// # Errors
    /// [`InterventionError`] when a diff is not canonical.
    pub fn above(changes: &Bytes, interventions: &[Intervention]) -> Result<Self, InterventionError> {
        let mut overrides = Self::default();
        overrides.apply("the blocks above the head", changes)?;
        for intervention in interventions {
            overrides.add(intervention.clone())?;
        }
        Ok(overrides)
    }

    /// The interventions, in the order in which they were made.
    #[must_use]
    pub fn interventions(&self) -> &[Intervention] {
        &self.interventions
    }

    fn add(&mut self, intervention: Intervention) -> Result<(), InterventionError> {
        self.apply(&intervention.method, &intervention.diff)?;
        self.interventions.push(intervention);
        Ok(())
    }

    fn apply(&mut self, method: &str, diff: &Bytes) -> Result<(), InterventionError> {
        let refused = |source| InterventionError::Diff { method: method.to_owned(), source };
        for (position, change) in DiffReader::new(diff).map_err(refused)?.enumerate() {
            let (key, value) = change.map_err(refused)?;
            self.set(key, value)
                .ok_or_else(|| InterventionError::Entry { method: method.to_owned(), position })?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<()> {
        match (EntryKey::decode(key)?, value) {
            (EntryKey::Account(address), value) => {
                let account = value.map(|value| Account::decode(value).ok_or(())).transpose().ok()?;
                self.accounts.insert(address, account);
            }
            (EntryKey::Slot(address, slot), value) => {
                let value = value.map_or(Some(U256::ZERO), decode_slot_value)?;
                self.slots.insert((address, slot), value);
            }
            (EntryKey::Code(hash), value) => {
                let code = value.filter(|code| keccak256(code) == hash)?;
                self.codes.insert(hash, Bytecode::new_raw_checked(Bytes::copy_from_slice(code)).ok()?);
            }
        }
        Some(())
    }

    /// The account if it is overridden (to nothing, perhaps).
    pub(super) fn account(&self, address: &Address) -> Option<Option<Account>> {
        self.accounts.get(address).copied()
    }

    /// The slot if it is overridden.
    pub(super) fn slot(&self, address: &Address, slot: &U256) -> Option<U256> {
        self.slots.get(&(*address, *slot)).copied()
    }

    pub(super) fn code(&self, hash: &B256) -> Option<&Bytecode> {
        self.codes.get(hash)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = (&Address, &Option<Account>)> {
        self.accounts.iter()
    }

    pub(super) fn contracts(&self) -> impl Iterator<Item = Address> {
        self.slots.keys().map(|(address, _)| *address)
    }

    pub(super) fn slots_of(&self, address: &Address) -> impl Iterator<Item = (U256, U256)> {
        let range = (*address, U256::ZERO)..=(*address, U256::MAX);
        self.slots.range(range).map(|((_, slot), value)| (*slot, *value))
    }
}

impl State {
    /// The interventions that wait for the next block.
    #[must_use]
    pub fn pending(&self) -> Option<Arc<Overrides>> {
        self.visible.read_recursive().pending.clone()
    }

    /// Changes the state from outside any transaction: readers of [`State::latest`] see it at once, the next block
    /// carries it. `method` names the request. Development ledgers only.
    ///
    /// # Errors
    /// [`InterventionError`]; nothing is changed then.
    pub fn intervene(&self, method: &str, changes: &[Override]) -> Result<(), InterventionError> {
        let mut visible = self.visible.write();
        let diff = visible.intervention(changes)?;
        let mut pending = visible.pending.as_deref().cloned().unwrap_or_default();
        pending.add(Intervention { method: method.to_owned(), diff })?;
        visible.pending = Some(Arc::new(pending));
        Ok(())
    }
}

impl Visible {
    fn intervention(&self, changes: &[Override]) -> Result<Bytes, InterventionError> {
        let mut accounts = BTreeMap::<Address, Account>::new();
        let mut writer = DiffWriter::default();
        for change in changes {
            let address = match change {
                Override::Slot(address, slot, value) => {
                    let key = EntryKey::slot(address, slot);
                    if value.is_zero() {
                        writer.delete(&key);
                    } else {
                        writer.put(&key, &value.to_be_bytes_trimmed_vec());
                    }
                    continue;
                }
                Override::Balance(address, _) | Override::Nonce(address, _) | Override::Code(address, _) => {
                    address
                }
            };
            let account = accounts.entry(*address).or_insert_with(|| {
                let pending = self.pending.as_ref().and_then(|pending| pending.account(address));
                pending.unwrap_or_else(|| self.flat.account(address)).unwrap_or_default()
            });
            match change {
                Override::Balance(_, balance) => account.balance = *balance,
                Override::Nonce(_, nonce) => account.nonce = *nonce,
                Override::Code(_, code) if code.is_empty() => account.code_hash = KECCAK_EMPTY,
                Override::Code(_, code) => {
                    Bytecode::new_raw_checked(code.clone()).map_err(|_| InterventionError::Code)?;
                    account.code_hash = keccak256(code);
                    writer.put(&EntryKey::code(&account.code_hash), code);
                }
                Override::Slot(..) => {}
            }
        }
        for (address, account) in accounts {
            if account.is_empty() {
                writer.delete(&EntryKey::account(&address));
            } else {
                writer.put(&EntryKey::account(&address), &account.encode());
            }
        }
        Ok(writer.finish())
    }

    /// Drops the pending interventions that a committed block carried.
    pub(super) fn drop_folded(&mut self, folded: Option<&Overrides>) {
        let (Some(pending), Some(folded)) = (&self.pending, folded) else { return };
        let rest = pending
            .interventions
            .iter()
            .zip(&folded.interventions)
            .take_while(|(waiting, carried)| waiting == carried)
            .count();
        let rest = pending.interventions.get(rest..).unwrap_or_default();
        // They decoded when they were made; were one refused now, dropping them all is the safe side.
        self.pending = Overrides::decode(rest).unwrap_or_default();
    }
}
