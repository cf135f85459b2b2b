//! The Store seam's implementations: segment log over redb, memory, and a faulty one for tests; knows no machine.
//!
//! `crates/storage/DESIGN.md` has the layout of every file byte by byte, and the argument why a crash loses nothing.
//!
//! ```
//! use bletchley_ledger::{Block, BlockMeta, Store, StoredBlock};
//! use bletchley_primitives::{BlockHash, Bytes, Height, TimestampMs};
//! use bletchley_storage::MemoryStore;
//!
//! let store = MemoryStore::new();
//! let meta = BlockMeta { height: Height(0), hash: BlockHash::default(), parent: BlockHash::default(), time_ms: TimestampMs(0) };
//! let (receipts, diff, certificate) = (Bytes::new(), Bytes::new(), Bytes::new());
//! store.append(&StoredBlock { meta, block: Block::default(), receipts, diff, certificate, index: vec![] })?;
//! assert_eq!(store.head(), Some(meta));
//! # Ok::<(), bletchley_ledger::AppendError>(())
//! ```

pub mod conformance;
mod damage;
mod disk;
mod faulty;
mod inspect;
mod live;
mod memory;
mod open;
mod record;
mod registry;
mod scan;
mod sealed;
mod simulated;
mod snapshot;
mod store;
mod tables;

pub use damage::Damage;
pub use disk::{Disk, DiskFile, FolderDisk, FolderLock, Mode};
pub use faulty::FaultyStore;
pub use inspect::{Inspect, inspect, inspect_on};
pub use memory::MemoryStore;
pub use open::{FOLD_SIZE_BYTES, OpenError, OpenReport, Options, SEGMENT_SIZE_BYTES, Tail};
pub use record::RECORD_SIZE_BYTES_MAX;
pub use registry::{NAMES, open};
pub use simulated::{Fault, SimulatedDisk};
pub use store::SegmentStore;
