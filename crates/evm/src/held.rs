//! Executed blocks above the head, and what a block that stands on one of them sees.
//!
//! A held block's changes are those from the head to the state after it, its ancestors' included: one layer over the
//! head is therefore enough for its children, however long the chain is.

use alloy_primitives::B256;
use bletchley_primitives::{BlockHash, Bytes};
use std::{collections::VecDeque, sync::Arc};

use crate::{
    block::Kept,
    core::{Core, HeadBlock},
    execute::Above,
    state::{InterventionError, Overrides, Staged},
};

/// Most executed blocks that are held above the head. The oldest is forgotten for a new one, but for those that the new
/// one stands on.
pub const HELD_BLOCKS_MAX: usize = 32;

/// Encoded size of held blocks and their changes from which on older ones are forgotten: full blocks, proposed one after
/// the other by someone who does not want them to be final, must not fill the memory.
const HELD_SIZE_BYTES_MAX: usize = 96 << 20;

/// An executed block that is not yet the head.
pub(crate) struct HeldBlock {
    pub(crate) kept: Kept,
    pub(crate) staged: Staged,
}

impl HeldBlock {
    fn hash(&self) -> BlockHash {
        self.kept.block.hash
    }

    fn parent(&self) -> BlockHash {
        BlockHash(self.kept.block.header.parent_hash)
    }

    fn size_bytes(&self) -> usize {
        self.kept.block.size_bytes + self.staged.diff.len()
    }
}

/// Executed blocks above the head.
#[derive(Default)]
pub(crate) struct Held {
    blocks: VecDeque<HeldBlock>,
}

/// What a block stands on: the head, or a held block above it.
pub(crate) struct Base {
    /// The block below.
    pub(crate) parent: Arc<HeadBlock>,
    /// Changes from the head to the state after it; none on the head itself.
    changes: Option<Bytes>,
    /// Hashes of the blocks between the head and the new block.
    pub(crate) above: Above,
}

impl Base {
    pub(crate) const fn is_head(&self) -> bool {
        self.changes.is_none()
    }

    /// The layer over the head that a block with these interventions runs on, where it stands above the head.
    pub(crate) fn layer(
        &self,
        interventions: &[bletchley_ledger::Intervention],
    ) -> Result<Option<Arc<Overrides>>, InterventionError> {
        match &self.changes {
            Some(changes) => Overrides::above(changes, interventions).map(|layer| Some(Arc::new(layer))),
            None => Overrides::decode(interventions),
        }
    }
}

impl Held {
    fn find(&self, hash: BlockHash) -> Option<&HeldBlock> {
        self.blocks.iter().find(|held| held.hash() == hash)
    }

    /// The held blocks from `tip` downwards, as far as they hang together.
    fn chain(&self, tip: BlockHash) -> Vec<&HeldBlock> {
        let mut chain = Vec::new();
        let mut at = tip;
        while let Some(held) = self.find(at) {
            chain.push(held);
            at = held.parent();
        }
        chain
    }

    /// What a block on `parent` stands on; none if that is neither the head nor a held block that leads down to it.
    pub(crate) fn base(&self, head: &Arc<HeadBlock>, parent: BlockHash) -> Option<Base> {
        if parent == head.hash {
            return Some(Base { parent: head.clone(), changes: None, above: Above::default() });
        }
        let chain = self.chain(parent);
        let (tip, lowest) = (chain.first()?, chain.last()?);
        if lowest.parent() != head.hash {
            return None;
        }
        let hashes: Vec<B256> = chain.iter().rev().map(|held| held.hash().0).collect();
        Some(Base {
            parent: Arc::new(HeadBlock::of(&tip.kept.block)),
            changes: Some(tip.staged.diff.clone()),
            above: Above::new(head.height().next(), hashes),
        })
    }

    fn remove_at(&mut self, core: &Core, index: usize) {
        if let Some(held) = self.blocks.remove(index) {
            core.state.discard(held.staged);
        }
    }

    /// Takes out the block with this hash if it stands on `head`.
    pub(crate) fn take_child(&mut self, head: BlockHash, hash: BlockHash) -> Option<HeldBlock> {
        let index = self.blocks.iter().position(|held| held.hash() == hash && held.parent() == head)?;
        self.blocks.remove(index)
    }

    pub(crate) fn discard(&mut self, core: &Core, hash: BlockHash) {
        if let Some(index) = self.blocks.iter().position(|held| held.hash() == hash) {
            self.remove_at(core, index);
        }
    }

    pub(crate) fn discard_all(&mut self, core: &Core) {
        for held in self.blocks.drain(..) {
            core.state.discard(held.staged);
        }
    }

    pub(crate) fn put(&mut self, core: &Core, block: HeldBlock) {
        self.discard(core, block.hash());
        let below: Vec<BlockHash> = self.chain(block.parent()).iter().map(|held| held.hash()).collect();
        let mut size_bytes: usize =
            block.size_bytes() + self.blocks.iter().map(HeldBlock::size_bytes).sum::<usize>();
        while self.blocks.len() >= HELD_BLOCKS_MAX || size_bytes > HELD_SIZE_BYTES_MAX {
            let aside = self.blocks.iter().position(|held| !below.contains(&held.hash()));
            let full = self.blocks.len() >= HELD_BLOCKS_MAX;
            let Some(index) = aside.or(full.then_some(0)) else { break };
            size_bytes -= self.blocks.get(index).map_or(0, HeldBlock::size_bytes);
            self.remove_at(core, index);
        }
        self.blocks.push_back(block);
    }
}
