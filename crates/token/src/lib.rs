//! The UTXO machine: tokenized assets, their owners, provenance, lineage and composites; no sockets, files or clock.
//!
//! A token is an identity, one-way hashed from what identifies it, and a proof that its holder can answer (whitepaper:
//! Cryptographically Tokenized Assets). `specs/token.md` has every encoding, digest and rule.
//!
//! ```
//! use bletchley_crypto::SecretKey;
//! use bletchley_primitives::LedgerId;
//! use bletchley_token::{Lock, TokenRecord, Transaction, TxBuilder};
//! let ledger = LedgerId::default();
//! let maker = SecretKey::from_seed(b"an example, never a real key");
//! let owner = Lock::key(maker.address());
//! let issue = TxBuilder::issue_thing(ledger, maker.address(), "screwdriver", "0001", owner)?.sign(&[&maker]);
//! let (id, _, signers) = Transaction::decode_signed(ledger, &issue.bytes)?;
//! assert_eq!((id, signers), (issue.id, vec![maker.address()]));
//! // Anyone who is told the properties can check the token, anywhere.
//! let record = TokenRecord::thing(maker.address(), "screwdriver", "0001")?;
//! assert!(record.matches(&bletchley_token::Properties::of_thing("screwdriver", "0001")?)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod above;
mod action;
mod anchored;
mod block;
mod builder;
mod codec;
mod header;
mod identity;
mod ids;
pub mod limits;
mod lineage;
mod lock;
mod machine;
mod mempool;
mod proof;
mod query;
mod rules;
mod state;
mod stored;
mod transaction;
mod tree;

pub use action::{Action, Claim, ContractPlace, Entry, Note, Output, Value};
pub use anchored::RootBlocks;
pub use builder::{ShortError, SignedTx, TxBuilder};
pub use codec::OptionalHash;
pub use header::{HEADER_VERSION, Header};
pub use identity::{
    CLASS, CompositeRecord, HardDigest, Identity, IdentityError, Properties, SERIAL, TokenRecord,
};
pub use ids::{AssetId, OutputRef, OutputRefError, Owner, TokenId};
pub use lineage::{Event, Happening, Lineage};
pub use lock::{Lock, LockError};
pub use machine::{Committed, Genesis, OpenError, TokenMachine};
pub use mempool::SubmitError;
pub use proof::{FactorKind, Factors, ProofError, ProofPublic};
pub use query::{AssetView, Balance, Page, TokenView, TxStatus};
pub use rules::RuleError;
pub use state::{Asset, EntryRevision, Status, TokenInfo, Unspent};
pub use transaction::{Body, TRANSACTION_VERSION, Transaction, TransactionError, Witness};
pub use tree::{OutputProof, OutputProofError, leaf, output_digest, state_root};
