//! The registry of cryptlets, hosts and policy: signed entries on a UTXO ledger, read "as of" a final block of it.
//!
//! Invariants: every reader of the same final blocks resolves the same names to the same packages; what an entry says
//! depends on its own signatures and on the entries before it, never on who carried it to the ledger.

mod entry;
mod index;
mod memory;
mod registrar;
mod token;

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, SignedResult};
use bletchley_ledger::{Anchor, PROTOCOL_VERSION_FIRST};
use bletchley_primitives::Height;

pub use entry::{
    Attestation, CLAIMS_MAX, Claim, EVIDENCE_SOFTWARE, Entry, EntryError, HostEntry, Instance,
    PAYLOAD_SIZE_BYTES_MAX, RELEASED_MANIFEST_SIZE_BYTES_MAX, Release, ReleaseStatus, SIGNATURES_MAX,
    SignedEntry, StatusChange, TEXT_SIZE_BYTES_MAX,
};
pub use index::{Index, RegisteredPackage, Roots};
pub use memory::MemoryRegistry;
pub use registrar::{HostProfile, RegisterError, Registrar};
pub use token::{NAMESPACE, TokenRegistry, TokenRegistryError};

use crate::policy::Policy;

/// What a cryptlet's id stands for at a height.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The package.
    pub package: Arc<RegisteredPackage>,
    /// Where it stands; a revoked one is found, so that the refusal can say so.
    pub status: ReleaseStatus,
}

/// Reads the registry as of a block.
///
/// Invariant: for a height up to that of the newest anchor, every method gives the same answer for ever.
pub trait RegistryView: Send + Sync {
    /// The newest final block of the registry's ledger.
    fn anchor(&self) -> Anchor;

    /// Whether this is a final block of the registry's ledger.
    fn is_final(&self, anchor: &Anchor) -> bool;

    /// What `cryptlet` (keccak256 of a name, or a package id) stands for after the block at `height`.
    fn resolve(&self, cryptlet: B256, height: Height) -> Option<Resolved>;

    /// The host with this address after the block at `height`.
    fn host(&self, host: Address, height: Height) -> Option<Arc<HostEntry>>;

    /// The policy after the block at `height`.
    fn policy(&self, height: Height) -> Option<Arc<Policy>>;

    /// Key of a package on a host after the block at `height`, where it is not the one that the release names.
    fn instance(&self, package: B256, host: Address, height: Height) -> Option<Address>;

    /// What is asked of hosts' evidence after the block at `height`.
    fn appraisal(&self, height: Height) -> Option<Arc<AppraisalPolicy>>;

    /// The newest attestation result of a host after the block at `height`, whether it still holds or not.
    fn attestation(&self, host: Address, height: Height) -> Option<Arc<SignedResult>>;

    /// Protocol version of the registry's ledger at a height, and of blocks of other ledgers that name it as their anchor.
    fn protocol_version(&self, _height: Height) -> u32 {
        PROTOCOL_VERSION_FIRST
    }
}

/// What the members of a consortium decided, as far as the registry on their root ledger follows it.
///
/// Invariant: for a height up to that of the newest final block, every method gives the same answer for ever.
pub trait Votes: std::fmt::Debug + Send + Sync {
    /// Who may set policy, admit hosts and revoke any package, as things stood after the block at `height`; as they stand
    /// now when that is later.
    fn administrators(&self, height: Height) -> Vec<Address>;

    /// Protocol version of the block at `height`.
    fn protocol_version(&self, height: Height) -> u32;
}
