//! Token identity: a one-way digest over the identifying properties of a thing, a person or an organisation, or a fresh
//! key for who wants to stay anonymous (whitepaper: Cryptographically Tokenized Assets).

use crate::TokenId;
use crate::codec::tagged_rlp;
use crate::ids::{COMPOSITE, IDENTITY, PROPERTIES};
use crate::limits::{PROPERTIES_MAX, PROPERTY_NAME_SIZE_BYTES_MAX, PROPERTY_VALUE_SIZE_BYTES_MAX};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{Argon2Params, DeriveError, derive_argon2id, merkle_root};
use bletchley_primitives::{Address, B256};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Name of the property that holds a thing's class.
pub const CLASS: &str = "class";
/// Name of the property that holds a thing's serial number.
pub const SERIAL: &str = "serial";

/// Why properties cannot identify anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No property, or too many.
    #[error("{0} properties; an identity has 1 to {PROPERTIES_MAX}")]
    Count(usize),
    /// A name or value is too long, or a name is empty or has control characters.
    #[error("property {0:?} is empty, longer than its bound, or has control characters in its name")]
    Size(String),
    /// The salt or the parameters of the memory-hard hash are out of bounds.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// The parameters of the memory-hard hash are weaker than the least that is accepted.
    #[error(
        "Argon2id with {memory_kib} KiB and {passes} passes is too weak for an identity; take at least Argon2Params::LEAST"
    )]
    Weak {
        /// Memory asked for.
        memory_kib: u32,
        /// Passes asked for.
        passes: u32,
    },
}

/// Identifying properties by name, in canonical order; never on the ledger.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Properties({:?})", self.0.keys().collect::<Vec<_>>())
    }
}

#[derive(RlpEncodable)]
struct Property<'a> {
    name: &'a str,
    value: &'a str,
}

impl Properties {
    /// Properties with these names and values.
    ///
    /// # Errors
    /// [`IdentityError`] when there are none, too many, or one is out of bounds.
    pub fn new<N: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, IdentityError> {
        let map: BTreeMap<String, String> =
            properties.into_iter().take(PROPERTIES_MAX + 1).map(|(n, v)| (n.into(), v.into())).collect();
        if map.is_empty() || map.len() > PROPERTIES_MAX {
            return Err(IdentityError::Count(map.len()));
        }
        let broken = map.iter().find(|(name, value)| {
            name.is_empty()
                || !is_plain(name)
                || name.len() > PROPERTY_NAME_SIZE_BYTES_MAX
                || value.len() > PROPERTY_VALUE_SIZE_BYTES_MAX
        });
        match broken {
            Some((name, _)) => Err(IdentityError::Size(name.chars().take(80).collect())),
            None => Ok(Self(map)),
        }
    }

    /// The two properties of a thing.
    ///
    /// # Errors
    /// [`IdentityError::Size`] when one is too long.
    pub fn of_thing(class: &str, serial: &str) -> Result<Self, IdentityError> {
        Self::new([(CLASS, class), (SERIAL, serial)])
    }

    /// Names, in canonical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Canonical bytes: the list of `[name, value]`, ascending by the names' bytes. They may hold what people know about
    /// themselves, so they leave memory when dropped.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let list: Vec<Property<'_>> = self.0.iter().map(|(name, value)| Property { name, value }).collect();
        Zeroizing::new(alloy_rlp::encode(&list))
    }

    /// Digest of the canonical bytes, for things.
    #[must_use]
    pub fn digest(&self) -> B256 {
        PROPERTIES.digest(&[&self.encode()])
    }
}

/// The memory-hard digest of properties with little entropy, with what is needed to compute it again.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct HardDigest {
    /// Salt of the hash.
    pub salt: B256,
    /// Cost of the hash.
    pub params: Argon2Params,
    /// Names of the properties, ascending, so that whoever checks knows what to ask for.
    pub names: Vec<String>,
    /// Argon2id of the canonical properties.
    pub digest: B256,
}

impl HardDigest {
    /// Hashes `properties` with `salt`.
    ///
    /// # Errors
    /// [`IdentityError`] when parameters are out of bounds or too weak.
    pub fn of(properties: &Properties, salt: B256, params: Argon2Params) -> Result<Self, IdentityError> {
        check_params(params)?;
        let digest = derive_argon2id(&properties.encode(), salt.as_slice(), params)?;
        Ok(Self { salt, params, names: properties.names().map(str::to_owned).collect(), digest })
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        check_params(self.params).is_ok()
            && (1..=PROPERTIES_MAX).contains(&self.names.len())
            && self
                .names
                .iter()
                .all(|name| (1..=PROPERTY_NAME_SIZE_BYTES_MAX).contains(&name.len()) && is_plain(name))
            && self.names.is_sorted_by(|a, b| a < b)
    }
}

