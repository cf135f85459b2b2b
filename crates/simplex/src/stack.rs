//! The stack of one member and ledger, generic over runtime and network: what runs on sockets in a node runs in a
//! seeded simulation too.

use crate::application::{Adapter, Shared};
use crate::block::{Sealed, digest_of};
use crate::delivery::{Delivered, NAME, deliver};
use crate::epochs::{Epochs, Schemes};
use crate::kept::{Kept, note_head};
use crate::settings::Settings;
use bletchley_consensus::{
    Application as Ledger, ApplicationError, EngineError, Payload, Schedule, epoch_of, last_of,
};
use bletchley_net::EngineChannels;
use bletchley_primitives::{Height, LedgerId};
use commonware_broadcast::buffered;
use commonware_consensus::marshal::resolver::p2p as resolver;
use commonware_consensus::marshal::standard::{Inline, Standard};
use commonware_consensus::marshal::{self, core::Actor as Marshal, core::Mailbox};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::{self, config};
use commonware_consensus::types::{Epoch, ViewDelta};
use commonware_cryptography::certificate::Verifier as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_cryptography::sha256::Sha256;
use commonware_cryptography::{Digested, Signer as _};
use commonware_macros::select;
use commonware_p2p::utils::mux::{Builder as _, MuxHandle, Muxer};
use commonware_p2p::{Blocker, Message, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage};
use commonware_storage::archive::prunable;
use commonware_storage::translator::TwoCap;
use commonware_utils::acknowledgement::Exact;
use commonware_utils::channel::mpsc;
use commonware_utils::vec::NonEmptyVec;
use commonware_utils::{Acknowledgement as _, NZDuration, NZU16, NZU64, NZUsize};
use parking_lot::Mutex;
use rand_core::CryptoRng;
use std::collections::VecDeque;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How soon an epoch's validators are sought again.
const SCHEME_RETRY: Duration = Duration::from_millis(50);
/// Messages of the next epoch that are kept for a member that has not entered it yet.
const EARLY_MESSAGES_MAX: usize = 1024;
/// Messages that wait for each actor of the stack.
const MAILBOX_MESSAGES: NonZeroUsize = NZUsize!(1024);
/// Proposed blocks of each peer that are kept until they are asked for.
const BLOCKS_OF_PEER_MAX: usize = 16;
/// Final blocks that may be on their way into the ledger.
const DELIVERED_AHEAD_MAX: NonZeroUsize = NZUsize!(16);
/// Views of which votes are kept.
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);
/// Buffer of each journal.
const JOURNAL_BUFFER_BYTES: NonZeroUsize = NZUsize!(256 << 10);
/// Pages of 4 KiB that the journals share in memory.
const CACHE_PAGES: NonZeroUsize = NZUsize!(512);
/// Heights in a file of the archives.
const ARCHIVE_SECTION_HEIGHTS: NonZeroU64 = NZU64!(1024);
/// Newest heights that the archives keep for members that fell behind while they ran. Whoever is further behind gets its
/// blocks out of the others' ledgers when it starts.
const ARCHIVE_HEIGHTS: u64 = 16_384;

/// What a member's stack needs.
pub struct Parts<E, S: Sender<PublicKey = PublicKey>, B, P> {
    /// Runtime.
    pub context: E,
    /// Names this stack's files apart from others' in the same runtime.
    pub partition: String,
    /// The node's key.
    pub key: PrivateKey,
    /// The ledger.
    pub ledger: LedgerId,
    /// What executes and keeps blocks.
    pub application: Arc<dyn Ledger>,
    /// Who validates when.
    pub schedule: Arc<dyn Schedule>,
    /// Times and sizes.
    pub settings: Settings,
    /// Notified when transactions may be ready.
    pub work: Arc<Notify>,
    /// Channels of this ledger.
    pub channels: EngineChannels<S>,
    /// Cuts peers off.
    pub blocker: B,
    /// Knows the peers.
    pub peers: P,
}

impl<E, S: Sender<PublicKey = PublicKey>, B, P> std::fmt::Debug for Parts<E, S, B, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// Messages that came early, ahead of the live ones. Without them a proposal that a faster member sends in the first
/// view of an epoch is lost, and the view ends by its time-out.
#[derive(Debug)]
struct Early<R: Receiver> {
    early: VecDeque<Message<R::PublicKey>>,
    live: R,
}

impl<R: Receiver> Receiver for Early<R> {
    type Error = R::Error;
    type PublicKey = R::PublicKey;

