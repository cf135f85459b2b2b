//! Fetches headers and blocks from several members at once, and keeps the order of what is taken in.

use super::abstain::signed_by;
use super::chain::Chain;
use super::client::Client;
use super::doubts::Doubts;
use super::exchange::Event;
use super::taker::{Delivery, Taker, Way};
use alloy_rlp::Decodable;
use bletchley_consensus::{PeerId, To};
use bletchley_ledger::{
    BlockParts, Blocks, CERTIFICATES_TABLE, Certificate, Headers, HeightRange, Piece, SyncMessage,
    WantBlocks, WantPiece,
};
use bletchley_primitives::{Bytes, Height};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Blocks that one question asks for.
const RANGE_BLOCKS: u64 = 64;
/// Bytes of blocks that came and were not taken in yet, at most about.
const AHEAD_SIZE_BYTES_MAX: usize = 48 << 20;
/// Ranges that are asked for, or wait to be, at a time.
const RANGES_MAX: usize = 24;
/// Headers that are known ahead of the blocks.
const HEADERS_AHEAD_MAX: usize = 4_096;
/// Threads that check blocks ahead.
const CHECKERS: usize = 2;
/// How often it is looked whether somebody is late.
const LOOK: Duration = Duration::from_millis(50);

/// A stretch of blocks that is wanted.
struct Wanted {
    to: u64,
    asked: Option<(PeerId, Instant)>,
    /// What came of a block that is too long for one message.
    pieces: Vec<u8>,
}

pub(super) struct Fetch<'c, 'a> {
    client: &'c mut Client<'a>,
    chain: Chain,
    target: Height,
    results: u8,
    ranges: BTreeMap<u64, Wanted>,
    /// The first height that no range covers.
    next: u64,
    headers: Option<(PeerId, Instant)>,
    ahead_size_bytes: usize,
    taken: u64,
    moved: Instant,
    doubts: Doubts,
}

impl<'c, 'a> Fetch<'c, 'a> {
    pub(super) fn new(client: &'c mut Client<'a>, chain: Chain, target: Height) -> Self {
        let head = chain.top().0;
        Self {
            client,
            chain,
            target,
            results: 0,
            ranges: BTreeMap::new(),
            next: head + 1,
            headers: None,
            ahead_size_bytes: 0,
            taken: head,
            moved: Instant::now(),
            doubts: Doubts::default(),
        }
    }

    /// Runs until the target is taken in.
    ///
    /// # Errors
    /// Why it was not reached.
    pub(super) fn run(mut self, way: &Way) -> Result<(), String> {
        self.results = u8::from(!way.executes);
        let subject = self.client.subject;
        let taker = Taker {
            ledger: subject.ledger,
            way: way.clone(),
            store: subject.store.clone(),
            seal_holds: subject.seal_holds.clone(),
            knows_rules: subject.knows_rules.clone(),
            events: self.client.sender.clone(),
        };
        let (deliver, deliveries) = channel::<Delivery>();
        let deliveries = Mutex::new(deliveries);
        let (send, ready) = channel();
        std::thread::scope(|scope| {
            let deliveries = &deliveries;
            for _ in 0..CHECKERS {
                let send = send.clone();
                scope.spawn(move || way.check_all(deliveries, &send));
            }
            drop(send);
            scope.spawn(move || taker.take_all(&ready));
            let fetched = self.work(&deliver);
            drop(deliver);
            fetched
        })
    }

    fn work(&mut self, deliver: &Sender<Delivery>) -> Result<(), String> {
        while self.taken < self.target.0 {
            self.ask();
            if let Ok(event) = self.client.events.recv_timeout(LOOK) {
                self.hear(event, deliver)?;
            }
            self.pass_over_the_late();
            for ready in self.doubts.late() {
                let _ = deliver.send(ready);
            }
            if self.taken < self.target.0 && !self.client.peers.anybody(self.taken + 1) {
                return Err("no member is left that could send the next block".to_owned());
            }
            if self.moved.elapsed() > self.client.times.patience {
                return Err(format!("nothing came for {} s", self.client.times.patience.as_secs()));
            }
        }
        Ok(())
    }

