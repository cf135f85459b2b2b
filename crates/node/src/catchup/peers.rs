//! Members that can help: how far they are, what they were asked, and how they did.

use bletchley_consensus::PeerId;
use bletchley_ledger::Claim;
use std::collections::BTreeMap;

/// Questions that one member is asked at a time.
const WINDOW: usize = 3;
/// Unanswered questions after which a member is not asked again.
const STRIKES_MAX: u32 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    claim: Option<Claim>,
    busy: usize,
    strikes: u32,
    refused: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Peers(BTreeMap<PeerId, Peer>);

/// Most members whose claims are remembered.
const PEERS_MAX: usize = 256;

impl Peers {
    pub(super) fn claim(&mut self, peer: PeerId, claim: Claim) {
        if self.0.len() < PEERS_MAX || self.0.contains_key(&peer) {
            self.0.entry(peer).or_default().claim = Some(claim);
        }
    }

    /// Members that answered and were not refused.
    pub(super) fn claims(&self) -> impl Iterator<Item = (PeerId, Claim)> + '_ {
        let usable = |(peer, known): (&PeerId, &Peer)| {
            known.claim.filter(|_| !known.refused).map(|claim| (*peer, claim))
        };
        self.0.iter().filter_map(usable)
    }

    /// Who claims the highest certified block.
    pub(super) fn best(&self) -> Option<(PeerId, Claim)> {
        self.claims().max_by_key(|(_, claim)| claim.certified)
    }

    /// Somebody who has this block and is not busy; who is least busy is asked first, and who failed least.
    pub(super) fn free(&self, height: u64) -> Option<PeerId> {
        let able = |(_, known): &(&PeerId, &Peer)| {
            let has = known.claim.is_some_and(|claim| claim.certified.0 >= height);
            !known.refused && has && known.busy < WINDOW
        };
        let by = |(peer, known): &(&PeerId, &Peer)| (known.strikes, known.busy, **peer);
        self.0.iter().filter(able).min_by_key(by).map(|(peer, _)| *peer)
    }

    /// Whether anybody is left who has this block.
    pub(super) fn anybody(&self, height: u64) -> bool {
        self.claims().any(|(_, claim)| claim.certified.0 >= height)
    }

    pub(super) fn asked(&mut self, peer: PeerId) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.busy += 1;
        }
    }

    pub(super) fn answered(&mut self, peer: PeerId) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.busy = known.busy.saturating_sub(1);
            known.strikes = 0;
        }
    }

    /// It did not answer in time; true when that was once too often.
    pub(super) fn strike(&mut self, peer: PeerId) -> bool {
        let Some(known) = self.0.get_mut(&peer) else { return false };
        known.busy = known.busy.saturating_sub(1);
        known.strikes += 1;
        let out = known.strikes >= STRIKES_MAX && !known.refused;
        known.refused |= out;
        out
    }

    /// It is not asked again; false when it was refused before.
    pub(super) fn refuse(&mut self, peer: PeerId) -> bool {
        let Some(known) = self.0.get_mut(&peer) else { return false };
        !std::mem::replace(&mut known.refused, true)
    }
}
