//! Putting things into the registry: checks an entry against what is there, and builds the token transaction for it.

use std::path::Path;

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, SignedResult};
use bletchley_primitives::{DecodeError, LedgerId};
use bletchley_token::{Lock, OutputRef, SignedTx, TokenId, Transaction, TxBuilder, Witness};

use super::{
    Attestation, Claim, Entry, EntryError, HostEntry, Instance, NAMESPACE, Release, ReleaseStatus,
    SignedEntry, StatusChange, TokenRegistry,
};
use crate::{
    content::{Content, ContentError, Durability},
    keys::{KeyLabel, KeyStore, KeyStoreError, Signer},
    package::{Package, PackageError},
    policy::Policy,
};

/// Names that are tried where somebody else holds the first one.
const NAMES_MAX: u32 = 16;

/// Why nothing was registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The registry would not accept it.
    #[error("registering {what}: {source}")]
    Entry {
        /// What was to be registered.
        what: String,
        /// Why not.
        source: EntryError,
    },
    /// The code could not be kept.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A key did not sign.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// Others hold every name that was tried on the token ledger.
    #[error(
        "entry `{0}` and its next {NAMES_MAX} names belong to others on the token ledger; ask an administrator"
    )]
    Names(String),
}

/// What a host says about itself when it is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProfile {
    /// Member that runs it.
    pub member: String,
    /// Kind of evidence: [`super::EVIDENCE_SOFTWARE`] where there is none.
    pub evidence: String,
    /// Digest of its execution profile.
    pub profile: B256,
    /// Anything else.
    pub claims: Vec<Claim>,
}

/// Registers. Each method gives a signed transaction for the token ledger; nothing stands before it is in a block. A
/// refused one changes nothing.
#[derive(Clone, Copy)]
pub struct Registrar<'a> {
    /// The registry.
    pub registry: &'a TokenRegistry,
    /// Where code goes.
    pub content: &'a dyn Content,
    /// Where a cryptlet's key is made.
    pub keys: &'a dyn KeyStore,
}

impl std::fmt::Debug for Registrar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registrar({:?}, keys: {})", self.registry, self.keys.name())
    }
}

