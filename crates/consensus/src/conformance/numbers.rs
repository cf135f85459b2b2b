//! A ledger of numbers: the smallest application that notices when an engine misuses it.

use crate::{Application, ApplicationError, PeerId, Proposal, Schedule, Validators, epoch_of, last_of};
use bletchley_crypto::Domain;
use bletchley_ledger::{Block, ExecuteError, Head, RecordError};
use bletchley_primitives::{B256, BlockHash, Bytes, DecodeError, Height, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const BLOCK_DOMAIN: Domain = Domain("bletchley/consensus/conformance-block/1");
/// Most numbers in a block.
const BLOCK_NUMBERS_MAX: usize = 64;
/// Bytes of a header: parent, height, time.
const HEADER_SIZE_BYTES: usize = 48;

/// A transaction of the ledger of numbers.
pub type Number = u64;

/// What a member's application does wrong, on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// It proposes blocks that hold a number twice.
    InvalidBlocks,
    /// It never builds a block.
    Silence,
}

#[derive(Clone, Debug)]
struct Kept {
    block: Block,
    hash: BlockHash,
    parent: BlockHash,
    time_ms: u64,
    numbers: Vec<Number>,
    seal: Bytes,
}

#[derive(Default)]
struct State {
    chain: Vec<Kept>,
    executed: BTreeMap<BlockHash, Kept>,
    pool: BTreeSet<Number>,
    lie: Lie,
    early: u32,
    violations: Vec<String>,
    refused: u64,
}

/// The ledger of one member. It outlives a crash of the engine: what was final is kept, what was only executed is not.
#[derive(Default)]
pub struct Numbers {
    state: Mutex<State>,
}

impl Kept {
    fn decode(block: &Block) -> Result<(Self, Height), DecodeError> {
        let malformed = |problem: &str| DecodeError::Malformed(problem.to_owned());
        let field = |from: usize, to: usize| {
            block.header.get(from..to).ok_or_else(|| malformed("a header has 48 bytes"))
        };
        if block.header.len() != HEADER_SIZE_BYTES {
            return Err(malformed("a header has 48 bytes"));
        }
        let number = |bytes: &[u8]| u64::from_be_bytes(<[u8; 8]>::try_from(bytes).unwrap_or_default());
        if !block.body.len().is_multiple_of(8) || block.body.len() > BLOCK_NUMBERS_MAX * 8 {
            return Err(malformed("a body has at most 64 numbers of eight bytes"));
        }
        let kept = Self {
            block: block.clone(),
            hash: BlockHash(BLOCK_DOMAIN.digest(&[&block.header, &block.body])),
            parent: BlockHash(B256::from_slice(field(0, 32)?)),
            time_ms: number(field(40, 48)?),
            numbers: block.body.chunks_exact(8).map(number).collect(),
            seal: Bytes::new(),
        };
        Ok((kept, Height(number(field(32, 40)?))))
    }

    fn build(parent: &Head, time_ms: u64, numbers: &[Number]) -> Block {
        let mut header = parent.hash.0.to_vec();
        header.extend(parent.height.next().0.to_be_bytes());
        header.extend(time_ms.to_be_bytes());
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        Block { header: header.into(), body: body.into(), extension: Bytes::new() }
    }
}

impl State {
    fn head(&self) -> Head {
        let height = Height(self.chain.len() as u64);
        let (hash, time_ms) = self.chain.last().map_or((genesis(), 0), |kept| (kept.hash, kept.time_ms));
        Head { height, hash, state_root: hash.0, time_ms: TimestampMs(time_ms) }
    }

    /// The head as it is after `hash`: the head itself or an executed block above it, with the numbers in between.
    fn above(&self, hash: BlockHash) -> Option<(Head, BTreeSet<Number>)> {
        let (mut at, mut between, mut steps) = (hash, BTreeSet::new(), 0);
        let head = self.head();
        while at != head.hash {
            let kept = self.executed.get(&at)?;
            between.extend(&kept.numbers);
            (at, steps) = (kept.parent, steps + 1);
        }
        let time_ms = self.executed.get(&hash).map_or(head.time_ms, |kept| TimestampMs(kept.time_ms));
        let height = Height(head.height.0.saturating_add(steps));
        Some((Head { height, hash, state_root: hash.0, time_ms }, between))
    }

