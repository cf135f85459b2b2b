//! Counts messages between members where they pass the Transport seam, whatever the network is.

use super::refused::Refusal;
use super::{Direction, Meters, Refused, Traffic};
use bletchley_consensus::{Nonsense, PeerId, Post, Protocol, Receive, To};
use bletchley_net::tcp::Line;
use bletchley_primitives::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Label of messages to everybody: how many members got one is the network's to count.
pub const EVERYBODY: &str = "all";

/// The name of a member by its key; none for strangers.
pub type PeerNames = Arc<dyn Fn(PeerId) -> Option<String> + Send + Sync>;

/// Counters by member, looked up once for each.
struct ByPeer {
    meters: Arc<Meters>,
    names: PeerNames,
    protocol: Protocol,
    direction: Direction,
    known: RwLock<BTreeMap<PeerId, Traffic>>,
}

impl ByPeer {
    fn name(&self, peer: PeerId) -> String {
        (self.names)(peer).unwrap_or_else(|| super::OTHER.to_owned())
    }

    fn count(&self, peer: PeerId, size_bytes: usize) {
        if let Some(traffic) = self.known.read().get(&peer) {
            traffic.count(size_bytes);
            return;
        }
        let traffic = self.meters.traffic(&self.name(peer), self.protocol.name(), self.direction);
        traffic.count(size_bytes);
        let mut known = self.known.write();
        if known.len() < super::PEER_LABELS_MAX {
            known.insert(peer, traffic);
        }
    }
}

struct CountedPost {
    inner: Arc<dyn Post>,
    by_peer: ByPeer,
    everybody: Traffic,
}

impl Post for CountedPost {
    fn send(&self, to: To, message: Bytes) -> bool {
        let size_bytes = message.len();
        let queued = self.inner.send(to, message);
        if queued {
            match to {
                To::All => self.everybody.count(size_bytes),
                To::One(peer) => self.by_peer.count(peer, size_bytes),
            }
        }
        queued
    }
}

/// Receives messages as [`Receive`] does, and says why it refuses one.
pub(crate) trait Hear: Send + Sync + 'static {
    /// Takes one message.
    fn hear(&self, from: PeerId, message: Bytes) -> Result<(), Refusal>;
}

/// A part that does not say why.
struct Plain(Arc<dyn Receive>);

impl Hear for Plain {
    fn hear(&self, from: PeerId, message: Bytes) -> Result<(), Refusal> {
        let taken = self.0.receive(from, message);
        taken.map_err(|nonsense| Refusal::new(Refused::Nonsense, nonsense))
    }
}

struct Counted<T> {
    inner: Arc<T>,
    by_peer: ByPeer,
}

impl<T: Hear> Receive for Counted<T> {
    fn receive(&self, from: PeerId, message: Bytes) -> Result<(), Nonsense> {
        self.by_peer.count(from, message.len());
        self.inner.hear(from, message).map_err(|refusal| {
            let (peer, reason) = (self.by_peer.name(from), refusal.reason.name());
            let protocol = self.by_peer.protocol.name();
            tracing::info!(peer, protocol, reason, %refusal, "message.refused");
            self.by_peer.meters.refuse(Some(&peer), refusal.reason);
            refusal.into()
        })
    }
}

/// A line of the network whose messages are counted.
pub(crate) struct CountedLine {
    pub(crate) protocol: Protocol,
    /// Sends on it.
    pub(crate) post: Arc<dyn Post>,
    line: Line,
    meters: Arc<Meters>,
    names: PeerNames,
}

impl CountedLine {
    pub(crate) fn new(line: Line, meters: &Arc<Meters>, names: &PeerNames) -> Self {
        let post = meters.counted_post(line.post.clone(), line.protocol, names.clone());
        Self { protocol: line.protocol, post, line, meters: meters.clone(), names: names.clone() }
    }

    /// Gives every message on it to `receive` until the network ends.
    pub(crate) fn listen(self, receive: Arc<dyn Receive>) {
        self.listen_to(Arc::new(Plain(receive)));
    }

    /// The same for a part that says why it refuses.
    pub(crate) fn listen_to(self, hear: Arc<impl Hear>) {
        let receive = self.meters.counted_hear(hear, self.protocol, self.names);
        self.line.listen(receive);
    }
}

impl Meters {
    /// `post`, with what it sends counted.
    #[must_use]
    pub fn counted_post(
        self: &Arc<Self>,
        post: Arc<dyn Post>,
        protocol: Protocol,
        names: PeerNames,
    ) -> Arc<dyn Post> {
        let everybody = self.traffic(EVERYBODY, protocol.name(), Direction::Out);
        let by_peer = self.by_peer(protocol, Direction::Out, names);
        Arc::new(CountedPost { inner: post, by_peer, everybody })
    }

    /// `receive`, with what it hears counted, and what it refuses.
    #[must_use]
    pub fn counted_receive(
        self: &Arc<Self>,
        receive: Arc<dyn Receive>,
        protocol: Protocol,
        names: PeerNames,
    ) -> Arc<dyn Receive> {
        self.counted_hear(Arc::new(Plain(receive)), protocol, names)
    }

    fn counted_hear(
        self: &Arc<Self>,
        inner: Arc<impl Hear>,
        protocol: Protocol,
        names: PeerNames,
    ) -> Arc<dyn Receive> {
        Arc::new(Counted { inner, by_peer: self.by_peer(protocol, Direction::In, names) })
    }

    fn by_peer(self: &Arc<Self>, protocol: Protocol, direction: Direction, names: PeerNames) -> ByPeer {
        ByPeer { meters: self.clone(), names, protocol, direction, known: RwLock::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bletchley_primitives::B256;

    struct Picky;

    impl Receive for Picky {
        fn receive(&self, _from: PeerId, message: Bytes) -> Result<(), Nonsense> {
            if message.len() == 3 { Ok(()) } else { Err(Nonsense("not three bytes".to_owned())) }
        }
    }

    struct Sink;

    impl Post for Sink {
        fn send(&self, to: To, _message: Bytes) -> bool {
            to == To::All
        }
    }

    #[test]
    fn what_passes_is_counted_and_what_is_refused_names_its_sender() {
        let meters = Arc::new(Meters::new());
        let bank = PeerId(B256::repeat_byte(1));
        let names: PeerNames = Arc::new(move |peer| (peer == bank).then(|| "bank-b".to_owned()));
        let receive = meters.counted_receive(Arc::new(Picky), Protocol::Sync, names.clone());
        assert!(receive.receive(bank, Bytes::from_static(b"abc")).is_ok());
        assert!(receive.receive(bank, Bytes::from_static(b"abcd")).is_err());
        assert!(receive.receive(PeerId(B256::repeat_byte(2)), Bytes::from_static(b"abc")).is_ok());
        let post = meters.counted_post(Arc::new(Sink), Protocol::Sync, names);
        assert!(post.send(To::All, Bytes::from_static(b"12345")));
        assert!(!post.send(To::One(bank), Bytes::from_static(b"1")));
        let text = meters.render();
        for line in [
            "bletchley_net_messages_total{peer=\"bank-b\",protocol=\"sync\",direction=\"in\"} 2",
            "bletchley_net_message_bytes_total{peer=\"bank-b\",protocol=\"sync\",direction=\"in\"} 7",
            "bletchley_net_messages_total{peer=\"other\",protocol=\"sync\",direction=\"in\"} 1",
            "bletchley_net_message_bytes_total{peer=\"all\",protocol=\"sync\",direction=\"out\"} 5",
            "bletchley_net_refused_total{peer=\"bank-b\",reason=\"nonsense\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
    }
}