impl Registrar<'_> {
    /// A release of the package in a folder.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register_folder(&self, folder: &Path, publisher: &dyn Signer) -> Result<SignedTx, RegisterError> {
        self.register(&Package::from_folder(folder)?, publisher)
    }

    /// A release of a package: keeps its code, makes the cryptlet's key, and signs as the publisher.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(&self, package: &Package, publisher: &dyn Signer) -> Result<SignedTx, RegisterError> {
        let (name, version) = (&package.manifest().name, &package.manifest().version);
        let what = format!("{name} {version}");
        let release = |key| Entry::Release(Release::of(package, publisher.address(), key));
        // Once before anything is made or kept, and once for what is really registered.
        self.checked(&what, release(Address::ZERO), &[publisher])?;
        self.content.put(package.code(), Durability::Durable)?;
        let key = self.keys.ensure(&KeyLabel::of_package(package.id().0))?;
        let signed = self.checked(&what, release(key), &[publisher])?;
        self.transaction(&format!("release/{name}"), version, &signed, publisher)
    }

    /// A change of a package's status, by its publisher or an administrator.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_status(
        &self,
        package: B256,
        status: ReleaseStatus,
        reason: &str,
        signer: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let sequence = self.registry.with_index(|index| index.next_status_sequence(package));
        let change = Entry::Status(StatusChange { package, sequence, status, reason: reason.to_owned() });
        let signed = self.checked(&format!("status {} of {package}", status.name()), change, &[signer])?;
        self.transaction(&format!("status/{package}/{sequence}"), status.name(), &signed, signer)
    }

    /// A host, or what is new about it.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn admit_host(
        &self,
        profile: HostProfile,
        host: &dyn Signer,
        administrator: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let entry = self.host_entry(profile, host.address());
        let name = format!("host/{}/{}", entry.host, entry.sequence);
        let what = format!("host {}", entry.host);
        let signed = self.checked(&what, Entry::Host(entry), &[host, administrator])?;
        self.transaction(&name, "1", &signed, administrator)
    }

    /// The key that a package has on this host, made here if it is not there.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register_instance(&self, package: B256, host: &dyn Signer) -> Result<SignedTx, RegisterError> {
        let key = self.keys.ensure(&KeyLabel::of_package(package))?;
        let address = host.address();
        let sequence = self.registry.with_index(|index| index.next_instance_sequence(package, address));
        let entry = Entry::Instance(Instance { package, host: address, sequence, key });
        let signed =
            self.checked(&format!("the key of package {package} on host {address}"), entry, &[host])?;
        self.transaction(&format!("instance/{address}/{package}/{sequence}"), "1", &signed, host)
    }

    /// A host's own half of its entry, for an administrator elsewhere to sign with [`Self::admit_signed_host`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn request_host(
        &self,
        profile: HostProfile,
        host: &dyn Signer,
    ) -> Result<SignedEntry, RegisterError> {
        Ok(Entry::Host(self.host_entry(profile, host.address())).sign(self.ledger(), &[host])?)
    }

    /// A host that signed its half of the entry elsewhere.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn admit_signed_host(
        &self,
        request: SignedEntry,
        administrator: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let SignedEntry { entry, mut signatures } = request;
        let Entry::Host(HostEntry { host, sequence, .. }) = entry else {
            let source =
                DecodeError::Malformed(format!("a {} where a host was expected", entry.kind())).into();
            return Err(RegisterError::Entry { what: "a host".to_owned(), source });
        };
        signatures.truncate(1);
        signatures.push(administrator.sign(entry.signing_digest(self.ledger()))?);
        let signed = SignedEntry { entry, signatures };
        self.accepted(&format!("host {host}"), &signed)?;
        self.transaction(&format!("host/{host}/{sequence}"), "1", &signed, administrator)
    }

    /// A policy, in the place of the one before; its sequence is set here.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_policy(&self, policy: Policy, administrator: &dyn Signer) -> Result<SignedTx, RegisterError> {
        let sequence = self.registry.with_index(super::Index::next_policy_sequence);
        let signed =
            self.checked("a policy", Entry::Policy(Policy { sequence, ..policy }), &[administrator])?;
        self.transaction(&format!("policy/{sequence}"), "1", &signed, administrator)
    }

    /// What is asked of hosts' evidence, in the place of what was asked before; its sequence is set here. From then on a
    /// host counts only with a result under this very policy.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_appraisal(
        &self,
        policy: AppraisalPolicy,
        administrator: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let sequence = self.registry.with_index(super::Index::next_appraisal_sequence);
        let entry = Entry::Appraisal(AppraisalPolicy { sequence, ..policy });
        let signed = self.checked("an appraisal policy", entry, &[administrator])?;
        self.transaction(&format!("appraisal/{sequence}"), "1", &signed, administrator)
    }

    /// That a verifier accepted this host's evidence.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register_attestation(
        &self,
        result: SignedResult,
        host: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let address = host.address();
        let sequence = self.registry.with_index(|index| index.next_attestation_sequence(address));
        let entry = Entry::Attestation(Attestation { sequence, signed: result });
        let signed = self.checked(&format!("the attestation of host {address}"), entry, &[host])?;
        self.transaction(&format!("attestation/{address}/{sequence}"), "1", &signed, host)
    }

    fn ledger(&self) -> LedgerId {
        self.registry.with_index(|index| index.roots().registry)
    }

    fn host_entry(&self, profile: HostProfile, host: Address) -> HostEntry {
        let sequence = self.registry.with_index(|index| index.next_host_sequence(host));
        let HostProfile { member, evidence, profile, claims } = profile;
        HostEntry { host, sequence, member, evidence, profile, claims }
    }

    /// The entry, signed, if readers of the registry will accept it as it stands now.
    fn checked(
        &self,
        what: &str,
        entry: Entry,
        signers: &[&dyn Signer],
    ) -> Result<SignedEntry, RegisterError> {
        let signed = entry.sign(self.ledger(), signers)?;
        self.accepted(what, &signed)?;
        Ok(signed)
    }

    fn accepted(&self, what: &str, signed: &SignedEntry) -> Result<(), RegisterError> {
        SignedEntry::decode(&signed.encode())
            .and_then(|decoded| self.registry.with_index(|index| index.check(&decoded)))
            .map_err(|source| RegisterError::Entry { what: what.to_owned(), source })
    }

    fn transaction(
        &self,
        name: &str,
        version: &str,
        signed: &SignedEntry,
        carrier: &dyn Signer,
    ) -> Result<SignedTx, RegisterError> {
        let owner = Lock::Key { address: carrier.address() };
        let (name, previous) = self.place(name, &owner)?;
        let entry = bletchley_token::Entry {
            namespace: NAMESPACE.to_owned(),
            name,
            version: version.to_owned(),
            payload: signed.encode(),
        };
        let builder = TxBuilder::register(self.ledger(), carrier.address(), entry, previous, owner);
        let id = builder.id();
        let witness = Witness { signatures: vec![carrier.sign(id.0)?], preimages: Vec::new() };
        let transaction = Transaction { body: builder.body().clone(), witness };
        let bytes = transaction.encode_bytes();
        Ok(SignedTx { id, transaction, bytes })
    }

    /// A name that is free, or whose entry the carrier may revise. What an entry says does not depend on its name, so
    /// that nobody can keep another out by taking names.
    fn place(&self, name: &str, owner: &Lock) -> Result<(String, Option<OutputRef>), RegisterError> {
        for number in 1..=NAMES_MAX {
            let name = if number == 1 { name.to_owned() } else { format!("{name}/{number}") };
            let Some(token) = self.registry.tokens().token(TokenId::of_entry(NAMESPACE, &name)) else {
                return Ok((name, None));
            };
            if let Some(unspent) = token.output.filter(|unspent| unspent.output.lock == *owner) {
                return Ok((name, Some(unspent.reference)));
            }
        }
        Err(RegisterError::Names(name.to_owned()))
    }
}
