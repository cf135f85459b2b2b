//! Certificates of a ledger with one validator: its own signature is the quorum.

use crate::runner::Certifier;
use bletchley_cryptlet::keys::Signer;
use bletchley_ledger::{Certificate, Checkpoint};
use std::sync::Arc;

/// Signs alone.
pub(crate) struct Alone {
    /// The validator's key.
    pub(crate) validator: Arc<dyn Signer + Send + Sync>,
}

impl Certifier for Alone {
    fn alone(&self, checkpoint: &Checkpoint) -> anyhow::Result<Option<Certificate>> {
        let signature = self.validator.sign(checkpoint.signing_digest())?;
        Ok(Some(Certificate { checkpoint: *checkpoint, signatures: vec![signature] }))
    }

    fn kept(&self, _checkpoint: &Checkpoint) {}
}
