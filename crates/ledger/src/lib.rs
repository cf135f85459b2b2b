//! What every ledger has: blocks, delegation record, receipts and checkpoints, and the seams [`Machine`], [`Store`] and
//! [`Delegate`]; pure, no I/O.
//!
//! A block is made and kept in this order, and the order is the safety argument: a machine *executes* (nothing visible
//! changes), the store *appends* (durable), the machine *commits* (visible). What a reader saw is therefore on disk.
//!
//! ```
//! use bletchley_ledger::{DiffReader, DiffWriter};
//! let mut diff = DiffWriter::default();
//! diff.put(b"b", b"2");
//! diff.delete(b"a");
//! let bytes = diff.finish();
//! let changes: Vec<_> = DiffReader::new(&bytes).unwrap().collect::<Result<_, _>>().unwrap();
//! assert_eq!(changes, [(&b"a"[..], None), (&b"b"[..], Some(&b"2"[..]))]);
//! ```

mod block;
mod book;
mod checkpoint;
mod checkpoint_message;
mod delegate;
mod delegation;
mod diff;
mod finality;
mod machine;
mod protocol;
mod receipt;
mod store;
mod sync_message;

pub use block::{Block, BlockMeta, Executed, IndexEntry, Section, StoredBlock};
pub use book::{CertificateBook, CheckpointVote, Equivocation, Gathered, VoteError};
pub use checkpoint::{Certificate, CertificateError, Checkpoint, Finality, ValidatorSet};
pub use checkpoint_message::CheckpointMessage;
pub use delegate::{Answer, Delegate, NoDelegate, Place, RecordError, Refusal};
pub use delegation::{Anchor, DelegationRecord, EXTENSION_VERSION, Extension, Intervention};
pub use diff::{Change, DiffError, DiffReader, DiffWriter};
pub use finality::{
    CERTIFICATES_TABLE, FinalityProof, FinalityProofError, FinalityReadError, FinalityReader, HeaderLink,
    ProvedBlock, SetChange, StoredFinality,
};
pub use machine::{CommitError, ExecuteError, Head, Machine, Prepared, ProposeContext, ProposeError};
pub use protocol::{PROTOCOL_VERSION_FIRST, PROTOCOL_VERSION_NEWEST, PROTOCOL_VERSION_WIDER_BLOCKS};
pub use receipt::{Call, CallBounds, CallId, Receipt, SignedReceipt, Status};
pub use store::{
    AppendError, FoldError, Location, ReadError, SharedStore, SnapshotReader, Store, TableError,
    TruncateError,
};
pub use sync_message::{
    BlockParts, Blocks, Claim, Headers, HeightRange, Piece, RangeDigest, SyncMessage, WantBlocks, WantPiece,
};
