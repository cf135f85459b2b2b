//! The Transport seam: messages between authenticated members, by ledger and protocol.

use crate::PeerId;
use bletchley_primitives::Bytes;

/// Protocols beside an engine's own, each a channel with bounds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// Transactions on their way into every member's mempool.
    Transactions = 0,
    /// Checkpoint signatures and certificates.
    Checkpoints = 1,
    /// Delegated calls that other members' hosts answer.
    Calls = 2,
    /// Final blocks and snapshots for members that fell behind.
    Sync = 3,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Transactions, Self::Checkpoints, Self::Calls, Self::Sync];

    /// Name as metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Checkpoints => "checkpoints",
            Self::Calls => "calls",
            Self::Sync => "sync",
        }
    }

    /// Longest message, in bytes. Longer ones are not sent; whoever sends one is cut off.
    #[must_use]
    pub const fn size_bytes_max(self) -> usize {
        match self {
            Self::Transactions | Self::Sync => 4 << 20,
            Self::Checkpoints => 128 << 10,
            Self::Calls => 2 << 20,
        }
    }
}

/// Who shall get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every connected member of the ledger.
    All,
    /// One of them.
    One(PeerId),
}

/// Sends messages of one ledger and protocol. Never blocks: a message that finds its queue full, or its receiver not
/// connected, is lost, as on any network; what must arrive is asked for again by whoever misses it.
pub trait Post: Send + Sync + 'static {
    /// Sends `message`; false when it was not even queued.
    fn send(&self, to: To, message: Bytes) -> bool;
}

/// Receives messages of one ledger and protocol, on the network's thread: it must be quick. Only members of the
/// ledger are heard, and no message is longer than the protocol allows; its content is as hostile as its sender.
pub trait Receive: Send + Sync + 'static {
    /// Takes one message. An error is counted against the sender, who is cut off when it goes on like that.
    ///
    /// # Errors
    /// [`Nonsense`] when no honest member would have sent this.
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense>;
}

/// A message that no honest member sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Nonsense(pub String);
