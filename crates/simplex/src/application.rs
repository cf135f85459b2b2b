//! One ledger as the stack sees it: proposes, verifies, hands final blocks on.

use crate::block::{Sealed, b256_of};
use crate::settings::Settings;
use bletchley_consensus::{Application as Ledger, ApplicationError, Payload, Schedule};
use bletchley_ledger::{Block, Head};
use bletchley_net::peer_id;
use bletchley_primitives::{B256, BlockHash, Height, LedgerId, TimestampMs};
use commonware_actor::Feedback;
use commonware_consensus::marshal::{Update, ancestry::Ancestry};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::Context as Round;
use commonware_consensus::{Application, Reporter};
use commonware_cryptography::sha256::Digest;
use commonware_cryptography::{Digested, Digestible as _, ed25519::PublicKey};
use commonware_macros::select;
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::acknowledgement::Exact;
use commonware_utils::channel::mpsc;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// How soon a verdict that depends on something which is not here yet is sought again.
const EARLY_RETRY: Duration = Duration::from_millis(10);
/// How soon transactions that could not enter a block are tried again.
const BARREN_RETRY: Duration = Duration::from_millis(50);
/// Pace while a decided change of validators waits for the end of the epoch.
const HURRY: Duration = Duration::from_millis(10);
/// How soon it is looked again whether a block's time has come.
const FUTURE_RETRY: Duration = Duration::from_millis(100);
/// Most blocks above the head that are executed on top of each other; a longer chain waits for finality.
const ABOVE_HEAD_MAX: u64 = 16;

/// Milliseconds since 1970 on a runtime's clock.
pub(crate) fn now_ms(clock: &impl Clock) -> TimestampMs {
    let since = clock.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What proposing, verifying and keeping share.
pub(crate) struct Shared {
    pub(crate) id: LedgerId,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) schedule: Arc<dyn Schedule>,
    pub(crate) settings: Settings,
    /// Longest silence that the others' patience in this epoch allows.
    pub(crate) silence_max: Mutex<Duration>,
    /// Transactions may be ready.
    pub(crate) work: Arc<Notify>,
    /// The head has moved.
    pub(crate) moved: Notify,
    /// When it did so last, on this member's clock.
    pub(crate) moved_at: Mutex<SystemTime>,
}

impl Shared {
    /// Least time between blocks and longest silence, as votes have them now. How long the others wait for a leader is
    /// settled when an epoch begins: what is longer than that takes effect with the next one.
    fn pace(&self) -> (Duration, Duration) {
        let Settings { pace, heartbeat, .. } = self.settings.at(self.schedule.pace());
        let silence_max = *self.silence_max.lock();
        (pace.min(silence_max), heartbeat.min(silence_max))
    }

    /// Digest of the payload at the head.
    pub(crate) fn head_digest(&self, head: &Head) -> Option<B256> {
        self.digest_at(head.height)
    }

    /// Digest of a final payload.
    pub(crate) fn digest_at(&self, height: Height) -> Option<B256> {
        Self::digest_in(&*self.ledger, self.id, height)
    }

    /// Digest of a final payload of a ledger.
    pub(crate) fn digest_in(ledger: &dyn Ledger, id: LedgerId, height: Height) -> Option<B256> {
        if height == Height(0) {
            return Some(Payload::genesis(id));
        }
        ledger.seal(height).and_then(|seal| B256::try_from(seal.as_ref()).ok())
    }

    /// Runs `work` where it does not hold up the network.
    pub(crate) async fn apart<E: Spawner, T: Send + 'static>(
        context: &E,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        context.child("execute").shared(true).spawn(move |_| async move { work() }).await.ok()
    }

    /// Executes a block, again and again while it is only early.
    pub(crate) async fn verify<E: Spawner + Clock>(
        &self,
        context: &E,
        block: &Block,
    ) -> Option<Result<bletchley_consensus::Proposal, ApplicationError>> {
        loop {
            let (ledger, candidate) = (self.ledger.clone(), block.clone());
            match Self::apart(context, move || ledger.verify(candidate)).await? {
                Err(error) if error.is_early() => context.sleep(EARLY_RETRY).await,
                verdict => return Some(verdict),
            }
        }
    }
}

/// Where a block would stand.
enum Place {
    /// On the head.
    Head(Head),
    /// On an executed block that is not final.
    Above(BlockHash),
    /// Beside the chain that is final here.
    Nowhere,
}

/// The ledger behind commonware's Application.
#[derive(Clone)]
pub(crate) struct Adapter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) finalized: mpsc::UnboundedSender<(Digested<Sealed>, Exact)>,
}

impl Adapter {
    /// Finds `parent`: waits a while for it to become final, and executes it, and what is below it, if it does not.
    async fn place<E: Spawner + Clock>(
        &self,
        context: &E,
        parent: &Digested<Sealed>,
        mut below: impl Ancestry<Sealed>,
    ) -> Option<Place> {
        let shared = &self.shared;
        let height = parent.inner().payload().height;
        let deadline = context.current() + shared.settings.patience;
        loop {
            let moved = shared.moved.notified();
            let head = shared.ledger.head();
            if head.height >= height {
                let same =
                    head.height == height && shared.head_digest(&head) == Some(b256_of(&parent.digest()));
                return Some(if same { Place::Head(head) } else { Place::Nowhere });
            }
            let patient = context.current() < deadline || height.0 - head.height.0 > ABOVE_HEAD_MAX;
            if !patient {
                break;
            }
            select! {
                _ = moved => {},
                _ = context.sleep(EARLY_RETRY) => {},
            }
        }
        let head = shared.ledger.head().height;
        let mut chain = vec![parent.clone()];
        while chain.last().is_some_and(|lowest| lowest.inner().payload().height > head.next()) {
            chain.push(below.next().await?);
        }
        let mut hash = None;
        for block in chain.iter().rev() {
            match shared.verify(context, &block.inner().payload().block()).await? {
                Ok(proposal) => hash = Some(proposal.hash),
                Err(error) => {
                    tracing::warn!(%error, height = %block.inner().payload().height, "simplex.ancestor_refused");
                    return Some(Place::Nowhere);
                }
            }
        }
        hash.map(Place::Above)
    }

