//! Bounds of the mempool.

/// Bounds of the mempool, each with a default that suits a node of a consortium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Most transactions in all.
    pub txs_max: usize,
    /// Most transactions of one sender.
    pub txs_per_sender_max: usize,
    /// Most encoded bytes in all.
    pub size_bytes_max: usize,
    /// Most transactions that other members sent: the rest is for this node's clients.
    pub peer_txs_max: usize,
    /// Most encoded bytes of transactions that other members sent.
    pub peer_size_bytes_max: usize,
    /// Least tip per unit of gas, in wei.
    pub tip_min: u128,
    /// A full pool evicts one in this many transactions at once.
    pub evict_share: usize,
    /// How many dropped transactions are remembered, with the reason.
    pub dropped_max: usize,
}

impl PoolLimits {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        txs_max: 200_000,
        txs_per_sender_max: 16_384,
        size_bytes_max: 128 << 20,
        peer_txs_max: 150_000,
        peer_size_bytes_max: 96 << 20,
        tip_min: 0,
        evict_share: 64,
        dropped_max: 256,
    };
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
