//! The manifest: what a cryptlet is, what it answers, and what it asks for. Policy may always give less.

use std::collections::BTreeSet;

use alloy_dyn_abi::DynSolType;
use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{DecodeError, decode_bounded};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    abi::{self, AbiError},
    fetch::check_url_prefix,
};

/// Longest manifest, as text and as canonical bytes.
pub const MANIFEST_SIZE_BYTES_MAX: usize = 64 * 1024;
/// Most methods.
pub const METHODS_MAX: usize = 64;
/// Most inputs, and most outputs, of a method.
pub const PARAMETERS_MAX: usize = 16;
/// Most sources.
pub const SOURCES_MAX: usize = 16;
/// Longest name of anything.
pub const NAME_SIZE_BYTES_MAX: usize = 64;
/// Longest description or publisher.
pub const TEXT_SIZE_BYTES_MAX: usize = 1024;

const MANIFEST: Domain = Domain("bletchley/cryptlet/manifest/1");

/// Digest of a manifest's canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestDigest(pub B256);

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Name in manifests.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl Encodable for $name {
            fn encode(&self, out: &mut dyn BufMut) {
                self.name().encode(out);
            }

            fn length(&self) -> usize {
                self.name().length()
            }
        }

        impl Decodable for $name {
            fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
                match String::decode(bytes)?.as_str() {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(alloy_rlp::Error::Custom(concat!("unknown ", stringify!($name)))),
                }
            }
        }
    };
}

named! {
    /// Permission profile: the WIT world that the component is built for.
    World {
        /// Context, clock, randomness and log.
        Utility = "utility",
        /// The same and recorded fetches.
        Oracle = "oracle",
    }
}

named! {
    /// How far the code is kept from the host.
    Isolation {
        /// A sandbox in the node's own process: for code that the operator vouches for.
        InProcess = "in-process",
        /// A confined process of its own.
        Process = "process",
    }
}

/// What a cryptlet is, what it answers, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lower-case name with hyphens, such as `fx-rates`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Who answers for it, in words; the signature over the package binds a key to it.
    pub publisher: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Source language, in lower case.
    pub language: String,
    /// Permission profile.
    pub world: World,
    /// How far the code must be kept from the host.
    #[serde(default = "default_isolation")]
    pub isolation: Isolation,
    /// Budgets of one call.
    pub limits: Limits,
    /// What it asks for beyond its world.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// What it answers.
    pub methods: Vec<Method>,
}

/// Budgets of one call; the caller and the host may give less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units of work: about one per wasm instruction, more per host call.
    pub fuel: u64,
    /// Linear memory of all core instances together.
    pub memory_bytes: u64,
    /// Wall clock, outside data included.
    pub timeout_ms: u64,
}

/// What a cryptlet asks for beyond its world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Sources of outside data, by name.
    #[serde(default)]
    pub fetch: Vec<FetchSource>,
}

/// A source of outside data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct FetchSource {
    /// Name that the code uses.
    pub name: String,
    /// Address that every path is put behind, ending in `/`.
    pub url_prefix: String,
}

/// A method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Name, a Solidity identifier.
    pub name: String,
    /// What it answers.
    #[serde(default)]
    pub description: String,
    /// What it takes.
    #[serde(default)]
    pub inputs: Vec<Parameter>,
    /// What it gives.
    #[serde(default)]
    pub outputs: Vec<Parameter>,
}

/// A named value of a Solidity ABI type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Name, a Solidity identifier.
    pub name: String,
    /// Canonical name of the type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MANIFEST_SIZE_BYTES_MAX`].
    #[error("the manifest is {size_bytes} bytes, more than the {MANIFEST_SIZE_BYTES_MAX} allowed")]
    TooLong {
        /// Its length.
        size_bytes: usize,
    },
    /// Not TOML, an unknown key, a missing one, or one of the wrong type.
    #[error("cryptlet.toml cannot be read: {0}")]
    Toml(String),
    /// Not canonical bytes.
    #[error("manifest bytes cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// A value that is not allowed.
    #[error("`{key}` {problem}")]
    Value {
        /// Where.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A parameter's type.
    #[error("`{key}`: {source}")]
    Type {
        /// Where.
        key: String,
        /// What is wrong.
        source: AbiError,
    },
}

