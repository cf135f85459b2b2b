//! Messages with members.

use prometheus_client::metrics::counter::Counter;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the member to this node.
    In,
    /// From this node to the member.
    Out,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Counters of one member, protocol and direction. Kept by whoever sends or receives: counting is two atomic additions.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
}

impl Traffic {
    /// Counts one message.
    pub fn count(&self, size_bytes: usize) {
        self.messages.inc();
        self.bytes.inc_by(u64::try_from(size_bytes).unwrap_or(u64::MAX));
    }
}
