//! A host: runs a call in a container and signs what came of it, or confirms what another host says.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use bletchley_ledger::{Call, CallBounds, Place, Receipt, SignedReceipt, Status};
use bletchley_primitives::{Height, Signature, keccak256};
use parking_lot::Mutex;

use super::{Evidence, NOTHING};
use crate::{
    container::{
        Container, FailureKind, Invocation, Outcome, Outside, Status as OutcomeStatus, Unavailability,
        UnavailableKind,
    },
    content::{Content, ContentId},
    keys::{KeyLabel, KeyStore, KeyStoreError},
    manifest::Isolation,
    package::Package,
    registry::RegisteredPackage,
};

/// First failure code of those that mean a broken bound or a trap; the lower ones are the cryptlet's own answers.
const TRAPS_FROM: u8 = FailureKind::Trap.code();

/// A call for a host, with everything that its receipt depends on.
#[derive(Clone, Debug)]
pub struct Work {
    /// The call.
    pub call: Call,
    /// The place where it was first asked for: its time is the cryptlet's clock, its height opens the window.
    pub place: Place,
    /// The package that answers.
    pub package: Arc<RegisteredPackage>,
    /// Fuel that it gets.
    pub fuel_max: u64,
    /// Time that this attempt gets.
    pub timeout_ms: u64,
    /// How far policy wants the code kept from the host, at least.
    pub isolation: Isolation,
}

/// What came of a call, before anyone signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What is to be signed.
    pub receipt: Receipt,
    /// The output, or the reason of a failure.
    pub output: Bytes,
    /// What is needed to run it again.
    pub evidence: Evidence,
}

/// Why a host did not sign.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A key is not to be had.
    #[error("host {host} cannot sign: {source}")]
    Key {
        /// The host.
        host: Address,
        /// Why.
        source: KeyStoreError,
    },
    /// The key store has another key for the cryptlet than the registry.
    #[error(
        "the key of package {package} here is {found}, the registry has {expected}; restore the registered key, or register this one for this host"
    )]
    OtherKey {
        /// The package.
        package: B256,
        /// Address of the key here.
        found: Address,
        /// Address in the registry.
        expected: Address,
    },
    /// The host, repeating the call, came to something else.
    #[error("host {host} does not confirm the call: {problem}")]
    NotConfirmed {
        /// The host.
        host: Address,
        /// Where it differs.
        problem: String,
    },
    /// Fewer hosts sign than the policy asks for.
    #[error("{found} hosts sign, the policy asks for {quorum}")]
    NoQuorum {
        /// Hosts that signed.
        found: usize,
        /// Hosts that must.
        quorum: u64,
    },
}

/// Runs calls and signs. One in this process now; a remote one has the same face.
pub trait Host: Send + Sync {
    /// Address of the host's key, as the registry has it.
    fn address(&self) -> Address;

    /// Digest of the profile that it computes under.
    fn profile(&self) -> B256;

    /// Runs a call against the outside world.
    ///
    /// # Errors
    /// [`Unavailability`] when this host could not answer; another attempt may.
    fn execute(&self, work: &Work) -> Result<Execution, Unavailability>;

    /// Runs a call from evidence, without calling out.
    ///
    /// # Errors
    /// [`Unavailability`], of kind transcript-mismatch where the run leaves the evidence.
    fn repeat(&self, work: &Work, evidence: &Evidence) -> Result<Execution, Unavailability>;

    /// Signs with the host's key what it executed or confirmed.
    ///
    /// # Errors
    /// [`HostError`].
    fn sign(&self, receipt: &Receipt) -> Result<Signature, HostError>;

    /// Signs with the key of the cryptlet, whose key store this host shares: the key of the release, or the one that
    /// the cryptlet has on this host. Gives the address of the key too.
    ///
    /// # Errors
    /// [`HostError`].
    fn sign_as_cryptlet(
        &self,
        package: &RegisteredPackage,
        instance: Option<Address>,
        receipt: &Receipt,
    ) -> Result<(Address, Signature), HostError>;

    /// Repeats what another host executed and signs it if nothing differs.
    ///
    /// # Errors
    /// [`HostError::NotConfirmed`] and what [`Host::sign`] gives.
    fn confirm(&self, work: &Work, execution: &Execution) -> Result<Signature, HostError> {
        let differs = |problem: String| HostError::NotConfirmed { host: self.address(), problem };
        let repeated = self.repeat(work, &execution.evidence).map_err(|trouble| differs(trouble.reason))?;
        if repeated == *execution {
            self.sign(&execution.receipt)
        } else {
            Err(differs(format!("{:?} against {:?}", repeated.receipt, execution.receipt)))
        }
    }
}

