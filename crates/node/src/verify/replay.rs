//! Replay of one ledger from genesis: blocks are read and their signers recovered ahead of execution, on other threads.

use super::certified::Certified;
use bletchley_consensus::Schedule;
use bletchley_ledger::{ExecuteError, Executed, Machine, Prepared, Section, SharedStore, Store, StoredBlock};
use bletchley_primitives::{Height, LedgerId};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Blocks prepared ahead of execution: enough to keep both sides busy, little enough to bound memory.
const AHEAD_BLOCKS_MAX: usize = 4;

/// What is wrong with a ledger, and where.
#[derive(Debug, thiserror::Error)]
#[error("ledger {ledger}, block {height}, {part}: {problem}")]
pub struct Fault {
    /// Name of the ledger.
    pub ledger: String,
    /// Height of the block.
    pub height: Height,
    /// Section or check.
    pub part: String,
    /// What is wrong.
    pub problem: String,
}

/// What a replay found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Blocks above genesis.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Newest blocks that no certificate covers yet: final for whoever trusts this folder's member, not for outsiders.
    pub uncertified: u64,
}

/// One ledger to be replayed.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) ledger: LedgerId,
    pub(crate) machine: Arc<dyn Machine>,
    /// The copy, whole.
    pub(crate) copy: SharedStore,
    /// The same, as far as it was replayed; the machine reads through this.
    pub(crate) replayed: Arc<dyn Store>,
    /// Who validates when. Asked only about epochs whose predecessor was replayed.
    pub(crate) schedule: Arc<dyn Schedule>,
    /// One validator decides alone: certificates stand beside blocks, and there are no seals.
    pub(crate) solo: bool,
}

type Ahead = Result<(StoredBlock, Prepared), Fault>;

impl Subject<'_> {
    pub(super) fn fault(&self, height: Height, part: &str, problem: impl ToString) -> Fault {
        Fault { ledger: self.name.to_owned(), height, part: part.to_owned(), problem: problem.to_string() }
    }

    /// Replays every block above the machine's head, and calls `progress` with the height now and then.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub(crate) fn replay(&self, progress: &mut dyn FnMut(Height, Height)) -> Result<Found, Fault> {
        let Some(last) = self.copy.head().map(|head| head.height) else { return Ok(Found::default()) };
        let first = self.machine.head().height.next();
        std::thread::scope(|scope| {
            let (send, ahead) = sync_channel::<Ahead>(AHEAD_BLOCKS_MAX);
            scope.spawn(move || {
                for height in first.0..=last.0 {
                    let item = self.read(Height(height));
                    let failed = item.is_err();
                    if send.send(item).is_err() || failed {
                        return;
                    }
                }
            });
            self.consume(&ahead, last, progress)
        })
    }

    fn consume(
        &self,
        ahead: &Receiver<Ahead>,
        last: Height,
        progress: &mut dyn FnMut(Height, Height),
    ) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut certified = Certified::new(self);
        for item in ahead {
            let (stored, prepared) = item?;
            let height = stored.meta.height;
            let executed = self.machine.execute(prepared).map_err(|e| self.refused(height, &e))?;
            found.blocks += 1;
            found.transactions += u64::from(executed.transactions);
            self.compare(&stored, &executed)?;
            self.replayed.append(&stored).map_err(|e| self.fault(height, "link", e))?;
            self.machine.commit(executed.meta.hash).map_err(|e| self.fault(height, "commit", e))?;
            certified.check(&stored, &executed)?;
            progress(height, last);
        }
        found.uncertified = certified.uncovered();
        Ok(found)
    }

    fn read(&self, height: Height) -> Ahead {
        let read = self.copy.block(height).map_err(|e| self.fault(height, "record", e))?;
        let stored = read.ok_or_else(|| self.fault(height, "record", "the block is missing"))?;
        let prepared = self.machine.prepare(stored.block.clone()).map_err(|e| self.refused(height, &e))?;
        Ok((stored, prepared))
    }

    fn refused(&self, height: Height, error: &ExecuteError) -> Fault {
        let part = match error {
            ExecuteError::Decode { part, .. } => part,
            ExecuteError::NotOnHead { .. } => "link",
            ExecuteError::Transaction { .. } => "body",
            ExecuteError::Mismatch { field, .. } => field,
            ExecuteError::Record { .. } => "delegation record",
            ExecuteError::Internal { .. } => "execution",
        };
        self.fault(height, part, error)
    }

    fn compare(&self, stored: &StoredBlock, executed: &Executed) -> Result<(), Fault> {
        let height = stored.meta.height;
        let differs = |part: &str| self.fault(height, part, "differs from what execution gives");
        if stored.meta != executed.meta {
            return Err(self.fault(
                height,
                "record",
                format!("says {:?}, execution gives {:?}", stored.meta, executed.meta),
            ));
        }
        let given = executed.clone().into_stored(stored.certificate.clone());
        if let Some(section) = Section::ALL.into_iter().find(|s| stored.section(*s) != given.section(*s)) {
            return Err(differs(section.name()));
        }
        let sorted = |block: &StoredBlock| {
            let mut index = block.index.clone();
            index.sort_unstable();
            index
        };
        if sorted(stored) != sorted(&given) {
            return Err(differs("transaction index"));
        }
        Ok(())
    }
}
