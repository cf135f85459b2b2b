//! How a state comes back: from the genesis document, or from the store's snapshot and diffs.

use super::{
    Account, AllocAccount, State, Visible,
    account::{EntryKey, decode_slot_value},
    changes::{AccountChange, BlockChanges, ContractChange, SlotChange},
    flat::Flat,
    history::{History, WINDOW_BLOCKS},
    tries::Tries,
};
use alloy_primitives::map::U256Map;
use bletchley_ledger::{DiffReader, ReadError, Section, Store};
use bletchley_primitives::{Address, B256, Bytes, Height, U256, keccak256};
use parking_lot::{Mutex, RwLock};
use revm::primitives::KECCAK_EMPTY;
use revm::state::Bytecode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Longest code that a genesis document may give an account. A diff carries no more in one value.
const CODE_SIZE_BYTES_MAX: usize = 1 << 20;

/// How much history a state keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// Whether the state of every block can be read; its history lives in memory.
    pub archive: bool,
    /// Blocks below the head whose state can be read otherwise.
    pub window_blocks: u64,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self { archive: false, window_blocks: WINDOW_BLOCKS }
    }
}

/// Why a state did not come back.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store holds something that no state is made of.
    #[error("{place}: {problem}; restore this data folder from another member's copy")]
    Damaged {
        /// Which diff, or the snapshot.
        place: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The genesis document gives an account impossible code.
    #[error(
        "account {0} of the genesis document: its code is longer than {CODE_SIZE_BYTES_MAX} bytes, or starts like an \
         EIP-7702 delegation but is none"
    )]
    AllocCode(Address),
}

/// A state that came back.
pub struct Opened {
    /// The state, at the store's head or at genesis.
    pub state: State,
    /// Its root; the caller compares it with the head's header.
    pub root: B256,
    /// What the genesis block's diff is: the whole of the genesis document's accounts. Only when the store was empty.
    pub genesis_diff: Option<Bytes>,
}

impl State {
    /// Opens the state that `store` holds, or the genesis document's when the store is empty.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        alloc: impl IntoIterator<Item = (Address, AllocAccount)>,
        store: &dyn Store,
        options: StateOptions,
    ) -> Result<Opened, OpenError> {
        let mut flat = Flat::default();
        let mut history = History::new(options.archive, options.window_blocks);
        let mut genesis_diff = None;
        let mut height = 0;
        if let Some(head) = store.head() {
            height = head.height.0;
            load(&mut flat, &mut history, store, height, options)?;
        } else {
            let changes = alloc_changes(alloc)?;
            genesis_diff = Some(changes.diff());
            flat.apply(changes);
        }
        let (tries, root) = Tries::build(&flat);
        let visible = Visible { flat, history, height, generation: 0, rewinds: 0, pending: None };
        let state = Self {
            tries: Mutex::new(tries),
            visible: Arc::new(RwLock::new(visible)),
            staged_count: AtomicU64::new(0),
        };
        Ok(Opened { state, root, genesis_diff })
    }

    /// Memory that the tries' nodes take, in bytes.
    #[must_use]
    pub fn trie_size_bytes(&self) -> usize {
        self.tries.lock().size_bytes()
    }
}

fn load(
    flat: &mut Flat,
    history: &mut History,
    store: &dyn Store,
    head: u64,
    options: StateOptions,
) -> Result<(), OpenError> {
    let mut next = 0;
    // An archive needs what every block replaced, so it starts from genesis.
    if !options.archive
        && let Some(mut snapshot) = store.snapshot()?
    {
        next = snapshot.height().0 + 1;
        let mut problem = None;
        let mut loader = Loader::new(flat);
        snapshot.for_each(&mut |key, value| {
            if problem.is_none() {
                problem = loader.entry(key, value).err();
            }
        })?;
        loader.close();
        if let Some(problem) = problem {
            return Err(OpenError::Damaged { place: "the snapshot".to_owned(), problem });
        }
    }
    for height in next..=head {
        let damaged =
            |problem| OpenError::Damaged { place: format!("the state changes of block {height}"), problem };
        let diff =
            store.section(Height(height), Section::Diff)?.ok_or_else(|| damaged("they are missing"))?;
        let changes = decode_changes(flat, &diff).map_err(damaged)?;
        let record = flat.apply(changes);
        if height > 0 {
            history.push(height, record);
        }
    }
    if let Some(hash) = flat.codes.missing() {
        let place = format!("the code with hash {hash}");
        return Err(OpenError::Damaged { place, problem: "an account has it, but it is missing" });
    }
    Ok(())
}

