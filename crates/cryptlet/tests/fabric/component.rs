//! A real component behind the fabric: called, checked by others, and repeated without its source.

use std::sync::Arc;

use alloy_primitives::{Bytes, keccak256};
use bletchley_cryptlet::{
    container::Container,
    content::{Content, ContentId, Durability, MemoryContent},
    fabric::{Evidence, Fabric, FabricConfig, FabricParts, Host, LocalHost, Reexecution},
    fetch::{Fetcher, NoFetcher},
    keys::{KeyLabel, KeyPurpose, KeyStore, MemoryKeyStore},
    policy::Policy,
    registry::{EVIDENCE_SOFTWARE, Entry, HostEntry, MemoryRegistry, RegistryView, Release, Roots},
};
use bletchley_ledger::{Anchor, Answer, Call, Delegate, DelegationRecord, Place, SignedReceipt, Status};
use bletchley_primitives::TimestampMs;
use serde_json::json;

use crate::{
    support::{AS_OF_MS, EcbFetcher, container, cryptlet},
    world::{REGISTRY, call, key, place},
};

fn local_host(
    fetcher: Arc<dyn Fetcher>,
    content: &Arc<MemoryContent>,
    keys: &Arc<MemoryKeyStore>,
) -> LocalHost {
    LocalHost::open(
        Arc::new(container(fetcher)) as Arc<dyn Container>,
        Arc::clone(content) as Arc<dyn Content>,
        Arc::clone(keys) as Arc<dyn KeyStore>,
        KeyLabel::new(KeyPurpose::Host, "node").unwrap(),
    )
    .unwrap()
}

#[test]
fn an_ecb_rate_is_called_checked_and_repeated_offline() {
    let (content, keys) = (Arc::<MemoryContent>::default(), Arc::<MemoryKeyStore>::default());
    let host = local_host(Arc::new(EcbFetcher), &content, &keys);
    let (administrator, publisher) = (key("administrator"), key("publisher"));
    let package = cryptlet("fx-rates");
    content.put(package.code(), Durability::Durable).unwrap();
    let cryptlet_key = keys.ensure(&KeyLabel::of_package(package.id().0)).unwrap();
    let roots = Roots { registry: REGISTRY, administrators: vec![administrator.address()] };
    let registry = Arc::new(MemoryRegistry::new(roots));
    let entry = Entry::Host(HostEntry {
        host: host.address(),
        sequence: 0,
        member: "Bank".into(),
        evidence: EVIDENCE_SOFTWARE.into(),
        profile: host.profile(),
        claims: Vec::new(),
    });
    let digest = entry.signing_digest(REGISTRY);
    let label = KeyLabel::new(KeyPurpose::Host, "node").unwrap();
    let signatures = vec![keys.sign(&label, digest).unwrap(), administrator.sign(digest)];
    let admitted = bletchley_cryptlet::registry::SignedEntry { entry, signatures };
    let policy =
        Entry::Policy(Policy::single_host(host.address())).sign(REGISTRY, &[&administrator]).unwrap();
    let release = Entry::Release(Release::of(&package, publisher.address(), cryptlet_key));
    let anchor =
        registry.append(&[policy, admitted, release.sign(REGISTRY, &[&publisher]).unwrap()]).unwrap();

    let fabric_over = |hosts: Vec<Arc<dyn Host>>| {
        let registry = Arc::clone(&registry) as Arc<dyn RegistryView>;
        let parts = FabricParts { registry, content: Arc::clone(&content) as Arc<dyn Content>, hosts };
        Fabric::start(parts, FabricConfig { workers: 1, ..FabricConfig::default() }).unwrap()
    };
    let fabric = fabric_over(vec![Arc::new(host)]);
    let (tell, ready) = std::sync::mpsc::channel();
    fabric.on_ready(Arc::new(move |id| tell.send(id).unwrap_or_default()));
    let at = Place { time_ms: TimestampMs(AS_OF_MS), ..place(10) };
    let manifest = package.manifest();
    let ask = |values| Call { input: manifest.encode_call("rate", &values).unwrap().into(), ..call(1) };
    let answer = |call: &Call| loop {
        match fabric.poll(call, &at) {
            Answer::Ready(receipt) => return (*receipt).clone(),
            Answer::Pending => drop(ready.recv().unwrap()),
        }
    };
    let receipt = answer(&ask(json!(["EUR", "USD", 20_240_105])));
    assert_eq!(receipt.receipt.status, Status::Ok, "{:?}", String::from_utf8_lossy(&receipt.output));
    let output = manifest.decode_output("rate", &receipt.output).unwrap();
    assert_eq!(output, json!({ "rateE8": "109210000", "fixingDate": 20_240_105 }));
    let failed = answer(&ask(json!(["EUR", "XXX", 20_240_105])));
    assert_eq!(failed.receipt.status, Status::Failed);
    assert!(failed.output.starts_with(b"invalid-input: "));

    // Somebody else, without hosts, sources or evidence.
    let verifier = fabric_over(Vec::new());
    let record = DelegationRecord { anchor, receipts: vec![receipt.clone(), failed.clone()] };
    verifier.check(&record, &at).unwrap();
    assert!(matches!(verifier.reexecute(&receipt, &anchor), Reexecution::NotPossible(_)));

    // Somebody else with a host that reaches no source.
    let offline = fabric_over(vec![Arc::new(local_host(Arc::new(NoFetcher), &content, &keys))]);
    for receipt in [&receipt, &failed] {
        assert_eq!(offline.reexecute(receipt, &anchor), Reexecution::Match);
    }
    let live = offline.run(&ask(json!(["EUR", "USD", 20_240_105])), &at).unwrap();
    assert_ne!(live.output, receipt.output, "without the evidence there is no rate");

    lies_are_found(&offline, &content, &receipt, &anchor);
}

/// A receipt whose host made up its evidence: the run leaves it.
fn lies_are_found(offline: &Fabric, content: &MemoryContent, receipt: &SignedReceipt, anchor: &Anchor) {
    let id = ContentId(receipt.receipt.transcript);
    let mut forged = Evidence::decode(&content.get(id).unwrap().unwrap()).unwrap();
    forged.transcript.fetches.clear();
    let mut lying = receipt.clone();
    lying.receipt.transcript = content.put(&forged.encode(), Durability::Relaxed).unwrap().0;
    match offline.reexecute(&lying, anchor) {
        Reexecution::Mismatch(difference) => assert_eq!(difference.what, "host call"),
        other => panic!("{other:?}"),
    }
    let mut swapped = receipt.clone();
    swapped.output = Bytes::from_static(b"other");
    assert!(matches!(offline.reexecute(&swapped, anchor), Reexecution::Mismatch(d) if d.what == "output"));
    let mut moved = receipt.clone();
    moved.receipt.input_digest = keccak256("other");
    assert!(matches!(offline.reexecute(&moved, anchor), Reexecution::NotPossible(_)));
}
