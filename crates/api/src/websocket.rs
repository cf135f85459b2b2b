//! JSON-RPC over a WebSocket: several requests in progress, notifications in order, a slow reader is cut off with a
//! reason rather than buffered for ever.

use crate::dispatch::answer;
use crate::feed::BlockEvent;
use crate::limits::{
    REQUEST_SIZE_BYTES_MAX, WS_CLOSE_TIMEOUT_MS, WS_IN_PROGRESS_MAX, WS_PING_INTERVAL_MS,
    WS_QUEUE_MESSAGES_MAX, WS_QUEUE_SIZE_BYTES_MAX, WS_WRITE_MESSAGES_MAX,
};
use crate::server::Shared;
use crate::session::{Session, Turn};
use crate::trace::Trace;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::stream::{FuturesUnordered, SplitSink, StreamExt};
use futures_util::{FutureExt, SinkExt};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Pings without an answer after which a peer is taken to be gone.
const SILENT_PINGS_MAX: u32 = 3;

pub(crate) fn upgrade(socket: WebSocketUpgrade, shared: Shared, trace: Option<Trace>) -> Response {
    socket
        .max_message_size(REQUEST_SIZE_BYTES_MAX)
        .max_frame_size(REQUEST_SIZE_BYTES_MAX)
        .on_upgrade(move |socket| converse(socket, shared, trace))
}

/// Why a conversation ends from our side.
struct Ending {
    code: u16,
    reason: &'static str,
}

const PEER_LEFT: Ending = Ending { code: close_code::NORMAL, reason: "" };
const STOPPING: Ending = Ending { code: close_code::AWAY, reason: "the node stops; connect again later" };
const SLOW: Ending = Ending {
    code: close_code::POLICY,
    reason: "subscriber too slow: notifications were lost; connect and subscribe again, read faster or ask for less",
};
const SILENT: Ending = Ending { code: close_code::AWAY, reason: "no answer to pings" };

/// Messages on their way to the peer, bounded in number and bytes. Whoever adds one waits for room, for a bounded time.
struct Outbox {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    stall: Duration,
}

/// A message, and the room that it takes until it is written.
struct Queued {
    message: Message,
    _room: OwnedSemaphorePermit,
}

impl Outbox {
    /// Queues a message when there is room.
    async fn send(&self, bytes: Vec<u8>) -> Result<(), Ending> {
        let size_bytes = bytes.len().min(WS_QUEUE_SIZE_BYTES_MAX);
        let message = match Utf8Bytes::try_from(Bytes::from(bytes)) {
            Ok(text) => Message::Text(text),
            // What we write is always UTF-8; this is the branch that cannot happen.
            Err(_) => Message::Text(Utf8Bytes::from_static("null")),
        };
        let queued = async {
            let permits = u32::try_from(size_bytes).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| PEER_LEFT)?;
            self.queue.send(Queued { message, _room: room }).await.map_err(|_| PEER_LEFT)
        };
        timeout(self.stall, queued).await.unwrap_or(Err(SLOW))
    }

    /// Queues a ping, unless other messages keep the connection busy.
    fn ping(&self) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            let _ = self.queue.try_send(Queued { message: Message::Ping(Bytes::new()), _room: room });
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = (u64, Option<Vec<u8>>)> + Send>>;

async fn converse(socket: WebSocket, shared: Shared, trace: Option<Trace>) {
    let _alive = shared.alive.clone();
    let (sink, mut stream) = socket.split();
    let (queue, queued) = mpsc::channel(WS_QUEUE_MESSAGES_MAX);
    let (end, ended) = oneshot::channel();
    let writer = tokio::spawn(write(sink, queued, ended));
    let room = Arc::new(Semaphore::new(WS_QUEUE_SIZE_BYTES_MAX));
    let stall = Duration::from_millis(shared.context.options().ws_stall_ms);
    let mut conversation = Conversation {
        outbox: Outbox { queue, room, stall },
        session: Arc::new(Session::default()),
        in_progress: FuturesUnordered::new(),
        transactions: None,
        turns: 0,
        silent_pings: 0,
        trace,
        shared,
    };
    let ending = conversation.run(&mut stream).await;
    drop(conversation);
    let _ = end.send(ending);
    if let Err(error) = writer.await {
        tracing::warn!(%error, "api.websocket writer");
    }
}

struct Conversation {
    outbox: Outbox,
    session: Arc<Session>,
    in_progress: FuturesUnordered<Answering>,
    transactions: Option<Receiver<Arc<bletchley_evm::RecoveredTx>>>,
    turns: u64,
    silent_pings: u32,
    /// Messages of a WebSocket have no headers: all of them are one trace.
    trace: Option<Trace>,
    shared: Shared,
}

