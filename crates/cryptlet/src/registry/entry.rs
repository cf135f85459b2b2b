//! What the registry keeps: releases of cryptlets, changes of their status, hosts and policies. Each is signed by
//! whoever it binds, over the registry ledger's id, so that it is worth the same whoever carries it to the ledger,
//! and nothing on any other ledger.

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_attest::{AppraisalPolicy, AppraisalPolicyError, ResultError, SignedResult};
use bletchley_crypto::{Domain, RecoverError, recover};
use bletchley_primitives::{DecodeError, LedgerId, Signature, TimestampMs, decode_bounded, keccak256};

use crate::{
    header,
    keys::{KeyStoreError, Signer},
    manifest::{Manifest, ManifestError},
    package::{Package, PackageId, package_id},
    policy::{Policy, PolicyError},
};

/// Longest payload: what one entry of the token ledger holds.
pub const PAYLOAD_SIZE_BYTES_MAX: usize = 64 << 10;
/// Longest manifest that fits a release beside its other fields.
pub const RELEASED_MANIFEST_SIZE_BYTES_MAX: usize = 60 << 10;
/// Longest member name, evidence kind, claim name or claim value.
pub const TEXT_SIZE_BYTES_MAX: usize = 128;
/// Most claims of a host.
pub const CLAIMS_MAX: usize = 32;
/// Most signatures of an entry.
pub const SIGNATURES_MAX: usize = 2;
/// Evidence of a host that proves nothing about its hardware.
pub const EVIDENCE_SOFTWARE: &str = "software";

const ENTRY: Domain = Domain("bletchley/cryptlet/registry-entry/1");

/// Where a package stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReleaseStatus {
    /// Answers calls.
    Active = 0,
    /// Answers calls by package id, and by name while the name has no active release.
    Deprecated = 1,
    /// Answers nothing any more, for good.
    Revoked = 2,
}

impl ReleaseStatus {
    /// Name as tools show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Revoked => "revoked",
        }
    }
}

impl Encodable for ReleaseStatus {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        (*self as u8).encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl Decodable for ReleaseStatus {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match u8::decode(buf)? {
            0 => Ok(Self::Active),
            1 => Ok(Self::Deprecated),
            2 => Ok(Self::Revoked),
            _ => Err(alloy_rlp::Error::Custom("unknown release status")),
        }
    }
}

/// A package that a publisher answers for. Signed by the publisher.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Release {
    /// Name of the cryptlet, as the manifest has it.
    pub name: String,
    /// Id of the package.
    pub package: B256,
    /// Canonical manifest.
    pub manifest: Bytes,
    /// Digest of the manifest.
    pub manifest_digest: B256,
    /// SHA-256 of the component: its id in the content store.
    pub code_sha256: B256,
    /// Length of the component.
    pub code_size_bytes: u64,
    /// keccak256 of the generated Solidity library.
    pub interface_digest: B256,
    /// Who answers for the package.
    pub publisher: Address,
    /// Address of the cryptlet's own key.
    pub key: Address,
}

impl Release {
    /// The release of a package, by this publisher, with this key for the cryptlet.
    #[must_use]
    pub fn of(package: &Package, publisher: Address, key: Address) -> Self {
        let manifest = package.manifest();
        Self {
            name: manifest.name.clone(),
            package: package.id().0,
            manifest: manifest.encode().into(),
            manifest_digest: manifest.digest().0,
            code_sha256: package.code_sha256(),
            code_size_bytes: package.code().len() as u64,
            interface_digest: keccak256(header::solidity(package)),
            publisher,
            key,
        }
    }

    /// The manifest, when every digest and name of the release agrees with it.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn checked_manifest(&self) -> Result<Manifest, EntryError> {
        if self.manifest.len() > RELEASED_MANIFEST_SIZE_BYTES_MAX {
            return Err(EntryError::ManifestTooLong(self.manifest.len()));
        }
        let manifest = Manifest::decode(&self.manifest)?;
        let named = |what, found: String, expected: String| {
            if found == expected { Ok(()) } else { Err(EntryError::Differs { what, found, expected }) }
        };
        named("name", self.name.clone(), manifest.name.clone())?;
        named("manifest digest", self.manifest_digest.to_string(), manifest.digest().0.to_string())?;
        let PackageId(package) = package_id(&manifest, self.code_sha256);
        named("package id", self.package.to_string(), package.to_string())?;
        Ok(manifest)
    }
}

