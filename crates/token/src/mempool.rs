//! Transactions that wait for a block, checked on arrival against the committed state and against each other.

use crate::block::Delta;
use crate::limits::{
    POOL_CHAIN_DEPTH_MAX, POOL_PEER_SIZE_BYTES_MAX, POOL_PEER_TRANSACTIONS_MAX, POOL_SIZE_BYTES_MAX,
    POOL_TRANSACTIONS_MAX, POOL_TRANSACTIONS_PER_SIGNER_MAX, SUBMIT_BATCH_MAX,
};
use crate::lock::Clock;
use crate::rules::{Layer, Past, RuleError, View, check};
use crate::state::{State, Unspent};
use crate::transaction::{Checked, TransactionError};
use crate::{AssetId, OutputRef, TokenId};
use bletchley_ledger::Store;
use bletchley_primitives::{Address, B256, TimestampMs, TxId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a submitted transaction was refused. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It could never stand in a block.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// It cannot happen on the present state.
    #[error("transaction {id} is refused: {source}")]
    Rule {
        /// The transaction.
        id: TxId,
        /// Which rule it breaks.
        source: Box<RuleError>,
    },
    /// It waits already.
    #[error("transaction {0} is known and waits for a block")]
    Waiting(TxId),
    /// It is on the ledger already.
    #[error("transaction {0} is on the ledger already")]
    Final(TxId),
    /// Too much waits.
    #[error(
        "the ledger has {count} transactions of {size_bytes} bytes waiting, its bound; try again after the next block"
    )]
    Full {
        /// Transactions that wait.
        count: usize,
        /// Their size.
        size_bytes: usize,
    },
    /// Too much of one signer waits.
    #[error(
        "{signer} has {count} transactions waiting, the bound for one signer; try again after the next block"
    )]
    SignerFull {
        /// The signer.
        signer: Address,
        /// Transactions that wait.
        count: usize,
    },
    /// The chain of waiting transactions that it continues is too long.
    #[error(
        "it continues a chain of {POOL_CHAIN_DEPTH_MAX} waiting transactions, the longest allowed; try again after the next block"
    )]
    TooDeep,
    /// The batch is too long; nothing of it was looked at.
    #[error("a batch has at most {SUBMIT_BATCH_MAX} transactions, this one has {0}")]
    Batch(usize),
}

impl SubmitError {
    /// A stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transaction(_) => "malformed",
            Self::Rule { source, .. } => match **source {
                RuleError::DoubleSpend { .. } => "double_spend",
                RuleError::NotUnspent(_) => "not_unspent",
                RuleError::AlreadyIssued { .. } => "already_issued",
                RuleError::IssuerDidNotSign(_) => "not_the_issuer",
                RuleError::Locked { .. } => "locked",
                RuleError::Unbalanced { .. } => "unbalanced",
                _ => "refused",
            },
            Self::Waiting(_) => "waiting",
            Self::Final(_) => "final",
            Self::Full { .. } | Self::SignerFull { .. } | Self::TooDeep => "full",
            Self::Batch(_) => "batch_too_long",
        }
    }
}

/// Where a transaction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Local,
    /// Another member, which sent what its clients sent it.
    Peer,
}

struct Waiting {
    tx: Arc<Checked>,
    origin: Origin,
    sequence: u64,
    depth: u32,
    /// Set when a lock opens only at a later block time.
    not_before: Option<TimestampMs>,
    signer: Address,
    tokens: Vec<TokenId>,
    assets: Vec<AssetId>,
    builds: Vec<TokenId>,
}

impl Waiting {
    fn only_moves(&self) -> bool {
        self.tokens.is_empty() && self.assets.is_empty() && self.builds.is_empty()
    }
}

/// The waiting transactions.
#[derive(Default)]
pub(crate) struct Pool {
    layer: Layer,
    waiting: FxHashMap<TxId, Waiting>,
    order: BTreeMap<u64, TxId>,
    per_signer: FxHashMap<Address, usize>,
    size_bytes: usize,
    /// How many transactions other members sent, and their size: a part of the pool is for this node's clients alone.
    from_peers: (usize, usize),
    next_sequence: u64,
    postponed: usize,
    /// A block took some transactions since depths were last counted.
    depths_stale: bool,
}

