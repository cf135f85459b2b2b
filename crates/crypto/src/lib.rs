//! Hashes, signatures and key derivation over well-kept libraries; no key storage and no randomness of its own.
//!
//! Every digest that is signed starts from a [`Domain`], and every domain string is unique in the workspace.
//!
//! ```
//! use bletchley_crypto::{SecretKey, recover, keccak256};
//! let key = SecretKey::from_seed(b"an example, never a real key");
//! let digest = keccak256(b"message");
//! assert_eq!(recover(digest, &key.sign(digest)).unwrap(), key.address());
//! ```

mod batch;
mod domain;
mod ecdsa;
mod kdf;
mod merkle;

pub use alloy_primitives::keccak256;
pub use batch::{BATCH_MIN, Recovered, Signed, recover_claimed};
pub use domain::Domain;
pub use ecdsa::{KeyError, PublicKey, RecoverError, SecretKey, recover, recover_all, recover_key};
pub use kdf::{Argon2Params, DeriveError, derive_argon2id};
pub use merkle::{MERKLE_DEPTH_MAX, MerkleProof, merkle_proof, merkle_root};
