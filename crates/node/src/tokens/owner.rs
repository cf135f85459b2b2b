//! Who is to own something, as the command line says it; and the keys that open what is owned.

use super::{TokenLedger, prompt};
use crate::accounts::Accounts;
use alloy_primitives::{B256, Bytes, hex};
use anyhow::{Context, Result, bail};
use bletchley_cryptlet::keys::Signer;
use bletchley_crypto::{Argon2Params, SecretKey};
use bletchley_primitives::decode_bounded;
use bletchley_token::{FactorKind, Factors, Lock};
use clap::Args;
use std::path::{Path, PathBuf};

/// Longest encoded lock on a command line.
const LOCK_SIZE_BYTES_MAX: usize = 4096;
/// Longest file with a key card's or a template's bytes.
const FACTOR_FILE_SIZE_BYTES_MAX: u64 = 4096;
/// How the text of a lock starts, as `bletchley token identity` prints it.
const LOCK_PREFIX: &str = "lock:";

/// What an identity proof is made of; the secrets themselves are asked for, never given as arguments.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProofOf {
    /// Owned by whoever knows a password, which is asked for.
    #[arg(long)]
    pub(crate) to_password: bool,
    /// Owned by whoever knows a PIN, which is asked for; combines with the others.
    #[arg(long)]
    pub(crate) to_pin: bool,
    /// Owned by whoever knows this user name besides the other factors.
    #[arg(long, value_name = "NAME")]
    pub(crate) to_user_name: Option<String>,
    /// Owned by whoever holds the key card with these bytes.
    #[arg(long, value_name = "FILE")]
    pub(crate) to_key_card: Option<PathBuf>,
    /// Owned by whoever the biometric template in this file is of.
    #[arg(long, value_name = "FILE")]
    pub(crate) to_biometric: Option<PathBuf>,
}

/// The new owner: an account's name, an address, `2-of:alice,bob,carol`, the `lock:...` of `bletchley token identity`, or
/// an identity proof.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Recipient {
    /// New owner: an account's name, an address, `2-of:alice,bob,carol`, or a `lock:...` from `bletchley token identity`.
    #[arg(long, value_name = "OWNER")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) proof: ProofOf,
}

/// A factor's name in a sentence.
pub(crate) const fn factor_name(kind: FactorKind) -> &'static str {
    match kind {
        FactorKind::UserName => "user name",
        FactorKind::Password => "password",
        FactorKind::Pin => "PIN",
        FactorKind::KeyCard => "key card",
        FactorKind::Biometric => "biometric template",
    }
}

impl ProofOf {
    /// Whether no factor is asked for.
    pub(crate) const fn is_none(&self) -> bool {
        !self.to_password
            && !self.to_pin
            && self.to_user_name.is_none()
            && self.to_key_card.is_none()
            && self.to_biometric.is_none()
    }

    /// Asks for the secrets and makes the lock that only they open.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let mut factors = Factors::new();
        if let Some(name) = &self.to_user_name {
            factors = factors.with(FactorKind::UserName, name);
        }
        if self.to_password {
            factors = factors.with(FactorKind::Password, prompt::new_secret("password")?.as_bytes());
        }
        if self.to_pin {
            factors = factors.with(FactorKind::Pin, prompt::new_secret("PIN")?.as_bytes());
        }
        if let Some(path) = &self.to_key_card {
            factors = factors.with(FactorKind::KeyCard, factor_file(path)?);
        }
        if let Some(path) = &self.to_biometric {
            factors = factors.with(FactorKind::Biometric, factor_file(path)?);
        }
        Ok(factors.lock(fresh()?, Argon2Params::RECOMMENDED)?)
    }
}

impl Recipient {
    /// The lock that is asked for, or none when no owner was named.
    pub(crate) fn lock(&self, ledger: &TokenLedger<'_>) -> Result<Option<Lock>> {
        match (&self.to, self.proof.is_none()) {
            (None, true) => Ok(None),
            (Some(_), false) => bail!("name the owner either with --to or by an identity proof, not both"),
            (Some(text), true) => owner(ledger, text).map(Some),
            (None, false) => self.proof.lock().map(Some),
        }
    }

    /// The lock that is asked for.
    pub(crate) fn required(&self, ledger: &TokenLedger<'_>) -> Result<Lock> {
        self.lock(ledger)?.context("to whom? add --to NAME, or --to-password for whoever knows a password")
    }
}