    /// Waits until it is time for a block on the head, and builds it.
    async fn build<E: Spawner + Clock>(
        &self,
        context: &E,
        head: &Head,
    ) -> Option<bletchley_consensus::Proposal> {
        let shared = &self.shared;
        loop {
            let work = shared.work.notified();
            let (pace, heartbeat) = shared.pace();
            let since = *shared.moved_at.lock();
            let now = context.current();
            let hurries = shared.schedule.change_pending();
            let pace = if hurries { pace.min(HURRY) } else { pace };
            let (paced, beat) = (since + pace, since + if hurries { pace } else { heartbeat });
            let is_due = now >= beat;
            if is_due || (now >= paced && shared.ledger.ready() > 0) {
                let (ledger, parent, time_ms) = (shared.ledger.clone(), head.hash, now_ms(context));
                match Self::proposed(
                    Shared::apart(context, move || ledger.propose(parent, time_ms, is_due)).await?,
                ) {
                    Some(proposal) => return Some(proposal),
                    None if is_due => return None,
                    None => {
                        select! {
                            _ = work => {},
                            _ = context.sleep(BARREN_RETRY) => {},
                        }
                        continue;
                    }
                }
            }
            let next = if now < paced && shared.ledger.ready() > 0 { paced } else { beat };
            select! {
                _ = work => {},
                _ = context.sleep_until(next) => {},
            }
        }
    }

    fn proposed(
        result: Result<Option<bletchley_consensus::Proposal>, ApplicationError>,
    ) -> Option<bletchley_consensus::Proposal> {
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "simplex.propose");
            None
        })
    }

    /// Waits until a block's time is not in the future any more.
    async fn until_due<E: Clock>(&self, context: &E, time_ms: TimestampMs) {
        let drift_ms = u64::try_from(self.shared.settings.drift.as_millis()).unwrap_or(u64::MAX);
        let early_ms = || time_ms.0.saturating_sub(now_ms(context).0.saturating_add(drift_ms));
        if early_ms() > 0 {
            tracing::warn!(%time_ms, early_ms = early_ms(), "simplex.block_from_the_future: check both members' clocks");
        }
        // In small steps: the clock may be put right meanwhile.
        while early_ms() > 0 {
            context.sleep(FUTURE_RETRY).await;
        }
    }
}

impl<E: Clock + Spawner + Metrics> Application<E> for Adapter {
    type SigningScheme = Scheme;
    type Context = Round<Digest, PublicKey>;
    type Block = Sealed;
    type Input = ();

    async fn propose(
        &mut self,
        (context, _): (E, Self::Context),
        mut ancestry: impl Ancestry<Sealed>,
        (): (),
    ) -> Option<Digested<Sealed>> {
        let parent = ancestry.next().await?;
        let proposal = match self.place(&context, &parent, ancestry).await? {
            Place::Nowhere => return None,
            Place::Head(head) => self.build(&context, &head).await?,
            Place::Above(hash) => {
                let (ledger, time_ms) = (self.shared.ledger.clone(), now_ms(&context));
                Self::proposed(Shared::apart(&context, move || ledger.propose(hash, time_ms, true)).await?)?
            }
        };
        let payload = Payload::new(b256_of(&parent.digest()), proposal.height, proposal.block);
        let Some(sealed) = Sealed::new(payload) else {
            tracing::error!(height = %proposal.height, "simplex.block_too_large");
            return None;
        };
        Some(Digested::compute(sealed, &Sequential).await)
    }

    async fn verify(
        &mut self,
        (context, round): (E, Self::Context),
        mut ancestry: impl Ancestry<Sealed>,
    ) -> bool {
        let (Some(block), Some(parent)) = (ancestry.next().await, ancestry.next().await) else {
            return false;
        };
        let payload = block.inner().payload();
        match self.place(&context, &parent, ancestry).await {
            None => return false,
            Some(Place::Nowhere) => {
                // Already final here, or beside what is.
                return self.shared.digest_at(payload.height) == Some(b256_of(&block.digest()));
            }
            Some(Place::Head(_) | Place::Above(_)) => {}
        }
        match self.shared.verify(&context, &payload.block()).await {
            None => false,
            Some(Err(error)) => {
                self.shared.ledger.refused(payload.height, peer_id(&round.leader), &error);
                false
            }
            Some(Ok(proposal)) if proposal.height != payload.height => {
                tracing::warn!(height = %payload.height, found = %proposal.height, "simplex.block_refused");
                false
            }
            Some(Ok(proposal)) => {
                self.until_due(&context, proposal.time_ms).await;
                true
            }
        }
    }
}

impl Reporter for Adapter {
    type Activity = Update<Sealed>;

    fn report(&mut self, update: Update<Sealed>) -> Feedback {
        if let Update::Block(block, acknowledgement) = update {
            let _ = self.finalized.send((block, acknowledgement));
        }
        Feedback::Ok
    }
}
