//! A block as engines agree on it: linked by a digest that covers every byte, so that nobody can pass off another body
//! or delegation record under the same header.

use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_ledger::Block;
use bletchley_primitives::{B256, Bytes, Height, LedgerId};

const GENESIS_DOMAIN: Domain = Domain("bletchley/consensus/genesis/1");
const PAYLOAD_DOMAIN: Domain = Domain("bletchley/consensus/payload/1");

/// A block with its place in the chain of payloads.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Payload {
    /// Digest of the payload before it; of the genesis payload, [`Payload::genesis`].
    pub parent: B256,
    /// Height of the block.
    pub height: Height,
    /// The machine's header.
    pub header: Bytes,
    /// The transactions.
    pub body: Bytes,
    /// The extension.
    pub extension: Bytes,
}

impl Payload {
    /// Longest encoding that is decoded.
    pub const SIZE_BYTES_MAX: usize = 28 << 20;

    /// The payload of a block that follows the payload `parent`.
    #[must_use]
    pub fn new(parent: B256, height: Height, block: Block) -> Self {
        let Block { header, body, extension } = block;
        Self { parent, height, header, body, extension }
    }

    /// Digest of the genesis payload of a ledger: there is nothing to agree on but which ledger it is.
    #[must_use]
    pub fn genesis(ledger: LedgerId) -> B256 {
        GENESIS_DOMAIN.digest(&[ledger.0.as_slice()])
    }

    /// Digest over everything.
    #[must_use]
    pub fn digest(&self) -> B256 {
        PAYLOAD_DOMAIN.digest(&[
            self.parent.as_slice(),
            &self.height.0.to_be_bytes(),
            &self.header,
            &self.body,
            &self.extension,
        ])
    }

    /// The block in it.
    #[must_use]
    pub fn block(&self) -> Block {
        Block { header: self.header.clone(), body: self.body.clone(), extension: self.extension.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_digest() {
        let part = |text: &'static str| Bytes::from_static(text.as_bytes());
        let block = Block { header: part("h"), body: part("b"), extension: part("e") };
        let payload = Payload::new(Payload::genesis(LedgerId::default()), Height(1), block);
        let mut digests = vec![payload.digest()];
        for change in [
            Payload { parent: B256::ZERO, ..payload.clone() },
            Payload { height: Height(2), ..payload.clone() },
            Payload { header: part("hb"), body: part(""), ..payload.clone() },
            Payload { body: part("c"), ..payload.clone() },
            Payload { extension: part("f"), ..payload.clone() },
        ] {
            digests.push(change.digest());
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 6);
    }
}