/// Why values could not be encoded or decoded for a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such method.
    #[error("`{package}` has no method `{method}`; it has: {methods}")]
    UnknownMethod {
        /// Name of the package.
        package: String,
        /// Name that was asked for.
        method: String,
        /// Names that there are.
        methods: String,
    },
    /// The values do not fit.
    #[error("`{method}`: {source}")]
    Values {
        /// Name of the method.
        method: String,
        /// What is wrong.
        source: AbiError,
    },
}

const fn default_isolation() -> Isolation {
    Isolation::InProcess
}

impl Default for Isolation {
    /// The least: what nobody asked for more than.
    fn default() -> Self {
        default_isolation()
    }
}

impl Manifest {
    /// Reads `cryptlet.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] naming the key.
    pub fn from_toml(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_SIZE_BYTES_MAX {
            return Err(ManifestError::TooLong { size_bytes: text.len() });
        }
        let manifest: Self = toml::from_str(text).map_err(|error| ManifestError::Toml(error.to_string()))?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Canonical bytes: the RLP of the fields in the order of specs/cryptlet.md (Manifest).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = decode_bounded(bytes, MANIFEST_SIZE_BYTES_MAX)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Digest of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> ManifestDigest {
        ManifestDigest(MANIFEST.digest(&[&self.encode()]))
    }

    /// The method of this name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// ABI-encodes the inputs of a method, given as a JSON array in order or an object by name.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn encode_call(&self, method: &str, values: &Value) -> Result<Vec<u8>, CallError> {
        self.with_types(method, |method| &method.inputs, |types| abi::encode(types, values))
    }

