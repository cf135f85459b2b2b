//! One ledger of this node: a machine over a store, as its engine sees it.

use crate::gate::Gate;
use crate::governance::ProtocolGuard;
use crate::metrics::{Kept, LedgerMeter};
use crate::misbehaviour::{Misbehaviours, note_refused};
use crate::signals::wall_now_ms;
use anyhow::{Context, bail};
use bletchley_consensus::{Application, ApplicationError, PeerId, Proposal, Schedule, epoch_of};
use bletchley_ledger::{
    Block, Certificate, Checkpoint, CommitError, ExecuteError, Executed, Finality, Head, Machine,
    ProposeContext, ProposeError, Section, SharedStore,
};
use bletchley_primitives::{Address, BlockHash, Bytes, Height, LedgerId, TimestampMs};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most executed blocks above the head that are held; the oldest is forgotten for a new one.
const HELD_BLOCKS_MAX: usize = 32;

/// Makes final blocks final for outsiders: signs checkpoints and gathers the signatures of the others.
pub(crate) trait Certifier: Send + Sync {
    /// The certificate of a block that is about to be kept, where this member alone can make one.
    ///
    /// # Errors
    /// When the key cannot be used.
    fn alone(&self, checkpoint: &Checkpoint) -> anyhow::Result<Option<Certificate>>;

    /// Hears of a block that was kept.
    fn kept(&self, checkpoint: &Checkpoint);
}

/// What a runner needs.
pub(crate) struct RunnerParts {
    /// The ledger.
    pub(crate) ledger: LedgerId,
    /// Executes blocks.
    pub(crate) machine: Arc<dyn Machine>,
    /// Keeps blocks.
    pub(crate) store: SharedStore,
    /// Who signs checkpoints, by epoch.
    pub(crate) schedule: Arc<dyn Schedule>,
    /// Signs and gathers.
    pub(crate) certifier: Arc<dyn Certifier>,
    /// Who this node is when it proposes.
    pub(crate) proposer: Address,
    /// Counts blocks.
    pub(crate) meter: Arc<LedgerMeter>,
    /// Hears of blocks that members should not have proposed.
    pub(crate) misbehaviours: Arc<Misbehaviours>,
    /// Keeps blocks away that follow rules which this program does not know.
    pub(crate) protocol: ProtocolGuard,
    /// Keeps changes from outside away while a block is being made.
    pub(crate) gate: Arc<Gate>,
}

/// An executed block, and the head it was executed above: its changes are those to that head.
struct Held {
    executed: Executed,
    base: BlockHash,
    /// Time that it took to execute.
    took: Duration,
}

/// Executes, keeps, commits and certifies the blocks of one ledger, in that order.
pub(crate) struct Runner {
    parts: RunnerParts,
    held: Mutex<VecDeque<Held>>,
    /// One block at a time is kept.
    keeping: Mutex<()>,
}

impl Runner {
    /// A runner over these parts.
    #[must_use]
    pub(crate) const fn new(parts: RunnerParts) -> Self {
        Self { parts, held: Mutex::new(VecDeque::new()), keeping: Mutex::new(()) }
    }

    fn hold(&self, base: BlockHash, executed: Executed, took: Duration) -> Proposal {
        let proposal = proposal(&executed);
        let mut held = self.held.lock();
        held.retain(|held| held.executed.meta.hash != proposal.hash);
        if held.len() >= HELD_BLOCKS_MAX
            && let Some(oldest) = held.pop_front()
        {
            self.parts.machine.discard(oldest.executed.meta.hash);
        }
        held.push_back(Held { executed, base, took });
        proposal
    }

    /// A block that was executed on this head before: engines ask again when it becomes final.
    fn known(&self, block: &Block) -> Option<Proposal> {
        let head = self.head().hash;
        let held = self.held.lock();
        let known = held.iter().find(|held| held.base == head && held.executed.block == *block)?;
        Some(proposal(&known.executed))
    }

    fn take(&self, hash: BlockHash) -> Option<Held> {
        let mut held = self.held.lock();
        let at = held.iter().position(|held| held.executed.meta.hash == hash)?;
        held.remove(at)
    }

    fn execute(&self, block: Block) -> Result<Executed, ExecuteError> {
        self.parts.machine.execute(self.parts.machine.prepare(block)?)
    }

    fn checkpoint(&self, executed: &Executed) -> anyhow::Result<Checkpoint> {
        let height = executed.meta.height;
        let set = |height: Height| {
            let epoch = epoch_of(height, self.parts.schedule.epoch_blocks());
            let validators = self.parts.schedule.validators(epoch);
            let validators = validators.with_context(|| format!("no validators are known for {height}"))?;
            anyhow::Ok(validators.checkpoint_set().digest())
        };
        Ok(Checkpoint {
            ledger: self.parts.ledger,
            height,
            block: executed.meta.hash,
            state: executed.state_root,
            validators: set(height)?,
            next: set(height.next())?,
        })
    }