impl Conversation {
    async fn run(
        &mut self,
        stream: &mut (impl StreamExt<Item = Result<Message, axum::Error>> + Unpin),
    ) -> Ending {
        let mut blocks = self.shared.context.feed().blocks();
        let mut stop = self.shared.stop.clone();
        let period = Duration::from_millis(WS_PING_INTERVAL_MS);
        let mut ping = interval(period);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset_at(Instant::now() + period);
        loop {
            let step = tokio::select! {
                () = stopped(&mut stop) => Err(STOPPING),
                Some((turn, answer)) = self.in_progress.next() => self.finish(turn, answer).await,
                event = blocks.recv() => match event {
                    Ok(event) => self.on_block(&event).await,
                    Err(RecvError::Lagged(_)) if self.session.len() == 0 => Ok(()),
                    Err(_) => Err(SLOW),
                },
                event = next_transaction(&mut self.transactions) => match event {
                    Ok(tx) => {
                        let notifications = self.session.on_transaction(&tx);
                        self.send_all(notifications).await
                    }
                    Err(_) => Err(SLOW),
                },
                _ = ping.tick() => self.ping(),
                message = stream.next(), if self.in_progress.len() < WS_IN_PROGRESS_MAX => self.receive(message),
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    fn receive(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Ending> {
        self.silent_pings = 0;
        let body = match message {
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(PEER_LEFT),
        };
        self.turns = self.turns.wrapping_add(1);
        let number = self.turns;
        let turn = Turn { session: Arc::clone(&self.session), number };
        let context = self.shared.context.clone();
        let trace = self.trace;
        let answering = async move { (number, answer(&context, body, Some(turn), trace).await) };
        self.in_progress.push(answering.boxed());
        Ok(())
    }

    async fn finish(&mut self, turn: u64, answer: Option<Vec<u8>>) -> Result<(), Ending> {
        // Listen first: whoever has the answer may cause an event at once.
        match (self.session.wants_transactions(), &self.transactions) {
            (true, None) => self.transactions = Some(self.shared.context.feed().transactions()),
            (false, Some(_)) => self.transactions = None,
            _ => {}
        }
        if let Some(answer) = answer {
            self.outbox.send(answer).await?;
        }
        self.session.announce(turn);
        Ok(())
    }

    /// One subscription after the other, so that no more than one's notifications are in memory.
    async fn on_block(&mut self, event: &BlockEvent) -> Result<(), Ending> {
        for index in 0..self.session.len() {
            let notifications = self.session.on_block(event, index);
            self.send_all(notifications).await?;
        }
        Ok(())
    }

    async fn send_all(&mut self, notifications: Vec<Vec<u8>>) -> Result<(), Ending> {
        for notification in notifications {
            self.outbox.send(notification).await?;
        }
        Ok(())
    }

    fn ping(&mut self) -> Result<(), Ending> {
        if self.silent_pings >= SILENT_PINGS_MAX {
            return Err(SILENT);
        }
        self.silent_pings = self.silent_pings.saturating_add(1);
        self.outbox.ping();
        Ok(())
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next pooled transaction, or never when nobody asked for them.
async fn next_transaction<T: Clone>(receiver: &mut Option<Receiver<T>>) -> Result<T, RecvError> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes queued messages until the conversation ends, then says why, within a bounded time.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queued: mpsc::Receiver<Queued>,
    mut ended: oneshot::Receiver<Ending>,
) {
    let ending = tokio::select! {
        biased;
        ending = &mut ended => ending,
        // The socket broke, or the conversation is over: in both cases its end is on the way.
        () = write_queued(&mut sink, &mut queued) => {
            queued.close();
            ended.await
        }
    };
    let ending = ending.unwrap_or(PEER_LEFT);
    if ending.code == close_code::AWAY {
        // Our own end: what is queued may still leave.
        let _ =
            timeout(Duration::from_millis(WS_CLOSE_TIMEOUT_MS), write_queued(&mut sink, &mut queued)).await;
    }
    let frame = CloseFrame { code: ending.code, reason: Utf8Bytes::from_static(ending.reason) };
    let farewell = async {
        let _ = sink.send(Message::Close(Some(frame))).await;
        let _ = sink.close().await;
    };
    if timeout(Duration::from_millis(WS_CLOSE_TIMEOUT_MS), farewell).await.is_err() {
        tracing::debug!(reason = ending.reason, "api.websocket: the peer does not read; dropped");
    }
}

/// Writes what waits, several messages at a time, until the socket breaks or nobody can queue any more.
async fn write_queued(sink: &mut SplitSink<WebSocket, Message>, queued: &mut mpsc::Receiver<Queued>) {
    let mut together = Vec::with_capacity(WS_WRITE_MESSAGES_MAX);
    while queued.recv_many(&mut together, WS_WRITE_MESSAGES_MAX).await > 0 {
        for Queued { message, _room } in together.drain(..) {
            if sink.feed(message).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
