//! `specs/consortium.md` says what this crate does: every vector there is computed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_consortium::{Action, LedgerKind, Parameter, Rule, Statement, Status};
use bletchley_primitives::{B256, Height};
use std::collections::BTreeMap;
use std::fmt::Write;
use support::{World, ledger, member};

type Vectors = BTreeMap<String, String>;

fn put(vectors: &mut Vectors, name: &str, value: impl AsRef<[u8]>) {
    vectors.insert(name.to_owned(), format!("0x{}", hex::encode(value)));
}

fn computed() -> Vectors {
    let mut vectors = Vectors::new();
    put(&mut vectors, "member.insurer", alloy_rlp::encode(member("insurer")));
    let banks = ledger("banks", LedgerKind::Evm, 7, &["bank-a", "bank-b"]);
    put(&mut vectors, "ledger.banks", alloy_rlp::encode(&banks));
    let parameter = |parameter| Action::SetParameter { parameter };
    let actions = [
        ("add-member", Action::AddMember { member: member("insurer") }),
        ("remove-member", Action::RemoveMember { name: "maker".to_owned() }),
        ("set-validator", Action::SetValidator { name: "regulator".to_owned(), is_validator: true }),
        (
            "update-member",
            Action::UpdateMember {
                member: bletchley_consortium::Member {
                    endpoint: "elsewhere.example:1".to_owned(),
                    ..member("bank-a")
                },
            },
        ),
        ("set-block-ms", parameter(Parameter::BlockMs { ledger: "evm".to_owned(), value: 250 })),
        ("set-heartbeat-ms", parameter(Parameter::HeartbeatMs { ledger: "evm".to_owned(), value: 30_000 })),
        ("set-proposal-blocks", parameter(Parameter::ProposalBlocks { value: 5_000 })),
        ("set-rule", parameter(Parameter::Rule { value: Rule::TwoThirds })),
        ("create-ledger", Action::CreateLedger { ledger: banks }),
        ("upgrade", Action::Upgrade { version: 2, height: Height(9_000) }),
    ];
    for (name, action) in &actions {
        let propose = Statement::Propose { actions: vec![action.clone()], note: String::new() };
        put(&mut vectors, &format!("propose.{name}"), propose.encode());
    }
    let digest = B256::repeat_byte(0x11);
    put(&mut vectors, "vote.yes", Statement::Vote { proposal: 3, digest, yes: true }.encode());
    put(&mut vectors, "vote.no", Statement::Vote { proposal: 3, digest, yes: false }.encode());
    put(&mut vectors, "withdraw", Statement::Withdraw { proposal: 3, digest }.encode());

    let mut world = World::default();
    put(&mut vectors, "standing.0", world.history.now().standing().digest());
    for (turn, (name, action)) in actions.iter().enumerate() {
        let number = world.opened("bank-a", std::slice::from_ref(action));
        assert_eq!(number, turn as u64 + 1);
        put(&mut vectors, &format!("proposal.{number}.digest"), world.digest(number));
        world.vote("bank-b", number, true);
        world.vote("regulator", number, true);
        assert_eq!(world.status(number), Status::Accepted, "{name}");
        put(&mut vectors, &format!("standing.{number}"), world.history.now().standing().digest());
    }
    vectors
}

#[test]
fn vectors_of_the_specification() {
    let computed = computed();
    let text = include_str!("../../../specs/consortium.md");
    let block = text.split("```vectors\n").nth(1).expect("the specification has vectors");
    let written: Vectors = block
        .split("```")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let listing = computed.iter().fold(String::new(), |mut out, (name, value)| {
        writeln!(out, "{name} = {value}").unwrap();
        out
    });
    assert_eq!(written, computed, "the vectors should read:\n{listing}");
}
