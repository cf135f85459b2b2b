//! One ledger of a member without threads, sockets or a clock: what a simulation assembles a consortium from.
//!
//! A running node puts the same parts on its own threads and network.

use crate::certificates::{Certificates, CertificatesParts};
use crate::metrics::Meters;
use crate::runner::{Runner, RunnerParts};
use bletchley_consensus::{Application, Post, Receive, Schedule};
use bletchley_cryptlet::keys::Signer;
use bletchley_ledger::{
    Certificate, FinalityReadError, FinalityReader as _, HeaderLink, Machine, SharedStore,
};
use bletchley_primitives::{DecodeError, Height, LedgerId};
use std::sync::Arc;

/// Reads a header of a token ledger.
///
/// # Errors
/// When the bytes are no header.
pub fn token_header_link(bytes: &[u8]) -> Result<HeaderLink, DecodeError> {
    crate::certificates::token_header_link(bytes)
}

/// What a ledger is assembled from.
pub struct Parts {
    /// Its name, as genesis has it.
    pub name: &'static str,
    /// Which ledger it is.
    pub ledger: LedgerId,
    /// Executes blocks.
    pub machine: Arc<dyn Machine>,
    /// Keeps them.
    pub store: SharedStore,
    /// Who validates when.
    pub schedule: Arc<dyn Schedule>,
    /// This member's key: proposes, and signs checkpoints.
    pub validator: Arc<dyn Signer + Send + Sync>,
    /// How its headers are read.
    pub read_header: fn(&[u8]) -> Result<HeaderLink, DecodeError>,
    /// Sends on the ledger's `Protocol::Checkpoints`.
    pub checkpoints: Arc<dyn Post>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// A ledger with everything but its engine.
pub struct Assembled {
    runner: Arc<Runner>,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for Assembled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembled").field("head", &self.runner.head()).finish_non_exhaustive()
    }
}

impl Assembled {
    /// Assembles a ledger whose store and machine are open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(parts: Parts) -> Result<Self, FinalityReadError> {
        let Parts { name, ledger, machine, store, schedule, validator, read_header, checkpoints } = parts;
        let certificates = Arc::new(Certificates::open(CertificatesParts {
            ledger,
            schedule: schedule.clone(),
            store: store.clone(),
            read_header,
            validator: validator.clone(),
            post: checkpoints,
        })?);
        let runner = Runner::new(RunnerParts {
            ledger,
            machine,
            store,
            schedule,
            certifier: certificates.clone(),
            proposer: validator.address(),
            gate: Arc::default(),
            misbehaviours: Arc::default(),
            meter: Meters::default().ledger(name),
        });
        Ok(Self { runner: Arc::new(runner), certificates })
    }

    /// The ledger, for an engine.
    #[must_use]
    pub fn application(&self) -> Arc<dyn Application> {
        self.runner.clone()
    }

    /// Where messages about checkpoints go.
    #[must_use]
    pub fn receiver(&self) -> Arc<dyn Receive> {
        self.certificates.clone()
    }

    /// Writes certificates and asks for missing ones; to be called several times a second.
    pub fn tick(&self, now_ms: u64) {
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
