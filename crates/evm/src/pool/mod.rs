//! The mempool: transactions by sender and nonce, with named bounds; in memory only, so that a restart forgets it.
//!
//! Transactions come from this node's clients or from other members, which send what their clients sent them. A part of
//! the pool is for the first alone, and a member's transactions never push one of theirs out, so that whatever the
//! others send, this node takes its own clients' transactions in.
//!
//! A transaction whose nonce lies ahead of its sender's waits as *queued* until the gap is filled; the others are
//! *pending*. Which of them enters a block is [`Pool::select`]'s business.

mod limits;
mod queue;
mod select;

pub use limits::PoolLimits;
pub(crate) use select::Selection;

use alloy_primitives::{Address, B256, U256};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::tx::{RecoveredTx, TxError};
use queue::{Entry, Queue};

/// Why a transaction was not accepted. The words are geth's where tools look for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The bytes are not a transaction of this ledger.
    #[error(transparent)]
    Decode(#[from] TxError),
    /// It is in the pool already.
    #[error("already known")]
    AlreadyKnown,
    /// A transaction with this nonce is in a block already.
    #[error("nonce too low: next nonce {next}, tx nonce {found}")]
    NonceTooLow {
        /// The sender's next nonce.
        next: u64,
        /// The transaction's.
        found: u64,
    },
    /// The nonce is the last number there is.
    #[error("nonce has max value: {0}")]
    NonceMax(Address),
    /// Another transaction of the sender has this nonce, and the new one does not pay a tenth more on both fees.
    #[error("replacement transaction underpriced: pay at least 10 % more on both fees than {0} does")]
    ReplacementUnderpriced(B256),
    /// The sender cannot pay for this and what it already has in the pool.
    #[error("insufficient funds for gas * price + value: address {sender} have {have} want {want}")]
    InsufficientFunds {
        /// Who signed.
        sender: Address,
        /// Its balance.
        have: U256,
        /// What all its transactions here could cost.
        want: U256,
    },
    /// The gas limit does not even cover what the transaction costs before it runs.
    #[error("intrinsic gas too low: gas {found}, minimum needed {needed}")]
    IntrinsicGas {
        /// Gas limit.
        found: u64,
        /// Least that is needed.
        needed: u64,
    },
    /// The data makes the transaction cost more than its gas limit (EIP-7623).
    #[error("insufficient gas for floor data gas cost: gas {found}, minimum needed {needed}")]
    FloorGas {
        /// Gas limit.
        found: u64,
        /// Least that is needed.
        needed: u64,
    },
    /// It could never fit into a block.
    #[error("exceeds block gas limit: gas {found}, limit {limit}")]
    BlockGasLimit {
        /// Gas limit of the transaction.
        found: u64,
        /// Gas limit of a block.
        limit: u64,
    },
    /// It asks for more gas than one transaction may have (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {found})")]
    GasLimitCap {
        /// Gas limit of the transaction.
        found: u64,
        /// The cap.
        cap: u64,
    },
    /// It offers less than the base fee.
    #[error("max fee per gas less than block base fee: maxFeePerGas {found}, baseFee {base_fee}")]
    FeeBelowBase {
        /// The most it pays.
        found: u128,
        /// Base fee of the next block.
        base_fee: u64,
    },
    /// It offers the proposer less than this node asks for.
    #[error("transaction underpriced: gas tip cap {found}, minimum needed {needed}")]
    Underpriced {
        /// The tip it offers.
        found: u128,
        /// The least this node takes.
        needed: u128,
    },
    /// The tip is larger than the whole fee.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas {tip}, maxFeePerGas {fee}"
    )]
    TipAboveFee {
        /// Priority fee.
        tip: u128,
        /// Whole fee.
        fee: u128,
    },
    /// The code to create a contract with is too long (EIP-3860).
    #[error("max initcode size exceeded: code size {found}, limit {limit}")]
    InitcodeSize {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A contract cannot send transactions (EIP-3607).
    #[error("sender not an eoa: address {0} has code")]
    SenderHasCode(Address),
    /// Nobody asked for this sender to be impersonated.
    #[error("unknown account {0}: it is not impersonated on this ledger")]
    NotImpersonated(Address),
    /// An EIP-7702 transaction needs authorizations.
    #[error("EIP-7702 transaction with empty auth list")]
    NoAuthorizations,
    /// Too many transactions of one sender.
    #[error("too many transactions of {sender} are waiting: this node keeps {limit} of one sender")]
    SenderFull {
        /// Who signed.
        sender: Address,
        /// The bound.
        limit: usize,
    },
    /// The pool is full of transactions that pay as much or more.
    #[error("txpool is full: {0} transactions are waiting and pay as much or more")]
    PoolFull(usize),
    /// State could not be read.
    #[error("reading the sender's account: {0}")]
    State(String),
}

