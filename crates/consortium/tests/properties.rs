//! Whatever entries come, in whatever order: the rules hold, and everybody who reads them comes to the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_consortium::{
    Action, CLOSED_KEPT_MAX, ConsortiumHistory, LedgerKind, LedgerSpec, MEMBERS_MAX, Member, NAMESPACE,
    OPEN_PER_MEMBER_MAX, Outcome, Parameter, REFUSED_KEPT_MAX, Record, Report, Rule, Standing, Statement,
    Status,
};
use bletchley_primitives::{Address, B256, Height};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::{FOUNDERS, address, genesis, ledger, member};

const PEOPLE: [&str; 7] = ["bank-a", "bank-b", "maker", "regulator", "insurer", "carrier", "nobody"];

#[derive(Clone, Debug)]
enum Op {
    Propose { who: usize, actions: Vec<Action> },
    Vote { who: usize, back: u64, yes: bool },
    Withdraw { who: usize, back: u64 },
    Noise { who: usize, payload: Vec<u8> },
    Foreign,
    Pass { blocks: u64 },
}

/// The member as it is after so many rotations; some keys are another's.
fn variant(name: usize, turn: u8, is_validator: bool) -> Member {
    let name = PEOPLE[name];
    let mut made = Member { is_validator, ..member(name) };
    if turn & 1 != 0 {
        made.administrator = address(&format!("{name}/administrator/{turn}"));
    }
    if turn & 2 != 0 {
        made.peer = B256::repeat_byte(turn);
    }
    if turn & 4 != 0 {
        made.validator = address("bank-a/validator");
    }
    if turn & 8 != 0 {
        made.endpoint = "shared.example:1".to_owned();
    }
    made
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let who = 0..PEOPLE.len();
    let named = who.clone().prop_map(|at| PEOPLE[at].to_owned());
    let turn = prop_oneof![2 => Just(0u8), 1 => 0u8..16];
    let made = (who, turn, any::<bool>()).prop_map(|(name, turn, seat)| variant(name, turn, seat));
    let shared = prop::collection::btree_set(named.clone(), 0..3);
    let spec = (0u8..4, any::<bool>(), 0u64..3, shared, any::<bool>()).prop_map(
        |(name, is_evm, id, shared, is_solo)| {
            let kind = if is_evm { LedgerKind::Evm } else { LedgerKind::Utxo };
            let engine = if is_solo { "solo" } else { "tendermint" };
            let members = shared.into_iter().collect();
            let made = ledger(&format!("ledger-{name}"), kind, if is_evm { id } else { 0 }, &[]);
            LedgerSpec { engine: engine.to_owned(), members, ..made }
        },
    );
    let parameter = prop_oneof![
        (0u64..70_000).prop_map(|value| Parameter::BlockMs { ledger: "evm".into(), value }),
        (0u64..200).prop_map(|value| Parameter::HeartbeatMs { ledger: "ledger-1".into(), value }),
        (0u64..30).prop_map(|value| Parameter::ProposalBlocks { value }),
        (0usize..3).prop_map(|at| Parameter::Rule { value: Rule::EVERY[at] }),
    ];
    let action = prop_oneof![
        3 => made.clone().prop_map(|member| Action::AddMember { member }),
        2 => named.clone().prop_map(|name| Action::RemoveMember { name }),
        3 => (named, any::<bool>()).prop_map(|(name, is_validator)| Action::SetValidator { name, is_validator }),
        2 => made.prop_map(|member| Action::UpdateMember { member }),
        1 => parameter.prop_map(|parameter| Action::SetParameter { parameter }),
        2 => spec.prop_map(|ledger| Action::CreateLedger { ledger }),
        1 => (1u32..5, 0u64..200).prop_map(|(version, height)| Action::Upgrade { version, height: Height(height) }),
    ];
    prop::collection::vec(action, 1..3)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = 0..PEOPLE.len();
    let vote = |who, back, yes| Op::Vote { who, back, yes };
    // A proposal, and what everybody thinks of it.
    let decision = (who.clone(), actions(), prop::collection::vec(prop::bool::weighted(0.8), PEOPLE.len()));
    let decision = decision.prop_map(move |(who, actions, ballots)| {
        let ballots = ballots.into_iter().enumerate().map(|(who, yes)| vote(who, 0, yes));
        std::iter::once(Op::Propose { who, actions }).chain(ballots).collect::<Vec<_>>()
    });
    let one = prop_oneof![
        4 => (who.clone(), actions()).prop_map(|(who, actions)| Op::Propose { who, actions }),
        6 => (who.clone(), 0u64..4, any::<bool>()).prop_map(move |(who, back, yes)| vote(who, back, yes)),
        1 => (who.clone(), 0u64..4).prop_map(|(who, back)| Op::Withdraw { who, back }),
        1 => (who, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(who, payload)| Op::Noise { who, payload }),
        1 => Just(Op::Foreign),
        2 => (0u64..12).prop_map(|blocks| Op::Pass { blocks }),
    ];
    let several = prop_oneof![1 => decision, 2 => one.prop_map(|op| vec![op])];
    prop::collection::vec(several, 1..60).prop_map(|all| all.concat())
}

