//! Delegated calls between members: asks other members' hosts to confirm what this one executed, and answers them.
//!
//! Written against [`Post`] and [`Receive`] alone. Invariants: a host signs only what a run of its own came to, never
//! somebody's word; nothing here waits on the network's thread; every queue is bounded by peer, so that one member
//! cannot take another's share; content is kept only under its digest.

mod asker;
mod content;
mod server;
mod wire;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak},
    time::Instant,
};

use alloy_primitives::{Address, B256, Bytes};
use bletchley_consensus::{Nonsense, PeerId, Post, Receive, To};
use bletchley_ledger::{CallId, SignedReceipt};
use bletchley_primitives::{Height, Signature};
use parking_lot::{Mutex, RwLock};

pub use wire::{RefusalCode, is_message};

use crate::{
    content::{Content, ContentId},
    fabric::{Claim, Fabric, Host, Others},
    registry::{RegistryView, SignedEntry},
};
use asker::Asker;
use content::Errands;
use server::{Desk, Request};
use wire::{Message, Refused};

/// Disagreements that are kept for status pages, the oldest leave first.
const DISAGREEMENTS_MAX: usize = 64;
/// Threads that answer other members.
const SERVERS: usize = 4;

/// A member's host and where its node is on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberHost {
    /// The member's name.
    pub name: String,
    /// Its node.
    pub peer: PeerId,
    /// Address of its host's key.
    pub host: Address,
}

/// Two hosts that came to different answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The call.
    pub call: CallId,
    /// Height for which it was asked first.
    pub height: Height,
    /// Name of the cryptlet.
    pub cryptlet: String,
    /// Method.
    pub method: String,
    /// Names of the members: who asked, who did not confirm.
    pub members: [String; 2],
    /// Their hosts.
    pub hosts: [Address; 2],
    /// Digests of the outputs that they came to.
    pub output_digests: [B256; 2],
    /// What the second says about it.
    pub words: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.members;
        let [ours, theirs] = &self.output_digests;
        write!(f, "call {} of {}.{}: {one} came to output {ours}, ", self.call, self.cryptlet, self.method)?;
        write!(f, "{other} to {theirs} ({})", self.words)
    }
}

/// What happened so far, for status pages and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallsStatus {
    /// Calls of other members that this host signed.
    pub signed_for_others: u64,
    /// Calls of other members that it did not sign.
    pub refused_to_others: u64,
    /// Calls of this member that another's host did not sign.
    pub refused_here: u64,
    /// Of those, how many because it came to something else.
    pub disagreements: u64,
    /// Receipts of other members that were taken in.
    pub taken_in: u64,
    /// Shared receipts that did not hold, or not with what is known here.
    pub not_taken_in: u64,
    /// Requests that found their sender's share used up.
    pub busy: u64,
    /// Answers that came too late.
    pub late: u64,
    /// Messages that no honest member sends.
    pub nonsense: u64,
    /// Signatures that were not of the host that was asked.
    pub foreign_signatures: u64,
    /// Content fetched from other members.
    pub content_fetched: u64,
    /// Content that nobody had, or that found no room on the list.
    pub content_missed: u64,
    /// Content that waits to be fetched.
    pub content_wanted: usize,
}

/// Takes a host's half of its registry entry, from the node of this peer.
pub type OnHostRequest = Arc<dyn Fn(PeerId, SignedEntry) + Send + Sync>;

/// What calls between members are put together from.
#[derive(Clone)]
pub struct CallsParts {
    /// Sends to the members of the ledger whose fabric this is.
    pub post: Arc<dyn Post>,
    /// This member's host.
    pub host: Arc<dyn Host>,
    /// Cryptlets, hosts and policy.
    pub registry: Arc<dyn RegistryView>,
    /// Evidence and code.
    pub content: Arc<dyn Content>,
    /// Hears of hosts that ask to be admitted.
    pub on_host_request: Option<OnHostRequest>,
}

impl fmt::Debug for CallsParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallsParts").field("host", &self.host.address()).finish_non_exhaustive()
    }
}

