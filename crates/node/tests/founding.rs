//! Founding a consortium with files from several members, and everything that can be wrong with those files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use bletchley_cryptlet::keys::Signer;
use bletchley_ledger::ValidatorSet;
use bletchley_node::ceremony::{Draft, MemberRequest};
use bletchley_node::client::folder_of;
use bletchley_node::data::DataDir;
use bletchley_node::founding::{NAMES, Plan, found, move_ports};
use bletchley_node::genesis::{EngineName, NetworkGenesis};
use bletchley_node::identity::{Identity, OwnKeys};
use bletchley_primitives::TimestampMs;
use serde_json::{Value, json};
use std::path::Path;

const TIME_MS: TimestampMs = TimestampMs(1_700_000_000_000);

fn draft() -> Draft {
    Draft::new("trade-net", 4242, None, 200).unwrap()
}

fn keys(folder: &Path, name: &str) -> OwnKeys {
    OwnKeys::ensure(&DataDir::new(folder.join(name))).unwrap()
}

fn request(folder: &Path, name: &str, port: u16) -> MemberRequest {
    MemberRequest::sign(&keys(folder, name), name, &format!("127.0.0.1:{port}"), true).unwrap()
}

/// A draft with four members.
fn four(folder: &Path) -> Draft {
    let mut draft = draft();
    for (index, name) in NAMES.iter().take(4).enumerate() {
        draft.admit(&request(folder, name, 30_300 + u16::try_from(index).unwrap())).unwrap();
    }
    draft
}

fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn four_members_found_a_consortium_with_nothing_but_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consortium.json");
    draft().write(&path).unwrap();
    for (index, name) in NAMES.iter().take(4).enumerate() {
        let file = folder.path().join(format!("{name}.request.json"));
        let seat = |validator| {
            let endpoint = format!("node.{name}.example:{}", 30_300 + index);
            MemberRequest::sign(&keys(folder.path(), name), name, &endpoint, validator)
        };
        seat(index != 3).unwrap().write(&file).unwrap();
        let mut draft = Draft::read(&path).unwrap();
        draft.admit(&MemberRequest::read(&file).unwrap()).unwrap();
        draft.write(&path).unwrap();
    }
    let built = Draft::read(&path).unwrap().build(TIME_MS).unwrap();
    let file = folder.path().join("genesis.json");
    built.write_file(&file).unwrap();
    let read = NetworkGenesis::read_file(&file).unwrap();
    assert_eq!(read, built);
    assert_eq!(read.digest(), built.digest());
    assert_eq!(read.agreements.evm.engine, EngineName::Simplex);
    assert_eq!(read.registry_roots().administrators.len(), 4);
    let voters = read.members.iter().filter(|m| m.is_validator).map(|m| m.validator);
    assert_eq!(read.validator_set(), ValidatorSet::new(voters));
    assert_eq!(read.validator_set().members().len(), 3, "the regulator observes");
    // Each finds itself by its keys, and nobody passes for another.
    for name in NAMES.iter().take(4) {
        let data = DataDir::new(folder.path().join(name));
        assert_eq!(Identity::open(&data, &read, None).unwrap().member.name, *name);
    }
    assert!(refusal(read.write_file(&file)).contains("exists already"));
}

#[test]
fn a_request_that_was_changed_on_its_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = request(folder.path(), "bank-a", 30_300);
    let other = request(folder.path(), "bank-b", 30_301);
    let document = serde_json::to_value(&good).unwrap();
    let change = |pointer: &str, value: Value| {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value::<MemberRequest>(changed).unwrap()
    };
    let changed = [
        change("/member/name", json!("bank-c")),
        change("/member/endpoint", json!("127.0.0.1:30999")),
        change("/member/isValidator", json!(false)),
        change("/member/peer", json!(other.member.peer)),
        change("/member/validator", json!(other.member.validator)),
        change("/member/administrator", json!(other.member.administrator)),
        change("/member/host", json!(other.member.host)),
        change("/signatures/validator", json!(other.signatures.validator)),
        change("/signatures/host", json!(format!("0x{}", "00".repeat(65)))),
    ];
    for request in changed {
        let mut draft = draft();
        assert!(refusal(draft.admit(&request)).contains("is not signed with its"), "{request:?}");
        assert_eq!(draft, self::draft(), "a refused request changes nothing");
    }
    assert!(refusal(draft().admit(&change("/version", json!(9)))).contains("version 9"));
    let mut unknown = document;
    unknown["member"]["seat"] = json!("validator");
    assert!(serde_json::from_value::<MemberRequest>(unknown).is_err());
}

