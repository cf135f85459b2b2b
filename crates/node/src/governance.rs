//! The consortium as the committed blocks of the root ledger have it, and what follows from it for every ledger: who
//! validates which epoch.

use crate::genesis::{Agreement, NetworkGenesis};
use bletchley_consensus::{Pace, Schedule, Validators, last_of};
use bletchley_consortium::{
    ActionError, ConsortiumHistory, ConsortiumView, Genesis, LedgerKind, LedgerSpec, NAMESPACE, Outcome,
    Parameters, Record, Refusal, Report, SharedStanding, Upgrade,
};
use bletchley_cryptlet::registry::Votes;
use bletchley_evm::EvmLedger;
use bletchley_ledger::{Machine, PROTOCOL_VERSION_NEWEST};
use bletchley_primitives::{Address, Height};
use bletchley_token::{Action, EntryRevision, TokenMachine, Transaction};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

    /// What the registry on the root ledger follows.
    #[must_use]
    pub fn votes(&self) -> Arc<dyn Votes> {
        Arc::new(Voters(self.inner.clone()))
    }

    /// Keeps away blocks of the root ledger that follow rules which this program does not know.
    #[must_use]
    pub fn guard(&self) -> ProtocolGuard {
        ProtocolGuard(Some(self.inner.clone()))
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

/// The members' votes, without the machine that they are on.
struct Voters(Arc<Inner>);

impl std::fmt::Debug for Voters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voters").finish_non_exhaustive()
    }
}

impl Inner {
    fn at_or_now(&self, height: Height) -> SharedStanding {
        let history = self.history.read();
        history.at(height).unwrap_or_else(|| history.now().standing().clone())
    }

    fn pace(&self, ledger: &str) -> Option<Pace> {
        let standing = self.history.read().now().standing().clone();
        let spec = &standing.ledger(ledger)?.spec;
        let (block, heartbeat) = (spec.block_ms, spec.heartbeat_ms);
        Some(Pace { block: Duration::from_millis(block), heartbeat: Duration::from_millis(heartbeat) })
    }
}

impl Votes for Voters {
    fn administrators(&self, height: Height) -> Vec<Address> {
        self.0.at_or_now(height).active().map(|member| member.administrator).collect()
    }

    fn protocol_version(&self, height: Height) -> u32 {
        self.0.at_or_now(height).protocol_version(height)
    }
}

/// Knows up to which block of the root ledger this program knows the rules. The default knows no end.
#[derive(Clone, Default)]
pub struct ProtocolGuard(Option<Arc<Inner>>);

impl std::fmt::Debug for ProtocolGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProtocolGuard").finish_non_exhaustive()
    }
}

impl ProtocolGuard {
    /// The first upgrade that was agreed on and that this program does not know.
    #[must_use]
    pub fn unknown(&self) -> Option<Upgrade> {
        let standing = self.0.as_ref()?.history.read().now().standing().clone();
        standing.upgrades().iter().find(|upgrade| upgrade.version > PROTOCOL_VERSION_NEWEST).copied()
    }

    /// What to do before that upgrade; none when this program knows every version that was agreed on.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let Upgrade { version, height } = self.unknown()?;
        Some(format!(
            "protocol version {version} holds from block {height} of ledger {ROOT_LEDGER} on, and this program knows \
             versions up to {PROTOCOL_VERSION_NEWEST}: install a newer bletchley and start this node again before that block"
        ))
    }

    /// Whether this program knows the rules of the root ledger's block at a height.
    ///
    /// # Errors
    /// What to do, when it does not.
    pub fn check(&self, height: Height) -> Result<(), String> {
        match self.unknown().filter(|upgrade| upgrade.height <= height) {
            None => Ok(()),
            Some(Upgrade { version, height }) => Err(format!(
                "this node stops before block {height} of ledger {ROOT_LEDGER}: the members agreed on protocol version \
                 {version} from there on, and this program knows versions up to {PROTOCOL_VERSION_NEWEST}; install a \
                 newer bletchley and start the node again"
            )),
        }
    }

    /// As [`Self::check`], for the block after the newest one that is here.
    ///
    /// # Errors
    /// What to do, when this program does not know its rules.
    pub fn check_next(&self) -> Result<(), String> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let head = inner.history.read().head();
        self.check(head.next())
    }
}

/// The blocks of a token ledger beside the root ledger.
#[derive(Debug)]
pub struct TokenAnchors(pub Arc<TokenMachine>);

impl Anchors for TokenAnchors {
    fn head(&self) -> Height {
        self.0.head().height
    }

    fn anchor(&self, height: Height) -> Option<Height> {
        match self.0.anchor(height) {
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

    fn pace(&self) -> Option<Pace> {
        self.inner.pace(ROOT_LEDGER)
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

    fn pace(&self) -> Option<Pace> {
        self.inner.pace(&self.ledger)
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
