//! A small world: one publisher, one administrator, some hosts, and a fabric over them.

use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc::{Receiver, channel},
};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use bletchley_cryptlet::{
    container::{Container, FailureKind, Invocation, LoadError, Outcome, Outside, Status, UnavailableKind},
    content::{Content, Durability, MemoryContent},
    fabric::{Fabric, FabricConfig, FabricParts, Host, LocalHost},
    keys::{KeyLabel, KeyPurpose, KeyStore, MemoryKeyStore},
    manifest::{Isolation, Manifest},
    package::{Package, PackageId},
    policy::Policy,
    profile::ExecutionProfile,
    registry::{
        EVIDENCE_SOFTWARE, Entry, HostEntry, MemoryRegistry, RegistryView, Release, ReleaseStatus, Roots,
        StatusChange,
    },
    transcript::{FetchRecord, Transcript},
};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{Answer, Call, CallId, Delegate, DelegationRecord, Place, RecordError, SignedReceipt};
use bletchley_primitives::{BlockHash, Height, LedgerId, TimestampMs, TxId};
use parking_lot::{Condvar, Mutex};

pub const REGISTRY: LedgerId = LedgerId(B256::repeat_byte(0xee));
pub const LEDGER: LedgerId = LedgerId(B256::repeat_byte(0x11));
pub const FUEL_LIMIT: u64 = 1_000_000;

/// What a container does with a call.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with the input, reversed.
    Honest,
    /// Answers with a constant.
    Lies,
    /// Says that it has no answer so many times, then answers.
    Flaky(usize),
    /// Never has an answer.
    NeverAnswers,
    /// Traps.
    Traps,
    /// Says that the input is at fault.
    RefusesInput,
    /// Panics, which no container may.
    Panics,
    /// Uses what a source says.
    AsksSource(&'static str),
    /// Waits until the gate is opened.
    WaitsAtGate,
}

pub struct Scripted {
    profile: ExecutionProfile,
    behaviour: Mutex<Behaviour>,
    pub invocations: Mutex<BTreeMap<B256, usize>>,
    /// Isolation that the last call asked for.
    pub least: Mutex<Isolation>,
    failures: AtomicUsize,
    running: AtomicUsize,
    pub running_most: AtomicUsize,
    gate: (Mutex<bool>, Condvar),
}

impl Scripted {
    pub fn new(behaviour: Behaviour, profile: &str) -> Arc<Self> {
        Arc::new(Self {
            profile: ExecutionProfile::new(profile, "scripted", &[]),
            behaviour: Mutex::new(behaviour),
            invocations: Mutex::default(),
            least: Mutex::default(),
            failures: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            running_most: AtomicUsize::new(0),
            gate: (Mutex::new(false), Condvar::new()),
        })
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }

    pub fn open_gate(&self) {
        *self.gate.0.lock() = true;
        self.gate.1.notify_all();
    }

    pub fn invocations_total(&self) -> usize {
        self.invocations.lock().values().sum()
    }
}

fn ok(output: Bytes, transcript: Transcript) -> Outcome {
    Outcome { status: Status::Ok, output, fuel_used: 1000, transcript, ..Outcome::not_run(Status::Ok) }
}

