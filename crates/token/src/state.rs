//! The state that blocks change: unspent outputs, tokens with their stories, assets, registry entries, the output tree;
//! and its key-value form, which a store keeps as diffs and snapshots.

use crate::codec::{OptionalHash, decimal, shared, tagged_rlp};
use crate::identity::{CLASS, CompositeRecord, IdentityError, Properties, SERIAL, TokenRecord};
use crate::tree::{OutputTree, leaf, leaf_hash, output_digest};
use crate::{AssetId, Entry, Output, OutputRef, Owner, TokenId};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_ledger::{Anchor, DiffWriter, Head, Location};
use bletchley_primitives::{Address, B256, Height, TxId, decode_bounded};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An output that nothing has spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unspent {
    /// Where it was made.
    pub reference: OutputRef,
    /// Its place among all outputs of the ledger.
    pub index: u64,
    /// What it is.
    pub output: Output,
}

/// What a unique token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TokenInfo {
    /// A thing, a person, an organisation, or an anonymous token.
    Identity {
        /// Its public record.
        record: TokenRecord,
        /// What people call it.
        label: String,
    },
    /// A whole made of parts.
    Composite {
        /// Its public record.
        record: CompositeRecord,
        /// What people call it.
        label: String,
        /// How many parts it was made of.
        parts: u32,
        /// One more than the depth of its deepest part.
        depth: u8,
    },
    /// The right to issue an asset.
    Control {
        /// Who defined the asset.
        issuer: Address,
        /// The asset.
        asset: AssetId,
    },
    /// A registry entry.
    Entry {
        /// Who made the entry first.
        issuer: Address,
        /// Which registry.
        namespace: String,
        /// Name there.
        name: String,
    },
}

tagged_rlp!(TokenInfo {
    1 => Identity { record, label },
    2 => Composite { record, label, parts, depth },
    3 => Control { issuer, asset },
    4 => Entry { issuer, namespace, name },
});

impl TokenInfo {
    /// Who signed its issue.
    #[must_use]
    pub const fn issuer(&self) -> Address {
        match self {
            Self::Identity { record, .. } => record.issuer,
            Self::Composite { record, .. } => record.issuer,
            Self::Control { issuer, .. } | Self::Entry { issuer, .. } => *issuer,
        }
    }

    /// What people call it.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Identity { label, .. } | Self::Composite { label, .. } => label,
            Self::Control { .. } => "asset control",
            Self::Entry { name, .. } => name,
        }
    }

    /// Names of the properties to ask for when checking this token; none when it has none.
    #[must_use]
    pub fn property_names(&self) -> Vec<String> {
        match self {
            Self::Identity { record, .. } => record.property_names(),
            Self::Composite { .. } => vec![CLASS.to_owned(), SERIAL.to_owned()],
            Self::Control { .. } | Self::Entry { .. } => Vec::new(),
        }
    }

    /// Whether these are the properties that identify the token. For people and organisations this costs what the
    /// record's Argon2id parameters say, at most 256 MiB and 16 passes.
    ///
    /// # Errors
    /// [`IdentityError`] when the record's parameters are out of bounds.
    pub fn matches(&self, properties: &Properties) -> Result<bool, IdentityError> {
        match self {
            Self::Identity { record, .. } => record.matches(properties),
            Self::Composite { record, .. } => Ok(record.matches(properties)),
            Self::Control { .. } | Self::Entry { .. } => Ok(false),
        }
    }

    /// Nesting below this token: 0 when it has no parts.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        match self {
            Self::Composite { depth, .. } => *depth,
            _ => 0,
        }
    }
}

/// Where a unique token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// In an unspent output.
    Held {},
    /// Built into a composite, with which it moves.
    PartOf {
        /// The composite.
        composite: TokenId,
    },
    /// A composite that was taken apart.
    TakenApart {},
    /// Ended for good.
    Retired {},
}

tagged_rlp!(Status {
    1 => Held {},
    2 => PartOf { composite },
    3 => TakenApart {},
    4 => Retired {},
});

/// A token as transactions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenState {
    pub(crate) info: Arc<TokenInfo>,
    pub(crate) status: Status,
}

/// A token with what readers ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) state: TokenState,
    /// Transactions that touched it, in order.
    pub(crate) history: Vec<Location>,
    /// The unspent output that carries it.
    pub(crate) output: Option<OutputRef>,
}

/// A fungible asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Asset {
    /// Who defined it.
    pub issuer: Address,
    /// What it is pegged to.
    pub peg: String,
    /// Decimals of its smallest unit.
    pub decimals: u8,
    /// Amount in circulation.
    #[serde(serialize_with = "decimal")]
    pub supply: u128,
}

/// Composites that were assembled under one manufacturer, class and serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Build {
    /// Revision that the next one must have.
    pub(crate) next_revision: u32,
    /// The one that has not been taken apart.
    pub(crate) standing: OptionalHash,
}

