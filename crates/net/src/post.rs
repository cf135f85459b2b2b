//! Channels as the parts beside the engines see them: synchronous, without a runtime.

use crate::key::{peer_id, public_key};
use bletchley_consensus::{Post, Protocol, Receive, To};
use bletchley_primitives::Bytes;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::{Handle, Spawner};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Senseless messages after which a peer is cut off for a while.
const NONSENSE_MAX: u32 = 16;

struct Mailbag<S> {
    protocol: Protocol,
    sender: Mutex<S>,
}

impl<S: Sender<PublicKey = PublicKey>> Post for Mailbag<S> {
    fn send(&self, to: To, message: Bytes) -> bool {
        if message.len() > self.protocol.size_bytes_max() {
            tracing::warn!(protocol = self.protocol.name(), size_bytes = message.len(), "net.too_long");
            return false;
        }
        let recipients = match to {
            To::All => Recipients::All,
            To::One(peer) => match public_key(peer) {
                Some(key) => Recipients::One(key),
                None => return false,
            },
        };
        !self.sender.lock().send(recipients, message.0, false).is_empty()
    }
}

/// A [`Post`] over a channel.
pub fn post<S: Sender<PublicKey = PublicKey>>(protocol: Protocol, sender: S) -> Arc<dyn Post> {
    Arc::new(Mailbag { protocol, sender: Mutex::new(sender) })
}

/// Gives every message of a channel to `receive`, until the handle is aborted or the network ends.
pub fn listen<E, R, B>(
    context: E,
    protocol: Protocol,
    mut receiver: R,
    mut blocker: B,
    receive: Arc<dyn Receive>,
) -> Handle<()>
where
    E: Spawner,
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    context.spawn(move |_| async move {
        let mut nonsense: BTreeMap<PublicKey, u32> = BTreeMap::new();
        while let Ok((peer, message)) = receiver.recv().await {
            let message = Bytes(message.into());
            if message.len() > protocol.size_bytes_max() {
                let _ = blocker.block(peer);
                continue;
            }
            if let Err(problem) = receive.receive(peer_id(&peer), message) {
                let count = nonsense.entry(peer.clone()).or_default();
                *count += 1;
                tracing::warn!(%peer, protocol = protocol.name(), %problem, count, "net.nonsense");
                if *count >= NONSENSE_MAX {
                    *count = 0;
                    let _ = blocker.block(peer);
                }
            }
        }
    })
}
