//! Takes blocks in, in their order: checked ahead on other threads, appended without a sync each, and settled in batches.

use super::chain::Final;
use super::exchange::Event;
use bletchley_consensus::{Payload, PeerId};
use bletchley_ledger::{
    AppendError, Block, BlockParts, ExecuteError, Executed, Finality, Machine, Prepared, RecordError,
    Section, SharedStore,
};
use bletchley_primitives::{B256, Height, LedgerId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Bytes of blocks between two syncs.
const SETTLE_SIZE_BYTES: usize = 16 << 20;
/// How soon a block that needs another ledger's is tried again.
const EARLY_RETRY: Duration = Duration::from_millis(20);
/// How long a block may need another ledger's.
const EARLY_MAX: Duration = Duration::from_secs(60);
/// After so long without a block what was appended is settled.
const IDLE: Duration = Duration::from_millis(250);

/// Whether what an engine keeps beside a block of this digest holds.
pub(crate) type SealHolds = Arc<dyn Fn(Height, &B256, &[u8]) -> bool + Send + Sync>;

/// Whether this program knows the rules of the block at a height, and if not, what to do.
pub(crate) type KnowsRules = Arc<dyn Fn(Height) -> Result<(), String> + Send + Sync>;

/// Blocks of one member, with their final headers.
pub(super) struct Delivery {
    pub(super) peer: PeerId,
    pub(super) blocks: Vec<(Final, BlockParts)>,
    pub(super) size_bytes: usize,
    /// Enough members keep the same receipts, which say more than headers commit to.
    pub(super) vouched: bool,
}

impl Delivery {
    fn from(&self) -> u64 {
        self.blocks.first().map_or(0, |(first, _)| first.link.height.0)
    }
}

type Checked = Result<Prepared, ExecuteError>;

/// A delivery whose blocks were checked as far as that can be done without a state.
pub(super) struct Ready {
    delivery: Delivery,
    checked: Vec<Checked>,
}

/// How blocks come into a machine.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) machine: Arc<dyn Machine>,
    /// Execute them, instead of taking their results over.
    pub(super) executes: bool,
}

fn block_of(header: &Final, parts: &BlockParts) -> Block {
    Block { header: header.header.clone(), body: parts.body.clone(), extension: parts.extension.clone() }
}

impl Way {
    fn check(&self, header: &Final, parts: &BlockParts, vouched: bool) -> Checked {
        let block = block_of(header, parts);
        if self.executes {
            self.machine.prepare(block)
        } else {
            self.machine.inspect(block, parts.receipts.clone(), parts.diff.clone(), vouched)
        }
    }

    fn run(&self, prepared: Prepared) -> Result<Executed, ExecuteError> {
        if self.executes { self.machine.execute(prepared) } else { self.machine.adopt(prepared) }
    }

    /// Checks deliveries until there are no more; several threads do this at once.
    pub(super) fn check_all(&self, deliveries: &Mutex<Receiver<Delivery>>, ready: &Sender<Ready>) {
        loop {
            let next = deliveries.lock().recv();
            let Ok(delivery) = next else { return };
            let vouched = delivery.vouched;
            let check = |(header, parts): &(Final, BlockParts)| self.check(header, parts, vouched);
            let checked = delivery.blocks.iter().map(check).collect();
            if ready.send(Ready { delivery, checked }).is_err() {
                return;
            }
        }
    }
}

/// What takes blocks in.
pub(super) struct Taker {
    pub(super) ledger: LedgerId,
    pub(super) way: Way,
    pub(super) store: SharedStore,
    pub(super) seal_holds: SealHolds,
    pub(super) knows_rules: KnowsRules,
    pub(super) events: Sender<Event>,
}

/// Why a block was not taken in.
enum Fault {
    /// Whoever sent it lied.
    Theirs(String),
    /// It cannot be taken in here.
    Ours(String),
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        Self::Ours(error.to_string())
    }
}

