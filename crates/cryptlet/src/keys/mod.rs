//! The KeyStore seam: keys are made, used and destroyed inside the store and never leave it.

mod file;

use std::{collections::BTreeMap, io, sync::Arc};

use alloy_primitives::{Address, B256};
use bletchley_crypto::{DeriveError, SecretKey};
use bletchley_primitives::Signature;
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub use file::{FileKeyStore, Unlock};

/// Longest name of a key.
pub const KEY_NAME_SIZE_BYTES_MAX: usize = 80;
const SECRET_SIZE_BYTES: usize = 32;
/// Size of the seed of a node's network key.
pub const PEER_SEED_SIZE_BYTES: usize = 32;

/// The one thing that a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyPurpose {
    /// Signs receipts as a host.
    Host = 1,
    /// Signs receipts as a cryptlet.
    Cryptlet = 2,
    /// Signs registrations as a publisher.
    Publisher = 3,
    /// Signs policies and hosts as an administrator.
    Administrator = 4,
    /// Signs transactions as a named account.
    Account = 5,
    /// Signs checkpoints as a validator.
    Validator = 6,
    /// Seeds the key that a node proves to the nodes of other members.
    Peer = 7,
    /// Signs attestation results as a verifier.
    Verifier = 8,
}

impl KeyPurpose {
    /// Name in files and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Cryptlet => "cryptlet",
            Self::Publisher => "publisher",
            Self::Administrator => "administrator",
            Self::Account => "account",
            Self::Validator => "validator",
            Self::Peer => "peer",
            Self::Verifier => "verifier",
        }
    }
}

/// Names a key: its purpose, and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyLabel {
    purpose: KeyPurpose,
    name: String,
}

impl KeyLabel {
    /// A label; the name has lower-case letters, digits and hyphens.
    ///
    /// # Errors
    /// [`KeyStoreError::Label`].
    pub fn new(purpose: KeyPurpose, name: &str) -> Result<Self, KeyStoreError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > KEY_NAME_SIZE_BYTES_MAX || !name.bytes().all(plain) {
            return Err(KeyStoreError::Label);
        }
        Ok(Self { purpose, name: name.to_owned() })
    }

    /// The key of a cryptlet's package.
    #[must_use]
    pub fn of_package(package: B256) -> Self {
        Self { purpose: KeyPurpose::Cryptlet, name: hex::encode(package) }
    }
}

impl std::fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.purpose.name(), self.name)
    }
}

/// Why a key was not made, used or destroyed.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// Not a name.
    #[error("a key's name has 1 to {KEY_NAME_SIZE_BYTES_MAX} lower-case letters, digits and hyphens")]
    Label,
    /// There is none.
    #[error("there is no key `{0}` in this store; make it first, or restore it from a backup")]
    Missing(KeyLabel),
    /// There is one already.
    #[error("key `{0}` exists; destroy it first if it is to be replaced")]
    Exists(KeyLabel),
    /// The passphrase or machine secret does not fit.
    #[error("the key store in {0} does not open with this passphrase or machine secret")]
    WrongSecret(String),
    /// A file of the store was changed.
    #[error("{0} is damaged or was made by another version; restore it from a backup")]
    Damaged(String),
    /// The file of secrets can be read by others.
    #[error("{0} can be read by other users; allow its owner only (chmod 600)")]
    Exposed(String),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
    /// Passphrase parameters out of bounds.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// Makes, uses and destroys keys. No method gives a secret away.
pub trait KeyStore: Send + Sync {
    /// Name of the implementation, as evidence shows it.
    fn name(&self) -> &'static str;

    /// Makes a key and gives its address. The key is durable on return.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn make(&self, label: &KeyLabel) -> Result<Address, KeyStoreError>;

    /// The address of a key, if there is one.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn address(&self, label: &KeyLabel) -> Result<Option<Address>, KeyStoreError>;

    /// Signs a digest.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn sign(&self, label: &KeyLabel, digest: B256) -> Result<Signature, KeyStoreError>;

    /// Forgets a key for ever.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError>;

    /// The address of a key, which is made if it is not there.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn ensure(&self, label: &KeyLabel) -> Result<Address, KeyStoreError> {
        match self.address(label)? {
            Some(address) => Ok(address),
            None => match self.make(label) {
                Err(KeyStoreError::Exists(_)) => {
                    self.address(label)?.ok_or_else(|| KeyStoreError::Missing(label.clone()))
                }
                made => made,
            },
        }
    }
}

/// One key that can be used, wherever it is.
pub trait Signer {
    /// Its address.
    fn address(&self) -> Address;

    /// Signs a digest.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn sign(&self, digest: B256) -> Result<Signature, KeyStoreError>;
}

impl Signer for SecretKey {
    fn address(&self) -> Address {
        Self::address(self)
    }

