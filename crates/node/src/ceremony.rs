//! How a consortium is founded, with nothing but files that pass between people: a draft, a signed request of each
//! member, and the genesis document that comes of them.

use crate::accounts::Named;
use crate::genesis::{
    Agreement, Agreements, BLOCK_MS_MAX, EPOCH_BLOCKS, EngineName, Founding, NetworkGenesis, check_members,
    check_name,
};
use crate::identity::OwnKeys;
use alloy_primitives::{Address, B256, FixedBytes};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_consortium::Member;
use bletchley_cryptlet::keys::Signer;
use bletchley_crypto::{Domain, recover};
use bletchley_primitives::{Signature, TimestampMs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

const REQUEST_DOMAIN: Domain = Domain("bletchley/node/member-request/1");
/// Version of drafts and requests.
const VERSION: u32 = 1;
/// Longest request file.
const REQUEST_SIZE_BYTES_MAX: u64 = 16 << 10;
/// Longest draft: every member, and ten thousand named accounts.
const DRAFT_SIZE_BYTES_MAX: u64 = 4 << 20;

/// What founders have agreed on so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// Version of this file.
    pub version: u32,
    /// Name of the consortium.
    pub name: String,
    /// Chain id of the smart-contract ledger.
    pub chain_id: u64,
    /// The engine of both ledgers; when none is named, solo for one validator and simplex for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// Blocks of an epoch.
    #[serde(default = "epoch_blocks")]
    pub epoch_blocks: u64,
    /// Least time between blocks.
    pub block_ms: u64,
    /// Longest silence of an idle ledger; 0 for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// Accounts that own something from the start.
    #[serde(default)]
    pub accounts: Vec<Named>,
    /// Members admitted so far.
    #[serde(default)]
    pub members: Vec<Member>,
}

const fn epoch_blocks() -> u64 {
    EPOCH_BLOCKS
}

impl Draft {
    /// A draft without members.
    ///
    /// # Errors
    /// When the name or a parameter is none.
    pub fn new(name: &str, chain_id: u64, engine: Option<EngineName>, block_ms: u64) -> Result<Self> {
        let draft = Self {
            version: VERSION,
            name: name.to_owned(),
            chain_id,
            engine,
            epoch_blocks: EPOCH_BLOCKS,
            block_ms,
            heartbeat_ms: None,
            accounts: Vec::new(),
            members: Vec::new(),
        };
        draft.check()?;
        Ok(draft)
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            bail!("it has version {}, this program reads version {VERSION}", self.version);
        }
        check_name(&self.name)?;
        if self.chain_id == 0 {
            bail!("its chain id is 0; wallets need a number that tells this ledger from others");
        }
        if !(1..=BLOCK_MS_MAX).contains(&self.block_ms) {
            bail!("its blockMs is {}; it lies between 1 and {BLOCK_MS_MAX}", self.block_ms);
        }
        if self.members.is_empty() { Ok(()) } else { check_members(&self.members) }
    }

    /// Reads and checks a draft.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn read(path: &Path) -> Result<Self> {
        let draft: Self = read_json(path, DRAFT_SIZE_BYTES_MAX, "a draft")?;
        draft.check().with_context(|| format!("checking {}", path.display()))?;
        Ok(draft)
    }

    /// Writes the draft, in the place of one that may be there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Takes a member in whose request is signed with its keys.
    ///
    /// # Errors
    /// When a signature is wrong, or the member shares a name, key or endpoint with another.
    pub fn admit(&mut self, request: &MemberRequest) -> Result<()> {
        request.verify()?;
        let member = &request.member;
        if self.members.contains(member) {
            bail!("member {} is admitted already", member.name);
        }
        let mut members = self.members.clone();
        members.push(member.clone());
        check_members(&members).with_context(|| format!("admitting {}", member.name))?;
        self.members = members;
        Ok(())
    }

    /// The genesis document that comes of this draft.
    ///
    /// # Errors
    /// Why no ledger can start from it.
    pub fn build(&self, time_ms: TimestampMs) -> Result<NetworkGenesis> {
        self.check()?;
        if self.members.is_empty() {
            bail!("nobody is admitted yet: `bletchley member admit REQUEST --draft FILE`");
        }
        let validators = self.members.iter().filter(|member| member.is_validator).count();
        let engine = self.engine.unwrap_or_else(|| EngineName::for_validators(validators));
        let agreement = Agreement {
            engine,
            epoch_blocks: self.epoch_blocks,
            block_ms: self.block_ms,
            heartbeat_ms: self.heartbeat_ms.unwrap_or(engine.heartbeat_ms()),
        };
        NetworkGenesis::new(Founding {
            name: self.name.clone(),
            dev: false,
            chain_id: self.chain_id,
            members: self.members.clone(),
            accounts: self.accounts.clone(),
            agreements: Agreements::alike(agreement),
            time_ms,
        })
    }
}

