//! Who is how far, and final blocks from members that are further.

use crate::settings::Settings;
use bletchley_consensus::{Application, Payload, PeerId};
use bletchley_primitives::{B256, Bytes, Height, LedgerId};
use std::collections::BTreeMap;

/// Most blocks in one answer.
const ANSWER_BLOCKS_MAX: u64 = 16;
/// Most bytes in one answer, beyond its first block.
const ANSWER_SIZE_BYTES_MAX: usize = 4 << 20;
/// Most members whose claims are remembered.
const CLAIMS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: PeerId,
    from: u64,
    until_ms: u64,
}

/// What others claim, what was asked, and what came.
#[derive(Debug, Default)]
pub(crate) struct Backfill {
    claims: BTreeMap<PeerId, u64>,
    asked: Option<Asked>,
    last: Option<PeerId>,
    noticed_ms: Option<u64>,
    arrived: BTreeMap<u64, (PeerId, Payload, Bytes)>,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Backfill {
    /// A member says, or shows, that this height is final.
    pub(crate) fn claim(&mut self, peer: PeerId, height: u64) {
        if self.claims.len() < CLAIMS_MAX || self.claims.contains_key(&peer) {
            let claim = self.claims.entry(peer).or_default();
            *claim = (*claim).max(height);
        }
    }

    fn best(&self) -> u64 {
        self.claims.values().copied().max().unwrap_or(0)
    }

    /// When [`Backfill::ask`] should be called, for a member that works on `height`.
    pub(crate) fn due_ms(&self, height: u64, settings: &Settings) -> Option<u64> {
        match (self.asked, self.noticed_ms) {
            (Some(asked), _) => Some(asked.until_ms),
            (None, Some(noticed_ms)) if self.best() == height => Some(noticed_ms + millis(settings.patience)),
            (None, noticed_ms) => noticed_ms,
        }
    }

    /// Notices whether the member that works on `height` is behind, and whom it shall ask.
    pub(crate) fn ask(&mut self, height: u64, now_ms: u64, settings: &Settings) -> Option<PeerId> {
        if let Some(asked) = self.asked {
            if now_ms < asked.until_ms {
                return None;
            }
            // It did not answer: its claim counts again once it says something new.
            self.forget(asked.peer);
        }
        if self.best() < height {
            self.noticed_ms = None;
            return None;
        }
        self.noticed_ms.get_or_insert(now_ms);
        if self.due_ms(height, settings).is_some_and(|due_ms| now_ms < due_ms) {
            return None;
        }
        let able = |(peer, claim): (&PeerId, &u64)| (*claim >= height).then_some(*peer);
        let last = self.last;
        let peer = (self.claims.iter().filter_map(able).find(|peer| Some(*peer) > last))
            .or_else(|| self.claims.iter().find_map(able))?;
        self.last = Some(peer);
        self.asked = Some(Asked { peer, from: height, until_ms: now_ms + millis(settings.answer) });
        Some(peer)
    }

    /// Takes an answer, if it was asked for.
    pub(crate) fn take(&mut self, from: PeerId, payload: Payload, seal: Bytes, until_ms: u64) -> bool {
        let height = payload.height.0;
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.peer == from) else { return false };
        let wanted = asked.from..asked.from.saturating_add(ANSWER_BLOCKS_MAX);
        if !wanted.contains(&height) || self.arrived.contains_key(&height) {
            return false;
        }
        asked.until_ms = asked.until_ms.max(until_ms);
        self.arrived.insert(height, (from, payload, seal));
        true
    }

    /// What came for this height.
    pub(crate) fn arrived(&mut self, height: u64) -> Option<(PeerId, Payload, Bytes)> {
        self.arrived = self.arrived.split_off(&height);
        self.arrived.remove(&height)
    }

    /// This height is final here now; when all that was asked for has come, more may be asked for at once.
    pub(crate) fn kept(&mut self, height: u64) {
        self.noticed_ms = None;
        let done = |asked: &Asked| height + 1 >= asked.from.saturating_add(ANSWER_BLOCKS_MAX);
        if self.asked.as_ref().is_some_and(|asked| done(asked) || self.arrived.is_empty()) {
            self.asked = None;
        }
    }

    /// What this member says is worth nothing for now.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.claims.remove(&peer);
        self.arrived.retain(|_, (from, ..)| *from != peer);
        if self.asked.is_some_and(|asked| asked.peer == peer) {
            self.asked = None;
        }
    }
}

/// Digest of the payload at a height, as its seal has it.
pub(crate) fn payload_digest(
    application: &dyn Application,
    ledger: LedgerId,
    height: Height,
) -> Option<B256> {
    if height == Height(0) {
        return Some(Payload::genesis(ledger));
    }
    crate::message::Seal::digest(&application.seal(height)?).ok()
}

/// Final payloads with their seals from a height on, for a member that is behind.
pub(crate) fn answer(application: &dyn Application, ledger: LedgerId, from: Height) -> Vec<(Payload, Bytes)> {
    let (mut found, mut size, mut height) = (Vec::new(), 0_usize, from.0.max(1));
    while found.len() < ANSWER_BLOCKS_MAX as usize && size < ANSWER_SIZE_BYTES_MAX {
        let before = Height(height.saturating_sub(1));
        let parent = payload_digest(application, ledger, before);
        let (Some(parent), Some(block), Some(seal)) =
            (parent, application.block(Height(height)), application.seal(Height(height)))
        else {
            break;
        };
        size = size.saturating_add(block.body.len()).saturating_add(block.extension.len());
        found.push((Payload::new(parent, Height(height), block), seal));
        height = height.saturating_add(1);
    }
    found
}