/// One revision of a registry entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryRevision {
    /// What it says.
    #[serde(serialize_with = "shared")]
    pub entry: Arc<Entry>,
    /// 0 for the first.
    pub revision: u32,
    /// Who signed it.
    pub publisher: Address,
    /// The transaction that made it.
    pub tx: TxId,
    /// Height of its block: the revision holds from this height on.
    pub height: Height,
    /// Position of the transaction there.
    pub position: u32,
}

#[derive(RlpEncodable, RlpDecodable)]
struct EntryRow {
    publisher: Address,
    tx: TxId,
    height: Height,
    position: u32,
    entry: Entry,
}

#[derive(RlpEncodable, RlpDecodable)]
struct TokenRow {
    info: TokenInfo,
    status: Status,
}

const OUTPUT_KEY: u8 = b'o';
const TOKEN_KEY: u8 = b't';
const HISTORY_KEY: u8 = b'h';
const ASSET_KEY: u8 = b'a';
const BUILD_KEY: u8 = b'b';
const ENTRY_KEY: u8 = b'r';
const UNSPENT_ROW: u8 = 1;
const SPENT_ROW: u8 = 2;
const ROW_SIZE_BYTES_MAX: usize = 1 << 20;
/// Positions of a block's transactions fit into this many bits.
const POSITION_BITS: u32 = 20;

/// Writes state changes as rows of a diff.
pub(crate) mod rows {
    use super::{
        ASSET_KEY, Asset, BUILD_KEY, Build, DiffWriter, ENTRY_KEY, EntryRevision, EntryRow, HISTORY_KEY,
        Location, OUTPUT_KEY, SPENT_ROW, TOKEN_KEY, TokenRow, TokenState, UNSPENT_ROW, Unspent,
    };
    use crate::{AssetId, TokenId};
    use alloy_rlp::Encodable;
    use bletchley_primitives::B256;

    fn output_key(index: u64) -> [u8; 9] {
        let mut key = [OUTPUT_KEY; 9];
        key.split_at_mut(1).1.copy_from_slice(&index.to_be_bytes());
        key
    }

    fn key(kind: u8, id: &B256) -> [u8; 33] {
        let mut key = [kind; 33];
        key.split_at_mut(1).1.copy_from_slice(id.as_slice());
        key
    }

    fn numbered_key(kind: u8, id: &B256, number: u32) -> [u8; 37] {
        let mut key = [kind; 37];
        let (_, rest) = key.split_at_mut(1);
        let (hash, sequence) = rest.split_at_mut(32);
        hash.copy_from_slice(id.as_slice());
        sequence.copy_from_slice(&number.to_be_bytes());
        key
    }

    pub(crate) fn unspent(diff: &mut DiffWriter, row: &Unspent) {
        let mut value = Vec::with_capacity(160);
        value.push(UNSPENT_ROW);
        value.extend_from_slice(row.reference.tx.0.as_slice());
        value.extend_from_slice(&row.reference.position.to_be_bytes());
        row.output.encode(&mut value);
        diff.put(&output_key(row.index), &value);
    }

    pub(crate) fn spent(diff: &mut DiffWriter, index: u64, leaf_hash: &B256, by: Location) {
        let mut value = Vec::with_capacity(45);
        value.push(SPENT_ROW);
        value.extend_from_slice(leaf_hash.as_slice());
        value.extend_from_slice(&by.height.0.to_be_bytes());
        value.extend_from_slice(&by.position.to_be_bytes());
        diff.put(&output_key(index), &value);
    }

    pub(crate) fn token(diff: &mut DiffWriter, id: TokenId, state: &TokenState) {
        let row = TokenRow { info: (*state.info).clone(), status: state.status };
        diff.put(&key(TOKEN_KEY, &id.0), &alloy_rlp::encode(&row));
    }

    pub(crate) fn history(diff: &mut DiffWriter, id: TokenId, sequence: u32, at: Location) {
        let mut value = [0u8; 12];
        let (height, position) = value.split_at_mut(8);
        height.copy_from_slice(&at.height.0.to_be_bytes());
        position.copy_from_slice(&at.position.to_be_bytes());
        diff.put(&numbered_key(HISTORY_KEY, &id.0, sequence), &value);
    }

    pub(crate) fn asset(diff: &mut DiffWriter, id: AssetId, asset: &Asset) {
        diff.put(&key(ASSET_KEY, &id.0), &alloy_rlp::encode(asset));
    }

    pub(crate) fn build(diff: &mut DiffWriter, thing: TokenId, build: Build) {
        diff.put(&key(BUILD_KEY, &thing.0), &alloy_rlp::encode(build));
    }

