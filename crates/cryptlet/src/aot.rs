//! Compiled components on disk, each under a MAC: the engine trusts what it loads, so nobody else may write it.
//!
//! `<dir>/<key>.cwasm`, where the key is the SHA-256 over the component's digest, the profile's digest and the
//! engine's own compatibility hash. The file is `MAGIC`, HMAC-SHA256 over key and body, body. A file that is too
//! long, stale or not authentic is thrown away and made again.

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use alloy_primitives::B256;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};
use zeroize::Zeroizing;

/// Longest compiled component.
pub const AOT_SIZE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Length of the secret.
pub const AOT_SECRET_SIZE_BYTES: usize = 32;

const MAGIC: &[u8; 8] = b"BLAOT\0\0\x01";
const MAC_SIZE_BYTES: usize = 32;
const KEY_DOMAIN: &[u8] = b"bletchley/cryptlet/aot-key/1";
const MAC_DOMAIN: &[u8] = b"bletchley/cryptlet/aot-mac/1";

/// Key of the MAC over compiled components; lives with the node's other secrets.
pub struct AotSecret(Zeroizing<[u8; AOT_SECRET_SIZE_BYTES]>);

impl std::fmt::Debug for AotSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AotSecret(..)")
    }
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AotError {
    /// The secret cannot be read.
    #[error("cannot read the secret of the compiled-code cache from {path}: {source}")]
    ReadSecret {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The secret has another length.
    #[error(
        "the secret of the compiled-code cache in {path} is not {AOT_SECRET_SIZE_BYTES} bytes long: \
         remove it and the cache beside it, both are made again"
    )]
    SecretSize {
        /// Which file.
        path: String,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {path} for compiled code: {source}")]
    Folder {
        /// Which folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl AotSecret {
    /// A secret of these bytes.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; AOT_SECRET_SIZE_BYTES]>) -> Self {
        Self(bytes)
    }

    /// Reads a file of exactly [`AOT_SECRET_SIZE_BYTES`].
    ///
    /// # Errors
    /// [`AotError`].
    pub fn from_file(path: &Path) -> Result<Self, AotError> {
        let named = || path.display().to_string();
        let read = |source| AotError::ReadSecret { path: named(), source };
        let mut bytes = Zeroizing::new(Vec::with_capacity(AOT_SECRET_SIZE_BYTES + 1));
        let limit = AOT_SECRET_SIZE_BYTES as u64 + 1;
        fs::File::open(path).map_err(read)?.take(limit).read_to_end(&mut bytes).map_err(read)?;
        let secret: [u8; AOT_SECRET_SIZE_BYTES] =
            bytes.as_slice().try_into().map_err(|_| AotError::SecretSize { path: named() })?;
        Ok(Self(Zeroizing::new(secret)))
    }
}

/// Compiled components on disk.
#[derive(Debug)]
pub struct AotCache {
    folder: PathBuf,
    secret: AotSecret,
    /// Makes names of files in the making distinct within the process.
    writes: AtomicU64,
}

/// Where a component came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AotOrigin {
    /// From the cache.
    Cached,
    /// Compiled; there was none.
    Compiled,
    /// Compiled; what was there could not be trusted or used.
    Replaced,
}

