//! One ledger of this node: a machine over a store, as its engine sees it.

use crate::gate::Gate;
use anyhow::Context;
use bletchley_consensus::{Application, ApplicationError, Proposal};
use bletchley_cryptlet::keys::Signer;
use bletchley_ledger::{
    Block, Certificate, Checkpoint, Executed, Head, Machine, ProposeContext, SharedStore, ValidatorSet,
};
use bletchley_primitives::{BlockHash, LedgerId, TimestampMs};
use parking_lot::Mutex;
use std::sync::Arc;

/// What a runner needs.
pub(crate) struct RunnerParts {
    /// The ledger.
    pub(crate) ledger: LedgerId,
    /// Executes blocks.
    pub(crate) machine: Arc<dyn Machine>,
    /// Keeps blocks.
    pub(crate) store: SharedStore,
    /// Who signs checkpoints.
    pub(crate) validators: ValidatorSet,
    /// This node's validator key.
    pub(crate) validator: Arc<dyn Signer + Send + Sync>,
    /// Keeps changes from outside away while a block is being made.
    pub(crate) gate: Arc<Gate>,
}

/// Executes, certifies, keeps and commits the blocks of one ledger, in that order.
pub(crate) struct Runner {
    parts: RunnerParts,
    executed: Mutex<Option<Executed>>,
}

impl Runner {
    /// A runner over these parts.
    #[must_use]
    pub(crate) const fn new(parts: RunnerParts) -> Self {
        Self { parts, executed: Mutex::new(None) }
    }

    fn hold(&self, executed: Executed) -> Proposal {
        let proposal = Proposal {
            height: executed.meta.height,
            hash: executed.meta.hash,
            block: executed.block.clone(),
            transactions: executed.transactions,
        };
        if let Some(before) = self.executed.lock().replace(executed) {
            self.parts.machine.discard(before.meta.hash);
        }
        proposal
    }

    fn certify(&self, executed: &Executed) -> anyhow::Result<Certificate> {
        let validators = self.parts.validators.digest();
        let checkpoint = Checkpoint {
            ledger: self.parts.ledger,
            height: executed.meta.height,
            block: executed.meta.hash,
            state: executed.state_root,
            validators,
            next: validators,
        };
        let signature = self.parts.validator.sign(checkpoint.signing_digest())?;
        Ok(Certificate { checkpoint, signatures: vec![signature] })
    }

    fn keep(&self, hash: BlockHash) -> anyhow::Result<()> {
        let executed = self.executed.lock().take().filter(|executed| executed.meta.hash == hash);
        let executed = executed.with_context(|| format!("block {hash} was not executed here"))?;
        let certificate = alloy_rlp::encode(self.certify(&executed)?);
        let (height, transactions) = (executed.meta.height, executed.transactions);
        if let Err(error) = self.parts.store.append(&executed.into_stored(certificate.into())) {
            self.parts.machine.discard(hash);
            return Err(error.into());
        }
        self.parts.machine.commit(hash)?;
        tracing::debug!(ledger = self.parts.machine.name(), %height, transactions, "runner.keep");
        Ok(())
    }
}

impl Application for Runner {
    fn head(&self) -> Head {
        self.parts.machine.head()
    }

    fn ready(&self) -> usize {
        self.parts.machine.ready()
    }

    fn propose(&self, time_ms: TimestampMs, allow_empty: bool) -> Result<Option<Proposal>, ApplicationError> {
        self.parts.gate.begin();
        // The machine keeps time from going backwards: a development ledger adds its own offset to the real clock first.
        let context = ProposeContext { time_ms, proposer: self.parts.validator.address(), allow_empty };
        let proposed = self.parts.machine.propose(&context);
        if !matches!(proposed, Ok(Some(_))) {
            self.parts.gate.end();
        }
        Ok(proposed?.map(|executed| self.hold(executed)))
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        let prepared = self.parts.machine.prepare(block)?;
        Ok(self.hold(self.parts.machine.execute(prepared)?))
    }

    fn finalize(&self, hash: BlockHash) -> Result<(), ApplicationError> {
        let height = self.head().height.next();
        let kept = self.keep(hash);
        self.parts.gate.end();
        kept.map_err(|error| ApplicationError::Keep { height, problem: format!("{error:#}") })
    }

    fn abandon(&self, hash: BlockHash) {
        let mut executed = self.executed.lock();
        if executed.as_ref().is_some_and(|executed| executed.meta.hash == hash) {
            *executed = None;
        }
        self.parts.machine.discard(hash);
        drop(executed);
        self.parts.gate.end();
    }
}
