//! Votes and certificates in memory, messages from others, and what is done when time passes.

use super::*;
use bletchley_consensus::last_of;
use bletchley_ledger::VoteError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Rosters that are remembered.
const ROSTERS_MAX: usize = 8;

/// What is known of the heights that matter now.
pub(super) struct Gathering {
    pub(super) book: CertificateBook,
    /// The newest block kept here.
    pub(super) head: Height,
    /// The newest certified height.
    pub(super) certified: Height,
    /// Certificates that are not written yet.
    pub(super) fresh: BTreeMap<Height, Certificate>,
    /// Ends of epochs that have no certificate here, below what the book holds.
    pub(super) missing: BTreeSet<Height>,
    /// Members whose votes were found to be forged after they were taken.
    pub(super) forgers: BTreeSet<PeerId>,
    pub(super) rosters: BTreeMap<u64, Roster>,
    /// Heights that were open at the last retry.
    stale: BTreeSet<Height>,
    wants: BTreeMap<PeerId, u32>,
    retry_at_ms: u64,
    written_at_ms: u64,
    /// How often others were asked: each time another one.
    turns: usize,
    /// The newest block that each validator was heard to vote for, and when.
    pub(super) heard: BTreeMap<PeerId, (Height, Instant)>,
}

impl Gathering {
    pub(super) const fn new(book: CertificateBook) -> Self {
        Self {
            book,
            head: Height(0),
            certified: Height(0),
            fresh: BTreeMap::new(),
            missing: BTreeSet::new(),
            forgers: BTreeSet::new(),
            rosters: BTreeMap::new(),
            stale: BTreeSet::new(),
            wants: BTreeMap::new(),
            retry_at_ms: 0,
            written_at_ms: 0,
            turns: 0,
            heard: BTreeMap::new(),
        }
    }

    /// A validator has voted for a block.
    fn hear(&mut self, from: PeerId, height: Height) {
        let newest = self.heard.get(&from).map_or(height, |(newest, _)| height.max(*newest));
        self.heard.insert(from, (newest, Instant::now()));
    }

    pub(super) fn remember(&mut self, epoch: u64, roster: Roster) {
        self.rosters.insert(epoch, roster);
        if self.rosters.len() > ROSTERS_MAX {
            self.rosters.pop_first();
        }
    }

    pub(super) fn complete(&mut self, certificate: Certificate) {
        let height = certificate.checkpoint.height;
        self.book.certified(&certificate);
        self.missing.remove(&height);
        self.certified = self.certified.max(height);
        self.book.forget_below(Height(self.certified.0.saturating_sub(BEHIND_BLOCKS)));
        self.fresh.insert(height, certificate);
        if self.fresh.len() > FRESH_MAX {
            self.fresh.pop_first();
        }
    }

    /// Heights that need a certificate and have none: above the newest certified one, and ends of epochs.
    fn open(&self, epoch_blocks: u64) -> BTreeSet<Height> {
        let open = self.book.open().into_iter();
        let needed = open.filter(|height| *height > self.certified || height.0.is_multiple_of(epoch_blocks));
        needed.chain(self.missing.iter().copied()).collect()
    }
}

impl Certificates {
    /// Looks what a restart left without a certificate.
    pub(super) fn recover(&self) -> Result<(), FinalityReadError> {
        let Some(head) = self.parts.store.head().map(|head| head.height) else { return Ok(()) };
        self.gathering.lock().head = head;
        let lowest = head.0.saturating_sub(CertificateBook::HEIGHTS_MAX as u64).max(1);
        let mut certified = Height(0);
        for height in (lowest..=head.0).rev() {
            if self.stored.certificate(Height(height))?.is_some() {
                certified = Height(height);
                break;
            }
        }
        self.gathering.lock().certified = certified;
        let epoch_blocks = self.parts.schedule.epoch_blocks();
        let mut epoch = 0;
        while last_of(epoch, epoch_blocks) <= head {
            let last = last_of(epoch, epoch_blocks);
            if self.stored.certificate(last)?.is_none() {
                self.gathering.lock().missing.insert(last);
            }
            epoch += 1;
        }
        let missing: Vec<Height> =
            self.gathering.lock().missing.iter().rev().take(RESIGN_EPOCHS_MAX).copied().collect();
        for height in missing {
            self.resign(height)?;
        }
        for height in certified.0.max(head.0.saturating_sub(RESIGN_BLOCKS_MAX)) + 1..=head.0 {
            self.resign(Height(height))?;
        }
        Ok(())
    }