/// A member's wish to take part, signed with each of its keys: nobody can request with somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberRequest {
    /// Version of this file.
    pub version: u32,
    /// The member.
    pub member: Member,
    /// Its signatures.
    pub signatures: RequestSignatures,
}

/// A signature as the file has it: `r || s || v` in hex.
pub type SignatureHex = FixedBytes<{ Signature::SIZE_BYTES }>;

/// The signatures under a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestSignatures {
    /// By the key that proposes and votes.
    pub administrator: SignatureHex,
    /// By the key that signs checkpoints.
    pub validator: SignatureHex,
    /// By the key of the cryptlet host.
    pub host: SignatureHex,
}

fn request_digest(member: &Member) -> B256 {
    REQUEST_DOMAIN.digest(&[&alloy_rlp::encode(member)])
}

impl MemberRequest {
    /// A request of the member that these keys make.
    ///
    /// # Errors
    /// When the name or endpoint is none, or a key cannot be used.
    pub fn sign(keys: &OwnKeys, name: &str, endpoint: &str, is_validator: bool) -> Result<Self> {
        let member = keys.member(name, endpoint, is_validator);
        member.check()?;
        let digest = request_digest(&member);
        let signatures = RequestSignatures {
            administrator: keys.administrator.sign(digest)?.0.into(),
            validator: keys.validator.sign(digest)?.0.into(),
            host: keys.host.sign(digest)?.0.into(),
        };
        Ok(Self { version: VERSION, member, signatures })
    }

    /// Reads a request; [`Self::verify`] is still to come.
    ///
    /// # Errors
    /// When there is none, or it does not decode.
    pub fn read(path: &Path) -> Result<Self> {
        read_json(path, REQUEST_SIZE_BYTES_MAX, "a member's request")
    }

    /// Writes the request.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Whether the member is one, and signed this with each of its keys.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self) -> Result<()> {
        if self.version != VERSION {
            bail!("the request has version {}, this program reads version {VERSION}", self.version);
        }
        self.member.check()?;
        let digest = request_digest(&self.member);
        let signed = |what: &str, key: Address, signature: &SignatureHex| match recover(
            digest,
            &Signature(signature.0),
        ) {
            Ok(found) if found == key => Ok(()),
            _ => Err(anyhow!(
                "the request of member {:?} is not signed with its {what} key {key}; it was changed on its way, or \
                 made without that key: ask for it again",
                self.member.name
            )),
        };
        signed("administrator", self.member.administrator, &self.signatures.administrator)?;
        signed("validator", self.member.validator, &self.signatures.validator)?;
        signed("host", self.member.host, &self.signatures.host)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path, size_bytes_max: u64, what: &str) -> Result<T> {
    let shown = path.display();
    let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {shown}"))?.len();
    if size_bytes > size_bytes_max {
        bail!("{shown} has {size_bytes} bytes; {what} has at most {size_bytes_max}");
    }
    let bytes = std::fs::read(path).with_context(|| format!("opening {shown}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {what} from {shown}"))
}

/// Whole or not at all.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let part = path.with_extension("json.part");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("writing {shown}"))
}
