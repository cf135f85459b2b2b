//! Each rule of `specs/consortium.md`, by example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_consortium::{
    Action, Consortium, ConsortiumHistory, Genesis, LedgerKind, LedgerSpec, Member, OPEN_PER_MEMBER_MAX,
    Outcome, Parameter, REFUSED_KEPT_MAX, Refusal, Report, Rule, Statement, Status,
};
use bletchley_primitives::{Address, B256, Height};
use support::{World, address, genesis, ledger, member};

fn add(name: &str) -> Action {
    Action::AddMember { member: member(name) }
}

fn remove(name: &str) -> Action {
    Action::RemoveMember { name: name.to_owned() }
}

fn seat(name: &str, is_validator: bool) -> Action {
    Action::SetValidator { name: name.to_owned(), is_validator }
}

fn names(world: &World) -> Vec<String> {
    world.history.now().standing().validators().as_slice().iter().map(|v| v.name.clone()).collect::<Vec<_>>()
}

#[test]
fn more_than_half_of_the_members_decide() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    assert_eq!(world.vote("bank-b", number, true), Outcome::Taken { proposal: number, status: Status::Open });
    assert_eq!(names(&world).len(), 3);
    assert_eq!(
        world.vote("regulator", number, true),
        Outcome::Taken { proposal: number, status: Status::Accepted }
    );
    assert_eq!(names(&world).len(), 4);
    assert!(matches!(world.vote("maker", number, true), Outcome::Refused(Refusal::Closed { .. })));
    assert_eq!(world.history.now().standing().record("insurer").unwrap().joined_at, Height(3));
}

#[test]
fn a_ballot_can_be_changed_while_the_proposal_is_open() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    world.vote("bank-b", number, false);
    let again = world.vote("bank-b", number, false);
    assert!(matches!(again, Outcome::Refused(Refusal::SameBallot { .. })));
    world.vote("maker", number, true);
    assert_eq!(world.status(number), Status::Open);
    world.vote("bank-b", number, true);
    assert_eq!(world.status(number), Status::Accepted);
}

#[test]
fn enough_members_against_it_end_a_proposal() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    world.vote("bank-b", number, false);
    assert_eq!(world.status(number), Status::Open);
    world.vote("maker", number, false);
    assert_eq!(world.status(number), Status::Rejected);
}

#[test]
fn who_is_no_member_has_no_say() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    let ballot = Statement::Vote { proposal: number, digest: world.digest(number), yes: true };
    for stranger in [Address::ZERO, address("insurer/administrator"), address("bank-a/validator")] {
        assert_eq!(world.say(stranger, &ballot.encode()), Outcome::Refused(Refusal::NotMember(stranger)));
        let early = world.history.now().admits(&ballot.encode(), stranger, Height(world.height + 1));
        assert_eq!(early.unwrap_err(), Refusal::NotMember(stranger));
    }
    let refused: Vec<_> = world.history.now().refused().collect();
    assert_eq!((refused.len(), refused[0].code.as_str()), (3, "not-member"));
    // One who has left is a stranger again, and its ballot no longer counts.
    world.vote("maker", number, true);
    assert_eq!(world.status(number), Status::Open);
    assert_eq!(world.decide(&[remove("maker")]), Status::Accepted);
    assert!(matches!(world.vote("maker", number, false), Outcome::Refused(Refusal::NotMember(_))));
    let tally = world.history.now().proposal(number).unwrap().tally(world.history.now().standing());
    assert_eq!((tally.yes, tally.members), (1, 3));
    world.vote("regulator", number, true);
    assert_eq!(world.status(number), Status::Accepted);
}

#[test]
fn a_ballot_names_what_it_is_for() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    let other = Statement::Vote { proposal: number, digest: B256::repeat_byte(1), yes: true };
    assert!(matches!(world.state("bank-b", &other), Outcome::Refused(Refusal::Digest { .. })));
    assert!(matches!(world.vote("bank-b", 99, true), Outcome::Refused(Refusal::NoProposal(99))));
    assert!(matches!(world.vote("bank-b", 0, true), Outcome::Refused(Refusal::NoProposal(0))));
}

#[test]
fn only_its_author_takes_a_proposal_back() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    let withdraw = Statement::Withdraw { proposal: number, digest: world.digest(number) };
    assert!(matches!(world.state("maker", &withdraw), Outcome::Refused(Refusal::NotAuthor { .. })));
    world.state("bank-a", &withdraw);
    assert_eq!(world.status(number), Status::Withdrawn);
    assert!(matches!(world.vote("maker", number, true), Outcome::Refused(Refusal::Closed { .. })));
}

