//! What readers ask a token ledger: tokens, holdings, assets, registry entries, transactions, proofs.

use crate::codec::{OptionalHash, decimal};
use crate::header::{Header, split_body};
use crate::limits::PAGE_MAX;
use crate::state::{Asset, EntryRevision, State, Status, TokenInfo, Unspent, unpack};
use crate::transaction::Checked;
use crate::{AssetId, OutputProof, OutputRef, Owner, TokenId, TokenMachine, Transaction, Value};
use bletchley_ledger::{Location, Machine, ReadError, Section};
use bletchley_primitives::{Address, Bytes, DecodeError, Height, TxId};
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::BTreeMap;

/// A unique token as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Its id.
    pub token: TokenId,
    /// What it is.
    pub info: TokenInfo,
    /// Where it is.
    pub status: Status,
    /// The unspent output that carries it, when it is held.
    pub output: Option<Unspent>,
    /// How many transactions it was part of.
    pub events: usize,
}

/// A fungible asset as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssetView {
    /// Its id.
    pub asset: AssetId,
    /// What it is.
    pub definition: Asset,
    /// The unspent output that carries the right to issue it.
    pub control: Option<Unspent>,
}

/// How much of an asset an owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The asset.
    pub asset: AssetId,
    /// The amount.
    #[serde(serialize_with = "decimal")]
    pub amount: u128,
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; none on the last.
    pub next: Option<u64>,
}

/// A transaction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TxStatus {
    /// It waits for a block.
    Waiting {
        /// Its id.
        id: TxId,
        /// The transaction.
        transaction: Transaction,
    },
    /// It is in a block.
    Final {
        /// Its id.
        id: TxId,
        /// Height of the block.
        height: Height,
        /// Position there.
        position: u32,
        /// The transaction.
        transaction: Transaction,
    },
}

impl TxStatus {
    /// Whether it waits for a block.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// Transactions of blocks that one query reads more than once.
#[derive(Default)]
pub(crate) struct Bodies(FxHashMap<Height, Vec<Bytes>>);

/// Most bodies that one query keeps.
const BODIES_MAX: usize = 64;

pub(crate) fn damaged(height: Height, problem: impl ToString) -> ReadError {
    ReadError::Damaged { place: format!("token ledger, block {height}"), problem: problem.to_string() }
}

impl TokenMachine {
    /// A unique token: a thing, a person, a composite, a registry entry, the control of an asset.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<TokenView> {
        let state = self.state();
        let token = state.tokens.get(&id)?;
        Some(TokenView {
            token: id,
            info: (*token.state.info).clone(),
            status: token.state.status,
            output: token.output.and_then(|output| state.unspent.get(&output)).cloned(),
            events: token.history.len(),
        })
    }

    /// Revision that the next composite of this manufacturer, class and serial must have, and the one that stands.
    #[must_use]
    pub fn build(&self, thing: TokenId) -> (u32, Option<TokenId>) {
        let state = self.state();
        state
            .builds
            .get(&thing)
            .map_or((0, None), |build| (build.next_revision, build.standing.0.map(TokenId)))
    }

    /// A fungible asset.
    #[must_use]
    pub fn asset(&self, id: AssetId) -> Option<AssetView> {
        let state = self.state();
        asset_view(&state, id)
    }

    /// Every asset, in order of its id, starting after `after`.
    #[must_use]
    pub fn assets(&self, after: Option<AssetId>, limit: usize) -> Vec<AssetView> {
        let state = self.state();
        let mut ids: Vec<AssetId> =
            state.assets.keys().copied().filter(|id| after.is_none_or(|a| *id > a)).collect();
        ids.sort_unstable();
        ids.into_iter().take(limit.min(PAGE_MAX)).filter_map(|id| asset_view(&state, id)).collect()
    }

    /// Unspent outputs of an owner, oldest first, those after output number `after`.
    #[must_use]
    pub fn outputs_of(&self, owner: Owner, after: Option<u64>, limit: usize) -> Page<Unspent> {
        let state = self.state();
        let Some(from) = after.map_or(Some(0), |after| after.checked_add(1)) else {
            return Page { items: Vec::new(), next: None };
        };
        let refs = state.owned.range((owner, from)..=(owner, u64::MAX)).map(|(_, output)| output);
        page(&state, refs, limit)
    }

    /// Unspent outputs with a lock that this address shares with others (m-of-n keys, hash and time).
    #[must_use]
    pub fn shared_outputs_of(&self, address: Address, after: Option<u64>, limit: usize) -> Page<Unspent> {
        let state = self.state();
        let Some(from) = after.map_or(Some(0), |after| after.checked_add(1)) else {
            return Page { items: Vec::new(), next: None };
        };
        let refs = state.shared.range((address, from)..=(address, u64::MAX)).map(|(_, output)| output);
        page(&state, refs, limit)
    }

