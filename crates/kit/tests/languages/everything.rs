//! One project for each language that uses every type and every capability, built on the template.

use alloy_primitives::keccak256;
use bletchley_kit::Language;
use sha2::{Digest, Sha256};

use crate::place::{Place, tools};

/// Types, and a value of each as JSON; those behind the first [`FLAT`] are arrays of arrays.
const VALUES: &[(&str, &str)] = &[
    ("bool", "true"),
    ("address", "\"0x00000000000000000000000000000000DeaDBeef\""),
    ("string", "\"Größe: 7 €\""),
    ("bytes", "\"0x0102030405060708091011121314151617181920212223242526272829303132ff\""),
    ("bytes4", "\"0xcafebabe\""),
    ("uint8", "255"),
    ("uint24", "16777215"),
    ("uint256", "\"115792089237316195423570985008687907853269984665640564039457584007913129639935\""),
    ("int8", "-128"),
    ("int40", "-549755813888"),
    ("int256", "\"-57896044618658097711785492504343953926634992332820282019728792003956564819968\""),
    ("string[]", "[\"\", \"one\", \"two\"]"),
    ("uint16[3]", "[1, 2, 65535]"),
    ("bytes32[]", "[\"0x0000000000000000000000000000000000000000000000000000000000000001\"]"),
    ("string[2]", "[\"left\", \"right\"]"),
    ("int72[]", "[\"-1\", \"1180591620717411303424\", \"2361183241434822606847\"]"),
    ("uint256[2][]", "[[\"1\", \"2\"], [\"3\", \"4\"]]"),
    ("string[][]", "[[], [\"a\", \"b\"], [\"c\"]]"),
    ("bool[3][2]", "[[true, false, true], [false, false, true]]"),
    ("bytes[][2]", "[[\"0x\"], [\"0x01\", \"0x0203\"]]"),
];
const FLAT: usize = 16;

/// Prices at a source that tests name.
const BODY: &str = "EUR 1.25";

pub(crate) fn passes(language: Language) {
    let place = Place::new(language);
    place.replace("cryptlet.toml", "world = \"utility\"", "world = \"oracle\"");
    place.append("cryptlet.toml", &manifest(language));
    place.write("tests/everything.toml", &cases(language));
    extend(&place, language);
    let report = place.test();
    let failed = report.cases.iter().filter(|case| !case.passed);
    let problems: Vec<_> = failed.map(|case| (&case.name, &case.problems, &case.logs)).collect();
    assert_eq!(report.failed, 0, "{problems:#?}");
    assert_eq!(report.passed, report.cases.len());
    let greeting = &report.cases.iter().find(|case| case.name == "greets by name").unwrap();
    assert_eq!(greeting.logs, ["info: greeting Ada"]);
    assert!(greeting.fuel_used > 0 && greeting.fetches == 0);
    reports(&place, language);
    finds_wrong_outputs(&place);
}

/// What a build after that says, without building again.
fn reports(place: &Place, language: Language) {
    let report = place.open().build(&tools(), &|_| ()).unwrap();
    assert!(report.was_current || language == Language::Rust);
    // QuickJS leaves its own `init` beside it.
    assert!(report.exports.contains(&"bletchley:cryptlet/handler@1.0.0".to_owned()), "{:?}", report.exports);
    assert!(report.imports.contains(&"bletchley:cryptlet/fetch@1.0.0".to_owned()), "{:?}", report.imports);
    assert!(report.imports.iter().all(|import| import.starts_with("bletchley:cryptlet/")));
    assert_eq!(report.capabilities.len(), 1);
    assert!(report.tests.iter().any(|test| test.name == "greets by name" && test.fuel_used > 0));
    let names: Vec<String> = report.files.iter().map(|file| file.display().to_string()).collect();
    let expected = [
        "hello.wasm",
        "out/cryptlets/Hello.sol",
        "out/CryptoDelegate.sol",
        "out/abi.json",
        "out/schema.json",
    ];
    assert_eq!(names, expected);
    assert!(place.read("out/cryptlets/Hello.sol").contains(&report.package_id.to_string()));
    assert!(place.read("out/schema.json").contains("\"greet\""));
}