/// A host in this process.
pub struct LocalHost {
    container: Arc<dyn Container>,
    content: Arc<dyn Content>,
    keys: Arc<dyn KeyStore>,
    label: KeyLabel,
    address: Address,
    /// Held while a package is made ready, so that it is compiled once.
    loading: Mutex<()>,
}

impl std::fmt::Debug for LocalHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalHost({}, {})", self.address, self.container.name())
    }
}

impl LocalHost {
    /// A host over a container, with the key of this label, which is made if it is not there.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn open(
        container: Arc<dyn Container>,
        content: Arc<dyn Content>,
        keys: Arc<dyn KeyStore>,
        label: KeyLabel,
    ) -> Result<Self, KeyStoreError> {
        let address = keys.ensure(&label)?;
        Ok(Self { container, content, keys, label, address, loading: Mutex::new(()) })
    }

    /// Makes a registered package ready before its first call.
    ///
    /// # Errors
    /// [`Unavailability`] when its code is not here or does not load.
    pub fn load(&self, package: &RegisteredPackage, least: Isolation) -> Result<(), Unavailability> {
        if self.container.is_loaded(&package.id(), least) {
            return Ok(());
        }
        let _one_at_a_time = self.loading.lock();
        if self.container.is_loaded(&package.id(), least) {
            return Ok(());
        }
        let trouble = |kind, reason: String| Unavailability { kind, reason };
        let id = ContentId(package.release.code_sha256);
        let code = self
            .content
            .get(id)
            .map_err(|error| trouble(UnavailableKind::HostFault, error.to_string()))?
            .ok_or_else(|| {
                trouble(UnavailableKind::NotLoaded, format!("code {id} is not in this node's content store"))
            })?;
        let built = Package::new(package.manifest.clone(), code)
            .map_err(|error| trouble(UnavailableKind::HostFault, error.to_string()))?;
        self.container
            .load(&built, least)
            .map_err(|error| trouble(UnavailableKind::NotLoaded, error.to_string()))?;
        Ok(())
    }

    fn invoke(&self, work: &Work, outside: Outside) -> Result<Execution, Unavailability> {
        self.load(&work.package, work.isolation)?;
        let invocation = Invocation {
            call_id: work.call.id().0,
            ledger: work.call.ledger,
            height: work.place.height,
            block_time: work.place.time_ms,
            as_of: work.place.time_ms,
            caller: work.call.caller,
            method: work.call.method.clone(),
            input: work.call.input.clone(),
            fuel_max: work.fuel_max,
            timeout_ms: work.timeout_ms.min(work.package.manifest.limits.timeout_ms),
            outside,
            isolation: work.isolation,
        };
        let outcome = self.container.invoke(&work.package.id(), &invocation);
        execution(work, self.profile(), outcome)
    }
}

impl Host for LocalHost {
    fn address(&self) -> Address {
        self.address
    }

    fn profile(&self) -> B256 {
        self.container.profile().digest()
    }

    fn execute(&self, work: &Work) -> Result<Execution, Unavailability> {
        self.invoke(work, Outside::Live)
    }

    fn repeat(&self, work: &Work, evidence: &Evidence) -> Result<Execution, Unavailability> {
        self.invoke(work, Outside::Recorded(Arc::new(evidence.transcript.clone())))
    }

    fn sign(&self, receipt: &Receipt) -> Result<Signature, HostError> {
        let cannot = |source| HostError::Key { host: self.address, source };
        self.keys.sign(&self.label, receipt.signing_digest()).map_err(cannot)
    }

    fn sign_as_cryptlet(
        &self,
        package: &RegisteredPackage,
        instance: Option<Address>,
        receipt: &Receipt,
    ) -> Result<(Address, Signature), HostError> {
        let cannot = |source| HostError::Key { host: self.address, source };
        let label = KeyLabel::of_package(package.release.package);
        let found = self.keys.address(&label).map_err(cannot)?;
        let registered = |found: &Address| *found == package.release.key || Some(*found) == instance;
        if let Some(found) = found.filter(|found| !registered(found)) {
            return Err(HostError::OtherKey {
                package: package.release.package,
                found,
                expected: instance.unwrap_or(package.release.key),
            });
        }
        let signature = self.keys.sign(&label, receipt.signing_digest()).map_err(cannot)?;
        Ok((found.unwrap_or(package.release.key), signature))
    }
}