    fn sign(&self, digest: B256) -> Result<Signature, KeyStoreError> {
        Ok(Self::sign(self, digest))
    }
}

/// A key of a store, used there.
pub struct StoredKey<'a> {
    keys: &'a dyn KeyStore,
    label: KeyLabel,
    address: Address,
}

impl std::fmt::Debug for StoredKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredKey({}, {})", self.label, self.address)
    }
}

impl<'a> StoredKey<'a> {
    /// The key of this label, made when absent.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn ensure(keys: &'a dyn KeyStore, label: KeyLabel) -> Result<Self, KeyStoreError> {
        let address = keys.ensure(&label)?;
        Ok(Self { keys, label, address })
    }
}

impl Signer for StoredKey<'_> {
    fn address(&self) -> Address {
        self.address
    }

    fn sign(&self, digest: B256) -> Result<Signature, KeyStoreError> {
        self.keys.sign(&self.label, digest)
    }
}

/// A key with its address, which costs as much to derive as a signature.
#[derive(Clone, Debug)]
struct Opened {
    key: Arc<SecretKey>,
    address: Address,
}

impl Opened {
    fn new(key: SecretKey) -> Self {
        let address = key.address();
        Self { key: Arc::new(key), address }
    }
}

/// Keys in memory, gone with the process.
#[derive(Debug, Default)]
pub struct MemoryKeyStore(RwLock<BTreeMap<KeyLabel, Opened>>);

impl MemoryKeyStore {
    /// Puts a known key in: development ledgers and tests only.
    pub fn insert(&self, label: KeyLabel, key: SecretKey) {
        self.0.write().insert(label, Opened::new(key));
    }
}

impl KeyStore for MemoryKeyStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn make(&self, label: &KeyLabel) -> Result<Address, KeyStoreError> {
        let mut keys = self.0.write();
        if keys.contains_key(label) {
            return Err(KeyStoreError::Exists(label.clone()));
        }
        let opened = Opened::new(random_key(&SystemRandom::new())?);
        let address = opened.address;
        keys.insert(label.clone(), opened);
        Ok(address)
    }

    fn address(&self, label: &KeyLabel) -> Result<Option<Address>, KeyStoreError> {
        Ok(self.0.read().get(label).map(|opened| opened.address))
    }

    fn sign(&self, label: &KeyLabel, digest: B256) -> Result<Signature, KeyStoreError> {
        let opened =
            self.0.read().get(label).cloned().ok_or_else(|| KeyStoreError::Missing(label.clone()))?;
        Ok(opened.key.sign(digest))
    }

    fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        self.0.write().remove(label).map(drop).ok_or_else(|| KeyStoreError::Missing(label.clone()))
    }
}

fn random_bytes<const N: usize>(random: &SystemRandom) -> Result<Zeroizing<[u8; N]>, KeyStoreError> {
    let mut bytes = Zeroizing::new([0u8; N]);
    random.fill(bytes.as_mut_slice()).map_err(|_| KeyStoreError::Randomness)?;
    Ok(bytes)
}

fn random_key(random: &SystemRandom) -> Result<SecretKey, KeyStoreError> {
    let bytes = random_bytes::<SECRET_SIZE_BYTES>(random)?;
    // Out of range once in 2^128 draws.
    SecretKey::from_bytes(*bytes).map_err(|_| KeyStoreError::Randomness)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use bletchley_crypto::recover;

    use super::*;

    pub(crate) fn conformance(store: &dyn KeyStore) {
        let label = KeyLabel::new(KeyPurpose::Host, "this").unwrap();
        assert_eq!(store.address(&label).unwrap(), None);
        assert!(matches!(store.sign(&label, B256::ZERO), Err(KeyStoreError::Missing(_))));
        let address = store.make(&label).unwrap();
        assert!(matches!(store.make(&label), Err(KeyStoreError::Exists(_))));
        assert_eq!(store.ensure(&label).unwrap(), address);
        let digest = B256::repeat_byte(7);
        assert_eq!(recover(digest, &store.sign(&label, digest).unwrap()).unwrap(), address);
        assert_ne!(store.ensure(&KeyLabel::of_package(B256::ZERO)).unwrap(), address);
        store.destroy(&label).unwrap();
        assert!(matches!(store.destroy(&label), Err(KeyStoreError::Missing(_))));
        assert_eq!(store.address(&label).unwrap(), None);
        assert_ne!(store.make(&label).unwrap(), address);
    }

    #[test]
    fn the_store_in_memory_keeps_the_promises_of_every_store() {
        conformance(&MemoryKeyStore::default());
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for name in ["", "../x", "A", "a/b", "a.b", &"a".repeat(KEY_NAME_SIZE_BYTES_MAX + 1)] {
            assert!(KeyLabel::new(KeyPurpose::Host, name).is_err(), "{name}");
        }
    }
}
