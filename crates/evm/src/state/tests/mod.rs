#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! The state against models that are not ours: revm's own database, committed transaction by transaction, and
//! alloy's tries.

mod blocks;
mod history;
mod interventions;
mod store;
mod zoo;

use super::*;
use alloy_primitives::{Address, U256, keccak256, map::AddressMap};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof, root};
use revm::database::{AccountState, CacheDB, EmptyDB};
use std::collections::BTreeMap;

/// A whole state, plainly.
type World = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

fn world_of(db: &CacheDB<EmptyDB>) -> World {
    let accounts: &AddressMap<_> = &db.cache.accounts;
    accounts
        .iter()
        .filter(|(_, entry)| entry.account_state != AccountState::NotExisting && !entry.info.is_empty())
        .map(|(address, entry)| {
            let info = &entry.info;
            let account = Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash };
            let slots = entry.storage.iter().filter(|(_, value)| !value.is_zero()).map(|(k, v)| (*k, *v));
            (*address, (account, slots.collect()))
        })
        .collect()
}

fn root_of(world: &World) -> B256 {
    root::state_root_unhashed(world.iter().map(|(address, (account, slots))| {
        let storage_root = root::storage_root_unhashed(slots.iter().map(|(k, v)| (B256::from(*k), *v)));
        let (nonce, balance, code_hash) = (account.nonce, account.balance, account.code_hash);
        (*address, TrieAccount { nonce, balance, storage_root, code_hash })
    }))
}

/// Everything in `world`, and nothing else among `others`, is what `view` shows.
fn assert_shows(view: &StateView, world: &World, others: &[Address]) {
    for (address, (account, slots)) in world {
        assert_eq!(view.account(address).unwrap(), Some(*account));
        for slot in (0..8).map(U256::from) {
            assert_eq!(view.slot(address, &slot).unwrap(), slots.get(&slot).copied().unwrap_or_default());
        }
        assert_eq!(keccak256(view.code(address).unwrap()), account.code_hash);
    }
    for address in others.iter().filter(|address| !world.contains_key(*address)) {
        assert_eq!(view.account(address).unwrap(), None);
        assert_eq!(view.slot(address, &U256::from(1)).unwrap(), U256::ZERO);
    }
}

/// Proofs of everything in `world` at `height`, checked by alloy's verifier.
fn assert_proves(state: &State, height: Height, world: &World, others: &[Address]) {
    let state_root = root_of(world);
    for address in world.keys().chain(others) {
        let slots: Vec<U256> = (0..4).map(U256::from).collect();
        let proof = state.proof(height, *address, &slots).unwrap();
        let known = world.get(address);
        let expected = known.map(|(account, _)| {
            alloy_rlp::encode(TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: proof.storage_root,
                code_hash: account.code_hash,
            })
        });
        let account = known.map(|(account, _)| *account).unwrap_or_default();
        assert_eq!(
            (proof.nonce, proof.balance, proof.code_hash),
            (account.nonce, account.balance, account.code_hash)
        );
        verify_proof(state_root, Nibbles::unpack(keccak256(address)), expected, &proof.proof).unwrap();
        for slot in proof.storage {
            let value = known.and_then(|(_, slots)| slots.get(&slot.slot)).copied().unwrap_or_default();
            assert_eq!(slot.value, value);
            let key = Nibbles::unpack(keccak256(slot.slot.to_be_bytes::<32>()));
            let expected = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            if proof.storage_root == crate::trie::EMPTY_ROOT {
                assert!(slot.proof.is_empty() && expected.is_none());
            } else {
                verify_proof(proof.storage_root, key, expected, &slot.proof).unwrap();
            }
        }
    }
}