#[test]
fn a_proposal_ends_with_its_time() {
    let mut world = World::default();
    let number = world.opened("bank-a", &[add("insurer")]);
    let expires_at = world.history.now().proposal(number).unwrap().expires_at;
    assert_eq!(expires_at, Height(11));
    world.height = 10;
    assert!(matches!(world.vote("bank-b", number, true), Outcome::Taken { .. }));
    assert!(matches!(world.vote("maker", number, true), Outcome::Refused(Refusal::Closed { .. })));
    assert_eq!(world.status(number), Status::Expired);
    assert_eq!(world.history.now().proposal(number).unwrap().closed_at, Some(expires_at));
}

#[test]
fn one_member_cannot_fill_the_floor() {
    let mut world = World::default();
    for at in 0..OPEN_PER_MEMBER_MAX {
        world.opened("bank-a", &[add(&format!("insurer-{at}"))]);
    }
    let more = world.propose("bank-a", &[add("insurer-x")]);
    assert!(matches!(more, Outcome::Refused(Refusal::TooManyOpen { .. })), "{more:?}");
    world.opened("bank-b", &[add("insurer-x")]);
}

#[test]
fn names_keys_and_nodes_belong_to_one_member_for_ever() {
    let mut world = World::default();
    world.decide(&[add("insurer")]);
    assert_eq!(world.decide(&[remove("insurer")]), Status::Accepted);
    let insurer = member("insurer");
    let fresh = member("newcomer");
    assert!(world.refused("maker", &[add("insurer")]).contains("the name insurer belongs"));
    for taken in [
        Member { peer: insurer.peer, ..fresh.clone() },
        Member { validator: insurer.validator, ..fresh.clone() },
        Member { administrator: insurer.host, ..fresh.clone() },
        Member { host: address("bank-a/validator"), ..fresh.clone() },
    ] {
        let why = world.refused("maker", &[Action::AddMember { member: taken }]);
        assert!(why.contains("belongs or belonged"), "{why}");
    }
    let close = Member { endpoint: member("maker").endpoint, ..fresh.clone() };
    assert!(
        world.refused("maker", &[Action::AddMember { member: close }]).contains("two members would be at")
    );
    // The place of one who has left is free.
    let moved = Member { endpoint: insurer.endpoint, ..fresh };
    assert_eq!(world.decide(&[Action::AddMember { member: moved }]), Status::Accepted);
}

#[test]
fn a_member_rotates_its_keys() {
    let mut world = World::default();
    let rotated = Member {
        administrator: address("fresh"),
        validator: address("fresh validator"),
        endpoint: "elsewhere.example:1".to_owned(),
        ..member("bank-a")
    };
    assert_eq!(world.decide(&[Action::UpdateMember { member: rotated.clone() }]), Status::Accepted);
    assert!(matches!(world.propose("bank-a", &[add("x")]), Outcome::Refused(Refusal::NotMember(_))));
    let statement = Statement::Propose { actions: vec![add("x")], note: String::new() };
    assert!(matches!(world.say(address("fresh"), &statement.encode()), Outcome::Taken { .. }));
    let validators = world.history.now().standing().validators();
    assert_eq!(validators.get(rotated.peer()).unwrap().address, rotated.validator);
    // The old key does not come back, and the seat is decided on by itself.
    let back = Action::UpdateMember {
        member: Member { administrator: member("bank-a").administrator, ..rotated.clone() },
    };
    assert!(world.refused("maker", &[back]).contains("belongs or belonged"));
    let seated = Action::UpdateMember { member: Member { is_validator: false, ..rotated } };
    assert!(world.refused("maker", &[seated]).contains("set-validator"));
}

#[test]
fn somebody_always_votes_on_blocks() {
    let mut world = World::default();
    let all = [seat("bank-a", false), seat("bank-b", false), seat("maker", false)];
    assert!(world.refused("bank-a", &all).contains("no validator would remain"));
    assert!(
        world
            .refused("bank-a", &[remove("bank-a"), remove("bank-b"), remove("maker")])
            .contains("no validator")
    );
    let mut handed_over = all.to_vec();
    handed_over.push(seat("regulator", true));
    assert_eq!(world.decide(&handed_over), Status::Accepted);
    assert_eq!(names(&world), ["regulator"]);
    assert!(world.refused("bank-a", &[seat("regulator", true)]).contains("is a validator already"));
}