    /// Decodes the inputs of a method to a JSON object.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn decode_input(&self, method: &str, bytes: &[u8]) -> Result<Value, CallError> {
        self.with_types(method, |method| &method.inputs, |types| abi::decode(types, bytes))
    }

    /// Decodes the outputs of a method to a JSON object.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn decode_output(&self, method: &str, bytes: &[u8]) -> Result<Value, CallError> {
        self.with_types(method, |method| &method.outputs, |types| abi::decode(types, bytes))
    }

    fn with_types<T>(
        &self,
        name: &str,
        side: impl Fn(&Method) -> &Vec<Parameter>,
        act: impl FnOnce(&[(&str, DynSolType)]) -> Result<T, AbiError>,
    ) -> Result<T, CallError> {
        let method = self.method(name).ok_or_else(|| CallError::UnknownMethod {
            package: self.name.clone(),
            method: name.chars().take(NAME_SIZE_BYTES_MAX).collect(),
            methods: self.methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        side(method)
            .iter()
            .map(|parameter| Ok((parameter.name.as_str(), abi::parse_type(&parameter.kind)?)))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|types| act(&types))
            .map_err(|source| CallError::Values { method: name.to_owned(), source })
    }

    fn validate(&self) -> Result<(), ManifestError> {
        check_slug("name", &self.name)?;
        check_slug("language", &self.language)?;
        let version = semver::Version::parse(&self.version);
        if self.version.len() > NAME_SIZE_BYTES_MAX || version.is_err() {
            return Err(wrong("version", "must be a semantic version such as 1.0.0"));
        }
        check_text("publisher", &self.publisher)?;
        if self.publisher.trim().is_empty() {
            return Err(wrong("publisher", "must say who answers for the cryptlet"));
        }
        check_text("description", &self.description)?;
        for (key, value) in [
            ("limits.fuel", self.limits.fuel),
            ("limits.memory_bytes", self.limits.memory_bytes),
            ("limits.timeout_ms", self.limits.timeout_ms),
        ] {
            if value == 0 {
                return Err(wrong(key, "must be more than 0"));
            }
        }
        self.validate_sources()?;
        self.validate_methods()
    }

    fn validate_sources(&self) -> Result<(), ManifestError> {
        let sources = &self.capabilities.fetch;
        if sources.len() > SOURCES_MAX {
            return Err(wrong("capabilities.fetch", format!("may hold at most {SOURCES_MAX} sources")));
        }
        if self.world == World::Utility && !sources.is_empty() {
            return Err(wrong("capabilities.fetch", "needs world = \"oracle\""));
        }
        let mut names = BTreeSet::new();
        for source in sources {
            let key = format!(
                "capabilities.fetch.{}",
                source.name.chars().take(NAME_SIZE_BYTES_MAX).collect::<String>()
            );
            check_slug(&key, &source.name)?;
            check_url_prefix(&source.url_prefix).map_err(|error| wrong(&key, error.to_string()))?;
            if !names.insert(&source.name) {
                return Err(wrong(&key, "is there twice"));
            }
        }
        Ok(())
    }

    fn validate_methods(&self) -> Result<(), ManifestError> {
        if self.methods.is_empty() || self.methods.len() > METHODS_MAX {
            return Err(wrong("methods", format!("must hold 1 to {METHODS_MAX} methods")));
        }
        let mut names = BTreeSet::new();
        for method in &self.methods {
            let key =
                format!("methods.{}", method.name.chars().take(NAME_SIZE_BYTES_MAX).collect::<String>());
            check_identifier(&key, &method.name)?;
            check_text(&key, &method.description)?;
            if !names.insert(&method.name) {
                return Err(wrong(&key, "is there twice"));
            }
            for (side, parameters) in [("inputs", &method.inputs), ("outputs", &method.outputs)] {
                if parameters.len() > PARAMETERS_MAX {
                    return Err(wrong(
                        &format!("{key}.{side}"),
                        format!("may hold at most {PARAMETERS_MAX}"),
                    ));
                }
            }
            let mut names = BTreeSet::new();
            for parameter in method.inputs.iter().chain(&method.outputs) {
                let name: String = parameter.name.chars().take(NAME_SIZE_BYTES_MAX).collect();
                let key = format!("{key}.{name}");
                check_identifier(&key, &parameter.name)?;
                if !names.insert(&parameter.name) {
                    return Err(wrong(&key, "is there twice; inputs and outputs need different names"));
                }
                abi::parse_type(&parameter.kind)
                    .map_err(|source| ManifestError::Type { key: key.clone(), source })?;
            }
        }
        Ok(())
    }
}

/// Whether a cryptlet may have this name.
///
/// # Errors
/// [`ManifestError::Value`].
pub fn check_name(name: &str) -> Result<(), ManifestError> {
    check_slug("name", name)
}

fn wrong(key: &str, problem: impl Into<String>) -> ManifestError {
    ManifestError::Value { key: key.to_owned(), problem: problem.into() }
}

fn check_slug(key: &str, value: &str) -> Result<(), ManifestError> {
    let fine = value.len() <= NAME_SIZE_BYTES_MAX
        && value.starts_with(|first: char| first.is_ascii_lowercase())
        && !value.ends_with('-')
        && !value.contains("--")
        && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fine {
        Ok(())
    } else {
        Err(wrong(key, "must be lower-case letters, digits and single hyphens, starting with a letter"))
    }
}

fn check_identifier(key: &str, value: &str) -> Result<(), ManifestError> {
    let fine = value.len() <= NAME_SIZE_BYTES_MAX
        && value.starts_with(|first: char| first.is_ascii_alphabetic())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fine { Ok(()) } else { Err(wrong(key, "must be ASCII letters and digits, starting with a letter")) }
}

