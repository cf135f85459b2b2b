//! A package: a manifest and the component that it describes. Its id is the digest of both.

use std::{fs, io::Read, path::Path};

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{DecodeError, decode_bounded};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::manifest::{MANIFEST_SIZE_BYTES_MAX, Manifest, ManifestError};

/// Longest component. Research measured 18 MB for the largest guest language.
pub const CODE_SIZE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Name of the manifest in a package's folder.
pub const MANIFEST_FILE: &str = "cryptlet.toml";

const PACKAGE: Domain = Domain("bletchley/cryptlet/package/1");

/// Identity of a package: changes with every byte of its manifest and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackageId(pub B256);

impl std::fmt::Display for PackageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A manifest and the component that it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    manifest: Manifest,
    code: Bytes,
    code_sha256: B256,
    id: PackageId,
}

/// Why a package was refused.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The code is missing or too long.
    #[error("the code of {name} is {size_bytes} bytes; allowed are 1 to {CODE_SIZE_BYTES_MAX}")]
    CodeSize {
        /// Name in the manifest.
        name: String,
        /// Length of the code, as far as it was read.
        size_bytes: u64,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are not a package.
    #[error("package bytes cannot be read: {0}")]
    Bytes(#[from] DecodeError),
}

#[derive(RlpEncodable, RlpDecodable)]
struct Bundle {
    manifest: Bytes,
    code: Bytes,
}

impl Package {
    /// A package of a manifest and a component.
    ///
    /// # Errors
    /// [`PackageError::CodeSize`].
    pub fn new(manifest: Manifest, code: Bytes) -> Result<Self, PackageError> {
        if code.is_empty() || code.len() > CODE_SIZE_BYTES_MAX {
            return Err(PackageError::CodeSize { name: manifest.name, size_bytes: code.len() as u64 });
        }
        let code_sha256 = B256::from_slice(&Sha256::digest(&code));
        let id = package_id(&manifest, code_sha256);
        Ok(Self { manifest, code, code_sha256, id })
    }

    /// Reads `cryptlet.toml` and `<name>.wasm` of a folder.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn from_folder(folder: &Path) -> Result<Self, PackageError> {
        let text = read_bounded(&folder.join(MANIFEST_FILE), MANIFEST_SIZE_BYTES_MAX)?;
        let text = String::from_utf8(text).map_err(|error| ManifestError::Toml(error.to_string()))?;
        let manifest = Manifest::from_toml(&text)?;
        let code = read_bounded(&folder.join(format!("{}.wasm", manifest.name)), CODE_SIZE_BYTES_MAX)?;
        Self::new(manifest, code.into())
    }

    /// One run of bytes that holds the whole package.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(Bundle { manifest: self.manifest.encode().into(), code: self.code.clone() })
    }

    /// Reads [`Package::encode`]'s bytes.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PackageError> {
        let bundle: Bundle = decode_bounded(bytes, CODE_SIZE_BYTES_MAX + MANIFEST_SIZE_BYTES_MAX + 32)?;
        Self::new(Manifest::decode(&bundle.manifest)?, bundle.code)
    }

    /// What it is, answers and asks for.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The component.
    #[must_use]
    pub const fn code(&self) -> &Bytes {
        &self.code
    }

    /// SHA-256 of the component: its address in the content store.
    #[must_use]
    pub const fn code_sha256(&self) -> B256 {
        self.code_sha256
    }

    /// Identity of the package.
    #[must_use]
    pub const fn id(&self) -> PackageId {
        self.id
    }
}

/// Identity of the package of this manifest and this code.
#[must_use]
pub fn package_id(manifest: &Manifest, code_sha256: B256) -> PackageId {
    PackageId(PACKAGE.digest(&[manifest.digest().0.as_slice(), code_sha256.as_slice()]))
}

fn read_bounded(path: &Path, size_bytes_max: usize) -> Result<Vec<u8>, PackageError> {
    let read = |source| PackageError::Read { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let limit = size_bytes_max as u64 + 1;
    fs::File::open(path).map_err(read)?.take(limit).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() > size_bytes_max {
        return Err(PackageError::CodeSize {
            name: path.display().to_string(),
            size_bytes: bytes.len() as u64,
        });
    }
    Ok(bytes)
}
