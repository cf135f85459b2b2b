//! The registry where it belongs: on a token ledger, built block by block and read again after a restart.

use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};
use bletchley_cryptlet::{
    container::Container,
    content::{Content, ContentId, MemoryContent},
    fabric::{Fabric, FabricConfig, FabricParts, Host, LocalHost},
    keys::{KeyLabel, KeyPurpose, KeyStore, MemoryKeyStore, StoredKey},
    policy::Policy,
    registry::{
        EVIDENCE_SOFTWARE, Entry, EntryError, HostProfile, NAMESPACE, RegisterError, Registrar, RegistryView,
        Release, ReleaseStatus, Roots, TokenRegistry, TokenRegistryError, Votes,
    },
};
use bletchley_ledger::{
    Anchor, Answer, Delegate, DelegationRecord, Machine, ProposeContext, SharedStore, Status,
};
use bletchley_primitives::{BlockHash, Bytes, Height, LedgerId, TimestampMs};
use bletchley_storage::MemoryStore;
use bletchley_token::{Genesis, Lock, SignedTx, TokenMachine, TxBuilder};

use crate::world::{Behaviour, Scripted, call, key, package, place};

const TOKENS: LedgerId = LedgerId(B256::repeat_byte(0x70));

struct Node {
    store: SharedStore,
    tokens: Arc<TokenMachine>,
    registry: Arc<TokenRegistry>,
    content: Arc<MemoryContent>,
    keys: Arc<MemoryKeyStore>,
}

fn genesis() -> Genesis {
    Genesis { ledger: TOKENS, time_ms: TimestampMs(1_700_000_000_000) }
}

fn roots() -> Roots {
    Roots { registry: TOKENS, administrators: vec![key("administrator").address()] }
}

impl Node {
    fn open(store: SharedStore) -> Self {
        let tokens = Arc::new(TokenMachine::open(genesis(), Arc::clone(&store)).unwrap());
        let registry = Arc::new(TokenRegistry::open(Arc::clone(&tokens), roots()).unwrap());
        Self { store, tokens, registry, content: Arc::default(), keys: Arc::default() }
    }

    fn registrar(&self) -> Registrar<'_> {
        Registrar { registry: &self.registry, content: &*self.content, keys: &*self.keys }
    }

    /// Puts transactions into a block, and gives the registry's anchor after it.
    fn block(&self, transactions: &[SignedTx]) -> Anchor {
        for submitted in self.tokens.submit_batch(transactions) {
            submitted.unwrap();
        }
        let time_ms = TimestampMs(self.tokens.head().time_ms.0 + 1000);
        let parent = self.tokens.head().hash;
        let context = ProposeContext { parent, time_ms, proposer: Address::ZERO, allow_empty: true };
        let executed = self.tokens.propose(&context).unwrap().unwrap();
        assert_eq!(executed.transactions as usize, transactions.len());
        let hash = executed.meta.hash;
        self.store.append(&executed.into_stored(Bytes::new())).unwrap();
        self.tokens.commit(hash).unwrap();
        let anchor = self.registry.anchor();
        assert_eq!((anchor.ledger, anchor.block), (TOKENS, hash));
        anchor
    }

    fn host(&self, container: &Arc<Scripted>) -> Arc<dyn Host> {
        let label = KeyLabel::new(KeyPurpose::Host, "node").unwrap();
        let container = Arc::clone(container) as Arc<dyn Container>;
        let keys = Arc::clone(&self.keys) as Arc<dyn KeyStore>;
        Arc::new(
            LocalHost::open(container, Arc::clone(&self.content) as Arc<dyn Content>, keys, label).unwrap(),
        )
    }

    fn admit(&self, host: &Arc<dyn Host>) {
        let label = KeyLabel::new(KeyPurpose::Host, "node").unwrap();
        let stored = StoredKey::ensure(&*self.keys, label).unwrap();
        let profile = HostProfile {
            member: "Bank".into(),
            evidence: EVIDENCE_SOFTWARE.into(),
            profile: host.profile(),
            claims: Vec::new(),
        };
        let administrator = key("administrator");
        let registrar = self.registrar();
        self.block(&[
            registrar.set_policy(Policy::single_host(host.address()), &administrator).unwrap(),
            registrar.admit_host(profile, &stored, &administrator).unwrap(),
        ]);
    }
}

