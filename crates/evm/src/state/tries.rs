//! The state trie and the storage tries, at the head or with one staged block on top.

use super::{
    changes::{BlockChanges, ContractChange},
    flat::Flat,
};
use crate::trie::{ContractHashes, EMPTY_ROOT, Hasher, Key, Trie, TrieAccount};
use alloy_primitives::map::{AddressMap, U256Map};
use bletchley_primitives::{Address, B256, Bytes, U256, keccak256};
use rayon::prelude::*;

/// Keys that one thread hashes at a time when tries are built.
const KEYS_SHARED: usize = 8192;

/// Slots by hashed key, with the values they had.
type OldSlots = Vec<(Key, Option<U256>)>;

/// What takes a block out of the tries again: the values it replaced.
#[derive(Default)]
pub(super) struct Undo {
    accounts: Vec<(Key, Option<TrieAccount>)>,
    contracts: Vec<(Address, OldSlots)>,
}

/// Proof nodes of an account and of some of its slots.
pub(super) struct TrieProof {
    pub(super) storage_root: B256,
    pub(super) account: Vec<Bytes>,
    pub(super) slots: Vec<Vec<Bytes>>,
}

#[derive(Default)]
pub(super) struct Tries {
    accounts: Trie<TrieAccount>,
    storage: AddressMap<Trie<U256>>,
    /// Counts commits and rewinds, as its twin beside the flat maps.
    generation: u64,
    applied: Option<(u64, Undo)>,
}

impl Tries {
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Says that the head is another now.
    pub(super) const fn moved(&mut self) {
        self.generation += 1;
    }

    pub(super) fn root(&mut self) -> B256 {
        self.accounts.root()
    }

    /// Puts a block on top of the head and gives its root.
    pub(super) fn stage(&mut self, id: u64, changes: &BlockChanges) -> B256 {
        self.settle();
        let undo = self.apply(changes);
        self.applied = Some((id, undo));
        self.accounts.root()
    }

    /// Takes off whatever is staged.
    pub(super) fn settle(&mut self) {
        if let Some((_, undo)) = self.applied.take() {
            self.undo(undo);
        }
    }

    /// Makes a staged block part of the head.
    pub(super) fn keep(&mut self, id: u64, changes: &BlockChanges) {
        if self.applied.as_ref().is_some_and(|(applied, _)| *applied == id) {
            self.applied = None;
        } else {
            self.settle();
            self.apply(changes);
        }
        self.generation += 1;
    }

    pub(super) fn discard(&mut self, id: u64) {
        if self.applied.as_ref().is_some_and(|(applied, _)| *applied == id) {
            self.settle();
        }
    }

    /// Changes the tries; what is returned takes the changes back.
    pub(super) fn apply(&mut self, changes: &BlockChanges) -> Undo {
        let mut undo = Undo::default();
        let mut roots = AddressMap::<B256>::default();
        for contract in &changes.contracts {
            let (root, old) = self.apply_slots(contract);
            roots.insert(contract.address, root);
            undo.contracts.push((contract.address, old));
        }

        let addresses = changes.accounts.iter().map(|change| change.address);
        let keys = Hasher::default().digests(addresses);
        let mut leaves: Vec<(Key, Option<TrieAccount>)> = Vec::with_capacity(keys.len() + roots.len());
        for (change, key) in changes.accounts.iter().zip(keys) {
            let storage_root = roots.remove(&change.address);
            let leaf = change.new.map(|account| {
                let storage_root = storage_root
                    .or_else(|| self.storage.get_mut(&change.address).map(Trie::root))
                    .unwrap_or(EMPTY_ROOT);
                let hashes = ContractHashes { storage_root, code_hash: account.code_hash };
                TrieAccount::new(account.nonce, account.balance, hashes)
            });
            leaves.push((key, leaf));
        }
        // Contracts whose storage changed and nothing else.
        for (address, storage_root) in roots {
            let key = keccak256(address).0;
            if let Some(account) = self.accounts.get(&key) {
                let hashes = ContractHashes { storage_root, ..account.hashes() };
                leaves.push((key, Some(TrieAccount::new(account.nonce, account.balance, hashes))));
            }
        }
        leaves.sort_unstable_by_key(|(key, _)| *key);
        undo.accounts = leaves
            .into_iter()
            .map(|(key, leaf)| {
                let old = match leaf {
                    Some(account) => self.accounts.insert(&key, account),
                    None => self.accounts.remove(&key),
                };
                (key, old)
            })
            .collect();
        undo
    }

