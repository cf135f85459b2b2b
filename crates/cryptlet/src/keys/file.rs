//! Keys in files, each sealed with ChaCha20-Poly1305 (RFC 8439) under a wrapping key that is either derived from a
//! passphrase (Argon2id, RFC 9106) or random and kept in a file that only the node's user may read. The second protects
//! backups of single key files, not against whoever can read the whole folder.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{Argon2Params, Domain, SecretKey, derive_argon2id};
use bletchley_primitives::{Signature, decode_bounded};
use parking_lot::RwLock;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::SystemRandom,
};
use zeroize::Zeroizing;

use super::{
    KeyLabel, KeyPurpose, KeyStore, KeyStoreError, Opened, PEER_SEED_SIZE_BYTES, SECRET_SIZE_BYTES,
    random_bytes, random_key,
};

/// Longest file of the store.
const FILE_SIZE_BYTES_MAX: usize = 1024;
const FILE_VERSION: u8 = 1;
const HEADER_FILE: &str = "store";
const MACHINE_SECRET_FILE: &str = "machine-secret";
const SALT_SIZE_BYTES: usize = 16;

const PEER_SEED: Domain = Domain("bletchley/cryptlet/peer-seed/1");
const SEAL: Domain = Domain("bletchley/cryptlet/sealed-key/1");
const WRAP_CHECK: Domain = Domain("bletchley/cryptlet/wrapping-key-check/1");

/// What opens a file store.
pub enum Unlock {
    /// A random secret beside the keys that only the node's user may read.
    MachineSecret,
    /// A passphrase, stretched with these parameters when the store is made.
    Passphrase(Zeroizing<String>, Argon2Params),
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MachineSecret => f.write_str("MachineSecret"),
            Self::Passphrase(_, params) => write!(f, "Passphrase(.., {params:?})"),
        }
    }
}

/// First file of a store: how its wrapping key comes to be, and a digest to know it by.
#[derive(RlpEncodable, RlpDecodable)]
struct StoreHeader {
    version: u8,
    passphrase: bool,
    salt: Bytes,
    params: Argon2Params,
    check: B256,
}

/// File of one key.
#[derive(RlpEncodable, RlpDecodable)]
struct SealedKey {
    version: u8,
    address: Address,
    nonce: Bytes,
    sealed: Bytes,
}

/// Keys in sealed files.
pub struct FileKeyStore {
    folder: PathBuf,
    wrap: LessSafeKey,
    random: SystemRandom,
    opened: RwLock<BTreeMap<KeyLabel, Opened>>,
}

impl std::fmt::Debug for FileKeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileKeyStore({})", self.folder.display())
    }
}

impl FileKeyStore {
    /// Opens the store in a folder, or makes one there.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn open(folder: &Path, unlock: &Unlock) -> Result<Self, KeyStoreError> {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let random = SystemRandom::new();
        let path = folder.join(HEADER_FILE);
        let wrap = match read_file(&path)? {
            Some(bytes) => {
                let header: StoreHeader =
                    decode_bounded(&bytes, FILE_SIZE_BYTES_MAX).map_err(|_| damaged(&path))?;
                if header.version != FILE_VERSION {
                    return Err(damaged(&path));
                }
                let secret = wrapping_secret(folder, unlock, &header.salt, header.params, None)?;
                if header.passphrase != matches!(unlock, Unlock::Passphrase(..))
                    || check_of(&secret) != header.check
                {
                    return Err(KeyStoreError::WrongSecret(folder.display().to_string()));
                }
                secret
            }
            None => {
                let salt = random_bytes::<SALT_SIZE_BYTES>(&random)?;
                let (passphrase, params) = match unlock {
                    Unlock::MachineSecret => (false, Argon2Params::LEAST),
                    Unlock::Passphrase(_, params) => (true, *params),
                };
                let secret = wrapping_secret(folder, unlock, salt.as_slice(), params, Some(&random))?;
                let header = StoreHeader {
                    version: FILE_VERSION,
                    passphrase,
                    salt: Bytes::copy_from_slice(salt.as_slice()),
                    params,
                    check: check_of(&secret),
                };
                write_file(&path, &alloy_rlp::encode(header))?;
                secret
            }
        };
        let wrap = UnboundKey::new(&CHACHA20_POLY1305, wrap.as_slice()).map_err(|_| damaged(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            wrap: LessSafeKey::new(wrap),
            random,
            opened: RwLock::default(),
        })
    }

    /// The seed of a node's network key (ed25519, RFC 8032), which the handshake needs in memory. It is derived from the
    /// peer key of this name, so that the key itself signs nothing and leaves as little as any other.
    ///
    /// # Errors
    /// [`KeyStoreError`]; there is no such key, or a file is damaged.
    pub fn peer_seed(&self, name: &str) -> Result<Zeroizing<[u8; PEER_SEED_SIZE_BYTES]>, KeyStoreError> {
        let label = KeyLabel::new(KeyPurpose::Peer, name)?;
        let opened = self.key(&label)?.ok_or(KeyStoreError::Missing(label))?;
        let secret = opened.key.to_bytes();
        Ok(Zeroizing::new(PEER_SEED.digest(&[secret.as_slice()]).0))
    }

    fn path(&self, label: &KeyLabel) -> PathBuf {
        self.folder.join(format!("{label}.key"))
    }

    fn key(&self, label: &KeyLabel) -> Result<Option<Opened>, KeyStoreError> {
        if let Some(opened) = self.opened.read().get(label) {
            return Ok(Some(opened.clone()));
        }
        let path = self.path(label);
        let Some(bytes) = read_file(&path)? else { return Ok(None) };
        let file: SealedKey = decode_bounded(&bytes, FILE_SIZE_BYTES_MAX).map_err(|_| damaged(&path))?;
        let nonce = Nonce::try_assume_unique_for_key(&file.nonce).map_err(|_| damaged(&path))?;
        let mut sealed = Zeroizing::new(file.sealed.to_vec());
        let secret = self
            .wrap
            .open_in_place(nonce, Aad::from(context(label, file.address)), &mut sealed)
            .map_err(|_| damaged(&path))?;
        let secret: Zeroizing<[u8; SECRET_SIZE_BYTES]> =
            Zeroizing::new(<[u8; SECRET_SIZE_BYTES]>::try_from(&*secret).map_err(|_| damaged(&path))?);
        let opened = Opened::new(SecretKey::from_bytes(*secret).map_err(|_| damaged(&path))?);
        if file.version != FILE_VERSION || opened.address != file.address {
            return Err(damaged(&path));
        }
        self.opened.write().insert(label.clone(), opened.clone());
        Ok(Some(opened))
    }
}

