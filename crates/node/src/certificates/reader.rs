//! What outsiders ask for: certificates, and the proofs made of them.

use super::*;
use bletchley_consensus::last_of;

/// Changes of validators that are known: those up to an epoch.
#[derive(Default)]
pub(super) struct Changes {
    /// The first epoch whose end was not looked at.
    until: u64,
    found: Vec<(Height, ValidatorSet)>,
}

impl crate::catchup::Certified for Certificates {
    fn certified(&self) -> Height {
        Self::certified(self)
    }
}

impl FinalityReader for Certificates {
    fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        if let Some(fresh) = self.gathering.lock().fresh.get(&height) {
            return Ok(Some(fresh.clone()));
        }
        self.stored.certificate(height)
    }

    fn header(&self, height: Height) -> Result<Option<Bytes>, FinalityReadError> {
        self.stored.header(height)
    }

    fn covered_until(&self, height: Height) -> Height {
        let last = last_of(self.epoch(height), self.parts.schedule.epoch_blocks());
        last.min(self.stored.covered_until(height))
    }

    fn changes(&self, height: Height) -> Vec<(Height, ValidatorSet)> {
        let epoch_blocks = self.parts.schedule.epoch_blocks();
        let mut changes = self.changes.lock();
        while changes.until < self.epoch(height) {
            let sets = [changes.until, changes.until + 1].map(|epoch| self.parts.schedule.validators(epoch));
            let [Some(old), Some(new)] = sets else { break };
            let new = new.checkpoint_set();
            if old.checkpoint_set() != new {
                let last = last_of(changes.until, epoch_blocks);
                changes.found.push((last, new));
            }
            changes.until += 1;
        }
        changes.found.iter().filter(|(last, _)| *last < height).cloned().collect()
    }
}