#[test]
fn nobody_takes_part_twice_or_with_what_belongs_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = four(folder.path());
    let before = draft.clone();
    assert!(refusal(draft.admit(&request(folder.path(), "bank-a", 30_300))).contains("admitted already"));
    // The same keys under another name.
    let again = MemberRequest::sign(&keys(folder.path(), "bank-a"), "bank-z", "127.0.0.1:1", true).unwrap();
    assert!(refusal(draft.admit(&again)).contains("peer key of another member"));
    // Another's name, another's endpoint.
    let namesake = MemberRequest::sign(&keys(folder.path(), "x"), "bank-a", "127.0.0.1:1", true).unwrap();
    assert!(refusal(draft.admit(&namesake)).contains("two members have the name bank-a"));
    let squatter = MemberRequest::sign(&keys(folder.path(), "x"), "x", "127.0.0.1:30301", true).unwrap();
    assert!(refusal(draft.admit(&squatter)).contains("endpoint 127.0.0.1:30301 of another member"));
    assert_eq!(draft, before);
    for (name, endpoint) in [("Bank A", "127.0.0.1:1"), ("bank-x", "127.0.0.1"), ("bank-x", "127.0.0.1:0")] {
        assert!(MemberRequest::sign(&keys(folder.path(), "x"), name, endpoint, true).is_err());
    }
}

#[test]
fn the_ids_cover_everything_that_was_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let draft = four(folder.path());
    let genesis = draft.build(TIME_MS).unwrap();
    let mut others: Vec<Draft> = vec![draft.clone(); 5];
    others[0].name = "other-net".to_owned();
    others[1].engine = Some(EngineName::Tendermint);
    others[2].epoch_blocks = 10;
    others[3].block_ms = 100;
    others[4].members.pop();
    let mut others: Vec<NetworkGenesis> = others.iter().map(|draft| draft.build(TIME_MS).unwrap()).collect();
    others.push(draft.build(TimestampMs(TIME_MS.0 + 1)).unwrap());
    for other in others {
        assert_ne!(other.tokens().ledger, genesis.tokens().ledger);
        assert_ne!(other.evm.ledger_id(), genesis.evm.ledger_id());
        assert_ne!(other.digest(), genesis.digest());
    }
    let mut quieter = genesis.clone();
    quieter.agreements.evm.heartbeat_ms += 1;
    assert_ne!(quieter.tokens().ledger, genesis.tokens().ledger);
    let mut chain = draft.clone();
    chain.chain_id = 7;
    assert_ne!(chain.build(TIME_MS).unwrap().evm.ledger_id(), genesis.evm.ledger_id());
    let mut named = draft;
    named.accounts.push(bletchley_node::accounts::Named {
        name: "treasury".to_owned(),
        address: genesis.members[0].host,
    });
    assert_ne!(named.build(TIME_MS).unwrap().digest(), genesis.digest());
}

#[test]
fn a_genesis_document_that_cannot_work_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let document = serde_json::to_value(four(folder.path()).build(TIME_MS).unwrap()).unwrap();
    let path = folder.path().join("genesis.json");
    let read = |document: &Value| {
        std::fs::write(&path, serde_json::to_vec(document).unwrap()).unwrap();
        NetworkGenesis::read_file(&path)
    };
    assert!(read(&document).is_ok());
    let cases = [
        ("/version", json!(1), "has version 1"),
        ("/name", json!("Trade Net"), "is no name for a consortium"),
        ("/members", json!([]), "a consortium has 1 to"),
        ("/members/1/name", json!("bank-a"), "two members have the name bank-a"),
        ("/members/1/peer", document["members"][0]["peer"].clone(), "peer key of another member"),
        ("/members/1/peer", json!(format!("0x02{}", "00".repeat(31))), "no ed25519 public key"),
        ("/members/1/host", document["members"][0]["host"].clone(), "a key belongs to one member"),
        ("/members/1/host", document["members"][0]["validator"].clone(), "a key belongs to one member"),
        ("/members/1/endpoint", json!("nowhere"), "is no endpoint"),
        ("/agreements/tokens/engine", json!("solo"), "needs exactly one"),
        ("/agreements/evm/engine", json!("raft"), "raft"),
        ("/agreements/evm/epochBlocks", json!(0), "epochBlocks"),
        ("/agreements/evm/blockMs", json!(0), "blockMs"),
        ("/agreements/evm/blockMs", json!(60_001), "blockMs"),
        ("/agreements/tokens/heartbeatMs", json!(1), "heartbeatMs"),
        ("/dev", json!(true), "exactly one member"),
        ("/timeMs", json!(1), "start at different times"),
        ("/evm/chainId", json!(0), "chainId"),
    ];
    for (pointer, value, reason) in cases {
        let mut bad = document.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let said = refusal(read(&bad));
        assert!(said.contains(reason), "{pointer}: {said}");
    }
    for (key, value) in [("validators", json!([])), ("root", json!("0x00"))] {
        let mut bad = document.clone();
        bad[key] = value;
        assert!(refusal(read(&bad)).contains("unknown field"));
    }
    let mut observers = document.clone();
    for member in observers["members"].as_array_mut().unwrap() {
        member["isValidator"] = json!(false);
    }
    assert!(refusal(read(&observers)).contains("none of its members is a validator"));
    std::fs::write(&path, "{\"version\": 2, ").unwrap();
    assert!(refusal(NetworkGenesis::read_file(&path)).contains("reading"));
}

