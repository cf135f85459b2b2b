//! What this member's host does for others: confirms their calls by runs of its own, hands out content by digest, takes
//! in finished receipts. Each peer has a queue of its own and a turn, so that none can starve the others.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{B256, Bytes, keccak256};
use bletchley_consensus::{PeerId, To};
use bletchley_ledger::{Call, Place, Receipt, SignedReceipt, Status};
use bletchley_primitives::{BlockHash, Signature};
use parking_lot::{Condvar, Mutex};

use super::{
    Shared,
    wire::{Ask, Message, PIECE_SIZE_BYTES_MAX, RefusalCode, Refused},
};
use crate::{
    container::{Unavailability, UnavailableKind},
    content::{ContentId, Durability},
    fabric::{AnchorView, Evidence, Execution, Host, Work},
    registry::SignedEntry,
};

/// Most requests of one peer that wait.
const REQUESTS_PER_PEER_MAX: usize = 256;
/// Most bytes of one peer's requests that wait.
const REQUESTS_PER_PEER_SIZE_BYTES_MAX: usize = 8 << 20;
/// Signatures that are remembered, for those who ask again.
const SIGNED_MAX: usize = 4096;
/// Most requests of one peer that are worked on at once: less than there are threads, so that others find one.
const RUNNING_PER_PEER_MAX: usize = 2;

/// What a peer wants.
pub(super) enum Request {
    Ask(Box<Ask>),
    Want { digest: B256, offset: u64 },
    Shared(Box<SignedReceipt>),
    HandOn(Bytes),
}

struct Waiting {
    number: u64,
    request: Request,
    size_bytes: usize,
}

#[derive(Default)]
struct Queues {
    by_peer: BTreeMap<PeerId, VecDeque<Waiting>>,
    running: BTreeMap<PeerId, usize>,
    /// Who had the last turn.
    last: Option<PeerId>,
    closed: bool,
}

impl Queues {
    /// The first request of the first peer after the one that had the last turn, of those that may have one more.
    fn pop(&mut self) -> Option<(PeerId, Waiting)> {
        let (last, running) = (self.last, &self.running);
        let may = |peer: &&PeerId| running.get(*peer).is_none_or(|count| *count < RUNNING_PER_PEER_MAX);
        let after = self.by_peer.keys().filter(may).find(|peer| last.is_none_or(|last| **peer > last));
        let peer = *after.or_else(|| self.by_peer.keys().find(may))?;
        let queue = self.by_peer.get_mut(&peer)?;
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.by_peer.remove(&peer);
        }
        let waiting = waiting?;
        self.last = Some(peer);
        let count = self.running.entry(peer).or_default();
        *count = count.saturating_add(1);
        Some((peer, waiting))
    }
}

/// The requests of all peers, and what was signed for them.
#[derive(Default)]
pub(super) struct Desk {
    queues: Mutex<Queues>,
    added: Condvar,
    signed: Mutex<VecDeque<(B256, Signature)>>,
}

impl Desk {
    /// Takes a request in; false when the peer's share is used up.
    pub(super) fn offer(&self, from: PeerId, number: u64, request: Request, size_bytes: usize) -> bool {
        let mut queues = self.queues.lock();
        if queues.closed {
            return false;
        }
        let queue = queues.by_peer.entry(from).or_default();
        let waiting: usize = queue.iter().map(|waiting| waiting.size_bytes).sum();
        if queue.len() >= REQUESTS_PER_PEER_MAX
            || waiting.saturating_add(size_bytes) > REQUESTS_PER_PEER_SIZE_BYTES_MAX
        {
            return false;
        }
        queue.push_back(Waiting { number, request, size_bytes });
        drop(queues);
        self.added.notify_one();
        true
    }

    /// The next request.
    fn take(&self) -> Option<(PeerId, Waiting)> {
        let mut queues = self.queues.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(found) = queues.pop() {
                return Some(found);
            }
            self.added.wait(&mut queues);
        }
    }

    /// Ends a request of this peer.
    fn done(&self, peer: PeerId) {
        let mut queues = self.queues.lock();
        if let Some(running) = queues.running.get_mut(&peer) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                queues.running.remove(&peer);
            }
        }
        drop(queues);
        self.added.notify_one();
    }

    pub(super) fn close(&self) {
        let mut queues = self.queues.lock();
        queues.closed = true;
        queues.by_peer.clear();
        drop(queues);
        self.added.notify_all();
    }

    fn known(&self, digest: &B256) -> Option<Signature> {
        self.signed.lock().iter().find(|(of, _)| of == digest).map(|(_, signature)| *signature)
    }

    fn remember(&self, digest: B256, signature: Signature) {
        let mut signed = self.signed.lock();
        if signed.len() >= SIGNED_MAX {
            signed.pop_front();
        }
        signed.push_back((digest, signature));
    }
}

