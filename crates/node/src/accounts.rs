//! Named accounts: who signs in demos and commands, by name.
//!
//! A development ledger funds the twenty accounts of the mnemonic that every Ethereum test suite knows (`test test test
//! test test test test test test test test junk`, BIP-44 path `m/44'/60'/0'/0/n`), under the same names. Any other
//! ledger makes its own keys at its first start.

use crate::data::DataDir;
use alloy_primitives::{Address, B256, hex};
use anyhow::{Context, Result, anyhow};
use bletchley_cryptlet::keys::{FileKeyStore, KeyLabel, KeyPurpose, KeyStore, KeyStoreError, Signer, Unlock};
use bletchley_crypto::SecretKey;
use bletchley_primitives::Signature;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Names and keys of the standard test mnemonic. They are public: whatever they own on a public chain is stolen.
const DEV_KEYS: [(&str, [u8; 32]); 20] = [
    ("bank", hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")),
    ("borrower", hex!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")),
    ("manufacturer", hex!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")),
    ("distributor-north", hex!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")),
    ("distributor-south", hex!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a")),
    ("customer", hex!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba")),
    ("auditor", hex!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e")),
    ("publisher", hex!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356")),
    ("alice", hex!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97")),
    ("bob", hex!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6")),
    ("carol", hex!("f214f2b2cd398c806f84e317254e0f0b801d0643303237d97a22a48e01628897")),
    ("dave", hex!("701b615bbdfb9de65240bc28bd21bbc0d996645a3dd57e7b12bc2bdf6f192c82")),
    ("erin", hex!("a267530f49f8280200edf313ee7af6b827f2a8bce2897751d06a843f644967b1")),
    ("frank", hex!("47c99abed3324a2707c28affff1267e45918ec8c3f20b8aa892e8b065d2942dd")),
    ("grace", hex!("c526ee95bf44d8fc405a158bb884d9d1238d99f0612e9f33d006bb0789009aaa")),
    ("heidi", hex!("8166f546bab6da521a8369cab06c5d2b9e46670292d85c875ee9ec20e84ffb61")),
    ("ivan", hex!("ea6c44ac03bff858b476bba40716402b03e41b8e97e276d1baec7c37d42484a0")),
    ("judy", hex!("689af8efa8c651a91ad287602527f3af2fe9f6501a7ac4b061667b5a93e037fd")),
    ("mallory", hex!("de9be858da4a475276426320d5e9262ecfc3ba460bfac56360bfa6c4c28b4ee0")),
    ("treasury", hex!("df57089febbacf7ba0bc227dafbffa9fc08a93fdc68e1e42411a14efcf23656e")),
];

/// A name and its address, as genesis and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Lower-case name.
    pub name: String,
    /// Its address.
    pub address: Address,
}

/// The names of every account, in the order in which they are listed.
pub fn names() -> impl Iterator<Item = &'static str> {
    DEV_KEYS.iter().map(|(name, _)| *name)
}

/// The development key at `index` of the standard mnemonic.
#[must_use]
pub fn dev_keys() -> Vec<SecretKey> {
    DEV_KEYS.iter().filter_map(|(_, bytes)| SecretKey::from_bytes(*bytes).ok()).collect()
}

/// The named accounts of one data folder.
pub struct Accounts {
    signers: BTreeMap<String, Box<dyn Signer>>,
}

impl Accounts {
    /// The accounts of a folder: the standard ones of a development ledger, or the folder's own keys, made where absent.
    ///
    /// # Errors
    /// When the folder's keys cannot be opened.
    pub fn open(data: &DataDir, dev: bool) -> Result<Self> {
        let mut signers: BTreeMap<String, Box<dyn Signer>> = BTreeMap::new();
        if dev {
            for (name, key) in names().zip(dev_keys()) {
                signers.insert(name.to_owned(), Box::new(key));
            }
            return Ok(Self { signers });
        }
        let store = open_store(&data.account_keys())?;
        for name in names() {
            let label = KeyLabel::new(KeyPurpose::Account, name)?;
            let address = store.ensure(&label)?;
            signers.insert(name.to_owned(), Box::new(StoredKey { store: store.clone(), label, address }));
        }
        Ok(Self { signers })
    }

    /// Signs for the account with this name.
    ///
    /// # Errors
    /// When there is no such account, with the names that there are.
    pub fn signer(&self, name: &str) -> Result<&dyn Signer> {
        self.signers.get(name).map(AsRef::as_ref).ok_or_else(|| {
            let known: Vec<&str> = self.signers.keys().map(String::as_str).collect();
            anyhow!("there is no account named {name}; there are {}", known.join(", "))
        })
    }

    /// Every account, in the order in which they are listed.
    #[must_use]
    pub fn list(&self) -> Vec<Named> {
        let named = |name: &str| {
            self.signers.get(name).map(|signer| Named { name: name.to_owned(), address: signer.address() })
        };
        names().filter_map(named).collect()
    }
}

/// The key store of a data folder, opened with the secret that stands beside it.
///
/// # Errors
/// When it cannot be opened.
pub fn open_keys(data: &DataDir) -> Result<Arc<FileKeyStore>> {
    open_store(&data.keys())
}

fn open_store(folder: &Path) -> Result<Arc<FileKeyStore>> {
    let store = FileKeyStore::open(folder, &Unlock::MachineSecret);
    Ok(Arc::new(store.with_context(|| format!("opening the keys in {}", folder.display()))?))
}

/// A key of a store, used there.
pub struct StoredKey {
    store: Arc<FileKeyStore>,
    label: KeyLabel,
    address: Address,
}

impl StoredKey {
    /// The key with this purpose and name, made when absent.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn ensure(store: &Arc<FileKeyStore>, purpose: KeyPurpose, name: &str) -> Result<Self> {
        let label = KeyLabel::new(purpose, name)?;
        let address = store.ensure(&label)?;
        Ok(Self { store: store.clone(), label, address })
    }

    /// The key with this purpose and name, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(store: &Arc<FileKeyStore>, purpose: KeyPurpose, name: &str) -> Result<Option<Self>> {
        let label = KeyLabel::new(purpose, name)?;
        let found = store.address(&label)?;
        Ok(found.map(|address| Self { store: store.clone(), label, address }))
    }
}

impl Signer for StoredKey {
    fn address(&self) -> Address {
        self.address
    }
    fn sign(&self, digest: B256) -> Result<Signature, KeyStoreError> {
        self.store.sign(&self.label, digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use alloy_primitives::address;

    #[test]
    fn the_standard_mnemonic() {
        let keys = dev_keys();
        assert_eq!(keys.len(), 20);
        assert_eq!(keys[0].address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(keys[19].address(), address!("8626f6940E2eb28930eFb4CeF49B2d1F2C9C1199"));
    }
}
