//! The line of a ledger between members: questions go to the server, answers to whoever asked.

use super::server::Server;
use bletchley_consensus::{Nonsense, PeerId, Post, Receive, To};
use bletchley_ledger::{Claim, SyncMessage};
use bletchley_primitives::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

/// Bytes of answers that wait for this member to look at them; what comes on top is lost and asked for again.
const WAITING_SIZE_BYTES_MAX: usize = 96 << 20;

/// What happens to a member that catches up.
pub(super) enum Event {
    /// An answer came, of so many bytes.
    Answer(PeerId, Box<SyncMessage>, usize),
    /// Blocks up to here were taken in.
    Taken { to: u64, blocks: u64, size_bytes: usize },
    /// A block that a member sent does not hold; it and those up to `to` are still wanted.
    Refused { from: u64, to: u64, peer: PeerId, size_bytes: usize, problem: String },
    /// Nothing more can be taken in.
    Failed(String),
}

/// Sends and hears on `Protocol::Sync` of one ledger.
pub(crate) struct Exchange {
    pub(super) post: Arc<dyn Post>,
    server: Arc<Server>,
    asking: Mutex<Option<Sender<Event>>>,
    waiting: AtomicUsize,
}

impl Exchange {
    /// An exchange whose questions `server` answers.
    pub(super) fn new(post: Arc<dyn Post>, server: Arc<Server>) -> Arc<Self> {
        Arc::new(Self { post, server, asking: Mutex::default(), waiting: AtomicUsize::new(0) })
    }

    /// Answers go there from now on; nowhere when there is nobody.
    pub(super) fn answer_to(&self, asking: Option<Sender<Event>>) {
        *self.asking.lock() = asking;
        self.waiting.store(0, Ordering::Release);
    }

    /// An answer of so many bytes was looked at.
    pub(super) fn looked_at(&self, size_bytes: usize) {
        let _ = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            Some(waiting.saturating_sub(size_bytes))
        });
    }

    pub(super) fn send(&self, to: To, message: &SyncMessage) -> bool {
        self.post.send(to, message.encode())
    }

    fn hand_on(&self, from: PeerId, message: SyncMessage, size_bytes: usize) {
        let asking = self.asking.lock();
        let Some(asking) = asking.as_ref() else { return }; // late: nobody asks any more
        if self.waiting.load(Ordering::Acquire).saturating_add(size_bytes) > WAITING_SIZE_BYTES_MAX {
            return;
        }
        self.waiting.fetch_add(size_bytes, Ordering::AcqRel);
        let _ = asking.send(Event::Answer(from, Box::new(message), size_bytes));
    }
}

impl Receive for Exchange {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        let size_bytes = message.len();
        let message = SyncMessage::decode(&message).map_err(|error| Nonsense(error.to_string()))?;
        match message {
            SyncMessage::Ask => {
                // No disk is needed for this one.
                let (head, certified) = self.server.reach();
                self.send(To::One(from), &SyncMessage::Claim(Claim { head, certified }));
                Ok(())
            }
            SyncMessage::WantProof
            | SyncMessage::WantHeaders(_)
            | SyncMessage::WantBlocks(_)
            | SyncMessage::WantPiece(_)
            | SyncMessage::WantDigest(_) => {
                self.server.ask(from, message);
                Ok(())
            }
            answer => {
                self.hand_on(from, answer, size_bytes);
                Ok(())
            }
        }
    }
}

/// The thread that answers other members' questions.
pub(crate) struct Serving {
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts the server of a ledger, and the exchange on which it hears and answers.
    pub(crate) fn start(
        ledger: &str,
        server: Server,
        post: Arc<dyn Post>,
    ) -> std::io::Result<(Self, Arc<Exchange>)> {
        let server = Arc::new(server);
        let exchange = Exchange::new(post.clone(), server.clone());
        let serves = server.clone();
        let thread = std::thread::Builder::new()
            .name(format!("sync-{ledger}"))
            .spawn(move || while serves.answer_next(&*post) {})?;
        Ok((Self { server, thread: Some(thread) }, exchange))
    }

    /// The server.
    pub(crate) const fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
