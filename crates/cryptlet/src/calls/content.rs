//! Content that others have: evidence of receipts in this member's ledger, and code of cryptlets, fetched in the
//! background by digest, piece by piece.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use alloy_primitives::Address;
use bletchley_consensus::PeerId;
use parking_lot::{Condvar, Mutex};

use super::{Shared, wire::Message};
use crate::content::{CONTENT_SIZE_BYTES_MAX, ContentId, Durability};

/// Most content that waits to be fetched; more is left out, and counted.
const WANTED_MAX: usize = 4096;
/// Most rounds over the members for one content.
const ROUNDS_MAX: u32 = 5;
/// Pause before the next round.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for one piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(2);

struct Wanted {
    id: ContentId,
    hosts: Vec<Address>,
    rounds: u32,
    not_before: Option<Instant>,
}

#[derive(Default)]
struct List {
    wanted: VecDeque<Wanted>,
    known: BTreeSet<ContentId>,
    closed: bool,
}

/// What is to be fetched.
#[derive(Default)]
pub(super) struct Errands {
    list: Mutex<List>,
    added: Condvar,
}

impl Errands {
    /// Adds content to the list; false when it is full.
    pub(super) fn add(&self, id: ContentId, hosts: &[Address]) -> bool {
        let mut list = self.list.lock();
        if list.closed || list.wanted.len() >= WANTED_MAX {
            return false;
        }
        if list.known.insert(id) {
            list.wanted.push_back(Wanted { id, hosts: hosts.to_vec(), rounds: 0, not_before: None });
            drop(list);
            self.added.notify_one();
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.list.lock().wanted.len()
    }

    pub(super) fn close(&self) {
        let mut list = self.list.lock();
        list.closed = true;
        list.wanted.clear();
        drop(list);
        self.added.notify_all();
    }

    fn next(&self) -> Option<Wanted> {
        let mut list = self.list.lock();
        loop {
            if list.closed {
                return None;
            }
            let now = Instant::now();
            let due = |wanted: &Wanted| wanted.not_before.is_none_or(|when| when <= now);
            if let Some(wanted) =
                list.wanted.iter().position(due).and_then(|position| list.wanted.remove(position))
            {
                return Some(wanted);
            }
            match list.wanted.iter().filter_map(|wanted| wanted.not_before).min() {
                Some(when) => drop(self.added.wait_until(&mut list, when)),
                None => self.added.wait(&mut list),
            }
        }
    }

    fn again(&self, wanted: Wanted) {
        let mut list = self.list.lock();
        if !list.closed && wanted.rounds < ROUNDS_MAX {
            list.wanted.push_back(wanted);
        } else {
            list.known.remove(&wanted.id);
        }
    }

    fn done(&self, id: ContentId) {
        self.list.lock().known.remove(&id);
    }
}

/// Fetches until the list is closed.
pub(super) fn run(shared: &Shared) {
    while let Some(mut wanted) = shared.errands.next() {
        if shared.parts.content.holds(wanted.id) || from_anyone(shared, &wanted) {
            shared.errands.done(wanted.id);
            continue;
        }
        wanted.rounds = wanted.rounds.saturating_add(1);
        wanted.not_before = Instant::now().checked_add(ROUND_PAUSE);
        if wanted.rounds >= ROUNDS_MAX {
            shared.count(|counts| counts.content_missed += 1);
            tracing::warn!(content = %wanted.id, "no member has content that is missing here");
        }
        shared.errands.again(wanted);
    }
}

/// From those who should have it first, then from the others.
fn from_anyone(shared: &Shared, wanted: &Wanted) -> bool {
    let mut members = shared.members.read().to_vec();
    members.sort_by_key(|member| (!wanted.hosts.contains(&member.host), shared.asker.is_slow(member.peer)));
    members.iter().any(|member| {
        let Some(bytes) = all_pieces(shared, member.peer, wanted.id) else { return false };
        if ContentId::of(&bytes) != wanted.id {
            tracing::warn!(member = member.name, content = %wanted.id, "a member sent other content than was asked for");
            shared.count(|counts| counts.nonsense += 1);
            return false;
        }
        match shared.parts.content.put(&bytes, Durability::Relaxed) {
            Ok(_) => {
                shared.count(|counts| counts.content_fetched += 1);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "fetched content was not kept");
                false
            }
        }
    })
}

fn all_pieces(shared: &Shared, peer: PeerId, id: ContentId) -> Option<Vec<u8>> {
    let mut all: Vec<u8> = Vec::new();
    loop {
        let (to, answers) = channel();
        let want = Message::Want { digest: id.0, offset: all.len() as u64 };
        let number = shared.asker.ask(shared, peer, &want, to)?;
        let Ok((_, answer)) = answers.recv_timeout(PIECE_TIMEOUT) else {
            shared.asker.forget(number, peer);
            return None;
        };
        let Message::Piece { size_bytes, bytes } = answer else { return None };
        let size_bytes = usize::try_from(size_bytes).ok().filter(|size| *size <= CONTENT_SIZE_BYTES_MAX)?;
        if all.len().saturating_add(bytes.len()) > size_bytes {
            return None;
        }
        all.extend_from_slice(&bytes);
        if all.len() == size_bytes {
            return Some(all);
        }
    }
}
