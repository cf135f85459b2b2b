//! The consortium as the committed blocks of the root ledger have it, and what follows from it for every ledger: who
//! validates which epoch.

use crate::genesis::{Agreement, NetworkGenesis};
use bletchley_consensus::{Schedule, Validators, last_of};
use bletchley_consortium::{
    ActionError, ConsortiumHistory, ConsortiumView, Genesis, LedgerKind, LedgerSpec, NAMESPACE, Outcome,
    Parameters, Record, Refusal, Report, SharedStanding,
};
use bletchley_evm::EvmLedger;
use bletchley_ledger::Machine;
use bletchley_primitives::{Address, Height};
use bletchley_token::{Action, EntryRevision, TokenMachine, Transaction};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the root ledger: the token ledger, which is also the registry and the place of votes.
pub const ROOT_LEDGER: &str = "tokens";
/// Name of the first smart-contract ledger.
pub const EVM_LEDGER: &str = "evm";
/// Sets of past epochs that a schedule keeps at hand.
const EPOCHS_KEPT_MAX: usize = 16;

/// What a commit of the root ledger changed in the consortium.
#[derive(Clone, Debug)]
pub struct Change {
    /// The block.
    pub height: Height,
    /// What stood before it.
    pub before: SharedStanding,
    /// What stands after it.
    pub after: SharedStanding,
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

struct Inner {
    history: RwLock<ConsortiumHistory>,
    listeners: RwLock<Vec<Listener>>,
    /// Statements that were turned away before they came to the ledger.
    turned_away: AtomicU64,
}

/// The consortium, up to date with the root ledger: once a commit there has returned, its entries are counted.
#[derive(Clone)]
pub struct Governance {
    tokens: Arc<TokenMachine>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Governance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Governance").field("head", &self.inner.history.read().head()).finish_non_exhaustive()
    }
}

/// What the consortium of a genesis document starts from.
#[must_use]
pub fn founding(genesis: &NetworkGenesis) -> Genesis {
    let ledger = |name: &str, kind, agreement: &Agreement, chain_id| LedgerSpec {
        name: name.to_owned(),
        kind,
        engine: agreement.engine.name().to_owned(),
        chain_id,
        epoch_blocks: agreement.epoch_blocks,
        block_ms: agreement.block_ms,
        heartbeat_ms: agreement.heartbeat_ms,
        members: Vec::new(),
    };
    let agreements = &genesis.agreements;
    Genesis {
        members: genesis.members.clone(),
        parameters: Parameters::default(),
        ledgers: vec![
            ledger(ROOT_LEDGER, LedgerKind::Utxo, &agreements.tokens, 0),
            ledger(EVM_LEDGER, LedgerKind::Evm, &agreements.evm, genesis.evm.chain_id),
        ],
    }
}

/// The consortium that these entries make, in the order of the ledger; for readers without a machine.
///
/// # Errors
/// The rule that the genesis breaks.
pub fn replay(
    genesis: &Genesis,
    entries: &[EntryRevision],
    head: Height,
) -> Result<ConsortiumHistory, ActionError> {
    let mut history = ConsortiumHistory::new(genesis)?;
    read_all(&mut history, entries);
    history.advance(head);
    Ok(history)
}

fn read_all(history: &mut ConsortiumHistory, entries: &[EntryRevision]) {
    for revision in entries {
        let record = Record {
            namespace: &revision.entry.namespace,
            name: &revision.entry.name,
            payload: &revision.entry.payload,
            author: revision.publisher,
            height: revision.height,
            position: revision.position,
        };
        match history.apply(&record) {
            Outcome::Passed => {}
            Outcome::Taken { proposal, status } => {
                tracing::info!(proposal, status = status.name(), height = %revision.height, "governance.entry");
            }
            Outcome::Refused(refusal) => {
                tracing::warn!(
                    transaction = %revision.tx, name = revision.entry.name, code = refusal.code(), %refusal,
                    "governance.entry: passed over"
                );
            }
        }
    }
}

