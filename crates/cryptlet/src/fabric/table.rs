//! The table of calls: waiting, running, and finished. Every part of it has a bound.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::Address;
use bletchley_ledger::{Anchor, CallId, Place, SignedReceipt, Status};
use bletchley_primitives::Height;

use super::{
    FabricConfig, FabricStatus,
    host::{Gathered, Work},
    view::Admitted,
};
use crate::policy::Shares;

/// Heights for which a call that this node's hosts cannot sign is left alone.
const UNSIGNED_PAUSE_HEIGHTS: u64 = 8;

/// What a poll came to.
pub(super) enum Poll {
    /// The receipt.
    Ready(Arc<SignedReceipt>),
    /// The call was put into the queue.
    Started,
    /// The call runs, or there is no room for it now.
    Pending,
}

/// A call in the queue.
pub(super) struct Job {
    pub(super) id: CallId,
    pub(super) sender: Address,
    pub(super) work: Work,
    pub(super) quorum: u64,
    /// Registry state that the call was admitted at.
    pub(super) anchor: Anchor,
    pub(super) attempts: u32,
    /// End of its time, from the first attempt on.
    pub(super) deadline: Option<Instant>,
}

enum Slot {
    InFlight,
    Ready {
        receipt: Arc<SignedReceipt>,
        signers: Vec<Address>,
        ticket: u64,
    },
    /// The hosts of this node cannot sign it; not tried again before this height unless the registry changes.
    Unsigned {
        until: Height,
        anchor: Anchor,
    },
}

/// All calls of one fabric.
pub(super) struct Table {
    config: FabricConfig,
    /// Never iterated, so its order does not matter.
    slots: HashMap<CallId, Slot>,
    queue: VecDeque<Job>,
    delayed: Vec<(Instant, Job)>,
    shares: Shares,
    in_flight: usize,
    /// Slots that are not in flight, oldest first; a ticket that its slot no longer has is stale.
    order: VecDeque<(CallId, u64)>,
    tickets: u64,
    ready_size_bytes: usize,
    /// Calls that found no room, to be told when there is.
    waiting: BTreeSet<CallId>,
    closed: bool,
    signed_total: u64,
    unavailable_total: u64,
    accepted_total: u64,
}

impl Table {
    pub(super) fn new(config: FabricConfig) -> Self {
        Self {
            config,
            slots: HashMap::new(),
            queue: VecDeque::new(),
            delayed: Vec::new(),
            shares: Shares::default(),
            in_flight: 0,
            order: VecDeque::new(),
            tickets: 0,
            ready_size_bytes: 0,
            waiting: BTreeSet::new(),
            closed: false,
            signed_total: 0,
            unavailable_total: 0,
            accepted_total: 0,
        }
    }

    pub(super) fn poll(
        &mut self,
        id: CallId,
        place: &Place,
        sender: Address,
        (anchor, admitted): (Anchor, &Admitted),
        fits: impl FnOnce(&SignedReceipt, &[Address]) -> bool,
        work: impl FnOnce() -> (Work, Duration),
    ) -> Poll {
        match self.slots.get(&id) {
            Some(Slot::InFlight) => return Poll::Pending,
            Some(Slot::Unsigned { until, anchor: tried }) if place.height < *until && *tried == anchor => {
                return Poll::Pending;
            }
            Some(Slot::Ready { receipt, signers, .. }) if fits(receipt, signers) => {
                return Poll::Ready(Arc::clone(receipt));
            }
            Some(_) => self.remove(id),
            None => {}
        }
        let full = self.closed || self.in_flight >= self.config.in_flight_max;
        if full || !self.shares.take(sender, admitted.policy.calls_per_sender_max) {
            if self.waiting.len() < self.config.in_flight_max {
                self.waiting.insert(id);
            }
            return Poll::Pending;
        }
        self.waiting.remove(&id);
        self.in_flight = self.in_flight.saturating_add(1);
        self.slots.insert(id, Slot::InFlight);
        let (work, pause) = work();
        let quorum = admitted.policy.quorum;
        let job = Job { id, sender, work, quorum, anchor, attempts: 0, deadline: None };
        match Instant::now().checked_add(pause).filter(|_| !pause.is_zero()) {
            Some(until) => self.delayed.push((until, job)),
            None => self.queue.push_back(job),
        }
        Poll::Started
    }

    /// The next job, or when to look again.
    pub(super) fn next(&mut self) -> Next {
        if self.closed {
            return Next::Closed;
        }
        let now = Instant::now();
        if let Some(at) = self.delayed.iter().position(|(when, _)| *when <= now) {
            let (_, job) = self.delayed.swap_remove(at);
            return Next::Job(Box::new(job));
        }
        match self.queue.pop_front() {
            Some(job) => Next::Job(Box::new(job)),
            None => Next::Nothing(self.delayed.iter().map(|(when, _)| *when).min()),
        }
    }

    /// Puts a job back, to be tried again later.
    pub(super) fn delay(&mut self, job: Job, until: Instant) {
        self.delayed.push((until, job));
    }

