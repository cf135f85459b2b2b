//! Ethereum JSON-RPC over HTTP and WebSocket for one EVM ledger; assembles nothing, makes no blocks, and knows no disk.
//!
//! The node opens an [`bletchley_evm::EvmLedger`] with a [`Feed`] as its observer, makes an [`ApiContext`] of both, and
//! hands it to [`serve`] together with whatever else is to be served on the same port.
//!
//! Invariants:
//! - every answer to a body is JSON-RPC, whatever the body; a refused request changes nothing;
//! - every queue has a bound in [`limits`]; at the bound a caller is refused or cut off with a reason, never buffered for
//!   ever;
//! - neighbouring raw transactions of a batch reach the ledger together, so that their signers are recovered together;
//! - what only development ledgers have does not exist elsewhere;
//! - pages of strangers cannot talk to a node through their visitor's browser.
//!
//! ```
//! use bletchley_api::AccessPolicy;
//! let policy = AccessPolicy::default();
//! assert!(policy.allows_origin("http://localhost:3000"));
//! assert!(!policy.allows_origin("https://example.com"));
//! ```

mod access;
mod block_ref;
mod context;
mod dev_control;
mod dispatch;
mod error;
mod feed;
mod filters;
mod json;
mod ledgers;
pub mod limits;
mod log_filter;
mod methods;
mod operation;
mod params;
mod pool;
mod refusal;
mod request;
pub mod rest;
mod server;
mod session;
mod shapes;
mod trace;
mod websocket;

pub use access::AccessPolicy;
pub use context::{ApiContext, ApiOptions, Probe};
pub use dev_control::{DevControl, DevError, DevMode};
pub use error::RpcError;
pub use feed::{BlockEvent, Feed};
pub use ledgers::LedgerMounts;
pub use operation::{Operation, Tally};
pub use server::{ServeError, ServerHandle, serve};
pub use trace::{FOLLOWED_MAX, Followed, Trace, TraceId};
