//! Certificates of a ledger with several validators: this member's votes, the others', and what came of them.
//!
//! Nothing here waits: votes are gathered behind final blocks, certificates are written in batches by
//! [`Certificates::tick`], and what was lost on the way is asked for again. Time is given from outside, so that the same
//! code runs in a simulation.
#![cfg_attr(
    not(test),
    allow(dead_code, unused_imports, reason = "the engines of several members are wired to it next")
)]

mod gather;
mod reader;
#[cfg(test)]
mod tests;
mod ticking;

use crate::metrics::{Hear, Refusal, Refused};
use crate::runner::Certifier;
use bletchley_consensus::{Nonsense, PeerId, Post, Receive, Schedule, To, Validators, epoch_of};
use bletchley_cryptlet::keys::Signer;
use bletchley_ledger::{
    CERTIFICATES_TABLE, Certificate, CertificateBook, Checkpoint, CheckpointMessage, CheckpointVote,
    FinalityReadError, FinalityReader, Gathered, HeaderLink, Section, SharedStore, StoredFinality,
    TableError, ValidatorSet,
};
use bletchley_primitives::{Bytes, DecodeError, Height, LedgerId};
use gather::Gathering;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
pub(crate) use ticking::Ticking;

/// Votes for blocks further above the head than this are not kept: whoever is that far behind asks later.
const AHEAD_BLOCKS_MAX: u64 = 256;
/// Blocks below the newest certified one for which votes still count.
const BEHIND_BLOCKS: u64 = 64;
/// Newest blocks without a certificate that are signed again after a restart.
const RESIGN_BLOCKS_MAX: u64 = 256;
/// Newest ends of epochs without a certificate that are signed again after a restart; older ones are asked for.
const RESIGN_EPOCHS_MAX: usize = 64;
/// How long a certificate may be missing before votes are sent again and others are asked.
const RETRY_MS: u64 = 1_000;
/// Longest time that a certificate stays in memory alone.
const WRITE_MS: u64 = 1_000;
/// Certificates that are written at once, at the latest.
const WRITE_MAX: usize = 256;
/// Most certificates that wait to be written; beyond them the oldest are dropped, and asked for again when needed.
const FRESH_MAX: usize = 4_096;
/// Requests for certificates that are answered for each member between two ticks.
const WANTS_PER_TICK_MAX: u32 = 4;

/// Reads a header as the ledger's machine defines it.
pub(crate) type ReadHeader = fn(&[u8]) -> Result<HeaderLink, DecodeError>;

/// Reads a header of a token ledger.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn token_header_link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
    let header = bletchley_token::Header::decode_bytes(bytes)?;
    let (height, parent, state) = (header.height, header.parent, header.state_root);
    Ok(HeaderLink { height, hash: header.hash(), parent, state })
}

