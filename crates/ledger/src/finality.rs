//! Proofs that a block is final, from the genesis document's validators alone: certificates that lead from set to set,
//! and headers that lead from a block to a certified one.

use crate::{Certificate, CertificateError, ReadError, TableError, ValidatorSet};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_primitives::{B256, BlockHash, Bytes, DecodeError, Height, LedgerId, decode_bounded};

/// Small table of a store in which certificates stand by height (eight bytes, big-endian).
pub const CERTIFICATES_TABLE: &str = "certificates";

/// A change of validators: the last block that the old set certified, and the new set, which that block's checkpoint names.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SetChange {
    /// By the old set; its checkpoint names the new one as next.
    pub certificate: Certificate,
    /// The new set.
    pub next: ValidatorSet,
}

/// What a header says about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLink {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Hash of the header before it.
    pub parent: BlockHash,
    /// State commitment after its block.
    pub state: B256,
}

/// Shows that a block is final.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct FinalityProof {
    /// Changes of validators since genesis, in order.
    pub changes: Vec<SetChange>,
    /// Headers from the block to the certified one, in order: one, if the block itself is certified.
    pub headers: Vec<Bytes>,
    /// Certificate of the last of these headers.
    pub certificate: Certificate,
}

/// A block that is final, as a proof shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedBlock {
    /// Its header.
    pub header: Bytes,
    /// What the header says about its place.
    pub link: HeaderLink,
    /// Height of the block whose certificate makes it final.
    pub certified: Height,
    /// How many validators signed.
    pub signatures: usize,
    /// The set that they are of.
    pub validators: ValidatorSet,
}

/// Why a proof does not show that its block is final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinalityProofError {
    /// Not the canonical encoding of a proof, or of a header in it.
    #[error("the proof of finality does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// A certificate does not hold.
    #[error("the certificate of block {height}: {source}")]
    Certificate {
        /// Height of the certified block.
        height: Height,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A certificate is for another ledger.
    #[error("the certificate of block {0} is for another ledger")]
    Ledger(Height),
    /// A set change does not come after the one before it, or names another set than the checkpoint does.
    #[error("the change of validators after block {0} does not follow from the certificates before it")]
    Change(Height),
    /// Too many, or no, headers.
    #[error("{0} headers; a proof has between 1 and {max}", max = FinalityProof::HEADERS_MAX)]
    Headers(usize),
    /// A header does not follow the one before it.
    #[error("the header at {0} does not follow the one before it")]
    Link(Height),
    /// The last header is not what the validators certified.
    #[error("the certificate is for another block than the header at {0}")]
    Another(Height),
}

impl FinalityProof {
    /// Longest encoding that is decoded.
    pub const SIZE_BYTES_MAX: usize = 8 << 20;
    /// Most headers between a block and a certified one.
    pub const HEADERS_MAX: usize = 1_024;

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(self).into()
    }

    /// The proof in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_bounded(bytes, Self::SIZE_BYTES_MAX)
    }

    /// Checks everything, starting from the validators of the genesis document. `read` reads a header as the ledger's
    /// machine defines it.
    ///
    /// # Errors
    /// [`FinalityProofError`].
    pub fn verify(
        &self,
        ledger: LedgerId,
        genesis: &ValidatorSet,
        read: impl Fn(&[u8]) -> Result<HeaderLink, DecodeError>,
    ) -> Result<ProvedBlock, FinalityProofError> {
        let (mut set, mut last) = (genesis, Height(0));
        let checked = |certificate: &Certificate, set: &ValidatorSet, after: Height| {
            let height = certificate.checkpoint.height;
            if certificate.checkpoint.ledger != ledger {
                return Err(FinalityProofError::Ledger(height));
            }
            if height <= after {
                return Err(FinalityProofError::Change(height));
            }
            certificate.verify(set).map_err(|source| FinalityProofError::Certificate { height, source })
        };
        for change in &self.changes {
            checked(&change.certificate, set, last)?;
            last = change.certificate.checkpoint.height;
            if change.certificate.checkpoint.next != change.next.digest() {
                return Err(FinalityProofError::Change(last));
            }
            set = &change.next;
        }
        checked(&self.certificate, set, last)?;
        if self.headers.len() > Self::HEADERS_MAX {
            return Err(FinalityProofError::Headers(self.headers.len()));
        }
        let Some((first, rest)) = self.headers.split_first() else {
            return Err(FinalityProofError::Headers(0));
        };
        let link = read(first)?;
        let mut top = link;
        for header in rest {
            let next = read(header)?;
            if next.parent != top.hash || next.height != top.height.next() {
                return Err(FinalityProofError::Link(next.height));
            }
            top = next;
        }
        let checkpoint = &self.certificate.checkpoint;
        if (checkpoint.height, checkpoint.block, checkpoint.state) != (top.height, top.hash, top.state) {
            return Err(FinalityProofError::Another(top.height));
        }
        Ok(ProvedBlock {
            header: first.clone(),
            link,
            certified: top.height,
            signatures: self.certificate.signatures.len(),
            validators: set.clone(),
        })
    }
}