/// The same component, other expectations: each kind of difference is shown with what was expected and what was found.
fn finds_wrong_outputs(place: &Place) {
    place.write("tests/everything.toml", "");
    place.write(
        "tests/hello.toml",
        r#"
        [[case]]
        name = "value"
        method = "greet"
        inputs = { name = "Ada" }
        expect = { greeting = "Hello, Bob!" }
        [[case]]
        name = "no refusal"
        method = "greet"
        inputs = { name = "Ada" }
        error = { kind = "invalid-input" }
        [[case]]
        name = "other words"
        method = "greet"
        inputs = { name = "" }
        error = { kind = "invalid-input", words = "something else" }
        [[case]]
        name = "missing fixture"
        method = "world"
        inputs = { path = "gone" }
        expect = { now = 0, height = 0, caller = "0x0000000000000000000000000000000000000000", seed = "0x", price = "" }
        [[case]]
        name = "unused fixture"
        method = "greet"
        inputs = { name = "Ada" }
        expect = { greeting = "Hello, Ada!" }
        [[case.fetch]]
        source = "prices"
        path = "today"
        "#,
    );
    let report = place.test();
    assert_eq!((report.passed, report.failed), (0, 5));
    let problems =
        |name: &str| report.cases.iter().find(|case| case.name == name).unwrap().problems.join("\n");
    let value = problems("value");
    assert!(value.contains("Hello, Bob!") && value.contains("Hello, Ada!"), "{value}");
    assert!(problems("no refusal").contains("found {\"greeting\":\"Hello, Ada!\"}"));
    assert!(problems("other words").contains("found invalid-input: greet needs a name"));
    assert!(problems("missing fixture").contains("fetched `gone` of source `prices`"));
    assert!(problems("unused fixture").contains("nothing fetched `today`"));
}

fn values(language: Language) -> impl Iterator<Item = (usize, &'static (&'static str, &'static str))> {
    // C has no arrays of arrays.
    let count = if language == Language::C { FLAT } else { VALUES.len() };
    VALUES.iter().take(count).enumerate()
}

/// `echo` for the flat types and `nest` for the others, `world` for what the host gives, `fail` for what goes wrong.
fn manifest(language: Language) -> String {
    let list = |prefix: &str, from: usize, to: usize| {
        let each: Vec<String> = values(language)
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(at, (kind, _))| format!("{{ name = \"{prefix}{at}\", type = \"{kind}\" }}"))
            .collect();
        format!("[{}]", each.join(", "))
    };
    let mut text = format!(
        r#"
        [[methods]]
        name = "echo"
        inputs = {}
        outputs = {}
        [[methods]]
        name = "world"
        inputs = [{{ name = "path", type = "string" }}]
        outputs = [
            {{ name = "now", type = "uint64" }}, {{ name = "height", type = "uint64" }},
            {{ name = "caller", type = "address" }}, {{ name = "seed", type = "bytes" }},
            {{ name = "price", type = "string" }},
        ]
        [[methods]]
        name = "failAs"
        inputs = [{{ name = "how", type = "string" }}]
        outputs = [{{ name = "small", type = "uint24" }}]
        [[capabilities.fetch]]
        name = "prices"
        url_prefix = "https://prices.example/"
        "#,
        list("a", 0, FLAT),
        list("b", 0, FLAT)
    );
    if language != Language::C {
        text.push_str(&format!(
            "[[methods]]\nname = \"nest\"\ninputs = {}\noutputs = {}\n",
            list("a", FLAT, VALUES.len()),
            list("b", FLAT, VALUES.len())
        ));
    }
    text
}

