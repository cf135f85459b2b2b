//! The fabric: starts delegated calls ahead of their blocks, keeps the signed receipts, and checks those of others.
//!
//! Invariants: `poll` never waits for a host; `check` calls nobody; a receipt that `poll` gave passes `check` at the
//! same place and anchor; every table and queue has a bound; nothing here survives a restart, because nothing has to:
//! a call that was under way is started again, and evidence is in the content store.

mod check;
mod evidence;
mod host;
mod others;
mod reexecute;
mod table;
mod view;
mod worker;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, Bytes};
use bletchley_ledger::{
    Anchor, Answer, Call, CallBounds, CallId, Delegate, DelegationRecord, Place, Receipt, RecordError,
    Refusal, SignedReceipt,
};
use bletchley_primitives::{Signature, TimestampMs};
use parking_lot::{Condvar, Mutex, RwLock};

pub use check::ReceiptProblem;
pub use evidence::{EVIDENCE_SIZE_BYTES_MAX, Evidence, EvidenceError};
pub(crate) use host::unavailable;
pub use host::{Execution, Host, HostError, LocalHost, Work};
pub use others::{Claim, Others};
pub use reexecute::{Divergence, Reexecution};

use crate::{container::Unavailability, content::Content, registry::RegistryView};
use table::{Poll, Table};
use view::Admitted;
pub(crate) use view::AnchorView;

/// Anchors whose view is kept at hand.
const VIEWS_MAX: usize = 8;

/// Bounds of one fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FabricConfig {
    /// Threads that run calls of blocks to come.
    pub workers: usize,
    /// Most calls that wait or run; more are left for a later block.
    pub in_flight_max: usize,
    /// Most finished receipts that are kept, the oldest leave first.
    pub ready_max: usize,
    /// Most bytes of outputs in finished receipts.
    pub ready_size_bytes_max: usize,
    /// Most calls of readers at once.
    pub live_max: usize,
    /// Most attempts of one call while hosts cannot answer.
    pub attempts_max: u32,
    /// Pause before the second attempt; it doubles with each one after.
    pub retry_pause_ms: u64,
    /// How long the next host in turn waits for the receipt of the one before, where other members have hosts too.
    pub turn_ms: u64,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            workers: 2,
            in_flight_max: 1024,
            ready_max: 16 * 1024,
            ready_size_bytes_max: 64 << 20,
            live_max: 8,
            attempts_max: 3,
            retry_pause_ms: 50,
            turn_ms: 100,
        }
    }
}

/// What a fabric is put together from.
#[derive(Clone)]
pub struct FabricParts {
    /// Cryptlets, hosts and policy.
    pub registry: Arc<dyn RegistryView>,
    /// Where evidence is kept.
    pub content: Arc<dyn Content>,
    /// The hosts that this node can ask.
    pub hosts: Vec<Arc<dyn Host>>,
}

impl std::fmt::Debug for FabricParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|host| host.address()).collect();
        f.debug_struct("FabricParts").field("hosts", &hosts).finish_non_exhaustive()
    }
}

/// What is told when a call that was pending has an answer, or may be asked for again.
pub type OnReady = Arc<dyn Fn(CallId) + Send + Sync>;

/// How much a fabric has to do, for status pages and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FabricStatus {
    /// Calls that wait or run.
    pub in_flight: usize,
    /// Finished receipts that are kept.
    pub ready: usize,
    /// Calls that found no room and were left for later.
    pub waiting: usize,
    /// Whether the fabric was stopped.
    pub stopped: bool,
    /// Receipts signed since the start.
    pub signed_total: u64,
    /// Of those, how many say that no host could answer.
    pub unavailable_total: u64,
    /// Receipts of other members that were taken in since the start.
    pub accepted_total: u64,
}