    fn resign(&self, height: Height) -> Result<(), FinalityReadError> {
        if let Some(checkpoint) = self.checkpoint_of(height)? {
            self.note(&checkpoint);
        }
        Ok(())
    }

    /// To be called several times a second, on a thread that may write to the disk.
    pub(crate) fn tick(&self, now_ms: u64) {
        let mut gathering = self.gathering.lock();
        gathering.wants.clear();
        let due =
            now_ms >= gathering.written_at_ms.saturating_add(WRITE_MS) || gathering.fresh.len() >= WRITE_MAX;
        let write = due && !gathering.fresh.is_empty();
        if due {
            gathering.written_at_ms = now_ms;
        }
        drop(gathering);
        if write && let Err(error) = self.write() {
            tracing::warn!(%error, "certificates.write: certificates stay in memory until the next attempt");
        }
        self.retry(now_ms);
    }

    /// Writes every certificate that is only in memory; also to be called before the node stops.
    ///
    /// # Errors
    /// [`TableError`]; they stay in memory then.
    pub(crate) fn write(&self) -> Result<(), TableError> {
        let fresh = self.gathering.lock().fresh.clone();
        if fresh.is_empty() {
            return Ok(());
        }
        let row = |(height, certificate): (&Height, &Certificate)| {
            let key = Bytes::copy_from_slice(&height.0.to_be_bytes());
            (key, Some(Bytes::from(alloy_rlp::encode(certificate))))
        };
        let rows: Vec<(Bytes, Option<Bytes>)> = fresh.iter().map(row).collect();
        self.parts.store.table_write(CERTIFICATES_TABLE, &rows)?;
        let mut gathering = self.gathering.lock();
        for height in fresh.keys() {
            gathering.fresh.remove(height);
        }
        Ok(())
    }

    /// Sends own votes again, and asks another member, for what has been open since the last time.
    fn retry(&self, now_ms: u64) {
        let mut gathering = self.gathering.lock();
        if now_ms < gathering.retry_at_ms {
            return;
        }
        gathering.retry_at_ms = now_ms.saturating_add(RETRY_MS);
        let open = gathering.open(self.parts.schedule.epoch_blocks());
        let stale: Vec<Height> = open.intersection(&gathering.stale).copied().collect();
        gathering.stale = open;
        if stale.is_empty() {
            return;
        }
        // The ends of epochs are the lowest of them; the newest height covers all others.
        let (low, high) = (CheckpointMessage::HEIGHTS_MAX / 2, CheckpointMessage::HEIGHTS_MAX / 2);
        let mut heights: BTreeSet<Height> = stale.iter().take(low).copied().collect();
        heights.extend(stale.iter().rev().take(high));
        let me = self.parts.validator.address();
        let votes: Vec<CheckpointVote> =
            heights.iter().filter_map(|height| gathering.book.vote(*height, me).cloned()).collect();
        gathering.turns = gathering.turns.wrapping_add(1);
        let (turn, head) = (gathering.turns, gathering.head);
        drop(gathering);
        if !votes.is_empty() {
            self.parts.post.send(To::All, CheckpointMessage::Votes(votes).encode());
        }
        let want = CheckpointMessage::Want(heights.into_iter().collect()).encode();
        let Some(roster) = self.roster(head) else { return };
        let others = roster.validators.as_slice().iter().filter(|validator| validator.address != me);
        let others: Vec<PeerId> = others.map(|validator| validator.peer).collect();
        if let Some(peer) = turn.checked_rem(others.len()).and_then(|at| others.get(at)) {
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            self.parts.post.send(To::One(*peer), want);
        }
    }