/// Text goes into generated Solidity comments and onto terminals: no control characters.
fn check_text(key: &str, value: &str) -> Result<(), ManifestError> {
    if value.len() > TEXT_SIZE_BYTES_MAX {
        return Err(wrong(key, format!("may be at most {TEXT_SIZE_BYTES_MAX} bytes long")));
    }
    let plain = |character: char| {
        !character.is_control()
            && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if value.chars().all(plain) {
        Ok(())
    } else {
        Err(wrong(key, "must be one line without control characters"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const GOOD: &str = r#"
        name = "fx-rates"
        version = "1.2.0"
        publisher = "Bletchley"
        language = "javascript"
        world = "oracle"
        [limits]
        fuel = 1000
        memory_bytes = 65536
        timeout_ms = 10
        [[capabilities.fetch]]
        name = "ecb"
        url_prefix = "https://data-api.ecb.europa.eu/service/data/"
        [[methods]]
        name = "rate"
        inputs = [{ name = "base", type = "string" }, { name = "date", type = "uint32" }]
        outputs = [{ name = "rateE8", type = "uint256" }]
    "#;

    #[test]
    fn text_and_bytes_say_the_same() {
        let manifest = Manifest::from_toml(GOOD).unwrap();
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        assert_eq!(
            manifest.digest().0.to_string(),
            "0x803bd4e7c2be0f856da2a510d911f06da51784740f8e581d874c64ae98b1533e",
            "a changed digest is a new version of specs/cryptlet.md"
        );
        let mut other = manifest.clone();
        other.limits.fuel += 1;
        assert_ne!(other.digest(), manifest.digest());
    }

    #[test]
    fn each_wrong_value_is_refused_by_its_key() {
        for (from, to, key) in [
            ("name = \"fx-rates\"", "name = \"FX\"", "name"),
            ("name = \"fx-rates\"", "name = \"fx--rates\"", "name"),
            ("1.2.0", "1.2", "version"),
            ("\"Bletchley\"", "\" \"", "publisher"),
            ("\"Bletchley\"", "\"a\\nb\"", "publisher"),
            ("\"oracle\"", "\"utility\"", "capabilities.fetch"),
            ("\"oracle\"", "\"everything\"", "world"),
            ("fuel = 1000", "fuel = 0", "limits.fuel"),
            ("fuel = 1000", "fuel = -1", "fuel"),
            ("timeout_ms = 10", "", "timeout_ms"),
            ("timeout_ms = 10", "timeout_ms = 10\nwages = 1", "wages"),
            ("name = \"rate\"", "name = \"rate()\"", "methods"),
            ("uint256", "uint", "rateE8"),
            ("\"date\"", "\"base\"", "base"),
            ("https://data-api.ecb.europa.eu/service/data/", "http://ecb/", "ecb"),
            ("https://data-api.ecb.europa.eu/service/data/", "file:///etc/", "ecb"),
        ] {
            let error = Manifest::from_toml(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(key), "{from} -> {to}: {error}");
        }
        assert!(matches!(
            Manifest::from_toml(&" ".repeat(MANIFEST_SIZE_BYTES_MAX + 1)),
            Err(ManifestError::TooLong { .. })
        ));
    }

    #[test]
    fn calls_are_named_and_typed() {
        let manifest = Manifest::from_toml(GOOD).unwrap();
        let bytes = manifest.encode_call("rate", &json!({ "base": "USD", "date": 20_240_105 })).unwrap();
        assert_eq!(
            manifest.decode_input("rate", &bytes).unwrap(),
            json!({ "base": "USD", "date": 20_240_105 })
        );
        let error = manifest.encode_call("rates", &json!([])).unwrap_err().to_string();
        assert!(error.contains("rate"), "{error}");
        assert!(manifest.encode_call("rate", &json!(["USD"])).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_are_canonical(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.encode(), bytes);
            }
        }

        #[test]
        fn one_flipped_bit_is_another_manifest(at in 0..400usize, bit in 0..8u32) {
            let manifest = Manifest::from_toml(GOOD).unwrap();
            let mut bytes = manifest.encode();
            let at = at % bytes.len();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            if let Ok(other) = Manifest::decode(&bytes) {
                prop_assert_ne!(other.digest(), manifest.digest());
            }
        }
    }
}