    /// Ends a job. Gives the calls that may be asked for again.
    pub(super) fn finish(&mut self, job: &Job, gathered: Option<Gathered>) -> Vec<CallId> {
        self.shares.give_back(job.sender);
        self.in_flight = self.in_flight.saturating_sub(1);
        match gathered {
            Some(Gathered { signed, signers }) => {
                self.signed_total = self.signed_total.saturating_add(1);
                if signed.receipt.status == Status::Unavailable {
                    self.unavailable_total = self.unavailable_total.saturating_add(1);
                }
                self.keep(job.id, Arc::new(signed), signers);
            }
            // Somebody else may have made the receipt meanwhile.
            None if matches!(self.slots.get(&job.id), Some(Slot::Ready { .. })) => {}
            None => {
                let until = job.work.place.height.0.saturating_add(UNSIGNED_PAUSE_HEIGHTS);
                self.tickets = self.tickets.wrapping_add(1);
                self.slots.insert(job.id, Slot::Unsigned { until: Height(until), anchor: job.anchor });
                self.order.push_back((job.id, self.tickets));
                self.evict(job.id);
            }
        }
        self.woken(job.id)
    }

    /// Takes in a receipt that another member's host made, and ends the job that would make it here, unless it runs
    /// already. Gives the calls that may be asked for again; nothing when there is a receipt already.
    pub(super) fn accept(&mut self, id: CallId, signed: SignedReceipt, signers: Vec<Address>) -> Vec<CallId> {
        if self.closed || matches!(self.slots.get(&id), Some(Slot::Ready { .. })) {
            return Vec::new();
        }
        let queued = self.queue.iter().position(|job| job.id == id).and_then(|at| self.queue.remove(at));
        let delayed = || self.delayed.iter().position(|(_, job)| job.id == id);
        let ended = match queued {
            Some(job) => Some(job),
            None => delayed().map(|at| self.delayed.swap_remove(at).1),
        };
        if let Some(job) = ended {
            self.shares.give_back(job.sender);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.accepted_total = self.accepted_total.saturating_add(1);
        self.waiting.remove(&id);
        self.keep(id, Arc::new(signed), signers);
        self.woken(id)
    }

    fn keep(&mut self, id: CallId, receipt: Arc<SignedReceipt>, signers: Vec<Address>) {
        self.tickets = self.tickets.wrapping_add(1);
        self.remove(id);
        self.ready_size_bytes = self.ready_size_bytes.saturating_add(size_bytes(&receipt));
        self.slots.insert(id, Slot::Ready { receipt, signers, ticket: self.tickets });
        self.order.push_back((id, self.tickets));
        self.evict(id);
    }

    /// This call, and those that find room now.
    fn woken(&mut self, id: CallId) -> Vec<CallId> {
        let mut wake = vec![id];
        let room = self.config.in_flight_max.saturating_sub(self.in_flight);
        while wake.len() <= room {
            let Some(id) = self.waiting.pop_first() else { break };
            wake.push(id);
        }
        wake
    }

    /// The receipt that was made here for this call, with those who signed it.
    pub(super) fn made_here(&self, id: CallId) -> Option<(&Arc<SignedReceipt>, &[Address])> {
        match self.slots.get(&id) {
            Some(Slot::Ready { receipt, signers, .. }) => Some((receipt, signers)),
            _ => None,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
        self.delayed.clear();
    }

    pub(super) fn status(&self) -> FabricStatus {
        FabricStatus {
            in_flight: self.in_flight,
            ready: self.slots.len().saturating_sub(self.in_flight),
            waiting: self.waiting.len(),
            stopped: self.closed,
            signed_total: self.signed_total,
            unavailable_total: self.unavailable_total,
            accepted_total: self.accepted_total,
        }
    }

    fn remove(&mut self, id: CallId) {
        if let Some(Slot::Ready { receipt, .. }) = self.slots.remove(&id) {
            self.ready_size_bytes = self.ready_size_bytes.saturating_sub(size_bytes(&receipt));
        }
    }

    /// Lets the oldest go until the bounds hold; the newest stays.
    fn evict(&mut self, newest: CallId) {
        while self.order.len() > self.config.ready_max.max(1)
            || self.ready_size_bytes > self.config.ready_size_bytes_max
        {
            let Some((id, of)) = self.order.pop_front() else { break };
            if id == newest && self.order.is_empty() {
                self.order.push_back((id, of));
                break;
            }
            let stale = match self.slots.get(&id) {
                Some(Slot::Ready { ticket, .. }) => *ticket != of,
                Some(Slot::Unsigned { .. }) => false,
                Some(Slot::InFlight) | None => true,
            };
            if !stale {
                self.remove(id);
            }
        }
    }
}

/// What a worker finds in the table.
pub(super) enum Next {
    /// A call to run.
    Job(Box<Job>),
    /// Nothing until then, or until something is added.
    Nothing(Option<Instant>),
    /// The fabric ends.
    Closed,
}

fn size_bytes(signed: &SignedReceipt) -> usize {
    signed.output.len().saturating_add(signed.receipt.method.len()).saturating_add(1024)
}
