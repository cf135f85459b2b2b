//! Cryptlets that this member publishes, and the sources that its host may fetch from beside those of the ready-made ones.

use crate::accounts::StoredKey;
use crate::cryptlet_log;
use crate::data::DataDir;
use crate::identity::Identity;
use crate::identity::OWN;
use anyhow::{Context, Result};
use bletchley_api::rest::{LogLine, PublishError, Published, Publishing};
use bletchley_cryptlet::content::Content;
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::keys::{FileKeyStore, KeyPurpose, Signer};
use bletchley_cryptlet::package::{Package, PackageId};
use bletchley_cryptlet::registry::{Registrar, RegistryView, ReleaseStatus, TokenRegistry};
use bletchley_primitives::TxId;
use bletchley_token::{SignedTx, TokenMachine};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Most addresses that a host is allowed to fetch from.
const SOURCES_MAX: usize = 1_024;

/// What publishing needs.
pub(crate) struct PublisherParts {
    pub(crate) tokens: Arc<TokenMachine>,
    pub(crate) registry: Arc<TokenRegistry>,
    pub(crate) content: Arc<dyn Content>,
    pub(crate) fetcher: Arc<HttpFetcher>,
}

/// Publishes in this member's name.
pub(crate) struct Publisher {
    parts: PublisherParts,
    keys: Arc<FileKeyStore>,
    publisher: StoredKey,
    administrator: Arc<StoredKey>,
    /// Addresses that the operator allowed, and where they are kept.
    sources: Mutex<BTreeSet<String>>,
    sources_file: PathBuf,
}

impl Publisher {
    /// With this member's keys; lets the host fetch from what its operator allowed before.
    ///
    /// # Errors
    /// What the key store said, or a list of sources that cannot be read.
    pub(crate) fn open(parts: PublisherParts, identity: &Identity, data: &DataDir) -> Result<Self> {
        let keys = identity.keys.store.clone();
        let publisher = StoredKey::ensure(&keys, KeyPurpose::Publisher, OWN)?;
        let sources_file = data.sources();
        let sources: BTreeSet<String> = match std::fs::read(&sources_file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("reading {}", sources_file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", sources_file.display()));
            }
        };
        for source in &sources {
            parts.fetcher.grant(source)?;
        }
        let administrator = identity.keys.administrator.clone();
        Ok(Self { parts, keys, publisher, administrator, sources: Mutex::new(sources), sources_file })
    }

    fn registrar(&self) -> Registrar<'_> {
        Registrar { registry: &self.parts.registry, content: &*self.parts.content, keys: &*self.keys }
    }

    fn submit(&self, signed: &SignedTx) -> Result<TxId, PublishError> {
        let refused = |error: bletchley_token::SubmitError| PublishError::Ledger(error.to_string());
        self.parts.tokens.submit(&signed.bytes).map_err(refused)?;
        Ok(signed.id)
    }

    /// Keeps the list so that a crash leaves the old one or the new one.
    fn keep(&self, sources: &BTreeSet<String>) -> Result<()> {
        let part = self.sources_file.with_extension("json.part");
        std::fs::write(&part, serde_json::to_vec_pretty(sources)?)?;
        std::fs::File::open(&part)?.sync_all()?;
        Ok(std::fs::rename(&part, &self.sources_file)?)
    }
}

impl Publishing for Publisher {
    fn publish(&self, package: &Package) -> Result<Published, PublishError> {
        let signed = self.registrar().register(package, &self.publisher)?;
        let transaction = self.submit(&signed)?;
        Ok(Published { transaction, package: package.id(), publisher: self.publisher.address() })
    }

    fn set_status(
        &self,
        package: PackageId,
        status: ReleaseStatus,
        reason: &str,
    ) -> Result<TxId, PublishError> {
        let registry = &self.parts.registry;
        let found = registry.resolve(package.0, registry.anchor().height);
        let found = found.ok_or(PublishError::Unknown(package))?;
        let own = found.package.release.publisher == self.publisher.address();
        let signer: &dyn Signer = if own { &self.publisher } else { &*self.administrator };
        let signed = self.registrar().set_status(package.0, status, reason, signer)?;
        self.submit(&signed)
    }

    fn allow_sources(&self, package: PackageId) -> Result<Vec<String>, PublishError> {
        let registry = &self.parts.registry;
        let found = registry.resolve(package.0, registry.anchor().height);
        let found = found.ok_or(PublishError::Unknown(package))?;
        let wanted = &found.package.manifest.capabilities.fetch;
        let wanted: Vec<String> = wanted.iter().map(|source| source.url_prefix.clone()).collect();
        let host = |error: String| PublishError::Host(error);
        let mut sources = self.sources.lock();
        let mut after = sources.clone();
        after.extend(wanted.iter().cloned());
        if after.len() > SOURCES_MAX {
            return Err(host(format!("this host fetches from {SOURCES_MAX} addresses at most")));
        }
        self.keep(&after).map_err(|error| host(format!("{error:#}")))?;
        *sources = after;
        drop(sources);
        for source in &wanted {
            self.parts.fetcher.grant(source).map_err(|error| host(error.to_string()))?;
        }
        Ok(wanted)
    }

    fn log(&self, cryptlet: &str, after: u64, max: usize) -> Vec<LogLine> {
        cryptlet_log::lines(cryptlet, after, max)
    }
}