    fn holds(&self, number: Number) -> bool {
        self.chain.iter().any(|kept| kept.numbers.contains(&number))
    }

    fn violation(&mut self, height: Height, problem: String) -> ApplicationError {
        self.violations.push(problem.clone());
        ApplicationError::Keep { height, problem }
    }

    fn proposal(&mut self, kept: Kept, height: Height) -> Proposal {
        let proposal = Proposal {
            height,
            hash: kept.hash,
            time_ms: TimestampMs(kept.time_ms),
            block: kept.block.clone(),
            transactions: u32::try_from(kept.numbers.len()).unwrap_or(u32::MAX),
        };
        self.executed.insert(kept.hash, kept);
        proposal
    }
}

fn genesis() -> BlockHash {
    BlockHash(BLOCK_DOMAIN.digest(&[]))
}

impl Numbers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number arrives, as gossip would bring it. One that is final already is not taken again.
    pub fn submit(&self, number: Number) {
        let mut state = self.lock();
        if !state.holds(number) {
            state.pool.insert(number);
        }
    }

    /// Lets the application misbehave from now on.
    pub fn lie(&self, lie: Lie) {
        self.lock().lie = lie;
    }

    /// Answers the next `times` calls of `verify` with "not yet".
    pub fn be_early(&self, times: u32) {
        self.lock().early = times;
    }

    /// The process ends: what was only executed is forgotten, and so is the pool.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.executed.clear();
        state.pool.clear();
    }

    /// The newest `blocks` blocks vanish from the disk, as after restoring an old copy.
    pub fn lose(&self, blocks: usize) {
        let mut state = self.lock();
        let keep = state.chain.len().saturating_sub(blocks);
        state.chain.truncate(keep);
    }

    /// Hashes of all final blocks; the first is at height 1.
    #[must_use]
    pub fn history(&self) -> Vec<BlockHash> {
        self.lock().chain.iter().map(|kept| kept.hash).collect()
    }

    /// Times of all final blocks.
    #[must_use]
    pub fn times_ms(&self) -> Vec<u64> {
        self.lock().chain.iter().map(|kept| kept.time_ms).collect()
    }

    /// Every final number, in order.
    #[must_use]
    pub fn numbers(&self) -> Vec<Number> {
        self.lock().chain.iter().flat_map(|kept| kept.numbers.iter().copied()).collect()
    }

    /// How many blocks `verify` refused for good.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// What the engine did that no engine may do.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }
}

impl Application for Numbers {
    fn head(&self) -> Head {
        self.lock().head()
    }

    fn ready(&self) -> usize {
        self.lock().pool.len()
    }

