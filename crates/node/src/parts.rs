//! One ledger of a member without threads, sockets or a clock: what a simulation assembles a consortium from.
//!
//! A running node puts the same parts on its own threads and network.

use crate::certificates::{Certificates, CertificatesParts};
use crate::gossip::Gossip;
use crate::joined::Kind;
use crate::metrics::Meters;
use crate::runner::{Runner, RunnerParts};
use bletchley_consensus::{Application, Post, Receive, Schedule};
use bletchley_cryptlet::keys::Signer;
use bletchley_evm::EvmLedger;
use bletchley_ledger::{Certificate, FinalityReadError, FinalityReader as _, Machine, SharedStore};
use bletchley_primitives::{Height, LedgerId};
use bletchley_token::TokenMachine;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What executes a ledger's blocks.
pub enum Ledger {
    /// A token ledger.
    Tokens(Arc<TokenMachine>),
    /// A smart-contract ledger.
    Evm(EvmLedger),
}

/// What a ledger is assembled from.
pub struct Parts {
    /// Executes blocks.
    pub ledger: Ledger,
    /// Keeps them.
    pub store: SharedStore,
    /// Who validates when.
    pub schedule: Arc<dyn Schedule>,
    /// This member's key: proposes, and signs checkpoints.
    pub validator: Arc<dyn Signer + Send + Sync>,
    /// Sends on the ledger's `Protocol::Checkpoints`.
    pub checkpoints: Arc<dyn Post>,
    /// Sends on the ledger's `Protocol::Transactions`.
    pub transactions: Arc<dyn Post>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The caller's clock, as gossip counts time.
struct CallersClock {
    base: Instant,
    base_ms: u64,
    now_ms: AtomicU64,
}

impl CallersClock {
    fn now(&self) -> Instant {
        let since_ms = self.now_ms.load(Ordering::Relaxed).saturating_sub(self.base_ms);
        self.base.checked_add(Duration::from_millis(since_ms)).unwrap_or(self.base)
    }
}

/// A ledger with everything but its engine.
pub struct Assembled {
    runner: Arc<Runner>,
    certificates: Arc<Certificates>,
    gossip: Arc<Gossip>,
    clock: Arc<CallersClock>,
}

impl std::fmt::Debug for Assembled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembled").field("head", &self.runner.head()).finish_non_exhaustive()
    }
}

impl Assembled {
    /// Assembles a ledger whose store and machine are open, at this time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(parts: Parts, now_ms: u64) -> Result<Self, FinalityReadError> {
        let Parts { ledger, store, schedule, validator, checkpoints, transactions } = parts;
        let (name, id, machine, kind): (&str, LedgerId, Arc<dyn Machine>, Kind) = match ledger {
            Ledger::Tokens(tokens) => ("tokens", tokens.ledger(), tokens.clone(), Kind::Tokens(tokens)),
            Ledger::Evm(evm) => ("evm", evm.id(), evm.machine(), Kind::Evm(evm)),
        };
        let certificates = Arc::new(Certificates::open(CertificatesParts {
            ledger: id,
            schedule: schedule.clone(),
            store: store.clone(),
            read_header: kind.read_header(),
            validator: validator.clone(),
            post: checkpoints,
        })?);
        let clock = CallersClock { base: Instant::now(), base_ms: now_ms, now_ms: AtomicU64::new(now_ms) };
        let (clock, gossip) = (Arc::new(clock), Gossip::new(transactions, kind.pool()));
        let (outbox, time) = (Arc::downgrade(&gossip), clock.clone());
        kind.on_local(move |raws| {
            if let Some(gossip) = outbox.upgrade() {
                gossip.offer_at(raws, time.now());
            }
        });
        let runner = Runner::new(RunnerParts {
            ledger: id,
            machine,
            store,
            schedule,
            certifier: certificates.clone(),
            proposer: validator.address(),
            gate: Arc::default(),
            meter: Meters::default().ledger(name),
            misbehaviours: Arc::default(),
            protocol: crate::governance::ProtocolGuard::default(),
        });
        Ok(Self { runner: Arc::new(runner), certificates, gossip, clock })
    }

    /// The ledger, for an engine.
    #[must_use]
    pub fn application(&self) -> Arc<dyn Application> {
        self.runner.clone()
    }

    /// Where messages about checkpoints go.
    #[must_use]
    pub fn checkpoints(&self) -> Arc<dyn Receive> {
        self.certificates.clone()
    }

    /// Where transactions of other members go.
    #[must_use]
    pub fn transactions(&self) -> Arc<dyn Receive> {
        self.gossip.clone()
    }

    /// Gossips, writes certificates, asks for missing ones; to be called many times a second.
    pub fn tick(&self, now_ms: u64) {
        self.clock.now_ms.store(now_ms, Ordering::Relaxed);
        self.gossip.round(self.clock.now());
        self.certificates.tick(now_ms);
    }

    /// The newest height with a certificate.
    #[must_use]
    pub fn certified(&self) -> Height {
        self.certificates.certified()
    }

    /// The certificate of a block.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        self.certificates.certificate(height)
    }
}