    pub(super) fn take(&self, from: PeerId, message: &[u8]) -> Result<(), Refusal> {
        let message = CheckpointMessage::decode(message);
        let message = message.map_err(|error| Refusal::new(Refused::Malformed, error))?;
        if self.gathering.lock().forgers.remove(&from) {
            return Err(Refusal::new(Refused::Signature, "a vote that it sent before was not signed by it"));
        }
        match message {
            CheckpointMessage::Votes(votes) => {
                votes.into_iter().try_for_each(|vote| self.take_vote(from, vote))
            }
            CheckpointMessage::Want(heights) => {
                self.answer(from, &heights);
                Ok(())
            }
            CheckpointMessage::Certificates(all) => {
                all.into_iter().try_for_each(|one| self.take_certificate(one))
            }
        }
    }

    fn take_vote(&self, from: PeerId, vote: CheckpointVote) -> Result<(), Refusal> {
        let height = vote.checkpoint.height;
        if height.0 > self.gathering.lock().head.0.saturating_add(AHEAD_BLOCKS_MAX) {
            return Ok(()); // this member is behind, and asks when it comes there
        }
        let Some(roster) = self.roster(height) else { return Ok(()) };
        let voter = roster.validators.get(from).map(|validator| validator.address);
        let voter = voter.ok_or_else(|| {
            Refusal::new(Refused::NotEntitled, format!("a vote for block {height} by no validator"))
        })?;
        let mut gathering = self.gathering.lock();
        let offered = gathering.book.offer(voter, vote, &roster.set);
        let gathered = offered.map_err(|error| {
            let reason = match error {
                VoteError::Ledger(_) | VoteError::WrongSet(_) => Refused::WrongLedger,
                VoteError::Stranger { .. } => Refused::NotEntitled,
                VoteError::Liar { .. } => Refused::Equivocation,
                VoteError::Signature { .. } => Refused::Signature,
            };
            Refusal::new(reason, error)
        })?;
        gathering.hear(from, height);
        self.settle(&mut gathering, &roster, gathered);
        Ok(())
    }

    fn take_certificate(&self, certificate: Certificate) -> Result<(), Refusal> {
        let checkpoint = certificate.checkpoint;
        let height = checkpoint.height;
        if checkpoint.ledger != self.parts.ledger {
            let problem = format!("a certificate of block {height} of another ledger");
            return Err(Refusal::new(Refused::WrongLedger, problem));
        }
        let gathering = self.gathering.lock();
        let wanted = gathering.stale.contains(&height) && height <= gathering.head;
        drop(gathering);
        if !wanted {
            return Ok(()); // it came twice, or late
        }
        let Some(roster) = self.roster(height) else { return Ok(()) };
        certificate.verify(&roster.set).map_err(|error| {
            Refusal::new(Refused::Signature, format!("a certificate of block {height}: {error}"))
        })?;
        match self.checkpoint_of(height) {
            Ok(Some(own)) if own == checkpoint => {
                let mut gathering = self.gathering.lock();
                gathering.stale.remove(&height);
                self.complete(&mut gathering, certificate);
            }
            Ok(Some(own)) => {
                self.counts.disagreements.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%height, own = %own.block, theirs = %checkpoint.block,
                    "certificates.disagreement: a quorum certified another block than the one that is final here; stop this member and compare it with the others by `bletchley verify`");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%height, %error, "certificates.read"),
        }
        Ok(())
    }

    /// Sends what another member misses: certificates, or this member's votes where there is none yet.
    fn answer(&self, to: PeerId, heights: &[Height]) {
        let mut gathering = self.gathering.lock();
        let asked = gathering.wants.entry(to).or_default();
        *asked = asked.saturating_add(1);
        if *asked > WANTS_PER_TICK_MAX {
            return;
        }
        drop(gathering);
        let (mut certificates, mut votes) = (Vec::new(), Vec::new());
        for height in heights {
            match self.certificate(*height) {
                Ok(Some(certificate)) => certificates.push(certificate),
                Ok(None) => {
                    let me = self.parts.validator.address();
                    votes.extend(self.gathering.lock().book.vote(*height, me).cloned());
                }
                Err(error) => tracing::warn!(%height, %error, "certificates.read"),
            }
        }
        for message in CheckpointMessage::certificates(certificates) {
            self.parts.post.send(To::One(to), message.encode());
        }
        if !votes.is_empty() {
            self.parts.post.send(To::One(to), CheckpointMessage::Votes(votes).encode());
        }
    }
}