const UNKNOWN: &str = "an entry is no account, slot or code";
const NO_CODE: &str = "a code's bytes do not have its hash";

/// Fills the maps out of a snapshot.
struct Loader<'a> {
    flat: &'a mut Flat,
    /// Entries come in order of keys, so the slots of one contract come together.
    contract: (Address, U256Map<U256>),
}

impl<'a> Loader<'a> {
    fn new(flat: &'a mut Flat) -> Self {
        Self { flat, contract: (Address::ZERO, U256Map::default()) }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match EntryKey::decode(key).ok_or(UNKNOWN)? {
            EntryKey::Account(address) => {
                let account = Account::decode(value).ok_or(UNKNOWN)?;
                // Code comes last in a snapshot; until then its place is held by its hash.
                let account = self.flat.compact(&account);
                self.flat.accounts.insert(address, account);
            }
            EntryKey::Slot(address, slot) => {
                let value = decode_slot_value(value).ok_or(UNKNOWN)?;
                if self.contract.0 != address {
                    self.close();
                    self.contract.0 = address;
                }
                self.contract.1.insert(slot, value);
            }
            EntryKey::Code(hash) => {
                self.flat.codes.add(hash, decode_code(hash, value)?);
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        let slots = std::mem::take(&mut self.contract.1);
        if !slots.is_empty() {
            self.flat.storage.insert(self.contract.0, slots);
        }
    }
}

fn decode_code(hash: B256, bytes: &[u8]) -> Result<Bytecode, &'static str> {
    if keccak256(bytes) != hash {
        return Err(NO_CODE);
    }
    Bytecode::new_raw_checked(Bytes::copy_from_slice(bytes)).map_err(|_| NO_CODE)
}

/// The changes that a stored diff makes to the state before it.
pub(super) fn decode_changes(flat: &Flat, diff: &[u8]) -> Result<BlockChanges, &'static str> {
    const NOT_CANONICAL: &str = "they are not in canonical form";
    let mut changes = BlockChanges::default();
    for change in DiffReader::new(diff).map_err(|_| NOT_CANONICAL)? {
        let (key, value) = change.map_err(|_| NOT_CANONICAL)?;
        match EntryKey::decode(key).ok_or(UNKNOWN)? {
            EntryKey::Account(address) => {
                let new = value.map(|value| Account::decode(value).ok_or(UNKNOWN)).transpose()?;
                changes.accounts.push(AccountChange { address, new });
            }
            EntryKey::Slot(address, slot) => {
                let new = value.map_or(Some(U256::ZERO), decode_slot_value).ok_or(UNKNOWN)?;
                let change = SlotChange { slot, old: flat.slot(&address, &slot), new };
                match changes.contracts.last_mut() {
                    Some(contract) if contract.address == address => contract.slots.push(change),
                    _ => changes.contracts.push(ContractChange { address, slots: vec![change] }),
                }
            }
            EntryKey::Code(hash) => {
                changes.codes.push((hash, decode_code(hash, value.ok_or(UNKNOWN)?)?));
            }
        }
    }
    Ok(changes)
}

fn alloc_changes(
    alloc: impl IntoIterator<Item = (Address, AllocAccount)>,
) -> Result<BlockChanges, OpenError> {
    let mut changes = BlockChanges::default();
    let mut codes = BTreeMap::new();
    let mut sorted: Vec<(Address, AllocAccount)> = alloc.into_iter().collect();
    sorted.sort_unstable_by_key(|(address, _)| *address);
    for (address, given) in sorted {
        let code_hash = if given.code.is_empty() { KECCAK_EMPTY } else { keccak256(&given.code) };
        if code_hash != KECCAK_EMPTY {
            let code = Some(given.code).filter(|code| code.len() <= CODE_SIZE_BYTES_MAX);
            let code = code.and_then(|code| Bytecode::new_raw_checked(code).ok());
            codes.insert(code_hash, code.ok_or(OpenError::AllocCode(address))?);
        }
        let account = Account { nonce: given.nonce, balance: given.balance, code_hash };
        if !account.is_empty() {
            changes.accounts.push(AccountChange { address, new: Some(account) });
        }
        let slots: Vec<SlotChange> = given
            .storage
            .into_iter()
            .filter(|(_, value)| !value.is_zero())
            .map(|(slot, new)| SlotChange { slot, old: U256::ZERO, new })
            .collect();
        if !slots.is_empty() {
            changes.contracts.push(ContractChange { address, slots });
        }
    }
    changes.codes = codes.into_iter().collect();
    Ok(changes)
}
