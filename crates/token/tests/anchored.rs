//! Token ledgers beside a root ledger: every block names a final block of that, and never an earlier one than its parent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bletchley_ledger::{
    Anchor, Block, ExecuteError, Executed, Extension, Machine, ProposeContext, RecordError, SharedStore,
};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, LedgerId, TimestampMs};
use bletchley_token::{Header, RootBlocks, TokenMachine};
use std::sync::{Arc, Mutex};
use support::{GENESIS, MemoryStore, address};

fn anchor(height: u64) -> Anchor {
    let block = BlockHash(B256::with_last_byte(u8::try_from(height).unwrap()));
    Anchor { ledger: LedgerId(B256::repeat_byte(0x77)), height: Height(height), block }
}

/// A root ledger that has come so far.
struct Root(Mutex<u64>);

impl RootBlocks for Root {
    fn newest(&self) -> Anchor {
        anchor(*self.0.lock().unwrap())
    }

    fn is_final(&self, named: &Anchor) -> bool {
        named.height.0 <= *self.0.lock().unwrap() && *named == anchor(named.height.0)
    }
}

struct Beside {
    machine: TokenMachine,
    store: SharedStore,
    root: Arc<Root>,
}

impl Beside {
    fn open(store: SharedStore, height: u64) -> Self {
        let root = Arc::new(Root(Mutex::new(height)));
        let machine = TokenMachine::anchored(GENESIS, store.clone(), root.clone()).unwrap();
        Self { machine, store, root }
    }

    fn propose(&self) -> Option<Executed> {
        let head = self.machine.head();
        let context = ProposeContext {
            parent: head.hash,
            time_ms: TimestampMs(head.time_ms.0 + 1),
            proposer: address("proposer"),
            allow_empty: true,
        };
        self.machine.propose(&context).unwrap()
    }

    fn keep(&self, executed: &Executed) {
        self.store.append(&executed.clone().into_stored(Bytes::new())).unwrap();
        self.machine.commit(executed.meta.hash).unwrap();
    }

    fn execute(&self, block: Block) -> Result<Executed, ExecuteError> {
        self.machine.execute(self.machine.prepare(block)?)
    }
}

/// The block with another anchor, in all else as its proposer would have made it.
fn renamed(block: &Executed, anchor: Anchor) -> Block {
    let mut extension = Extension::decode(&block.block.extension).unwrap();
    extension.record.anchor = anchor;
    let extension = extension.encode();
    let mut header = Header::decode_bytes(&block.block.header).unwrap();
    header.extension = Extension::digest(&extension);
    Block { header: header.encode_bytes(), body: block.block.body.clone(), extension }
}

#[test]
fn a_block_names_the_newest_final_block_of_the_root_ledger() {
    let ours = Beside::open(Arc::new(MemoryStore::default()), 4);
    let block = ours.propose().unwrap();
    ours.keep(&block);
    *ours.root.0.lock().unwrap() = 9;
    ours.keep(&ours.propose().unwrap());
    let named = |height| ours.machine.anchor(Height(height)).unwrap().map(|anchor| anchor.height.0);
    assert_eq!([named(0), named(1), named(2), named(3)], [Some(0), Some(4), Some(9), None]);
    // A restart remembers the last: a root ledger that is behind it makes no block.
    let behind = Beside::open(ours.store.clone(), 5);
    assert_eq!(behind.propose(), None);
    *behind.root.0.lock().unwrap() = 9;
    assert!(behind.propose().is_some());
}

#[test]
fn other_anchors_are_refused() {
    let ours = Beside::open(Arc::new(MemoryStore::default()), 4);
    let theirs = Beside::open(Arc::new(MemoryStore::default()), 4);
    let first = ours.propose().unwrap();
    ours.keep(&first);
    theirs.keep(&theirs.execute(first.block.clone()).unwrap());
    *ours.root.0.lock().unwrap() = 6;
    let next = ours.propose().unwrap();
    let refused = |block: Block| match theirs.execute(block) {
        Err(ExecuteError::Record { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(next.block.clone()), RecordError::Anchor { height: Height(6) });
    let backwards = RecordError::Backwards { height: Height(3), parent: Height(4) };
    assert_eq!(refused(renamed(&next, anchor(3))), backwards);
    assert!(matches!(refused(renamed(&next, Anchor::default())), RecordError::Anchor { .. }));
    *theirs.root.0.lock().unwrap() = 6;
    assert_eq!(theirs.execute(next.block.clone()).unwrap(), next);
    // The root ledger itself names nothing.
    let root = TokenMachine::open(GENESIS, Arc::new(MemoryStore::default())).unwrap();
    assert!(matches!(root.prepare(first.block), Err(ExecuteError::Mismatch { .. })));
}
