//! `specs/token.md` says what this crate does: every vector there is computed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_crypto::{Argon2Params, SecretKey};
use bletchley_ledger::{Machine, ProposeContext};
use bletchley_primitives::{Address, B256, Bytes, LedgerId, TimestampMs};
use bletchley_token::{
    AssetId, CompositeRecord, Entry, FactorKind, Factors, Genesis, Header, Lock, OutputRef, Properties,
    TokenMachine, TokenRecord, TxBuilder, leaf, output_digest, state_root,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

type Vectors = BTreeMap<String, String>;

fn put(vectors: &mut Vectors, name: &str, value: impl AsRef<[u8]>) {
    vectors.insert(name.to_owned(), format!("0x{}", hex::encode(value)));
}

fn identities(vectors: &mut Vectors, maker: Address) {
    let properties = Properties::of_thing("screw", "0001").unwrap();
    put(vectors, "thing.properties", properties.encode().as_slice());
    put(vectors, "thing.properties_digest", properties.digest());
    let thing = TokenRecord::thing(maker, "screw", "0001").unwrap();
    put(vectors, "thing.identity", alloy_rlp::encode(&thing.identity));
    put(vectors, "thing.id", thing.id().0);
    let ada = Properties::new([("username", "ada"), ("dob", "1815-12-10")]).unwrap();
    let person = TokenRecord::person(maker, &ada, B256::repeat_byte(0x55), Argon2Params::LEAST).unwrap();
    put(vectors, "person.properties", ada.encode().as_slice());
    put(vectors, "person.identity", alloy_rlp::encode(&person.identity));
    put(vectors, "person.id", person.id().0);
    put(vectors, "anonymous.id", TokenRecord::anonymous(maker).id().0);
    put(vectors, "asset.id", AssetId::of(maker, "EUR", 2).0);
    let other = TokenRecord::thing(maker, "screw", "0002").unwrap();
    let composite = CompositeRecord::assemble(maker, "phone", "1", 0, &[thing.id(), other.id()]).unwrap();
    put(vectors, "composite.parts_root", composite.parts_root);
    put(vectors, "composite.id", composite.id().0);
    let entry = Entry {
        namespace: "cryptlet".into(),
        name: "fx-rates".into(),
        version: "1.0.0".into(),
        payload: Bytes::from_static(b"payload"),
    };
    put(vectors, "entry.id", entry.id().0);
    put(vectors, "entry.data", entry.data_digest());
}

fn locks(vectors: &mut Vectors, [one, two, three]: [Address; 3]) {
    put(vectors, "lock.key", alloy_rlp::encode(Lock::key(one)));
    let threshold = Lock::threshold(2, [one, two, three]);
    put(vectors, "lock.threshold", alloy_rlp::encode(&threshold));
    put(vectors, "lock.threshold.owner", threshold.owner().0);
    let factors = Factors::new().with(FactorKind::Password, "enchantress").with(FactorKind::Pin, "1843");
    let proof = factors.lock(B256::repeat_byte(0x66), Argon2Params::LEAST).unwrap();
    put(vectors, "lock.proof", alloy_rlp::encode(&proof));
    put(vectors, "lock.proof.owner", proof.owner().0);
    let hash = Lock::hash_of(&B256::repeat_byte(0x77));
    let timed =
        Lock::HashTime { hash, recipient: one, refund: two, deadline_ms: TimestampMs(1_700_000_000_000) };
    put(vectors, "lock.hash_time", alloy_rlp::encode(&timed));
    put(vectors, "lock.hash_time.owner", timed.owner().0);
}

fn ledger(vectors: &mut Vectors, maker: &SecretKey, buyer: Address) {
    let ledger = LedgerId(B256::repeat_byte(0x11));
    let genesis = Genesis { ledger, time_ms: TimestampMs(1_700_000_000_000) };
    put(vectors, "genesis.header", genesis.header().encode_bytes());
    put(vectors, "genesis.hash", genesis.header().hash().0);
    let machine = TokenMachine::open(genesis, Arc::new(support::MemoryStore::default())).unwrap();
    let thing = TokenRecord::thing(maker.address(), "screw", "0001").unwrap();
    let claim =
        |record: &TokenRecord, label: &str| (record.clone(), label.to_owned(), Lock::key(maker.address()));
    let other = TokenRecord::thing(maker.address(), "screw", "0002").unwrap();
    let issue = TxBuilder::issue(ledger, maker.address(), [claim(&thing, "screw"), claim(&other, "screw")]);
    let issue = issue.sign(&[maker]);
    put(vectors, "issue.transaction", &issue.bytes);
    put(vectors, "issue.id", issue.id.0);
    let sell =
        TxBuilder::transfer(ledger).spend(issue.output(0)).token(thing.id(), Lock::key(buyer)).sign(&[maker]);
    put(vectors, "sell.transaction", &sell.bytes);
    put(vectors, "sell.id", sell.id.0);
    machine.submit(&issue.bytes).unwrap();
    machine.submit(&sell.bytes).unwrap();
    let context = ProposeContext {
        parent: machine.head().hash,
        time_ms: TimestampMs(1_700_000_000_250),
        proposer: buyer,
        allow_empty: false,
    };
    let block = machine.propose(&context).unwrap().unwrap();
    machine.commit(block.meta.hash).unwrap();
    put(vectors, "block.body", &block.block.body);
    put(vectors, "block.extension", &block.block.extension);
    put(vectors, "block.receipts", &block.receipts);
    put(vectors, "block.header", &block.block.header);
    put(vectors, "block.hash", block.meta.hash.0);
    let header = Header::decode_bytes(&block.block.header).unwrap();
    put(vectors, "block.transactions_root", header.transactions_root);
    put(vectors, "block.state_root", header.state_root);

    let outputs = [(&issue, 0, Some(sell.id)), (&issue, 1, None), (&sell, 0, None)];
    let mut leaves = Vec::new();
    for (number, (tx, position, spent_by)) in outputs.into_iter().enumerate() {
        let output = &tx.transaction.body.outputs[position as usize];
        let digest = output_digest(&OutputRef::new(tx.id, position), output);
        put(vectors, &format!("output.{number}.digest"), digest);
        leaves.push(leaf(&digest, spent_by));
        put(vectors, &format!("output.{number}.leaf"), leaves[number]);
    }
    assert_eq!(state_root(3, &bletchley_crypto::merkle_root(&leaves)), header.state_root);
    let proof = machine.prove(&sell.output(0)).unwrap().unwrap().1;
    proof.verify(header.state_root).unwrap();
    put(vectors, "proof", proof.encode_bytes());
}

#[test]
fn vectors_of_the_specification() {
    let [maker, buyer, third] = [1u8, 2, 3].map(|n| SecretKey::from_bytes([n; 32]).unwrap());
    let mut computed = Vectors::new();
    put(&mut computed, "address.1", maker.address());
    put(&mut computed, "address.2", buyer.address());
    put(&mut computed, "address.3", third.address());
    identities(&mut computed, maker.address());
    locks(&mut computed, [maker.address(), buyer.address(), third.address()]);
    ledger(&mut computed, &maker, buyer.address());

    let text = include_str!("../../../specs/token.md");
    let block = text
        .split("```vectors\n")
        .nth(1)
        .expect("the specification has vectors")
        .split("```")
        .next()
        .unwrap();
    let written: Vectors = block
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let listing = computed.iter().fold(String::new(), |mut out, (name, value)| {
        writeln!(out, "{name} = {value}").unwrap();
        out
    });
    assert_eq!(written, computed, "the vectors should read:\n{listing}");
}
