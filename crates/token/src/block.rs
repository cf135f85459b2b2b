//! Running the transactions of one block over a state that stays as it is, and the changes that come of it.

use crate::anchored::extension_of;
use crate::header::{HEADER_VERSION, Header, encode_body, encode_receipts, receipts_digest};
use crate::lock::Clock;
use crate::rules::{Layer, Past, RuleError, View, check};
use crate::state::{Asset, Build, EntryRevision, State, TokenState, Unspent, pack, rows};
use crate::transaction::Checked;
use crate::tree::{TreeDelta, leaf, leaf_hash, output_digest};
use crate::{Action, AssetId, OutputRef, TokenId};
use bletchley_crypto::merkle_root;
use bletchley_ledger::{
    Anchor, Block, BlockMeta, DiffWriter, Executed, Extension, Head, IndexEntry, Location, Store,
};
use bletchley_primitives::{Address, B256, BlockHash, Height, LedgerId, TimestampMs, TxId};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Outputs hashed per parallel unit of work.
const LEAF_CHUNK: usize = 256;

/// Transactions on the ledger before the one that is being checked: in earlier blocks, or earlier in this one.
pub(crate) struct BlockPast<'a> {
    store: &'a dyn Store,
    height: Height,
    /// The newest final block: what the store holds above it belongs to another chain, or is this very block.
    final_height: Height,
    /// Transactions of the blocks between that and this one, and of this one.
    ids: FxHashSet<TxId>,
}

impl Past for BlockPast<'_> {
    fn holds(&self, id: TxId) -> Result<bool, String> {
        if self.ids.contains(&id) {
            return Ok(true);
        }
        let found = self.store.locate(id.0).map_err(|e| e.to_string())?;
        Ok(found.is_some_and(|location| location.height <= self.final_height))
    }
}

#[derive(Debug)]
struct Appended {
    unspent: Unspent,
    spent_by: Option<(TxId, u32)>,
}

#[derive(Debug)]
struct SpentBase {
    unspent: Unspent,
    by: TxId,
    position: u32,
}

/// What a block runs over.
pub(crate) struct Base<'a> {
    /// The state after its parent.
    pub(crate) state: &'a State,
    /// The newest final block.
    pub(crate) final_height: Height,
    /// Transactions of the blocks between that and the parent, the parent's included.
    pub(crate) above: FxHashSet<TxId>,
}

impl<'a> Base<'a> {
    /// The head.
    pub(crate) fn head(state: &'a State) -> Self {
        Self { state, final_height: state.head.height, above: FxHashSet::default() }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.state.head.height == self.final_height
    }
}

/// A block in the making.
pub(crate) struct Run<'a> {
    base: &'a State,
    past: BlockPast<'a>,
    time_ms: TimestampMs,
    layer: Layer,
    appended: Vec<Appended>,
    spent: Vec<SpentBase>,
    touched: Vec<(TokenId, u32)>,
    entries: Vec<EntryRevision>,
    first_outputs: Vec<u64>,
    transactions: Vec<Arc<Checked>>,
}

/// What the header of a block says beside what execution gives.
pub(crate) struct Frame {
    pub(crate) ledger: LedgerId,
    pub(crate) proposer: Address,
    /// The block of the root ledger that it names.
    pub(crate) anchor: Anchor,
}

/// The changes of an executed block, ready to become visible.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    pub(crate) parent: BlockHash,
    pub(crate) head: Head,
    anchor: Anchor,
    spent: Vec<(OutputRef, u64, u32)>,
    appended: Vec<(Unspent, Option<u32>)>,
    pub(crate) tokens: Vec<(TokenId, TokenState)>,
    touched: Vec<(TokenId, u32)>,
    assets: Vec<(AssetId, Asset)>,
    pub(crate) builds: Vec<(TokenId, Build)>,
    pub(crate) entries: Vec<EntryRevision>,
    tree: TreeDelta,
    pub(crate) transactions: Vec<Arc<Checked>>,
}

