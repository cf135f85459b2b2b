//! Which block a reader means, and the state it sees there.

use alloy_consensus::Header;
use bletchley_ledger::{Anchor, Extension, ReadError};
use bletchley_primitives::{BlockHash, Height, TimestampMs};
use std::fmt;

use crate::{
    block::{self, EvmBlock},
    core::{Core, HeadBlock},
    header::Frame,
    state::{HistoryError, State, StateError, StateView},
};

/// A block as a reader names it. This ledger's blocks are final when they are committed, so that `safe` and `finalized`
/// are `Latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BlockRef {
    /// The next block: the head's state in the next block's surroundings.
    Pending,
    /// The head.
    #[default]
    Latest,
    /// The genesis block.
    Earliest,
    /// The block at a height.
    Height(Height),
    /// The block with a hash.
    Hash(BlockHash),
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Latest => f.write_str("latest"),
            Self::Earliest => f.write_str("earliest"),
            Self::Height(height) => write!(f, "{height}"),
            Self::Hash(hash) => write!(f, "{hash}"),
        }
    }
}

/// Why a block or its state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such block.
    #[error("header not found: no block {0} on this ledger")]
    NoBlock(BlockRef),
    /// The state of that height is not kept.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The data could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A block's surroundings and the state after it.
pub(crate) struct Seen {
    pub(crate) frame: Frame,
    pub(crate) view: StateView,
}

impl Core {
    /// The height that a reader means; the head's for "pending".
    pub(crate) fn height_of(&self, at: BlockRef) -> Result<Height, LookupError> {
        let head = self.head().height();
        let height = match at {
            BlockRef::Pending | BlockRef::Latest => head,
            BlockRef::Earliest => Height(0),
            BlockRef::Height(height) => height,
            BlockRef::Hash(hash) => self.store.height_of(hash)?.ok_or(LookupError::NoBlock(at))?,
        };
        if height > head { Err(LookupError::NoBlock(at)) } else { Ok(height) }
    }

    /// The state that a reader means.
    pub(crate) fn view(&self, at: BlockRef) -> Result<StateView, LookupError> {
        match at {
            BlockRef::Pending | BlockRef::Latest => Ok(self.state.latest()),
            _ => Ok(self.state.view_at(self.height_of(at)?)?),
        }
    }

    /// The surroundings and the state that a reader means.
    pub(crate) fn see(&self, at: BlockRef) -> Result<Seen, LookupError> {
        match at {
            BlockRef::Pending => {
                let (head, view) = self.at_head(State::latest);
                Ok(Seen { frame: self.pending_frame(&head), view })
            }
            BlockRef::Latest => {
                let (head, view) = self.at_head(State::latest);
                Ok(Seen { frame: self.frame_of_head(&head), view })
            }
            _ => {
                let height = self.height_of(at)?;
                let view = self.state.view_at(height)?;
                Ok(Seen { frame: self.frame_at(height)?, view })
            }
        }
    }

    fn frame_of_head(&self, head: &HeadBlock) -> Frame {
        self.frame_from(&head.header, head.time_ms)
    }

    fn frame_from(&self, header: &Header, time_ms: TimestampMs) -> Frame {
        Frame {
            parent: BlockHash(header.parent_hash),
            height: Height(header.number),
            time_ms,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            fork: self.genesis.fork,
        }
    }

    /// The surroundings of a block that was kept.
    pub(crate) fn frame_of_block(&self, block: &EvmBlock) -> Frame {
        self.frame_from(&block.header, block.time_ms())
    }

    fn frame_at(&self, height: Height) -> Result<Frame, LookupError> {
        let missing = || LookupError::NoBlock(BlockRef::Height(height));
        let header = block::read_header(&*self.store, height)?.ok_or_else(missing)?;
        let time_ms = match self.store.meta(height)? {
            Some(meta) => meta.time_ms,
            None => return Err(missing()),
        };
        Ok(self.frame_from(&header, time_ms))
    }

    /// The header at a height; none above the head.
    pub(crate) fn header_at(&self, height: Height) -> Result<Option<Header>, ReadError> {
        let head = self.head();
        if height == head.height() {
            return Ok(Some(head.header.clone()));
        }
        if height > head.height() { Ok(None) } else { block::read_header(&*self.store, height) }
    }

    /// The extension at a height; none above the head.
    pub(crate) fn extension_at(&self, height: Height) -> Result<Option<Extension>, ReadError> {
        if height > self.head().height() {
            return Ok(None);
        }
        block::read_extension(&*self.store, height)
    }

    /// The registry state that the block at a height names; none above the head.
    pub(crate) fn anchor_at(&self, height: Height) -> Result<Option<Anchor>, ReadError> {
        let head = self.head();
        if height == head.height() {
            return Ok(Some(head.anchor));
        }
        Ok(self.extension_at(height)?.map(|extension| extension.record.anchor))
    }
}
