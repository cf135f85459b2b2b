//! The story of parts and phones: made, assembled, sold twice, repaired, corrected; and proofs for outsiders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_ledger::Machine;
use bletchley_primitives::{Address, B256, LedgerId, TxId, U256};
use bletchley_token::{
    CompositeRecord, ContractPlace, Event, Happening, Note, OptionalHash, OutputProof, OutputProofError,
    OutputRef, Status, TokenId, TokenRecord, TxBuilder,
};
use support::{LEDGER, Ledger, address, key, lock};

fn make(ledger: &Ledger, maker: &str, class: &str, serial: &str) -> TokenId {
    let tx = TxBuilder::issue_thing(LEDGER, address(maker), class, serial, lock(maker))
        .unwrap()
        .sign(&[&key(maker)]);
    ledger.run(tx);
    TokenRecord::thing(address(maker), class, serial).unwrap().id()
}

fn give(ledger: &Ledger, token: TokenId, from: &str, to: &str) -> TxId {
    let tx = TxBuilder::transfer(LEDGER).spend(ledger.held(token)).token(token, lock(to)).sign(&[&key(from)]);
    ledger.run(tx).id
}

fn assemble(
    ledger: &Ledger,
    maker: &str,
    class: &str,
    serial: &str,
    revision: u32,
    parts: &[TokenId],
) -> TokenId {
    let held: Vec<(TokenId, OutputRef)> = parts.iter().map(|part| (*part, ledger.held(*part))).collect();
    let tx = TxBuilder::compose(LEDGER, address(maker), class, serial, revision, class, &held, lock(maker))
        .unwrap();
    ledger.run(tx.sign(&[&key(maker)]));
    CompositeRecord::assemble(address(maker), class, serial, revision, parts).unwrap().id()
}

fn names(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| match &event.happening {
            Happening::Issued { .. } => "issued".into(),
            Happening::Assembled { .. } => "assembled".into(),
            Happening::Transferred { .. } => "transferred".into(),
            Happening::BuiltInto { within, .. } => format!("built into [{}]", names(within).join(", ")),
            Happening::Released { .. } => "released".into(),
            Happening::TakenApart { .. } => "taken apart".into(),
            Happening::Recorded { .. } => "recorded".into(),
            Happening::Retired { .. } => "retired".into(),
            other => format!("{other:?}"),
        })
        .collect()
}

/// What the repair starts from.
struct Made {
    screw: TokenId,
    chip: TokenId,
    board: TokenId,
    case: TokenId,
    phone: TokenId,
    wrong: TxId,
    note: Note,
}

/// A screw and a chip on a board, in a phone that is sold, once to the wrong person, and recorded in a contract.
fn sold_phone(ledger: &Ledger) -> Made {
    let screw = make(ledger, "bolts", "screw", "77");
    give(ledger, screw, "bolts", "acme");
    let chip = make(ledger, "acme", "chip", "5");
    let board = assemble(ledger, "acme", "board", "B1", 0, &[screw, chip]);
    let case = make(ledger, "acme", "case", "9");
    let phone = assemble(ledger, "acme", "phone", "IMEI1", 0, &[board, case]);
    give(ledger, phone, "acme", "north");
    give(ledger, phone, "north", "south");
    let wrong = give(ledger, phone, "south", "mallory");
    let back =
        TxBuilder::transfer(LEDGER).spend(ledger.held(phone)).token(phone, lock("south")).compensating(wrong);
    ledger.run(back.sign(&[&key("mallory")]));
    give(ledger, phone, "south", "carla");
    let place = ContractPlace {
        ledger: LedgerId(B256::repeat_byte(4)),
        chain_id: 1337,
        contract: Address::repeat_byte(7),
        item: U256::from(1),
        transaction: TxId(B256::repeat_byte(8)),
    };
    let note = Note::Contract { place };
    let noted = TxBuilder::record(LEDGER, (phone, ledger.held(phone)), note.clone(), lock("carla"))
        .sign(&[&key("carla")]);
    ledger.run(noted);
    Made { screw, chip, board, case, phone, wrong, note }
}

