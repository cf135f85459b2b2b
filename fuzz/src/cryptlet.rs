//! The cryptlet fabric: manifests, packages, components, transcripts, evidence, ABI tuples, registry entries; and the
//! history of exchange rates that the local source is filled with.

use crate::Verdict;
use alloy_dyn_abi::DynSolType;
use bletchley_cryptlet::abi::{decode, encode, is_canonical, parse_type};
use bletchley_cryptlet::ecb::History;
use bletchley_cryptlet::fabric::Evidence;
use bletchley_cryptlet::host;
use bletchley_cryptlet::manifest::{Manifest, World};
use bletchley_cryptlet::package::Package;
use bletchley_cryptlet::policy::Policy;
use bletchley_cryptlet::registry::{
    Claim, Entry, HostEntry, Release, ReleaseStatus, SignedEntry, StatusChange,
};
use bletchley_cryptlet::transcript::{FetchRecord, Transcript};
use bletchley_crypto::SecretKey;
use bletchley_primitives::{B256, Bytes, LedgerId};
use std::sync::LazyLock;

const FX_RATES: &str = include_str!("../../cryptlets/fx-rates/cryptlet.toml");
const CALENDAR: &str = include_str!("../../cryptlets/calendar/cryptlet.toml");
const CALENDAR_CODE: &[u8] = include_bytes!("../../cryptlets/calendar/calendar.wasm");

fn manifests() -> impl Iterator<Item = Manifest> {
    [FX_RATES, CALENDAR].into_iter().map(|text| Manifest::from_toml(text).unwrap())
}

fn small_package() -> Package {
    Package::new(manifests().next().unwrap(), Bytes::from_static(b"\0asm, as far as a package cares"))
        .unwrap()
}

pub(crate) mod manifest {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(manifest) = Manifest::decode(bytes) else { return Verdict::Refused };
        assert_eq!(manifest.encode(), bytes, "two encodings of one manifest");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        manifests().map(|manifest| manifest.encode()).collect()
    }
}

pub(crate) mod manifest_toml {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
        let Ok(manifest) = Manifest::from_toml(text) else { return Verdict::Refused };
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest, "valid as text and not as bytes");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![FX_RATES.into(), CALENDAR.into()]
    }
}

pub(crate) mod package {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(package) = Package::decode(bytes) else { return Verdict::Refused };
        assert_eq!(package.encode(), bytes, "two encodings of one package");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![small_package().encode()]
    }
}

pub(crate) mod component {
    use super::*;

    /// Components that are valid, the first one also a cryptlet.
    static COMPONENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let texts = [
            "(component (import \"bletchley:cryptlet/clock@1.0.0\" (instance)))",
            "(component (core module $m (memory 1) (func (export \"f\") (param i32) (result i32)
                (loop $again (br_if $again (local.get 0))) (i32.const 7)))
                (core instance $i (instantiate $m))
                (func (export \"f\") (param \"n\" u32) (result u32) (canon lift (core func $i \"f\"))))",
        ];
        let small = texts.into_iter().map(|text| wat::parse_str(text).unwrap());
        [CALENDAR_CODE.to_vec()].into_iter().chain(small).collect()
    });

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let utility = host::check(bytes, World::Utility);
        if utility.is_ok() {
            assert_eq!(host::check(bytes, World::Oracle), Ok(()), "a larger world grants less");
        }
        Verdict::of(utility.is_ok() || COMPONENTS.iter().any(|component| component == bytes))
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        assert_eq!(host::check(CALENDAR_CODE, World::Utility), Ok(()));
        COMPONENTS.clone()
    }
}

fn small_transcript() -> Transcript {
    let fetch = |result, status, body| FetchRecord {
        source: "ecb".to_owned(),
        path: "EXR/D.USD.EUR.SP00.A?startPeriod=2024-01-05".to_owned(),
        result,
        status,
        body: Bytes::from_static(body),
    };
    Transcript { fetches: vec![fetch(0, 200, b"1.0921"), fetch(2, 0, b"the source did not answer")] }
}

pub(crate) mod transcript {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(transcript) = Transcript::decode(bytes) else { return Verdict::Refused };
        assert_eq!(transcript.encode(), bytes, "two encodings of one transcript");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![Transcript::default().encode(), small_transcript().encode()]
    }
}

pub(crate) mod evidence {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(evidence) = Evidence::decode(bytes) else { return Verdict::Refused };
        assert_eq!(evidence.encode(), bytes, "two encodings of one piece of evidence");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let evidence = Evidence {
            input: Bytes::from_static(b"input"),
            fuel_max: 50_000_000,
            host_calls: B256::repeat_byte(4),
            transcript: small_transcript(),
        };
        vec![evidence.encode()]
    }
}

/// ABI tuples; the first byte of the input chooses one of a few lists of types.
pub(crate) mod abi {
    use super::*;
    use serde_json::{Value, json};

    const TUPLES: &[&[&str]] = &[
        &["string", "string", "uint32"],
        &["uint256", "int64", "bool", "address", "bytes4"],
        &["bytes", "string[]", "uint8[3]"],
        &["bytes[][]", "int256[]", "bool[2][]"],
    ];