/// The cryptlet fabric of one ledger, as its machine sees it.
#[derive(Debug)]
pub struct Fabric {
    shared: Arc<Shared>,
    workers: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

pub(crate) struct Shared {
    parts: FabricParts,
    config: FabricConfig,
    /// The view of the anchor that `anchor` gave last: blocks are built against it.
    pinned: Mutex<Option<Arc<AnchorView>>>,
    views: Mutex<VecDeque<Arc<AnchorView>>>,
    table: Mutex<Table>,
    work_added: Condvar,
    live: Mutex<usize>,
    live_ended: Condvar,
    on_ready: RwLock<Option<OnReady>>,
    others: RwLock<Option<Arc<dyn Others>>>,
    /// The newest place that was polled for: older receipts of others are not taken in.
    newest: Mutex<Option<Place>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("parts", &self.parts)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Fabric {
    /// A running fabric.
    ///
    /// # Errors
    /// What the operating system said when it was asked for threads.
    pub fn start(parts: FabricParts, config: FabricConfig) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            parts,
            config,
            pinned: Mutex::default(),
            views: Mutex::default(),
            table: Mutex::new(Table::new(config)),
            work_added: Condvar::new(),
            live: Mutex::new(0),
            live_ended: Condvar::new(),
            on_ready: RwLock::default(),
            others: RwLock::default(),
            newest: Mutex::default(),
        });
        let fabric = Self { shared, workers: Mutex::default() };
        for number in 0..config.workers.max(1) {
            let shared = Arc::clone(&fabric.shared);
            let thread = std::thread::Builder::new().name(format!("cryptlet-{number}"));
            fabric.workers.lock().push(thread.spawn(move || worker::work(&shared))?);
        }
        Ok(fabric)
    }

    /// Sets what is called, on a worker's thread, when a call that was pending can be asked for again.
    pub fn on_ready(&self, tell: OnReady) {
        *self.shared.on_ready.write() = Some(tell);
    }

    /// Sets the hosts of other members, which sign what this node's hosts cannot sign alone.
    pub fn connect(&self, others: Arc<dyn Others>) {
        *self.shared.others.write() = Some(others);
    }

    /// Takes in a receipt that another member shares, if it would pass [`Delegate::check`] at the newest anchor here;
    /// true when it was new.
    ///
    /// # Errors
    /// [`ReceiptProblem`]; this node may also know less of the registry yet than who made it.
    pub fn accept(&self, signed: &SignedReceipt) -> Result<bool, ReceiptProblem> {
        let id = signed.receipt.call_id();
        if self.shared.table.lock().made_here(id).is_some() {
            return Ok(false);
        }
        self.shared.check_age(&signed.receipt)?;
        let signers = check::check_shared(&self.shared, signed)?;
        let wake = self.shared.table.lock().accept(id, signed.clone(), signers);
        self.shared.tell(&wake);
        Ok(!wake.is_empty())
    }

    /// How much there is to do.
    #[must_use]
    pub fn status(&self) -> FabricStatus {
        self.shared.table.lock().status()
    }

    /// Takes in no more calls, lets the running ones end, and ends the threads. Pending calls stay pending.
    pub fn stop(&self) {
        *self.shared.on_ready.write() = None;
        *self.shared.others.write() = None;
        self.shared.table.lock().close();
        self.shared.work_added.notify_all();
        self.shared.live_ended.notify_all();
        let this = std::thread::current().id();
        for worker in self.workers.lock().drain(..) {
            // A worker that holds the last reference to its fabric cannot wait for itself.
            if worker.thread().id() != this && worker.join().is_err() {
                tracing::error!("a cryptlet worker had panicked");
            }
        }
    }

    /// Runs a recorded call again from its evidence, on the first host here that has the receipt's profile.
    #[must_use]
    pub fn reexecute(&self, signed: &SignedReceipt, anchor: &Anchor) -> Reexecution {
        reexecute::reexecute(&self.shared.parts, signed, anchor)
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn view(&self, anchor: Anchor) -> Arc<AnchorView> {
        let mut views = self.views.lock();
        if let Some(view) = views.iter().find(|view| view.anchor() == anchor) {
            return Arc::clone(view);
        }
        let view = Arc::new(AnchorView::new(Arc::clone(&self.parts.registry), anchor));
        if views.len() >= VIEWS_MAX {
            views.pop_front();
        }
        views.push_back(Arc::clone(&view));
        view
    }

    fn others(&self) -> Option<Arc<dyn Others>> {
        self.others.read().clone()
    }

    /// Refuses what could only push newer receipts out.
    fn check_age(&self, receipt: &Receipt) -> Result<(), ReceiptProblem> {
        let Some(newest) = *self.newest.lock() else { return Ok(()) };
        if newest.ledger != receipt.ledger {
            return Err(ReceiptProblem::Ledger(receipt.ledger.0));
        }
        let (valid_from, valid_to, height) = (receipt.valid_from, receipt.valid_to, newest.height);
        if valid_to < height {
            let window = CallBounds::WINDOW_HEIGHTS;
            return Err(ReceiptProblem::Window { valid_from, valid_to, window, height });
        }
        let most = CallBounds::AS_OF_SKEW_MS_MAX;
        if receipt.as_of_ms.0.saturating_add(most) < newest.time_ms.0 {
            let (as_of_ms, time_ms) = (receipt.as_of_ms, newest.time_ms);
            return Err(ReceiptProblem::AsOf { as_of_ms, time_ms, most });
        }
        Ok(())
    }

    fn tell(&self, wake: &[CallId]) {
        let tell = self.on_ready.read().clone();
        if let Some(tell) = tell {
            wake.iter().for_each(|id| tell(*id));
        }
    }

    /// How long this node leaves a call to the hosts that are responsible before its own.
    fn pause(&self, call: CallId, view: &AnchorView) -> Duration {
        let Some(others) = self.others() else { return Duration::ZERO };
        let own: Vec<_> = self.parts.hosts.iter().map(|host| host.address()).collect();
        let turn = others::turn(call, view, &own, &others.hosts());
        Duration::from_millis(self.config.turn_ms.saturating_mul(turn as u64))
    }

    fn pin_newest(&self) -> Arc<AnchorView> {
        let view = self.view(self.parts.registry.anchor());
        *self.pinned.lock() = Some(Arc::clone(&view));
        view
    }

    fn pinned(&self) -> Arc<AnchorView> {
        let pinned = self.pinned.lock().clone();
        pinned.unwrap_or_else(|| self.pin_newest())
    }

    /// The hosts here that count at this view and time.
    fn usable_hosts(&self, view: &AnchorView, at: TimestampMs) -> Vec<Arc<dyn Host>> {
        let counts = |host: &&Arc<dyn Host>| {
            view.host_at(host.address(), at).is_some_and(|entry| entry.profile == host.profile())
        };
        self.parts.hosts.iter().filter(counts).cloned().collect()
    }

    fn live_permit(self: &Arc<Self>, within: Duration) -> Option<LivePermit> {
        let until = Instant::now().checked_add(within)?;
        let mut live = self.live.lock();
        while *live >= self.config.live_max.max(1) {
            if self.live_ended.wait_until(&mut live, until).timed_out() {
                return None;
            }
        }
        *live = live.saturating_add(1);
        Some(LivePermit(Arc::clone(self)))
    }
}