/// Serves until the desk is closed.
pub(super) fn serve(shared: &Shared) {
    while let Some((peer, Waiting { number, request, .. })) = shared.desk.take() {
        let answer = match request {
            Request::Ask(ask) => Some(answer(shared, peer, &ask)),
            Request::Want { digest, offset } => Some(piece(shared, digest, offset)),
            Request::Shared(signed) => {
                take_in(shared, peer, &signed);
                None
            }
            Request::HandOn(payload) => {
                hand_on(shared, peer, &payload);
                None
            }
        };
        if let Some(answer) = answer {
            shared.parts.post.send(To::One(peer), answer.encode(number));
        }
        shared.desk.done(peer);
    }
}

fn answer(shared: &Shared, peer: PeerId, ask: &Ask) -> Message {
    match examine(shared, peer, ask) {
        Ok(signature) => {
            shared.count(|counts| counts.signed_for_others += 1);
            Message::Signed(signature)
        }
        Err(refused) => {
            shared.count(|counts| counts.refused_to_others += 1);
            let member = shared.member_at(peer);
            if matches!(refused.code, RefusalCode::Differs | RefusalCode::Evidence) {
                tracing::warn!(member, code = refused.code.name(), words = refused.words,
                    theirs = %ask.receipt.output_digest, ours = %refused.output_digest, "a member's call is not confirmed");
            } else {
                tracing::debug!(member, code = refused.code.name(), words = refused.words, "calls.refuse");
            }
            Message::Refused(refused)
        }
    }
}

/// Whether this host signs: it does what registry and policy allow, and what it came to itself.
fn examine(shared: &Shared, peer: PeerId, ask: &Ask) -> Result<Signature, Refused> {
    let (receipt, host) = (&ask.receipt, &shared.parts.host);
    let digest = receipt.signing_digest();
    if let Some(signature) = shared.desk.known(&digest) {
        return Ok(signature);
    }
    let evidence =
        Evidence::decode(&ask.evidence).map_err(|error| Refused::new(RefusalCode::Evidence, error))?;
    let work = admitted(shared, peer, ask, &evidence)?;
    if receipt.status == Status::Unavailable {
        could_not_answer(host.as_ref(), &work, receipt, &ask.output)?;
    } else {
        confirmed(shared, &work, ask, &evidence)?;
        if let Err(error) = shared.parts.content.put(&ask.evidence, Durability::Relaxed) {
            tracing::warn!(%error, "evidence of another member's call was not kept");
        }
    }
    let signature = host.sign(receipt).map_err(|error| Refused::new(RefusalCode::Key, error))?;
    shared.desk.remember(digest, signature);
    Ok(signature)
}

/// The call, if registry and policy let it run here for this peer.
fn admitted(shared: &Shared, peer: PeerId, ask: &Ask, evidence: &Evidence) -> Result<Work, Refused> {
    let (receipt, parts) = (&ask.receipt, &shared.parts);
    let view = AnchorView::new(parts.registry.clone(), parts.registry.anchor());
    let own = parts.host.address();
    let theirs = shared.host_at(peer).filter(|host| view.host(*host).is_some());
    let profile = view.host(own).map(|entry| entry.profile);
    if theirs.is_none() || profile != Some(parts.host.profile()) {
        let words =
            "the policy here does not name both hosts, registered with the profile that they compute under";
        return Err(Refused::new(RefusalCode::NotAHost, words));
    }
    let admitted = view
        .admit(receipt.cryptlet, receipt.caller, &receipt.method, receipt.as_of_ms)
        .map_err(|refusal| Refused::new(RefusalCode::NotAllowed, refusal))?;
    if receipt.package != admitted.package.release.package || evidence.fuel_max != admitted.fuel_max() {
        let words = format!("the cryptlet stands for package {} here", admitted.package.release.package);
        return Err(Refused::new(RefusalCode::OtherPackage, words));
    }
    if keccak256(&evidence.input) != receipt.input_digest {
        return Err(Refused::new(RefusalCode::Evidence, "the evidence is of another input"));
    }
    let call = Call {
        ledger: receipt.ledger,
        transaction: receipt.transaction,
        sender: ask.sender,
        caller: receipt.caller,
        cryptlet: receipt.cryptlet,
        method: receipt.method.clone(),
        input: evidence.input.clone(),
        occurrence: receipt.occurrence,
    };
    let place = Place {
        ledger: receipt.ledger,
        height: receipt.valid_from,
        parent: BlockHash::default(),
        time_ms: receipt.as_of_ms,
    };
    let timeout_ms = ask.timeout_ms.min(admitted.policy.timeout_ms);
    let isolation = admitted.policy.least_isolation();
    Ok(Work { call, place, package: admitted.package, fuel_max: evidence.fuel_max, timeout_ms, isolation })
}

