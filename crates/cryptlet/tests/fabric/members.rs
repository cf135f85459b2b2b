//! Several members, each with its own host, keys, content and fabric, over a network that can lose and forge.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Weak,
    mpsc::{Receiver, Sender, channel},
};

use alloy_primitives::{Address, B256, Bytes};
use bletchley_consensus::{PeerId, Post, Receive, To};
use bletchley_cryptlet::{
    calls::{Calls, CallsParts, MemberHost, is_message},
    container::Container,
    content::{Content, ContentId, MemoryContent},
    fabric::{Fabric, FabricConfig, FabricParts, Host, LocalHost, Reexecution},
    keys::{KeyLabel, KeyPurpose, KeyStore, MemoryKeyStore},
    policy::Policy,
    registry::{EVIDENCE_SOFTWARE, Entry, HostEntry, Instance, MemoryRegistry, RegistryView, Release, Roots},
};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{Answer, Call, CallId, Delegate, DelegationRecord, Place, SignedReceipt, Status};
use parking_lot::Mutex;

use crate::world::{Behaviour, FUEL_LIMIT, REGISTRY, Scripted, call, key, package, place, sign};

type Routes = Arc<Mutex<BTreeMap<PeerId, Weak<Calls>>>>;

/// Delivers on a thread of its own, in order, as a network does.
struct Wire {
    out: Mutex<Sender<(To, Bytes)>>,
}

impl Wire {
    fn new(from: PeerId, routes: Routes) -> Self {
        let (out, queue) = channel::<(To, Bytes)>();
        std::thread::spawn(move || {
            while let Ok((to, message)) = queue.recv() {
                let all: Vec<_> = routes.lock().iter().map(|(peer, calls)| (*peer, calls.clone())).collect();
                for (peer, calls) in all {
                    let wanted = match to {
                        To::All => peer != from,
                        To::One(one) => peer == one,
                    };
                    if let Some(calls) = calls.upgrade().filter(|_| wanted) {
                        calls.receive(from, message.clone()).unwrap();
                    }
                }
            }
        });
        Self { out: Mutex::new(out) }
    }
}

impl Post for Wire {
    fn send(&self, to: To, message: Bytes) -> bool {
        assert!(is_message(&message), "what is sent has one encoding");
        self.out.lock().send((to, message)).is_ok()
    }
}

pub struct Member {
    peer: PeerId,
    host: Arc<LocalHost>,
    container: Arc<Scripted>,
    content: Arc<MemoryContent>,
    pub fabric: Arc<Fabric>,
    calls: Arc<Calls>,
    ready: Receiver<CallId>,
    cryptlet: Address,
}

pub struct Consortium {
    pub registry: Arc<MemoryRegistry>,
    routes: Routes,
    pub members: Vec<Member>,
}

fn peer(number: usize) -> PeerId {
    PeerId(B256::repeat_byte(u8::try_from(number).unwrap() + 1))
}

impl Member {
    pub fn host_address(&self) -> Address {
        self.host.address()
    }

