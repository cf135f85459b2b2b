//! Test vectors of the specifications. They stand between markers in the texts; this test makes them again and fails
//! when a text says something else. With `BLETCHLEY_WRITE_VECTORS=1` it writes them instead.

use std::{fmt::Write as _, fs, path::PathBuf};

use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use alloy_sol_types::{SolCall, SolError, sol};
use bletchley_cryptlet::{
    fabric::Evidence,
    policy::{CallRefusal, Policy},
    registry::{Claim, Entry, HostEntry, Release, ReleaseStatus, SignedEntry, StatusChange},
    transcript::{FetchRecord, Transcript},
};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    Anchor, Call, CallBounds, DelegationRecord, Extension, Place, Receipt, SignedReceipt, Status,
};
use bletchley_primitives::{BlockHash, Height, LedgerId, TimestampMs, TxId};

use crate::world::package;

mod abi {
    #![allow(missing_docs)]
    use super::sol;
    sol! {
        error CryptletFailed(uint8 status, string reason);
        function call(bytes32 cryptlet, string method, bytes input) external view returns (bytes output);
    }
}

const BEGIN: &str = "<!-- vectors: made by a test, not by hand -->\n```text\n";
const END: &str = "```\n<!-- end of vectors -->";

fn check(file: &str, vectors: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the text has a place for vectors");
    let (found, after) = rest.split_once(END).expect("the vectors end");
    if std::env::var_os("BLETCHLEY_WRITE_VECTORS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{vectors}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, vectors,
        "{file} has other vectors than the code; set BLETCHLEY_WRITE_VECTORS=1 to write them"
    );
}

struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name:<24} {value}").unwrap();
    }

    fn bytes(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.add(name, hex::encode_prefixed(bytes));
    }

    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        writeln!(self.0, "{gap}[{title}]").unwrap();
    }
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32]).unwrap()
}

fn call() -> Call {
    Call {
        ledger: LedgerId(B256::repeat_byte(0x11)),
        transaction: TxId(B256::repeat_byte(0x22)),
        sender: Address::repeat_byte(0x33),
        caller: Address::repeat_byte(0x44),
        cryptlet: keccak256("fx-rates"),
        method: "rate".into(),
        input: Bytes::from_static(b"USDEUR"),
        occurrence: 0,
    }
}

fn place() -> Place {
    Place {
        ledger: call().ledger,
        height: Height(100),
        parent: BlockHash(B256::repeat_byte(0x99)),
        time_ms: TimestampMs(1_700_000_000_123),
    }
}

fn evidence() -> Evidence {
    let fetch = FetchRecord {
        source: "ecb".into(),
        path: "EXR/D.USD.EUR".into(),
        result: 0,
        status: 200,
        body: Bytes::from_static(b"1.0839"),
    };
    Evidence {
        input: call().input,
        fuel_max: 1_000_000,
        host_calls: B256::repeat_byte(0x66),
        transcript: Transcript { fetches: vec![fetch] },
    }
}

fn answered() -> SignedReceipt {
    let (call, place) = (call(), place());
    let output = Bytes::from_static(b"1.0839");
    let receipt = Receipt {
        ledger: call.ledger,
        transaction: call.transaction,
        caller: call.caller,
        cryptlet: call.cryptlet,
        package: package("1.0.0").id().0,
        method: call.method.clone(),
        input_digest: keccak256(&call.input),
        occurrence: call.occurrence,
        status: Status::Ok,
        output_digest: keccak256(&output),
        fuel: 123_456,
        profile: B256::repeat_byte(0x77),
        transcript: evidence().id().0,
        as_of_ms: place.time_ms,
        valid_from: place.height,
        valid_to: Height(place.height.0 + CallBounds::WINDOW_HEIGHTS),
    };
    let digest = receipt.signing_digest();
    let signatures = vec![secret(0xc1).sign(digest), secret(0x05).sign(digest)];
    SignedReceipt { receipt, output, signatures }
}

fn unavailable() -> SignedReceipt {
    let mut signed = answered();
    signed.output = Bytes::from_static(b"timeout: no answer within 5000 ms");
    signed.receipt = Receipt {
        status: Status::Unavailable,
        output_digest: keccak256(&signed.output),
        fuel: 0,
        profile: B256::ZERO,
        transcript: B256::ZERO,
        ..signed.receipt
    };
    let digest = signed.receipt.signing_digest();
    signed.signatures = vec![secret(0xc1).sign(digest), secret(0x05).sign(digest)];
    signed
}

fn refused() -> SignedReceipt {
    let refusal = CallRefusal::Caller { caller: call().caller, name: "fx-rates".into() };
    SignedReceipt::refused(&call(), &place(), &refusal.to_string())
}