    pub(crate) fn entry(diff: &mut DiffWriter, row: &EntryRevision) {
        let value = EntryRow {
            publisher: row.publisher,
            tx: row.tx,
            height: row.height,
            position: row.position,
            entry: (*row.entry).clone(),
        };
        diff.put(&numbered_key(ENTRY_KEY, &row.entry.id().0, row.revision), &alloy_rlp::encode(&value));
    }
}

/// Everything that the committed blocks add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) head: Head,
    /// The block of the root ledger that the head names.
    pub(crate) anchor: Anchor,
    pub(crate) unspent: FxHashMap<OutputRef, Unspent>,
    /// Unspent outputs by owner, oldest first. An ordered map: owners are chosen by strangers.
    pub(crate) owned: BTreeMap<(Owner, u64), OutputRef>,
    /// Unspent outputs with a shared lock, by each address that has a part in it.
    pub(crate) shared: BTreeMap<(Address, u64), OutputRef>,
    pub(crate) tokens: FxHashMap<TokenId, Token>,
    pub(crate) assets: FxHashMap<AssetId, Asset>,
    pub(crate) builds: FxHashMap<TokenId, Build>,
    /// Registry entries by namespace and name, each with all its revisions.
    pub(crate) entries: BTreeMap<String, BTreeMap<String, Vec<EntryRevision>>>,
    pub(crate) tree: OutputTree,
    /// For each output where the transaction stands that spent it, or zero.
    pub(crate) spenders: Vec<u64>,
}

pub(crate) fn pack(location: Location) -> u64 {
    (location.height.0 << POSITION_BITS) | u64::from(location.position)
}

pub(crate) fn unpack(packed: u64) -> Option<Location> {
    let position = u32::try_from(packed & ((1 << POSITION_BITS) - 1)).unwrap_or_default();
    (packed != 0).then_some(Location { height: Height(packed >> POSITION_BITS), position })
}

impl State {
    /// The state before any block's transactions.
    pub(crate) fn empty(head: Head) -> Self {
        Self {
            head,
            anchor: Anchor::default(),
            unspent: FxHashMap::default(),
            owned: BTreeMap::new(),
            shared: BTreeMap::new(),
            tokens: FxHashMap::default(),
            assets: FxHashMap::default(),
            builds: FxHashMap::default(),
            entries: BTreeMap::new(),
            tree: OutputTree::default(),
            spenders: Vec::new(),
        }
    }

    /// Lists a new unspent output. Its leaf is the tree's business.
    pub(crate) fn add(&mut self, unspent: Unspent) {
        let Unspent { reference, index, ref output } = unspent;
        self.owned.insert((output.lock.owner(), index), reference);
        for party in output.lock.parties() {
            self.shared.insert((party, index), reference);
        }
        if let Some(token) = output.value.unique().and_then(|id| self.tokens.get_mut(&id)) {
            token.output = Some(reference);
        }
        self.unspent.insert(reference, unspent);
    }

    /// Takes a spent output off the lists.
    pub(crate) fn remove(&mut self, reference: &OutputRef) {
        let Some(Unspent { index, output, .. }) = self.unspent.remove(reference) else { return };
        self.owned.remove(&(output.lock.owner(), index));
        for party in output.lock.parties() {
            self.shared.remove(&(party, index));
        }
        if let Some(token) = output.value.unique().and_then(|id| self.tokens.get_mut(&id))
            && token.output == Some(*reference)
        {
            token.output = None;
        }
    }

    pub(crate) fn set_token(&mut self, id: TokenId, state: TokenState) {
        match self.tokens.entry(id) {
            std::collections::hash_map::Entry::Occupied(mut slot) => slot.get_mut().state = state,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(Token { state, history: Vec::new(), output: None });
            }
        }
    }

    pub(crate) fn add_entry(&mut self, revision: EntryRevision) {
        let names = self.entries.entry(revision.entry.namespace.clone()).or_default();
        names.entry(revision.entry.name.clone()).or_default().push(revision);
    }

    pub(crate) fn revisions(&self, namespace: &str, name: &str) -> &[EntryRevision] {
        self.entries.get(namespace).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }
}

/// Why a row of the stored state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {key} of the token state: {problem}")]
pub(crate) struct RowError {
    key: String,
    problem: String,
}

/// Rebuilds a state from rows: those of a snapshot first, then those of later diffs, in order.
#[derive(Default)]
pub(crate) struct Loader {
    leaves: Vec<B256>,
    spenders: Vec<u64>,
    live: FxHashMap<u64, (OutputRef, Output)>,
    tokens: FxHashMap<TokenId, TokenState>,
    histories: FxHashMap<TokenId, Vec<Location>>,
    assets: FxHashMap<AssetId, Asset>,
    builds: FxHashMap<TokenId, Build>,
    entries: BTreeMap<(TokenId, u32), EntryRow>,
}

fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("{} bytes where {N} belong", bytes.len()))
}

