//! Blocks as every ledger keeps them: opaque sections that one machine understands, linked by header hash.

use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};

/// What travels between members and is executed: the machine's header, its ordered transactions and the extension
/// (millisecond time and delegation record, [`crate::Extension`]) that the header commits to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Block {
    /// The machine's header; its hash is the block's hash.
    pub header: Bytes,
    /// Ordered transactions in the machine's own encoding.
    pub body: Bytes,
    /// Canonical [`crate::Extension`].
    pub extension: Bytes,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Number of the block.
    pub height: Height,
    /// Hash of its header.
    pub hash: BlockHash,
    /// Hash of the header before it; zero for genesis.
    pub parent: BlockHash,
    /// Time of the block in milliseconds.
    pub time_ms: TimestampMs,
}

/// Where in a block a key (a transaction's hash) is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The transaction's hash.
    pub key: B256,
    /// Position among the block's transactions.
    pub position: u32,
}

/// A block with its results, not yet kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Where it stands.
    pub meta: BlockMeta,
    /// What was executed.
    pub block: Block,
    /// State commitment after it.
    pub state_root: B256,
    /// Receipts in the machine's own encoding.
    pub receipts: Bytes,
    /// State changes, canonical ([`crate::DiffWriter`]).
    pub diff: Bytes,
    /// Keys to find its transactions by.
    pub index: Vec<IndexEntry>,
    /// How many transactions it holds.
    pub transactions: u32,
}

impl Executed {
    /// The block as it is kept, with its consensus certificate beside it.
    #[must_use]
    pub fn into_stored(self, certificate: Bytes) -> StoredBlock {
        StoredBlock {
            meta: self.meta,
            block: self.block,
            receipts: self.receipts,
            diff: self.diff,
            certificate,
            index: self.index,
        }
    }
}

/// A part of a kept block, to be read alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Section {
    /// The machine's header.
    Header = 0,
    /// The transactions.
    Body = 1,
    /// The extension.
    Extension = 2,
    /// The receipts.
    Receipts = 3,
    /// The state changes.
    Diff = 4,
    /// The consensus certificate.
    Certificate = 5,
}

impl Section {
    /// Every section, in the order of the disk layout.
    pub const ALL: [Self; 6] =
        [Self::Header, Self::Body, Self::Extension, Self::Receipts, Self::Diff, Self::Certificate];

    /// Name as it shows in errors and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Extension => "extension",
            Self::Receipts => "receipts",
            Self::Diff => "diff",
            Self::Certificate => "certificate",
        }
    }
}

/// A block as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Where it stands.
    pub meta: BlockMeta,
    /// Header, transactions, extension.
    pub block: Block,
    /// Receipts in the machine's own encoding.
    pub receipts: Bytes,
    /// State changes.
    pub diff: Bytes,
    /// Consensus certificate.
    pub certificate: Bytes,
    /// Keys to find its transactions by, sorted by key.
    pub index: Vec<IndexEntry>,
}

impl StoredBlock {
    /// One section.
    #[must_use]
    pub const fn section(&self, section: Section) -> &Bytes {
        match section {
            Section::Header => &self.block.header,
            Section::Body => &self.block.body,
            Section::Extension => &self.block.extension,
            Section::Receipts => &self.receipts,
            Section::Diff => &self.diff,
            Section::Certificate => &self.certificate,
        }
    }
}