impl<'a> Run<'a> {
    /// A block on `base`. Where that is not the head, `above` names the transactions of the blocks above it.
    pub(crate) fn new(base: Base<'a>, store: &'a dyn Store, time_ms: TimestampMs) -> Self {
        let Base { state: base, final_height, above: ids } = base;
        let height = base.head.height.next();
        Self {
            base,
            past: BlockPast { store, height, final_height, ids },
            time_ms,
            layer: Layer::default(),
            appended: Vec::new(),
            spent: Vec::new(),
            touched: Vec::new(),
            entries: Vec::new(),
            first_outputs: Vec::new(),
            transactions: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Applies the next transaction; a refused one changes nothing.
    pub(crate) fn apply(&mut self, tx: &Arc<Checked>) -> Result<(), RuleError> {
        let view = View { base: self.base, layer: &self.layer, past: &self.past };
        let effects = check(&view, tx, Clock::Block(self.time_ms))?;
        let position = u32::try_from(self.transactions.len()).unwrap_or(u32::MAX);
        let base_count = self.base.tree.count() as u64;
        let body = &tx.tx.body;
        for unspent in effects.spent {
            self.layer.spent.insert(unspent.reference, tx.id);
            match unspent.index.checked_sub(base_count) {
                None => self.spent.push(SpentBase { unspent, by: tx.id, position }),
                Some(at) => {
                    if let Some(appended) = usize::try_from(at).ok().and_then(|at| self.appended.get_mut(at))
                    {
                        appended.spent_by = Some((tx.id, position));
                    }
                }
            }
        }
        let first = base_count + self.appended.len() as u64;
        self.first_outputs.push(first);
        for (number, (index, output)) in (0u32..).zip((first..).zip(&body.outputs)) {
            let reference = OutputRef { tx: tx.id, position: number };
            let unspent = Unspent { reference, index, output: output.clone() };
            self.layer.created.insert(reference, unspent.clone());
            self.appended.push(Appended { unspent, spent_by: None });
        }
        for (id, state) in effects.tokens {
            self.layer.tokens.insert(id, (tx.id, state));
        }
        for (id, asset) in effects.assets {
            self.layer.assets.insert(id, (tx.id, asset));
        }
        for (id, build) in effects.builds {
            self.layer.builds.insert(id, (tx.id, build));
        }
        self.touched.extend(effects.touched.into_iter().map(|id| (id, position)));
        if let Action::Register { issuer, entry } = &body.action {
            let earlier = self.entries.iter().filter(|other| other.entry.id() == entry.id()).count();
            let revision = self.base.revisions(&entry.namespace, &entry.name).len() + earlier;
            self.entries.push(EntryRevision {
                entry: Arc::new(entry.clone()),
                revision: u32::try_from(revision).unwrap_or(u32::MAX),
                publisher: *issuer,
                tx: tx.id,
                height: self.past.height,
                position,
            });
        }
        self.past.ids.insert(tx.id);
        self.transactions.push(Arc::clone(tx));
        Ok(())
    }

    /// The executed block and its changes.
    pub(crate) fn finish(mut self, frame: &Frame) -> (Executed, Delta) {
        let height = self.past.height;
        self.spent.sort_unstable_by_key(|spent| spent.unspent.index);
        let spent_hashes: Vec<B256> = self
            .spent
            .par_iter()
            .with_min_len(LEAF_CHUNK)
            .map(|SpentBase { unspent, by, .. }| hash_of(unspent, Some(*by)))
            .collect();
        let appended_hashes: Vec<B256> = self
            .appended
            .par_iter()
            .with_min_len(LEAF_CHUNK)
            .map(|Appended { unspent, spent_by }| hash_of(unspent, spent_by.map(|(by, _)| by)))
            .collect();
        let diff = self.diff(&spent_hashes, &appended_hashes);
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let replaced = self.spent.iter().map(|s| at(s.unspent.index)).zip(spent_hashes).collect();
        let base = self.base;
        let (tree, transactions_root) = rayon::join(
            || base.tree.plan(replaced, appended_hashes),
            || transactions_root(&self.transactions),
        );
        let receipts = encode_receipts(&self.first_outputs);
        let extension = extension_of(frame.anchor, self.time_ms).encode();
        let header = Header {
            version: HEADER_VERSION,
            ledger: frame.ledger,
            height,
            parent: base.head.hash,
            time_ms: self.time_ms,
            transactions_root,
            state_root: tree.state_root(),
            extension: Extension::digest(&extension),
            receipts: receipts_digest(&receipts),
            proposer: frame.proposer,
        };
        let hash = header.hash();
        let mut index: Vec<IndexEntry> = (0u32..)
            .zip(&self.transactions)
            .map(|(position, tx)| IndexEntry { key: tx.id.0, position })
            .collect();
        index.sort_unstable();
        let executed = Executed {
            meta: BlockMeta { height, hash, parent: base.head.hash, time_ms: self.time_ms },
            block: Block { header: header.encode_bytes(), body: encode_body(&self.transactions), extension },
            state_root: header.state_root,
            receipts,
            diff,
            index,
            transactions: u32::try_from(self.transactions.len()).unwrap_or(u32::MAX),
        };
        let head = Head { height, hash, state_root: header.state_root, time_ms: self.time_ms };
        (executed, self.into_delta(head, frame.anchor, tree))
    }

    fn into_delta(self, head: Head, anchor: Anchor, tree: TreeDelta) -> Delta {
        Delta {
            parent: self.base.head.hash,
            head,
            anchor,
            spent: self.spent.iter().map(|s| (s.unspent.reference, s.unspent.index, s.position)).collect(),
            appended: self.appended.into_iter().map(|a| (a.unspent, a.spent_by.map(|(_, at)| at))).collect(),
            tokens: self.layer.tokens.into_iter().map(|(id, (_, state))| (id, state)).collect(),
            touched: self.touched,
            assets: self.layer.assets.into_iter().map(|(id, (_, asset))| (id, asset)).collect(),
            builds: self.layer.builds.into_iter().map(|(id, (_, build))| (id, build)).collect(),
            entries: self.entries,
            tree,
            transactions: self.transactions,
        }
    }

    fn diff(&self, spent_hashes: &[B256], appended_hashes: &[B256]) -> bletchley_primitives::Bytes {
        let height = self.past.height;
        let mut diff = DiffWriter::default();
        for (spent, hash) in self.spent.iter().zip(spent_hashes) {
            rows::spent(&mut diff, spent.unspent.index, hash, Location { height, position: spent.position });
        }
        for (appended, hash) in self.appended.iter().zip(appended_hashes) {
            match appended.spent_by {
                Some((_, position)) => {
                    rows::spent(&mut diff, appended.unspent.index, hash, Location { height, position });
                }
                None => rows::unspent(&mut diff, &appended.unspent),
            }
        }
        for (id, (_, state)) in &self.layer.tokens {
            rows::token(&mut diff, *id, state);
        }
        let mut lengths: FxHashMap<TokenId, u32> = FxHashMap::default();
        for (id, position) in &self.touched {
            let length = lengths.entry(*id).or_insert_with(|| {
                let known = self.base.tokens.get(id).map_or(0, |token| token.history.len());
                u32::try_from(known).unwrap_or(u32::MAX)
            });
            rows::history(&mut diff, *id, *length, Location { height, position: *position });
            *length = length.saturating_add(1);
        }
        for (id, (_, asset)) in &self.layer.assets {
            rows::asset(&mut diff, *id, asset);
        }
        for (thing, (_, build)) in &self.layer.builds {
            rows::build(&mut diff, *thing, *build);
        }
        for entry in &self.entries {
            rows::entry(&mut diff, entry);
        }
        diff.finish()
    }
}

fn hash_of(unspent: &Unspent, spent_by: Option<TxId>) -> B256 {
    leaf_hash(&leaf(&output_digest(&unspent.reference, &unspent.output), spent_by))
}

/// Root over the transactions of a block, witnesses included.
pub(crate) fn transactions_root(transactions: &[Arc<Checked>]) -> B256 {
    let leaves: Vec<B256> = transactions.iter().map(|tx| tx.leaf).collect();
    merkle_root(&leaves)
}

impl State {
    /// Makes the changes of an executed block visible.
    pub(crate) fn commit(&mut self, delta: &mut Delta) {
        let height = delta.head.height;
        for (id, state) in delta.tokens.drain(..) {
            self.set_token(id, state);
        }
        for (reference, index, position) in &delta.spent {
            self.remove(reference);
            let spender = usize::try_from(*index).ok().and_then(|at| self.spenders.get_mut(at));
            if let Some(spender) = spender {
                *spender = pack(Location { height, position: *position });
            }
        }
        for (unspent, spent_by) in delta.appended.drain(..) {
            self.spenders.push(spent_by.map_or(0, |position| pack(Location { height, position })));
            if spent_by.is_none() {
                self.add(unspent);
            }
        }
        for (id, position) in &delta.touched {
            if let Some(token) = self.tokens.get_mut(id) {
                token.history.push(Location { height, position: *position });
            }
        }
        self.assets.extend(delta.assets.drain(..));
        self.builds.extend(delta.builds.iter().copied());
        for entry in &delta.entries {
            self.add_entry(entry.clone());
        }
        self.tree.apply(&delta.tree);
        self.head = delta.head;
        self.anchor = delta.anchor;
    }
}