/// One place among the calls of readers; given back when dropped.
struct LivePermit(Arc<Shared>);

impl Drop for LivePermit {
    fn drop(&mut self) {
        let mut live = self.0.live.lock();
        *live = live.saturating_sub(1);
        self.0.live_ended.notify_one();
    }
}

fn check_bounds(call: &Call) -> Result<(), Refusal> {
    let bound = |what, size_bytes: usize, size_bytes_max: usize| {
        if size_bytes <= size_bytes_max {
            Ok(())
        } else {
            Err(Refusal::Bounds(format!("the {what} has {size_bytes} bytes, {size_bytes_max} are the most")))
        }
    };
    bound("method", call.method.len(), CallBounds::METHOD_SIZE_BYTES_MAX)?;
    bound("input", call.input.len(), CallBounds::INPUT_SIZE_BYTES_MAX)
}

fn work_of(call: &Call, place: &Place, admitted: &Admitted) -> Work {
    Work {
        call: call.clone(),
        place: *place,
        package: Arc::clone(&admitted.package),
        fuel_max: admitted.fuel_max(),
        timeout_ms: admitted.policy.timeout_ms,
        isolation: admitted.policy.least_isolation(),
    }
}

impl Delegate for Fabric {
    /// The caller has bounded method and input ([`CallBounds`]) and called [`Delegate::anchor`] for this block.
    fn poll(&self, call: &Call, place: &Place) -> Answer {
        let view = self.shared.pinned();
        *self.shared.newest.lock() = Some(*place);
        let admitted = match view.admit(call.cryptlet, call.caller, &call.method, place.time_ms) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                return Answer::Ready(Arc::new(SignedReceipt::refused(call, place, &refusal.to_string())));
            }
        };
        let fits = |signed: &SignedReceipt, signers: &[alloy_primitives::Address]| {
            check::check_place(signed, place)
                .and_then(|()| check::check_admitted(signed, &admitted))
                .and_then(|()| check::check_signers(signed, &admitted, &view, signers))
                .is_ok()
        };
        let polled = self.shared.table.lock().poll(
            call.id(),
            place,
            call.sender,
            (view.anchor(), &admitted),
            fits,
            || (work_of(call, place, &admitted), self.shared.pause(call.id(), &view)),
        );
        match polled {
            Poll::Ready(receipt) => Answer::Ready(receipt),
            Poll::Started => {
                self.shared.work_added.notify_one();
                Answer::Pending
            }
            Poll::Pending => Answer::Pending,
        }
    }

    fn run(&self, call: &Call, place: &Place) -> Result<SignedReceipt, Refusal> {
        check_bounds(call)?;
        let view = self.shared.view(self.shared.parts.registry.anchor());
        let admitted = match view.admit(call.cryptlet, call.caller, &call.method, place.time_ms) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(SignedReceipt::refused(call, place, &refusal.to_string())),
        };
        let hosts = self.shared.usable_hosts(&view, place.time_ms);
        if hosts.is_empty() {
            return Err(Refusal::Bounds("this node has no host that the registry's policy names".to_owned()));
        }
        let timeout_ms = admitted.policy.timeout_ms;
        let _permit =
            self.shared.live_permit(Duration::from_millis(timeout_ms)).ok_or(Refusal::Timeout(timeout_ms))?;
        let work = work_of(call, place, &admitted);
        let mut last: Option<Unavailability> = None;
        for host in hosts.iter().take(self.shared.config.attempts_max.max(1) as usize) {
            match host.execute(&work) {
                Ok(execution) => return Ok(unsigned(execution.receipt, execution.output, &admitted)),
                Err(trouble) => last = Some(trouble),
            }
        }
        let (receipt, output) = host::unavailable(&work, last.as_ref());
        Ok(unsigned(receipt, output, &admitted))
    }

    /// Call it once for each block that is built, before the block's first `poll`.
    fn anchor(&self) -> Anchor {
        self.shared.pin_newest().anchor()
    }

    fn check(&self, record: &DelegationRecord, place: &Place) -> Result<(), RecordError> {
        check::check_record(&self.shared, record, place)
    }

    fn protocol_version(&self, anchor: &Anchor) -> u32 {
        self.shared.parts.registry.protocol_version(anchor.height)
    }
}

/// A reader's receipt: it has as many signatures as a recorded one, so that gas comes out the same, but blank ones,
/// so that it is good for nothing else.
fn unsigned(receipt: bletchley_ledger::Receipt, output: Bytes, admitted: &Admitted) -> SignedReceipt {
    let blank = Signature([0; Signature::SIZE_BYTES]);
    let count = usize::try_from(admitted.policy.quorum).unwrap_or(0).saturating_add(1);
    SignedReceipt { receipt, output, signatures: vec![blank; count] }
}

/// No digest: nothing ran.
const NOTHING: B256 = B256::ZERO;
