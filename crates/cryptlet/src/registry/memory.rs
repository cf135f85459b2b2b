//! A registry in memory, block by block: for tests, and for looking at a registry without its ledger.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, SignedResult};
use bletchley_crypto::Domain;
use bletchley_ledger::Anchor;
use bletchley_primitives::{BlockHash, Height};
use parking_lot::RwLock;

use super::{EntryError, HostEntry, Index, RegistryView, Resolved, Roots, SignedEntry};
use crate::policy::Policy;

const BLOCK: Domain = Domain("bletchley/cryptlet/memory-registry-block/1");

/// Entries in memory. Every block is final at once.
#[derive(Debug)]
pub struct MemoryRegistry {
    inner: RwLock<(Index, Vec<BlockHash>)>,
}

impl MemoryRegistry {
    /// A registry with an empty first block.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        let genesis = BlockHash(BLOCK.digest(&[roots.registry.0.as_slice()]));
        Self { inner: RwLock::new((Index::new(roots), vec![genesis])) }
    }

    /// Adds a block with these entries and gives its anchor.
    ///
    /// # Errors
    /// [`EntryError`] of the first entry that is not accepted; the block stands, with the entries before it.
    pub fn append(&self, entries: &[SignedEntry]) -> Result<Anchor, EntryError> {
        let mut inner = self.inner.write();
        let (index, blocks) = &mut *inner;
        let height = Height(blocks.len() as u64);
        let parent = blocks.last().copied().unwrap_or_default();
        let payloads: Vec<_> = entries.iter().map(SignedEntry::encode).collect();
        let parts: Vec<&[u8]> =
            std::iter::once(parent.0.as_slice()).chain(payloads.iter().map(AsRef::as_ref)).collect();
        blocks.push(BlockHash(BLOCK.digest(&parts)));
        let registry = index.roots().registry;
        let block = blocks.last().copied().unwrap_or_default();
        entries.iter().try_for_each(|entry| index.apply(height, entry))?;
        Ok(Anchor { ledger: registry, height, block })
    }

    /// Reads the entries themselves.
    pub fn with_index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.inner.read().0)
    }
}

impl RegistryView for MemoryRegistry {
    fn anchor(&self) -> Anchor {
        let inner = self.inner.read();
        Anchor {
            ledger: inner.0.roots().registry,
            height: Height((inner.1.len() as u64).saturating_sub(1)),
            block: inner.1.last().copied().unwrap_or_default(),
        }
    }

    fn is_final(&self, anchor: &Anchor) -> bool {
        let inner = self.inner.read();
        let block = usize::try_from(anchor.height.0).ok().and_then(|height| inner.1.get(height));
        anchor.ledger == inner.0.roots().registry && block == Some(&anchor.block)
    }

    fn resolve(&self, cryptlet: B256, height: Height) -> Option<Resolved> {
        self.inner.read().0.resolve(cryptlet, height)
    }

    fn host(&self, host: Address, height: Height) -> Option<Arc<HostEntry>> {
        self.inner.read().0.host(host, height)
    }

    fn policy(&self, height: Height) -> Option<Arc<Policy>> {
        self.inner.read().0.policy(height)
    }

    fn instance(&self, package: B256, host: Address, height: Height) -> Option<Address> {
        self.inner.read().0.instance(package, host, height)
    }

    fn appraisal(&self, height: Height) -> Option<Arc<AppraisalPolicy>> {
        self.inner.read().0.appraisal(height)
    }

    fn attestation(&self, host: Address, height: Height) -> Option<Arc<SignedResult>> {
        self.inner.read().0.attestation(host, height)
    }
}