/// What [`Certificates`] needs.
pub(crate) struct CertificatesParts {
    /// The ledger.
    pub(crate) ledger: LedgerId,
    /// Who signs, by epoch.
    pub(crate) schedule: Arc<dyn Schedule>,
    /// Where blocks are read and certificates written.
    pub(crate) store: SharedStore,
    /// How its headers are read.
    pub(crate) read_header: ReadHeader,
    /// This member's key; it signs while it is in the set.
    pub(crate) validator: Arc<dyn Signer + Send + Sync>,
    /// Sends on `Protocol::Checkpoints` of the ledger.
    pub(crate) post: Arc<dyn Post>,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct CertificateCounts {
    /// Certificates completed here or received.
    pub(crate) certified: AtomicU64,
    /// Messages refused as nonsense.
    pub(crate) refused: AtomicU64,
    /// Validators that signed two checkpoints for one height.
    pub(crate) equivocations: AtomicU64,
    /// Votes for another block than the final one.
    pub(crate) disagreements: AtomicU64,
    /// Requests for certificates that were sent because some were missing.
    pub(crate) asked: AtomicU64,
    /// Signatures that could not be made.
    pub(crate) unsigned: AtomicU64,
}

/// Signs, gathers, keeps and gives out the certificates of one ledger.
pub(crate) struct Certificates {
    parts: CertificatesParts,
    stored: StoredFinality,
    gathering: Mutex<Gathering>,
    changes: Mutex<reader::Changes>,
    counts: CertificateCounts,
}

/// The validators of an epoch, and what checkpoints call them by.
#[derive(Clone)]
struct Roster {
    validators: Arc<Validators>,
    set: Arc<ValidatorSet>,
}

impl Certificates {
    /// The certificates of a ledger whose store is open. What is missing of the newest heights and of the ends of epochs is
    /// signed again, and asked for by the first ticks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn open(parts: CertificatesParts) -> Result<Self, FinalityReadError> {
        let stored = StoredFinality::new(parts.store.clone());
        let book = CertificateBook::new(parts.ledger, parts.schedule.epoch_blocks());
        let this = Self {
            stored,
            gathering: Mutex::new(Gathering::new(book)),
            changes: Mutex::default(),
            counts: CertificateCounts::default(),
            parts,
        };
        this.recover()?;
        Ok(this)
    }

    /// What was counted.
    pub(crate) const fn counts(&self) -> &CertificateCounts {
        &self.counts
    }

    /// The newest height with a certificate that is known here.
    pub(crate) fn certified(&self) -> Height {
        self.gathering.lock().certified
    }

    /// The newest block that each validator was heard to vote for, and how long ago that was.
    pub(crate) fn heard(&self) -> BTreeMap<PeerId, (Height, Duration)> {
        let gathering = self.gathering.lock();
        gathering.heard.iter().map(|(peer, (height, at))| (*peer, (*height, at.elapsed()))).collect()
    }

    /// Names of the validators whose signatures the certificate of the head waits for.
    pub(crate) fn silent(&self) -> Vec<String> {
        let gathering = self.gathering.lock();
        let head = gathering.head;
        let silent = if gathering.certified >= head { Vec::new() } else { gathering.book.silent(head) };
        drop(gathering);
        let Some(roster) = self.roster(head) else { return Vec::new() };
        let named = |validator: &&bletchley_consensus::Validator| silent.contains(&validator.address);
        roster.validators.as_slice().iter().filter(named).map(|validator| validator.name.clone()).collect()
    }

    fn epoch(&self, height: Height) -> u64 {
        epoch_of(height, self.parts.schedule.epoch_blocks())
    }

    fn roster(&self, height: Height) -> Option<Roster> {
        let epoch = self.epoch(height);
        if let Some(roster) = self.gathering.lock().rosters.get(&epoch) {
            return Some(roster.clone());
        }
        let validators = self.parts.schedule.validators(epoch)?;
        let roster = Roster { set: Arc::new(validators.checkpoint_set()), validators };
        self.gathering.lock().remember(epoch, roster.clone());
        Some(roster)
    }

    fn is_alone(&self, height: Height) -> bool {
        let me = self.parts.validator.address();
        self.roster(height).is_some_and(|roster| roster.set.members() == [me])
    }

    /// This member's vote, if it validates there.
    fn vote(&self, checkpoint: &Checkpoint, roster: &Roster) -> Option<CheckpointVote> {
        roster.set.members().binary_search(&self.parts.validator.address()).ok()?;
        match self.parts.validator.sign(checkpoint.signing_digest()) {
            Ok(signature) => Some(CheckpointVote { checkpoint: *checkpoint, signature }),
            Err(error) => {
                self.counts.unsigned.fetch_add(1, Ordering::Relaxed);
                tracing::error!(height = %checkpoint.height, %error, "certificates.sign: no vote by this member until its key can be used");
                None
            }
        }
    }