impl Container for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn profile(&self) -> &ExecutionProfile {
        &self.profile
    }

    fn load(&self, package: &Package, _least: Isolation) -> Result<PackageId, LoadError> {
        Ok(package.id())
    }

    fn is_loaded(&self, _package: &PackageId, _least: Isolation) -> bool {
        true
    }

    fn unload(&self, _package: &PackageId) {}

    fn manifest(&self, _package: &PackageId) -> Option<Manifest> {
        None
    }

    fn claims(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn invoke(&self, _package: &PackageId, call: &Invocation) -> Outcome {
        *self.invocations.lock().entry(call.call_id).or_default() += 1;
        *self.least.lock() = call.isolation;
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_most.fetch_max(running, Ordering::SeqCst);
        let behaviour = self.behaviour.lock().clone();
        let reversed = || Bytes::from(call.input.iter().rev().copied().collect::<Vec<u8>>());
        let outcome = match behaviour {
            Behaviour::Honest => ok(reversed(), Transcript::default()),
            Behaviour::Lies => ok(Bytes::from_static(b"lie"), Transcript::default()),
            Behaviour::Flaky(times) if self.failures.fetch_add(1, Ordering::SeqCst) >= times => {
                ok(reversed(), Transcript::default())
            }
            Behaviour::Flaky(_) | Behaviour::NeverAnswers => {
                Outcome::not_run(Status::unavailable(UnavailableKind::SourceUnavailable, "no answer"))
            }
            Behaviour::Traps => Outcome::not_run(Status::failed(FailureKind::OutOfFuel, "all fuel used")),
            Behaviour::RefusesInput => {
                Outcome::not_run(Status::failed(FailureKind::InvalidInput, "unknown currency"))
            }
            Behaviour::Panics => panic!("scripted panic"),
            Behaviour::AsksSource(body) => {
                let record = FetchRecord {
                    source: "bank".into(),
                    path: "rate".into(),
                    result: 0,
                    status: 200,
                    body: body.as_bytes().to_vec().into(),
                };
                match &call.outside {
                    Outside::Live => ok(record.body.clone(), Transcript { fetches: vec![record] }),
                    Outside::Recorded(transcript) => match transcript.fetches.first() {
                        Some(first) if first.path == "rate" => ok(first.body.clone(), (**transcript).clone()),
                        _ => Outcome::not_run(Status::unavailable(
                            UnavailableKind::TranscriptMismatch,
                            "it asks bank for rate",
                        )),
                    },
                }
            }
            Behaviour::WaitsAtGate => {
                let mut open = self.gate.0.lock();
                while !*open {
                    self.gate.1.wait(&mut open);
                }
                ok(reversed(), Transcript::default())
            }
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

pub struct Setup {
    pub behaviours: Vec<Behaviour>,
    pub config: FabricConfig,
    pub policy: fn(Policy) -> Policy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            behaviours: vec![Behaviour::Honest],
            config: FabricConfig { retry_pause_ms: 1, ..FabricConfig::default() },
            policy: |policy| policy,
        }
    }
}

pub struct World {
    pub administrator: SecretKey,
    pub publisher: SecretKey,
    pub host_keys: Vec<SecretKey>,
    pub cryptlet_key: SecretKey,
    pub package: Package,
    pub registry: Arc<MemoryRegistry>,
    pub content: Arc<MemoryContent>,
    pub keys: Arc<MemoryKeyStore>,
    pub containers: Vec<Arc<Scripted>>,
    pub fabric: Arc<Fabric>,
    pub ready: Receiver<CallId>,
}

pub fn package(version: &str) -> Package {
    let manifest = Manifest::from_toml(&format!(
        r#"
        name = "fx-rates"
        version = "{version}"
        publisher = "Example Bank"
        language = "c"
        world = "utility"
        [limits]
        fuel = {FUEL_LIMIT}
        memory_bytes = 1048576
        timeout_ms = 5000
        [[methods]]
        name = "rate"
        inputs = [{{ name = "pair", type = "string" }}]
        outputs = [{{ name = "rate", type = "uint256" }}]
        "#
    ))
    .unwrap();
    Package::new(manifest, Bytes::from(format!("component {version}").into_bytes())).unwrap()
}

pub fn key(seed: &str) -> SecretKey {
    SecretKey::from_seed(seed.as_bytes())
}

impl World {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let (administrator, publisher, cryptlet_key) =
            (key("administrator"), key("publisher"), key("cryptlet"));
        let roots = Roots { registry: REGISTRY, administrators: vec![administrator.address()] };
        let registry = Arc::new(MemoryRegistry::new(roots));
        let (content, keys) = (Arc::<MemoryContent>::default(), Arc::<MemoryKeyStore>::default());
        let mut hosts: Vec<Arc<dyn Host>> = Vec::new();
        let (mut host_keys, mut containers) = (Vec::new(), Vec::new());
        for (number, behaviour) in setup.behaviours.into_iter().enumerate() {
            let host_key = key(&format!("host {number}"));
            let label = KeyLabel::new(KeyPurpose::Host, &format!("host-{number}")).unwrap();
            keys.insert(label.clone(), host_key.clone());
            let container = Scripted::new(behaviour, "scripted-1");
            let host = LocalHost::open(
                Arc::clone(&container) as Arc<dyn Container>,
                Arc::clone(&content) as Arc<dyn Content>,
                Arc::clone(&keys) as Arc<dyn KeyStore>,
                label,
            );
            hosts.push(Arc::new(host.unwrap()));
            containers.push(container);
            host_keys.push(host_key);
        }
        let package = package("1.0.0");
        let parts = FabricParts {
            registry: Arc::clone(&registry) as Arc<dyn RegistryView>,
            content: Arc::clone(&content) as Arc<dyn Content>,
            hosts,
        };
        let fabric = Arc::new(Fabric::start(parts, setup.config).unwrap());
        let (tell, ready) = channel();
        fabric.on_ready(Arc::new(move |id| tell.send(id).unwrap_or_default()));
        let world = Self {
            administrator,
            publisher,
            host_keys,
            cryptlet_key,
            package,
            registry,
            content,
            keys,
            containers,
            fabric,
            ready,
        };
        let mut addresses: Vec<Address> = world.host_keys.iter().map(SecretKey::address).collect();
        addresses.sort_unstable();
        let policy = (setup.policy)(Policy {
            hosts: addresses,
            fuel_max: FUEL_LIMIT,
            ..Policy::single_host(Address::ZERO)
        });
        let hosts: Vec<_> = world.host_keys.clone();
        world
            .registry
            .append(&[Entry::Policy(policy).sign(REGISTRY, &[&world.administrator]).unwrap()])
            .unwrap();
        for host in &hosts {
            world.admit(host, |entry| entry);
        }
        world.release(&world.package);
        world
    }

    pub fn profile(&self) -> B256 {
        self.containers[0].profile.digest()
    }

    pub fn admit(&self, host: &SecretKey, change: impl FnOnce(HostEntry) -> HostEntry) {
        let entry = change(HostEntry {
            host: host.address(),
            sequence: self.registry.with_index(|index| index.next_host_sequence(host.address())),
            member: "Bank".into(),
            evidence: EVIDENCE_SOFTWARE.into(),
            profile: self.profile(),
            claims: Vec::new(),
        });
        self.registry
            .append(&[Entry::Host(entry).sign(REGISTRY, &[host, &self.administrator]).unwrap()])
            .unwrap();
    }

    pub fn release(&self, package: &Package) {
        let release = Release::of(package, self.publisher.address(), self.cryptlet_key.address());
        self.content.put(package.code(), Durability::Durable).unwrap();
        self.keys.insert(KeyLabel::of_package(package.id().0), self.cryptlet_key.clone());
        self.registry.append(&[Entry::Release(release).sign(REGISTRY, &[&self.publisher]).unwrap()]).unwrap();
    }

    pub fn set_status(&self, package: &Package, status: ReleaseStatus) {
        let package = package.id().0;
        let sequence = self.registry.with_index(|index| index.next_status_sequence(package));
        let change = StatusChange { package, sequence, status, reason: "test".into() };
        self.registry
            .append(&[Entry::Status(change).sign(REGISTRY, &[&self.administrator]).unwrap()])
            .unwrap();
    }

    pub fn set_policy(&self, change: impl FnOnce(Policy) -> Policy) {
        let policy = self.registry.policy(self.registry.anchor().height).unwrap();
        let sequence = self.registry.with_index(|index| index.next_policy_sequence());
        let policy = change(Policy { sequence, ..(*policy).clone() });
        self.registry
            .append(&[Entry::Policy(policy).sign(REGISTRY, &[&self.administrator]).unwrap()])
            .unwrap();
    }

    /// A fabric of somebody else: the same registry, no hosts, so that every signature is recovered.
    pub fn verifier(&self) -> Fabric {
        let parts = FabricParts {
            registry: Arc::clone(&self.registry) as Arc<dyn RegistryView>,
            content: Arc::<MemoryContent>::default(),
            hosts: Vec::new(),
        };
        Fabric::start(parts, FabricConfig { workers: 1, ..FabricConfig::default() }).unwrap()
    }

    /// Polls until the receipt is there.
    pub fn answer(&self, call: &Call, place: &Place) -> Arc<SignedReceipt> {
        loop {
            match self.fabric.poll(call, place) {
                Answer::Ready(receipt) => return receipt,
                Answer::Pending => drop(self.ready.recv().unwrap()),
            }
        }
    }

    pub fn record(&self, receipts: Vec<SignedReceipt>) -> DelegationRecord {
        DelegationRecord { anchor: self.registry.anchor(), receipts }
    }

    pub fn check(&self, receipt: &SignedReceipt, place: &Place) -> Result<(), String> {
        self.check_record(&self.record(vec![receipt.clone()]), place)
    }

    pub fn check_record(&self, record: &DelegationRecord, place: &Place) -> Result<(), String> {
        let own = self.fabric.check(record, place);
        let other = self.verifier().check(record, place);
        assert_eq!(own, other, "who made a receipt does not matter");
        other.map_err(|error| match error {
            RecordError::Receipt { problem, .. } => problem,
            other => other.to_string(),
        })
    }

    /// Signs again, as the cryptlet and all hosts.
    pub fn resign(&self, mut signed: SignedReceipt) -> SignedReceipt {
        signed.signatures = sign(&signed, &self.cryptlet_key, &self.host_keys.iter().collect::<Vec<_>>());
        signed
    }
}

pub fn sign(
    signed: &SignedReceipt,
    cryptlet: &SecretKey,
    hosts: &[&SecretKey],
) -> Vec<bletchley_primitives::Signature> {
    let digest = signed.receipt.signing_digest();
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable_by_key(|host| host.address());
    std::iter::once(cryptlet).chain(hosts).map(|key| key.sign(digest)).collect()
}

pub fn place(height: u64) -> Place {
    Place {
        ledger: LEDGER,
        height: Height(height),
        parent: BlockHash(B256::repeat_byte(9)),
        time_ms: TimestampMs(1_700_000_000_000 + height * 1000),
    }
}

pub fn call(number: u64) -> Call {
    Call {
        ledger: LEDGER,
        transaction: TxId(keccak256(number.to_be_bytes())),
        sender: Address::repeat_byte(0x5e),
        caller: Address::repeat_byte(0xca),
        cryptlet: keccak256("fx-rates"),
        method: "rate".into(),
        input: Bytes::from_static(b"USDEUR"),
        occurrence: 0,
    }
}