    fn ask(&mut self) {
        let top = self.chain.top();
        if self.headers.is_none() && top < self.target && self.chain.len() < HEADERS_AHEAD_MAX {
            let to = Height(self.target.0.min(top.0 + SyncMessage::HEADERS_MAX as u64));
            if let Some(peer) = self.client.peers.free(to.0) {
                let range = HeightRange { from: top.next(), to };
                self.client.exchange.send(To::One(peer), &SyncMessage::WantHeaders(range));
                self.client.peers.asked(peer);
                self.headers = Some((peer, Instant::now()));
            }
        }
        while self.next <= top.0 && self.ranges.len() < RANGES_MAX {
            let to = top.0.min(self.next + RANGE_BLOCKS - 1);
            self.ranges.insert(self.next, Wanted { to, asked: None, pieces: Vec::new() });
            self.next = to + 1;
        }
        for (from, wanted) in &mut self.ranges {
            // The block that everything waits for is always asked for.
            let urgent = *from == self.taken + 1;
            if wanted.asked.is_some() || (!urgent && self.ahead_size_bytes > AHEAD_SIZE_BYTES_MAX) {
                continue;
            }
            let Some(peer) = self.client.peers.free(wanted.to) else { break };
            let range = HeightRange { from: Height(*from), to: Height(wanted.to) };
            let question = SyncMessage::WantBlocks(WantBlocks { range, results: self.results });
            wanted.pieces.clear();
            self.client.exchange.send(To::One(peer), &question);
            self.client.peers.asked(peer);
            wanted.asked = Some((peer, Instant::now()));
        }
    }

    fn pass_over_the_late(&mut self) {
        let late = |asked: &Option<(PeerId, Instant)>, answer: Duration| {
            asked.filter(|(_, at)| at.elapsed() > answer).map(|(peer, _)| peer)
        };
        let answer = self.client.times.answer;
        let mut silent = Vec::new();
        if let Some(peer) = late(&self.headers, answer) {
            self.headers = None;
            silent.push(peer);
        }
        for wanted in self.ranges.values_mut() {
            if let Some(peer) = late(&wanted.asked, answer) {
                wanted.asked = None;
                silent.push(peer);
            }
        }
        for peer in silent {
            if self.client.peers.strike(peer) {
                self.client.desk.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let member = self.client.name_of(peer);
                tracing::warn!(
                    ledger = self.client.subject.name,
                    member,
                    "sync.silent: this member is not asked again"
                );
            }
        }
    }

    fn hear(&mut self, event: Event, deliver: &Sender<Delivery>) -> Result<(), String> {
        match event {
            Event::Answer(peer, message, size_bytes) => {
                self.client.exchange.looked_at(size_bytes);
                match *message {
                    SyncMessage::Claim(claim) => self.client.peers.claim(peer, claim),
                    SyncMessage::Headers(headers) => self.hear_headers(peer, headers),
                    SyncMessage::Blocks(blocks) => self.hear_blocks(peer, blocks, size_bytes, deliver),
                    SyncMessage::Piece(piece) => self.hear_piece(peer, piece, deliver),
                    SyncMessage::Missing(height) => self.hear_missing(peer, height),
                    SyncMessage::Digest(digest) => {
                        if let Some(ready) = self.doubts.hear(peer, &digest) {
                            let _ = deliver.send(ready);
                        }
                    }
                    _ => {}
                }
                Ok(())
            }
            Event::Taken { to, blocks, size_bytes } => {
                self.ahead_size_bytes = self.ahead_size_bytes.saturating_sub(size_bytes);
                self.taken = self.taken.max(to);
                self.moved = Instant::now();
                let executed = self.results == 0;
                self.client.desk.reached(&self.client.subject.name, Height(to), blocks, executed);
                let certificates = self.chain.taken(to);
                self.keep(certificates)
            }
            Event::Refused { from, to, peer, size_bytes, problem } => {
                self.ahead_size_bytes = self.ahead_size_bytes.saturating_sub(size_bytes);
                self.client.refuse(peer, &problem);
                self.ranges.insert(from, Wanted { to, asked: None, pieces: Vec::new() });
                self.take_back(peer);
                Ok(())
            }
            Event::Failed(problem) => Err(problem),
        }
    }

    /// What a refused member was asked for goes to others.
    fn take_back(&mut self, peer: PeerId) {
        for wanted in self.ranges.values_mut() {
            if wanted.asked.is_some_and(|(asked, _)| asked == peer) {
                wanted.asked = None;
            }
        }
        if self.headers.is_some_and(|(asked, _)| asked == peer) {
            self.headers = None;
        }
    }

