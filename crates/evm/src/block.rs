//! Blocks as readers see them, and a cache of the last ones that were read.

use alloy_consensus::Header;
use alloy_rlp::Decodable;
use bletchley_ledger::{BlockMeta, Extension, ReadError, Section, Store};
use bletchley_primitives::{BlockHash, Height, TimestampMs, decode_bounded};
use std::{collections::VecDeque, sync::Arc};

use crate::{
    body,
    core::HeadBlock,
    header::HEADER_SIZE_BYTES_MAX,
    receipts::{self, MinedReceipt},
    tx::{self, RecoveredTx, TxRules},
};

/// A block with its transactions decoded and their senders known.
#[derive(Clone, Debug)]
pub struct EvmBlock {
    /// Hash of the header.
    pub hash: BlockHash,
    /// The Ethereum header.
    pub header: Header,
    /// The transactions, in order.
    pub transactions: Vec<Arc<RecoveredTx>>,
    /// What stands beside the header: time in milliseconds, delegation record, interventions.
    pub extension: Extension,
    /// Size of header, transactions and extension.
    pub size_bytes: usize,
}

impl EvmBlock {
    /// Number of the block.
    #[must_use]
    pub const fn height(&self) -> Height {
        Height(self.header.number)
    }

    /// Time of the block.
    #[must_use]
    pub const fn time_ms(&self) -> TimestampMs {
        self.extension.time_ms
    }

    /// Base fee per unit of gas, in wei.
    #[must_use]
    pub fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }
}

/// A block and what became of its transactions.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) block: Arc<EvmBlock>,
    pub(crate) receipts: Arc<Vec<MinedReceipt>>,
}

fn damaged(height: Height, section: Section, problem: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged {
        place: format!("the {} of block {height}", section.name()),
        problem: problem.to_string(),
    }
}

/// The header of a block that the store holds.
pub(crate) fn read_header(store: &dyn Store, height: Height) -> Result<Option<Header>, ReadError> {
    let Some(bytes) = store.section(height, Section::Header)? else { return Ok(None) };
    decode_header(&bytes).map(Some).map_err(|error| damaged(height, Section::Header, error))
}

/// What children of a block that the store holds must know of it.
pub(crate) fn read_head(store: &dyn Store, meta: BlockMeta) -> Result<Option<HeadBlock>, ReadError> {
    let Some(header) = read_header(store, meta.height)? else { return Ok(None) };
    let anchor = read_extension(store, meta.height)?.map(|extension| extension.record.anchor);
    Ok(anchor.map(|anchor| HeadBlock { hash: meta.hash, header, time_ms: meta.time_ms, anchor }))
}

/// The extension of a block that the store holds.
pub(crate) fn read_extension(store: &dyn Store, height: Height) -> Result<Option<Extension>, ReadError> {
    let Some(bytes) = store.section(height, Section::Extension)? else { return Ok(None) };
    Extension::decode(&bytes).map(Some).map_err(|error| damaged(height, Section::Extension, error))
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, bletchley_primitives::DecodeError> {
    decode_bounded::<HeaderBytes>(bytes, HEADER_SIZE_BYTES_MAX).map(|header| header.0)
}

/// A header whose encoding is checked to be the canonical one: Ethereum's decoder accepts fewer trailing fields.
struct HeaderBytes(Header);

impl Decodable for HeaderBytes {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let whole = *buf;
        let header = Header::decode(buf)?;
        let read = whole.len().saturating_sub(buf.len());
        if whole.get(..read).is_some_and(|bytes| bytes == alloy_rlp::encode(&header).as_slice()) {
            Ok(Self(header))
        } else {
            Err(alloy_rlp::Error::Custom("the header's encoding is not canonical"))
        }
    }
}

/// A block that the store holds, decoded.
pub(crate) fn read(store: &dyn Store, height: Height, rules: &TxRules) -> Result<Option<Kept>, ReadError> {
    let Some(stored) = store.block(height)? else { return Ok(None) };
    let header =
        decode_header(&stored.block.header).map_err(|error| damaged(height, Section::Header, error))?;
    let raws = body::decode(&stored.block.body).map_err(|error| damaged(height, Section::Body, error))?;
    let kept =
        receipts::decode(&stored.receipts).map_err(|error| damaged(height, Section::Receipts, error))?;
    let extension = Extension::decode(&stored.block.extension)
        .map_err(|error| damaged(height, Section::Extension, error))?;
    if kept.len() != raws.len() {
        return Err(damaged(height, Section::Receipts, "there are not as many receipts as transactions"));
    }
    let transactions: Vec<Arc<RecoveredTx>> = raws
        .into_iter()
        .zip(&kept)
        .map(|(raw, receipt)| tx::with_sender(raw, receipt.sender, rules).map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(height, Section::Body, error))?;
    let base_fee = header.base_fee_per_gas.unwrap_or_default();
    let receipts = receipts::complete(kept, &transactions, base_fee);
    let block = EvmBlock {
        hash: stored.meta.hash,
        header,
        transactions,
        extension,
        size_bytes: stored.block.header.len() + stored.block.body.len() + stored.block.extension.len(),
    };
    Ok(Some(Kept { block: Arc::new(block), receipts: Arc::new(receipts) }))
}

/// Most memory that cached blocks may take, estimated.
const CACHE_SIZE_BYTES_MAX: usize = 48 << 20;
/// Most cached blocks.
const CACHE_BLOCKS_MAX: usize = 256;
/// What a decoded transaction takes beyond its bytes.
const TX_OVERHEAD_BYTES: usize = 512;

/// Blocks that were read or committed lately; the longest unused leaves first.
#[derive(Debug, Default)]
pub(crate) struct BlockCache {
    /// Least recently used first.
    entries: VecDeque<(Kept, usize)>,
    size_bytes: usize,
}

impl BlockCache {
    pub(crate) fn get(&mut self, height: Height) -> Option<Kept> {
        let index = self.entries.iter().rposition(|(kept, _)| kept.block.height() == height)?;
        let entry = self.entries.remove(index)?;
        let kept = entry.0.clone();
        self.entries.push_back(entry);
        Some(kept)
    }

    pub(crate) fn put(&mut self, kept: Kept) {
        let logs: usize = kept
            .receipts
            .iter()
            .flat_map(|receipt| &receipt.logs)
            .map(|log| 160 + log.data.data.len() + log.topics().len() * 32)
            .sum();
        let size_bytes = kept.block.size_bytes * 2 + kept.block.transactions.len() * TX_OVERHEAD_BYTES + logs;
        self.size_bytes += size_bytes;
        self.entries.push_back((kept, size_bytes));
        while self.entries.len() > 1
            && (self.size_bytes > CACHE_SIZE_BYTES_MAX || self.entries.len() > CACHE_BLOCKS_MAX)
        {
            if let Some((_, gone)) = self.entries.pop_front() {
                self.size_bytes -= gone;
            }
        }
    }

    pub(crate) fn forget_above(&mut self, height: Height) {
        self.entries.retain(|(kept, _)| kept.block.height() <= height);
        self.size_bytes = self.entries.iter().map(|(_, size_bytes)| size_bytes).sum();
    }
}