    async fn recv(&mut self) -> Result<Message<R::PublicKey>, R::Error> {
        match self.early.pop_front() {
            Some(message) => Ok(message),
            None => self.live.recv().await,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.live.capacity()
    }
}

type Backlog = [VecDeque<Message<PublicKey>>; 2];
type Finalized = mpsc::UnboundedReceiver<(Digested<Sealed>, Exact)>;
type Automaton<E> = Inline<E, Scheme, Adapter, Sealed, Epochs>;

/// The simplex engine of one epoch; it ends when this is dropped.
struct Epochal {
    epoch: u64,
    handle: Handle<()>,
}

impl Drop for Epochal {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn archive<C>(partition: &str, name: &str, cache: &CacheRef, codec_config: C) -> prunable::Config<TwoCap, C> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{partition}-{name}-metadata"),
        key_partition: format!("{partition}-{name}-keys"),
        key_page_cache: cache.clone(),
        value_partition: format!("{partition}-{name}-values"),
        compression: None,
        codec_config,
        items_per_section: ARCHIVE_SECTION_HEIGHTS,
        key_write_buffer: JOURNAL_BUFFER_BYTES,
        value_write_buffer: JOURNAL_BUFFER_BYTES,
        replay_buffer: JOURNAL_BUFFER_BYTES,
    }
}

fn fetching<B, P>(key: &PrivateKey, peers: P, blocker: B) -> resolver::Config<PublicKey, P, B>
where
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
{
    resolver::Config {
        public_key: key.public_key(),
        peer_provider: peers,
        blocker,
        mailbox_size: MAILBOX_MESSAGES,
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(100),
        priority_requests: false,
        priority_responses: false,
    }
}

fn broadcasting<P>(key: &PrivateKey, peers: P) -> buffered::Config<PublicKey, (), P, Sequential>
where
    P: Provider<PublicKey = PublicKey>,
{
    buffered::Config {
        public_key: key.public_key(),
        mailbox_size: MAILBOX_MESSAGES,
        deque_size: BLOCKS_OF_PEER_MAX,
        priority: false,
        codec_config: (),
        peer_provider: peers,
        strategy: Sequential,
    }
}

fn keeping(
    ledger: LedgerId,
    provider: Schemes,
    epocher: Epochs,
    partition: &str,
    page_cache: CacheRef,
) -> marshal::Config<Schemes, Epochs, Sequential, Sealed, Digested<Sealed>> {
    marshal::Config {
        provider,
        epocher,
        start: marshal::Start::Genesis(Sealed::genesis(ledger)),
        partition_prefix: partition.to_owned(),
        mailbox_size: MAILBOX_MESSAGES,
        view_retention: VIEWS_KEPT,
        prunable_items_per_section: NZU64!(64),
        page_cache,
        replay_buffer: JOURNAL_BUFFER_BYTES,
        key_write_buffer: JOURNAL_BUFFER_BYTES,
        value_write_buffer: JOURNAL_BUFFER_BYTES,
        block_codec_config: (),
        max_repair: NZUsize!(32),
        max_pending_acks: DELIVERED_AHEAD_MAX,
        strategy: Sequential,
    }
}

pub(crate) fn broken(height: Height, problem: impl std::fmt::Display) -> EngineError {
    let source = ApplicationError::Keep { height, problem: problem.to_string() };
    EngineError { engine: NAME, height, source }
}

