//! A member over runtime and network: what runs on sockets in a node runs in a seeded simulation too.

use crate::backfill::answer;
use crate::counters::Counters;
use crate::message::{Lane, Message};
use crate::settings::Settings;
use crate::signing::{Pen, peer_id, public_key};
use crate::station::{Act, Ground, Halt, Station};
use crate::timers::millis;
use crate::wal::Wal;
use crate::worker::{Done, Job, work};
use bletchley_consensus::{Application, EngineError, PeerId, Schedule};
use bletchley_primitives::{Height, LedgerId};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner, Storage};
use commonware_utils::channel::mpsc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Calls of the application that may wait.
const JOBS_MAX: usize = 256;
/// Questions of others that may wait.
const QUESTIONS_MAX: usize = 64;

/// What the engine speaks on.
#[derive(Debug)]
pub struct Channels<S, R> {
    /// Votes, proposals and certificates: small, and they must not wait behind blocks.
    pub votes: (S, R),
    /// Proposed blocks.
    pub blocks: (S, R),
    /// Blocks for members that are behind.
    pub backfill: (S, R),
}

/// What a member needs.
pub struct Parts<E, S, R> {
    /// Runtime: clock, tasks, storage.
    pub context: E,
    /// Where the log is kept: unique in the context's storage.
    pub partition: String,
    /// The member's key, whose public half is its name on the network.
    pub key: PrivateKey,
    /// The ledger.
    pub ledger: LedgerId,
    /// Executes and keeps its blocks.
    pub application: Arc<dyn Application>,
    /// Who validates when.
    pub schedule: Arc<dyn Schedule>,
    /// Times and sizes.
    pub settings: Settings,
    /// Notified ([`Notify::notify_one`]) when transactions may be ready.
    pub work: Arc<Notify>,
    /// The ledger's channels.
    pub channels: Channels<S, R>,
    /// Counts what was refused.
    pub counters: Arc<Counters>,
}

struct Mouths<S> {
    votes: S,
    blocks: S,
    backfill: S,
}

impl<S: Sender<PublicKey = PublicKey>> Mouths<S> {
    fn send(&mut self, to: Option<PeerId>, message: &Message) {
        let recipients = match to.map(public_key) {
            None => Recipients::All,
            Some(Some(key)) => Recipients::One(key),
            Some(None) => return,
        };
        let (mouth, urgent) = match message.lane() {
            Lane::Votes => (&mut self.votes, true),
            Lane::Blocks => (&mut self.blocks, false),
            Lane::Backfill => (&mut self.backfill, false),
        };
        // A message that is lost is asked for, or sent again.
        let _ = mouth.send(recipients, message.encode(), urgent);
    }
}