impl Taker {
    /// Takes in what comes, until no more comes; settled on return.
    pub(super) fn take_all(&self, ready: &Receiver<Ready>) {
        let Some(mut payload) = self.payload_at_head() else {
            self.fail("the newest block here has no seal of this engine".to_owned());
            return;
        };
        let mut waiting: BTreeMap<u64, Ready> = BTreeMap::new();
        let mut unsettled = 0usize;
        loop {
            let next = self.way.machine.head().height.next().0;
            if let Some(ready) = waiting.remove(&next) {
                unsettled = unsettled.saturating_add(ready.delivery.size_bytes);
                match self.take(ready, &mut payload) {
                    Ok(()) => {}
                    Err(problem) => return self.fail(problem),
                }
                if unsettled >= SETTLE_SIZE_BYTES {
                    if let Err(error) = self.store.settle() {
                        return self.fail(error.to_string());
                    }
                    unsettled = 0;
                }
                continue;
            }
            match ready.recv_timeout(IDLE) {
                Ok(more) => {
                    waiting.insert(more.delivery.from(), more);
                }
                Err(end) => {
                    if let Err(error) = self.store.settle() {
                        return self.fail(error.to_string());
                    }
                    unsettled = 0;
                    if end == RecvTimeoutError::Disconnected {
                        return;
                    }
                }
            }
        }
    }

    fn fail(&self, problem: String) {
        let _ = self.events.send(Event::Failed(problem));
    }

    fn payload_at_head(&self) -> Option<B256> {
        let head = self.store.head()?.height;
        if head == Height(0) {
            return Some(Payload::genesis(self.ledger));
        }
        let section = self.store.section(head, Section::Certificate).ok().flatten()?;
        let seal = Finality::decode(&section).ok()?.seal;
        seal.first_chunk::<32>().map(|digest| B256::new(*digest))
    }

    /// Takes in a delivery, or says which block of it is still wanted.
    fn take(&self, ready: Ready, payload: &mut B256) -> Result<(), String> {
        let Ready { delivery: Delivery { peer, blocks, size_bytes, .. }, checked } = ready;
        let (first, last) = (
            blocks.first().map_or(0, |(header, _)| header.link.height.0),
            blocks.last().map_or(0, |(header, _)| header.link.height.0),
        );
        for ((header, parts), checked) in blocks.into_iter().zip(checked) {
            let height = header.link.height;
            match self.take_one(&header, parts, checked, *payload) {
                Ok(digest) => *payload = digest,
                Err(Fault::Ours(problem)) => return Err(format!("block {height}: {problem}")),
                Err(Fault::Theirs(problem)) => {
                    let problem = format!("block {height}: {problem}");
                    let taken = Event::Taken { to: height.0 - 1, blocks: height.0 - first, size_bytes: 0 };
                    let refused = Event::Refused { from: height.0, to: last, peer, size_bytes, problem };
                    let _ = self.events.send(taken);
                    let _ = self.events.send(refused);
                    return Ok(());
                }
            }
        }
        let _ = self.events.send(Event::Taken { to: last, blocks: last - first + 1, size_bytes });
        Ok(())
    }

    fn take_one(
        &self,
        header: &Final,
        parts: BlockParts,
        mut checked: Checked,
        before: B256,
    ) -> Result<B256, Fault> {
        let height = header.link.height;
        (self.knows_rules)(height).map_err(Fault::Ours)?;
        let digest = Payload::new(before, height, block_of(header, &parts)).digest();
        if !(self.seal_holds)(height, &digest, &parts.seal) {
            return Err(Fault::Theirs("its seal is not that of what the members agreed on".to_owned()));
        }
        let began = Instant::now();
        let executed = loop {
            match checked.and_then(|prepared| self.way.run(prepared)) {
                Ok(executed) => break executed,
                Err(ExecuteError::Record { source: RecordError::Anchor { .. }, .. })
                    if began.elapsed() < EARLY_MAX =>
                {
                    // The root ledger's engine runs already, and brings what this block names.
                    std::thread::sleep(EARLY_RETRY);
                    checked = self.way.check(header, &parts, false);
                }
                Err(error @ (ExecuteError::Internal { .. } | ExecuteError::NotOnHead { .. })) => {
                    return Err(Fault::Ours(error.to_string()));
                }
                Err(error) => return Err(Fault::Theirs(error.to_string())),
            }
        };
        let hash = executed.meta.hash;
        if hash != header.link.hash || executed.state_root != header.link.state {
            self.way.machine.discard(hash);
            return Err(Fault::Theirs("it is not what its header says".to_owned()));
        }
        let finality = Finality { seal: parts.seal, certificate: None };
        self.store.append_loose(&executed.into_stored(finality.encode()))?;
        self.way.machine.commit(hash).map_err(|error| Fault::Ours(error.to_string()))?;
        Ok(digest)
    }
}