struct PoolPast<'a> {
    store: &'a dyn Store,
    waiting: &'a FxHashMap<TxId, Waiting>,
}

impl Past for PoolPast<'_> {
    fn holds(&self, id: TxId) -> Result<bool, String> {
        Ok(self.waiting.contains_key(&id) || self.store.locate(id.0).map_err(|e| e.to_string())?.is_some())
    }
}

impl Pool {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Transactions that could enter a block now.
    pub(crate) fn ready(&self) -> usize {
        self.waiting.len().saturating_sub(self.postponed)
    }

    pub(crate) fn get(&self, id: &TxId) -> Option<&Arc<Checked>> {
        self.waiting.get(id).map(|waiting| &waiting.tx)
    }

    /// Who signed a transaction that waits here, if it is the same to the last byte.
    pub(crate) fn signers(&self, id: &TxId, leaf: &B256) -> Option<Vec<Address>> {
        self.get(id).filter(|tx| tx.leaf == *leaf).map(|tx| tx.signers.clone())
    }

    /// What shows, before any signature is looked at, that a transaction need not come in: it waits already, it is final,
    /// or it spends what nothing here has made or something has spent.
    pub(crate) fn needless(&self, state: &State, store: &dyn Store, tx: &Checked) -> Option<SubmitError> {
        if self.waiting.contains_key(&tx.id) {
            return Some(SubmitError::Waiting(tx.id));
        }
        let inputs = &tx.tx.body.inputs;
        if inputs.is_empty() {
            let location = store.locate(tx.id.0).ok().flatten()?;
            return (location.height <= state.head.height).then_some(SubmitError::Final(tx.id));
        }
        let unknown = inputs
            .iter()
            .find(|input| !state.unspent.contains_key(*input) && !self.layer.created.contains_key(*input))?;
        let source = Box::new(RuleError::NotUnspent(*unknown));
        Some(SubmitError::Rule { id: tx.id, source })
    }

    /// The waiting transaction that spends this output.
    pub(crate) fn spender(&self, output: &OutputRef) -> Option<TxId> {
        self.layer.spent.get(output).copied()
    }

    /// Takes a transaction in.
    pub(crate) fn admit(
        &mut self,
        state: &State,
        store: &dyn Store,
        tx: Arc<Checked>,
        origin: Origin,
    ) -> Result<TxId, SubmitError> {
        if self.waiting.contains_key(&tx.id) {
            return Err(SubmitError::Waiting(tx.id));
        }
        let signer = tx.signers.first().copied().unwrap_or_default();
        let size_bytes = self.size_bytes + tx.bytes.len();
        let (peer_txs, peer_size_bytes) = self.from_peers;
        let peers_full = origin == Origin::Peer
            && (peer_txs >= POOL_PEER_TRANSACTIONS_MAX
                || peer_size_bytes + tx.bytes.len() > POOL_PEER_SIZE_BYTES_MAX);
        if peers_full || self.waiting.len() >= POOL_TRANSACTIONS_MAX || size_bytes > POOL_SIZE_BYTES_MAX {
            return Err(SubmitError::Full { count: self.waiting.len(), size_bytes: self.size_bytes });
        }
        let of_signer = self.per_signer.get(&signer).copied().unwrap_or_default();
        if of_signer >= POOL_TRANSACTIONS_PER_SIGNER_MAX {
            return Err(SubmitError::SignerFull { signer, count: of_signer });
        }
        let (mut depth, not_before) = self.chain(&tx);
        if depth > POOL_CHAIN_DEPTH_MAX && self.depths_stale {
            self.count_depths();
            depth = self.chain(&tx).0;
        }
        if depth > POOL_CHAIN_DEPTH_MAX {
            return Err(SubmitError::TooDeep);
        }
        let past = PoolPast { store, waiting: &self.waiting };
        let view = View { base: state, layer: &self.layer, past: &past };
        let effects = check(&view, &tx, Clock::Open)
            .map_err(|source| SubmitError::Rule { id: tx.id, source: Box::new(source) })?;
        let id = tx.id;
        for unspent in &effects.spent {
            self.layer.spent.insert(unspent.reference, id);
        }
        for (position, output) in (0u32..).zip(&tx.tx.body.outputs) {
            let reference = OutputRef { tx: id, position };
            self.layer
                .created
                .insert(reference, Unspent { reference, index: u64::MAX, output: output.clone() });
        }
        let tokens = effects.tokens.iter().map(|(id, _)| *id).collect();
        let assets = effects.assets.iter().map(|(id, _)| *id).collect();
        let builds = effects.builds.iter().map(|(id, _)| *id).collect();
        self.layer.tokens.extend(effects.tokens.into_iter().map(|(token, state)| (token, (id, state))));
        self.layer.assets.extend(effects.assets.into_iter().map(|(asset, state)| (asset, (id, state))));
        self.layer.builds.extend(effects.builds.into_iter().map(|(thing, build)| (thing, (id, build))));
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.size_bytes = size_bytes;
        if origin == Origin::Peer {
            self.from_peers = (peer_txs + 1, peer_size_bytes + tx.bytes.len());
        }
        self.postponed += usize::from(not_before.is_some());
        *self.per_signer.entry(signer).or_default() += 1;
        self.order.insert(sequence, id);
        self.waiting
            .insert(id, Waiting { tx, origin, sequence, depth, not_before, signer, tokens, assets, builds });
        Ok(id)
    }

