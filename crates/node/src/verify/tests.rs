//! Replay of a ledger with several validators: what stands beside its blocks, and what is missing there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::prefix::PrefixStore;
use super::replay::{Fault, Found, Subject};
use bletchley_consensus::{Payload, PeerId, Schedule, Validator, Validators};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    CERTIFICATES_TABLE, Certificate, Checkpoint, Executed, Finality, Machine, ProposeContext, Store,
    ValidatorSet,
};
use bletchley_primitives::{Address, B256, Bytes, Height, LedgerId, TimestampMs};
use bletchley_storage::MemoryStore;
use bletchley_token::{Genesis, TokenMachine};
use std::collections::BTreeMap;
use std::sync::Arc;

const GENESIS: Genesis = Genesis { ledger: LedgerId(B256::repeat_byte(3)), time_ms: TimestampMs(1_000) };
const EPOCH_BLOCKS: u64 = 4;
const BLOCKS: u64 = 14;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[b'v', n])
}

/// Validators 0 to 3 in the first two epochs, 2 to 5 then.
struct Changing;

impl Changing {
    fn members(epoch: u64) -> std::ops::Range<u8> {
        if epoch < 2 { 0..4 } else { 2..6 }
    }
}

impl Schedule for Changing {
    fn epoch_blocks(&self) -> u64 {
        EPOCH_BLOCKS
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        let validator = |n: u8| Validator {
            name: n.to_string(),
            peer: PeerId(B256::with_last_byte(n)),
            address: key(n).address(),
        };
        Some(Arc::new(Validators::new(Self::members(epoch).map(validator))))
    }

    fn change_pending(&self) -> bool {
        false
    }
}

/// The certificate in place of the right one for a checkpoint.
type Forged = fn(Checkpoint) -> Certificate;

/// What a test makes different.
#[derive(Default)]
struct Changes {
    /// Heights without a certificate.
    without: Vec<u64>,
    /// Certificates in place of the right ones.
    instead: BTreeMap<u64, Forged>,
    /// Height with another seal.
    seal: Option<u64>,
}

fn epoch(height: u64) -> u64 {
    (height - 1) / EPOCH_BLOCKS
}

fn set(height: u64) -> ValidatorSet {
    Changing.validators(epoch(height)).unwrap().checkpoint_set()
}

fn checkpoint(executed: &Executed) -> Checkpoint {
    let height = executed.meta.height;
    Checkpoint {
        ledger: GENESIS.ledger,
        height,
        block: executed.meta.hash,
        state: executed.state_root,
        validators: set(height.0).digest(),
        next: set(height.0 + 1).digest(),
    }
}

fn signed(checkpoint: Checkpoint, signers: std::ops::Range<u8>) -> Certificate {
    Certificate { checkpoint, signatures: signers.map(|n| checkpoint.sign(&key(n))).collect() }
}

fn replay(changes: &Changes) -> Result<Found, Fault> {
    let store = Arc::new(MemoryStore::new());
    let machine = TokenMachine::open(GENESIS, store.clone()).unwrap();
    let mut payload = Payload::genesis(GENESIS.ledger);
    for height in 1..=BLOCKS {
        let context = ProposeContext {
            parent: machine.head().hash,
            time_ms: TimestampMs(1_000 + height),
            proposer: Address::ZERO,
            allow_empty: true,
        };
        let executed = machine.propose(&context).unwrap().unwrap();
        payload = Payload::new(payload, Height(height), executed.block.clone()).digest();
        let seal = if changes.seal == Some(height) { B256::ZERO } else { payload };
        let seal = Bytes::copy_from_slice(seal.as_slice());
        let finality = Finality { seal, certificate: None };
        store.append(&executed.clone().into_stored(finality.encode())).unwrap();
        machine.commit(executed.meta.hash).unwrap();
        if changes.without.contains(&height) {
            continue;
        }
        let checkpoint = checkpoint(&executed);
        let members = Changing::members(epoch(height));
        let good = |checkpoint| signed(checkpoint, members.start..members.end - 1);
        let certificate =
            changes.instead.get(&height).map_or_else(|| good(checkpoint), |other| other(checkpoint));
        let key = Bytes::copy_from_slice(&height.to_be_bytes());
        let row = (key, Some(Bytes::from(alloy_rlp::encode(certificate))));
        store.table_write(CERTIFICATES_TABLE, &[row]).unwrap();
    }
    let replayed: Arc<dyn Store> = Arc::new(PrefixStore::new(store.clone()));
    let machine = Arc::new(TokenMachine::open(GENESIS, replayed.clone()).unwrap());
    let subject = Subject {
        name: "tokens",
        ledger: GENESIS.ledger,
        machine,
        copy: store,
        replayed,
        schedule: Arc::new(Changing),
        solo: false,
    };
    subject.replay(&mut |_, _| {})
}

fn fault(changes: &Changes) -> (u64, String) {
    let fault = replay(changes).unwrap_err();
    (fault.height.0, fault.part)
}

#[test]
fn every_block_is_covered_by_a_certificate_of_its_epoch() {
    let all = replay(&Changes::default()).unwrap();
    assert_eq!((all.blocks, all.uncertified), (BLOCKS, 0));
    let ends = Changes { without: vec![1, 2, 3, 5, 6, 7, 9, 10, 11, 13], ..Changes::default() };
    assert_eq!(replay(&ends).unwrap().uncertified, 0);
    let top = Changes { without: vec![11, 12, 13, 14], ..Changes::default() };
    assert_eq!(replay(&top).unwrap().uncertified, 4);
    let none = Changes { without: (1..=BLOCKS).collect(), ..Changes::default() };
    assert_eq!(replay(&none).unwrap().uncertified, BLOCKS);
}

#[test]
fn the_last_block_of_an_epoch_needs_its_own() {
    let changes = Changes { without: vec![4], ..Changes::default() };
    assert_eq!(fault(&changes), (4, "certificate".to_owned()));
    let changes = Changes { without: vec![7, 8, 9], ..Changes::default() };
    assert_eq!(fault(&changes), (8, "certificate".to_owned()));
}

#[test]
fn certificates_that_do_not_hold_are_found() {
    let forgeries: [(u64, Forged); 6] = [
        (2, |good| signed(good, 0..2)),
        (2, |good| signed(good, 1..5)),
        (9, |good| signed(Checkpoint { validators: set(1).digest(), ..good }, 0..3)),
        (8, |good| signed(Checkpoint { next: set(1).digest(), ..good }, 0..3)),
        (7, |good| signed(Checkpoint { state: B256::ZERO, ..good }, 0..3)),
        (7, |good| signed(Checkpoint { ledger: LedgerId::default(), ..good }, 0..3)),
    ];
    for (height, forged) in forgeries {
        let changes = Changes { instead: [(height, forged)].into(), ..Changes::default() };
        assert_eq!(fault(&changes), (height, "certificate".to_owned()));
    }
}

#[test]
fn another_seal_is_found() {
    assert_eq!(fault(&Changes { seal: Some(6), ..Changes::default() }), (6, "seal".to_owned()));
}