#[test]
fn nobody_starts_with_another_members_keys() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = four(folder.path()).build(TIME_MS).unwrap();
    let open = |data: &str, name| {
        Identity::open(&DataDir::new(folder.path().join(data)), &genesis, name).map(|found| found.member.name)
    };
    assert_eq!(open("bank-b", Some("bank-b")).unwrap(), "bank-b");
    assert!(refusal(open("bank-b", Some("bank-a"))).contains("those of member bank-b, not of bank-a"));
    assert!(refusal(open("bank-a", Some("nobody"))).contains("has no member \"nobody\""));
    assert!(refusal(open("empty", Some("bank-a"))).contains("copied without its keys"));
    keys(folder.path(), "stranger");
    assert!(refusal(open("stranger", None)).contains("belong to no member"));
    assert!(refusal(open("stranger", Some("bank-a"))).contains("not those that the genesis document names"));
    assert!(!folder.path().join("empty").exists(), "looking makes no keys");
}

#[test]
fn a_consortium_on_one_computer_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = DataDir::new(folder.path());
    let plan = Plan { members: 4, engine: None, block_ms: 200, port_base: 9_000 };
    // What a founding that was cut short leaves.
    std::fs::create_dir_all(folder.path().join("members.part/bank-a")).unwrap();
    found(&root, &plan).unwrap();
    assert!(root.is_consortium());
    assert!(!folder.path().join("members.part").exists());
    let draft = Draft::read(&root.consortium()).unwrap();
    let genesis = NetworkGenesis::read(&root.member("bank-a")).unwrap();
    assert_eq!(draft.members, genesis.members);
    let mut administrators = Vec::new();
    for name in NAMES.iter().take(4) {
        let data = root.member(name);
        assert_eq!(NetworkGenesis::read(&data).unwrap(), genesis);
        let identity = Identity::open(&data, &genesis, Some(name)).unwrap();
        administrators.push(identity.keys.administrator.address());
        assert_eq!(data.account_keys(), root.keys(), "demo accounts are shared");
    }
    assert_eq!(genesis.registry_roots().administrators, administrators);
    assert_eq!(genesis.members[3].endpoint, "127.0.0.1:9103");
    assert_eq!(folder_of(root.clone(), Some("bank-b")).unwrap().root(), root.member("bank-b").root());
    assert_eq!(folder_of(root.clone(), None).unwrap().root(), root.member("bank-a").root());
    assert!(refusal(folder_of(root.clone(), Some("bank-z"))).contains("there are bank-a, bank-b"));
    let config = std::fs::read_to_string(root.member("bank-b").config()).unwrap();
    assert!(config.contains("127.0.0.1:9001") && config.contains("127.0.0.1:9101"), "{config}");
    move_ports(&root, &draft, 9_500).unwrap();
    let config = std::fs::read_to_string(root.member("bank-b").config()).unwrap();
    assert!(config.contains("127.0.0.1:9501") && config.contains("\"127.0.0.1:9603\""), "{config}");
    for (members, port_base) in [(0, 0), (NAMES.len() + 1, 0), (4, u16::MAX - 50)] {
        let elsewhere = DataDir::new(folder.path().join("elsewhere"));
        assert!(found(&elsewhere, &Plan { members, port_base, ..plan.clone() }).is_err());
        assert!(!elsewhere.is_consortium());
    }
}