#[test]
fn one_screw_through_board_and_phone_and_repair() {
    let ledger = Ledger::new();
    let Made { screw, chip, board, case, phone, wrong, note } = sold_phone(&ledger);
    let story = ledger.machine.lineage(screw).unwrap().unwrap();
    assert_eq!(story.status, Status::PartOf { composite: board });
    assert_eq!(story.part_of, [board, phone]);
    assert_eq!(story.owner, Some(lock("carla")));
    let inside = "transferred, transferred, transferred, transferred, transferred, recorded";
    assert_eq!(
        names(&story.events),
        ["issued".to_owned(), "transferred".into(), format!("built into [built into [{inside}]]")]
    );
    let Happening::Issued { by, .. } = &story.events[0].happening else { panic!() };
    assert_eq!(*by, address("bolts"));
    let Happening::Transferred { from, to } = &story.events[1].happening else { panic!() };
    assert_eq!((from.as_ref(), to), (Some(&lock("bolts")), &lock("acme")));

    // The repair: the phone and its board are taken apart, the screw is replaced, a new revision stands.
    let apart = TxBuilder::decompose(LEDGER, (phone, ledger.held(phone)), &[board, case], &lock("repair"));
    ledger.run(apart.sign(&[&key("carla")]));
    let apart = TxBuilder::decompose(LEDGER, (board, ledger.held(board)), &[screw, chip], &lock("repair"));
    ledger.run(apart.sign(&[&key("repair")]));
    let fresh = make(&ledger, "bolts", "screw", "78");
    give(&ledger, fresh, "bolts", "repair");
    let board2 = assemble(&ledger, "repair", "board", "B1", 0, &[fresh, chip]);
    let held = [(board2, ledger.held(board2)), (case, ledger.held(case))];
    let tx = TxBuilder::compose(LEDGER, address("acme"), "phone", "IMEI1", 1, "phone", &held, lock("carla"))
        .unwrap();
    ledger.run(tx.sign(&[&key("acme"), &key("repair")]));
    ledger.run(TxBuilder::retire(LEDGER, &[(screw, ledger.held(screw))]).sign(&[&key("repair")]));

    let story = ledger.machine.lineage(screw).unwrap().unwrap();
    assert_eq!(story.status, Status::Retired {});
    let board_story = format!("built into [{inside}], released");
    assert_eq!(
        names(&story.events),
        [
            "issued".to_owned(),
            "transferred".into(),
            format!("built into [{board_story}]"),
            "released".into(),
            "retired".into()
        ]
    );
    let phone_story = ledger.machine.lineage(phone).unwrap().unwrap();
    assert_eq!(phone_story.status, Status::TakenApart {});
    assert_eq!(phone_story.events.len(), 8);
    assert_eq!(phone_story.events[4].compensates, [wrong]);
    assert!(matches!(&phone_story.events[6].happening, Happening::Recorded { note: n, .. } if *n == note));
    assert!(phone_story.events.iter().zip(&phone_story.events[1..]).all(|(a, b)| a.height < b.height));
    for event in &phone_story.events {
        let header = ledger.machine.header(event.height).unwrap().unwrap();
        assert_eq!((header.hash(), header.time_ms), (event.block, event.time_ms));
    }
    // The new phone tells the chip's way through both.
    let chip_story = ledger.machine.lineage(chip).unwrap().unwrap();
    assert_eq!(chip_story.owner, Some(lock("carla")));
    assert_eq!(chip_story.part_of.len(), 2);
    assert!(ledger.machine.lineage(TokenId::default()).unwrap().is_none());
    // A restart tells the same.
    assert_eq!(ledger.reopen().machine.lineage(screw).unwrap().unwrap(), story);
    // And it is told in JSON with names of events.
    let json = serde_json::to_value(&story).unwrap();
    assert_eq!(json["events"][2]["event"], "built_into");
}

#[test]
fn outsiders_check_outputs_against_a_header() {
    let ledger = Ledger::new();
    let screw = make(&ledger, "acme", "screw", "1");
    let first = ledger.held(screw);
    make(&ledger, "acme", "screw", "2");
    let spent_by = give(&ledger, screw, "acme", "bob");
    let now = ledger.held(screw);
    make(&ledger, "acme", "screw", "3");

    let header = ledger.machine.header(ledger.machine.head().height).unwrap().unwrap();
    let (height, unspent) = ledger.machine.prove(&now).unwrap().unwrap();
    assert_eq!(height, header.height);
    assert_eq!((unspent.verify(header.state_root), unspent.spent_by.0), (Ok(()), None));
    let (_, spent) = ledger.machine.prove(&first).unwrap().unwrap();
    assert_eq!((spent.verify(header.state_root), spent.spent_by.0), (Ok(()), Some(spent_by.0)));
    assert_eq!(ledger.reopen().machine.prove(&first).unwrap().unwrap().1, spent);
    let bytes = unspent.encode_bytes();
    assert_eq!(OutputProof::decode_bytes(&bytes).unwrap(), unspent);
    assert!(matches!(OutputProof::decode_bytes(&bytes[1..]), Err(OutputProofError::Decode(_))));
    assert!(ledger.machine.prove(&OutputRef::new(TxId::default(), 0)).unwrap().is_none());
    assert!(ledger.machine.prove(&OutputRef::new(first.tx, 9)).unwrap().is_none());

    // Forgeries: unspent when spent, another owner, another place, a longer or shorter path.
    let refused = |proof: &OutputProof| assert!(proof.verify(header.state_root).is_err());
    refused(&OutputProof { spent_by: OptionalHash(None), ..spent.clone() });
    refused(&OutputProof { spent_by: OptionalHash(Some(B256::ZERO)), ..spent.clone() });
    let mut forged = unspent.clone();
    forged.output.lock = lock("eve");
    refused(&forged);
    refused(&OutputProof { reference: first, ..unspent.clone() });
    let mut moved = unspent.clone();
    moved.path.index = 0;
    refused(&moved);
    let mut counted = unspent.clone();
    counted.path.count += 1;
    refused(&counted);
    let mut longer = unspent.clone();
    longer.path.path.push(B256::ZERO);
    refused(&longer);
    let mut shorter = unspent.clone();
    shorter.path.path.pop();
    refused(&shorter);
    for at in 0..unspent.path.path.len() {
        let mut flipped = unspent.clone();
        flipped.path.path[at].0[3] ^= 1;
        refused(&flipped);
    }
    assert!(unspent.verify(B256::ZERO).is_err());
}