impl AotCache {
    /// A cache in this folder, which is made if it is missing.
    ///
    /// # Errors
    /// [`AotError::Folder`].
    pub fn open(folder: &Path, secret: AotSecret) -> Result<Self, AotError> {
        let failed = |source| AotError::Folder { path: folder.display().to_string(), source };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), secret, writes: AtomicU64::new(0) })
    }

    /// The compiled component: from the cache, or compiled now and put there. Trouble with the disk costs a
    /// compilation, never a call.
    ///
    /// # Errors
    /// The engine's, if the component does not compile.
    pub fn component(
        &self,
        engine: &Engine,
        code: &[u8],
        code_sha256: B256,
        profile: B256,
    ) -> wasmtime::Result<(Component, AotOrigin)> {
        let key = key(engine, code_sha256, profile);
        let path = self.path(&key);
        let origin = match self.read(&path, &key) {
            Stored::Authentic(body) => match deserialize(engine, &body) {
                Ok(component) => return Ok((component, AotOrigin::Cached)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "aot.discard");
                    AotOrigin::Replaced
                }
            },
            Stored::Untrusted(problem) => {
                tracing::warn!(path = %path.display(), problem, "aot.discard");
                AotOrigin::Replaced
            }
            Stored::Missing => AotOrigin::Compiled,
        };
        if origin == AotOrigin::Replaced {
            let _ = fs::remove_file(&path);
        }
        let component = Component::from_binary(engine, code)?;
        match component.serialize() {
            Ok(body) => self.keep(&key, &body),
            Err(error) => tracing::warn!(path = %path.display(), %error, "aot.write"),
        }
        Ok((component, origin))
    }

    /// Compiled code of a component, for a process that runs it; `None` where there is none that can be trusted.
    pub(crate) fn find(&self, engine: &Engine, code_sha256: B256, profile: B256) -> Option<Vec<u8>> {
        let key = key(engine, code_sha256, profile);
        let path = self.path(&key);
        match self.read(&path, &key) {
            Stored::Authentic(body) => Some(body),
            Stored::Untrusted(problem) => {
                tracing::warn!(path = %path.display(), problem, "aot.discard");
                let _ = fs::remove_file(&path);
                None
            }
            Stored::Missing => None,
        }
    }

    /// Keeps code that another process compiled, under this node's MAC.
    pub(crate) fn put(&self, engine: &Engine, code_sha256: B256, profile: B256, body: &[u8]) {
        self.keep(&key(engine, code_sha256, profile), body);
    }

    fn keep(&self, key: &[u8; 32], body: &[u8]) {
        let path = self.path(key);
        if let Err(error) = self.write(&path, key, body) {
            tracing::warn!(path = %path.display(), %error, "aot.write");
        }
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.folder.join(format!("{}.cwasm", hex::encode(key)))
    }

    fn read(&self, path: &Path, key: &[u8; 32]) -> Stored {
        let Ok(file) = fs::File::open(path) else { return Stored::Missing };
        let mut bytes = Vec::new();
        let size_bytes_max = MAGIC.len() + MAC_SIZE_BYTES + AOT_SIZE_BYTES_MAX;
        if let Err(error) = file.take(size_bytes_max as u64 + 1).read_to_end(&mut bytes) {
            tracing::warn!(path = %path.display(), %error, "aot.read");
            return Stored::Untrusted("cannot be read");
        }
        if bytes.len() > size_bytes_max {
            return Stored::Untrusted("too long");
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else { return Stored::Untrusted("of another format") };
        let Some((tag, body)) = rest.split_at_checked(MAC_SIZE_BYTES) else {
            return Stored::Untrusted("cut short");
        };
        if self.mac(key, body).is_none_or(|mac| mac.verify_slice(tag).is_err()) {
            return Stored::Untrusted("not authentic");
        }
        bytes.drain(..MAGIC.len() + MAC_SIZE_BYTES);
        Stored::Authentic(bytes)
    }

    fn write(&self, path: &Path, key: &[u8; 32], body: &[u8]) -> std::io::Result<()> {
        let mac = self.mac(key, body).ok_or_else(|| std::io::Error::other("no MAC"))?;
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let making = path.with_extension(format!("{}-{write}.making", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = (|| {
            let mut file = options.open(&making)?;
            file.write_all(MAGIC)?;
            file.write_all(&mac.finalize().into_bytes())?;
            file.write_all(body)?;
            // No sync: a file that a crash tears fails its MAC and is made again.
            fs::rename(&making, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&making);
        }
        written
    }

    fn mac(&self, key: &[u8; 32], body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.secret.0.as_slice()).ok()?;
        mac.update(MAC_DOMAIN);
        mac.update(key);
        mac.update(body);
        Some(mac)
    }
}

enum Stored {
    Missing,
    Untrusted(&'static str),
    Authentic(Vec<u8>),
}

fn key(engine: &Engine, code_sha256: B256, profile: B256) -> [u8; 32] {
    let mut engine_hash = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut engine_hash);
    let mut key = Sha256::new();
    key.update(KEY_DOMAIN);
    key.update(code_sha256);
    key.update(profile);
    key.update(engine_hash.0.finalize());
    key.finalize().into()
}

/// Feeds what the engine hashes to SHA-256: std's own hasher is free to change, and 64 bits are few.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[allow(unsafe_code, reason = "loading compiled code is unsafe by nature; this is the only place")]
pub(crate) fn deserialize(engine: &Engine, body: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes carry a MAC under a key that only this node holds, over a key that names component, profile
    // and engine: they are what such an engine compiled. A confined worker gets them from its node, which checked that;
    // and should they be bad all the same, it has its jail around it.
    unsafe { Component::deserialize(engine, body) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const PROFILE: B256 = B256::repeat_byte(9);

    fn code(text: &str) -> (Vec<u8>, B256) {
        let code = wat::parse_str(text).unwrap();
        let digest = B256::from_slice(&Sha256::digest(&code));
        (code, digest)
    }

    fn cache(folder: &Path, secret: u8) -> AotCache {
        AotCache::open(folder, AotSecret::new(Zeroizing::new([secret; AOT_SECRET_SIZE_BYTES]))).unwrap()
    }

    fn only_file(folder: &Path) -> PathBuf {
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn every_changed_byte_is_noticed_and_the_file_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, cache) = (Engine::default(), cache(folder.path(), 1));
        let (code, digest) = code("(component (core module (func (export \"f\"))))");
        let origin = |cache: &AotCache| cache.component(&engine, &code, digest, PROFILE).unwrap().1;
        assert_eq!(origin(&cache), AotOrigin::Compiled);
        assert_eq!(origin(&cache), AotOrigin::Cached);
        let path = only_file(folder.path());
        let good = fs::read(&path).unwrap();
        let places = [0, 7, 8, 39, 40, 41, good.len() / 2, good.len() - 1];
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(origin(&cache), AotOrigin::Replaced, "byte {place}");
            assert_eq!(origin(&cache), AotOrigin::Cached, "byte {place}");
        }
        for length in [0, 7, 8, 39, 40, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            assert_eq!(origin(&cache), AotOrigin::Replaced, "{length} bytes");
        }
    }

    #[test]
    fn what_another_key_component_or_profile_wrote_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let (first, first_digest) = code("(component)");
        let (second, second_digest) = code("(component (core module))");
        let ours = cache(folder.path(), 1);
        ours.component(&engine, &first, first_digest, PROFILE).unwrap();
        let of_first = only_file(folder.path());
        let theirs = cache(folder.path(), 2);
        assert_eq!(theirs.component(&engine, &first, first_digest, PROFILE).unwrap().1, AotOrigin::Replaced);
        assert_eq!(ours.component(&engine, &first, first_digest, PROFILE).unwrap().1, AotOrigin::Replaced);

        // A file of ours under the name of another component.
        let of_second =
            folder.path().join(format!("{}.cwasm", hex::encode(key(&engine, second_digest, PROFILE))));
        fs::rename(&of_first, of_second).unwrap();
        assert_eq!(ours.component(&engine, &second, second_digest, PROFILE).unwrap().1, AotOrigin::Replaced);
        assert_eq!(
            ours.component(&engine, &second, second_digest, B256::ZERO).unwrap().1,
            AotOrigin::Compiled
        );
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_may_read_and_secrets_have_one_length() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder.path().join("deep/aot"), 1);
        let (code, digest) = code("(component)");
        cache.component(&Engine::default(), &code, digest, PROFILE).unwrap();
        let file = only_file(&folder.path().join("deep/aot"));
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = folder.path().join("secret");
        for length in [0, 31, 33] {
            fs::write(&secret, vec![1; length]).unwrap();
            assert!(matches!(AotSecret::from_file(&secret), Err(AotError::SecretSize { .. })), "{length}");
        }
        fs::write(&secret, [1; 32]).unwrap();
        assert_eq!(format!("{:?}", AotSecret::from_file(&secret).unwrap()), "AotSecret(..)");
        assert!(matches!(
            AotSecret::from_file(&folder.path().join("none")),
            Err(AotError::ReadSecret { .. })
        ));
    }
}