/// Runs a member's stack until its context ends.
///
/// # Errors
/// [`EngineError`] when the ledger can no longer keep blocks, or the engine's own files cannot be used.
pub async fn run<E, S, B, P>(parts: Parts<E, S, B, P>) -> Result<(), EngineError>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    S: Sender<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
{
    let Parts {
        context,
        partition,
        key,
        ledger,
        application,
        schedule,
        settings,
        work,
        channels,
        blocker,
        peers,
    } = parts;
    let epoch_blocks = schedule.epoch_blocks();
    let epocher = Epochs(epoch_blocks);
    let cache = CacheRef::new(NZU16!(4_096), CACHE_PAGES);
    let schemes = Schemes::new(ledger, key.clone(), schedule.clone(), settings.abstains_through);
    let shared = Arc::new(Shared {
        id: ledger,
        ledger: application,
        schedule,
        silence_max: Mutex::new(settings.heartbeat),
        settings,
        work,
        moved: Notify::new(),
        moved_at: Mutex::new(context.current()),
    });
    let (send, finalized) = mpsc::unbounded_channel();
    let adapter = Adapter { shared: shared.clone(), finalized: send };
    let head = shared.ledger.head().height;
    let EngineChannels { votes, certificates, resolver: ask, backfill, blocks } = channels;

    let fetching = fetching(&key, peers.clone(), blocker.clone());
    let fetch = resolver::init(context.child("resolver"), fetching, backfill);
    let (buffer_engine, buffer) =
        buffered::Engine::new(context.child("broadcast"), broadcasting(&key, peers));
    buffer_engine.start(blocks);
    let finalizations =
        archive(&partition, "finalizations", &cache, Scheme::certificate_codec_config_unbounded());
    let finalizations = prunable::Archive::init(context.child("finalizations"), finalizations).await;
    let finalizations =
        finalizations.map_err(|error| broken(head, format!("opening the engine's files: {error}")))?;
    let archived =
        prunable::Archive::init(context.child("blocks"), archive(&partition, "blocks", &cache, ())).await;
    let archived = archived.map_err(|error| broken(head, format!("opening the engine's files: {error}")))?;
    note_head(context.child("noted"), &partition, &shared).await?;
    let (marshal, mailbox, _) = Marshal::<_, Standard<Sealed>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        Kept::new(archived, &shared),
        keeping(ledger, schemes.clone(), epocher, &partition, cache.clone()),
    )
    .await;
    marshal.start(adapter.clone(), buffer, fetch);

    let builder = Muxer::builder(context.child("votes"), votes.0, votes.1);
    let (mux, vote, late_votes) = builder.with_backup().build();
    mux.start();
    let builder = Muxer::builder(context.child("certificates"), certificates.0, certificates.1);
    let (mux, certificate, late_certificates) = builder.with_backup().build();
    mux.start();
    let (mux, sync) = Muxer::new(context.child("asks"), ask.0, ask.1);
    mux.start();
    let automaton = Inline::new(context.child("automaton"), adapter, mailbox.clone(), epocher);
    let member =
        Member { context, partition, shared, schemes, cache, blocker, automaton, mailbox, epoch_blocks };
    let channels = [vote, certificate, sync];
    member.follow(finalized, channels, [late_votes, late_certificates]).await
}

/// A member whose stack runs: it takes final blocks in, and moves from epoch to epoch.
struct Member<E: Clock + CryptoRng + Spawner + Storage + Metrics, B> {
    context: E,
    partition: String,
    shared: Arc<Shared>,
    schemes: Schemes,
    cache: CacheRef,
    blocker: B,
    automaton: Automaton<E>,
    mailbox: Mailbox<Scheme, Standard<Sealed>>,
    epoch_blocks: u64,
}

type Late = mpsc::Receiver<(u64, Message<PublicKey>)>;

impl<E, B> Member<E, B>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    B: Blocker<PublicKey = PublicKey>,
{
    async fn follow<S: Sender<PublicKey = PublicKey>>(
        self,
        mut finalized: Finalized,
        mut channels: [MuxHandle<S>; 3],
        [mut late_votes, mut late_certificates]: [Late; 2],
    ) -> Result<(), EngineError> {
        let mut backlog = Backlog::default();
        let mut running = self.enter(&mut channels, Backlog::default()).await?;
        loop {
            let (kind, epoch, message) = select! {
                next = finalized.recv() => {
                    let Some((block, acknowledgement)) = next else { return Ok(()) };
                    self.take(&block).await?;
                    let head = self.shared.ledger.head().height;
                    if epoch_of(head.next(), self.epoch_blocks) > running.epoch {
                        // The new engine runs before the old one ends, so that no message falls between them.
                        running = self.enter(&mut channels, std::mem::take(&mut backlog)).await?;
                    }
                    acknowledgement.acknowledge();
                    self.prune(head);
                    continue;
                },
                next = late_votes.recv() => {
                    let Some((epoch, message)) = next else { return Ok(()) };
                    (0, epoch, message)
                },
                next = late_certificates.recv() => {
                    let Some((epoch, message)) = next else { return Ok(()) };
                    (1, epoch, message)
                },
            };
            if epoch <= running.epoch {
                continue; // of an epoch that is over: its last block is final, there is nothing to decide
            }
            let last = commonware_consensus::types::Height::new(last_of(running.epoch, self.epoch_blocks).0);
            self.mailbox.hint_finalized(last, NonEmptyVec::new(message.0.clone()));
            let Some(early) = backlog.get_mut(kind) else { continue };
            if epoch == running.epoch + 1 && early.len() < EARLY_MESSAGES_MAX {
                early.push_back(message);
            }
        }
    }