#[test]
fn ledgers_of_some_members() {
    let mut world = World::default();
    let create = |ledger: LedgerSpec| Action::CreateLedger { ledger };
    let of_banks = ledger("banks", LedgerKind::Evm, 7, &["bank-a", "bank-b"]);
    assert_eq!(world.decide(&[create(of_banks.clone())]), Status::Accepted);
    let standing = world.history.now().standing().clone();
    assert_eq!(standing.validators_of("banks").unwrap().as_slice().len(), 2);
    assert_eq!(standing.ledger_members("banks").unwrap().len(), 2);
    assert_eq!(standing.ledger_members("evm").unwrap().len(), 4);
    assert_eq!(standing.validators_of("evm").unwrap(), standing.validators());
    assert!(standing.validators_of("nowhere").is_none());
    for (wrong, why) in [
        (ledger("banks", LedgerKind::Evm, 8, &[]), "there is a ledger banks already"),
        (ledger("more", LedgerKind::Evm, 7, &[]), "chain id 7 belongs"),
        (ledger("more", LedgerKind::Evm, 201_606, &[]), "chain id 201606 belongs"),
        (ledger("more", LedgerKind::Evm, 0, &[]), "chain id above 0"),
        (ledger("more", LedgerKind::Utxo, 9, &[]), "any other ledger has none"),
        (ledger("more", LedgerKind::Evm, 9, &["nobody"]), "there is no member nobody"),
        (ledger("more", LedgerKind::Evm, 9, &["regulator"]), "would have no validator"),
        (ledger("more", LedgerKind::Evm, 9, &["bank-b", "bank-a"]), "ascending order"),
        (ledger("More", LedgerKind::Evm, 9, &[]), "no name for a ledger"),
        (LedgerSpec { engine: "solo".to_owned(), ..ledger("more", LedgerKind::Evm, 9, &[]) }, "solo engine"),
        (
            LedgerSpec {
                engine: "solo".to_owned(),
                ..ledger("more", LedgerKind::Evm, 9, &["maker", "regulator"])
            },
            "2 are named",
        ),
        (ledger("more", LedgerKind::Evm, 9, &["maker"]), "one validator, and simplex is for members"),
        (ledger("more", LedgerKind::Evm, 9, &["maker", "regulator"]), "one validator"),
        (
            LedgerSpec { heartbeat_ms: 0, ..ledger("more", LedgerKind::Evm, 9, &[]) },
            "heartbeatMs of ledger more can be 100 to 30000",
        ),
        (LedgerSpec { engine: "luck".to_owned(), ..ledger("more", LedgerKind::Evm, 9, &[]) }, "no engine"),
        (LedgerSpec { block_ms: 0, ..ledger("more", LedgerKind::Evm, 9, &[]) }, "blockMs of ledger more"),
        (LedgerSpec { epoch_blocks: 1, ..ledger("more", LedgerKind::Evm, 9, &[]) }, "epochBlocks"),
    ] {
        let found = world.refused("maker", &[create(wrong)]);
        assert!(found.contains(why), "{found}");
    }
    // Its last validators cannot go.
    assert!(
        world.refused("maker", &[remove("bank-a"), remove("bank-b")]).contains("ledger banks would have no")
    );
    let alone = LedgerSpec { engine: "solo".to_owned(), ..ledger("alone", LedgerKind::Utxo, 0, &["maker"]) };
    assert_eq!(world.decide(&[create(alone)]), Status::Accepted);
    assert!(world.refused("bank-a", &[remove("maker")]).contains("ledger alone would have no validator"));
}

#[test]
fn parameters_hold_at_once() {
    let mut world = World::default();
    let set =
        |name: &str, value: &str| Action::SetParameter { parameter: Parameter::parse(name, value).unwrap() };
    assert_eq!(world.decide(&[set("evm.blockMs", "250"), set("rule", "all")]), Status::Accepted);
    let standing = world.history.now().standing().clone();
    assert_eq!((standing.ledger("evm").unwrap().spec.block_ms, standing.parameters().rule), (250, Rule::All));
    let number = world.opened("bank-a", &[set("proposalBlocks", "5")]);
    for voter in ["bank-b", "maker"] {
        world.vote(voter, number, true);
        assert_eq!(world.status(number), Status::Open);
    }
    world.vote("regulator", number, true);
    assert_eq!(world.status(number), Status::Accepted);
    assert!(world.refused("maker", &[set("nowhere.blockMs", "9")]).contains("no ledger nowhere"));
    assert!(world.refused("maker", &[set("evm.heartbeatMs", "200")]).contains("must not exceed heartbeatMs"));
    assert!(world.refused("maker", &[set("evm.heartbeatMs", "0")]).contains("can be 100 to 30000"));
    let wild = Action::SetParameter { parameter: Parameter::BlockMs { ledger: "evm".into(), value: 0 } };
    assert!(world.refused("maker", &[wild]).contains("blockMs can be 1"));
}