/// Calls between members, of one ledger.
#[derive(Debug)]
pub struct Calls {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

struct Shared {
    parts: CallsParts,
    /// The fabric has this as its [`Others`]; it must not keep it alive in turn.
    fabric: Weak<Fabric>,
    members: RwLock<Arc<[MemberHost]>>,
    asker: Asker,
    desk: Desk,
    errands: Errands,
    counts: Mutex<CallsStatus>,
    disagreements: Mutex<VecDeque<Disagreement>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Calls {
    /// Running calls between members, as the [`Others`] of this fabric; without members until
    /// [`Self::set_members`].
    ///
    /// # Errors
    /// What the operating system said when it was asked for threads.
    pub fn start(parts: CallsParts, fabric: &Arc<Fabric>) -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            parts,
            fabric: Arc::downgrade(fabric),
            members: RwLock::new(Arc::from([])),
            asker: Asker::default(),
            desk: Desk::default(),
            errands: Errands::default(),
            counts: Mutex::default(),
            disagreements: Mutex::default(),
        });
        let calls = Arc::new(Self { shared: Arc::clone(&shared), threads: Mutex::default() });
        for number in 0..SERVERS {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("calls-{number}"));
            calls.threads.lock().push(thread.spawn(move || server::serve(&shared))?);
        }
        let thread = std::thread::Builder::new().name("calls-content".to_owned());
        calls.threads.lock().push(thread.spawn(move || content::run(&shared))?);
        fabric.connect(Arc::clone(&calls) as Arc<dyn Others>);
        Ok(calls)
    }

    /// Sets who the members are now; this member's own host may be among them.
    pub fn set_members(&self, members: impl IntoIterator<Item = MemberHost>) {
        let own = self.shared.parts.host.address();
        let members: Arc<[MemberHost]> = members.into_iter().filter(|member| member.host != own).collect();
        self.shared.asker.retain_slow(&members);
        *self.shared.members.write() = members;
    }

    /// Sends this host's half of its registry entry to every member, for one whose key administers to sign.
    pub fn request_host(&self, request: &SignedEntry) -> bool {
        self.shared.parts.post.send(To::All, Message::HostRequest(request.encode()).encode(0))
    }

    /// What happened so far.
    #[must_use]
    pub fn status(&self) -> CallsStatus {
        let late = self.shared.asker.late.load(std::sync::atomic::Ordering::Relaxed);
        CallsStatus { late, content_wanted: self.shared.errands.len(), ..*self.shared.counts.lock() }
    }

    /// The newest disagreements between this member's host and others, oldest first.
    #[must_use]
    pub fn disagreements(&self) -> Vec<Disagreement> {
        self.shared.disagreements.lock().iter().cloned().collect()
    }

    /// Takes in no more requests, ends the running ones, and ends the threads.
    pub fn stop(&self) {
        self.shared.desk.close();
        self.shared.errands.close();
        self.shared.asker.close();
        let this = std::thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // One that holds the last reference cannot wait for itself.
            if thread.thread().id() != this && thread.join().is_err() {
                tracing::error!("a thread for calls between members had panicked");
            }
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut CallsStatus)) {
        change(&mut self.counts.lock());
    }

    fn fetch(&self, id: ContentId, hosts: &[Address]) {
        if !self.errands.add(id, hosts) {
            self.count(|counts| counts.content_missed += 1);
        }
    }

    fn host_at(&self, peer: PeerId) -> Option<Address> {
        self.members.read().iter().find(|member| member.peer == peer).map(|member| member.host)
    }

    fn member_at(&self, peer: PeerId) -> String {
        let members = self.members.read();
        members.iter().find(|member| member.peer == peer).map_or_else(|| peer.to_string(), |m| m.name.clone())
    }

    fn member_of(&self, host: Address) -> String {
        let height = self.parts.registry.anchor().height;
        let entry = self.parts.registry.host(host, height);
        entry.map_or_else(|| host.to_string(), |entry| entry.member.clone())
    }

    fn disagree(&self, disagreement: Disagreement) {
        self.count(|counts| counts.disagreements += 1);
        let mut all = self.disagreements.lock();
        if all.len() >= DISAGREEMENTS_MAX {
            all.pop_front();
        }
        all.push_back(disagreement);
    }
}

impl Others for Calls {
    fn hosts(&self) -> Vec<Address> {
        self.shared.members.read().iter().map(|member| member.host).collect()
    }

    fn confirm(
        &self,
        claim: &Claim<'_>,
        hosts: &[Address],
        needed: usize,
        deadline: Instant,
    ) -> Vec<(Address, Signature)> {
        asker::confirm(&self.shared, claim, hosts, needed, deadline)
    }

    fn share(&self, signed: &SignedReceipt) {
        let message = Message::Shared(Box::new(signed.clone())).encode(0);
        self.shared.parts.post.send(To::All, message);
    }

    fn want(&self, content: ContentId, hosts: &[Address]) {
        self.shared.fetch(content, hosts);
    }
}

impl Receive for Calls {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        let shared = &self.shared;
        let heard = Message::decode(&message).map_err(|error| Nonsense(error.to_string()));
        let outcome = heard.and_then(|(number, decoded)| {
            shared.asker.heard(from);
            let (size_bytes, answerable) =
                (message.len(), matches!(decoded, Message::Ask(_) | Message::Want { .. }));
            let request = match decoded {
                answer @ (Message::Signed(_) | Message::Refused(_) | Message::Piece { .. }) => {
                    return shared.asker.deliver(from, number, answer);
                }
                Message::Ask(ask) => Request::Ask(ask),
                Message::Shared(signed) => Request::Shared(signed),
                Message::Want { digest, offset } => Request::Want { digest, offset },
                Message::HostRequest(payload) => Request::HandOn(payload),
            };
            if !shared.desk.offer(from, number, request, size_bytes) {
                shared.count(|counts| counts.busy += 1);
                if answerable {
                    let refused = Refused::new(RefusalCode::Busy, "this member's share is used up");
                    shared.parts.post.send(To::One(from), Message::Refused(refused).encode(number));
                }
            }
            Ok(())
        });
        outcome.inspect_err(|_| shared.count(|counts| counts.nonsense += 1))
    }
}