    fn hear_headers(&mut self, peer: PeerId, headers: Headers) {
        if self.headers.is_none_or(|(asked, _)| asked != peer) {
            return;
        }
        self.headers = None;
        self.client.peers.answered(peer);
        match self.chain.extend(headers) {
            Ok(certificates) => {
                self.moved = Instant::now();
                let me = self.client.subject.me;
                if !self.client.signed_above {
                    self.client.signed_above = certificates.iter().any(|one| signed_by(one, me));
                }
            }
            Err(problem) => {
                self.client.refuse(peer, &problem);
                self.take_back(peer);
            }
        }
    }

    /// The range that this member was asked for, beginning here.
    fn asked_of(&self, peer: PeerId, from: Height) -> bool {
        let wanted = self.ranges.get(&from.0);
        wanted.and_then(|wanted| wanted.asked).is_some_and(|(asked, _)| asked == peer)
    }

    fn hear_missing(&mut self, peer: PeerId, height: Height) {
        let asked = self.headers.is_some_and(|(asked, _)| asked == peer) || self.asked_of(peer, height);
        if !asked {
            return;
        }
        if self.asked_of(peer, height) {
            if let Some(wanted) = self.ranges.get_mut(&height.0) {
                wanted.asked = None;
            }
        } else {
            self.headers = None;
        }
        if self.client.peers.strike(peer) {
            self.client.desk.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn hear_blocks(&mut self, peer: PeerId, answer: Blocks, size_bytes: usize, deliver: &Sender<Delivery>) {
        let Blocks { from, blocks } = answer;
        if !self.asked_of(peer, from) {
            return;
        }
        let Some(wanted) = self.ranges.remove(&from.0) else { return };
        self.client.peers.answered(peer);
        let last = from.0 + blocks.len() as u64 - 1;
        let headers = (last <= wanted.to).then(|| self.chain.range(from.0, last)).flatten();
        let Some(headers) = headers else {
            self.ranges.insert(from.0, Wanted { to: wanted.to, asked: None, pieces: Vec::new() });
            self.client.refuse(peer, "more blocks than were asked for");
            self.take_back(peer);
            return;
        };
        if last < wanted.to {
            self.ranges.insert(last + 1, Wanted { to: wanted.to, asked: None, pieces: Vec::new() });
        }
        self.moved = Instant::now();
        self.ahead_size_bytes += size_bytes;
        let blocks = headers.into_iter().zip(blocks).collect();
        let delivery = Delivery { peer, blocks, size_bytes, vouched: false };
        if let Some(ready) = self.doubts.ask(self.client, delivery, self.results == 1) {
            let _ = deliver.send(ready);
        }
    }

    fn hear_piece(&mut self, peer: PeerId, piece: Piece, deliver: &Sender<Delivery>) {
        if !self.asked_of(peer, piece.height) {
            return;
        }
        let Some(wanted) = self.ranges.get_mut(&piece.height.0) else { return };
        if piece.offset != wanted.pieces.len() as u64 {
            return; // it came twice
        }
        wanted.pieces.extend_from_slice(&piece.bytes);
        wanted.asked = Some((peer, Instant::now()));
        self.moved = Instant::now();
        if (wanted.pieces.len() as u64) < piece.size_bytes {
            let next =
                WantPiece { height: piece.height, results: self.results, offset: wanted.pieces.len() as u64 };
            self.client.exchange.send(To::One(peer), &SyncMessage::WantPiece(next));
            return;
        }
        let whole = std::mem::take(&mut wanted.pieces);
        match BlockParts::decode(&mut whole.as_slice()) {
            Ok(parts) => {
                let blocks = Blocks { from: piece.height, blocks: vec![parts] };
                self.hear_blocks(peer, blocks, whole.len(), deliver);
            }
            Err(error) => {
                self.client.refuse(peer, &format!("block {} does not decode: {error}", piece.height));
                self.take_back(peer);
            }
        }
    }

    /// Keeps the certificates of blocks that were taken in.
    fn keep(&self, certificates: BTreeMap<Height, Certificate>) -> Result<(), String> {
        if certificates.is_empty() {
            return Ok(());
        }
        let row = |(height, certificate): (Height, Certificate)| {
            let key = Bytes::copy_from_slice(&height.0.to_be_bytes());
            (key, Some(Bytes::from(alloy_rlp::encode(certificate))))
        };
        let rows: Vec<_> = certificates.into_iter().map(row).collect();
        self.client.subject.store.table_write(CERTIFICATES_TABLE, &rows).map_err(|error| error.to_string())
    }
}