impl Inner {
    /// Reads the entries of a block that was committed; says what changed, if anything did.
    fn follow(&self, height: Height, entries: &[EntryRevision]) -> Option<Change> {
        let mut history = self.history.write();
        if height <= history.head() {
            return None;
        }
        let before = history.now().standing().clone();
        read_all(&mut history, entries);
        history.advance(height);
        let after = history.now().standing().clone();
        (!Arc::ptr_eq(&before, &after)).then_some(Change { height, before, after })
    }
}

impl Governance {
    /// The consortium on this root ledger: what the ledger holds already, then every block as it is committed. It works
    /// the same on a machine that replays its blocks from genesis ([`TokenMachine::replay`]).
    ///
    /// # Errors
    /// The rule that the genesis breaks.
    pub fn open(tokens: Arc<TokenMachine>, genesis: &Genesis) -> Result<Self, ActionError> {
        let inner = Arc::new(Inner {
            history: RwLock::new(ConsortiumHistory::new(genesis)?),
            listeners: RwLock::new(Vec::new()),
            turned_away: AtomicU64::new(0),
        });
        // A block that is committed meanwhile waits for this lock, then finds what it brought read or not.
        let mut history = inner.history.write();
        let follower = inner.clone();
        tokens.on_commit(move |block| {
            if let Some(change) = follower.follow(block.head.height, &block.entries) {
                follower.listeners.read().iter().for_each(|listener| listener(&change));
            }
        });
        let head = tokens.head().height;
        let mut before = tokens.entries_after(NAMESPACE, Height(0));
        before.retain(|revision| revision.height <= head);
        read_all(&mut history, &before);
        history.advance(head);
        drop(history);
        Ok(Self { tokens, inner })
    }

    /// Calls `listener` after each commit of the root ledger that changed what stands, on the thread that commits; it
    /// must be quick.
    pub fn on_change(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.inner.listeners.write().push(Box::new(listener));
    }

    /// What stands now.
    #[must_use]
    pub fn standing(&self) -> SharedStanding {
        self.inner.history.read().now().standing().clone()
    }

    /// What stood after a block of the root ledger; none for one that is not committed here.
    #[must_use]
    pub fn at(&self, height: Height) -> Option<SharedStanding> {
        self.inner.history.read().at(height)
    }

    /// Reads proposals, ballots and history.
    pub fn with_history<T>(&self, read: impl FnOnce(&ConsortiumHistory) -> T) -> T {
        read(&self.inner.history.read())
    }

    /// The root ledger.
    #[must_use]
    pub const fn tokens(&self) -> &Arc<TokenMachine> {
        &self.tokens
    }

    /// Whether an entry would be taken in if it were the next. Entries of other registries always would.
    ///
    /// # Errors
    /// [`Refusal`]: what the fold would say.
    pub fn admits(&self, entry: &bletchley_token::Entry, author: Address) -> Result<(), Refusal> {
        if entry.namespace != NAMESPACE {
            return Ok(());
        }
        let history = self.inner.history.read();
        let admitted = history.now().admits(&entry.payload, author, history.head().next());
        admitted.map(drop).inspect_err(|_| {
            self.inner.turned_away.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Statements that were turned away since the start: of people who are no members, about what is closed, and the like.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.inner.turned_away.load(Ordering::Relaxed)
    }

    /// Who validates the root ledger when.
    #[must_use]
    pub fn schedule_for_root(&self) -> Arc<dyn Schedule> {
        let spec = self.standing().ledger(ROOT_LEDGER).map_or(1, |ledger| ledger.spec.epoch_blocks);
        Arc::new(RootSchedule { inner: self.inner.clone(), epoch_blocks: spec })
    }

    /// Who validates another ledger of the consortium when: what stood at the anchor of the last block of the epoch
    /// before, or when the ledger was created. None when there is no such ledger.
    #[must_use]
    pub fn schedule_for(&self, ledger: &str, anchors: Arc<dyn Anchors>) -> Option<Arc<dyn Schedule>> {
        let standing = self.standing();
        let record = standing.ledger(ledger)?;
        Some(Arc::new(AnchoredSchedule {
            inner: self.inner.clone(),
            ledger: ledger.to_owned(),
            created_at: record.created_at,
            epoch_blocks: record.spec.epoch_blocks,
            anchors,
            known: Mutex::default(),
        }))
    }
}

impl ConsortiumView for Governance {
    fn report(&self) -> Report {
        self.with_history(Report::of)
    }

    fn admits_transaction(&self, raw: &[u8]) -> Result<(), Refusal> {
        // Nearly all transactions are none of the consortium's: do not decode those.
        if !raw.windows(NAMESPACE.len()).any(|window| window == NAMESPACE.as_bytes()) {
            return Ok(());
        }
        match Transaction::decode_bytes(self.tokens.ledger(), raw) {
            Ok((_, Transaction { body, .. })) => match body.action {
                Action::Register { issuer, entry } => self.admits(&entry, issuer),
                _ => Ok(()),
            },
            // What is no transaction is refused where transactions are taken in.
            Err(_) => Ok(()),
        }
    }
}

/// A ledger whose blocks name the state of the root ledger that they were made in.
pub trait Anchors: Send + Sync + 'static {
    /// Height of the newest block.
    fn head(&self) -> Height;

    /// Root-ledger height that the block at a height names; none for a block that is not here.
    fn anchor(&self, height: Height) -> Option<Height>;
}

impl Anchors for EvmLedger {
    fn head(&self) -> Height {
        Self::head(self).height
    }