    fn new(
        number: usize,
        behaviour: Behaviour,
        registry: &Arc<MemoryRegistry>,
        routes: &Routes,
        turn_ms: u64,
    ) -> Self {
        let (content, keys) = (Arc::<MemoryContent>::default(), Arc::<MemoryKeyStore>::default());
        let label = KeyLabel::new(KeyPurpose::Host, "node").unwrap();
        keys.insert(label.clone(), key(&format!("host {number}")));
        let container = Scripted::new(behaviour, "scripted-1");
        let host = LocalHost::open(
            Arc::clone(&container) as Arc<dyn Container>,
            Arc::clone(&content) as Arc<dyn Content>,
            Arc::clone(&keys) as Arc<dyn KeyStore>,
            label,
        );
        let host = Arc::new(host.unwrap());
        let cryptlet = key(&format!("cryptlet on {number}"));
        keys.insert(KeyLabel::of_package(package("1.0.0").id().0), cryptlet.clone());
        let registry = Arc::clone(registry) as Arc<dyn RegistryView>;
        let parts = FabricParts {
            registry: Arc::clone(&registry),
            content: Arc::clone(&content) as Arc<dyn Content>,
            hosts: vec![Arc::clone(&host) as Arc<dyn Host>],
        };
        let config = FabricConfig { retry_pause_ms: 1, turn_ms, ..FabricConfig::default() };
        let fabric = Arc::new(Fabric::start(parts, config).unwrap());
        let (tell, ready) = channel();
        fabric.on_ready(Arc::new(move |id| tell.send(id).unwrap_or_default()));
        let parts = CallsParts {
            post: Arc::new(Wire::new(peer(number), Arc::clone(routes))),
            host: Arc::clone(&host) as Arc<dyn Host>,
            registry,
            content: Arc::clone(&content) as Arc<dyn Content>,
            on_host_request: None,
        };
        let calls = Calls::start(parts, &fabric).unwrap();
        routes.lock().insert(peer(number), Arc::downgrade(&calls));
        Self {
            peer: peer(number),
            host,
            container,
            content,
            fabric,
            calls,
            ready,
            cryptlet: cryptlet.address(),
        }
    }
}

impl Consortium {
    /// Members with these hosts, of which two must sign. Nobody but the host in turn runs a call within a test.
    fn new(behaviours: Vec<Behaviour>) -> Self {
        Self::with_turns(behaviours, 600_000)
    }

    pub fn with_turns(behaviours: Vec<Behaviour>, turn_ms: u64) -> Self {
        let administrator = key("administrator");
        let roots = Roots { registry: REGISTRY, administrators: vec![administrator.address()] };
        let (registry, routes) = (Arc::new(MemoryRegistry::new(roots)), Routes::default());
        let members: Vec<_> = behaviours
            .into_iter()
            .enumerate()
            .map(|(number, behaviour)| Member::new(number, behaviour, &registry, &routes, turn_ms))
            .collect();
        let mut hosts: Vec<_> = members.iter().map(|member| member.host.address()).collect();
        hosts.sort_unstable();
        let policy = Policy {
            hosts,
            quorum: 2,
            single_host_allowed: false,
            fuel_max: FUEL_LIMIT,
            ..Policy::single_host(Address::ZERO)
        };
        let append = |entry: Entry, keys: &[&SecretKey]| {
            let keys: Vec<_> = keys.iter().map(|key| *key as _).collect();
            registry.append(&[entry.sign(REGISTRY, &keys).unwrap()]).unwrap();
        };
        append(Entry::Policy(policy), &[&administrator]);
        let publisher = key("publisher");
        let release = Release::of(&package("1.0.0"), publisher.address(), members[0].cryptlet);
        append(Entry::Release(release), &[&publisher]);
        for (number, member) in members.iter().enumerate() {
            let host = key(&format!("host {number}"));
            let entry = HostEntry {
                host: host.address(),
                sequence: 0,
                member: format!("bank-{number}"),
                evidence: EVIDENCE_SOFTWARE.into(),
                profile: member.host.profile(),
                claims: Vec::new(),
            };
            append(Entry::Host(entry), &[&host, &administrator]);
            if number > 0 {
                let package = package("1.0.0").id().0;
                let entry = Instance { package, host: host.address(), sequence: 0, key: member.cryptlet };
                append(Entry::Instance(entry), &[&host]);
            }
        }
        for member in &members {
            member.calls.set_members(members.iter().enumerate().map(|(number, member)| MemberHost {
                name: format!("bank-{number}"),
                peer: member.peer,
                host: member.host.address(),
            }));
        }
        Self { registry, routes, members }
    }

    /// Whether this member's host is the first in turn for a call.
    fn is_first(&self, number: usize, call: &Call) -> bool {
        let rank = |member: &&Member| {
            let mut bytes = call.id().0.to_vec();
            bytes.extend_from_slice(member.host.address().as_slice());
            alloy_primitives::keccak256(bytes)
        };
        self.members.iter().min_by_key(rank).unwrap().peer == peer(number)
    }

    fn call_of(&self, number: usize) -> Call {
        (0..).map(call).find(|call| self.is_first(number, call)).unwrap()
    }