/// A run from the evidence must give the same to the byte. Where outside data went in, a run against this host's own
/// sources must come to the same status and output too.
fn confirmed(shared: &Shared, work: &Work, ask: &Ask, evidence: &Evidence) -> Result<(), Refused> {
    let host = &shared.parts.host;
    let differs = |what: &str, output_digest: B256| {
        let words = format!("{what} differs: it comes to output {output_digest} here");
        Refused { output_digest, ..Refused::new(RefusalCode::Differs, words) }
    };
    let repeated = host.repeat(work, evidence).map_err(|trouble| unanswered(shared, work, &trouble))?;
    if repeated.receipt != ask.receipt || repeated.output != ask.output || repeated.evidence != *evidence {
        return Err(differs("a run from its evidence", repeated.receipt.output_digest));
    }
    if evidence.transcript.is_empty() {
        return Ok(());
    }
    let own = host.execute(work).map_err(|trouble| unanswered(shared, work, &trouble))?;
    if (own.receipt.status, own.receipt.output_digest) != (ask.receipt.status, ask.receipt.output_digest) {
        return Err(differs("a run with this member's own sources", own.receipt.output_digest));
    }
    Ok(())
}

fn unanswered(shared: &Shared, work: &Work, trouble: &Unavailability) -> Refused {
    if trouble.kind == UnavailableKind::NotLoaded {
        shared.fetch(ContentId(work.package.release.code_sha256), &[]);
    }
    let code = match trouble.kind {
        UnavailableKind::TranscriptMismatch => RefusalCode::Evidence,
        _ => RefusalCode::Unavailable,
    };
    Refused::new(code, &trouble.reason)
}

/// Signs that there is no answer only if there is none here either, and if the receipt says just that.
fn could_not_answer(host: &dyn Host, work: &Work, receipt: &Receipt, output: &Bytes) -> Result<(), Refused> {
    let (expected, _) = crate::fabric::unavailable(work, None);
    let expected = Receipt { output_digest: keccak256(output), ..expected };
    if *receipt != expected || std::str::from_utf8(output).is_err() {
        return Err(Refused::new(RefusalCode::Evidence, "the receipt is not one of an unavailable answer"));
    }
    match host.execute(work) {
        Err(_) => Ok(()),
        Ok(Execution { receipt, .. }) => {
            let words = format!("there is an answer here, with output {}", receipt.output_digest);
            let refused = Refused::new(RefusalCode::Answers, words);
            Err(Refused { output_digest: receipt.output_digest, ..refused })
        }
    }
}

fn piece(shared: &Shared, digest: B256, offset: u64) -> Message {
    let not_here = |words: &str| Message::Refused(Refused::new(RefusalCode::NotHere, words));
    let Ok(Some(all)) = shared.parts.content.get(ContentId(digest)) else {
        return not_here("the content is not here");
    };
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| all.get(offset..)) else {
        return not_here("the content is shorter");
    };
    let end = rest.len().min(PIECE_SIZE_BYTES_MAX);
    match rest.get(..end).filter(|piece| !piece.is_empty()) {
        Some(piece) => Message::Piece { size_bytes: all.len() as u64, bytes: Bytes::copy_from_slice(piece) },
        None => not_here("the content ends there"),
    }
}

fn take_in(shared: &Shared, peer: PeerId, signed: &SignedReceipt) {
    let Some(fabric) = shared.fabric.upgrade() else { return };
    match fabric.accept(signed) {
        Ok(true) => shared.count(|counts| counts.taken_in += 1),
        Ok(false) => {}
        Err(problem) => {
            shared.count(|counts| counts.not_taken_in += 1);
            tracing::debug!(member = shared.member_at(peer), %problem, "a shared receipt is not taken in");
        }
    }
}

fn hand_on(shared: &Shared, peer: PeerId, payload: &Bytes) {
    let Some(take) = &shared.parts.on_host_request else { return };
    match SignedEntry::decode(payload) {
        Ok(entry) => take(peer, entry),
        Err(error) => {
            tracing::warn!(member = shared.member_at(peer), %error, "a host's request to be admitted")
        }
    }
}