    /// What an owner has of each asset.
    #[must_use]
    pub fn balances(&self, owner: Owner) -> Vec<Balance> {
        let state = self.state();
        let mut sums: BTreeMap<AssetId, u128> = BTreeMap::new();
        for (_, output) in state.owned.range((owner, 0)..=(owner, u64::MAX)) {
            if let Some(Value::Amount { asset, amount }) = state.unspent.get(output).map(|u| u.output.value) {
                let sum = sums.entry(asset).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        sums.into_iter().map(|(asset, amount)| Balance { asset, amount }).collect()
    }

    /// What an owner has of one asset.
    #[must_use]
    pub fn balance(&self, owner: Owner, asset: AssetId) -> u128 {
        self.balances(owner)
            .into_iter()
            .find(|balance| balance.asset == asset)
            .map_or(0, |balance| balance.amount)
    }

    /// Unspent outputs of an owner that together hold at least `amount` and that no waiting transaction spends; none
    /// when the owner has less. Oldest first.
    #[must_use]
    pub fn select(&self, owner: Owner, asset: AssetId, amount: u128) -> Option<Vec<Unspent>> {
        let state = self.state();
        let pool = self.pool.lock();
        let (mut chosen, mut sum) = (Vec::new(), 0u128);
        for (_, output) in state.owned.range((owner, 0)..=(owner, u64::MAX)) {
            if sum >= amount {
                break;
            }
            let Some(unspent) = state.unspent.get(output) else { continue };
            match unspent.output.value {
                Value::Amount { asset: found, amount }
                    if found == asset && pool.spender(output).is_none() =>
                {
                    sum = sum.saturating_add(amount);
                    chosen.push(unspent.clone());
                }
                _ => {}
            }
        }
        (sum >= amount).then_some(chosen)
    }

    /// An unspent output.
    #[must_use]
    pub fn unspent(&self, output: &OutputRef) -> Option<Unspent> {
        self.state().unspent.get(output).cloned()
    }

    /// The waiting transaction that spends an output, if one does.
    #[must_use]
    pub fn waiting_spender(&self, output: &OutputRef) -> Option<TxId> {
        self.pool.lock().spender(output)
    }

    /// How many transactions wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.lock().len()
    }

    /// How many outputs were ever made, and how many of them are unspent.
    #[must_use]
    pub fn output_counts(&self) -> (u64, usize) {
        let state = self.state();
        (state.tree.count() as u64, state.unspent.len())
    }

    /// The newest revision of each entry of a registry, by name.
    #[must_use]
    pub fn entries(&self, namespace: &str) -> Vec<EntryRevision> {
        let state = self.state();
        state
            .entries
            .get(namespace)
            .into_iter()
            .flatten()
            .filter_map(|(_, all)| all.last())
            .cloned()
            .collect()
    }

    /// The revision of an entry that holds after the block at `height`.
    #[must_use]
    pub fn entry_at(&self, namespace: &str, name: &str, height: Height) -> Option<EntryRevision> {
        let state = self.state();
        let revisions = state.revisions(namespace, name);
        let known = revisions.partition_point(|revision| revision.height <= height);
        known.checked_sub(1).and_then(|last| revisions.get(last)).cloned()
    }

    /// The newest revision of an entry.
    #[must_use]
    pub fn entry(&self, namespace: &str, name: &str) -> Option<EntryRevision> {
        self.state().revisions(namespace, name).last().cloned()
    }

    /// Every revision of an entry, oldest first.
    #[must_use]
    pub fn entry_history(&self, namespace: &str, name: &str) -> Vec<EntryRevision> {
        self.state().revisions(namespace, name).to_vec()
    }

    /// Every revision that blocks after `height` made in a registry, in order: to catch up before following commits.
    #[must_use]
    pub fn entries_after(&self, namespace: &str, height: Height) -> Vec<EntryRevision> {
        let state = self.state();
        let names = state.entries.get(namespace).into_iter().flat_map(BTreeMap::values);
        let mut new: Vec<EntryRevision> =
            names.flatten().filter(|revision| revision.height > height).cloned().collect();
        new.sort_by_key(|revision| (revision.height, revision.position));
        new
    }

    /// Names of the registries that have entries.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        self.state().entries.keys().cloned().collect()
    }