    fn answer(&self, number: usize, call: &Call) -> Arc<SignedReceipt> {
        let member = &self.members[number];
        loop {
            match member.fabric.poll(call, &place(10)) {
                Answer::Ready(receipt) => return receipt,
                Answer::Pending => drop(member.ready.recv().unwrap()),
            }
        }
    }

    /// Polls a call that this member's fabric cannot get signed, until it gave up.
    fn unsigned(&self, number: usize, call: &Call) {
        let member = &self.members[number];
        assert!(matches!(member.fabric.poll(call, &place(10)), Answer::Pending));
        assert_eq!(member.ready.recv().unwrap(), call.id());
        assert!(matches!(member.fabric.poll(call, &place(10)), Answer::Pending));
        assert_eq!(member.fabric.status().signed_total, 0);
    }

    fn record(&self, signed: &SignedReceipt) -> DelegationRecord {
        DelegationRecord { anchor: self.registry.anchor(), receipts: vec![signed.clone()] }
    }

    fn runs(&self) -> usize {
        self.members.iter().map(|member| member.container.invocations_total()).sum()
    }
}

fn at() -> Place {
    place(10)
}

#[test]
fn two_of_four_sign_and_everybody_hears_of_it() {
    let all = Consortium::new(vec![Behaviour::Honest; 4]);
    let call = all.call_of(1);
    // Every member hears of the transaction, and wants the answer.
    for member in &all.members {
        drop(member.fabric.poll(&call, &at()));
    }
    let receipts: Vec<_> = (0..4).map(|number| all.answer(number, &call)).collect();
    assert!(receipts.iter().all(|receipt| **receipt == *receipts[0]), "one receipt for all");
    assert_eq!((receipts[0].receipt.status, receipts[0].signatures.len()), (Status::Ok, 3));
    assert_eq!(all.runs(), 2, "one host executed it, one confirmed it");
    for member in &all.members {
        member.fabric.check(&all.record(&receipts[0]), &at()).unwrap();
    }
}

#[test]
fn a_host_with_other_sources_signs_when_the_answer_is_the_same() {
    let asks = Behaviour::AsksSource;
    let all = Consortium::new(vec![asks("1.08"), asks("1.09"), asks("1.08")]);
    let call = all.call_of(0);
    let receipt = all.answer(0, &call);
    assert_eq!(receipt.output.as_ref(), b"1.08");
    all.members[1].fabric.check(&all.record(&receipt), &at()).unwrap();

    let two = Consortium::new(vec![asks("1.08"), asks("1.09")]);
    two.unsigned(0, &two.call_of(0));
    let found = two.members[0].calls.disagreements();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].members, ["bank-0", "bank-1"]);
    assert_eq!(found[0].output_digests, ["1.08", "1.09"].map(alloy_primitives::keccak256));
    assert_eq!(two.members[1].calls.status().refused_to_others, 1);
}

#[test]
fn a_lie_is_not_signed() {
    let all = Consortium::new(vec![Behaviour::Lies, Behaviour::Honest]);
    all.unsigned(0, &all.call_of(0));
    assert_eq!(all.members[0].calls.disagreements().len(), 1);
}

#[test]
fn that_nobody_can_answer_is_signed_by_those_who_tried() {
    let all = Consortium::new(vec![Behaviour::NeverAnswers; 2]);
    let receipt = all.answer(0, &all.call_of(0));
    assert_eq!(receipt.receipt.status, Status::Unavailable);
    all.members[1].fabric.check(&all.record(&receipt), &at()).unwrap();

    // One who says so falsely is contradicted.
    let all = Consortium::new(vec![Behaviour::NeverAnswers, Behaviour::Honest]);
    all.unsigned(0, &all.call_of(0));
    assert!(all.members[0].calls.disagreements()[0].words.contains("there is an answer here"));
}

