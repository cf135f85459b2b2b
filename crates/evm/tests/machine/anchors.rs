//! Every block names the registry state that it was built against, and that never goes back.

use crate::world::*;
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use bletchley_ledger::{
    Anchor, Answer, Block, Call, Delegate, DelegationRecord, ExecuteError, Executed, Extension, Machine,
    PROTOCOL_VERSION_FIRST, PROTOCOL_VERSION_WIDER_BLOCKS, Place, RecordError, Refusal, SignedReceipt,
};
use bletchley_primitives::{BlockHash, Bytes, Height, LedgerId, TimestampMs};
use parking_lot::Mutex;
use std::sync::Arc;

fn anchor(height: u64) -> Anchor {
    let block = BlockHash(B256::with_last_byte(u8::try_from(height).unwrap()));
    Anchor { ledger: LedgerId(B256::repeat_byte(0x1d)), height: Height(height), block }
}

/// The members agreed that later rules hold from this block of the registry on.
const UPGRADE: Height = Height(20);

/// A registry that has come so far.
struct Registry(Mutex<Anchor>);

impl Registry {
    fn at(height: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(anchor(height))))
    }

    fn move_to(&self, height: u64) {
        *self.0.lock() = anchor(height);
    }
}

impl Delegate for Registry {
    fn poll(&self, _: &Call, _: &Place) -> Answer {
        Answer::Pending
    }
    fn run(&self, _: &Call, _: &Place) -> Result<SignedReceipt, Refusal> {
        Err(Refusal::NoFabric)
    }
    fn anchor(&self) -> Anchor {
        *self.0.lock()
    }
    fn check(&self, record: &DelegationRecord, _: &Place) -> Result<(), RecordError> {
        let named = record.anchor;
        let known = named.height <= self.0.lock().height && named == anchor(named.height.0);
        known.then_some(()).ok_or(RecordError::Anchor { height: named.height })
    }
    fn protocol_version(&self, anchor: &Anchor) -> u32 {
        if anchor.height >= UPGRADE { PROTOCOL_VERSION_WIDER_BLOCKS } else { PROTOCOL_VERSION_FIRST }
    }
}

fn named(block: &Executed) -> Anchor {
    Extension::decode(&block.block.extension).unwrap().record.anchor
}

/// The block with another anchor, in all else as its proposer would have made it.
fn renamed(block: &Executed, anchor: Anchor) -> Block {
    let mut extension = Extension::decode(&block.block.extension).unwrap();
    extension.record.anchor = anchor;
    let extension = extension.encode();
    let mut header = alloy_consensus::Header::decode(&mut block.block.header.as_ref()).unwrap();
    header.extra_data = Bytes::copy_from_slice(Extension::digest(&extension).as_slice());
    Block { header: alloy_rlp::encode(&header).into(), body: block.block.body.clone(), extension }
}