    fn apply_slots(&mut self, contract: &ContractChange) -> (B256, OldSlots) {
        let keys =
            Hasher::default().digests(contract.slots.iter().map(|change| change.slot.to_be_bytes::<32>()));
        let mut slots: Vec<(Key, U256)> =
            keys.into_iter().zip(&contract.slots).map(|(key, change)| (key, change.new)).collect();
        slots.sort_unstable_by_key(|(key, _)| *key);
        let trie = self.storage.entry(contract.address).or_default();
        let old = slots
            .into_iter()
            .map(|(key, value)| {
                let old = if value.is_zero() { trie.remove(&key) } else { trie.insert(&key, value) };
                (key, old)
            })
            .collect();
        let root = trie.root();
        if trie.is_empty() {
            self.storage.remove(&contract.address);
        }
        (root, old)
    }

    /// Takes changes back. References on the paths stay unknown until a root is asked for.
    pub(super) fn undo(&mut self, undo: Undo) {
        for (address, slots) in undo.contracts {
            let trie = self.storage.entry(address).or_default();
            for (key, old) in slots {
                match old {
                    Some(value) => trie.insert(&key, value),
                    None => trie.remove(&key),
                };
            }
            if trie.is_empty() {
                self.storage.remove(&address);
            }
        }
        for (key, old) in undo.accounts {
            match old {
                Some(account) => self.accounts.insert(&key, account),
                None => self.accounts.remove(&key),
            };
        }
    }

    pub(super) fn proof(&mut self, address: &Address, slots: &[U256]) -> TrieProof {
        let account = self.accounts.proof(&keccak256(address).0);
        let mut empty = Trie::default();
        let trie = self.storage.get_mut(address).unwrap_or(&mut empty);
        TrieProof {
            storage_root: trie.root(),
            account,
            slots: slots.iter().map(|slot| trie.proof(&slot_key(slot))).collect(),
        }
    }

    /// Memory that the nodes take, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.accounts.size_bytes() + self.storage.values().map(Trie::size_bytes).sum::<usize>()
    }

    /// The tries of a whole state, built by all threads, and their root.
    pub(super) fn build(flat: &Flat) -> (Self, B256) {
        let (mut accounts, mut storage) = rayon::join(|| build_accounts(flat), || build_storage(flat));
        for (address, trie) in &mut storage {
            let key = keccak256(address).0;
            if let Some(account) = accounts.get(&key) {
                let hashes = ContractHashes { storage_root: trie.root(), ..account.hashes() };
                let account = TrieAccount::new(account.nonce, account.balance, hashes);
                accounts.insert(&key, account);
            }
        }
        let root = accounts.root_in_parallel();
        (Self { accounts, storage, generation: 0, applied: None }, root)
    }
}

fn slot_key(slot: &U256) -> Key {
    keccak256(slot.to_be_bytes::<32>()).0
}

fn build_accounts(flat: &Flat) -> Trie<TrieAccount> {
    let accounts: Vec<_> = flat.accounts.iter().collect();
    let mut keyed: Vec<(Key, TrieAccount)> = accounts
        .par_chunks(KEYS_SHARED)
        .flat_map_iter(|chunk| {
            let keys = Hasher::default().digests(chunk.iter().map(|(address, _)| *address));
            keys.into_iter().zip(chunk).map(|(key, (_, account))| {
                let account = flat.expand(account);
                let hashes = ContractHashes { storage_root: EMPTY_ROOT, code_hash: account.code_hash };
                (key, TrieAccount::new(account.nonce, account.balance, hashes))
            })
        })
        .collect();
    keyed.par_sort_unstable_by_key(|(key, _)| *key);
    let mut trie = Trie::with_capacity(keyed.len());
    for (key, account) in keyed {
        trie.insert(&key, account);
    }
    trie
}

fn build_storage(flat: &Flat) -> AddressMap<Trie<U256>> {
    let contracts: Vec<_> = flat.storage.iter().collect();
    contracts.into_par_iter().map(|(address, slots)| (*address, build_contract(slots))).collect()
}

fn build_contract(slots: &U256Map<U256>) -> Trie<U256> {
    let slots: Vec<_> = slots.iter().collect();
    let mut keyed: Vec<(Key, U256)> = slots
        .par_chunks(KEYS_SHARED)
        .flat_map_iter(|chunk| {
            let keys = Hasher::default().digests(chunk.iter().map(|(slot, _)| slot.to_be_bytes::<32>()));
            keys.into_iter().zip(chunk).map(|(key, (_, value))| (key, **value))
        })
        .collect();
    keyed.par_sort_unstable_by_key(|(key, _)| *key);
    let mut trie = Trie::with_capacity(keyed.len());
    for (key, value) in keyed {
        trie.insert(&key, value);
    }
    trie.root_in_parallel();
    trie
}