fn row<T: alloy_rlp::Decodable>(bytes: &[u8]) -> Result<T, String> {
    decode_bounded(bytes, ROW_SIZE_BYTES_MAX).map_err(|e| e.to_string())
}

fn location(bytes: &[u8]) -> Result<Location, String> {
    let (height, position) = bytes.split_at_checked(8).ok_or("too short")?;
    let height = Height(u64::from_be_bytes(number(height)?));
    Ok(Location { height, position: u32::from_be_bytes(number(position)?) })
}

fn numbered(rest: &[u8]) -> Result<(TokenId, u32), String> {
    let (id, sequence) = rest.split_at_checked(32).ok_or("too short")?;
    Ok((TokenId(B256::from(number::<32>(id)?)), u32::from_be_bytes(number(sequence)?)))
}

impl Loader {
    /// Takes one row. No row is ever deleted.
    pub(crate) fn row(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RowError> {
        self.take(key, value).map_err(|problem| RowError { key: hex::encode(key), problem })
    }

    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let value = value.ok_or("the token ledger never deletes a row")?;
        let (kind, rest) = key.split_first().ok_or("an empty key")?;
        match *kind {
            OUTPUT_KEY => self.output(u64::from_be_bytes(number(rest)?), value)?,
            TOKEN_KEY => {
                let TokenRow { info, status } = row(value)?;
                self.tokens
                    .insert(TokenId(number::<32>(rest)?.into()), TokenState { info: Arc::new(info), status });
            }
            HISTORY_KEY => {
                let (id, sequence) = numbered(rest)?;
                let history = self.histories.entry(id).or_default();
                if history.len() != sequence as usize {
                    return Err(format!("it follows {} others", history.len()));
                }
                history.push(location(value)?);
            }
            ASSET_KEY => {
                self.assets.insert(AssetId(number::<32>(rest)?.into()), row(value)?);
            }
            BUILD_KEY => {
                self.builds.insert(TokenId(number::<32>(rest)?.into()), row(value)?);
            }
            ENTRY_KEY => {
                self.entries.insert(numbered(rest)?, row(value)?);
            }
            _ => return Err("unknown kind of row".to_owned()),
        }
        Ok(())
    }

    fn output(&mut self, index: u64, value: &[u8]) -> Result<(), String> {
        let at = usize::try_from(index).map_err(|e| e.to_string())?;
        if at > self.leaves.len() {
            return Err(format!("{} outputs come before it", self.leaves.len()));
        }
        if at == self.leaves.len() {
            self.leaves.push(B256::ZERO);
            self.spenders.push(0);
        }
        let (kind, rest) = value.split_first().ok_or("empty")?;
        match *kind {
            UNSPENT_ROW => {
                let (tx, rest) = rest.split_at_checked(32).ok_or("too short")?;
                let (position, output) = rest.split_at_checked(4).ok_or("too short")?;
                let reference = OutputRef {
                    tx: TxId(number::<32>(tx)?.into()),
                    position: u32::from_be_bytes(number(position)?),
                };
                self.live.insert(index, (reference, row(output)?));
            }
            SPENT_ROW => {
                let (hash, by) = rest.split_at_checked(32).ok_or("too short")?;
                self.live.remove(&index);
                if let (Some(leaf), Some(spender)) = (self.leaves.get_mut(at), self.spenders.get_mut(at)) {
                    *leaf = number::<32>(hash)?.into();
                    *spender = pack(location(by)?);
                }
            }
            _ => return Err("unknown kind of output".to_owned()),
        }
        Ok(())
    }

    /// The state after the last row.
    pub(crate) fn finish(mut self, head: Head) -> State {
        let hashes: Vec<(u64, B256)> = self
            .live
            .par_iter()
            .map(|(index, (reference, output))| {
                (*index, leaf_hash(&leaf(&output_digest(reference, output), None)))
            })
            .collect();
        for (index, hash) in hashes {
            if let Some(leaf) = usize::try_from(index).ok().and_then(|at| self.leaves.get_mut(at)) {
                *leaf = hash;
            }
        }
        let mut state = State::empty(head);
        state.tree = OutputTree::from_leaf_hashes(self.leaves);
        state.spenders = self.spenders;
        state.assets = self.assets;
        state.builds = self.builds;
        for (id, token) in self.tokens {
            let history = self.histories.remove(&id).unwrap_or_default();
            state.tokens.insert(id, Token { state: token, history, output: None });
        }
        for ((_, revision), EntryRow { publisher, tx, height, position, entry }) in self.entries {
            state.add_entry(EntryRevision {
                entry: Arc::new(entry),
                revision,
                publisher,
                tx,
                height,
                position,
            });
        }
        for (index, (reference, output)) in self.live {
            state.add(Unspent { reference, index, output });
        }
        state
    }
}