    /// A transaction and where it stands; none when this node does not know it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn transaction(&self, id: TxId) -> Result<Option<TxStatus>, ReadError> {
        if let Some(tx) = self.pool.lock().get(&id) {
            return Ok(Some(TxStatus::Waiting { id, transaction: tx.tx.clone() }));
        }
        let head = self.head().height;
        let Some(location) = self.store.locate(id.0)?.filter(|location| location.height <= head) else {
            return Ok(None);
        };
        let found = self.transaction_at(location)?;
        Ok(found.map(|(id, transaction)| {
            let Location { height, position } = location;
            TxStatus::Final { id, height, position, transaction }
        }))
    }

    /// The transactions of a block, in order, with their ids.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn transactions_of(&self, height: Height) -> Result<Option<Vec<(TxId, Transaction)>>, ReadError> {
        let Some(body) = self.store.section(height, Section::Body)? else { return Ok(None) };
        let items = split_body(&body).map_err(|e| damaged(height, e))?;
        items.into_iter().map(|bytes| self.decode_stored(height, bytes)).collect::<Result<_, _>>().map(Some)
    }

    /// The header of a block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn header(&self, height: Height) -> Result<Option<Header>, ReadError> {
        let Some(bytes) = self.store.section(height, Section::Header)? else { return Ok(None) };
        Header::decode_bytes(&bytes).map(Some).map_err(|e| damaged(height, e))
    }

    /// Proof against the newest header that an output exists, and whether and by whom it is spent. The height that comes
    /// with it names the header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn prove(&self, output: &OutputRef) -> Result<Option<(Height, OutputProof)>, ReadError> {
        let state = self.state();
        let height = state.head.height;
        let path_to = |index: u64| state.tree.proof(index);
        if let Some(unspent) = state.unspent.get(output) {
            let proof = path_to(unspent.index).map(|path| OutputProof {
                reference: *output,
                output: unspent.output.clone(),
                spent_by: OptionalHash(None),
                path,
            });
            return Ok(proof.map(|proof| (height, proof)));
        }
        let Some(index) = self.index_of(output)? else { return Ok(None) };
        let Some(Location { height: made, position }) = self.store.locate(output.tx.0)? else {
            return Ok(None);
        };
        let made_by = self.transaction_at(Location { height: made, position })?;
        let made = made_by.and_then(|(_, tx)| tx.body.outputs.into_iter().nth(output.position as usize));
        let spender =
            usize::try_from(index).ok().and_then(|at| state.spenders.get(at)).copied().and_then(unpack);
        let spent_by = match spender {
            Some(location) => self.transaction_at(location)?.map(|(id, _)| id.0),
            None => None,
        };
        let proof = path_to(index).zip(made).map(|(path, output_value)| OutputProof {
            reference: *output,
            output: output_value,
            spent_by: OptionalHash(spent_by),
            path,
        });
        Ok(proof.map(|proof| (height, proof)))
    }

    /// The transaction at a place on the ledger.
    pub(crate) fn transaction_at(
        &self,
        location: Location,
    ) -> Result<Option<(TxId, Transaction)>, ReadError> {
        self.transaction_in(&mut Bodies::default(), location)
    }

    /// The same, out of bodies that were read before where possible.
    pub(crate) fn transaction_in(
        &self,
        bodies: &mut Bodies,
        location: Location,
    ) -> Result<Option<(TxId, Transaction)>, ReadError> {
        let Location { height, position } = location;
        if !bodies.0.contains_key(&height) {
            let Some(body) = self.store.section(height, Section::Body)? else { return Ok(None) };
            let items = split_body(&body).map_err(|e| damaged(height, e))?;
            if bodies.0.len() >= BODIES_MAX {
                bodies.0.clear();
            }
            bodies.0.insert(height, items.into_iter().map(|item| body.slice_ref(item)).collect());
        }
        let bytes = bodies.0.get(&height).and_then(|items| items.get(position as usize));
        bytes.map(|bytes| self.decode_stored(height, bytes)).transpose()
    }

    fn decode_stored(&self, height: Height, bytes: &[u8]) -> Result<(TxId, Transaction), ReadError> {
        let checked = Checked::decode(self.ledger(), bytes)
            .map_err(|e| damaged(height, DecodeError::Malformed(e.to_string())))?;
        Ok((checked.id, checked.tx))
    }
}

fn asset_view(state: &State, id: AssetId) -> Option<AssetView> {
    let definition = state.assets.get(&id)?.clone();
    let control = state.tokens.get(&id.control()).and_then(|token| token.output);
    Some(AssetView {
        asset: id,
        definition,
        control: control.and_then(|output| state.unspent.get(&output)).cloned(),
    })
}

fn page<'a>(state: &State, refs: impl Iterator<Item = &'a OutputRef>, limit: usize) -> Page<Unspent> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut items: Vec<Unspent> =
        refs.filter_map(|output| state.unspent.get(output)).take(limit + 1).cloned().collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.index);
    Page { items, next }
}
