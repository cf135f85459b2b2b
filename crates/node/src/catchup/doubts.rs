//! What blocks hold beyond what headers commit to is the same on every honest member: so many members that one of them is
//! honest are asked for a digest of it. Where they do not agree, it is found again from the signatures.

use super::client::Client;
use super::server::receipts_digest;
use super::taker::Delivery;
use bletchley_consensus::{PeerId, To, Validators, epoch_of};
use bletchley_ledger::{HeightRange, RangeDigest, SyncMessage};
use bletchley_primitives::{B256, Height};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long members may take to vouch.
const VOUCH_MAX: Duration = Duration::from_secs(2);
/// Longest encoding of the receipts of a block without transactions.
const EMPTY_SIZE_BYTES: usize = 1;

/// A delivery, and who was asked about it.
struct Doubt {
    delivery: Delivery,
    digest: B256,
    asked: BTreeSet<PeerId>,
    missing: usize,
    since: Instant,
}

/// Deliveries that wait until somebody vouches for them.
#[derive(Default)]
pub(super) struct Doubts(BTreeMap<(Height, Height), Doubt>);

fn range_of(delivery: &Delivery) -> HeightRange {
    let height = |at: Option<&(super::chain::Final, bletchley_ledger::BlockParts)>| {
        at.map(|(header, _)| header.link.height).unwrap_or_default()
    };
    HeightRange { from: height(delivery.blocks.first()), to: height(delivery.blocks.last()) }
}

impl Doubts {
    /// Asks others about a delivery; gives it back when nobody needs to be asked, or nobody can be.
    pub(super) fn ask(
        &mut self,
        client: &mut Client<'_>,
        mut delivery: Delivery,
        results: bool,
    ) -> Option<Delivery> {
        if !results {
            return Some(delivery);
        }
        if delivery.blocks.iter().all(|(_, parts)| parts.receipts.len() <= EMPTY_SIZE_BYTES) {
            delivery.vouched = true;
            return Some(delivery);
        }
        let range = range_of(&delivery);
        let schedule = &client.subject.schedule;
        let epoch = epoch_of(client.subject.machine.head().height.next(), schedule.epoch_blocks());
        let Some(validators) = schedule.validators(epoch) else { return Some(delivery) };
        let (missing, others) = vouchers(client, &validators, delivery.peer, range.to);
        if others.len() < missing {
            return Some(delivery);
        }
        for other in &others {
            client.exchange.send(To::One(*other), &SyncMessage::WantDigest(range));
        }
        let digest = receipts_digest(delivery.blocks.iter().map(|(_, parts)| &parts.receipts));
        let doubt = Doubt { delivery, digest, asked: others, missing, since: Instant::now() };
        self.0.insert((range.from, range.to), doubt);
        None
    }

    /// A member says what it keeps.
    pub(super) fn hear(&mut self, peer: PeerId, answer: &RangeDigest) -> Option<Delivery> {
        let place = (answer.range.from, answer.range.to);
        let doubt = self.0.get_mut(&place)?;
        if !doubt.asked.remove(&peer) {
            return None;
        }
        let agrees = doubt.digest == answer.digest;
        if agrees {
            doubt.missing = doubt.missing.saturating_sub(1);
        }
        if agrees && doubt.missing > 0 {
            return None;
        }
        let mut doubt = self.0.remove(&place)?;
        doubt.delivery.vouched = agrees;
        Some(doubt.delivery)
    }

    /// Deliveries for which nobody vouched in time.
    pub(super) fn late(&mut self) -> Vec<Delivery> {
        let is_late = |_: &(Height, Height), doubt: &mut Doubt| doubt.since.elapsed() > VOUCH_MAX;
        self.0.extract_if(.., is_late).map(|(_, doubt)| doubt.delivery).collect()
    }
}

/// How many members must vouch beside the sender, and who shall be asked: one more than may be faulty have said the same
/// then.
fn vouchers(
    client: &Client<'_>,
    validators: &Arc<Validators>,
    sender: PeerId,
    to: Height,
) -> (usize, BTreeSet<PeerId>) {
    let faulty = validators.as_slice().len().saturating_sub(1) / 3;
    let missing = (faulty + usize::from(validators.get(sender).is_none())).max(1);
    let able = client
        .peers
        .claims()
        .filter(|(peer, claim)| *peer != sender && claim.head >= to && validators.get(*peer).is_some());
    (missing, able.map(|(peer, _)| peer).take(missing).collect())
}
