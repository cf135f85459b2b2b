//! The registry on a token ledger: every entry is a token there, and the entries are read in the order of its blocks.

use std::{collections::VecDeque, sync::Arc};

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, SignedResult};
use bletchley_ledger::{Anchor, Machine, PROTOCOL_VERSION_FIRST};
use bletchley_primitives::{BlockHash, Height, LedgerId};
use bletchley_token::{EntryRevision, TokenMachine};
use parking_lot::{Mutex, RwLock};

use super::{HostEntry, Index, RegistryView, Resolved, Roots, SignedEntry, Votes};
use crate::policy::Policy;

/// Namespace of the registry's entries on the token ledger.
pub const NAMESPACE: &str = "cryptlet";
/// Anchors that are remembered as final.
const KNOWN_ANCHORS_MAX: usize = 64;

/// Why a registry was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRegistryError {
    /// The roots are for another ledger.
    #[error("the genesis document names {expected} as the registry's ledger, this token ledger is {found}")]
    Ledger {
        /// This ledger.
        found: LedgerId,
        /// The roots' ledger.
        expected: LedgerId,
    },
    /// Nobody could ever set a policy.
    #[error("the genesis document names no administrator of the registry; name at least one")]
    NoAdministrator,
}

/// The registry as the committed blocks of a token ledger have it. Every committed block counts as final: the machine
/// commits only what its engine has decided.
pub struct TokenRegistry {
    tokens: Arc<TokenMachine>,
    inner: Arc<RwLock<Inner>>,
    known: Mutex<VecDeque<Anchor>>,
    votes: Option<Arc<dyn Votes>>,
}

#[derive(Debug)]
struct Inner {
    index: Index,
    /// Up to here the entries were read.
    anchor: Anchor,
}

impl std::fmt::Debug for TokenRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRegistry").field("anchor", &self.inner.read().anchor).finish_non_exhaustive()
    }
}

impl TokenRegistry {
    /// The registry on this ledger: what it holds already, then every block as it is committed.
    ///
    /// # Errors
    /// [`TokenRegistryError`].
    pub fn open(tokens: Arc<TokenMachine>, roots: Roots) -> Result<Self, TokenRegistryError> {
        Self::open_with(tokens, roots, None)
    }

    /// As [`Self::open`], with administrators and protocol versions as the members' votes make them.
    ///
    /// # Errors
    /// [`TokenRegistryError`].
    pub fn following(
        tokens: Arc<TokenMachine>,
        roots: Roots,
        votes: Arc<dyn Votes>,
    ) -> Result<Self, TokenRegistryError> {
        Self::open_with(tokens, roots, Some(votes))
    }

    fn open_with(
        tokens: Arc<TokenMachine>,
        roots: Roots,
        votes: Option<Arc<dyn Votes>>,
    ) -> Result<Self, TokenRegistryError> {
        if roots.registry != tokens.ledger() {
            return Err(TokenRegistryError::Ledger { found: tokens.ledger(), expected: roots.registry });
        }
        if roots.administrators.is_empty() {
            return Err(TokenRegistryError::NoAdministrator);
        }
        let ledger = roots.registry;
        let anchor_of = move |height: Height, block: BlockHash| Anchor { ledger, height, block };
        let index = Index::new(roots);
        let index = match &votes {
            Some(votes) => index.following(Arc::clone(votes)),
            None => index,
        };
        let inner =
            Arc::new(RwLock::new(Inner { index, anchor: anchor_of(Height(0), BlockHash::default()) }));
        // A block that is committed meanwhile waits for this lock, then finds what it brought read or not.
        let mut locked = inner.write();
        let follower = Arc::clone(&inner);
        tokens.on_commit(move |block| {
            let mut inner = follower.write();
            if block.head.height > inner.anchor.height {
                inner.read_all(&block.entries);
                inner.anchor = anchor_of(block.head.height, block.head.hash);
            }
        });
        let head = tokens.head();
        let mut before = tokens.entries_after(NAMESPACE, Height(0));
        before.retain(|revision| revision.height <= head.height);
        locked.read_all(&before);
        locked.anchor = anchor_of(head.height, head.hash);
        drop(locked);
        Ok(Self { tokens, inner, known: Mutex::default(), votes })
    }

    /// The ledger that the registry is on.
    #[must_use]
    pub const fn tokens(&self) -> &Arc<TokenMachine> {
        &self.tokens
    }

    /// Reads the entries themselves.
    pub fn with_index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.inner.read().index)
    }
}

impl Inner {
    /// Reads entries in the order of the ledger. What is not valid is passed over, by everyone alike.
    fn read_all(&mut self, revisions: &[EntryRevision]) {
        for EntryRevision { entry, height, tx, .. } in revisions {
            if entry.namespace != NAMESPACE {
                continue;
            }
            let read =
                SignedEntry::decode(&entry.payload).and_then(|signed| self.index.apply(*height, &signed));
            if let Err(error) = read {
                tracing::warn!(transaction = %tx, name = entry.name, %error, "a registry entry is passed over");
            }
        }
    }
}

impl RegistryView for TokenRegistry {
    fn anchor(&self) -> Anchor {
        self.inner.read().anchor
    }

    fn is_final(&self, anchor: &Anchor) -> bool {
        let newest = self.anchor();
        if *anchor == newest {
            return true;
        }
        if anchor.ledger != newest.ledger || anchor.height >= newest.height {
            return false;
        }
        if self.known.lock().contains(anchor) {
            return true;
        }
        let is_there = match self.tokens.header(anchor.height) {
            Ok(header) => header.is_some_and(|header| header.hash() == anchor.block),
            Err(error) => {
                tracing::error!(height = %anchor.height, %error, "a block of the registry's ledger cannot be read");
                false
            }
        };
        if is_there {
            let mut known = self.known.lock();
            if known.len() >= KNOWN_ANCHORS_MAX {
                known.pop_front();
            }
            known.push_back(*anchor);
        }
        is_there
    }

    fn resolve(&self, cryptlet: B256, height: Height) -> Option<Resolved> {
        self.inner.read().index.resolve(cryptlet, height)
    }

    fn host(&self, host: Address, height: Height) -> Option<Arc<HostEntry>> {
        self.inner.read().index.host(host, height)
    }

    fn policy(&self, height: Height) -> Option<Arc<Policy>> {
        self.inner.read().index.policy(height)
    }

    fn instance(&self, package: B256, host: Address, height: Height) -> Option<Address> {
        self.inner.read().index.instance(package, host, height)
    }

    fn appraisal(&self, height: Height) -> Option<Arc<AppraisalPolicy>> {
        self.inner.read().index.appraisal(height)
    }

    fn attestation(&self, host: Address, height: Height) -> Option<Arc<SignedResult>> {
        self.inner.read().index.attestation(host, height)
    }

    fn protocol_version(&self, height: Height) -> u32 {
        self.votes.as_ref().map_or(PROTOCOL_VERSION_FIRST, |votes| votes.protocol_version(height))
    }
}
