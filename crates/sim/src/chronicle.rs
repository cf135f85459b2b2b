//! What every honest member holds final, watched all the time.

use crate::plan::{Agreement, LEDGERS};
use bletchley_consensus::{Application, ApplicationError, PeerId, Post, Proposal, To};
use bletchley_ledger::{Block, Checkpoint, CheckpointMessage, Head};
use bletchley_primitives::{B256, BlockHash, Bytes, Height, TimestampMs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of the ledgers.
pub(crate) const NAMES: [&str; LEDGERS] = ["tokens", "evm"];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: BlockHash,
    state_root: B256,
}

#[derive(Default)]
struct Books {
    history: [BTreeMap<Height, Entry>; LEDGERS],
    seals: BTreeMap<(usize, Height), Bytes>,
    /// Every quorum makes a seal of its own.
    seals_differ: bool,
    /// The newest block that a reader could see, by member and ledger.
    seen: BTreeMap<(usize, usize), Height>,
    votes: BTreeMap<(usize, usize, Height), Checkpoint>,
    problems: Vec<String>,
    refused: u64,
}

/// One history for all honest members; the first contradiction stays.
#[derive(Default)]
pub(crate) struct Chronicle(Mutex<Books>);

impl Books {
    fn enter(&mut self, member: usize, ledger: usize, head: &Head) {
        let name = NAMES.get(ledger).copied().unwrap_or_default();
        let entry = Entry { hash: head.hash, state_root: head.state_root };
        let Some(history) = self.history.get_mut(ledger) else { return };
        let known = *history.entry(head.height).or_insert(entry);
        if known != entry {
            let Head { height, hash, state_root, .. } = head;
            self.problems.push(format!(
                "two histories: member {member} has block {hash} with state {state_root} at height {height} of {name}, \
                 another had {} with {}",
                known.hash, known.state_root
            ));
        }
        let seen = self.seen.entry((member, ledger)).or_default();
        *seen = head.height.max(*seen);
    }
}

impl Chronicle {
    /// Of members that agree like this: tendermint's seals are the votes that a member happened to have.
    pub(crate) fn of(agreement: Agreement) -> Self {
        let seals_differ = agreement == Agreement::Tendermint;
        Self(Mutex::new(Books { seals_differ, ..Books::default() }))
    }

    /// A reader looks at a member's head.
    pub(crate) fn seen(&self, member: usize, ledger: usize, head: &Head) {
        self.0.lock().enter(member, ledger, head);
    }

    /// A member has opened its files again.
    pub(crate) fn reopened(&self, member: usize, ledger: usize, head: &Head) {
        let mut books = self.0.lock();
        let before = books.seen.get(&(member, ledger)).copied().unwrap_or_default();
        if head.height < before {
            let name = NAMES.get(ledger).copied().unwrap_or_default();
            books.problems.push(format!(
                "a final block is lost: member {member} shows block {} of {name} after a restart, it had shown {before}",
                head.height
            ));
        }
        books.enter(member, ledger, head);
    }

    pub(crate) fn note(&self, problem: String) {
        self.0.lock().problems.push(problem);
    }

    /// The first problem.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.lock().problems.first().cloned()
    }

    /// How many proposals were refused, and who proposed them known.
    pub(crate) fn refused(&self) -> u64 {
        self.0.lock().refused
    }

    /// Height of the newest final block of a ledger.
    pub(crate) fn height(&self, ledger: usize) -> Height {
        let books = self.0.lock();
        let newest = books.history.get(ledger).and_then(|history| history.keys().next_back().copied());
        newest.unwrap_or_default()
    }

    /// State root after a final block.
    pub(crate) fn state_root(&self, ledger: usize, height: Height) -> Option<B256> {
        self.0.lock().history.get(ledger)?.get(&height).map(|entry| entry.state_root)
    }

    /// Digest over the history.
    pub(crate) fn digest(&self) -> B256 {
        let books = self.0.lock();
        let mut bytes = Vec::new();
        for (height, entry) in books.history.iter().flatten() {
            bytes.extend_from_slice(&height.0.to_be_bytes());
            bytes.extend_from_slice(entry.hash.0.as_slice());
        }
        alloy_primitives::keccak256(bytes)
    }

    fn finalized(&self, member: usize, ledger: usize, (hash, seal): (BlockHash, Bytes), head: &Head) {
        let mut books = self.0.lock();
        if head.hash != hash {
            books.problems.push(format!(
                "member {member} says that it kept block {hash}, but its head is block {} with hash {}",
                head.height, head.hash
            ));
        }
        books.enter(member, ledger, head);
        if books.seals_differ {
            return;
        }
        let known = books.seals.entry((ledger, head.height)).or_insert_with(|| seal.clone()).clone();
        if known != seal {
            books.problems.push(format!("two seals: {seal} and {known} for block {}", head.height));
        }
    }

    fn voted(&self, member: usize, ledger: usize, checkpoint: Checkpoint) {
        let mut books = self.0.lock();
        let known = *books.votes.entry((member, ledger, checkpoint.height)).or_insert(checkpoint);
        if known != checkpoint {
            books.problems.push(format!(
                "member {member} signed two checkpoints for height {}: {} and {}",
                checkpoint.height, known.block, checkpoint.block
            ));
        }
    }
}

/// An honest member's ledger under watch.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Application>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) member: usize,
    pub(crate) ledger: usize,
    /// Nobody has a reason to refuse what these propose.
    pub(crate) honest: Vec<PeerId>,
}

impl Application for Watched {
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
        self.inner.propose(parent, time_ms, empty)
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        self.inner.verify(block)
    }

    fn refused(&self, height: Height, proposer: PeerId, error: &ApplicationError) {
        if self.honest.contains(&proposer) {
            self.chronicle.note(format!(
                "member {} refused block {height} of {proposer}, who is honest: {error}",
                self.member
            ));
        }
        self.chronicle.0.lock().refused += 1;
        self.inner.refused(height, proposer, error);
    }

    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        let kept = self.inner.finalize(hash, seal.clone());
        if kept.is_ok() {
            self.chronicle.finalized(self.member, self.ledger, (hash, seal), &self.inner.head());
        }
        kept
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

/// An honest member's messages about checkpoints under watch.
pub(crate) struct WatchedPost {
    pub(crate) inner: Arc<dyn Post>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) member: usize,
    pub(crate) ledger: usize,
    /// This member.
    pub(crate) peer: PeerId,
}

impl Post for WatchedPost {
    fn send(&self, to: To, message: Bytes) -> bool {
        match CheckpointMessage::decode(&message) {
            Ok(CheckpointMessage::Votes(votes)) => {
                for vote in votes {
                    self.chronicle.voted(self.member, self.ledger, vote.checkpoint);
                }
            }
            Ok(_) => {}
            Err(error) => {
                self.chronicle.note(format!("member {} ({}) sends nonsense: {error}", self.member, self.peer))
            }
        }
        self.inner.send(to, message)
    }
}