/// A change of a package's status. Signed by its publisher or by an administrator.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StatusChange {
    /// Which package.
    pub package: B256,
    /// How many changes of this package came before, so that none can be repeated.
    pub sequence: u64,
    /// Where it stands from now on.
    pub status: ReleaseStatus,
    /// Why, in words.
    pub reason: String,
}

/// Something that a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Claim {
    /// What is claimed.
    pub name: String,
    /// What the claim says.
    pub value: String,
}

/// A host that may answer calls if the policy names it. Signed by the host, then by an administrator.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct HostEntry {
    /// Address of the host's key.
    pub host: Address,
    /// How many entries of this host came before, so that none can be repeated.
    pub sequence: u64,
    /// Member that runs it.
    pub member: String,
    /// Kind of evidence about it: [`EVIDENCE_SOFTWARE`] where there is none.
    pub evidence: String,
    /// Digest of its execution profile.
    pub profile: B256,
    /// What it says about itself.
    pub claims: Vec<Claim>,
}

impl HostEntry {
    fn check(&self) -> Result<(), EntryError> {
        check_text("member", &self.member)?;
        check_text("evidence", &self.evidence)?;
        if self.claims.len() > CLAIMS_MAX {
            return Err(EntryError::Text { what: "claims", problem: format!("more than {CLAIMS_MAX}") });
        }
        self.claims.iter().try_for_each(|claim| {
            check_text("claim", &claim.name)?;
            check_text("claim", &claim.value)
        })
    }
}

/// A key that a cryptlet has on one host beside the key that its release names: where a package runs on several hosts,
/// each copy has a key of its own, which never leaves its host. Signed by the host.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Instance {
    /// Which package.
    pub package: B256,
    /// Which host.
    pub host: Address,
    /// How many keys of this package on this host came before, so that none can be repeated.
    pub sequence: u64,
    /// Address of the key.
    pub key: Address,
}

/// What a verifier made of a host's evidence. Signed by the host; the result inside is signed by the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// How many results of this host came before, so that none can be repeated.
    pub sequence: u64,
    /// The result. The statement that it names stands in content stores, and whoever has it can appraise it again.
    pub signed: SignedResult,
}

#[derive(RlpEncodable, RlpDecodable)]
struct EncodedAttestation {
    sequence: u64,
    signed: Bytes,
}

impl Attestation {
    fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(EncodedAttestation { sequence: self.sequence, signed: self.signed.encode().into() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let EncodedAttestation { sequence, signed } = decode_bounded(bytes, PAYLOAD_SIZE_BYTES_MAX)?;
        Ok(Self { sequence, signed: SignedResult::decode(&signed)? })
    }
}

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A package.
    Release(Release),
    /// A change of a package's status.
    Status(StatusChange),
    /// A host.
    Host(HostEntry),
    /// A policy. Signed by an administrator.
    Policy(Policy),
    /// A cryptlet's key on one host.
    Instance(Instance),
    /// What is asked of hosts' evidence. Signed by an administrator.
    Appraisal(AppraisalPolicy),
    /// That a host's evidence was accepted.
    Attestation(Attestation),
}

