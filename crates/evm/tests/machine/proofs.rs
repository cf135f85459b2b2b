//! Proofs of transactions, receipts and state, made by the ledger and checked from a header alone.

use crate::world::*;
use alloy_primitives::{Bytes, U256, keccak256};
use bletchley_evm::{BlockRef, Included, InclusionProof, StateProof, header_link};
use bletchley_ledger::Section;
use bletchley_primitives::Height;

fn transfer(nonce: u64) -> Tx {
    Tx::transfer(key(9).address(), 3, nonce)
}

fn header(world: &World, height: Height) -> Bytes {
    world.store.section(height, Section::Header).unwrap().unwrap()
}

#[test]
fn every_transaction_and_receipt_is_proved_and_nothing_else() {
    let world = World::new(genesis());
    // More than 128 items, so that keys of one and of two bytes are proved.
    let hashes: Vec<_> = (0..14u64)
        .flat_map(|round| (0..10u8).map(move |from| (round, from)))
        .map(|(round, from)| world.send(&transfer(round), from))
        .collect();
    let block = world.mine().unwrap();
    assert_eq!(block.transactions as usize, hashes.len());
    let head = world.ledger.head();
    let bytes = header(&world, head.height);
    let link = header_link(&bytes).unwrap();
    assert_eq!((link.height, link.hash, link.state), (head.height, head.hash, head.state_root));
    let before = header(&world, Height(0));
    for hash in hashes {
        for list in [Included::Transaction, Included::Receipt] {
            let (height, proof) = world.ledger.prove_inclusion(hash, list).unwrap().unwrap();
            assert_eq!(height, head.height);
            assert_eq!(InclusionProof::decode(&proof.encode()).unwrap(), proof);
            proof.verify(&bytes).unwrap();
            assert!(proof.verify(&before).is_err(), "under another header");
            assert!(InclusionProof { index: proof.index + 1, ..proof.clone() }.verify(&bytes).is_err());
            let mut item = proof.item.to_vec();
            *item.last_mut().unwrap() ^= 1;
            assert!(InclusionProof { item: item.into(), ..proof.clone() }.verify(&bytes).is_err());
            let nodes = proof.nodes[..proof.nodes.len() - 1].to_vec();
            assert!(InclusionProof { nodes, ..proof.clone() }.verify(&bytes).is_err());
            if list == Included::Transaction {
                assert_eq!(proof.transaction(), Some(hash));
            } else {
                assert_eq!(proof.transaction(), None);
            }
        }
    }
    assert!(world.ledger.prove_inclusion(keccak256("none"), Included::Receipt).unwrap().is_none());
}

#[test]
fn a_block_of_one_transaction_is_proved_by_its_root_node() {
    let world = World::new(genesis());
    let hash = world.send(&transfer(0), 0);
    world.mine().unwrap();
    let (height, proof) = world.ledger.prove_inclusion(hash, Included::Receipt).unwrap().unwrap();
    assert_eq!(proof.nodes.len(), 1);
    proof.verify(&header(&world, height)).unwrap();
}

#[test]
fn state_is_proved_present_and_absent() {
    let world = World::new(genesis());
    let head = world.ledger.head();
    let held = U256::from_be_bytes(balance_slot(key(1).address()).0);
    let prove = |address, slots: &[U256]| -> StateProof {
        world.ledger.proof(address, slots, BlockRef::Latest).unwrap().into()
    };
    let token = prove(TOKEN, &[held, U256::from(77)]);
    token.verify(head.state_root).unwrap();
    assert_eq!((token.slots[0].value, token.slots[1].value), (U256::from(1_000_000), U256::ZERO));
    assert_eq!(StateProof::decode(&token.encode()).unwrap(), token);
    let nobody = prove(alloy_primitives::Address::repeat_byte(0x99), &[]);
    nobody.verify(head.state_root).unwrap();
    let mut rich = nobody.clone();
    rich.balance = U256::from(1);
    assert!(rich.verify(head.state_root).is_err());
    let mut more = token;
    more.slots[0].value += U256::from(1);
    assert!(more.verify(head.state_root).is_err());
}