    fn keep(&self, hash: BlockHash, seal: Bytes) -> anyhow::Result<()> {
        let _one = self.keeping.lock();
        let head = self.parts.machine.head();
        let held = self.take(hash).with_context(|| format!("block {hash} was not executed here"))?;
        if held.executed.meta.parent != head.hash {
            bail!("block {hash} does not follow the head {}", head.hash);
        }
        let took = held.took;
        let executed =
            if held.base == head.hash { held.executed } else { self.execute(held.executed.block)? };
        let certificate =
            if seal.is_empty() { self.parts.certifier.alone(&self.checkpoint(&executed)?)? } else { None };
        let finality = Finality { seal, certificate };
        let stored = executed.clone().into_stored(finality.encode());
        let appending = Instant::now();
        if let Err(error) = self.parts.store.append(&stored) {
            self.parts.machine.discard(hash);
            return Err(error.into());
        }
        let (append, committing) = (appending.elapsed(), Instant::now());
        if let Err(CommitError::Unknown(_)) = self.parts.machine.commit(hash) {
            // The machine holds few blocks and had forgotten this one: the same head gives the same block again.
            self.execute(stored.block)?;
            self.parts.machine.commit(hash)?;
        }
        self.count(&executed, [took, append, committing.elapsed()]);
        let height = executed.meta.height;
        self.held.lock().retain(|held| held.executed.meta.height > height);
        self.parts.certifier.kept(&self.checkpoint(&executed)?);
        Ok(())
    }
}

impl Runner {
    fn count(&self, executed: &Executed, [execute, append, commit]: [Duration; 3]) {
        let Block { header, body, extension } = &executed.block;
        let kept = Kept {
            height: executed.meta.height,
            made_ms: executed.meta.time_ms,
            now_ms: wall_now_ms(),
            transactions: executed.transactions,
            size_bytes: header.len() + body.len() + extension.len(),
            execute,
            append,
            commit,
        };
        self.parts.meter.kept(&kept);
        let mut transactions = executed.index.iter().map(|entry| entry.key);
        self.parts.meter.log(&kept, &executed.meta.hash, &mut transactions);
    }
}

fn proposal(executed: &Executed) -> Proposal {
    Proposal {
        height: executed.meta.height,
        hash: executed.meta.hash,
        block: executed.block.clone(),
        time_ms: executed.meta.time_ms,
        transactions: executed.transactions,
    }
}

impl Application for Runner {
    fn head(&self) -> Head {
        self.parts.machine.head()
    }

    fn ready(&self) -> usize {
        self.parts.machine.ready()
    }

    fn propose(
        &self,
        parent: BlockHash,
        time_ms: TimestampMs,
        allow_empty: bool,
    ) -> Result<Option<Proposal>, ApplicationError> {
        let height = self.head().height.next();
        self.parts.protocol.check(height).map_err(|problem| ProposeError::Internal { height, problem })?;
        self.parts.gate.begin();
        // The machine keeps time from going backwards: a development ledger adds its own offset to the real clock first.
        let context = ProposeContext { parent, time_ms, proposer: self.parts.proposer, allow_empty };
        let base = self.head().hash;
        let started = Instant::now();
        let proposed = self.parts.machine.propose(&context);
        if !matches!(proposed, Ok(Some(_))) {
            self.parts.gate.end();
        }
        Ok(proposed?.map(|executed| self.hold(base, executed, started.elapsed())))
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        if let Some(known) = self.known(&block) {
            return Ok(known);
        }
        let height = self.head().height.next();
        self.parts.protocol.check(height).map_err(|problem| ExecuteError::Internal { height, problem })?;
        let prepared = self.parts.machine.prepare(block)?;
        let base = self.head().hash;
        let started = Instant::now();
        let executed = self.parts.machine.execute(prepared)?;
        Ok(self.hold(base, executed, started.elapsed()))
    }

    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        let height = self.head().height.next();
        let kept = self.keep(hash, seal);
        self.parts.gate.end();
        kept.map_err(|error| ApplicationError::Keep { height, problem: format!("{error:#}") })
    }

    fn refused(&self, height: Height, proposer: PeerId, error: &ApplicationError) {
        let epoch = epoch_of(height, self.parts.schedule.epoch_blocks());
        let validators = self.parts.schedule.validators(epoch);
        let known = validators.as_ref().and_then(|validators| validators.get(proposer));
        let member = known.map_or_else(|| proposer.to_string(), |validator| validator.name.clone());
        tracing::warn!(%height, member, %error, "runner.refused: a proposed block does not hold here");
        if let ApplicationError::Verify(error) = error {
            note_refused(&*self.parts.misbehaviours, self.parts.meter.name(), height, &member, error);
        }
    }

    fn seal(&self, height: Height) -> Option<Bytes> {
        let section = self.parts.store.section(height, Section::Certificate).ok().flatten()?;
        Finality::decode(&section).ok().map(|finality| finality.seal)
    }

    fn block(&self, height: Height) -> Option<Block> {
        self.parts.store.block(height).ok().flatten().map(|stored| stored.block)
    }

    fn abandon(&self, hash: BlockHash) {
        drop(self.take(hash));
        self.parts.machine.discard(hash);
        self.parts.gate.end();
    }
}
