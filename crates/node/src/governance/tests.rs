//! Governance on a token ledger in memory: what its blocks say, and who validates when.

use super::*;
use bletchley_consortium::{Member, Statement};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{ProposeContext, SharedStore};
use bletchley_primitives::{B256, Bytes, LedgerId, TimestampMs};
use bletchley_storage::MemoryStore;
use bletchley_token::{Entry, Genesis as TokenGenesis, Lock, SignedTx, TxBuilder};
use std::sync::atomic::{AtomicU64, Ordering};

const TOKENS: TokenGenesis =
    TokenGenesis { ledger: LedgerId(B256::repeat_byte(7)), time_ms: TimestampMs(1_000) };
const EPOCH_BLOCKS: u64 = 4;

fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(name.as_bytes())
}

fn member(name: &str, is_validator: bool) -> Member {
    let address = |purpose: &str| key(&format!("{name}/{purpose}")).address();
    Member {
        name: name.to_owned(),
        peer: bletchley_primitives::keccak256(name),
        validator: address("validator"),
        administrator: address("administrator"),
        host: address("host"),
        endpoint: format!("{name}.example:30300"),
        is_validator,
    }
}

fn genesis() -> Genesis {
    let ledger = |name: &str, kind, chain_id| LedgerSpec {
        name: name.to_owned(),
        kind,
        engine: "simplex".to_owned(),
        chain_id,
        epoch_blocks: EPOCH_BLOCKS,
        block_ms: 100,
        heartbeat_ms: 1_000,
        members: Vec::new(),
    };
    Genesis {
        members: vec![member("bank-a", true), member("bank-b", true), member("auditor", false)],
        parameters: Parameters::default(),
        ledgers: vec![ledger(ROOT_LEDGER, LedgerKind::Utxo, 0), ledger(EVM_LEDGER, LedgerKind::Evm, 9)],
    }
}

struct World {
    store: SharedStore,
    tokens: Arc<TokenMachine>,
    governance: Governance,
}

impl World {
    fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        Self::open(store)
    }

    fn open(store: SharedStore) -> Self {
        let tokens = Arc::new(TokenMachine::open(TOKENS, store.clone()).unwrap());
        let governance = Governance::open(tokens.clone(), &genesis()).unwrap();
        Self { store, tokens, governance }
    }

    fn entry(&self, who: &str, name: &str, statement: &Statement) -> SignedTx {
        let (entry, key) = (entry(name, statement), key(&format!("{who}/administrator")));
        let owner = Lock::key(key.address());
        TxBuilder::register(TOKENS.ledger, key.address(), entry, None, owner).sign(&[&key])
    }

    /// A block with these transactions.
    fn block(&self, transactions: &[SignedTx]) -> Height {
        for signed in transactions {
            self.tokens.submit(&signed.bytes).unwrap();
        }
        let head = self.tokens.head();
        let context = ProposeContext {
            parent: head.hash,
            time_ms: TimestampMs(head.time_ms.0 + 1),
            proposer: Address::ZERO,
            allow_empty: true,
        };
        let executed = self.tokens.propose(&context).unwrap().unwrap();
        self.store.append(&executed.clone().into_stored(Bytes::new())).unwrap();
        self.tokens.commit(executed.meta.hash).unwrap();
        executed.meta.height
    }

    /// Proposes in one block, and agrees in the next; says the height of the latter.
    fn decide(&self, action: bletchley_consortium::Action) -> Height {
        let height = self.tokens.head().height;
        let propose = Statement::Propose { actions: vec![action], note: String::new() };
        self.block(&[self.entry("bank-a", &format!("proposal/{height}"), &propose)]);
        let (proposal, digest) = self
            .governance
            .with_history(|history| history.now().open().last().map(|open| (open.number, open.digest)))
            .unwrap();
        let vote = Statement::Vote { proposal, digest, yes: true };
        let decided = self.block(&[self.entry("bank-b", &format!("ballot/{height}"), &vote)]);
        // Of four members two are no majority.
        if self.governance.with_history(|history| history.now().open().next().is_none()) {
            return decided;
        }
        self.block(&[self.entry("auditor", &format!("ballot/{height}/third"), &vote)])
    }

    fn until(&self, height: u64) {
        while self.tokens.head().height.0 < height {
            self.block(&[]);
        }
    }
}

