//! What this member asks of others: open questions by number, each with one peer that may answer it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256};
use bletchley_consensus::{Nonsense, PeerId, To};
use bletchley_crypto::recover;
use bletchley_primitives::Signature;
use parking_lot::Mutex;

use super::{
    Disagreement, MemberHost, Shared,
    wire::{Ask, Message, RefusalCode, Refused},
};
use crate::fabric::{Claim, Evidence};

/// Most open questions to one peer.
const OPEN_PER_PEER_MAX: usize = 64;
/// How long hosts are waited for before one more is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// An answer with the peer's host.
pub(super) type Answer = (u64, Message);

struct Open {
    peer: PeerId,
    to: Sender<Answer>,
}

/// Open questions.
#[derive(Default)]
pub(super) struct Asker {
    next: AtomicU64,
    /// Never iterated but to count, so its order does not matter.
    open: Mutex<HashMap<u64, Open>>,
    /// Peers that left a question without an answer and were not heard since: they are asked last.
    slow: Mutex<BTreeSet<PeerId>>,
    pub(super) late: AtomicU64,
    closed: AtomicBool,
}

impl Asker {
    /// Sends a question; none when the peer has too many open ones or cannot be reached.
    pub(super) fn ask(
        &self,
        shared: &Shared,
        peer: PeerId,
        message: &Message,
        to: Sender<Answer>,
    ) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut open = self.open.lock();
            if self.closed.load(Ordering::Acquire)
                || open.values().filter(|open| open.peer == peer).count() >= OPEN_PER_PEER_MAX
            {
                return None;
            }
            open.insert(number, Open { peer, to });
        }
        if shared.parts.post.send(To::One(peer), message.encode(number)) {
            Some(number)
        } else {
            self.open.lock().remove(&number);
            None
        }
    }

    /// Hands an answer to who asked. Late ones are dropped.
    pub(super) fn deliver(&self, from: PeerId, number: u64, message: Message) -> Result<(), Nonsense> {
        let mut open = self.open.lock();
        match open.get(&number) {
            None if number < self.next.load(Ordering::Relaxed) => {
                self.late.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => Err(Nonsense(format!("an answer to question {number}, which was never asked"))),
            Some(of) if of.peer != from => {
                Err(Nonsense(format!("an answer to question {number}, which another member was asked")))
            }
            Some(_) => {
                if let Some(of) = open.remove(&number) {
                    // Who asked may have gone on meanwhile.
                    let _ = of.to.send((number, message));
                }
                Ok(())
            }
        }
    }

    /// Ends all questions, so that nobody waits for an answer any more.
    pub(super) fn close(&self) {
        let mut open = self.open.lock();
        self.closed.store(true, Ordering::Release);
        open.clear();
    }

    pub(super) fn heard(&self, peer: PeerId) {
        self.slow.lock().remove(&peer);
    }

    /// Gives a question up.
    pub(super) fn forget(&self, number: u64, peer: PeerId) {
        if self.open.lock().remove(&number).is_some() {
            self.slow.lock().insert(peer);
        }
    }

    pub(super) fn is_slow(&self, peer: PeerId) -> bool {
        self.slow.lock().contains(&peer)
    }

    pub(super) fn retain_slow(&self, members: &[MemberHost]) {
        self.slow.lock().retain(|peer| members.iter().any(|member| member.peer == *peer));
    }
}

fn ask_of(claim: &Claim<'_>, left: Duration) -> Ask {
    let evidence = claim.evidence.cloned().unwrap_or_else(|| Evidence {
        input: claim.work.call.input.clone(),
        fuel_max: claim.work.fuel_max,
        host_calls: B256::ZERO,
        transcript: crate::transcript::Transcript::default(),
    });
    Ask {
        receipt: claim.receipt.clone(),
        output: claim.output.clone(),
        evidence: evidence.encode().into(),
        sender: claim.work.call.sender,
        timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Asks hosts in order, as many at once as signatures are missing, one more whenever patience ends.
pub(super) fn confirm(
    shared: &Shared,
    claim: &Claim<'_>,
    hosts: &[Address],
    needed: usize,
    deadline: Instant,
) -> Vec<(Address, Signature)> {
    let members = shared.members.read().clone();
    let by_host = |host: &Address| members.iter().find(|member| member.host == *host).cloned();
    let mut candidates: Vec<MemberHost> = hosts.iter().filter_map(by_host).collect();
    candidates.sort_by_key(|member| shared.asker.is_slow(member.peer));
    let mut candidates = candidates.into_iter();
    let message = Message::Ask(Box::new(ask_of(claim, deadline.saturating_duration_since(Instant::now()))));
    let digest = claim.receipt.signing_digest();
    let (to, answers) = channel();
    let mut open: BTreeMap<u64, MemberHost> = BTreeMap::new();
    let mut signed = Vec::new();
    let mut at_once = needed;
    while signed.len() < needed {
        while open.len() < at_once.saturating_sub(signed.len()) {
            let Some(member) = candidates.next() else { break };
            if let Some(number) = shared.asker.ask(shared, member.peer, &message, to.clone()) {
                open.insert(number, member);
            }
        }
        let now = Instant::now();
        if open.is_empty() || now >= deadline || shared.asker.closed.load(Ordering::Acquire) {
            break;
        }
        let patience = deadline.saturating_duration_since(now).min(PATIENCE);
        let Ok((number, answer)) = answers.recv_timeout(patience) else {
            at_once = at_once.saturating_add(1);
            continue;
        };
        let Some(member) = open.remove(&number) else { continue };
        match answer {
            Message::Signed(signature) if recover(digest, &signature) == Ok(member.host) => {
                signed.push((member.host, signature));
            }
            Message::Signed(_) => {
                tracing::warn!(member = member.name, host = %member.host, "a host sent a signature that is not its own");
                shared.count(|counts| counts.foreign_signatures += 1);
            }
            Message::Refused(refused) => note_refusal(shared, claim, &member, refused),
            _ => shared.count(|counts| counts.nonsense += 1),
        }
    }
    for (number, member) in open {
        shared.asker.forget(number, member.peer);
    }
    signed
}

fn note_refusal(shared: &Shared, claim: &Claim<'_>, member: &MemberHost, refused: Refused) {
    shared.count(|counts| counts.refused_here += 1);
    let Refused { code, words, output_digest } = refused;
    if !matches!(code, RefusalCode::Differs | RefusalCode::Answers) {
        tracing::debug!(
            member = member.name,
            code = code.name(),
            words,
            "another member's host does not sign"
        );
        return;
    }
    let own = shared.parts.host.address();
    let disagreement = Disagreement {
        call: claim.receipt.call_id(),
        height: claim.receipt.valid_from,
        cryptlet: claim.work.package.release.name.clone(),
        method: claim.receipt.method.clone(),
        members: [shared.member_of(own), member.name.clone()],
        hosts: [own, member.host],
        output_digests: [claim.receipt.output_digest, output_digest],
        words,
    };
    tracing::warn!(%disagreement, "hosts disagree on a call");
    shared.disagree(disagreement);
}
