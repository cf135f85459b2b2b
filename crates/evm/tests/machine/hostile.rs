//! Hostile bytes: refused with a typed error or taken as they are, never a panic and never another meaning.

use crate::world::*;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::Bytes;
use bletchley_evm::{SubmitError, TX_SIZE_BYTES_MAX, TxError};
use bletchley_ledger::{Block, ExecuteError, Executed, Machine};
use proptest::prelude::*;
use std::sync::LazyLock;

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(genesis()));

static BLOCK: LazyLock<Executed> = LazyLock::new(|| {
    let world = World::new(genesis());
    for n in 0..4 {
        let tx = Tx {
            kind: [0u8, 1, 2, 4][n],
            authorizations: vec![authorize(&key(8), TOKEN, 0)],
            ..Tx::transfer(key(1).address(), 3, 0)
        };
        world.send(&tx, n as u8);
    }
    world.mine().unwrap()
});

#[test]
fn types_and_sizes_are_refused_by_name() {
    let refused = |raw: Vec<u8>| match WORLD.ledger.submit(raw.into()) {
        Err(SubmitError::Decode(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vec![]), TxError::Empty);
    assert_eq!(refused(vec![3, 0xc0]), TxError::Blob);
    assert_eq!(refused(vec![5, 0xc0]), TxError::Type(5));
    assert_eq!(refused(vec![0, 0xc0]), TxError::Type(0));
    assert_eq!(refused(vec![2; TX_SIZE_BYTES_MAX + 1]), TxError::TooLong(TX_SIZE_BYTES_MAX + 1));
    let mut trailing = Tx::to(TOKEN, 0).sign(0).to_vec();
    trailing.push(0);
    assert!(matches!(refused(trailing), TxError::Malformed(_)));
}

#[test]
fn oversized_sections_are_refused_before_they_are_decoded() {
    let machine = WORLD.ledger.machine();
    let with = |change: fn(&mut Block)| {
        let mut block = BLOCK.block.clone();
        change(&mut block);
        machine.prepare(block)
    };
    let body = with(|block| block.body = vec![0xf8; (8 << 20) + 100].into());
    assert!(matches!(body, Err(ExecuteError::Decode { part: "body", .. })));
    let header = with(|block| block.header = vec![0xf8; 5000].into());
    assert!(matches!(header, Err(ExecuteError::Decode { part: "header", .. })));
    let extension = with(|block| block.extension = vec![0xf8; (32 << 20) + 1].into());
    assert!(matches!(extension, Err(ExecuteError::Decode { part: "extension", .. })));
}

/// Re-encodes the second transaction with a length that is not minimal.
#[test]
fn a_transaction_has_one_encoding() {
    let raw = Tx { kind: 0, ..Tx::to(TOKEN, 0) }.sign(0);
    assert_eq!(raw[0], 0xf8);
    let mut longer = vec![0xf9, 0x00, raw[1]];
    longer.extend_from_slice(&raw[2..]);
    assert!(WORLD.ledger.submit(longer.into()).is_err());
    for kind in [0u8, 1, 2, 4] {
        let tx = Tx { kind, authorizations: vec![authorize(&key(8), TOKEN, 0)], ..Tx::to(TOKEN, 0) };
        let raw = tx.sign(5);
        let world = World::new(genesis());
        let hash = world.ledger.submit(raw.clone()).unwrap();
        let found = world.ledger.transaction(hash).unwrap().unwrap().tx;
        assert_eq!(Bytes::from(found.tx.encoded_2718()), raw);
        assert_eq!(*found.tx.tx_hash(), hash);
        assert_eq!(found.sender, key(5).address());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_transaction_or_keep_their_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(hash) = WORLD.ledger.submit(bytes.clone().into()) {
            let found = WORLD.ledger.transaction(hash).unwrap().unwrap().tx;
            prop_assert_eq!(found.tx.encoded_2718(), bytes);
        }
    }

    #[test]
    fn a_changed_transaction_is_refused_or_is_its_own_canonical_self(
        kind in prop::sample::select(vec![0u8, 1, 2, 4]), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let tx = Tx { kind, authorizations: vec![authorize(&key(8), TOKEN, 0)], ..Tx::transfer(key(1).address(), 3, 0) };
        let mut raw = tx.sign(7).to_vec();
        let at = at.index(raw.len());
        raw[at] = to;
        let world = &WORLD;
        if let Ok(hash) = world.ledger.submit(raw.clone().into()) {
            let found = world.ledger.transaction(hash).unwrap().unwrap().tx;
            prop_assert_eq!(found.tx.encoded_2718(), raw.clone());
            prop_assert_eq!(*found.tx.tx_hash(), alloy_primitives::keccak256(&raw));
        }
    }

    #[test]
    fn a_flipped_bit_in_a_block_is_found(section in 0usize..3, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut block = BLOCK.block.clone();
        let part = match section { 0 => &mut block.header, 1 => &mut block.body, _ => &mut block.extension };
        let mut bytes = part.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        *part = bytes.into();
        let machine = WORLD.ledger.machine();
        match machine.prepare(block).and_then(|prepared| machine.execute(prepared)) {
            Err(_) => {}
            // Only the header says who the proposer is; another proposer is another block.
            Ok(executed) => {
                machine.discard(executed.meta.hash);
                prop_assert!(section == 0 && executed.meta.hash != BLOCK.meta.hash);
            }
        }
        prop_assert_eq!(WORLD.ledger.head().height.0, 0);
    }
}