fn entry(name: &str, statement: &Statement) -> Entry {
    Entry {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        version: "1".to_owned(),
        payload: statement.encode(),
    }
}

fn seat(name: &str, is_validator: bool) -> bletchley_consortium::Action {
    bletchley_consortium::Action::SetValidator { name: name.to_owned(), is_validator }
}

fn names(schedule: &dyn Schedule, epoch: u64) -> Option<Vec<String>> {
    let validators = schedule.validators(epoch)?;
    let mut names: Vec<String> =
        validators.as_slice().iter().map(|validator| validator.name.clone()).collect();
    names.sort();
    Some(names)
}

/// A ledger whose blocks all anchor at the root ledger's head of the time.
#[derive(Default)]
struct Scripted {
    head: AtomicU64,
    anchors: Mutex<Vec<Height>>,
}

impl Scripted {
    fn blocks(&self, count: u64, anchor: Height) {
        self.anchors.lock().extend((0..count).map(|_| anchor));
        self.head.fetch_add(count, Ordering::SeqCst);
    }
}

impl Anchors for Scripted {
    fn head(&self) -> Height {
        Height(self.head.load(Ordering::SeqCst))
    }
    fn anchor(&self, height: Height) -> Option<Height> {
        self.anchors.lock().get(usize::try_from(height.0).ok()?.checked_sub(1)?).copied()
    }
}

#[test]
fn the_root_ledger_changes_its_validators_at_the_end_of_an_epoch() {
    let world = World::new();
    let schedule = world.governance.schedule_for_root();
    assert_eq!(schedule.epoch_blocks(), EPOCH_BLOCKS);
    assert_eq!(names(&*schedule, 0).unwrap(), ["bank-a", "bank-b"]);
    assert_eq!((names(&*schedule, 1), names(&*schedule, u64::MAX)), (None, None));
    assert!(!schedule.change_pending());
    assert_eq!(world.decide(seat("auditor", true)), Height(2));
    assert!(schedule.change_pending(), "decided, and not yet in force");
    world.until(3);
    assert_eq!(names(&*schedule, 1), None);
    world.until(4);
    assert!(!schedule.change_pending());
    assert_eq!(names(&*schedule, 1).unwrap(), ["auditor", "bank-a", "bank-b"]);
    world.decide(seat("bank-a", false));
    world.until(8);
    assert_eq!(names(&*schedule, 2).unwrap(), ["auditor", "bank-b"]);

    // Past answers stay, and are the same after a restart, from blocks or from a snapshot.
    let again = World::open(world.store.clone());
    world.store.fold(Height(6)).unwrap();
    let folded = World::open(world.store.clone());
    for epoch in 0..4 {
        let expected = names(&*schedule, epoch);
        assert_eq!(names(&*again.governance.schedule_for_root(), epoch), expected);
        assert_eq!(names(&*folded.governance.schedule_for_root(), epoch), expected);
    }
    assert_eq!(again.governance.report(), world.governance.report());
    assert_eq!(folded.governance.report(), world.governance.report());
}

#[test]
fn another_ledger_follows_the_root_ledger_by_its_anchors() {
    let world = World::new();
    let ledger = Arc::new(Scripted::default());
    let schedule = world.governance.schedule_for(EVM_LEDGER, ledger.clone()).unwrap();
    assert!(world.governance.schedule_for("nowhere", ledger.clone()).is_none());
    assert_eq!(names(&*schedule, 0).unwrap(), ["bank-a", "bank-b"]);
    let changed = world.decide(seat("auditor", true));
    assert!(schedule.change_pending());
    // The last block of the epoch has not seen the change.
    ledger.blocks(EPOCH_BLOCKS, Height(changed.0 - 1));
    assert_eq!(names(&*schedule, 1).unwrap(), ["bank-a", "bank-b"]);
    assert!(schedule.change_pending());
    ledger.blocks(EPOCH_BLOCKS - 1, changed);
    assert_eq!(names(&*schedule, 2), None);
    // A block may name a root-ledger block that is not here yet: nothing is known then.
    let ahead = Height(changed.0 + 1);
    ledger.blocks(1, ahead);
    assert_eq!(names(&*schedule, 2), None);
    world.until(ahead.0);
    assert_eq!(names(&*schedule, 2).unwrap(), ["auditor", "bank-a", "bank-b"]);
    assert!(!schedule.change_pending());
    let again = World::open(world.store.clone()).governance.schedule_for(EVM_LEDGER, ledger).unwrap();
    assert!((0..4).all(|epoch| names(&*again, epoch) == names(&*schedule, epoch)));
}

