//! Members on the network: authenticated by their ed25519 keys, encrypted, members only, bounded by peer.
//!
//! One network for a node, whatever the number of its ledgers. Every channel is divided by ledger ([`Hub`]), and what
//! belongs to a ledger is neither sent to, nor heard from, anybody but its members ([`Circle`]). Handshake, record
//! layer, discovery, reconnection with back-off and rate limits are commonware's; [`tcp`] runs them on sockets, a
//! simulation runs the same hub on a seeded network.

mod channels;
mod circle;
mod hub;
mod key;
mod post;
pub mod tcp;

pub use channels::{CHANNELS, Channel};
pub use circle::{Circle, Inside, InsideReceiver};
pub use hub::{EngineChannels, Hub, HubError, LedgerChannels, Pair};
pub use key::{PeerKey, SEED_SIZE_BYTES, peer_id, public_key};
pub use post::{listen, post};