/// The receipt of an outcome that every host of the profile agrees on.
fn execution(work: &Work, profile: B256, outcome: Outcome) -> Result<Execution, Unavailability> {
    let (status, output) = match outcome.status {
        OutcomeStatus::Unavailable(trouble) => return Err(trouble),
        OutcomeStatus::Ok => (Status::Ok, outcome.output),
        OutcomeStatus::Failed(failure) => {
            let status = if failure.kind.code() < TRAPS_FROM { Status::Failed } else { Status::Trapped };
            (status, reason(failure.kind.name(), &failure.reason))
        }
    };
    let evidence = Evidence {
        input: work.call.input.clone(),
        fuel_max: work.fuel_max,
        host_calls: outcome.host_calls_digest,
        transcript: outcome.transcript,
    };
    let receipt = Receipt {
        package: work.package.release.package,
        status,
        output_digest: keccak256(&output),
        fuel: outcome.fuel_used.min(work.fuel_max),
        profile,
        transcript: evidence.id().0,
        ..blank(work)
    };
    Ok(Execution { receipt, output, evidence })
}

/// The receipt that says that no host could answer.
pub(crate) fn unavailable(work: &Work, trouble: Option<&Unavailability>) -> (Receipt, Bytes) {
    let output = trouble.map_or_else(
        || reason(UnavailableKind::HostFault.name(), "no host answered"),
        |trouble| reason(trouble.kind.name(), &trouble.reason),
    );
    let receipt = Receipt {
        package: work.package.release.package,
        status: Status::Unavailable,
        output_digest: keccak256(&output),
        ..blank(work)
    };
    (receipt, output)
}

fn reason(kind: &str, words: &str) -> Bytes {
    let text = if words.is_empty() { kind.to_owned() } else { format!("{kind}: {words}") };
    text.into_bytes().into()
}

fn blank(work: &Work) -> Receipt {
    let (call, place) = (&work.call, &work.place);
    Receipt {
        ledger: call.ledger,
        transaction: call.transaction,
        caller: call.caller,
        cryptlet: call.cryptlet,
        package: NOTHING,
        method: call.method.clone(),
        input_digest: keccak256(&call.input),
        occurrence: call.occurrence,
        status: Status::Refused,
        output_digest: NOTHING,
        fuel: 0,
        profile: NOTHING,
        transcript: NOTHING,
        as_of_ms: place.time_ms,
        valid_from: place.height,
        valid_to: Height(place.height.0.saturating_add(CallBounds::WINDOW_HEIGHTS)),
    }
}

/// A receipt with its signatures and, beside it, who made them.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    pub(super) signed: SignedReceipt,
    pub(super) signers: Vec<Address>,
}

/// An answer that is to be signed by the cryptlet and by a quorum of hosts, the executing one among them.
pub(super) struct Round<'a> {
    pub(super) executor: &'a dyn Host,
    pub(super) work: &'a Work,
    pub(super) quorum: u64,
    /// Key of the cryptlet on the executing host, where it is not the one that the release names.
    pub(super) instance: Option<Address>,
    pub(super) receipt: Receipt,
    pub(super) output: Bytes,
}

impl Round<'_> {
    /// Gathers the signatures: `confirms` asks another host of this node for its one, `elsewhere` asks other members'
    /// hosts for as many as are missing then.
    pub(super) fn gather(
        self,
        others: &[Arc<dyn Host>],
        confirms: impl Fn(&dyn Host, &Receipt) -> Result<Signature, HostError>,
        elsewhere: impl FnOnce(&Receipt, &Bytes, usize) -> Vec<(Address, Signature)>,
    ) -> Result<Gathered, HostError> {
        let Self { executor, work, quorum, instance, receipt, output } = self;
        let mut hosts = vec![(executor.address(), executor.sign(&receipt)?)];
        for host in others {
            if hosts.len() as u64 >= quorum {
                break;
            }
            match confirms(host.as_ref(), &receipt) {
                Ok(signature) => hosts.push((host.address(), signature)),
                Err(error) => {
                    tracing::warn!(host = %host.address(), %error, "a host does not confirm a call")
                }
            }
        }
        let missing = usize::try_from(quorum).unwrap_or(usize::MAX).saturating_sub(hosts.len());
        if missing > 0 {
            hosts.extend(elsewhere(&receipt, &output, missing).into_iter().take(missing));
        }
        hosts.sort_unstable_by_key(|(address, _)| *address);
        hosts.dedup_by_key(|(address, _)| *address);
        if (hosts.len() as u64) < quorum {
            return Err(HostError::NoQuorum { found: hosts.len(), quorum });
        }
        let (key, cryptlet) = executor.sign_as_cryptlet(&work.package, instance, &receipt)?;
        let signers = std::iter::once(key).chain(hosts.iter().map(|(address, _)| *address)).collect();
        let signatures =
            std::iter::once(cryptlet).chain(hosts.into_iter().map(|(_, signature)| signature)).collect();
        Ok(Gathered { signed: SignedReceipt { receipt, output, signatures }, signers })
    }
}