#[derive(Clone, Debug)]
struct Kept {
    namespace: &'static str,
    payload: Vec<u8>,
    author: Address,
    height: Height,
    position: u32,
}

impl Kept {
    fn record(&self) -> Record<'_> {
        let Self { namespace, payload, author, height, position } = self;
        Record { namespace, name: "entry", payload, author: *author, height: *height, position: *position }
    }
}

/// The key with which somebody acts: the one that the consortium knows, or the first one.
fn key_of(history: &ConsortiumHistory, name: &str) -> Address {
    let record = history.now().standing().record(name);
    record.map_or_else(|| member(name).administrator, |record| record.member.administrator)
}

fn statement(history: &ConsortiumHistory, next: u64, op: &Op) -> Option<(usize, Vec<u8>)> {
    let target = |back: u64| {
        let number = next.saturating_sub(back);
        (number, history.now().proposal(number).map_or(B256::ZERO, |found| found.digest))
    };
    let (who, said) = match op {
        Op::Propose { who, actions } => {
            (who, Statement::Propose { actions: actions.clone(), note: "because".to_owned() })
        }
        Op::Vote { who, back, yes } => {
            let (proposal, digest) = target(*back);
            (who, Statement::Vote { proposal, digest, yes: *yes })
        }
        Op::Withdraw { who, back } => {
            let (proposal, digest) = target(*back);
            (who, Statement::Withdraw { proposal, digest })
        }
        Op::Noise { who, payload } => return Some((*who, payload.clone())),
        Op::Foreign | Op::Pass { .. } => return None,
    };
    assert_eq!(Statement::decode(&said.encode()).as_ref(), Ok(&said), "what is said can be read");
    Some((*who, said.encode().to_vec()))
}