impl Serialize for HardDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("HardDigest", 6)?;
        out.serialize_field("salt", &self.salt)?;
        out.serialize_field("memory_kib", &self.params.memory_kib)?;
        out.serialize_field("passes", &self.params.passes)?;
        out.serialize_field("lanes", &self.params.lanes)?;
        out.serialize_field("names", &self.names)?;
        out.serialize_field("digest", &self.digest)?;
        out.end()
    }
}

/// Bounds that whoever checks a record can afford, and floors below which guessing is cheap.
pub(crate) fn check_params(params: Argon2Params) -> Result<(), IdentityError> {
    let Argon2Params { memory_kib, passes, lanes } = params;
    if memory_kib < Argon2Params::LEAST.memory_kib || passes < Argon2Params::LEAST.passes {
        return Err(IdentityError::Weak { memory_kib, passes });
    }
    if memory_kib > Argon2Params::MEMORY_KIB_MAX
        || passes > Argon2Params::PASSES_MAX
        || !(1..=Argon2Params::LANES_MAX).contains(&lanes)
    {
        return Err(DeriveError::Parameters { memory_kib, passes, lanes }.into());
    }
    Ok(())
}

/// Text that a terminal shows as it is: no control characters.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// What a token stands for, as its public record tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Identity {
    /// A thing: the issuer is its manufacturer, the digest covers its class and serial number.
    Thing {
        /// [`Properties::digest`].
        properties: B256,
    },
    /// A person, by properties of little entropy.
    Person {
        /// Salted, memory-hard digest.
        hard: HardDigest,
    },
    /// An organisation, likewise.
    Organisation {
        /// Salted, memory-hard digest.
        hard: HardDigest,
    },
    /// Nobody who is named: the properties are a fresh key, that of the issuer.
    Anonymous {},
}

tagged_rlp!(Identity {
    1 => Thing { properties },
    2 => Person { hard },
    3 => Organisation { hard },
    4 => Anonymous {},
});

/// The public record of a token: with it and the properties, anyone can check the token anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct TokenRecord {
    /// Who signed its issue: the manufacturer of a thing, the fresh key of an anonymous token, whoever vouches for others.
    pub issuer: Address,
    /// What it stands for.
    pub identity: Identity,
}

impl TokenRecord {
    /// The record of a thing.
    ///
    /// # Errors
    /// [`IdentityError::Size`].
    pub fn thing(manufacturer: Address, class: &str, serial: &str) -> Result<Self, IdentityError> {
        let properties = Properties::of_thing(class, serial)?.digest();
        Ok(Self { issuer: manufacturer, identity: Identity::Thing { properties } })
    }

    /// The record of a person, vouched for by `issuer`; `salt` must be fresh and random.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn person(
        issuer: Address,
        properties: &Properties,
        salt: B256,
        params: Argon2Params,
    ) -> Result<Self, IdentityError> {
        Ok(Self { issuer, identity: Identity::Person { hard: HardDigest::of(properties, salt, params)? } })
    }

    /// The record of an organisation, vouched for by `issuer`; `salt` must be fresh and random.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn organisation(
        issuer: Address,
        properties: &Properties,
        salt: B256,
        params: Argon2Params,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            issuer,
            identity: Identity::Organisation { hard: HardDigest::of(properties, salt, params)? },
        })
    }

    /// The record of an anonymous token: `key` is the address of a fresh key.
    #[must_use]
    pub const fn anonymous(key: Address) -> Self {
        Self { issuer: key, identity: Identity::Anonymous {} }
    }

    /// The token's id. It commits to the issuer, so that nobody can take an id by copying a record.
    #[must_use]
    pub fn id(&self) -> TokenId {
        TokenId(IDENTITY.digest(&[self.issuer.as_slice(), &alloy_rlp::encode(&self.identity)]))
    }

    /// Names of the properties to ask for when checking this token.
    #[must_use]
    pub fn property_names(&self) -> Vec<String> {
        match &self.identity {
            Identity::Thing { .. } => vec![CLASS.to_owned(), SERIAL.to_owned()],
            Identity::Person { hard } | Identity::Organisation { hard } => hard.names.clone(),
            Identity::Anonymous {} => Vec::new(),
        }
    }

    /// Whether these are the properties that the token was made from. An anonymous token has none; whoever signs with
    /// its key proves it.
    ///
    /// # Errors
    /// [`IdentityError`] when the record's parameters are out of bounds.
    pub fn matches(&self, properties: &Properties) -> Result<bool, IdentityError> {
        match &self.identity {
            Identity::Thing { properties: digest } => Ok(properties.digest() == *digest),
            Identity::Person { hard } | Identity::Organisation { hard } => {
                check_params(hard.params)?;
                Ok(HardDigest::of(properties, hard.salt, hard.params)? == *hard)
            }
            Identity::Anonymous {} => Ok(false),
        }
    }
}