    fn anchor(&self, height: Height) -> Option<Height> {
        match Self::anchor(self, height) {
            Ok(anchor) => anchor.map(|anchor| anchor.height),
            Err(error) => {
                tracing::error!(%height, %error, "a block's anchor cannot be read; its epoch's validators are not known");
                None
            }
        }
    }
}

struct RootSchedule {
    inner: Arc<Inner>,
    epoch_blocks: u64,
}

impl Schedule for RootSchedule {
    fn epoch_blocks(&self) -> u64 {
        self.epoch_blocks
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        let decided = epoch.checked_sub(1).map_or(Height(0), |before| last_of(before, self.epoch_blocks));
        let standing = self.inner.history.read().at(decided)?;
        Some(Arc::new(standing.validators()))
    }

    fn change_pending(&self) -> bool {
        let (head, standing) = {
            let history = self.inner.history.read();
            (history.head(), history.now().standing().clone())
        };
        let newest = head.0.checked_div(self.epoch_blocks).and_then(|epoch| self.validators(epoch));
        newest.is_some_and(|newest| *newest != standing.validators())
    }
}

struct AnchoredSchedule {
    inner: Arc<Inner>,
    ledger: String,
    created_at: Height,
    epoch_blocks: u64,
    anchors: Arc<dyn Anchors>,
    /// The newest answers: they never change.
    known: Mutex<BTreeMap<u64, Arc<Validators>>>,
}

impl AnchoredSchedule {
    fn decided_at(&self, epoch: u64) -> Option<Height> {
        let Some(before) = epoch.checked_sub(1) else { return Some(self.created_at) };
        let last = last_of(before, self.epoch_blocks);
        if last > self.anchors.head() {
            return None;
        }
        self.anchors.anchor(last).map(|anchor| anchor.max(self.created_at))
    }
}

impl Schedule for AnchoredSchedule {
    fn epoch_blocks(&self) -> u64 {
        self.epoch_blocks
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        if let Some(known) = self.known.lock().get(&epoch) {
            return Some(known.clone());
        }
        let decided = self.decided_at(epoch)?;
        let standing = self.inner.history.read().at(decided)?;
        let validators = Arc::new(standing.validators_of(&self.ledger)?);
        let mut known = self.known.lock();
        known.insert(epoch, validators.clone());
        if known.len() > EPOCHS_KEPT_MAX {
            known.pop_first();
        }
        Some(validators)
    }

    fn change_pending(&self) -> bool {
        let newest = self.anchors.head().0.checked_div(self.epoch_blocks);
        let newest = newest.and_then(|epoch| self.validators(epoch));
        let standing = self.inner.history.read().now().standing().clone();
        let wanted = standing.validators_of(&self.ledger);
        newest.zip(wanted).is_some_and(|(newest, wanted)| *newest != wanted)
    }
}

#[cfg(test)]
#[path = "governance/tests.rs"]
mod tests;
