//! A node's key on the network.

use bletchley_consensus::PeerId;
use bletchley_primitives::B256;
use commonware_codec::{DecodeExt, Encode};
use commonware_cryptography::Signer;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use std::fmt;

/// Bytes of a secret key (RFC 8032).
pub const SEED_SIZE_BYTES: usize = 32;

/// The ed25519 key (RFC 8032) that a node proves in every handshake, and signs its votes with.
#[derive(Clone)]
pub struct PeerKey(PrivateKey);

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerKey").field(&self.id()).finish()
    }
}

impl PeerKey {
    /// The key with this seed; none when the bytes are no key.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_SIZE_BYTES]) -> Option<Self> {
        PrivateKey::decode(seed.to_vec()).ok().map(Self)
    }

    /// Its public half.
    #[must_use]
    pub fn id(&self) -> PeerId {
        peer_id(&self.0.public_key())
    }

    /// As the engines' libraries want it.
    #[must_use]
    pub fn signer(&self) -> PrivateKey {
        self.0.clone()
    }
}

/// The public key of a peer; none when its id is no point on the curve.
#[must_use]
pub fn public_key(peer: PeerId) -> Option<PublicKey> {
    PublicKey::decode(peer.0.to_vec()).ok()
}

/// The id of a public key.
#[must_use]
pub fn peer_id(key: &PublicKey) -> PeerId {
    let bytes = key.encode();
    PeerId(B256::try_from(bytes.as_ref()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_of_rfc_8032() {
        let hex = |text: &str| text.parse::<B256>().unwrap();
        let secret = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = PeerKey::from_seed(&secret.0).unwrap();
        assert_eq!(key.id(), PeerId(public));
        assert_eq!(peer_id(&public_key(key.id()).unwrap()), key.id());
        assert!(!format!("{key:?}").contains("9d61"));
    }
}