/// Why a certificate or a proof could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FinalityReadError {
    /// The ledger's data.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The table of certificates.
    #[error(transparent)]
    Table(#[from] TableError),
    /// What stands there is no certificate.
    #[error("the certificate of block {height} is damaged: {source}")]
    Damaged {
        /// Height of the block.
        height: Height,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// Where the certificates of one ledger are read.
pub trait FinalityReader: Send + Sync {
    /// The certificate of the block at `height`; none while it has none of its own.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError>;

    /// The header of a block.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    fn header(&self, height: Height) -> Result<Option<Bytes>, FinalityReadError>;

    /// The last height whose certificate may stand for `height`: the end of its epoch, or the head.
    fn covered_until(&self, height: Height) -> Height;

    /// Heights below `height` after which the validators changed, each with the new set, in order.
    fn changes(&self, height: Height) -> Vec<(Height, ValidatorSet)>;

    /// The lowest certificate that makes the block at `height` final.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    fn covering(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        for height in height.0..=self.covered_until(height).0 {
            if let Some(certificate) = self.certificate(Height(height))? {
                return Ok(Some(certificate));
            }
        }
        Ok(None)
    }

    /// Everything that shows an outsider that the block at `height` is final; none while it is not certified.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    fn prove(&self, height: Height) -> Result<Option<FinalityProof>, FinalityReadError> {
        let Some(certificate) = self.covering(height)? else { return Ok(None) };
        let mut changes = Vec::new();
        for (last, next) in self.changes(height) {
            let Some(certificate) = self.certificate(last)? else { return Ok(None) };
            changes.push(SetChange { certificate, next });
        }
        let mut headers = Vec::new();
        for height in height.0..=certificate.checkpoint.height.0 {
            let Some(header) = self.header(Height(height))? else { return Ok(None) };
            headers.push(header);
            if headers.len() > FinalityProof::HEADERS_MAX {
                return Ok(None);
            }
        }
        Ok(Some(FinalityProof { changes, headers, certificate }))
    }
}

/// Reads what stands in a store: certificates beside their blocks, or in the table.
#[derive(Clone)]
pub struct StoredFinality {
    store: crate::SharedStore,
}

impl StoredFinality {
    /// The certificates in `store`, of a ledger whose validators never change.
    #[must_use]
    pub const fn new(store: crate::SharedStore) -> Self {
        Self { store }
    }

    /// The certificate that stands beside a block; ledgers with several validators have theirs in the table.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    pub fn beside(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        match self.store.section(height, crate::Section::Certificate)? {
            Some(section) if !section.is_empty() => {
                let finality = crate::Finality::decode(&section);
                Ok(finality.map_err(|source| FinalityReadError::Damaged { height, source })?.certificate)
            }
            _ => Ok(None),
        }
    }

    /// The certificate that stands in the table.
    ///
    /// # Errors
    /// [`FinalityReadError`].
    pub fn gathered(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        let damaged = |source| FinalityReadError::Damaged { height, source };
        let Some(bytes) = self.store.table_get(CERTIFICATES_TABLE, &height.0.to_be_bytes())? else {
            return Ok(None);
        };
        decode_bounded(&bytes, Certificate::SIZE_BYTES_MAX).map(Some).map_err(damaged)
    }
}

impl FinalityReader for StoredFinality {
    fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        match self.beside(height)? {
            Some(certificate) => Ok(Some(certificate)),
            None => self.gathered(height),
        }
    }

    fn header(&self, height: Height) -> Result<Option<Bytes>, FinalityReadError> {
        Ok(self.store.section(height, crate::Section::Header)?)
    }

    fn covered_until(&self, height: Height) -> Height {
        self.store.head().map_or(height, |head| head.height)
    }

    fn changes(&self, _height: Height) -> Vec<(Height, ValidatorSet)> {
        Vec::new()
    }
}
