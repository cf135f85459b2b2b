//! A member that proposes nothing, or what does not hold.

use bletchley_consensus::{Application, ApplicationError, PeerId, Proposal};
use bletchley_ledger::{Block, Head};
use bletchley_primitives::{BlockHash, Bytes, Height, TimestampMs};
use bletchley_storage::conformance::Numbers;
use parking_lot::Mutex;
use std::sync::Arc;

/// A ledger whose proposals are changed on their way out; everything else is as it should be.
pub(crate) struct Liar {
    pub(crate) inner: Arc<dyn Application>,
    /// What it changes; nothing is proposed without.
    pub(crate) lies: Option<Mutex<Numbers>>,
}

fn changed(bytes: &Bytes, draw: &mut Numbers) -> Bytes {
    let mut changed = bytes.to_vec();
    let at = draw.below(changed.len().max(1) as u64) as usize;
    match changed.get_mut(at) {
        Some(byte) => *byte ^= 1 << draw.below(8),
        None => changed.push(1),
    }
    changed.into()
}

/// The block with one thing changed.
pub(crate) fn falsified(block: &Block, draw: &mut Numbers) -> Block {
    let Block { header, body, extension } = block.clone();
    match draw.below(5) {
        0 | 1 => Block { header: changed(&header, draw), body, extension },
        2 => Block { header, body: changed(&body, draw), extension },
        3 => Block { header, body, extension: changed(&extension, draw) },
        _ => Block { header, body: Bytes::new(), extension: Bytes::new() },
    }
}

impl Application for Liar {
    fn head(&self) -> Head {
        self.inner.head()
    }

    fn ready(&self) -> usize {
        self.inner.ready()
    }

    fn propose(
        &self,
        parent: BlockHash,
        time_ms: TimestampMs,
        empty: bool,
    ) -> Result<Option<Proposal>, ApplicationError> {
        let Some(lies) = &self.lies else { return Ok(None) };
        let proposal = self.inner.propose(parent, time_ms, empty)?;
        Ok(proposal.map(|proposal| {
            let mut draw = lies.lock();
            Proposal { block: falsified(&proposal.block, &mut draw), ..proposal }
        }))
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        self.inner.verify(block)
    }

    fn refused(&self, height: Height, proposer: PeerId, error: &ApplicationError) {
        self.inner.refused(height, proposer, error);
    }

    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        self.inner.finalize(hash, seal)
    }

    fn seal(&self, height: Height) -> Option<Bytes> {
        self.inner.seal(height)
    }

    fn block(&self, height: Height) -> Option<Block> {
        self.inner.block(height)
    }

    fn abandon(&self, hash: BlockHash) {
        self.inner.abandon(hash);
    }
}
