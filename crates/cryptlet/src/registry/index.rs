//! The registry's entries by name, package and height: validated as they come, resolved as of any height since.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, SignedResult};
use bletchley_primitives::{Height, LedgerId, keccak256};
use semver::Version;

use super::{
    Attestation, Entry, EntryError, HostEntry, Instance, Release, ReleaseStatus, Resolved, SignedEntry,
    StatusChange, Votes,
};
use crate::{manifest::Manifest, package::PackageId, policy::Policy};

/// Where trust in the registry starts: named in the genesis document, checked by everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The registry's ledger.
    pub registry: LedgerId,
    /// Who may set policy, admit hosts and revoke any package, from the start; for ever where nobody votes on it.
    pub administrators: Vec<Address>,
}

/// As things stand: later than any block.
const NOW: Height = Height(u64::MAX);

/// A registered package with its manifest at hand.
#[derive(Debug, PartialEq, Eq)]
pub struct RegisteredPackage {
    /// The release as it was signed.
    pub release: Release,
    /// Its manifest.
    pub manifest: Manifest,
    version: Version,
}

impl RegisteredPackage {
    /// Id of the package.
    #[must_use]
    pub const fn id(&self) -> PackageId {
        PackageId(self.release.package)
    }
}

#[derive(Debug)]
struct Registered {
    height: Height,
    package: Arc<RegisteredPackage>,
    changes: Vec<(Height, ReleaseStatus)>,
}

impl Registered {
    fn status_at(&self, height: Height) -> ReleaseStatus {
        self.changes
            .iter()
            .rev()
            .find(|(since, _)| *since <= height)
            .map_or(ReleaseStatus::Active, |(_, to)| *to)
    }

    fn status(&self) -> ReleaseStatus {
        self.changes.last().map_or(ReleaseStatus::Active, |(_, to)| *to)
    }

    fn resolved_at(&self, height: Height) -> Resolved {
        Resolved { package: Arc::clone(&self.package), status: self.status_at(height) }
    }
}

/// The registry's entries, in the order of the ledger.
#[derive(Debug)]
pub struct Index {
    roots: Roots,
    /// Whom the members made administrators since.
    votes: Option<Arc<dyn Votes>>,
    releases: Vec<Registered>,
    /// keccak256 of a name to its releases, oldest first. Never iterated, so its order does not matter.
    names: HashMap<B256, Vec<usize>>,
    packages: HashMap<B256, usize>,
    hosts: BTreeMap<Address, Vec<(Height, Arc<HostEntry>)>>,
    policies: Vec<(Height, Arc<Policy>)>,
    /// Keys of a package on a host, oldest first.
    instances: BTreeMap<(B256, Address), Vec<(Height, Address)>>,
    appraisals: Vec<(Height, Arc<AppraisalPolicy>)>,
    attestations: BTreeMap<Address, Vec<(Height, Arc<SignedResult>)>>,
}

