//! The members of one ledger: nothing of it reaches others, nothing of others reaches it.

use crate::key::peer_id;
use bletchley_consensus::PeerId;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{LimitedSender, Message, Receiver, Recipients, Sender};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

/// Who hears and says what about a ledger; changes while it runs.
#[derive(Clone, Debug, Default)]
pub struct Circle(Arc<RwLock<BTreeMap<PeerId, PublicKey>>>);

impl Circle {
    /// A circle of these peers; ids that are no keys are left out, for nobody could prove them.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = PeerId>) -> Self {
        let circle = Self::default();
        circle.set(peers);
        circle
    }

    /// Replaces the peers.
    pub fn set(&self, peers: impl IntoIterator<Item = PeerId>) {
        let peers = peers.into_iter().filter_map(|id| crate::public_key(id).map(|key| (id, key))).collect();
        *self.0.write() = peers;
    }

    /// Whether a peer belongs to it.
    #[must_use]
    pub fn has(&self, peer: &PublicKey) -> bool {
        self.0.read().contains_key(&peer_id(peer))
    }

    fn narrow(&self, recipients: Recipients<PublicKey>) -> Recipients<PublicKey> {
        match recipients {
            Recipients::All => Recipients::Some(self.0.read().values().cloned().collect()),
            Recipients::Some(mut peers) => {
                peers.retain(|peer| self.has(peer));
                Recipients::Some(peers)
            }
            Recipients::One(peer) if self.has(&peer) => Recipients::One(peer),
            Recipients::One(_) => Recipients::Some(Vec::new()),
        }
    }
}

/// Sends to the circle only.
#[derive(Clone, Debug)]
pub struct Inside<S> {
    inner: S,
    circle: Circle,
}

impl<S> Inside<S> {
    pub(crate) const fn new(inner: S, circle: Circle) -> Self {
        Self { inner, circle }
    }
}

impl<S: Sender<PublicKey = PublicKey>> LimitedSender for Inside<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = S::Checked<'a>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        self.inner.check(self.circle.narrow(recipients))
    }
}

/// Hears the circle only.
#[derive(Debug)]
pub struct InsideReceiver<R> {
    inner: R,
    circle: Circle,
}

impl<R> InsideReceiver<R> {
    pub(crate) const fn new(inner: R, circle: Circle) -> Self {
        Self { inner, circle }
    }
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for InsideReceiver<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            let message = self.inner.recv().await?;
            if self.circle.has(&message.0) {
                return Ok(message);
            }
            tracing::debug!(peer = %message.0, "net.outsider");
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}
