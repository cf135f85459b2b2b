//! A payload as commonware's stack carries it.

use bletchley_consensus::Payload;
use bletchley_primitives::{B256, Height, LedgerId, decode_bounded};
use bytes::BufMut;
use commonware_codec::{Buf, EncodeSize, Error as CodecError, RangeCfg, Read, Write};
use commonware_consensus::Heightable;
use commonware_cryptography::sha256::Digest;
use commonware_cryptography::{Digested, Digestible};
use std::sync::Arc;

/// A payload with its canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    payload: Arc<Payload>,
    bytes: Arc<Vec<u8>>,
}

/// A digest of ours as the stack's type.
pub(crate) const fn digest_of(digest: B256) -> Digest {
    Digest(digest.0)
}

/// A digest of the stack's as ours.
pub(crate) const fn b256_of(digest: &Digest) -> B256 {
    B256::new(digest.0)
}

impl Sealed {
    /// The payload, ready to travel; none when it is longer than any member accepts.
    #[must_use]
    pub fn new(payload: Payload) -> Option<Self> {
        let bytes = alloy_rlp::encode(&payload);
        (bytes.len() <= Payload::SIZE_BYTES_MAX)
            .then(|| Self { payload: Arc::new(payload), bytes: Arc::new(bytes) })
    }

    /// What every ledger starts from: nothing, in the name of the ledger.
    pub(crate) fn genesis(ledger: LedgerId) -> Digested<Self> {
        let payload = Payload::new(ledger.0, Height(0), bletchley_ledger::Block::default());
        let bytes = Arc::new(alloy_rlp::encode(&payload));
        let genesis = Self { payload: Arc::new(payload), bytes };
        Digested::precomputed(genesis, digest_of(Payload::genesis(ledger)))
    }

    /// Whether only a genesis could stand at this height, and this is none.
    fn is_false_genesis(payload: &Payload) -> bool {
        payload.height == Height(0) && payload.block() != bletchley_ledger::Block::default()
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl Write for Sealed {
    fn write(&self, buf: &mut impl BufMut) {
        self.bytes.write(buf);
    }
}

impl EncodeSize for Sealed {
    fn encode_size(&self) -> usize {
        self.bytes.encode_size()
    }
}

impl Read for Sealed {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        let bytes = Vec::<u8>::read_cfg(buf, &(RangeCfg::new(0..=Payload::SIZE_BYTES_MAX), ()))?;
        let payload = decode_bounded(&bytes, Payload::SIZE_BYTES_MAX)
            .map_err(|_| CodecError::Invalid("payload", "it is no canonical payload"))?;
        if Self::is_false_genesis(&payload) {
            return Err(CodecError::Invalid("payload", "a genesis is empty"));
        }
        Ok(Self { payload: Arc::new(payload), bytes: Arc::new(bytes) })
    }
}

impl Digestible for Sealed {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        // The stack keeps the genesis as any other block, and takes its digest again when it reads it back.
        match self.payload.height {
            Height(0) => digest_of(Payload::genesis(LedgerId(self.payload.parent))),
            _ => digest_of(self.payload.digest()),
        }
    }
}

impl Heightable for Sealed {
    fn height(&self) -> commonware_consensus::types::Height {
        commonware_consensus::types::Height::new(self.payload.height.0)
    }
}

impl commonware_consensus::Block for Sealed {
    fn parent(&self) -> Digest {
        digest_of(self.payload.parent)
    }
}