#[test]
fn receipt_vectors() {
    let mut lines = Lines(String::new());
    let call = call();
    lines.title("keys");
    lines.bytes("cryptlet secret key", [0xc1; 32]);
    lines.add("cryptlet address", secret(0xc1).address());
    lines.bytes("host secret key", [0x05; 32]);
    lines.add("host address", secret(0x05).address());
    lines.title("call");
    lines.add("ledger", call.ledger);
    lines.add("transaction", call.transaction);
    lines.add("caller", call.caller);
    lines.add("cryptlet", call.cryptlet);
    lines.add("method", &call.method);
    lines.bytes("input", &call.input);
    lines.add("occurrence", call.occurrence);
    lines.add("call id", call.id());
    lines.add("call id, occurrence 1", Call { occurrence: 1, ..call }.id());
    lines.title("evidence");
    lines.add("fuel", evidence().fuel_max);
    lines.add("host calls", evidence().host_calls);
    lines.bytes("transcript", evidence().transcript.encode());
    lines.bytes("encoded", evidence().encode());
    lines.add("SHA-256", evidence().id());
    for (title, signed) in [("receipt, status 0", answered()), ("receipt, status 3", unavailable())] {
        lines.title(title);
        let receipt = &signed.receipt;
        lines.add("package", receipt.package);
        lines.add("input digest", receipt.input_digest);
        lines.bytes("output", &signed.output);
        lines.add("output digest", receipt.output_digest);
        lines.add("fuel", receipt.fuel);
        lines.add("profile", receipt.profile);
        lines.add("transcript", receipt.transcript);
        lines.add("as of, ms", receipt.as_of_ms);
        lines.add("valid from", receipt.valid_from);
        lines.add("valid to", receipt.valid_to);
        lines.add("signing digest", receipt.signing_digest());
        lines.bytes("cryptlet signature", signed.signatures[0].0);
        lines.bytes("host signature", signed.signatures[1].0);
        lines.bytes("encoded", alloy_rlp::encode(&signed));
    }
    lines.title("receipt, status 4, of the block at height 100 and time 1700000000123 ms");
    lines.add("reason", String::from_utf8(refused().output.to_vec()).unwrap());
    lines.bytes("encoded", alloy_rlp::encode(refused()));
    check("receipt.md", &lines.0);
}

#[test]
fn delegation_vectors() {
    let mut lines = Lines(String::new());
    let call = call();
    let encoded =
        abi::callCall { cryptlet: call.cryptlet, method: call.method.clone(), input: call.input.clone() };
    lines.title("precompiled contract");
    lines.bytes("input", encoded.abi_encode());
    lines.bytes("output", abi::callCall::abi_encode_returns(&answered().output));
    let failed = abi::CryptletFailed {
        status: Status::Refused as u8,
        reason: String::from_utf8(refused().output.to_vec()).unwrap(),
    };
    lines.bytes("revert", failed.abi_encode());
    lines.title("registry");
    let ledger = LedgerId(B256::repeat_byte(0xee));
    lines.add("ledger", ledger);
    lines.bytes("administrator's key", [0xad; 32]);
    lines.bytes("publisher's key", [0x0b; 32]);
    for (name, signed) in entries(ledger) {
        lines.title(name);
        lines.add("signing digest", signed.entry.signing_digest(ledger));
        lines.bytes("payload", signed.encode());
    }
    lines.title("extension of a block with one receipt (receipt.md: status 0)");
    let extension = Extension {
        record: DelegationRecord {
            anchor: Anchor { ledger, height: Height(7), block: BlockHash(B256::repeat_byte(0xb7)) },
            receipts: vec![answered()],
        },
        ..Extension::at(place().time_ms)
    };
    lines.bytes("record", alloy_rlp::encode(&extension.record));
    lines.bytes("extension", extension.encode());
    lines.add("extraData", Extension::digest(&extension.encode()));
    lines.title("extension of a block at the same time without receipts");
    let empty = Extension::at(place().time_ms).encode();
    lines.bytes("extension", &empty);
    lines.add("extraData", Extension::digest(&empty));
    check("cryptodelegate.md", &lines.0);
}

fn entries(ledger: LedgerId) -> Vec<(&'static str, SignedEntry)> {
    let (administrator, publisher, host) = (secret(0xad), secret(0x0b), secret(0x05));
    let release = Release::of(&package("1.0.0"), publisher.address(), secret(0xc1).address());
    let status = StatusChange {
        package: release.package,
        sequence: 0,
        status: ReleaseStatus::Deprecated,
        reason: "superseded".into(),
    };
    let admitted = HostEntry {
        host: host.address(),
        sequence: 0,
        member: "Example Bank".into(),
        evidence: "software".into(),
        profile: B256::repeat_byte(0x77),
        claims: vec![Claim { name: "region".into(), value: "eu".into() }],
    };
    vec![
        (
            "policy",
            Entry::Policy(Policy::single_host(host.address())).sign(ledger, &[&administrator]).unwrap(),
        ),
        ("host", Entry::Host(admitted).sign(ledger, &[&host, &administrator]).unwrap()),
        ("release", Entry::Release(release).sign(ledger, &[&publisher]).unwrap()),
        ("status", Entry::Status(status).sign(ledger, &[&administrator]).unwrap()),
    ]
}

/// The vectors are not only stable but right: a registry takes the entries, and the receipts check against it.
#[test]
fn the_vectors_hold() {
    use bletchley_cryptlet::{
        content::MemoryContent,
        fabric::{Fabric, FabricConfig, FabricParts},
        registry::{MemoryRegistry, RegistryView, Roots},
    };
    use bletchley_ledger::Delegate;
    use std::sync::Arc;
    let ledger = LedgerId(B256::repeat_byte(0xee));
    let roots = Roots { registry: ledger, administrators: vec![secret(0xad).address()] };
    let registry = Arc::new(MemoryRegistry::new(roots));
    let entries: Vec<SignedEntry> = entries(ledger).into_iter().map(|(_, entry)| entry).collect();
    let anchor = registry.append(&entries).unwrap();
    let parts = FabricParts {
        registry: Arc::clone(&registry) as Arc<dyn RegistryView>,
        content: Arc::<MemoryContent>::default(),
        hosts: Vec::new(),
    };
    let fabric = Fabric::start(parts, FabricConfig::default()).unwrap();
    let receipts = vec![answered(), unavailable()];
    fabric.check(&DelegationRecord { anchor, receipts }, &place()).unwrap();
    let refusal = DelegationRecord { anchor, receipts: vec![refused()] };
    assert!(fabric.check(&refusal, &place()).is_err(), "this registry's policy lets everyone call");
}
