//! `bletchley token identity`.

use super::Common;
use crate::tokens::owner::{ProofOf, factor_name, lock_text};
use anyhow::{Result, bail};
use bletchley_token::{FactorKind, Lock};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley token identity --password\n  bletchley token identity --user-name ada --password --pin\n  bletchley token transfer manufacturer/screw/0001 --to lock:0x...\n\nThe secrets are asked for and stay on this computer; the lock that is printed is public."
)]
pub(super) struct IdentityCommand {
    /// A password, which is asked for.
    #[arg(long)]
    password: bool,
    /// A PIN, which is asked for.
    #[arg(long)]
    pin: bool,
    /// A user name.
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// The bytes of a key card.
    #[arg(long, value_name = "FILE")]
    key_card: Option<PathBuf>,
    /// A biometric template.
    #[arg(long, value_name = "FILE")]
    biometric: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl IdentityCommand {
    pub(super) fn run(self) -> Result<()> {
        let proof = ProofOf {
            to_password: self.password,
            to_pin: self.pin,
            to_user_name: self.user_name,
            to_key_card: self.key_card,
            to_biometric: self.biometric,
        };
        if proof.is_none() {
            bail!(
                "what proves the identity? add --password, --pin, --user-name, --key-card or --biometric, or several of them"
            );
        }
        let lock = proof.lock()?;
        let output = self.common.output();
        let text = lock_text(&lock);
        output.event(&json!({ "event": "identity", "lock": lock, "text": text, "owner": lock.owner() }));
        if let Lock::Proof { proof, .. } = &lock {
            let names: Vec<&str> = proof.factors.iter().map(|kind: &FactorKind| factor_name(*kind)).collect();
            output.line(format!(
                "An owner that is proved by {}; give this to whoever is to send something:",
                names.join(" and ")
            ));
        }
        output.line(text);
        output.line(output.dim(&format!("  listed under owner {}", lock.owner())));
        Ok(())
    }
}
