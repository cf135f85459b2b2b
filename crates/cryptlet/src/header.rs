//! The generated header: the Solidity library and the JSON ABI through which contracts see a package.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    manifest::{Manifest, Method, Parameter},
    package::{Package, PackageId},
};

/// Words that Solidity, or the library itself, takes: a parameter of such a name gets an underscore.
const RESERVED: &[&str] = &[
    "abstract",
    "address",
    "after",
    "alias",
    "anonymous",
    "apply",
    "as",
    "assembly",
    "auto",
    "bool",
    "break",
    "byte",
    "bytes",
    "calldata",
    "case",
    "catch",
    "constant",
    "constructor",
    "continue",
    "contract",
    "copyof",
    "days",
    "default",
    "define",
    "delete",
    "do",
    "else",
    "emit",
    "enum",
    "error",
    "ether",
    "event",
    "external",
    "fallback",
    "false",
    "final",
    "fixed",
    "for",
    "from",
    "function",
    "global",
    "gwei",
    "hours",
    "if",
    "immutable",
    "implements",
    "import",
    "in",
    "indexed",
    "inline",
    "interface",
    "internal",
    "is",
    "layout",
    "let",
    "library",
    "macro",
    "mapping",
    "match",
    "memory",
    "minutes",
    "modifier",
    "mutable",
    "new",
    "null",
    "of",
    "override",
    "partial",
    "payable",
    "pragma",
    "private",
    "promise",
    "public",
    "pure",
    "receive",
    "reference",
    "relocatable",
    "return",
    "returns",
    "revert",
    "sealed",
    "seconds",
    "sizeof",
    "static",
    "storage",
    "string",
    "struct",
    "super",
    "supports",
    "switch",
    "this",
    "throw",
    "transient",
    "true",
    "try",
    "type",
    "typedef",
    "typeof",
    "ufixed",
    "unchecked",
    "uint",
    "unicode",
    "packageId",
    "using",
    "var",
    "view",
    "virtual",
    "weeks",
    "wei",
    "while",
    "years",
];

/// The Solidity source of a package's library, to stand in a folder beside `CryptoDelegate.sol`. Each method is there
/// twice: for the version that is active when the transaction runs, and for one exact package.
#[must_use]
pub fn solidity(package: &Package) -> String {
    solidity_of(package.manifest(), package.id())
}

/// The same from what the registry has: the manifest and the package's id.
#[must_use]
pub fn solidity_of(manifest: &Manifest, id: PackageId) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "// SPDX-License-Identifier: MIT OR Apache-2.0");
    let _ = writeln!(
        text,
        "// Generated from the manifest of {} {} by {}. Do not edit: publish a new version instead.",
        manifest.name, manifest.version, manifest.publisher
    );
    let _ = writeln!(
        text,
        "pragma solidity ^0.8.24;\n\nimport {{CryptoDelegate}} from \"../CryptoDelegate.sol\";\n"
    );
    let _ = writeln!(text, "/// @title The cryptlet `{}`.", manifest.name);
    if !manifest.description.is_empty() {
        let _ = writeln!(text, "/// @notice {}", prose(&manifest.description));
    }
    let _ = writeln!(text, "library {} {{", library_name(&manifest.name));
    let _ = writeln!(text, "    /// @notice keccak256(\"{0}\"): the active version.", manifest.name);
    let _ = writeln!(text, "    bytes32 internal constant ID = keccak256(\"{}\");\n", manifest.name);
    let _ = writeln!(
        text,
        "    /// @notice The package that this file was generated from: version {}.",
        manifest.version
    );
    let _ = writeln!(text, "    bytes32 internal constant PACKAGE = {id};");
    for method in &manifest.methods {
        write_method(&mut text, method);
    }
    text.push_str("}\n");
    text
}

fn write_method(text: &mut String, method: &Method) {
    let name = identifier(&method.name);
    let returns = match declarations(&method.outputs) {
        outputs if outputs.is_empty() => String::new(),
        outputs => format!(" returns ({outputs})"),
    };
    let names: Vec<String> = method.inputs.iter().map(|input| identifier(&input.name)).collect();
    let keyword = if method.outputs.is_empty() { "" } else { "return " };
    text.push('\n');
    if !method.description.is_empty() {
        let _ = writeln!(text, "    /// @notice {}", prose(&method.description));
    }
    let _ = writeln!(text, "    function {name}({}) internal view{returns} {{", declarations(&method.inputs));
    let passed: Vec<&str> = std::iter::once("ID").chain(names.iter().map(String::as_str)).collect();
    let _ = writeln!(text, "        {keyword}{name}({});\n    }}\n", passed.join(", "));
    let _ = writeln!(text, "    /// @notice As above, from one exact package.");
    let inputs = declarations(&method.inputs);
    let comma = if inputs.is_empty() { "" } else { ", " };
    let _ = writeln!(text, "    function {name}(bytes32 packageId{comma}{inputs}) internal view{returns} {{");
    let call = format!(
        "CryptoDelegate.callPinned(packageId, \"{}\", abi.encode({}))",
        method.name,
        names.join(", ")
    );
    let kinds: Vec<&str> = method.outputs.iter().map(|output| output.kind.as_str()).collect();
    if kinds.is_empty() {
        let _ = writeln!(text, "        {call};\n    }}");
    } else {
        let _ = writeln!(text, "        return abi.decode({call}, ({}));\n    }}", kinds.join(", "));
    }
}