    /// How long the chain of waiting transactions is that this one continues, and when it can enter a block.
    fn chain(&self, tx: &Checked) -> (u32, Option<TimestampMs>) {
        let parents = tx.tx.body.inputs.iter().filter_map(|input| self.waiting.get(&input.tx));
        parents.fold((1, None), |(depth, not_before), parent| {
            (depth.max(parent.depth.saturating_add(1)), not_before.max(parent.not_before))
        })
    }

    /// Counts all depths anew: what a block took no longer counts.
    fn count_depths(&mut self) {
        let order: Vec<TxId> = self.order.values().copied().collect();
        for id in order {
            let Some(tx) = self.get(&id).map(Arc::clone) else { continue };
            let (depth, _) = self.chain(&tx);
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.depth = depth;
            }
        }
        self.depths_stale = false;
    }

    /// Waiting transactions in the order of their arrival, within the bounds of one block.
    pub(crate) fn candidates(
        &self,
        time_ms: TimestampMs,
        count_max: usize,
        size_bytes_max: usize,
    ) -> Vec<Arc<Checked>> {
        let mut left_bytes = size_bytes_max;
        let mut candidates = Vec::new();
        for waiting in self.order.values().filter_map(|id| self.waiting.get(id)) {
            if waiting.not_before.is_some_and(|at| at > time_ms) {
                continue;
            }
            let Some(left) = left_bytes.checked_sub(waiting.tx.bytes.len()) else { break };
            if candidates.len() == count_max {
                break;
            }
            left_bytes = left;
            candidates.push(Arc::clone(&waiting.tx));
        }
        candidates
    }

    /// Leaves transactions for a later block time.
    pub(crate) fn postpone(&mut self, ids: &[(TxId, TimestampMs)]) {
        for (id, until) in ids {
            if let Some(waiting) = self.waiting.get_mut(id) {
                self.postponed += usize::from(waiting.not_before.is_none());
                waiting.not_before = Some(*until);
            }
        }
    }

    /// Drops transactions that can no longer happen, with all that build on them.
    pub(crate) fn drop_all(&mut self, state: &State, store: &dyn Store, ids: impl IntoIterator<Item = TxId>) {
        let mut gone: FxHashSet<TxId> = ids.into_iter().filter(|id| self.waiting.contains_key(id)).collect();
        if gone.is_empty() {
            return;
        }
        for waiting in self.order.values().filter_map(|id| self.waiting.get(id)) {
            if waiting.tx.tx.body.inputs.iter().any(|input| gone.contains(&input.tx)) {
                gone.insert(waiting.tx.id);
            }
        }
        let only_moves = gone.iter().all(|id| self.waiting.get(id).is_some_and(Waiting::only_moves));
        for id in &gone {
            self.forget(id);
        }
        if !only_moves {
            self.rebuild(state, store);
        }
    }

    /// Takes a transaction and its changes out; those of tokens that a later one changed again stay.
    fn forget(&mut self, id: &TxId) -> bool {
        let Some(gone) = self.waiting.remove(id) else { return false };
        self.order.remove(&gone.sequence);
        self.size_bytes = self.size_bytes.saturating_sub(gone.tx.bytes.len());
        if gone.origin == Origin::Peer {
            self.from_peers.0 = self.from_peers.0.saturating_sub(1);
            self.from_peers.1 = self.from_peers.1.saturating_sub(gone.tx.bytes.len());
        }
        self.postponed = self.postponed.saturating_sub(usize::from(gone.not_before.is_some()));
        if let Some(count) = self.per_signer.get_mut(&gone.signer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_signer.remove(&gone.signer);
            }
        }
        for input in &gone.tx.tx.body.inputs {
            self.layer.spent.remove(input);
        }
        for (position, _) in (0u32..).zip(&gone.tx.tx.body.outputs) {
            self.layer.created.remove(&OutputRef { tx: *id, position });
        }
        for token in &gone.tokens {
            if self.layer.tokens.get(token).is_some_and(|(by, _)| by == id) {
                self.layer.tokens.remove(token);
            }
        }
        for asset in &gone.assets {
            if self.layer.assets.get(asset).is_some_and(|(by, _)| by == id) {
                self.layer.assets.remove(asset);
            }
        }
        for thing in &gone.builds {
            if self.layer.builds.get(thing).is_some_and(|(by, _)| by == id) {
                self.layer.builds.remove(thing);
            }
        }
        true
    }

    /// Follows a committed block: `state` has its changes already.
    pub(crate) fn committed(&mut self, state: &State, store: &dyn Store, block: &BlockChanges) {
        self.depths_stale = true;
        let mut foreign = Vec::new();
        for tx in &block.transactions {
            if !self.forget(&tx.id) {
                foreign.push(tx);
            }
        }
        if foreign.is_empty() || self.waiting.is_empty() {
            return;
        }
        let spends =
            foreign.iter().any(|tx| tx.tx.body.inputs.iter().any(|i| self.layer.spent.contains_key(i)));
        let tokens = block.tokens.iter().any(|id| self.layer.tokens.contains_key(id));
        let builds = block.builds.iter().any(|id| self.layer.builds.contains_key(id));
        if spends || tokens || builds {
            self.rebuild(state, store);
        }
    }

    /// Checks every waiting transaction again, in the order of arrival; what no longer stands is dropped.
    fn rebuild(&mut self, state: &State, store: &dyn Store) {
        let mut old = std::mem::take(self);
        for id in old.order.values() {
            let Some(waiting) = old.waiting.remove(id) else { continue };
            let not_before = waiting.not_before;
            match self.admit(state, store, waiting.tx, waiting.origin) {
                Ok(id) => {
                    if let Some(until) = not_before {
                        self.postpone(&[(id, until)]);
                    }
                }
                Err(error) => tracing::debug!(%id, %error, "a waiting transaction can no longer happen"),
            }
        }
    }
}

/// What the pool must know of a committed block.
pub(crate) struct BlockChanges {
    pub(crate) transactions: Vec<Arc<Checked>>,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) builds: Vec<TokenId>,
}

impl BlockChanges {
    pub(crate) fn of(delta: &Delta) -> Self {
        Self {
            transactions: delta.transactions.clone(),
            tokens: delta.tokens.iter().map(|(id, _)| *id).collect(),
            builds: delta.builds.iter().map(|(id, _)| *id).collect(),
        }
    }
}