#[test]
fn registered_called_checked_and_read_again_after_a_restart() {
    let node = Node::open(Arc::new(MemoryStore::new()));
    let container = Scripted::new(Behaviour::Honest, "scripted-1");
    let host = node.host(&container);
    node.admit(&host);
    let publisher = key("publisher");
    let released = node.block(&[node.registrar().register(&package("1.0.0"), &publisher).unwrap()]);
    let code = node.content.get(ContentId(package("1.0.0").code_sha256())).unwrap();
    assert_eq!(code.as_ref(), Some(package("1.0.0").code()));

    let parts = FabricParts {
        registry: Arc::clone(&node.registry) as Arc<dyn RegistryView>,
        content: Arc::clone(&node.content) as Arc<dyn Content>,
        hosts: vec![host],
    };
    let fabric = Fabric::start(parts, FabricConfig::default()).unwrap();
    let (tell, ready) = std::sync::mpsc::channel();
    fabric.on_ready(Arc::new(move |id| tell.send(id).unwrap_or_default()));
    assert_eq!(fabric.anchor(), released);
    assert!(matches!(fabric.poll(&call(1), &place(10)), Answer::Pending));
    ready.recv().unwrap();
    let Answer::Ready(receipt) = fabric.poll(&call(1), &place(10)) else { panic!("not ready") };
    assert_eq!(receipt.receipt.status, Status::Ok);
    let record = DelegationRecord { anchor: released, receipts: vec![(*receipt).clone()] };
    fabric.check(&record, &place(10)).unwrap();

    let revoke = node.registrar().set_status(
        package("1.0.0").id().0,
        ReleaseStatus::Revoked,
        "a fault in the fixing rule",
        &publisher,
    );
    let revoked = node.block(&[revoke.unwrap()]);
    let now = DelegationRecord { anchor: revoked, ..record.clone() };
    assert!(fabric.check(&now, &place(10)).unwrap_err().to_string().contains("is revoked"));

    // Another node, or this one after a restart, or a replay: the same blocks say the same.
    let again = Node::open(Arc::clone(&node.store));
    assert_eq!(again.registry.anchor(), revoked);
    let replayed = Arc::new(TokenMachine::replay(genesis(), Arc::clone(&node.store)));
    let registry = Arc::new(TokenRegistry::open(Arc::clone(&replayed), roots()).unwrap());
    for height in 1..=revoked.height.0 {
        assert!(!registry.is_final(&Anchor { height: Height(height), ..released }));
        let block = node.store.block(Height(height)).unwrap().unwrap().block;
        let executed = replayed.execute(replayed.prepare(block).unwrap()).unwrap();
        replayed.commit(executed.meta.hash).unwrap();
        if height == released.height.0 {
            assert!(registry.is_final(&released));
        }
    }
    for registry in [Arc::clone(&again.registry), registry] {
        let parts = FabricParts { registry, content: Arc::<MemoryContent>::default(), hosts: Vec::new() };
        let verifier = Fabric::start(parts, FabricConfig::default()).unwrap();
        verifier.check(&record, &place(10)).unwrap();
        assert!(verifier.check(&now, &place(10)).unwrap_err().to_string().contains("is revoked"));
        for wrong in [
            Anchor { block: BlockHash(B256::ZERO), ..released },
            Anchor { height: revoked.height.next(), ..revoked },
            Anchor { ledger: LedgerId(B256::ZERO), ..released },
        ] {
            assert!(
                verifier.check(&DelegationRecord { anchor: wrong, ..record.clone() }, &place(10)).is_err()
            );
        }
    }
}