    fn propose(
        &self,
        parent: BlockHash,
        time_ms: TimestampMs,
        allow_empty: bool,
    ) -> Result<Option<Proposal>, ApplicationError> {
        let mut state = self.lock();
        let Some((parent, _)) = state.above(parent) else {
            let problem = format!("propose was called on {parent}, which was not executed");
            let height = state.head().height.next();
            return Err(state.violation(height, problem));
        };
        let on_head = parent.hash == state.head().hash;
        let mut numbers: Vec<Number> =
            state.pool.iter().copied().take(if on_head { BLOCK_NUMBERS_MAX } else { 0 }).collect();
        match state.lie {
            Lie::Silence => return Ok(None),
            Lie::InvalidBlocks => numbers = vec![0, 0],
            Lie::None if numbers.is_empty() && !allow_empty => return Ok(None),
            Lie::None => {}
        }
        let block = Kept::build(&parent, time_ms.0.max(parent.time_ms.0), &numbers);
        let height = parent.height.next();
        let (kept, _) =
            Kept::decode(&block).map_err(|source| ExecuteError::Decode { part: "own block", source })?;
        Ok(Some(state.proposal(kept, height)))
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        let mut state = self.lock();
        let decoded = Kept::decode(&block);
        let Ok((kept, height)) = decoded else {
            state.refused += 1;
            return Err(
                ExecuteError::Internal { height: Height(0), problem: "undecodable".to_owned() }.into()
            );
        };
        if state.early > 0 {
            state.early -= 1;
            let source = RecordError::Anchor { height };
            return Err(ExecuteError::Record { height, source }.into());
        }
        let Some((parent, between)) = state.above(kept.parent) else {
            let head = state.head().hash;
            return Err(ExecuteError::NotOnHead { height, parent: kept.parent, head }.into());
        };
        let mut seen = between;
        let repeated = kept.numbers.iter().any(|number| !seen.insert(*number) || state.holds(*number));
        if repeated || parent.height.next() != height || kept.time_ms < parent.time_ms.0 {
            state.refused += 1;
            let problem =
                "a number that is there already, a wrong height or a time that goes back".to_owned();
            return Err(ExecuteError::Internal { height, problem }.into());
        }
        Ok(state.proposal(kept, height))
    }

    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        let mut state = self.lock();
        let head = state.head();
        let Some(kept) = state.executed.get(&hash).cloned() else {
            return Err(
                state.violation(head.height.next(), format!("{hash} became final without being executed"))
            );
        };
        if kept.parent != head.hash {
            let problem = format!("{hash} became final out of order: the head is block {}", head.height);
            return Err(state.violation(head.height.next(), problem));
        }
        for number in &kept.numbers {
            state.pool.remove(number);
        }
        state.chain.push(Kept { seal, ..kept });
        state.executed.remove(&hash);
        Ok(())
    }

    fn seal(&self, height: Height) -> Option<Bytes> {
        let Some(at) = height.0.checked_sub(1) else { return Some(Bytes::new()) };
        self.lock().chain.get(usize::try_from(at).ok()?).map(|kept| kept.seal.clone())
    }

    fn block(&self, height: Height) -> Option<Block> {
        let at = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.lock().chain.get(at).map(|kept| kept.block.clone())
    }

    fn abandon(&self, hash: BlockHash) {
        self.lock().executed.remove(&hash);
    }
}

/// Who stands in which epoch, as one member knows it: the set of an epoch is known once the epoch before it has ended
/// in that member's ledger.
pub(super) struct PlannedSchedule {
    pub(super) application: Arc<Numbers>,
    pub(super) epoch_blocks: u64,
    /// Sets by epoch; the last one stands for ever.
    pub(super) sets: Vec<Arc<Validators>>,
}

impl PlannedSchedule {
    fn set(&self, epoch: u64) -> Option<&Arc<Validators>> {
        let at = usize::try_from(epoch).unwrap_or(usize::MAX).min(self.sets.len().saturating_sub(1));
        self.sets.get(at)
    }
}

impl Schedule for PlannedSchedule {
    fn epoch_blocks(&self) -> u64 {
        self.epoch_blocks
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        let begun = epoch == 0
            || self.application.head().height >= last_of(epoch.saturating_sub(1), self.epoch_blocks);
        self.set(epoch).filter(|_| begun).cloned()
    }

    fn change_pending(&self) -> bool {
        let epoch = epoch_of(self.application.head().height.next(), self.epoch_blocks);
        self.set(epoch) != self.set(epoch.saturating_add(1))
    }
}

/// The validator that a peer is in the ledgers of numbers.
pub(super) fn validator(index: usize, peer: PeerId) -> crate::Validator {
    let address = bletchley_primitives::Address::from_word(peer.0);
    crate::Validator { name: format!("member-{index}"), peer, address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_above_the_head_may_not_repeat_what_stands_between() {
        let ledger = Numbers::default();
        ledger.submit(7);
        let first = ledger.propose(ledger.head().hash, TimestampMs(1), false).unwrap().unwrap();
        let parent = ledger.lock().above(first.hash).unwrap().0;
        let repeats = Kept::build(&parent, 2, &[7]);
        assert!(ledger.verify(repeats).is_err());
        let second = ledger.propose(first.hash, TimestampMs(2), true).unwrap().unwrap();
        assert_eq!((second.height, second.transactions), (Height(2), 0));
        assert!(ledger.finalize(second.hash, Bytes::new()).is_err());
        assert_eq!(ledger.violations().len(), 1);
        ledger.finalize(first.hash, Bytes::from_static(b"seal")).unwrap();
        ledger.finalize(second.hash, Bytes::new()).unwrap();
        assert_eq!((ledger.numbers(), ledger.ready()), (vec![7], 0));
        assert_eq!(ledger.seal(Height(1)).unwrap(), Bytes::from_static(b"seal"));
    }
}