/// Thirty-two random bytes.
pub(crate) fn fresh() -> Result<B256> {
    let mut salt = B256::ZERO;
    getrandom::fill(salt.as_mut_slice()).context("asking the operating system for random bytes")?;
    Ok(salt)
}

/// A lock in text, for whoever is to send something to it.
pub(crate) fn lock_text(lock: &Lock) -> String {
    format!("{LOCK_PREFIX}{}", hex::encode_prefixed(alloy_rlp::encode(lock)))
}

/// The owner that a text names.
pub(crate) fn owner(ledger: &TokenLedger<'_>, text: &str) -> Result<Lock> {
    if let Some(encoded) = text.strip_prefix(LOCK_PREFIX) {
        let bytes: Bytes = encoded.parse().context("a lock is `lock:0x` and hex digits")?;
        return decode_bounded(&bytes, LOCK_SIZE_BYTES_MAX).context("reading the lock");
    }
    if let Some((needed, names)) = text.split_once("-of:") {
        let needed: u8 = needed.parse().with_context(|| format!("{needed} is no number of keys"))?;
        let keys = names.split(',').map(|name| ledger.address(name.trim())).collect::<Result<Vec<_>>>()?;
        if needed == 0 || usize::from(needed) > keys.len() {
            bail!("{needed} of {} keys can never sign", keys.len());
        }
        return Ok(Lock::threshold(needed, keys));
    }
    ledger.address(text).map(Lock::key)
}

/// A key that signs: an account's, or one derived from secrets.
pub(crate) enum Key<'a> {
    Account(&'a dyn Signer),
    Derived(Box<SecretKey>),
}

impl Key<'_> {
    pub(crate) fn signer(&self) -> &dyn Signer {
        match self {
            Self::Account(signer) => *signer,
            Self::Derived(key) => &**key,
        }
    }
}

/// The keys that open `lock`: those of the accounts named by `as_names`, else those of this folder that fit; secrets of
/// an identity proof are asked for.
pub(crate) fn keys_for<'a>(
    ledger: &TokenLedger<'_>,
    accounts: &'a Accounts,
    lock: &Lock,
    as_names: &[String],
) -> Result<Vec<Key<'a>>> {
    if let Lock::Proof { address, proof } = lock {
        let mut factors = Factors::new();
        for kind in &proof.factors {
            let name = factor_name(*kind);
            factors = match kind {
                FactorKind::UserName => factors.with(*kind, prompt::ask("User name")?.as_bytes()),
                FactorKind::Password | FactorKind::Pin => {
                    factors.with(*kind, prompt::secret(&format!("The owner's {name}"))?.as_bytes())
                }
                FactorKind::KeyCard | FactorKind::Biometric => {
                    let path = prompt::ask(&format!("File with the {name}"))?;
                    factors.with(*kind, factor_file(Path::new(path.as_str()))?)
                }
            };
        }
        let key = factors.derive(proof)?;
        if key.address() != *address {
            bail!("that is not what the owner is proved by; nothing was signed");
        }
        return Ok(vec![Key::Derived(Box::new(key))]);
    }
    if !as_names.is_empty() {
        return as_names.iter().map(|name| accounts.signer(name).map(Key::Account)).collect();
    }
    let (needed, addresses) = match lock {
        Lock::Key { address } => (1, vec![*address]),
        Lock::Threshold { needed, keys } => (usize::from(*needed), keys.clone()),
        Lock::Proof { .. } | Lock::HashTime { .. } => (1, Vec::new()),
    };
    let known: Vec<String> =
        accounts.list().into_iter().filter(|a| addresses.contains(&a.address)).map(|a| a.name).collect();
    if known.len() < needed {
        bail!(
            "it belongs to {}; this folder has {} of the {needed} keys that must sign",
            ledger.owner_name(lock),
            known.len()
        );
    }
    known.iter().take(needed).map(|name| accounts.signer(name).map(Key::Account)).collect()
}

fn factor_file(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {}", path.display()))?.len();
    if size_bytes == 0 || size_bytes > FACTOR_FILE_SIZE_BYTES_MAX {
        bail!("{} has {size_bytes} bytes; a factor has 1 to {FACTOR_FILE_SIZE_BYTES_MAX}", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(zeroize::Zeroizing::new(bytes))
}
