//! A member's configuration file: what is written can be read, and what is wrong is refused with its reason.
#![allow(clippy::unwrap_used, missing_docs)]

use bletchley_node::config::{Listen, MemberConfig};
use bletchley_node::data::DataDir;
use bletchley_node::founding::{Plan, found};
use bletchley_node::genesis::NetworkGenesis;
use std::collections::BTreeMap;
use std::path::Path;

fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn read(folder: &Path, text: &str) -> anyhow::Result<MemberConfig> {
    let path = folder.join("member.toml");
    std::fs::write(&path, text).unwrap();
    MemberConfig::read(&path)
}

#[test]
fn the_file_that_we_write_says_what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    let listen = Listen { p2p: "0.0.0.0:30300".parse().unwrap(), api: "127.0.0.1:0".parse().unwrap() };
    let endpoints = BTreeMap::from([("bank-b".to_owned(), "node.bank-b.example:30301".to_owned())]);
    let config = read(folder.path(), &MemberConfig::text("bank-a", &listen, &endpoints)).unwrap();
    assert_eq!(config.member, "bank-a");
    assert_eq!((config.listen.p2p, config.listen.api), (listen.p2p, listen.api));
    assert_eq!(config.endpoints, endpoints);
    assert_eq!(config.data().root(), folder.path());
    assert_eq!(config.genesis, folder.path().join("genesis.json"));
    assert!(!config.archive && config.log.file.is_none());
    let short = read(folder.path(), "member = \"bank-a\"").unwrap();
    assert_eq!(
        short.listen.api.ip().to_string(),
        "127.0.0.1",
        "clients are not let in from outside by default"
    );
    let absolute = read(folder.path(), "member = \"a\"\ndata = \"/srv/a\"\n[log]\nfile = \"a.log\"").unwrap();
    assert_eq!(absolute.data().root(), Path::new("/srv/a"));
    assert_eq!(absolute.log.file, Some(folder.path().join("a.log")));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("", "missing field `member`"),
        ("member = \"\"", "names no member"),
        ("member = \"a\"\nportt = 1", "unknown field"),
        ("member = \"a\"\n[listen]\napi = \"localhost\"", "reading"),
        ("member = \"a\"\n[listen]\napi = \"127.0.0.1:65536\"", "reading"),
        ("member = \"a\"\n[listen]\nrpc = \"127.0.0.1:1\"", "unknown field"),
        ("member = [", "reading"),
    ];
    for (text, reason) in cases {
        let said = refusal(read(folder.path(), text));
        assert!(said.contains(reason), "{text:?}: {said}");
    }
    assert!(refusal(MemberConfig::read(&folder.path().join("absent.toml"))).contains("absent.toml"));
    let long = format!("member = \"a\"\n# {}", "x".repeat(300 << 10));
    assert!(refusal(read(folder.path(), &long)).contains("at most"));
}

fn consortium(folder: &Path) -> DataDir {
    let root = DataDir::new(folder);
    std::fs::create_dir_all(folder).unwrap();
    found(&root, &Plan { members: 2, engine: None, block_ms: 200, port_base: 9_000 }).unwrap();
    root
}

#[test]
fn a_folder_keeps_the_genesis_document_that_it_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (consortium(&folder.path().join("ours")), consortium(&folder.path().join("theirs")));
    let (data, file) = (ours.member("bank-a"), folder.path().join("given.json"));
    let genesis = NetworkGenesis::read(&data).unwrap();
    let config = |genesis: &Path| {
        let text = format!(
            "member = \"bank-a\"\ndata = {:?}\ngenesis = {:?}",
            data.root().display().to_string(),
            genesis.display().to_string()
        );
        read(folder.path(), &text).unwrap()
    };
    std::fs::copy(data.genesis(), &file).unwrap();
    assert_eq!(config(&file).settle_genesis().unwrap(), genesis);
    std::fs::copy(theirs.member("bank-a").genesis(), &file).unwrap();
    let said = refusal(config(&file).settle_genesis());
    assert!(said.contains("holds consortium") && said.contains(&genesis.digest().to_string()), "{said}");
    // A folder that is new takes a copy; one without any document says where it belongs.
    std::fs::remove_file(data.genesis()).unwrap();
    assert_eq!(config(&file).settle_genesis().unwrap(), NetworkGenesis::read(&data).unwrap());
    std::fs::remove_file(data.genesis()).unwrap();
    let said = refusal(config(&folder.path().join("absent.json")).settle_genesis());
    assert!(said.contains("bletchley genesis build"), "{said}");
}

#[test]
fn endpoints_are_those_of_members() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = NetworkGenesis::read(&consortium(folder.path()).member("bank-a")).unwrap();
    let check = |endpoints: &str| {
        let text = format!("member = \"bank-a\"\n[endpoints]\n{endpoints}");
        read(folder.path(), &text).unwrap().check_against(&genesis)
    };
    check("bank-b = \"moved.example:1\"").unwrap();
    assert!(refusal(check("bank-c = \"moved.example:1\"")).contains("no such member"));
    assert!(refusal(check("bank-b = \"moved.example\"")).contains("is no endpoint"));
}