#[test]
fn a_member_that_is_gone_is_passed_over() {
    let all = Consortium::new(vec![Behaviour::Honest; 3]);
    // Bank 1 hears nothing more; whichever host is asked first, the other one signs.
    all.routes.lock().remove(&peer(1));
    let mine = (0..1000).map(call).filter(|call| all.is_first(0, call));
    for call in mine.take(6) {
        let receipt = all.answer(0, &call);
        assert_eq!((receipt.receipt.status, receipt.signatures.len()), (Status::Ok, 3));
    }
    assert_eq!(all.members[2].calls.status().signed_for_others, 6);
}

#[test]
fn evidence_reaches_members_that_did_not_run_the_call() {
    let asks = Behaviour::AsksSource;
    let all = Consortium::new(vec![asks("1.08"); 3]);
    let call = all.call_of(0);
    let receipt = all.answer(0, &call);
    let id = ContentId(receipt.receipt.transcript);
    let without: Vec<_> = all.members.iter().filter(|member| !member.content.holds(id)).collect();
    assert_eq!(without.len(), 1, "two hosts signed and have it");
    without[0].fabric.check(&all.record(&receipt), &at()).unwrap();
    // Fetched by another thread; each look asks nobody.
    while !without[0].content.holds(id) {
        std::thread::yield_now();
    }
    assert_eq!(without[0].fabric.reexecute(&receipt, &all.registry.anchor()), Reexecution::Match);
}

#[test]
fn blocks_of_a_liar_do_not_pass() {
    let all = Consortium::new(vec![Behaviour::Honest; 3]);
    let receipt = all.answer(0, &all.call_of(0));
    let verifier = &all.members[2].fabric;
    let refusal =
        |signed: &SignedReceipt| verifier.check(&all.record(signed), &at()).unwrap_err().to_string();
    let (cryptlet, own) = (key("cryptlet on 0"), key("host 0"));

    let mut wrong = (*receipt).clone();
    wrong.output = Bytes::from_static(b"another result");
    assert!(refusal(&wrong).contains("digest"), "wrong digest");
    wrong.receipt.output_digest = alloy_primitives::keccak256(&wrong.output);
    wrong.signatures = sign(&wrong, &cryptlet, &[&own]);
    assert!(refusal(&wrong).contains("2 signatures, the policy asks for 3"), "one host's word");
    wrong.signatures = sign(&wrong, &cryptlet, &[&own, &key("nobody")]);
    assert!(refusal(&wrong).contains("no such host"), "a host that is not one");
    wrong.signatures = sign(&wrong, &cryptlet, &[&own, &own]);
    assert!(refusal(&wrong).contains("ascending"), "one host twice");
    wrong.signatures = sign(&wrong, &key("cryptlet on 2"), &[&own, &key("host 1")]);
    assert!(
        refusal(&wrong).contains("the first signature is by"),
        "a key of the cryptlet on a host that did not sign"
    );
    let mut unknown = (*receipt).clone();
    unknown.receipt.cryptlet = B256::repeat_byte(0x77);
    unknown.signatures = sign(&unknown, &cryptlet, &[&own, &key("host 1")]);
    assert!(refusal(&unknown).contains("no cryptlet"), "an unregistered cryptlet");
}

#[test]
fn nonsense_is_named_and_counted() {
    let all = Consortium::new(vec![Behaviour::Honest; 2]);
    let calls = &all.members[0].calls;
    for bad in [&b""[..], b"\xc0", b"\xff\xff\xff", &[0xc3, 1, 1, 0x80]] {
        assert!(calls.receive(peer(1), Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
    }
    // An answer to a question that nobody asked.
    let signed = alloy_rlp::encode(bletchley_primitives::Signature([1; 65]));
    let mut list = vec![];
    alloy_rlp::Header { list: true, payload_length: 1 + 2 + signed.len() + 2 }.encode(&mut list);
    alloy_rlp::Encodable::encode(&2u8, &mut list);
    alloy_rlp::Encodable::encode(&200u64, &mut list);
    alloy_rlp::Encodable::encode(&signed.as_slice(), &mut list);
    assert!(is_message(&list));
    assert!(calls.receive(peer(1), list.into()).is_err());
    assert_eq!(calls.status().nonsense, 5);
}