fn now_ms(context: &impl Clock) -> u64 {
    millis(context.current().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn storage_failed(height: u64, error: &commonware_runtime::Error) -> Halt {
    let problem =
        format!("the engine's log: {error}; free space or repair the disk, then start the node again");
    Halt::Keep { height: Height(height), problem }
}

/// Runs a member until the context stops, its channels close, or it cannot go on.
///
/// # Errors
/// [`EngineError`] when a final block or the log could not be kept.
pub async fn run<E, S, R>(parts: Parts<E, S, R>) -> Result<(), EngineError>
where
    E: Clock + Spawner + Storage,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let application = parts.application.clone();
    drive(parts).await.map_err(|source| EngineError {
        engine: crate::NAME,
        height: application.head().height.next(),
        source,
    })
}

/// Runs the application's calls on a thread of their own, where the runtime has such.
fn employ<E: Spawner>(
    context: &E,
    application: Arc<dyn Application>,
) -> (mpsc::Sender<Job>, mpsc::Receiver<Done>) {
    let (jobs, mut orders) = mpsc::channel(JOBS_MAX);
    let (finished, done) = mpsc::channel(JOBS_MAX);
    context.child("application").dedicated().spawn(move |_| async move {
        while let Some(job) = orders.recv().await {
            if let Some(result) = work(&*application, job)
                && finished.send(result).await.is_err()
            {
                return;
            }
        }
    });
    (jobs, done)
}

/// Answers members that are behind, beside everything else.
fn serve<E, S>(
    context: &E,
    application: Arc<dyn Application>,
    ledger: LedgerId,
    mut mouth: S,
) -> mpsc::Sender<(PeerId, Height)>
where
    E: Spawner,
    S: Sender<PublicKey = PublicKey>,
{
    let (ask, mut questions) = mpsc::channel::<(PeerId, Height)>(QUESTIONS_MAX);
    context.child("backfill").dedicated().spawn(move |_| async move {
        while let Some((peer, from)) = questions.recv().await {
            let Some(key) = public_key(peer) else { continue };
            for (payload, seal) in answer(&*application, ledger, from) {
                let message = Message::Final(payload, seal).encode();
                let _ = mouth.send(Recipients::One(key.clone()), message, false);
            }
        }
    });
    ask
}

struct Hands<B, S> {
    wal: Wal<B>,
    mouths: Mouths<S>,
    jobs: mpsc::Sender<Job>,
    ask: mpsc::Sender<(PeerId, Height)>,
}

impl<B: commonware_runtime::Blob, S: Sender<PublicKey = PublicKey>> Hands<B, S> {
    async fn perform(&mut self, station: &mut Station) -> Result<(), Halt> {
        let height = station.height;
        let failed = |error| storage_failed(height, &error);
        let mut records = Vec::new();
        for act in station.acts() {
            match act {
                Act::Log(record) => records.push(record),
                Act::BeginLog(height) => {
                    records.clear();
                    self.wal.begin(height);
                }
                Act::Send(to, message) => {
                    // What is signed must be on disk before it is said.
                    if matches!(message, Message::Vote(_) | Message::Proposal(_)) {
                        self.wal.append(&std::mem::take(&mut records)).await.map_err(failed)?;
                        self.wal.sync().await.map_err(failed)?;
                    }
                    self.mouths.send(to, &message);
                }
                Act::Work(job) => {
                    if self.jobs.send(job).await.is_err() {
                        let problem = "the application's task ended; the log says why".to_owned();
                        return Err(Halt::Keep { height: Height(height), problem });
                    }
                }
                // When too many ask, some ask again.
                Act::Serve(peer, from) => drop(self.ask.try_send((peer, from))),
            }
        }
        self.wal.append(&records).await.map_err(failed)
    }
}

async fn drive<E, S, R>(parts: Parts<E, S, R>) -> Result<(), Halt>
where
    E: Clock + Spawner + Storage,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let Parts { context, partition, key, ledger, application, schedule, settings, work, channels, counters } =
        parts;
    let Channels {
        votes: (votes, mut hear_votes),
        blocks: (blocks, mut hear_blocks),
        backfill: (backfill, mut hear_backfill),
    } = channels;
    let (jobs, mut done) = employ(&context, application.clone());
    let ask = serve(&context, application.clone(), ledger, backfill.clone());
    let pen = Pen::new(ledger, key);
    let ground = Ground { settings, counters, ledger, application, schedule, pen };
    let mut station = Station::new(ground, now_ms(&context));
    station.arrive()?;
    let opened = Wal::open(&context, &partition, station.height).await;
    let (wal, records) = opened.map_err(|error| storage_failed(station.height, &error))?;
    let mut hands = Hands { wal, mouths: Mouths { votes, blocks, backfill }, jobs, ask };
    station.remember(records);
    station.begin()?;
    let mut stopped = context.stopped();
    loop {
        hands.perform(&mut station).await?;
        let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(station.deadline_ms()));
        let sleep = context.sleep_until(deadline.unwrap_or(SystemTime::UNIX_EPOCH));
        select! {
            _ = &mut stopped => return Ok(()),
            finished = done.recv() => {
                station.now_ms = now_ms(&context);
                let Some(finished) = finished else { return Ok(()) };
                station.done(finished)?;
            },
            message = hear_votes.recv() => {
                station.now_ms = now_ms(&context);
                let Ok((from, bytes)) = message else { return Ok(()) };
                station.hear(peer_id(&from), Lane::Votes, bytes.as_ref())?;
            },
            message = hear_blocks.recv() => {
                station.now_ms = now_ms(&context);
                let Ok((from, bytes)) = message else { return Ok(()) };
                station.hear(peer_id(&from), Lane::Blocks, bytes.as_ref())?;
            },
            message = hear_backfill.recv() => {
                station.now_ms = now_ms(&context);
                let Ok((from, bytes)) = message else { return Ok(()) };
                station.hear(peer_id(&from), Lane::Backfill, bytes.as_ref())?;
            },
            _ = work.notified() => {
                station.now_ms = now_ms(&context);
                station.wake();
            },
            _ = sleep => {
                station.now_ms = now_ms(&context);
            },
        }
        station.tick()?;
    }
}
