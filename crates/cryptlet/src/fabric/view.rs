//! The registry as of one anchor: what every block that names this anchor is checked against.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use bletchley_attest::{AppraisalPolicy, Kind};
use bletchley_ledger::Anchor;
use bletchley_primitives::{Height, TimestampMs};
use parking_lot::RwLock;

use crate::{
    policy::{CallRefusal, Policy},
    registry::{HostEntry, RegisteredPackage, RegistryView, ReleaseStatus, Resolved},
};

/// Cryptlet ids whose resolution one view remembers; those of contracts that invent ids are looked up every time.
const RESOLVED_MAX: usize = 4096;

/// The registry as of one anchor.
pub(crate) struct AnchorView {
    anchor: Anchor,
    registry: Arc<dyn RegistryView>,
    policy: Option<Arc<Policy>>,
    /// Hosts that the policy names, that are registered, and whose evidence counts.
    hosts: BTreeMap<Address, Counted>,
    resolved: RwLock<HashMap<B256, Option<Resolved>>>,
}

/// A host that counts.
struct Counted {
    entry: Arc<HostEntry>,
    /// From when on and until when its attestation result holds; nothing where none is asked for.
    attested: Option<(TimestampMs, TimestampMs)>,
}

impl Counted {
    fn holds(&self, at: TimestampMs) -> bool {
        self.attested.is_none_or(|(from, to)| from <= at && at < to)
    }
}

/// A call that may run: by this package, under this policy.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) package: Arc<RegisteredPackage>,
    pub(crate) policy: Arc<Policy>,
}

impl Admitted {
    /// Most fuel of the call: the lesser of what the policy allows and the manifest asks for.
    pub(crate) fn fuel_max(&self) -> u64 {
        self.policy.fuel_max.min(self.package.manifest.limits.fuel)
    }
}

impl AnchorView {
    pub(crate) fn new(registry: Arc<dyn RegistryView>, anchor: Anchor) -> Self {
        let policy = registry.policy(anchor.height);
        let mut hosts = BTreeMap::new();
        let appraisal = registry.appraisal(anchor.height);
        if let Some(policy) = &policy {
            for address in &policy.hosts {
                let entry = registry.host(*address, anchor.height);
                let entry = entry.filter(|entry| policy.accepts_evidence(&entry.evidence));
                let counted = entry.and_then(|entry| {
                    attested(&*registry, &entry, appraisal.as_deref(), anchor.height)
                        .map(|attested| Counted { entry, attested })
                });
                hosts.extend(counted.map(|counted| (*address, counted)));
            }
        }
        Self { anchor, registry, policy, hosts, resolved: RwLock::default() }
    }

    pub(crate) const fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The host with this address, if it counts while its attestation result holds.
    pub(crate) fn host(&self, address: Address) -> Option<&Arc<HostEntry>> {
        self.hosts.get(&address).map(|counted| &counted.entry)
    }

    /// The host with this address, if it counts at this time.
    pub(crate) fn host_at(&self, address: Address, at: TimestampMs) -> Option<&Arc<HostEntry>> {
        self.hosts.get(&address).filter(|counted| counted.holds(at)).map(|counted| &counted.entry)
    }

    /// Addresses of the hosts that count, in ascending order.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = Address> + '_ {
        self.hosts.keys().copied()
    }

    /// Key of a package on a host, where it is not the one that the release names.
    pub(crate) fn instance(&self, package: B256, host: Address) -> Option<Address> {
        self.registry.instance(package, host, self.anchor.height)
    }

    /// Whether a call may run as of this time. The order of the checks decides which refusal stands in the record.
    pub(crate) fn admit(
        &self,
        cryptlet: B256,
        caller: Address,
        method: &str,
        at: TimestampMs,
    ) -> Result<Admitted, CallRefusal> {
        let policy = self.policy.as_ref().ok_or(CallRefusal::NoPolicy)?;
        let usable = self.hosts.values().filter(|counted| counted.holds(at)).count() as u64;
        if usable < policy.quorum {
            return Err(CallRefusal::Hosts { quorum: policy.quorum, usable });
        }
        let Resolved { package, status } = self.resolve(cryptlet).ok_or(CallRefusal::Unknown(cryptlet))?;
        let manifest = &package.manifest;
        let (name, version) = (&manifest.name, &manifest.version);
        if status == ReleaseStatus::Revoked {
            return Err(CallRefusal::Revoked { name: name.clone(), version: version.clone() });
        }
        if !policy.lets_call(name, caller) {
            return Err(CallRefusal::Caller { caller, name: name.clone() });
        }
        if manifest.method(method).is_none() {
            return Err(CallRefusal::Method {
                name: name.clone(),
                version: version.clone(),
                method: method.to_owned(),
            });
        }
        Ok(Admitted { package, policy: Arc::clone(policy) })
    }

    fn resolve(&self, cryptlet: B256) -> Option<Resolved> {
        if let Some(known) = self.resolved.read().get(&cryptlet) {
            return known.clone();
        }
        let resolved = self.registry.resolve(cryptlet, self.anchor.height);
        let mut all = self.resolved.write();
        if all.len() < RESOLVED_MAX {
            all.insert(cryptlet, resolved.clone());
        }
        resolved
    }
}

/// Whether a host's evidence was accepted, and between which times that holds; nothing inside where none is asked for.
/// Where the registry has an appraisal policy, every host needs a result under that very policy. Where it has none,
/// nobody can have looked at evidence, so only that counts which shows nothing and says so.
fn attested(
    registry: &dyn RegistryView,
    entry: &HostEntry,
    appraisal: Option<&AppraisalPolicy>,
    height: Height,
) -> Option<Option<(TimestampMs, TimestampMs)>> {
    let Some(policy) = appraisal else {
        return (entry.evidence == Kind::Software.name()).then_some(None);
    };
    let signed = registry.attestation(entry.host, height)?;
    let result = &signed.result;
    let is_of_it = result.policy == policy.digest() && result.kind.name() == entry.evidence;
    is_of_it.then_some(Some((result.at, result.expires)))
}
