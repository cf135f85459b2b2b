//! Seals and certificates of a replayed ledger: the engine's seals form a chain over everything that was agreed on, and every
//! block is covered by a certificate of itself or of a later block of its epoch.

use super::replay::{Fault, Subject};
use bletchley_consensus::{Payload, Validators, epoch_of, last_of};
use bletchley_ledger::{Certificate, Executed, Finality, StoredBlock, StoredFinality, ValidatorSet};
use bletchley_primitives::{B256, Height};
use std::sync::Arc;

/// What was found of a ledger's seals and certificates so far.
pub(super) struct Certified<'a> {
    subject: &'a Subject<'a>,
    certificates: StoredFinality,
    /// Digest of the payload before the next block.
    payload: B256,
    /// The lowest height that no certificate covers.
    open: Height,
    /// The newest height that was checked.
    last: Height,
    /// The set of an epoch, as it was asked for last.
    known: Option<(u64, Arc<ValidatorSet>)>,
}

impl<'a> Certified<'a> {
    /// Nothing above genesis was seen.
    pub(super) fn new(subject: &'a Subject<'a>) -> Self {
        Self {
            subject,
            certificates: StoredFinality::new(subject.copy.clone()),
            payload: Payload::genesis(subject.ledger),
            open: Height(1),
            last: Height(0),
            known: None,
        }
    }

    /// How many of the newest blocks no certificate covers.
    pub(super) const fn uncovered(&self) -> u64 {
        self.last.0.saturating_add(1).saturating_sub(self.open.0)
    }

    /// Checks what stands beside a block that was executed and committed.
    ///
    /// # Errors
    /// The [`Fault`].
    pub(super) fn check(&mut self, stored: &StoredBlock, executed: &Executed) -> Result<(), Fault> {
        let (subject, height) = (self.subject, stored.meta.height);
        let fault = |problem: String| subject.fault(height, "certificate", problem);
        let finality = Finality::decode(&stored.certificate).map_err(|error| fault(error.to_string()))?;
        self.check_seal(stored, &finality)?;
        self.last = height;
        let certificate = match finality.certificate {
            Some(certificate) => Some(certificate),
            None if subject.solo => return Err(fault("there is none".to_owned())),
            None => self.certificates.gathered(height).map_err(|error| fault(error.to_string()))?,
        };
        let Some(certificate) = certificate else { return Ok(()) };
        self.check_certificate(&certificate, stored, executed)?;
        let epoch_blocks = subject.schedule.epoch_blocks();
        let (opened, epoch) = (epoch_of(self.open, epoch_blocks), epoch_of(height, epoch_blocks));
        if self.open <= height && opened < epoch {
            let last = last_of(opened, epoch_blocks);
            let problem = format!(
                "there is none, though block {height} has one: the last block of epoch {opened} must be certified by that epoch's own validators"
            );
            return Err(subject.fault(last, "certificate", problem));
        }
        self.open = height.next();
        Ok(())
    }

    fn check_seal(&mut self, stored: &StoredBlock, finality: &Finality) -> Result<(), Fault> {
        let subject = self.subject;
        let fault = |problem: &str| subject.fault(stored.meta.height, "seal", problem);
        if subject.solo {
            let empty = finality.seal.is_empty();
            return if empty { Ok(()) } else { Err(fault("the solo engine leaves none")) };
        }
        self.payload = Payload::new(self.payload, stored.meta.height, stored.block.clone()).digest();
        // Behind the digest an engine may keep a proof of its own, for members that fall behind.
        if finality.seal.get(..self.payload.len()) == Some(self.payload.as_slice()) {
            Ok(())
        } else {
            Err(fault("it is not the digest of what the members agreed on up to this block"))
        }
    }

    fn check_certificate(
        &mut self,
        certificate: &Certificate,
        stored: &StoredBlock,
        executed: &Executed,
    ) -> Result<(), Fault> {
        let height = stored.meta.height;
        let (set, next) = (self.set(height, height)?, self.set(height, height.next())?);
        let subject = self.subject;
        let fault = |problem: String| subject.fault(height, "certificate", problem);
        let checkpoint = certificate.checkpoint;
        let same = checkpoint.ledger == subject.ledger
            && checkpoint.height == height
            && checkpoint.block == stored.meta.hash
            && checkpoint.state == executed.state_root;
        if !same {
            return Err(fault("it is for another block".to_owned()));
        }
        if checkpoint.next != next.digest() {
            return Err(fault(
                "it names other validators for the next block than the ledger's votes give".to_owned(),
            ));
        }
        certificate.verify(&set).map_err(|error| fault(error.to_string()))
    }

    /// The set that validates at `of`, as the blocks up to `at` give it.
    fn set(&mut self, at: Height, of: Height) -> Result<Arc<ValidatorSet>, Fault> {
        let epoch = epoch_of(of, self.subject.schedule.epoch_blocks());
        if let Some((known, set)) = &self.known
            && *known == epoch
        {
            return Ok(set.clone());
        }
        let validators: Option<Arc<Validators>> = self.subject.schedule.validators(epoch);
        let validators = validators.ok_or_else(|| {
            let problem = format!("the ledgers of this folder do not say who validates in epoch {epoch}");
            self.subject.fault(at, "validators", problem)
        })?;
        let set = Arc::new(validators.checkpoint_set());
        self.known = Some((epoch, set.clone()));
        Ok(set)
    }
}