/// Counts, as `txpool_status` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// Transactions that could run now.
    pub pending: usize,
    /// Transactions behind a gap of nonces.
    pub queued: usize,
    /// Encoded size of all of them.
    pub size_bytes: usize,
}

/// One sender's transactions by nonce.
pub type SenderTxs = BTreeMap<u64, Arc<RecoveredTx>>;

/// Everything in the pool, as `txpool_content` gives it.
#[derive(Clone, Debug, Default)]
pub struct PoolContent {
    /// Transactions that could run now.
    pub pending: BTreeMap<Address, SenderTxs>,
    /// Transactions behind a gap of nonces.
    pub queued: BTreeMap<Address, SenderTxs>,
}

/// A transaction that left the pool without entering a block, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its hash.
    pub hash: B256,
    /// Why it could not stay.
    pub reason: String,
}

/// Where a transaction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Local,
    /// Another member.
    Peer,
}

/// What the pool needs to know about a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderAccount {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
}

/// The mempool of one ledger. Callers lock it.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: PoolLimits,
    by_hash: FxHashMap<B256, Arc<RecoveredTx>>,
    senders: FxHashMap<Address, Queue>,
    size_bytes: usize,
    /// How many transactions other members sent, and their encoded size.
    from_peers: (usize, usize),
    /// Sum over senders of transactions without a gap before them.
    pending: usize,
    /// Order of arrival; ties between equal tips are broken by it.
    arrivals: u64,
    base_fee: u64,
    /// Senders whose next transaction waits for a delegated call.
    deferred: FxHashSet<Address>,
    wakes: u64,
    /// Counts what could make another attempt at a block worth while.
    changes: u64,
    /// The last attempt to build a block found nothing; nothing has changed since.
    starved: bool,
    dropped: VecDeque<Dropped>,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits, base_fee: u64) -> Self {
        Self {
            limits,
            by_hash: FxHashMap::default(),
            senders: FxHashMap::default(),
            size_bytes: 0,
            from_peers: (0, 0),
            pending: 0,
            arrivals: 0,
            base_fee,
            deferred: FxHashSet::default(),
            wakes: 0,
            changes: 0,
            starved: false,
            dropped: VecDeque::new(),
        }
    }

    pub(crate) const fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    pub(crate) const fn base_fee(&self) -> u64 {
        self.base_fee
    }

    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.by_hash.contains_key(hash)
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<Arc<RecoveredTx>> {
        self.by_hash.get(hash).cloned()
    }

    /// How many transactions could enter a block now; zero as long as the last attempt found none and nothing changed.
    pub(crate) fn ready(&self) -> usize {
        if self.starved { 0 } else { self.pending }
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            pending: self.pending,
            queued: self.by_hash.len().saturating_sub(self.pending),
            size_bytes: self.size_bytes,
        }
    }

    pub(crate) fn dropped(&self) -> Vec<Dropped> {
        self.dropped.iter().cloned().collect()
    }

    /// The sender's next nonce if all its pending transactions enter a block; none when it has none here.
    pub(crate) fn next_nonce(&self, sender: &Address) -> Option<u64> {
        self.senders.get(sender).map(Queue::next_free)
    }

    pub(crate) fn content(&self) -> PoolContent {
        let mut content = PoolContent::default();
        for (sender, queue) in &self.senders {
            let (pending, queued) = queue.split();
            if !pending.is_empty() {
                content.pending.insert(*sender, pending);
            }
            if !queued.is_empty() {
                content.queued.insert(*sender, queued);
            }
        }
        content
    }

    /// Takes a transaction in. `account` is its sender in the committed state; what needs no sender was checked before.
    pub(crate) fn insert(
        &mut self,
        tx: Arc<RecoveredTx>,
        account: SenderAccount,
        origin: Origin,
    ) -> Result<(), SubmitError> {
        use alloy_consensus::Transaction as _;
        if self.by_hash.contains_key(&tx.hash) {
            return Err(SubmitError::AlreadyKnown);
        }
        let nonce = tx.tx.nonce();
        if nonce < account.nonce {
            return Err(SubmitError::NonceTooLow { next: account.nonce, found: nonce });
        }
        let mut entry = Entry::new(tx, self.arrivals, origin);
        let replaced = match self.senders.get(&entry.tx.sender) {
            Some(queue) => {
                let replaced = queue.replaced_by(&entry, nonce)?;
                if replaced.is_none() && queue.len() >= self.limits.txs_per_sender_max {
                    return Err(SubmitError::SenderFull {
                        sender: entry.tx.sender,
                        limit: self.limits.txs_per_sender_max,
                    });
                }
                let want = queue.cost_with(&entry, replaced.as_ref());
                check_funds(entry.tx.sender, account.balance, want)?;
                replaced
            }
            None => {
                check_funds(entry.tx.sender, account.balance, entry.cost)?;
                None
            }
        };
        match replaced {
            None => self.make_room(&entry)?,
            Some(old) => {
                // It takes the old one's place, in the part of the pool where that is.
                entry.origin = old.origin;
                let others = self.size_bytes - old.tx.raw.len();
                if others + entry.tx.raw.len() > self.limits.size_bytes_max {
                    return Err(SubmitError::PoolFull(self.by_hash.len()));
                }
            }
        }
        self.arrivals += 1;
        self.changed();
        self.count(&entry);
        let queue = self.senders.entry(entry.tx.sender).or_insert_with(|| Queue::new(account.nonce));
        let before = queue.pending();
        let mut gone = queue.advance(account.nonce);
        let old = queue.insert(nonce, entry);
        self.pending = self.pending + queue.pending() - before;
        if let Some(old) = old {
            self.note_dropped(old.tx.hash, "replaced by a transaction that pays more".to_owned());
            gone.push(old);
        }
        gone.iter().for_each(|entry| self.uncount(entry));
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        self.size_bytes += entry.tx.raw.len();
        if entry.origin == Origin::Peer {
            self.from_peers.0 += 1;
            self.from_peers.1 += entry.tx.raw.len();
        }
        self.by_hash.insert(entry.tx.hash, entry.tx.clone());
    }

    fn uncount(&mut self, entry: &Entry) {
        self.size_bytes -= entry.tx.raw.len();
        if entry.origin == Origin::Peer {
            self.from_peers.0 -= 1;
            self.from_peers.1 -= entry.tx.raw.len();
        }
        self.by_hash.remove(&entry.tx.hash);
    }

    /// Whether one more does not fit in: into the pool, or into the part of it that is for other members.
    fn is_full(&self, entry: &Entry) -> bool {
        let (limits, size_bytes) = (&self.limits, entry.tx.raw.len());
        let (peer_txs, peer_size_bytes) = self.from_peers;
        self.by_hash.len() >= limits.txs_max
            || self.size_bytes + size_bytes > limits.size_bytes_max
            || entry.origin == Origin::Peer
                && (peer_txs >= limits.peer_txs_max
                    || peer_size_bytes + size_bytes > limits.peer_size_bytes_max)
    }

    /// Makes room for one more, at the cost of those that pay least; refuses when the new one pays no more than they.
    fn make_room(&mut self, entry: &Entry) -> Result<(), SubmitError> {
        if !self.is_full(entry) {
            return Ok(());
        }
        // One scan frees a share of the pool, so that the cost of scanning is spread over many insertions.
        let mut tails: Vec<(bool, u128, Address)> = self
            .senders
            .iter()
            .filter_map(|(sender, queue)| Some((queue.tail()?, *sender)))
            .filter(|(tail, _)| entry.origin == Origin::Local || tail.origin == Origin::Peer)
            .map(|(tail, sender)| (!tail.gapped, tail.tip, sender))
            .filter(|(pending, tip, sender)| *sender != entry.tx.sender && (!pending || *tip < entry.tip))
            .collect();
        tails.sort_unstable();
        let share = (self.by_hash.len() / self.limits.evict_share).max(1);
        for (_, _, sender) in tails.into_iter().take(share) {
            if let Some(hash) = self.remove_tail(&sender) {
                self.note_dropped(hash, "the pool was full, and others pay more".to_owned());
            }
        }
        if self.is_full(entry) { Err(SubmitError::PoolFull(self.by_hash.len())) } else { Ok(()) }
    }

    fn remove_tail(&mut self, sender: &Address) -> Option<B256> {
        let queue = self.senders.get_mut(sender)?;
        let before = queue.pending();
        let entry = queue.pop_tail()?;
        self.pending = self.pending + queue.pending() - before;
        if queue.is_empty() {
            self.senders.remove(sender);
        }
        self.uncount(&entry);
        Some(entry.tx.hash)
    }

    /// Removes a transaction that can never enter a block.
    pub(crate) fn drop_invalid(&mut self, tx: &RecoveredTx, reason: String) {
        use alloy_consensus::Transaction as _;
        if let Some(queue) = self.senders.get_mut(&tx.sender) {
            let before = queue.pending();
            let removed = queue.remove(tx.tx.nonce(), &tx.hash);
            self.pending = self.pending + queue.pending() - before;
            if queue.is_empty() {
                self.senders.remove(&tx.sender);
            }
            removed.iter().for_each(|entry| self.uncount(entry));
        }
        self.note_dropped(tx.hash, reason);
    }

    /// Removes every transaction; development ledgers only.
    pub(crate) fn clear(&mut self) {
        self.by_hash.clear();
        self.senders.clear();
        self.deferred.clear();
        self.size_bytes = 0;
        self.from_peers = (0, 0);
        self.pending = 0;
        self.changed();
    }

    /// Leaves a transaction for later because a delegated call of it is still running.
    pub(crate) fn defer(&mut self, sender: Address) {
        self.deferred.insert(sender);
    }

    /// Gives deferred transactions another chance; whether there were any.
    pub(crate) fn wake_deferred(&mut self) -> bool {
        self.changed();
        self.wakes += 1;
        let any = !self.deferred.is_empty();
        self.deferred.clear();
        any
    }

    /// Counts how often deferred transactions were given another chance.
    pub(crate) const fn wakes(&self) -> u64 {
        self.wakes
    }

    const fn changed(&mut self) {
        self.changes += 1;
        self.starved = false;
    }

    /// Counts what could make another attempt at a block worth while.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Remembers that no block could be built from what was here when `changes` were counted.
    pub(crate) fn starve(&mut self, changes: u64) {
        self.starved = self.changes == changes;
    }

    /// Follows the state after a block: forgets what it holds, and what its nonces made impossible.
    pub(crate) fn advance(&mut self, next_nonces: &FxHashMap<Address, u64>, base_fee: u64) {
        self.base_fee = base_fee;
        self.deferred.clear();
        self.changed();
        for (sender, next) in next_nonces {
            let Some(queue) = self.senders.get_mut(sender) else { continue };
            let before = queue.pending();
            let gone = queue.advance(*next);
            self.pending = self.pending + queue.pending() - before;
            if queue.is_empty() {
                self.senders.remove(sender);
            }
            gone.iter().for_each(|entry| self.uncount(entry));
        }
    }

    fn note_dropped(&mut self, hash: B256, reason: String) {
        if self.dropped.len() >= self.limits.dropped_max {
            self.dropped.pop_front();
        }
        self.dropped.push_back(Dropped { hash, reason });
    }
}

fn check_funds(sender: Address, have: U256, want: U256) -> Result<(), SubmitError> {
    if want > have { Err(SubmitError::InsufficientFunds { sender, have, want }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
