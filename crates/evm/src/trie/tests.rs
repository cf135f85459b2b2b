#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use alloy_primitives::{Bytes, U256, b256, keccak256};
use alloy_trie::{HashBuilder, Nibbles, proof::verify_proof};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Key, U256>;

fn model_root(model: &Model) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in model {
        builder.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(value));
    }
    builder.root()
}

/// Keys that share long prefixes, so that extensions, inline nodes and collapses occur.
fn clustered_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        any::<u16>().prop_map(|n| keccak256((n % 300).to_be_bytes()).0),
        any::<u16>().prop_map(|n| {
            let mut key = [0xab; 32];
            key[30..].copy_from_slice(&(n & 0x3ff).to_be_bytes());
            key
        }),
        (any::<u8>(), any::<u8>(), 0usize..32).prop_map(|(a, b, at)| {
            let mut key = [0; 32];
            key[at] = a & 0x11;
            key[31] = b & 0x33;
            key
        }),
    ]
}

fn value() -> impl Strategy<Value = U256> {
    prop_oneof![
        (1u64..300).prop_map(U256::from),
        any::<[u8; 32]>().prop_map(|b| U256::from_be_bytes(b) | U256::from(1)),
    ]
}

proptest! {
    #[test]
    fn roots_proofs_and_contents_agree_with_hash_builder(
        batches in proptest::collection::vec(
            proptest::collection::vec((clustered_key(), proptest::option::weighted(0.7, value())), 1..60), 1..8),
        probes in proptest::collection::vec(clustered_key(), 4),
    ) {
        let mut trie = Trie::<U256>::default();
        let mut model = Model::new();
        for batch in batches {
            for (key, change) in &batch {
                let (old, expected) = match change {
                    Some(value) => (trie.insert(key, *value), model.insert(*key, *value)),
                    None => (trie.remove(key), model.remove(key)),
                };
                prop_assert_eq!(old, expected);
            }
            let root = trie.root();
            prop_assert_eq!(root, model_root(&model));
            prop_assert_eq!(trie.len(), model.len());
            for key in probes.iter().chain(batch.iter().map(|(key, _)| key).take(4)) {
                prop_assert_eq!(trie.get(key), model.get(key));
                let proof = trie.proof(key);
                let expected = model.get(key).map(alloy_rlp::encode);
                if !model.is_empty() {
                    prop_assert!(verify_proof(root, Nibbles::unpack(key), expected, &proof).is_ok());
                }
            }
        }
    }

    #[test]
    fn undoing_changes_gives_the_old_root(
        before in proptest::collection::btree_map(clustered_key(), value(), 0..80),
        changes in proptest::collection::vec((clustered_key(), proptest::option::of(value())), 1..80),
    ) {
        let mut trie = Trie::<U256>::default();
        for (key, value) in &before { trie.insert(key, *value); }
        let root = trie.root();
        let mut undo = Vec::new();
        for (key, change) in &changes {
            let old = match change { Some(value) => trie.insert(key, *value), None => trie.remove(key) };
            undo.push((key, old));
        }
        trie.root();
        for (key, old) in undo.into_iter().rev() {
            match old { Some(value) => trie.insert(key, value), None => trie.remove(key) };
        }
        prop_assert_eq!(trie.root(), root);
    }

    #[test]
    fn lists_agree_with_alloy(items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..400)) {
        prop_assert_eq!(ordered_root(&items), alloy_trie::root::ordered_trie_root_encoded(&items));
    }

    #[test]
    fn accounts_agree_with_alloy(nonce: u64, balance: [u8; 32], small: bool, root: [u8; 32], code: [u8; 32], plain: bool) {
        let balance = if small { U256::from(balance[0]) } else { U256::from_be_bytes(balance) };
        let hashes = if plain { value::ContractHashes::NONE } else {
            value::ContractHashes { storage_root: root.into(), code_hash: code.into() }
        };
        let mut ours = Vec::new();
        TrieAccount::new(nonce, balance, hashes).put(&mut ours);
        let theirs = alloy_rlp::encode(alloy_trie::TrieAccount {
            nonce, balance, storage_root: hashes.storage_root, code_hash: hashes.code_hash });
        prop_assert_eq!(ours, alloy_rlp::encode(Bytes::from(theirs)));
    }
}

#[test]
fn an_empty_trie_has_the_known_root_and_an_empty_proof() {
    let mut trie = Trie::<U256>::default();
    assert_eq!(trie.root(), EMPTY_ROOT);
    assert!(trie.proof(&[7; 32]).is_empty());
    trie.insert(&[1; 32], U256::from(1));
    assert_ne!(trie.root(), EMPTY_ROOT);
    assert_eq!(trie.remove(&[1; 32]), Some(U256::from(1)));
    assert_eq!(trie.remove(&[1; 32]), None);
    assert_eq!(trie.root(), EMPTY_ROOT);
    assert_eq!(ordered_root::<Vec<u8>>(&[]), EMPTY_ROOT);
}

#[test]
fn sharing_levels_among_threads_changes_nothing() {
    let (mut alone, mut shared) = (Trie::<U256>::default(), Trie::<U256>::default());
    for n in 1..40_000u64 {
        let key = keccak256(n.to_be_bytes()).0;
        alone.insert(&key, U256::from(n));
        shared.insert(&key, U256::from(n));
    }
    assert_eq!(alone.root(), shared.root_in_parallel());
    let key = keccak256(9u64.to_be_bytes()).0;
    alone.remove(&key);
    shared.remove(&key);
    assert_eq!(alone.root_in_parallel(), shared.root());
}

#[test]
fn large_items_and_many_positions_have_alloys_root() {
    let items: Vec<Vec<u8>> =
        (0..70_000usize).map(|n| vec![n as u8; if n % 9973 == 0 { 70_000 } else { n % 40 }]).collect();
    assert_eq!(ordered_root(&items), alloy_trie::root::ordered_trie_root_encoded(&items));
}

#[derive(Default)]
struct Plain(&'static [u8]);

impl Value for Plain {
    fn put(&self, out: &mut Vec<u8>) {
        encode::put_string(out, self.0);
    }
}

type Entries = &'static [(&'static str, &'static [u8])];

/// Ethereum's own trie tests, those with hashed keys (ethereum/tests, TrieTests/trieanyorder_secureTrie).
#[test]
fn ethereums_published_roots_come_out_in_any_order() {
    let cases: [(Entries, B256); 4] = [
        (&[("A", &[b'a'; 50])], b256!("e9e2935138352776cad724d31c9fa5266a5c593bb97726dd2a908fe6d53284df")),
        (
            &[("doe", b"reindeer"), ("dog", b"puppy"), ("dogglesworth", b"cat")],
            b256!("d4cd937e4a4368d7931a9cf51686b7e10abb3dce38a39000fd7902a092b64585"),
        ),
        (
            &[("do", b"verb"), ("horse", b"stallion"), ("doge", b"coin"), ("dog", b"puppy")],
            b256!("29b235a58c3c25ab83010c327d5932bcf05324b7d6b1185e650798034783ca9d"),
        ),
        (
            &[("foo", b"bar"), ("food", b"bass")],
            b256!("1385f23a33021025d9e87cca5c66c00de06178807b96a9acc92b7d651ccde842"),
        ),
    ];
    for (entries, root) in cases {
        for first in 0..entries.len() {
            let mut trie = Trie::default();
            for (key, value) in entries.iter().cycle().skip(first).take(entries.len()) {
                trie.insert(&keccak256(key).0, Plain(value));
            }
            assert_eq!(trie.root(), root, "{entries:?}");
        }
    }
}