fn check(standing: &Standing) {
    let active: Vec<&Member> = standing.active().collect();
    assert!(active.iter().any(|member| member.is_validator), "somebody votes on blocks");
    assert!(standing.records().count() <= MEMBERS_MAX);
    let all: Vec<&Member> = standing.records().map(|record| &record.member).collect();
    let keys: BTreeSet<Address> = all.iter().flat_map(|member| member.keys()).collect();
    assert_eq!(keys.len(), all.len() * 3, "no key belongs to two");
    assert_eq!(all.iter().map(|member| member.peer).collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(active.iter().map(|member| &member.endpoint).collect::<BTreeSet<_>>().len(), active.len());
    assert!(all.iter().all(|member| member.check().is_ok()));
    let mut chain_ids = BTreeSet::new();
    for ledger in standing.ledgers() {
        let spec = &ledger.spec;
        spec.check().unwrap();
        assert!(spec.chain_id == 0 || chain_ids.insert(spec.chain_id), "a chain id once");
        let validators = standing.validators_of(&spec.name).unwrap();
        assert!(!validators.as_slice().is_empty(), "somebody votes on the blocks of {}", spec.name);
        assert!(spec.engine != "solo" || validators.as_slice().len() == 1);
    }
    assert!(standing.upgrades().is_sorted_by(|a, b| a.version < b.version && a.height < b.height));
    standing.parameters().check().unwrap();
}

/// Plays the operations, several entries to a block, and checks every step.
fn play(ops: &[Op]) -> (ConsortiumHistory, Vec<Kept>, Vec<B256>) {
    let mut history = ConsortiumHistory::new(&genesis()).unwrap();
    let (mut entries, mut height, mut position, mut next) = (Vec::new(), 1u64, 0u32, 1u64);
    let mut at_end: Vec<B256> = vec![history.now().standing().digest()];
    let mut end_block = |history: &mut ConsortiumHistory, height: u64| {
        history.advance(Height(height));
        at_end.push(history.now().standing().digest());
    };
    for op in ops {
        if let Op::Pass { blocks } = op {
            for _ in 0..=*blocks {
                end_block(&mut history, height);
                height += 1;
            }
            position = 0;
            continue;
        }
        let (namespace, (who, payload)) = match statement(&history, next, op) {
            Some(said) => (NAMESPACE, said),
            None => ("cryptlet", (0, b"foreign".to_vec())),
        };
        let author = key_of(&history, PEOPLE[who]);
        let kept = Kept { namespace, payload, author, height: Height(height), position };
        position += 1;
        let before = history.clone();
        let early = before.now().admits(&kept.payload, author, Height(height));
        let outcome = history.apply(&kept.record());
        match &outcome {
            Outcome::Passed => {
                assert_eq!(namespace, "cryptlet");
                assert_eq!(history, before);
            }
            Outcome::Refused(refusal) => {
                assert_eq!(early.as_ref(), Err(refusal), "the early check says what the fold says");
                assert_eq!(history.now().standing(), before.now().standing());
            }
            Outcome::Taken { proposal, status } => {
                assert_eq!(early, Ok((*proposal, status.clone())));
                assert!(before.now().standing().administered_by(author).is_some(), "only members have a say");
                let tally = history.now().proposal(*proposal).unwrap().tally(before.now().standing());
                let rule = before.now().standing().parameters().rule;
                let is_agreed = matches!(status, Status::Accepted | Status::Failed { .. });
                let is_withdrawn = *status == Status::Withdrawn;
                assert!(is_withdrawn || is_agreed == rule.is_met(tally.yes, tally.members));
                assert_eq!(*status == Status::Accepted, history.now().standing() != before.now().standing());
                next = next.max(*proposal);
            }
        }
        check(history.now().standing());
        entries.push(kept);
    }
    end_block(&mut history, height);
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    history.now().open().for_each(|proposal| *open.entry(&proposal.author).or_default() += 1);
    assert!(open.values().all(|count| *count <= OPEN_PER_MEMBER_MAX));
    assert!(history.now().closed().count() <= CLOSED_KEPT_MAX);
    assert!(history.now().refused().count() <= REFUSED_KEPT_MAX);
    (history, entries, at_end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_comes_to_the_same(ops in ops(), cut in any::<prop::sample::Index>()) {
        let (history, entries, at_end) = play(&ops);
        let head = history.head();

        // All at once, as after a restart.
        let mut again = ConsortiumHistory::new(&genesis()).unwrap();
        entries.iter().for_each(|kept| drop(again.apply(&kept.record())));
        again.advance(head);
        prop_assert_eq!(&again, &history);

        // In two pieces, and the second piece begins with what was read already.
        let mut pieces = ConsortiumHistory::new(&genesis()).unwrap();
        let cut = cut.index(entries.len() + 1);
        entries[..cut].iter().for_each(|kept| drop(pieces.apply(&kept.record())));
        entries.iter().for_each(|kept| drop(pieces.apply(&kept.record())));
        pieces.advance(head);
        prop_assert_eq!(&pieces, &history);

        // What stood after each block does not depend on when it is asked.
        for (height, digest) in at_end.iter().enumerate() {
            prop_assert_eq!(history.at(Height(height as u64)).unwrap().digest(), *digest);
        }
        prop_assert!(history.at(head.next()).is_none());
        prop_assert_eq!(Report::of(&again), Report::of(&history));
    }

    #[test]
    fn hostile_bytes_are_refused_or_mean_one_thing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(statement) = Statement::decode(&bytes) {
            prop_assert_eq!(statement.encode().to_vec(), bytes);
        }
    }
}

#[test]
fn the_operations_reach_what_they_should() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut accepted, mut members, mut ledgers) = (0, 0, 0);
    for _ in 0..64 {
        let (history, ..) = play(&ops().new_tree(&mut runner).unwrap().current());
        accepted += history.now().closed().filter(|proposal| proposal.status == Status::Accepted).count();
        members = members.max(history.now().standing().records().count());
        ledgers = ledgers.max(history.now().standing().ledgers().count());
    }
    assert!(accepted > 50, "{accepted} proposals were accepted");
    assert!(members > FOUNDERS.len() && ledgers > 2, "{members} members, {ledgers} ledgers");
}