/// A manifest's words inside a NatSpec comment: an `@` there would begin a tag.
fn prose(words: &str) -> String {
    words.replace('@', "(at)")
}

fn declarations(parameters: &[Parameter]) -> String {
    let each = parameters.iter().map(|parameter| {
        let memory = matches!(parameter.kind.as_str(), "string" | "bytes") || parameter.kind.ends_with(']');
        let location = if memory { " memory" } else { "" };
        format!("{}{location} {}", parameter.kind, identifier(&parameter.name))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn identifier(name: &str) -> String {
    let number = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x'))
    };
    if RESERVED.contains(&name)
        || number("uint")
        || number("int")
        || number("bytes")
        || number("fixed")
        || number("ufixed")
    {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

/// Name of a package's Solidity library: `fx-rates` gives `FxRates`.
#[must_use]
pub fn library_name(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
        .collect()
}

/// The package's methods as a JSON ABI.
#[must_use]
pub fn json_abi(package: &Package) -> Value {
    json_abi_of(package.manifest())
}

/// A manifest's methods as a JSON ABI.
#[must_use]
pub fn json_abi_of(manifest: &Manifest) -> Value {
    let parameters = |parameters: &[Parameter]| -> Vec<Value> {
        parameters.iter().map(|parameter| json!({ "name": parameter.name, "type": parameter.kind })).collect()
    };
    manifest
        .methods
        .iter()
        .map(|method| {
            json!({
                "type": "function",
                "name": method.name,
                "inputs": parameters(&method.inputs),
                "outputs": parameters(&method.outputs),
                "stateMutability": "view",
            })
        })
        .collect()
}

/// Where a package's library is put, beside `CryptoDelegate.sol`.
#[must_use]
pub fn file_name(package: &Package) -> String {
    format!("{}.sol", library_name(&package.manifest().name))
}

/// The id that a generated library calls, read back from its source: what a reviewer compares.
#[must_use]
pub fn package_in(source: &str) -> Option<PackageId> {
    let (_, rest) = source.split_once("bytes32 internal constant PACKAGE = ")?;
    rest.split(';').next()?.parse().ok().map(PackageId)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_library_reads_as_solidity() {
        let manifest = Manifest::from_toml(
            r#"
            name = "fx-rates"
            version = "1.0.0"
            publisher = "Bletchley"
            language = "javascript"
            world = "utility"
            [limits]
            fuel = 1
            memory_bytes = 1
            timeout_ms = 1
            [[methods]]
            name = "rate"
            description = "One rate. Ask @us."
            inputs = [{ name = "base", type = "string" }, { name = "days", type = "uint32[]" }]
            outputs = [{ name = "rateE8", type = "uint256" }, { name = "fixingDate", type = "uint32" }]
            [[methods]]
            name = "touch"
            "#,
        )
        .unwrap();
        let package = Package::new(manifest, vec![0].into()).unwrap();
        let text = solidity(&package);
        for part in [
            "library FxRates {",
            "    /// @notice One rate. Ask (at)us.\n",
            "    function rate(string memory base, uint32[] memory days_) internal view returns (uint256 rateE8, uint32 fixingDate) {\n        \
             return rate(ID, base, days_);\n",
            "    function rate(bytes32 packageId, string memory base, uint32[] memory days_) internal view returns (uint256 rateE8, uint32 fixingDate) {\n        \
             return abi.decode(CryptoDelegate.callPinned(packageId, \"rate\", abi.encode(base, days_)), (uint256, uint32));\n",
            "    function touch() internal view {\n        touch(ID);\n",
            "    function touch(bytes32 packageId) internal view {\n        CryptoDelegate.callPinned(packageId, \"touch\", abi.encode());\n",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
        assert_eq!(package_in(&text), Some(package.id()));
        assert_eq!(json_abi(&package)[0]["outputs"][1]["type"], "uint32");
        assert_eq!(file_name(&package), "FxRates.sol");
    }
}
