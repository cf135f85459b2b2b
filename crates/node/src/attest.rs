//! What this node says of itself when a verifier asks, and the appraisal of what others say.

use crate::accounts::StoredKey;
use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use crate::identity::OwnKeys;
use alloy_primitives::{Address, B256};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_attest::tpm::{TpmAttester, TpmIdentity};
use bletchley_attest::{
    AppraisalPolicy, Attester, EphemeralKey, Kind, RuntimeClaims, SignedResult, SoftwareAttester, Statement,
    tpm,
};
use bletchley_cryptlet::content::ContentId;
use bletchley_cryptlet::host;
use bletchley_cryptlet::keys::{KeyPurpose, Signer};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file that is read here.
const FILE_SIZE_BYTES_MAX: u64 = 256 << 10;
/// Largest executable that is hashed.
const BINARY_SIZE_BYTES_MAX: u64 = 1 << 30;
/// Cryptlets run inside the node's own process.
const ISOLATION: &str = "in-process";
const WORLD: &str = "bletchley:cryptlet@1.0.0";

/// What a quote is asked with.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The verifier's nonce.
    pub nonce: B256,
    /// SHA-256 of the one component that it is about; zero for the host as a whole.
    pub component: B256,
    /// Where the host stands; empty to say nothing.
    pub location: String,
    /// Socket or device of a TPM; without one the evidence is of kind `software`.
    pub tpm: Option<PathBuf>,
    /// Endorsement of the TPM's attestation key, as a file.
    pub endorsement: Option<PathBuf>,
}

/// A statement of the node of this folder.
///
/// # Errors
/// When a key, a file or the TPM is missing, with what to do.
pub fn state(data: &DataDir, question: Question) -> Result<Statement> {
    let genesis = NetworkGenesis::read(data)?;
    let keys = OwnKeys::open(data)?;
    // The secret half ends with this process: nothing can be released to a statement that a command made.
    let ephemeral = EphemeralKey::make()?;
    let claims = claims(data, &genesis, keys.host.address(), &question, ephemeral.public())?;
    claims.check()?;
    let statement = match &question.tpm {
        Some(path) => {
            let endorsement = question.endorsement.as_deref().map(read_endorsement).transpose()?;
            open_tpm(path, endorsement)?.state(question.nonce, claims)
        }
        None => {
            let host: &StoredKey = &keys.host;
            let sign = |digest| host.sign(digest).map_err(|error| error.to_string());
            SoftwareAttester::new(Box::new(sign)).state(question.nonce, claims)
        }
    };
    Ok(statement?)
}

/// The keys of a TPM, for policies to pin and for endorsers.
///
/// # Errors
/// When it does not answer.
pub fn tpm_identity(path: &Path) -> Result<TpmIdentity> {
    open_tpm(path, None)?.identity().with_context(|| format!("asking the TPM at {}", path.display()))
}

fn open_tpm(path: &Path, endorsement: Option<tpm::SignedEndorsement>) -> Result<TpmAttester> {
    let transport = tpm::open(path).with_context(|| {
        format!(
            "opening the TPM at {}; on Linux it is /dev/tpmrm0, which the group tss may use",
            path.display()
        )
    })?;
    Ok(TpmAttester::new(transport, endorsement))
}

fn read_endorsement(path: &Path) -> Result<tpm::SignedEndorsement> {
    let (signed, _) = tpm::SignedEndorsement::decode(&read(path)?)
        .with_context(|| format!("reading the endorsement in {}", path.display()))?;
    Ok(signed)
}

fn claims(
    data: &DataDir,
    genesis: &NetworkGenesis,
    host: Address,
    question: &Question,
    ephemeral_key: B256,
) -> Result<RuntimeClaims> {
    let program = std::env::current_exe().context("finding this program's file")?;
    let config = data.config();
    let config = if config.exists() { ContentId::of(&read(&config)?).0 } else { B256::ZERO };
    Ok(RuntimeClaims {
        registry: genesis.tokens().ledger,
        host,
        binary: ContentId::of(&read_up_to(&program, BINARY_SIZE_BYTES_MAX)?).0,
        engine: format!("wasmtime {}", host::WASMTIME_VERSION),
        profile: host::profile().digest(),
        isolation: ISOLATION.to_owned(),
        component: question.component,
        world: WORLD.to_owned(),
        config,
        ephemeral_key,
        location: question.location.clone(),
    })
}

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Document {
    /// A host's statement.
    Statement(Box<Statement>),
    /// A verifier's result.
    Result(Box<SignedResult>),
}

/// Reads a statement or a result.
///
/// # Errors
/// When it is neither.
pub fn read_file(path: &Path) -> Result<Document> {
    let bytes = read(path)?;
    let refused = match Statement::decode(&bytes) {
        Ok(statement) => return Ok(Document::Statement(Box::new(statement))),
        Err(refused) => refused,
    };
    match SignedResult::decode(&bytes) {
        Ok(signed) => Ok(Document::Result(Box::new(signed))),
        Err(_) => Err(anyhow!(refused)).with_context(|| format!("reading {}", path.display())),
    }
}

/// Reads a policy: TOML as people write it, or the canonical bytes that stand on a registry.
///
/// # Errors
/// When it is no policy, or contradicts itself.
pub fn read_policy(path: &Path) -> Result<AppraisalPolicy> {
    let bytes = read(path)?;
    let context = || format!("reading the policy in {}", path.display());
    if let Ok(policy) = AppraisalPolicy::decode(&bytes) {
        return Ok(policy);
    }
    let text = std::str::from_utf8(&bytes).with_context(context)?;
    let policy: AppraisalPolicy = toml::from_str(text).with_context(context)?;
    policy.check().with_context(context)?;
    Ok(policy)
}

/// This node's key for attestation results, made when it is first used.
///
/// # Errors
/// When the store refuses.
pub fn verifier_key(data: &DataDir) -> Result<StoredKey> {
    let keys = OwnKeys::open(data)?;
    StoredKey::ensure(&keys.store, KeyPurpose::Verifier, crate::identity::OWN)
}

/// A line about a kind that cannot be missed.
#[must_use]
pub fn label(kind: Kind) -> String {
    format!("{kind}: {}", kind.meaning())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, FILE_SIZE_BYTES_MAX)
}

fn read_up_to(path: &Path, size_bytes_max: u64) -> Result<Vec<u8>> {
    let context = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > size_bytes_max {
        bail!("{} is longer than the {size_bytes_max} bytes that are read here", path.display());
    }
    Ok(bytes)
}