fn cases(language: Language) -> String {
    let list = |prefix: &str, from: usize, to: usize| {
        let each: Vec<String> = values(language)
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(at, (_, value))| format!("{prefix}{at} = {value}"))
            .collect();
        each.join(", ")
    };
    let mut text = format!(
        "[[case]]\nmethod = \"echo\"\ninputs = {{ {} }}\nexpect = {{ {} }}\n",
        list("a", 0, FLAT),
        list("b", 0, FLAT)
    );
    if language != Language::C {
        text.push_str(&format!(
            "[[case]]\nmethod = \"nest\"\ninputs = {{ {} }}\nexpect = {{ {} }}\n",
            list("a", FLAT, VALUES.len()),
            list("b", FLAT, VALUES.len())
        ));
    }
    let call_id = Sha256::digest("tests/everything.toml\nthe world");
    let seed = keccak256([b"bletchley/cryptlet/random/1".as_slice(), &call_id, &[0; 8]].concat());
    text.push_str(&format!(
        r#"
        [[case]]
        name = "the world"
        method = "world"
        inputs = {{ path = "today?a=b" }}
        as_of = "2026-03-29T01:00:00Z"
        height = 77
        caller = "0x00000000000000000000000000000000000000aB"
        expect = {{ now = "1774746000000", height = "77", caller = "0x00000000000000000000000000000000000000ab", seed = "{seed}", price = "200 {BODY}" }}
        [[case.fetch]]
        source = "prices"
        path = "today?a=b"
        body = "{BODY}"
        [[case]]
        name = "a source that is gone"
        method = "world"
        inputs = {{ path = "today" }}
        error = {{ kind = "source-unavailable", words = "did not answer" }}
        [[case.fetch]]
        source = "prices"
        path = "today"
        error = "unavailable"
        "#
    ));
    for (how, kind, words) in [
        ("denied", "denied", "not you"),
        ("unavailable", "source-unavailable", "not now"),
        ("internal", "internal", "my fault"),
        ("wide", "internal", "small"),
    ] {
        text.push_str(&format!(
            "[[case]]\nname = \"{how}\"\nmethod = \"failAs\"\ninputs = {{ how = \"{how}\" }}\nerror = {{ kind = \"{kind}\", words = \"{words}\" }}\n"
        ));
    }
    text
}

fn extend(place: &Place, language: Language) {
    let source = language.source();
    match language {
        Language::JavaScript => {
            place.append(source, include_str!("sources/more.js"));
        }
        Language::TypeScript => place.append(source, include_str!("sources/more.ts")),
        Language::Python => place.append(source, include_str!("sources/more.py")),
        Language::C => {
            place.append(source, include_str!("sources/more.c"));
            place.append(source, &c_echo());
        }
        Language::Rust => {
            place.replace(source, "cryptlet::export!(Hello);", "");
            let more = include_str!("sources/more.rs").replace("// echo and nest", &rust_echo());
            place.replace(
                source,
                "impl Cryptlet for Hello {",
                &format!("impl Cryptlet for Hello {{\n{more}"),
            );
            place.append(source, "\nuse cryptlet::*;\ncryptlet::export!(Hello);\n");
        }
    }
}

fn c_echo() -> String {
    let assign = values(Language::C).map(|(at, (kind, _))| {
        if kind.contains("[3]") || kind.contains("[2]") {
            format!("    memcpy(&outputs.b{at}, &inputs.a{at}, sizeof outputs.b{at});\n")
        } else {
            format!("    outputs.b{at} = inputs.a{at};\n")
        }
    });
    format!(
        "\nstruct echo_outputs echo(struct echo_inputs inputs) {{\n    struct echo_outputs outputs = {{0}};\n{}    return outputs;\n}}\n",
        assign.collect::<String>()
    )
}

fn rust_echo() -> String {
    let kinds =
        |from: usize, to: usize| values(Language::Rust).filter(move |(at, _)| (from..to).contains(at));
    let of = |kind: &str| match kind {
        "bool" => "bool",
        "address" => "Address",
        "string" => "String",
        "bytes" => "Bytes",
        "bytes4" => "Fixed<4>",
        "uint8" => "u8",
        "uint24" => "u32",
        "uint256" => "U256",
        "int8" => "i8",
        "int40" => "i64",
        "int256" => "I256",
        "string[]" => "Vec<String>",
        "uint16[3]" => "[u16; 3]",
        "bytes32[]" => "Vec<Fixed<32>>",
        "string[2]" => "[String; 2]",
        "int72[]" => "Vec<i128>",
        "uint256[2][]" => "Vec<[U256; 2]>",
        "string[][]" => "Vec<Vec<String>>",
        "bool[3][2]" => "[[bool; 3]; 2]",
        "bytes[][2]" => "[Vec<Bytes>; 2]",
        other => panic!("{other}"),
    };
    let function = |name: &str, outputs: &str, from: usize, to: usize| {
        let inputs: Vec<String> =
            kinds(from, to).map(|(at, (kind, _))| format!("a{at}: {}", of(kind))).collect();
        let fields: Vec<String> = kinds(from, to).map(|(at, _)| format!("b{at}: a{at}")).collect();
        format!(
            "fn {name}(&self, {}) -> Result<{outputs}, CryptletError> {{ Ok({outputs} {{ {} }}) }}\n",
            inputs.join(", "),
            fields.join(", ")
        )
    };
    function("echo", "EchoOutputs", 0, FLAT) + &function("nest", "NestOutputs", FLAT, VALUES.len())
}