impl Index {
    /// An empty registry.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            votes: None,
            releases: Vec::new(),
            names: HashMap::new(),
            packages: HashMap::new(),
            hosts: BTreeMap::new(),
            policies: Vec::new(),
            instances: BTreeMap::new(),
            appraisals: Vec::new(),
            attestations: BTreeMap::new(),
        }
    }

    /// The registry, with administrators as the members' votes make them: an entry counts if its signer was one after the
    /// block before its own.
    #[must_use]
    pub fn following(self, votes: Arc<dyn Votes>) -> Self {
        Self { votes: Some(votes), ..self }
    }

    /// Who administers the registry after the block at `height`.
    fn administrators(&self, height: Height) -> Vec<Address> {
        match &self.votes {
            Some(votes) => votes.administrators(height),
            None => self.roots.administrators.clone(),
        }
    }

    /// Whether this address administers the registry now.
    #[must_use]
    pub fn is_administrator(&self, address: Address) -> bool {
        self.administrators(NOW).contains(&address)
    }

    fn check_administrator(&self, found: Address, before: Height) -> Result<(), EntryError> {
        let administrators = self.administrators(before);
        if administrators.contains(&found) {
            return Ok(());
        }
        let expected = administrators.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        Err(EntryError::Signer { who: "administrator", found, expected })
    }

    /// Where trust starts.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Whether an entry would be accepted after those that are here.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn check(&self, signed: &SignedEntry) -> Result<(), EntryError> {
        match &signed.entry {
            Entry::Release(release) => self.check_release(signed, release).map(drop),
            Entry::Status(change) => self.check_status(signed, change, NOW).map(drop),
            Entry::Host(host) => self.check_host(signed, host, NOW),
            Entry::Policy(policy) => self.check_policy(signed, policy, NOW),
            Entry::Instance(instance) => self.check_instance(signed, instance),
            Entry::Appraisal(policy) => self.check_appraisal(signed, policy, NOW),
            Entry::Attestation(attestation) => self.check_attestation(signed, attestation),
        }
    }

    /// Takes in an entry of the block at `height`, which is not below that of the entry before.
    ///
    /// # Errors
    /// [`EntryError`]; the registry is as before, and readers pass the entry over.
    pub fn apply(&mut self, height: Height, signed: &SignedEntry) -> Result<(), EntryError> {
        let before = Height(height.0.saturating_sub(1));
        match &signed.entry {
            Entry::Release(release) => {
                let package = self.check_release(signed, release)?;
                let position = self.releases.len();
                self.names.entry(keccak256(&release.name)).or_default().push(position);
                self.packages.insert(release.package, position);
                self.releases.push(Registered { height, package: Arc::new(package), changes: Vec::new() });
            }
            Entry::Status(change) => {
                let position = self.check_status(signed, change, before)?;
                if let Some(registered) = self.releases.get_mut(position) {
                    registered.changes.push((height, change.status));
                }
            }
            Entry::Host(host) => {
                self.check_host(signed, host, before)?;
                self.hosts.entry(host.host).or_default().push((height, Arc::new(host.clone())));
            }
            Entry::Policy(policy) => {
                self.check_policy(signed, policy, before)?;
                self.policies.push((height, Arc::new(policy.clone())));
            }
            Entry::Instance(instance) => {
                self.check_instance(signed, instance)?;
                let of = (instance.package, instance.host);
                self.instances.entry(of).or_default().push((height, instance.key));
            }
            Entry::Appraisal(policy) => {
                self.check_appraisal(signed, policy, before)?;
                self.appraisals.push((height, Arc::new(policy.clone())));
            }
            Entry::Attestation(attestation) => {
                self.check_attestation(signed, attestation)?;
                let host = attestation.signed.result.host;
                let result = Arc::new(attestation.signed.clone());
                self.attestations.entry(host).or_default().push((height, result));
            }
        }
        Ok(())
    }

    /// What a cryptlet's id stands for after the block at `height`. By name: the newest active release; without one,
    /// the newest deprecated; without that, the newest, which is revoked.
    #[must_use]
    pub fn resolve(&self, cryptlet: B256, height: Height) -> Option<Resolved> {
        let registered =
            |position: &usize| self.releases.get(*position).filter(|found| found.height <= height);
        if let Some(found) = self.packages.get(&cryptlet).and_then(registered) {
            return Some(found.resolved_at(height));
        }
        let releases = || self.names.get(&cryptlet).into_iter().flatten().rev().filter_map(registered);
        let with = |status| releases().find(|found| found.status_at(height) == status);
        with(ReleaseStatus::Active)
            .or_else(|| with(ReleaseStatus::Deprecated))
            .or_else(|| releases().next())
            .map(|found| found.resolved_at(height))
    }

    /// The host with this address after the block at `height`.
    #[must_use]
    pub fn host(&self, host: Address, height: Height) -> Option<Arc<HostEntry>> {
        as_of(self.hosts.get(&host)?, height)
    }

    /// The policy after the block at `height`.
    #[must_use]
    pub fn policy(&self, height: Height) -> Option<Arc<Policy>> {
        as_of(&self.policies, height)
    }

    /// Key of a package on a host after the block at `height`, where it is not the one that the release names.
    #[must_use]
    pub fn instance(&self, package: B256, host: Address, height: Height) -> Option<Address> {
        let keys = self.instances.get(&(package, host))?;
        keys.iter().rev().find(|(since, _)| *since <= height).map(|(_, key)| *key)
    }

    /// What is asked of hosts' evidence after the block at `height`.
    #[must_use]
    pub fn appraisal(&self, height: Height) -> Option<Arc<AppraisalPolicy>> {
        as_of(&self.appraisals, height)
    }

    /// The newest attestation result of a host after the block at `height`, whether it still holds or not.
    #[must_use]
    pub fn attestation(&self, host: Address, height: Height) -> Option<Arc<SignedResult>> {
        as_of(self.attestations.get(&host)?, height)
    }

    /// Sequence of the next appraisal policy.
    #[must_use]
    pub fn next_appraisal_sequence(&self) -> u64 {
        self.appraisals.len() as u64
    }

    /// Sequence of the next attestation result of this host.
    #[must_use]
    pub fn next_attestation_sequence(&self, host: Address) -> u64 {
        self.attestations.get(&host).map_or(0, |results| results.len() as u64)
    }

    /// Whether any policy so far named this host. One that was named and is not any more was taken out.
    #[must_use]
    pub fn was_named(&self, host: Address) -> bool {
        self.policies.iter().any(|(_, policy)| policy.names_host(host))
    }

    /// Every package that was registered up to `height`, oldest first, with its status then.
    pub fn packages(&self, height: Height) -> impl Iterator<Item = Resolved> + '_ {
        self.releases
            .iter()
            .filter(move |found| found.height <= height)
            .map(move |found| found.resolved_at(height))
    }

    /// Every host that was registered up to `height`, by address.
    pub fn hosts(&self, height: Height) -> impl Iterator<Item = Arc<HostEntry>> + '_ {
        self.hosts.values().filter_map(move |entries| as_of(entries, height))
    }

    /// Sequence of the next policy.
    #[must_use]
    pub fn next_policy_sequence(&self) -> u64 {
        self.policies.len() as u64
    }

    /// Sequence of the next entry of this host.
    #[must_use]
    pub fn next_host_sequence(&self, host: Address) -> u64 {
        self.hosts.get(&host).map_or(0, |entries| entries.len() as u64)
    }

    /// Sequence of the next key of this package on this host.
    #[must_use]
    pub fn next_instance_sequence(&self, package: B256, host: Address) -> u64 {
        self.instances.get(&(package, host)).map_or(0, |keys| keys.len() as u64)
    }

    /// Sequence of the next change of this package's status.
    #[must_use]
    pub fn next_status_sequence(&self, package: B256) -> u64 {
        let registered = self.packages.get(&package).and_then(|position| self.releases.get(*position));
        registered.map_or(0, |registered| registered.changes.len() as u64)
    }

    fn check_release(
        &self,
        signed: &SignedEntry,
        release: &Release,
    ) -> Result<RegisteredPackage, EntryError> {
        let manifest = release.checked_manifest()?;
        let [signer] = signed.signers(self.roots.registry, ["publisher"])?;
        if signer != release.publisher {
            let expected = release.publisher.to_string();
            return Err(EntryError::Signer { who: "publisher", found: signer, expected });
        }
        let (_, policy) = self.policies.last().ok_or(EntryError::NoPolicy)?;
        if !policy.lets_publish(release.publisher) {
            return Err(EntryError::PublisherNotAllowed(release.publisher));
        }
        // The manifest was checked: its version parses.
        let version = Version::parse(&manifest.version).unwrap_or_else(|_| Version::new(0, 0, 0));
        let before = self.names.get(&keccak256(&release.name)).and_then(|positions| positions.last());
        if let Some(newest) = before.and_then(|position| self.releases.get(*position)) {
            let newest = &newest.package;
            if newest.release.publisher != release.publisher {
                return Err(EntryError::NameTaken {
                    name: release.name.clone(),
                    publisher: newest.release.publisher,
                });
            }
            if version <= newest.version {
                return Err(EntryError::VersionNotNewer {
                    name: release.name.clone(),
                    version: manifest.version.clone(),
                    newest: newest.manifest.version.clone(),
                });
            }
        }
        Ok(RegisteredPackage { release: release.clone(), manifest, version })
    }

    fn check_status(
        &self,
        signed: &SignedEntry,
        change: &StatusChange,
        before: Height,
    ) -> Result<usize, EntryError> {
        let position =
            *self.packages.get(&change.package).ok_or(EntryError::UnknownPackage(change.package))?;
        let registered = self.releases.get(position).ok_or(EntryError::UnknownPackage(change.package))?;
        let [signer] = signed.signers(self.roots.registry, ["publisher or administrator"])?;
        if signer != registered.package.release.publisher {
            self.check_administrator(signer, before)?;
        }
        check_sequence("status", change.sequence, registered.changes.len())?;
        if registered.status() == ReleaseStatus::Revoked {
            return Err(EntryError::Revoked(change.package));
        }
        Ok(position)
    }

    fn check_host(&self, signed: &SignedEntry, host: &HostEntry, before: Height) -> Result<(), EntryError> {
        let [signer, administrator] = signed.signers(self.roots.registry, ["host", "administrator"])?;
        if signer != host.host {
            return Err(EntryError::Signer { who: "host", found: signer, expected: host.host.to_string() });
        }
        self.check_administrator(administrator, before)?;
        check_sequence("host", host.sequence, self.hosts.get(&host.host).map_or(0, Vec::len))
    }

    fn check_instance(&self, signed: &SignedEntry, instance: &Instance) -> Result<(), EntryError> {
        let Instance { package, host, sequence, .. } = *instance;
        if !self.packages.contains_key(&package) {
            return Err(EntryError::UnknownPackage(package));
        }
        if !self.hosts.contains_key(&host) {
            return Err(EntryError::UnknownHost(host));
        }
        let [signer] = signed.signers(self.roots.registry, ["host"])?;
        if signer != host {
            return Err(EntryError::Signer { who: "host", found: signer, expected: host.to_string() });
        }
        check_sequence("instance", sequence, self.instances.get(&(package, host)).map_or(0, Vec::len))
    }

    fn check_appraisal(
        &self,
        signed: &SignedEntry,
        policy: &AppraisalPolicy,
        before: Height,
    ) -> Result<(), EntryError> {
        policy.check()?;
        let [administrator] = signed.signers(self.roots.registry, ["administrator"])?;
        self.check_administrator(administrator, before)?;
        check_sequence("appraisal", policy.sequence, self.appraisals.len())
    }

    fn check_attestation(&self, signed: &SignedEntry, attestation: &Attestation) -> Result<(), EntryError> {
        let result = &attestation.signed.result;
        let host = result.host;
        if !self.hosts.contains_key(&host) {
            return Err(EntryError::UnknownHost(host));
        }
        let [signer] = signed.signers(self.roots.registry, ["host"])?;
        if signer != host {
            return Err(EntryError::Signer { who: "host", found: signer, expected: host.to_string() });
        }
        let (_, policy) = self.appraisals.last().ok_or(EntryError::NoAppraisal)?;
        attestation.signed.check(policy, self.roots.registry)?;
        let before = self.attestations.get(&host).map_or(&[][..], Vec::as_slice);
        check_sequence("attestation", attestation.sequence, before.len())?;
        match before.last() {
            Some((_, newest)) if newest.result.at > result.at => {
                Err(EntryError::OlderResult { newest: newest.result.at, found: result.at })
            }
            _ => Ok(()),
        }
    }

    fn check_policy(&self, signed: &SignedEntry, policy: &Policy, before: Height) -> Result<(), EntryError> {
        policy.check()?;
        let [administrator] = signed.signers(self.roots.registry, ["administrator"])?;
        self.check_administrator(administrator, before)?;
        check_sequence("policy", policy.sequence, self.policies.len())
    }
}

fn as_of<T>(entries: &[(Height, Arc<T>)], height: Height) -> Option<Arc<T>> {
    entries.iter().rev().find(|(since, _)| *since <= height).map(|(_, entry)| Arc::clone(entry))
}

fn check_sequence(kind: &'static str, found: u64, before: usize) -> Result<(), EntryError> {
    let expected = before as u64;
    if found == expected { Ok(()) } else { Err(EntryError::Sequence { kind, found, expected }) }
}