#[test]
fn a_ledger_of_some_members_begins_with_those() {
    let world = World::new();
    let spec = LedgerSpec {
        name: "pair".to_owned(),
        kind: LedgerKind::Evm,
        engine: "simplex".to_owned(),
        chain_id: 10,
        epoch_blocks: EPOCH_BLOCKS,
        block_ms: 100,
        heartbeat_ms: 1_000,
        members: vec!["auditor".to_owned(), "bank-b".to_owned()],
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    world.governance.on_change(move |change| {
        let new = change.after.ledgers().filter(|ledger| change.before.ledger(&ledger.spec.name).is_none());
        listener.lock().extend(new.map(|ledger| (change.height, ledger.spec.name.clone())));
    });
    world.decide(seat("auditor", true));
    let created = world.decide(bletchley_consortium::Action::CreateLedger { ledger: spec });
    assert_eq!(*heard.lock(), [(created, "pair".to_owned())]);
    let ledger = Arc::new(Scripted::default());
    let schedule = world.governance.schedule_for("pair", ledger.clone()).unwrap();
    assert_eq!(names(&*schedule, 0).unwrap(), ["auditor", "bank-b"]);
    world.decide(seat("bank-b", false));
    ledger.blocks(EPOCH_BLOCKS, world.tokens.head().height);
    assert_eq!(names(&*schedule, 1).unwrap(), ["auditor"]);
}

#[test]
fn an_entry_that_would_be_passed_over_is_refused_before_it_is_submitted() {
    let world = World::new();
    let propose = Statement::Propose { actions: vec![seat("auditor", true)], note: String::new() };
    let strange = world.entry("stranger", "proposal", &propose);
    assert!(matches!(world.governance.admits_transaction(&strange.bytes), Err(Refusal::NotMember(_))));
    let fine = world.entry("bank-a", "proposal", &propose);
    assert_eq!(world.governance.admits_transaction(&fine.bytes), Ok(()));
    assert_eq!(world.governance.admits_transaction(b"consortium, but no transaction"), Ok(()));
    let elsewhere = Entry { namespace: "cryptlet".to_owned(), ..entry("proposal", &propose) };
    assert_eq!(world.governance.admits(&elsewhere, Address::ZERO), Ok(()));
    assert_eq!(world.governance.turned_away(), 1);
    // What comes all the same changes nothing, and is remembered.
    world.block(&[strange]);
    let report = world.governance.report();
    assert_eq!((report.open.len(), report.refused.len()), (0, 1));
    assert_eq!(report.refused[0].code, "not-member");
}

#[test]
fn a_replay_from_genesis_gives_the_same_schedule() {
    let world = World::new();
    world.decide(seat("auditor", true));
    world.until(9);
    let machine = Arc::new(TokenMachine::replay(TOKENS, world.store.clone()));
    let replayed = Governance::open(machine.clone(), &genesis()).unwrap();
    let schedule = replayed.schedule_for_root();
    for height in 1..=9 {
        let stored = world.store.block(Height(height)).unwrap().unwrap();
        let executed = machine.execute(machine.prepare(stored.block).unwrap()).unwrap();
        machine.commit(executed.meta.hash).unwrap();
        let next = bletchley_consensus::epoch_of(Height(height + 1), EPOCH_BLOCKS);
        assert!(schedule.validators(next).is_some(), "the set of the next block is known");
    }
    let entries = world.tokens.entries_after(NAMESPACE, Height(0));
    let pure = replay(&genesis(), &entries, Height(9)).unwrap();
    assert_eq!(Report::of(&pure), world.governance.report());
    assert_eq!(replayed.report(), world.governance.report());
}

#[test]
fn a_pace_by_vote_is_the_schedules_at_once() {
    use bletchley_consortium::{Action, Parameter};
    let world = World::new();
    let of_evm = world.governance.schedule_for(EVM_LEDGER, Arc::new(Scripted::default())).unwrap();
    let root = world.governance.schedule_for_root();
    let pace = |schedule: &dyn Schedule| {
        let pace = schedule.pace().unwrap();
        (pace.block.as_millis(), pace.heartbeat.as_millis())
    };
    assert_eq!((pace(&*root), pace(&*of_evm)), ((100, 1_000), (100, 1_000)));
    let set =
        |name: &str, value: &str| Action::SetParameter { parameter: Parameter::parse(name, value).unwrap() };
    world.decide(set("evm.blockMs", "40"));
    world.decide(set("tokens.heartbeatMs", "5000"));
    assert_eq!((pace(&*root), pace(&*of_evm)), ((100, 5_000), (40, 1_000)));
}

#[test]
fn who_administers_and_which_rules_hold_follows_the_votes_block_by_block() {
    use bletchley_consortium::Action;
    let world = World::new();
    let votes = world.governance.votes();
    let administrator = |name: &str| key(&format!("{name}/administrator")).address();
    let joined = world.decide(Action::AddMember { member: member("insurer", false) });
    let is_one = |name: &str, height: Height| votes.administrators(height).contains(&administrator(name));
    assert!(!is_one("insurer", Height(joined.0 - 1)) && is_one("insurer", joined));
    let left = world.decide(Action::RemoveMember { name: "insurer".to_owned() });
    assert!(is_one("insurer", Height(left.0 - 1)) && !is_one("insurer", left));
    // A rotated key takes the place of the one before.
    let fresh = Member { administrator: key("auditor/fresh").address(), ..member("auditor", false) };
    let rotated = world.decide(Action::UpdateMember { member: fresh.clone() });
    assert!(is_one("auditor", left) && !is_one("auditor", rotated));
    assert!(votes.administrators(Height(u64::MAX)).contains(&fresh.administrator));
    let from = Height(rotated.0 + 10);
    world.decide(Action::Upgrade { version: 2, height: from });
    assert_eq!([Height(from.0 - 1), from].map(|height| votes.protocol_version(height)), [1, 2]);
}

#[test]
fn a_node_stops_before_rules_that_it_does_not_know_and_says_so_from_the_vote_on() {
    use bletchley_consortium::Action;
    use bletchley_ledger::PROTOCOL_VERSION_NEWEST;
    let world = World::new();
    let guard = world.governance.guard();
    let known = Height(world.tokens.head().height.0 + 4);
    world.decide(Action::Upgrade { version: PROTOCOL_VERSION_NEWEST, height: known });
    world.until(known.0 + 1);
    assert_eq!((guard.unknown(), guard.warning(), guard.check_next()), (None, None, Ok(())));
    let height = Height(world.tokens.head().height.0 + 6);
    world.decide(Action::Upgrade { version: PROTOCOL_VERSION_NEWEST + 1, height });
    let warning = guard.warning().unwrap();
    assert!(warning.contains(&format!("from block {height} of ledger tokens on")), "{warning}");
    world.until(height.0 - 2);
    assert_eq!(guard.check_next(), Ok(()));
    world.until(height.0 - 1);
    assert!(guard.check_next().unwrap_err().contains("install a newer bletchley"));
    // The same after a restart, and for whoever asks about a later block.
    let again = World::open(world.store.clone()).governance.guard();
    assert!(again.check_next().is_err() && again.check(Height(height.0 + 9)).is_err());
    assert_eq!(again.check(Height(height.0 - 1)), Ok(()));
    assert_eq!(ProtocolGuard::default().check(height), Ok(()));
}