/// Why an entry is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not the bytes of an entry.
    #[error("registry entry cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// The manifest is no manifest.
    #[error("registered manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The manifest is too long to be registered.
    #[error("a manifest of {0} bytes cannot be registered, {RELEASED_MANIFEST_SIZE_BYTES_MAX} are the most")]
    ManifestTooLong(usize),
    /// A digest or name does not fit the rest.
    #[error("the {what} is {found}, but the package gives {expected}; register the package as it was built")]
    Differs {
        /// Which field.
        what: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A text is missing, too long, or not one line.
    #[error("{what}: {problem}")]
    Text {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// There are too few or too many signatures.
    #[error("{kind} needs {expected} signatures, this one has {found}")]
    SignatureCount {
        /// Kind of entry.
        kind: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A signature is malformed.
    #[error("signature of the {who}: {source}")]
    Malformed {
        /// Who should have signed.
        who: &'static str,
        /// What is wrong.
        source: RecoverError,
    },
    /// Signed by somebody else.
    #[error(
        "the {who} signed as {found}, expected {expected}; sign for this registry ledger with the right key"
    )]
    Signer {
        /// Who should have signed.
        who: &'static str,
        /// Who signed.
        found: Address,
        /// Address, or list of addresses, that may sign.
        expected: String,
    },
    /// The publisher is not on the policy's list.
    #[error("publisher {0} is not among those that the policy lets publish; ask an administrator")]
    PublisherNotAllowed(Address),
    /// There is no policy yet.
    #[error("the registry has no policy yet; an administrator registers one first")]
    NoPolicy,
    /// The name belongs to another publisher.
    #[error("`{name}` belongs to publisher {publisher}; choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        publisher: Address,
    },
    /// The version does not increase.
    #[error("`{name}` {version} is not above the registered {newest}; raise `version` in cryptlet.toml")]
    VersionNotNewer {
        /// The name.
        name: String,
        /// The version offered.
        version: String,
        /// The newest registered.
        newest: String,
    },
    /// No such package.
    #[error("package {0} is not registered")]
    UnknownPackage(B256),
    /// No such host.
    #[error("host {0} is not registered; an administrator admits it first")]
    UnknownHost(Address),
    /// The package is revoked for good.
    #[error("package {0} is revoked, which is final; publish a new version")]
    Revoked(B256),
    /// Out of order: an entry that was there before, or one that came too early.
    #[error("{kind} has sequence {found}, the next is {expected}; read the registry again and sign anew")]
    Sequence {
        /// Kind of entry.
        kind: &'static str,
        /// What it says.
        found: u64,
        /// What it should say.
        expected: u64,
    },
    /// The policy contradicts itself.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The appraisal policy contradicts itself.
    #[error(transparent)]
    Appraisal(#[from] AppraisalPolicyError),
    /// The attestation result is worth nothing here.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// There is no appraisal policy yet.
    #[error("the registry has no appraisal policy yet; an administrator registers one first")]
    NoAppraisal,
    /// Older than the one that is registered.
    #[error("the attestation result is of {found} ms, one of {newest} ms is registered; attest again")]
    OlderResult {
        /// When the one that is registered was made.
        newest: TimestampMs,
        /// When this one was made.
        found: TimestampMs,
    },
}

#[derive(RlpEncodable, RlpDecodable)]
struct Payload {
    kind: u8,
    body: Bytes,
    signatures: Vec<Signature>,
}

impl Entry {
    /// Kind, as names, namespaces and errors have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Release(_) => "release",
            Self::Status(_) => "status",
            Self::Host(_) => "host",
            Self::Policy(_) => "policy",
            Self::Instance(_) => "instance",
            Self::Appraisal(_) => "appraisal",
            Self::Attestation(_) => "attestation",
        }
    }

    const fn number(&self) -> u8 {
        match self {
            Self::Release(_) => 1,
            Self::Status(_) => 2,
            Self::Host(_) => 3,
            Self::Policy(_) => 4,
            Self::Instance(_) => 5,
            Self::Appraisal(_) => 6,
            Self::Attestation(_) => 7,
        }
    }

    fn body(&self) -> Bytes {
        match self {
            Self::Release(release) => alloy_rlp::encode(release),
            Self::Status(change) => alloy_rlp::encode(change),
            Self::Host(host) => alloy_rlp::encode(host),
            Self::Policy(policy) => alloy_rlp::encode(policy),
            Self::Instance(instance) => alloy_rlp::encode(instance),
            Self::Appraisal(policy) => policy.encode(),
            Self::Attestation(attestation) => attestation.encode(),
        }
        .into()
    }

    /// What is signed: the entry, for this registry ledger.
    #[must_use]
    pub fn signing_digest(&self, registry: LedgerId) -> B256 {
        ENTRY.digest(&[registry.0.as_slice(), &[self.number()], &self.body()])
    }

    /// The entry with the signatures of these keys, in order.
    ///
    /// # Errors
    /// [`KeyStoreError`] of the first key that does not sign.
    pub fn sign(self, registry: LedgerId, keys: &[&dyn Signer]) -> Result<SignedEntry, KeyStoreError> {
        let digest = self.signing_digest(registry);
        let signatures = keys.iter().map(|key| key.sign(digest)).collect::<Result<_, _>>()?;
        Ok(SignedEntry { entry: self, signatures })
    }
}

