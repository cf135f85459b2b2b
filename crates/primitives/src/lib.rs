//! Newtypes and bounds that every row shares; no behaviour beyond their encodings.
//!
//! ```
//! use bletchley_primitives::{Height, decode_bounded};
//! let bytes = alloy_rlp::encode(Height(7));
//! assert_eq!(decode_bounded::<Height>(&bytes, 16).unwrap(), Height(7));
//! assert!(decode_bounded::<Height>(&bytes, 0).is_err());
//! ```

mod bounded;
mod id;
mod signature;

pub use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
pub use bounded::{DecodeError, decode_bounded};
pub use id::{BlockHash, Height, LedgerId, TimestampMs, TxId};
pub use signature::Signature;