impl KeyStore for FileKeyStore {
    fn name(&self) -> &'static str {
        "encrypted-file"
    }

    fn make(&self, label: &KeyLabel) -> Result<Address, KeyStoreError> {
        let path = self.path(label);
        if path.exists() {
            return Err(KeyStoreError::Exists(label.clone()));
        }
        let key = random_key(&self.random)?;
        let address = key.address();
        let nonce = random_bytes::<NONCE_LEN>(&self.random)?;
        let mut sealed = Zeroizing::new(key.to_bytes().to_vec());
        // Room for the tag, so that growing does not leave a copy of the secret behind.
        sealed.reserve_exact(CHACHA20_POLY1305.tag_len());
        self.wrap
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(context(label, address)),
                &mut *sealed,
            )
            .map_err(|_| damaged(&path))?;
        let file = SealedKey {
            version: FILE_VERSION,
            address,
            nonce: Bytes::copy_from_slice(nonce.as_slice()),
            sealed: Bytes::copy_from_slice(&sealed),
        };
        write_file(&path, &alloy_rlp::encode(file))?;
        self.opened.write().insert(label.clone(), Opened { key: Arc::new(key), address });
        Ok(address)
    }

    fn address(&self, label: &KeyLabel) -> Result<Option<Address>, KeyStoreError> {
        Ok(self.key(label)?.map(|opened| opened.address))
    }

    fn sign(&self, label: &KeyLabel, digest: B256) -> Result<Signature, KeyStoreError> {
        let opened = self.key(label)?.ok_or_else(|| KeyStoreError::Missing(label.clone()))?;
        Ok(opened.key.sign(digest))
    }

    fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        let path = self.path(label);
        let io = io_error(&path);
        let mut opened = self.opened.write();
        let overwrite = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).open(&path)?;
            let size_bytes = file.metadata()?.len().min(FILE_SIZE_BYTES_MAX as u64);
            io::copy(&mut io::repeat(0).take(size_bytes), &mut file)?;
            file.sync_all()?;
            fs::remove_file(&path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        match overwrite() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyStoreError::Missing(label.clone()));
            }
            done => done.map_err(io)?,
        }
        opened.remove(label);
        Ok(())
    }
}

fn context(label: &KeyLabel, address: Address) -> [u8; 32] {
    SEAL.digest(&[&[FILE_VERSION], label.to_string().as_bytes(), address.as_slice()]).0
}

fn check_of(secret: &Zeroizing<[u8; SECRET_SIZE_BYTES]>) -> B256 {
    WRAP_CHECK.digest(&[secret.as_slice()])
}