    fn parameters(choice: u8) -> Vec<(&'static str, DynSolType)> {
        const NAMES: &[&str] = &["a", "b", "c", "d", "e"];
        let kinds = TUPLES[usize::from(choice) % TUPLES.len()];
        NAMES.iter().zip(kinds).map(|(name, kind)| (*name, parse_type(kind).unwrap())).collect()
    }

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some((choice, bytes)) = bytes.split_first() else { return Verdict::Refused };
        let parameters = parameters(*choice);
        let kinds: Vec<DynSolType> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let values = decode(&parameters, bytes);
        assert_eq!(values.is_ok(), is_canonical(&kinds, bytes), "{values:?}");
        let Ok(values) = values else { return Verdict::Refused };
        assert_eq!(encode(&parameters, &values).unwrap(), bytes, "two encodings of {values}");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let values: [Value; 4] = [
            json!(["USD", "", 20_240_105]),
            json!(["1000000", "-5", true, "0x0303030303030303030303030303030303030303", "0x01020304"]),
            json!(["0x0102", ["one", "two"], [1, 2, 3]]),
            json!([[["0x", "0x07"], []], ["-1"], [[true, false]]]),
        ];
        (0u8..)
            .zip(values)
            .map(|(choice, values)| {
                let tuple = encode(&parameters(choice), &values).unwrap();
                [choice].into_iter().chain(tuple).collect()
            })
            .collect()
    }
}

pub(crate) mod registry_entry {
    use super::*;

    const REGISTRY: LedgerId = LedgerId(B256::repeat_byte(1));

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(signed) = SignedEntry::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&signed.encode()[..], bytes, "two encodings of one entry");
        if let Entry::Release(release) = &signed.entry
            && let Ok(manifest) = release.checked_manifest()
        {
            assert_eq!(manifest.name, release.name);
        }
        let _ = signed.entry.signing_digest(REGISTRY);
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let key = SecretKey::from_seed(b"publisher");
        let who = key.address();
        let host = HostEntry {
            host: who,
            sequence: 0,
            member: "Example".to_owned(),
            evidence: "software".to_owned(),
            profile: B256::repeat_byte(2),
            claims: vec![Claim { name: "region".to_owned(), value: "somewhere".to_owned() }],
        };
        let status = StatusChange {
            package: small_package().id().0,
            sequence: 1,
            status: ReleaseStatus::Deprecated,
            reason: "a newer one is there".to_owned(),
        };
        [
            Entry::Release(Release::of(&small_package(), who, who)),
            Entry::Status(status),
            Entry::Host(host),
            Entry::Policy(Policy::single_host(who)),
        ]
        .into_iter()
        .map(|entry| entry.sign(REGISTRY, &[&key]).unwrap().encode().into())
        .collect()
    }
}

const RATES: &str = "Date,USD,JPY,ISK,\n2024-01-05,1.0921,157.65,N/A,\n2024-01-04,1.0953,157.41,149.9,\n";

fn accepted(history: &History) -> Verdict {
    for currency in history.currencies() {
        let answer = history.respond(&format!("/service/data/EXR/D.{currency}.EUR.SP00.A"));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    Verdict::Accepted
}

pub(crate) mod rates_csv {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
        History::from_csv(text).map_or(Verdict::Refused, |history| accepted(&history))
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![RATES.into()]
    }
}

pub(crate) mod rates_zip {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        History::from_zip(bytes).map_or(Verdict::Refused, |history| accepted(&history))
    }

    /// An archive of one file (APPNOTE.TXT 4.3), as far as a reader of one file looks; no reader here checks the CRC.
    fn archive(method: u16, body: &[u8]) -> Vec<u8> {
        const NAME: &[u8] = b"eurofxref-hist.csv";
        let put = |out: &mut Vec<u8>, signature: &[u8; 4], fields: &[(usize, u64)]| {
            out.extend_from_slice(signature);
            for (size, value) in fields {
                out.extend_from_slice(&value.to_le_bytes()[..*size]);
            }
        };
        let (method, packed, plain) = (u64::from(method), body.len() as u64, RATES.len() as u64);
        let name = NAME.len() as u64;
        let mut out = Vec::new();
        let sizes = [(4, 0), (4, packed), (4, plain), (2, name), (2, 0)];
        put(&mut out, b"PK\x03\x04", &[&[(2, 20), (2, 0), (2, method), (2, 0), (2, 0)], &sizes[..]].concat());
        out.extend_from_slice(NAME);
        out.extend_from_slice(body);
        let directory = out.len() as u64;
        let begin = [(2, 20), (2, 20), (2, 0), (2, method), (2, 0), (2, 0)];
        let end = [(2, 0), (2, 0), (2, 0), (4, 0), (4, 0)];
        put(&mut out, b"PK\x01\x02", &[&begin, &sizes[..], &end].concat());
        out.extend_from_slice(NAME);
        let size = out.len() as u64 - directory;
        put(&mut out, b"PK\x05\x06", &[(2, 0), (2, 0), (2, 1), (2, 1), (4, size), (4, directory), (2, 0)]);
        out
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let deflated = miniz_oxide::deflate::compress_to_vec(RATES.as_bytes(), 6);
        vec![archive(0, RATES.as_bytes()), archive(8, &deflated)]
    }
}

/// What the local source of rates is asked over HTTP.
pub(crate) mod rates_request {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        static HISTORY: LazyLock<History> = LazyLock::new(|| History::from_csv(RATES).unwrap());
        let Ok(target) = std::str::from_utf8(bytes) else { return Verdict::Refused };
        Verdict::of(HISTORY.respond(target).status == 200)
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let range = "/service/data/EXR/D.USD+JPY.EUR.SP00.A?startPeriod=2024-01-04&endPeriod=2024-01-05&format=csvdata";
        vec![range.into(), "/service/data/EXR/D..EUR.SP00.A".into()]
    }
}