    /// Lets the archives go of what the ledger keeps for good, once a section is old.
    fn prune(&self, head: Height) {
        let kept = head.0.checked_sub(ARCHIVE_HEIGHTS).filter(|kept| *kept > 0);
        if let Some(kept) = kept.filter(|kept| kept.is_multiple_of(ARCHIVE_SECTION_HEIGHTS.get())) {
            self.mailbox.prune(commonware_consensus::types::Height::new(kept));
        }
    }

    /// Takes a final block in, and first those below it that the ledger does not have: a data folder restored from an
    /// older copy than the engine's files.
    async fn take(&self, block: &Digested<Sealed>) -> Result<(), EngineError> {
        loop {
            let Delivered::Missing(height) = deliver(&self.context, &self.shared, block).await? else {
                return Ok(());
            };
            let wanted = commonware_consensus::types::Height::new(height.0);
            let Some(missing) = self.mailbox.get_block(wanted).await else {
                let problem = "the ledger is older than the engine's files, which do not reach back so far; remove the folder `consensus` to fetch all from the other members";
                return Err(broken(height, problem));
            };
            if deliver(&self.context, &self.shared, &missing).await? != Delivered::Kept {
                return Err(broken(height, "it could not be taken in"));
            }
        }
    }

    /// The scheme of an epoch. A member that catches up may learn its validators from another ledger that is behind.
    async fn scheme(&self, epoch: u64) -> Arc<Scheme> {
        loop {
            if let Some(scheme) = self.schemes.of(epoch) {
                return scheme;
            }
            self.context.sleep(SCHEME_RETRY).await;
        }
    }

    /// Starts the engine of the epoch that the next height belongs to.
    async fn enter<S: Sender<PublicKey = PublicKey>>(
        &self,
        channels: &mut [MuxHandle<S>; 3],
        backlog: Backlog,
    ) -> Result<Epochal, EngineError> {
        let head = self.shared.ledger.head().height;
        let epoch = epoch_of(head.next(), self.epoch_blocks);
        let scheme = self.scheme(epoch).await;
        let start = match epoch.checked_sub(1) {
            None => Some(Payload::genesis(self.shared.id)),
            Some(before) => self.shared.digest_at(last_of(before, self.epoch_blocks)),
        };
        let start = start.ok_or_else(|| broken(head, "the last block of the epoch before has no seal"))?;
        let settings = self.shared.settings.at(self.shared.schedule.pace());
        let Settings { heartbeat, leader_timeout, certification_timeout, retry, skip_after, .. } = settings;
        *self.shared.silence_max.lock() = heartbeat;
        let engine = simplex::Engine::new(
            self.context.child("engine").with_attribute("epoch", epoch),
            simplex::Config {
                scheme: scheme.as_ref().clone(),
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.blocker.clone(),
                automaton: self.automaton.clone(),
                relay: self.automaton.clone(),
                reporter: self.automaton.clone(),
                track_historical_votes: false,
                strategy: Sequential,
                partition: format!("{}-epoch-{epoch}", self.partition),
                mailbox_size: MAILBOX_MESSAGES,
                epoch: Epoch::new(epoch),
                floor: simplex::Floor::Genesis(digest_of(start)),
                replay_buffer: JOURNAL_BUFFER_BYTES,
                write_buffer: JOURNAL_BUFFER_BYTES,
                page_cache: self.cache.clone(),
                leader_timeout,
                certification_timeout,
                timeout_retry: retry,
                view_retention: VIEWS_KEPT,
                skip: config::SkipPolicy::Enabled {
                    timeout: skip_after,
                    budget: config::SkipBudget::Participants,
                },
                fetch_timeout: NZDuration!(Duration::from_secs(1)),
                fetch_retry_delay: Duration::from_millis(50),
                forward: config::ForwardPolicy::SilentVoters,
            },
        );
        let [vote, certificate, sync] = channels;
        let ended = |_| broken(head, "the network has ended");
        let vote = vote.register(epoch).await.map_err(ended)?;
        let certificate = certificate.register(epoch).await.map_err(ended)?;
        let sync = sync.register(epoch).await.map_err(ended)?;
        let [early_votes, early_certificates] = backlog;
        let vote = (vote.0, Early { early: early_votes, live: vote.1 });
        let certificate = (certificate.0, Early { early: early_certificates, live: certificate.1 });
        tracing::info!(ledger = %self.shared.id, epoch, height = %head, "simplex.epoch");
        Ok(Epochal { epoch, handle: engine.start(vote, certificate, sync) })
    }
}