#[test]
fn a_refused_registration_keeps_no_code_and_makes_no_key() {
    let node = Node::open(Arc::new(MemoryStore::new()));
    let publisher = key("publisher");
    let refused = |result: Result<SignedTx, RegisterError>| match result {
        Err(RegisterError::Entry { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let offer = |version: &str| node.registrar().register(&package(version), &publisher);
    assert_eq!(refused(offer("1.0.0")), EntryError::NoPolicy);
    let host = node.host(&Scripted::new(Behaviour::Honest, "scripted-1"));
    node.admit(&host);
    node.block(&[offer("1.0.0").unwrap()]);
    assert!(matches!(refused(offer("0.9.0")), EntryError::VersionNotNewer { .. }));
    let older = package("0.9.0");
    assert_eq!(node.content.get(ContentId(older.code_sha256())).unwrap(), None);
    assert_eq!(node.keys.address(&KeyLabel::of_package(older.id().0)).unwrap(), None);
    let by_stranger = node.registrar().set_policy(Policy::single_host(host.address()), &key("stranger"));
    assert!(matches!(refused(by_stranger), EntryError::Signer { .. }));
    let status = node.registrar().set_status(older.id().0, ReleaseStatus::Revoked, "why", &publisher);
    assert!(matches!(refused(status), EntryError::UnknownPackage(_)));
}

#[test]
fn nobody_keeps_others_out_by_taking_names() {
    let node = Node::open(Arc::new(MemoryStore::new()));
    let host = node.host(&Scripted::new(Behaviour::Honest, "scripted-1"));
    let squatter = key("squatter");
    let take = |name: &str, payload: Bytes| {
        let entry = bletchley_token::Entry {
            namespace: NAMESPACE.into(),
            name: name.into(),
            version: "1".into(),
            payload,
        };
        let owner = Lock::Key { address: squatter.address() };
        TxBuilder::register(TOKENS, squatter.address(), entry, None, owner).sign(&[&squatter])
    };
    let copied = Entry::Release(Release::of(&package("9.0.0"), squatter.address(), squatter.address()));
    let copied = copied.sign(TOKENS, &[&squatter]).unwrap().encode();
    node.block(&[
        take("policy/0", Bytes::from_static(b"junk")),
        take("release/fx-rates", Bytes::from_static(b"")),
        // Valid by itself, but there is no policy yet: passed over for good.
        take("copied", copied),
    ]);
    node.admit(&host);
    let publisher = key("publisher");
    node.block(&[node.registrar().register(&package("1.0.0"), &publisher).unwrap()]);
    let anchor = node.block(&[node.registrar().register(&package("1.1.0"), &publisher).unwrap()]);
    let found = node.registry.resolve(keccak256("fx-rates"), anchor.height).unwrap();
    assert_eq!(found.package.manifest.version, "1.1.0");
    assert_eq!(found.package.release.publisher, publisher.address());
    let history = node.tokens.entry_history(NAMESPACE, "release/fx-rates/2");
    assert_eq!(history.len(), 2, "the releases of a cryptlet are the revisions of one token");
}

#[test]
fn roots_are_of_this_ledger_and_name_somebody() {
    let tokens = Arc::new(TokenMachine::open(genesis(), Arc::new(MemoryStore::new())).unwrap());
    let open = |roots| TokenRegistry::open(Arc::clone(&tokens), roots).map(drop);
    let other = Roots { registry: LedgerId(B256::ZERO), ..roots() };
    assert!(matches!(open(other), Err(TokenRegistryError::Ledger { .. })));
    assert_eq!(
        open(Roots { administrators: Vec::new(), ..roots() }),
        Err(TokenRegistryError::NoAdministrator)
    );
}

/// The administrators from a block on, ascending.
#[derive(Debug)]
struct Decided(Vec<(Height, Address)>);

impl Votes for Decided {
    fn administrators(&self, height: Height) -> Vec<Address> {
        let last = self.0.iter().rev().find(|(since, _)| *since <= height);
        last.map(|(_, administrator)| *administrator).into_iter().collect()
    }

    fn protocol_version(&self, height: Height) -> u32 {
        if height < Height(3) { 1 } else { 2 }
    }
}

#[test]
fn administrators_follow_the_votes_from_the_block_after() {
    let mut node = Node::open(Arc::new(MemoryStore::new()));
    let (founder, newcomer) = (key("administrator"), key("newcomer"));
    // Block 2 holds the vote that puts the newcomer in the founder's place.
    let votes = Arc::new(Decided(vec![(Height(0), founder.address()), (Height(2), newcomer.address())]));
    let follow = |tokens: &Arc<TokenMachine>| {
        Arc::new(TokenRegistry::following(Arc::clone(tokens), roots(), votes.clone()).unwrap())
    };
    node.registry = follow(&node.tokens);
    let policy = |by: u8| Policy::single_host(Address::repeat_byte(by));
    // Signed as if the registry knew only its roots: what readers make of it is what counts.
    let signed = |sequence: u64, by: u8, who: &bletchley_crypto::SecretKey| {
        let entry = Entry::Policy(Policy { sequence, ..policy(by) }).sign(TOKENS, &[who]).unwrap();
        let carried = bletchley_token::Entry {
            namespace: NAMESPACE.into(),
            name: format!("policy/{sequence}/{by}"),
            version: "1".into(),
            payload: entry.encode(),
        };
        let owner = Lock::Key { address: who.address() };
        TxBuilder::register(TOKENS, who.address(), carried, None, owner).sign(&[who])
    };
    node.block(&[signed(0, 1, &founder), signed(0, 2, &newcomer)]);
    // In the very block of the vote, who was administrator before it still is.
    node.block(&[signed(1, 3, &newcomer), signed(1, 4, &founder)]);
    let last = node.block(&[signed(2, 5, &founder), signed(2, 6, &newcomer)]);
    let hosts = |registry: &TokenRegistry, height| {
        registry.policy(Height(height)).map(|policy| policy.hosts.clone()).unwrap_or_default()
    };
    let expected = [1, 4, 6].map(|by| vec![Address::repeat_byte(by)]);
    assert_eq!([1, 2, 3].map(|height| hosts(&node.registry, height)), expected);
    assert!(node.registry.with_index(|index| index.is_administrator(newcomer.address())));
    assert!(!node.registry.with_index(|index| index.is_administrator(founder.address())));
    let by_founder = node.registrar().set_policy(policy(7), &founder);
    assert!(by_founder.unwrap_err().to_string().contains("administrator"));
    assert!(node.registrar().set_policy(policy(7), &newcomer).is_ok());
    assert_eq!([2, 3].map(|height| node.registry.protocol_version(Height(height))), [1, 2]);
    // Read again after a restart, the same blocks say the same.
    let again = Node::open(Arc::clone(&node.store));
    let read = follow(&again.tokens);
    assert_eq!(read.anchor(), last);
    assert_eq!([1, 2, 3].map(|height| hosts(&read, height)), expected);
}