#[test]
fn upgrades_lie_ahead_and_ascend() {
    let mut world = World::default();
    let upgrade = |version, height| Action::Upgrade { version, height: Height(height) };
    assert!(world.refused("maker", &[upgrade(1, 100)]).contains("does not follow version 1"));
    assert!(world.refused("maker", &[upgrade(2, 2)]).contains("too early"));
    assert_eq!(world.decide(&[upgrade(2, 100), upgrade(5, 200)]), Status::Accepted);
    let standing = world.history.now().standing().clone();
    let versions = [0, 99, 100, 199, 200, 1_000].map(|height| standing.protocol_version(Height(height)));
    assert_eq!(versions, [1, 1, 2, 2, 5, 5]);
    assert!(world.refused("maker", &[upgrade(6, 200)]).contains("after 200"));
}

#[test]
fn what_was_agreed_too_late_changes_nothing() {
    let mut world = World::default();
    let upgrade =
        world.opened("bank-a", &[add("insurer"), Action::Upgrade { version: 2, height: Height(3) }]);
    world.vote("bank-b", upgrade, true);
    world.vote("maker", upgrade, true);
    let Status::Failed { reason } = world.status(upgrade) else { panic!("{:?}", world.status(upgrade)) };
    assert!(reason.contains("action 2: an upgrade at block 3 comes too early"), "{reason}");
    assert!(world.history.now().standing().record("insurer").is_none(), "all or nothing");
    assert_eq!(world.history.changes().count(), 1);
}

#[test]
fn history_answers_for_every_block() {
    let mut world = World::default();
    world.decide(&[seat("regulator", true)]);
    world.height = 50;
    world.decide(&[remove("maker")]);
    let validators =
        |height| world.history.at(Height(height)).map(|standing| standing.validators().as_slice().len());
    assert_eq!([0, 2, 3, 50, 52, 53].map(validators), [3, 3, 4, 4, 4, 3].map(Some));
    assert_eq!(validators(54), None);
    assert_eq!(world.history.changes().collect::<Vec<_>>(), [Height(0), Height(3), Height(53)]);
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    let mut world = World::default();
    for payload in [&b""[..], b"\xc0", b"no statement", &[0xff; 40]] {
        let outcome = world.say(address("bank-a/administrator"), payload);
        assert!(matches!(outcome, Outcome::Refused(Refusal::Statement(_))), "{outcome:?}");
    }
    let many = vec![seat("regulator", true); 17];
    assert!(matches!(world.propose("bank-a", &many), Outcome::Refused(Refusal::Statement(_))));
    assert!(matches!(world.propose("bank-a", &[]), Outcome::Refused(Refusal::Statement(_))));
    for _ in 0..100 {
        world.say(Address::ZERO, b"noise");
    }
    assert_eq!(world.history.now().refused().count(), REFUSED_KEPT_MAX);
    assert_eq!(world.history.now().standing(), ConsortiumHistory::new(&genesis()).unwrap().now().standing());
}

#[test]
fn a_genesis_that_breaks_a_rule_is_none() {
    let twice = Genesis { members: vec![member("bank-a"), member("bank-a")], ..genesis() };
    assert!(Consortium::new(&twice).unwrap_err().to_string().contains("the name bank-a"));
    let idle = Genesis { members: vec![member("regulator")], ..genesis() };
    assert!(Consortium::new(&idle).unwrap_err().to_string().contains("no validator"));
}

#[test]
fn a_report_survives_json() {
    let mut world = World::default();
    world.decide(&[
        add("insurer"),
        Action::CreateLedger { ledger: ledger("banks", LedgerKind::Evm, 7, &["bank-a", "bank-b"]) },
    ]);
    world.opened("maker", &[Action::SetParameter { parameter: Parameter::Rule { value: Rule::TwoThirds } }]);
    world.say(Address::ZERO, b"noise");
    let report = Report::of(&world.history);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{json}");
    assert_eq!(report.open[0].summary, ["set rule to two-thirds"]);
    assert_eq!(
        report.closed[0].summary[1],
        "create ledger banks (evm, engine simplex, chain id 7, for bank-a, bank-b only)"
    );
}
