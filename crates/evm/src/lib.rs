//! The smart-contract machine: Ethereum rules through revm over an in-memory state with Merkle-Patricia roots; no sockets,
//! no files, no clock.
//!
//! [`EvmLedger`] is what the rest of a node holds: it submits, reads, calls and traces. [`EvmMachine`] is its other face,
//! for an engine that orders blocks. Both share one state. The order in which a block comes to be is the safety argument:
//! the machine executes (nothing visible changes), the store appends (durable), the machine commits (visible).
//!
//! ```
//! use bletchley_evm::Genesis;
//! use bletchley_primitives::TimestampMs;
//! let genesis = Genesis::new(1337, TimestampMs(1_700_000_000_000));
//! assert!(genesis.validate().is_ok());
//! assert_ne!(genesis.ledger_id(), Genesis::new(1338, genesis.time_ms).ledger_id());
//! ```

mod admit;
mod arrivals;
mod block;
mod body;
mod call;
mod core;
mod delegate;
mod dev;
mod estimate;
mod execute;
mod fees;
mod genesis;
mod header;
mod held;
mod inclusion;
mod ledger;
mod logs;
mod machine;
mod overlay;
mod pool;
mod prefetch;
mod read;
mod receipts;
pub mod state;
mod trace;
pub mod trie;
mod tx;

pub use block::EvmBlock;
pub use body::{BLOCK_TXS_MAX, BODY_SIZE_BYTES_MAX};
pub use call::{AccessListOutcome, CALL_GAS_MAX, CallEnd, CallError, CallOutcome, revert_reason};
pub use core::{NoObserver, Observer, OpenError};
pub use delegate::{
    DELEGATE_ADDRESS, DELEGATE_FUEL_PER_GAS, DELEGATE_GAS_BASE, DELEGATE_GAS_PER_BYTE,
    DELEGATE_GAS_PER_SIGNATURE, delegate_gas,
};
pub use dev::{DevError, DevHandle};
pub use fees::{FEE_HISTORY_BLOCKS_MAX, FEE_HISTORY_PERCENTILES_MAX, FeeHistoryError};
pub use genesis::{BaseFee, Fork, GAS_LIMIT_DEFAULT, GAS_LIMIT_MIN, Genesis, GenesisAccount, GenesisError};
pub use held::HELD_BLOCKS_MAX;
pub use inclusion::{Included, InclusionError, InclusionProof, ProvedSlot, StateProof, header_link};
pub use ledger::{EvmLedger, Found, FoundReceipt, ProofLookupError, TxPlace};
pub use logs::{LOGS_ALTERNATIVES_MAX, LOGS_BLOCKS_MAX, LOGS_RESULTS_MAX, LogQuery, LogsError, PlacedLog};
pub use machine::EvmMachine;
pub use overlay::OverrideError;
pub use pool::{Dropped, PoolContent, PoolLimits, PoolStatus, SenderTxs, SubmitError};
pub use read::{BlockRef, LookupError};
pub use receipts::MinedReceipt;
pub use trace::{TRACE_SIZE_BYTES_MAX, TraceError};
pub use tx::{ClaimedTx, RecoveredTx, TX_SIZE_BYTES_MAX, TxError};