/// An entry with its signatures: the payload of an entry token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEntry {
    /// What is registered.
    pub entry: Entry,
    /// Release and status: the publisher's (or an administrator's). Host: the host's, then an administrator's.
    /// Policy and appraisal: an administrator's. Instance and attestation: the host's.
    pub signatures: Vec<Signature>,
}

impl SignedEntry {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let payload = Payload {
            kind: self.entry.number(),
            body: self.entry.body(),
            signatures: self.signatures.clone(),
        };
        alloy_rlp::encode(payload).into()
    }

    /// Reads canonical bytes and checks everything that needs no other entry and no signer.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let payload: Payload = decode_bounded(bytes, PAYLOAD_SIZE_BYTES_MAX)?;
        let (body, most) = (&payload.body, PAYLOAD_SIZE_BYTES_MAX);
        let entry = match payload.kind {
            1 => Entry::Release(decode_bounded(body, most)?),
            2 => Entry::Status(decode_bounded(body, most)?),
            3 => Entry::Host(decode_bounded(body, most)?),
            4 => Entry::Policy(decode_bounded(body, most)?),
            5 => Entry::Instance(decode_bounded(body, most)?),
            6 => Entry::Appraisal(AppraisalPolicy::decode(body)?),
            7 => Entry::Attestation(Attestation::decode(body)?),
            other => return Err(DecodeError::Malformed(format!("registry entry of kind {other}")).into()),
        };
        match &entry {
            Entry::Release(_) | Entry::Instance(_) | Entry::Appraisal(_) | Entry::Attestation(_) => {}
            Entry::Status(change) => check_text("reason", &change.reason)?,
            Entry::Host(host) => host.check()?,
            Entry::Policy(policy) => policy.check()?,
        }
        if payload.signatures.len() > SIGNATURES_MAX {
            return Err(EntryError::SignatureCount {
                kind: entry.kind(),
                expected: SIGNATURES_MAX,
                found: payload.signatures.len(),
            });
        }
        Ok(Self { entry, signatures: payload.signatures })
    }

    /// The signers, one for each name of `who`, in order.
    pub(super) fn signers<const N: usize>(
        &self,
        registry: LedgerId,
        who: [&'static str; N],
    ) -> Result<[Address; N], EntryError> {
        let digest = self.entry.signing_digest(registry);
        let found = self.signatures.len();
        let count = EntryError::SignatureCount { kind: self.entry.kind(), expected: N, found };
        if found != N {
            return Err(count);
        }
        let signers: Vec<Address> = self
            .signatures
            .iter()
            .zip(who)
            .map(|(signature, who)| {
                recover(digest, signature).map_err(|source| EntryError::Malformed { who, source })
            })
            .collect::<Result<_, _>>()?;
        signers.try_into().map_err(|_| count)
    }
}

fn check_text(what: &'static str, text: &str) -> Result<(), EntryError> {
    let wrong = |problem: &str| Err(EntryError::Text { what, problem: problem.to_owned() });
    if text.trim().is_empty() {
        wrong("must not be empty")
    } else if text.len() > TEXT_SIZE_BYTES_MAX {
        wrong(&format!("may have at most {TEXT_SIZE_BYTES_MAX} bytes"))
    } else if text.chars().any(char::is_control) {
        wrong("must be one line without control characters")
    } else {
        Ok(())
    }
}