    /// The checkpoint of a block in the store.
    fn checkpoint_of(&self, height: Height) -> Result<Option<Checkpoint>, FinalityReadError> {
        let Some(header) = self.parts.store.section(height, Section::Header)? else { return Ok(None) };
        let damaged = |source| FinalityReadError::Damaged { height, source };
        let link = (self.parts.read_header)(&header).map_err(damaged)?;
        let (Some(now), Some(next)) = (self.roster(height), self.roster(height.next())) else {
            return Ok(None);
        };
        Ok(Some(Checkpoint {
            ledger: self.parts.ledger,
            height,
            block: link.hash,
            state: link.state,
            validators: now.set.digest(),
            next: next.set.digest(),
        }))
    }

    /// Adds what this member kept to the book; its vote, if it has one, is for the others.
    fn note(&self, checkpoint: &Checkpoint) -> Option<CheckpointVote> {
        let roster = self.roster(checkpoint.height)?;
        let vote = self.vote(checkpoint, &roster);
        let own = vote.as_ref().map(|vote| (self.parts.validator.address(), vote.signature));
        let mut gathering = self.gathering.lock();
        gathering.head = gathering.head.max(checkpoint.height);
        let gathered = gathering.book.kept(*checkpoint, own, &roster.set);
        self.settle(&mut gathering, &roster, gathered);
        vote
    }

    /// Takes over what the book found.
    fn settle(&self, gathering: &mut Gathering, roster: &Roster, gathered: Gathered) {
        let of = |address| roster.validators.as_slice().iter().find(|validator| validator.address == address);
        let name = |address| of(address).map_or_else(String::new, |validator| validator.name.clone());
        for forger in gathered.forgers {
            if let Some(validator) = of(forger) {
                gathering.forgers.insert(validator.peer);
            }
        }
        if let Some(found) = gathered.equivocation {
            self.counts.equivocations.fetch_add(1, Ordering::Relaxed);
            let height = found.first.checkpoint.height;
            tracing::error!(%height, member = name(found.validator), address = %found.validator, first = %found.first.checkpoint.block, second = %found.second.checkpoint.block,
                "certificates.equivocation: a validator signed two checkpoints for one height; its key may be in wrong hands");
        }
        for (address, vote) in gathered.disagreements {
            self.counts.disagreements.fetch_add(1, Ordering::Relaxed);
            tracing::error!(height = %vote.checkpoint.height, member = name(address), theirs = %vote.checkpoint.block,
                "certificates.disagreement: a validator signed another block than the one that is final here; compare both members with `bletchley verify`");
        }
        if let Some(certificate) = gathered.certificate {
            self.complete(gathering, certificate);
        }
    }

    fn complete(&self, gathering: &mut Gathering, certificate: Certificate) {
        self.counts.certified.fetch_add(1, Ordering::Relaxed);
        gathering.complete(certificate);
    }
}

impl Certifier for Certificates {
    fn alone(&self, checkpoint: &Checkpoint) -> anyhow::Result<Option<Certificate>> {
        if !self.is_alone(checkpoint.height) {
            return Ok(None);
        }
        let signature = self.parts.validator.sign(checkpoint.signing_digest())?;
        Ok(Some(Certificate { checkpoint: *checkpoint, signatures: vec![signature] }))
    }

    fn kept(&self, checkpoint: &Checkpoint) {
        if self.is_alone(checkpoint.height) && matches!(self.stored.beside(checkpoint.height), Ok(Some(_))) {
            let mut gathering = self.gathering.lock();
            gathering.head = gathering.head.max(checkpoint.height);
            gathering.certified = gathering.certified.max(checkpoint.height);
            return; // its certificate stands beside it already
        }
        if let Some(vote) = self.note(checkpoint) {
            self.parts.post.send(To::All, CheckpointMessage::Votes(vec![vote]).encode());
        }
    }
}

impl Hear for Certificates {
    fn hear(&self, from: PeerId, message: Bytes) -> Result<(), Refusal> {
        let taken = self.take(from, &message);
        if taken.is_err() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl Receive for Certificates {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        Ok(self.hear(from, message)?)
    }
}