fn refusal(world: &World, block: Block) -> RecordError {
    let machine = world.ledger.machine();
    match machine.execute(machine.prepare(block).unwrap()) {
        Err(ExecuteError::Record { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_block_names_the_newest_anchor_and_a_restart_remembers_the_last() {
    let registry = Registry::at(3);
    let world = World::with(genesis(), registry.clone());
    assert_eq!(world.ledger.anchor(Height(0)).unwrap(), Some(Anchor::default()));
    assert_eq!(named(&world.mine_empty()), anchor(3));
    assert_eq!(named(&world.mine_empty()), anchor(3), "it may stand still");
    registry.move_to(5);
    world.send(&Tx::transfer(key(1).address(), 1, 0), 0);
    assert_eq!(named(&world.mine().unwrap()), anchor(5));
    let heights = [(1, Some(anchor(3))), (3, Some(anchor(5))), (4, None)];
    for (height, expected) in heights {
        assert_eq!(world.ledger.anchor(Height(height)).unwrap(), expected);
    }
    let again = World::open(genesis(), world.store.clone(), Registry::at(9));
    assert_eq!(again.ledger.anchor(Height(3)).unwrap(), Some(anchor(5)));
    let block = again.propose_at(TimestampMs(START.0 + 90_000), true).unwrap();
    assert_eq!(
        refusal(&again, renamed(&block, anchor(4))),
        RecordError::Backwards { height: Height(4), parent: Height(5) }
    );
}

#[test]
fn an_anchor_that_goes_back_or_is_not_known_yet_is_refused_each_in_its_way() {
    let (ahead, registry) = (Registry::at(8), Registry::at(5));
    let (ours, theirs) = (World::with(genesis(), ahead.clone()), World::with(genesis(), registry.clone()));
    ahead.move_to(5);
    theirs.follow(&ours.mine_empty());
    ahead.move_to(8);
    let early = ours.propose_at(TimestampMs(START.0 + 5_000), true).unwrap();
    assert_eq!(refusal(&theirs, early.block.clone()), RecordError::Anchor { height: Height(8) });
    let back = RecordError::Backwards { height: Height(4), parent: Height(5) };
    assert_eq!(refusal(&theirs, renamed(&early, anchor(4))), back);
    let none = RecordError::Backwards { height: Height(0), parent: Height(5) };
    assert_eq!(refusal(&theirs, renamed(&early, Anchor::default())), none, "none is no way round it");
    let other = Anchor { ledger: LedgerId(B256::ZERO), ..anchor(9) };
    assert!(matches!(refusal(&theirs, renamed(&early, other)), RecordError::Backwards { .. }));
    registry.move_to(8);
    theirs.follow(&early);
    // Above the head the parent's anchor counts, not the head's.
    registry.move_to(11);
    ahead.move_to(11);
    ours.keep(early);
    let high = ours.mine_empty();
    let next = ours.propose_at(TimestampMs(START.0 + 50_000), true).unwrap();
    let machine = theirs.ledger.machine();
    machine.execute(machine.prepare(high.block.clone()).unwrap()).unwrap();
    let back = RecordError::Backwards { height: Height(9), parent: Height(11) };
    assert_eq!(refusal(&theirs, renamed(&next, anchor(9))), back);
    machine.execute(machine.prepare(next.block.clone()).unwrap()).unwrap();
}

#[test]
fn nothing_is_proposed_while_the_registry_is_behind_the_parents_anchor() {
    let registry = Registry::at(6);
    let world = World::with(genesis(), registry.clone());
    world.mine_empty();
    registry.move_to(4);
    assert!(world.propose_at(TimestampMs(START.0 + 9_000), true).is_none());
    registry.move_to(6);
    assert!(world.propose_at(TimestampMs(START.0 + 9_000), true).is_some());
}

#[test]
fn a_ledger_without_a_registry_accepts_no_anchor() {
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let block = ours.mine_empty();
    assert_eq!(named(&block), Anchor::default());
    assert_eq!(refusal(&theirs, renamed(&block, anchor(1))), RecordError::NoRegistry { height: Height(1) });
    theirs.follow(&block);
}

fn gas_limit(block: &Executed) -> u64 {
    alloy_consensus::Header::decode(&mut block.block.header.as_ref()).unwrap().gas_limit
}

#[test]
fn a_later_protocol_version_holds_from_the_first_block_whose_anchor_reaches_it() {
    let registry = Registry::at(UPGRADE.0 - 1);
    let (ours, theirs) = (World::with(genesis(), registry.clone()), World::with(genesis(), registry.clone()));
    let limit = genesis().gas_limit;
    let before = ours.mine_empty();
    assert_eq!(gas_limit(&before), limit);
    theirs.follow(&before);
    registry.move_to(UPGRADE.0);
    let wider = ours.propose_at(TimestampMs(START.0 + 50_000), true).unwrap();
    assert_eq!(gas_limit(&wider), 2 * limit, "more gas is what the later version allows");
    // Neither version's blocks pass for the other's.
    let machine = theirs.ledger.machine();
    let early = renamed(&wider, anchor(UPGRADE.0 - 1));
    let refused = machine.execute(machine.prepare(early).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("gas"), "{refused}");
    theirs.follow(&wider);
}