/// The record of a composite: a thing with parts. Its id commits to them by the root of a Merkle tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct CompositeRecord {
    /// Who assembled it and signed for it.
    pub issuer: Address,
    /// Digest of the whole's own class and serial number ([`Properties::digest`]).
    pub properties: B256,
    /// How often a composite of this issuer, class and serial was assembled before.
    pub revision: u32,
    /// Merkle root over the ids of the parts in ascending order (RFC 9162, keccak256).
    pub parts_root: B256,
}

impl CompositeRecord {
    /// The record of the whole that `issuer` assembles from `parts`, whatever their order.
    ///
    /// # Errors
    /// [`IdentityError::Size`].
    pub fn assemble(
        issuer: Address,
        class: &str,
        serial: &str,
        revision: u32,
        parts: &[TokenId],
    ) -> Result<Self, IdentityError> {
        let properties = Properties::of_thing(class, serial)?.digest();
        Ok(Self { issuer, properties, revision, parts_root: Self::root_of(parts) })
    }

    /// Root over the parts, in ascending order whatever the order given.
    #[must_use]
    pub fn root_of(parts: &[TokenId]) -> B256 {
        let mut leaves: Vec<B256> = parts.iter().map(|part| part.0).collect();
        leaves.sort_unstable();
        merkle_root(&leaves)
    }

    /// The composite's id.
    #[must_use]
    pub fn id(&self) -> TokenId {
        TokenId(COMPOSITE.digest(&[
            self.issuer.as_slice(),
            self.properties.as_slice(),
            &self.revision.to_be_bytes(),
            self.parts_root.as_slice(),
        ]))
    }

    /// What a thing of the same manufacturer, class and serial would be called: at most one stands at a time.
    #[must_use]
    pub fn thing(&self) -> TokenId {
        TokenRecord { issuer: self.issuer, identity: Identity::Thing { properties: self.properties } }.id()
    }

    /// Whether these are the whole's own class and serial number.
    #[must_use]
    pub fn matches(&self, properties: &Properties) -> bool {
        properties.digest() == self.properties
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_thing_is_its_manufacturer_class_and_serial() {
        let maker = Address::repeat_byte(1);
        let id = TokenRecord::thing(maker, "screw", "7").unwrap().id();
        assert_eq!(id, TokenRecord::thing(maker, "screw", "7").unwrap().id());
        assert_ne!(id, TokenRecord::thing(maker, "screw", "8").unwrap().id());
        assert_ne!(id, TokenRecord::thing(maker, "nail", "7").unwrap().id());
        assert_ne!(id, TokenRecord::thing(Address::repeat_byte(2), "screw", "7").unwrap().id());
        assert_ne!(
            Properties::of_thing("screw", "7").unwrap().digest(),
            Properties::of_thing("screw7", "").unwrap().digest()
        );
    }

    #[test]
    fn a_person_is_checked_by_the_same_properties_and_no_others() {
        let answers =
            |dob: &str| Properties::new([("username", "ada"), ("dob", dob), ("ssn", "078-05-1120")]).unwrap();
        let record = TokenRecord::person(
            Address::repeat_byte(1),
            &answers("1815-12-10"),
            B256::repeat_byte(9),
            Argon2Params::LEAST,
        )
        .unwrap();
        assert_eq!(record.property_names(), ["dob", "ssn", "username"]);
        assert!(record.matches(&answers("1815-12-10")).unwrap());
        assert!(!record.matches(&answers("1815-12-11")).unwrap());
        let partial = Properties::new([("username", "ada")]).unwrap();
        assert!(!record.matches(&partial).unwrap());
        let bytes = alloy_rlp::encode(&record);
        let read: TokenRecord = bletchley_primitives::decode_bounded(&bytes, 1024).unwrap();
        assert_eq!(read.id(), record.id());
        assert!(!format!("{:?}", answers("1815-12-10")).contains("1815"));
    }

    #[test]
    fn weak_and_absurd_parameters_are_refused() {
        let properties = Properties::new([("username", "ada")]).unwrap();
        let of = |params| HardDigest::of(&properties, B256::ZERO, params).unwrap_err();
        let least = Argon2Params::LEAST;
        assert!(matches!(of(Argon2Params { memory_kib: 64, ..least }), IdentityError::Weak { .. }));
        assert!(matches!(of(Argon2Params { memory_kib: u32::MAX, ..least }), IdentityError::Derive(_)));
        assert!(matches!(of(Argon2Params { lanes: 0, ..least }), IdentityError::Derive(_)));
        assert_eq!(Properties::new::<String, String>([]), Err(IdentityError::Count(0)));
        assert!(Properties::new([("", "x")]).is_err());
        assert!(Properties::new((0..40).map(|i| (i.to_string(), "x"))).is_err());
    }
}