fn wrapping_secret(
    folder: &Path,
    unlock: &Unlock,
    salt: &[u8],
    params: Argon2Params,
    make_with: Option<&SystemRandom>,
) -> Result<Zeroizing<[u8; SECRET_SIZE_BYTES]>, KeyStoreError> {
    let path = folder.join(MACHINE_SECRET_FILE);
    match unlock {
        Unlock::Passphrase(passphrase, _) => {
            Ok(Zeroizing::new(derive_argon2id(passphrase.as_bytes(), salt, params)?.0))
        }
        Unlock::MachineSecret => match (read_file(&path)?, make_with) {
            (Some(bytes), _) => {
                check_private(&path)?;
                let bytes = Zeroizing::new(bytes);
                Ok(Zeroizing::new(
                    <[u8; SECRET_SIZE_BYTES]>::try_from(bytes.as_slice()).map_err(|_| damaged(&path))?,
                ))
            }
            (None, Some(random)) => {
                let secret = random_bytes::<SECRET_SIZE_BYTES>(random)?;
                write_file(&path, secret.as_slice())?;
                Ok(secret)
            }
            (None, None) => Err(KeyStoreError::WrongSecret(folder.display().to_string())),
        },
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> KeyStoreError + use<> {
    let path = path.display().to_string();
    move |source| KeyStoreError::Io { path: path.clone(), source }
}

fn damaged(path: &Path) -> KeyStoreError {
    KeyStoreError::Damaged(path.display().to_string())
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, KeyStoreError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error(path))?,
    };
    let mut bytes = Vec::with_capacity(FILE_SIZE_BYTES_MAX);
    file.take(FILE_SIZE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io_error(path))?;
    Ok(Some(bytes))
}

/// Whole or not at all, durable on return, readable by its owner only.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let staged = path.with_extension("staged");
    let write = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(io_error(path))
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), KeyStoreError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(io_error(path))?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyStoreError::Exposed(path.display().to_string())) }
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), KeyStoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::{KeyPurpose, tests::conformance};

    const CHEAP: Argon2Params = Argon2Params { memory_kib: 64, passes: 1, lanes: 1 };

    fn passphrase(words: &str) -> Unlock {
        Unlock::Passphrase(Zeroizing::new(words.to_owned()), CHEAP)
    }

    #[test]
    fn keeps_the_promises_of_every_store() {
        for unlock in [Unlock::MachineSecret, passphrase("correct horse")] {
            let folder = tempfile::tempdir().unwrap();
            conformance(&FileKeyStore::open(folder.path(), &unlock).unwrap());
        }
    }

    #[test]
    fn keys_survive_reopening_and_need_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let label = KeyLabel::new(KeyPurpose::Host, "this").unwrap();
        let address = FileKeyStore::open(folder.path(), &passphrase("a")).unwrap().make(&label).unwrap();
        let again = FileKeyStore::open(folder.path(), &passphrase("a")).unwrap();
        assert_eq!(again.address(&label).unwrap(), Some(address));
        for wrong in [passphrase("b"), Unlock::MachineSecret] {
            assert!(matches!(FileKeyStore::open(folder.path(), &wrong), Err(KeyStoreError::WrongSecret(_))));
        }
    }

    #[test]
    fn no_file_holds_a_secret_and_any_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let label = KeyLabel::new(KeyPurpose::Host, "this").unwrap();
        let store = FileKeyStore::open(folder.path(), &passphrase("a")).unwrap();
        store.make(&label).unwrap();
        let secret = *store.key(&label).unwrap().unwrap().key.to_bytes();
        let path = store.path(&label);
        let good = fs::read(&path).unwrap();
        assert!(!good.windows(32).any(|window| window == secret));
        for at in 0..good.len() {
            let mut bad = good.clone();
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 1;
            }
            fs::write(&path, &bad).unwrap();
            store.opened.write().clear();
            assert!(matches!(store.address(&label), Err(KeyStoreError::Damaged(_))), "byte {at}");
        }
        // A sealed key does not open under another name.
        fs::write(&path, &good).unwrap();
        let other = KeyLabel::new(KeyPurpose::Publisher, "this").unwrap();
        fs::copy(&path, store.path(&other)).unwrap();
        assert!(matches!(store.address(&other), Err(KeyStoreError::Damaged(_))));
    }

    #[test]
    fn a_peer_seed_is_its_stores_own_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileKeyStore::open(folder.path(), &passphrase("a")).unwrap();
        assert!(matches!(store.peer_seed("node"), Err(KeyStoreError::Missing(_))));
        let label = KeyLabel::new(KeyPurpose::Peer, "node").unwrap();
        store.make(&label).unwrap();
        let seed = store.peer_seed("node").unwrap();
        assert_ne!(*seed, *store.key(&label).unwrap().unwrap().key.to_bytes());
        let again = FileKeyStore::open(folder.path(), &passphrase("a")).unwrap();
        assert_eq!(again.peer_seed("node").unwrap(), seed);
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_private_to_their_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = FileKeyStore::open(folder.path(), &Unlock::MachineSecret).unwrap();
        store.make(&KeyLabel::new(KeyPurpose::Host, "this").unwrap()).unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
        let secret = folder.path().join(MACHINE_SECRET_FILE);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            FileKeyStore::open(folder.path(), &Unlock::MachineSecret),
            Err(KeyStoreError::Exposed(_))
        ));
    }
}
