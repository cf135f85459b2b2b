//! Answers members that are behind, out of this member's own ledger: so much at a time for each of them.

use bletchley_consensus::{PeerId, Post, To};
use bletchley_crypto::Domain;
use bletchley_ledger::{
    BlockParts, Blocks, Certificate, Finality, FinalityReadError, FinalityReader, Headers, HeightRange,
    Piece, RangeDigest, ReadError, Section, SharedStore, StoredFinality, SyncMessage, WantBlocks, WantPiece,
};
use bletchley_primitives::{B256, Bytes, Height};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::OnceLock;

/// Questions of one member that wait for an answer; further ones are lost, and asked again by whoever wants to know.
const QUESTIONS_OF_PEER_MAX: usize = 12;
/// Questions that wait in all.
const QUESTIONS_MAX: usize = 128;
/// Bytes of blocks in one answer, beyond its first block.
const ANSWER_SIZE_BYTES: usize = 1 << 20;
/// Longest piece of a long block in one message.
const PIECE_SIZE_BYTES: usize = 3 << 20;
/// Bytes of headers and certificates in one answer.
const HEADERS_SIZE_BYTES_MAX: usize = 3 << 20;
/// Certificates before the last one that are sent along: they show who took part lately.
const RECENT_CERTIFICATES: usize = 16;

const DIGEST_DOMAIN: Domain = Domain("bletchley/sync/receipts/1");

/// Digest over receipts of blocks in a row.
pub(super) fn receipts_digest<'a>(receipts: impl Iterator<Item = &'a Bytes>) -> B256 {
    let all: Vec<&[u8]> = receipts.map(|receipts| receipts.as_ref()).collect();
    DIGEST_DOMAIN.digest(&all)
}

/// Where certificates are, once they are gathered.
pub(crate) trait Certified: FinalityReader {
    /// The newest height with a certificate.
    fn certified(&self) -> Height;
}

#[derive(Default)]
struct Questions {
    waiting: VecDeque<(PeerId, SyncMessage)>,
    of_peer: BTreeMap<PeerId, usize>,
    stop: bool,
}

/// The server of one ledger.
pub(crate) struct Server {
    store: SharedStore,
    epoch_blocks: u64,
    certified: OnceLock<Arc<dyn Certified>>,
    questions: Mutex<Questions>,
    changed: Condvar,
}

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Finality(#[from] FinalityReadError),
}

impl Server {
    /// A server of what stands in `store`.
    pub(crate) fn new(store: SharedStore, epoch_blocks: u64) -> Self {
        Self {
            store,
            epoch_blocks: epoch_blocks.max(1),
            certified: OnceLock::new(),
            questions: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Where its certificates are from now on.
    pub(crate) fn certified_by(&self, certified: Arc<dyn Certified>) {
        let _ = self.certified.set(certified);
    }

    /// The newest block, and the newest certified one.
    pub(super) fn reach(&self) -> (Height, Height) {
        let head = self.store.head().map(|head| head.height).unwrap_or_default();
        (head, self.certified.get().map(|certified| certified.certified()).unwrap_or_default())
    }

    /// Takes a question in.
    pub(super) fn ask(&self, from: PeerId, question: SyncMessage) {
        let mut questions = self.questions.lock();
        let waiting = questions.of_peer.get(&from).copied().unwrap_or_default();
        if waiting >= QUESTIONS_OF_PEER_MAX || questions.waiting.len() >= QUESTIONS_MAX {
            return;
        }
        questions.of_peer.insert(from, waiting + 1);
        questions.waiting.push_back((from, question));
        drop(questions);
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.questions.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits for a question and answers it; false when it is over.
    pub(super) fn answer_next(&self, post: &dyn Post) -> bool {
        let mut questions = self.questions.lock();
        let (from, question) = loop {
            if questions.stop {
                return false;
            }
            match questions.waiting.pop_front() {
                Some(question) => break question,
                None => self.changed.wait(&mut questions),
            }
        };
        if let Some(waiting) = questions.of_peer.get_mut(&from) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                questions.of_peer.remove(&from);
            }
        }
        drop(questions);
        match self.answer(&question) {
            Ok(answer) => {
                post.send(To::One(from), answer.encode());
            }
            Err(error) => tracing::warn!(%error, "sync.answer: another member gets no answer"),
        }
        true
    }

    fn answer(&self, question: &SyncMessage) -> Result<SyncMessage, AnswerError> {
        match question {
            SyncMessage::WantProof => self.proof(),
            SyncMessage::WantHeaders(range) => self.headers(*range),
            SyncMessage::WantBlocks(wanted) => self.blocks(*wanted),
            SyncMessage::WantPiece(wanted) => self.piece(*wanted),
            SyncMessage::WantDigest(range) => self.digest(*range),
            _ => Ok(SyncMessage::Missing(Height(0))),
        }
    }

    fn proof(&self) -> Result<SyncMessage, AnswerError> {
        let Some(certified) = self.certified.get() else { return Ok(SyncMessage::Missing(Height(0))) };
        let newest = certified.certified();
        let proof = certified.prove(newest)?;
        Ok(proof.map_or(SyncMessage::Missing(newest), |proof| SyncMessage::Proof(Box::new(proof))))
    }

    fn certificate(&self, height: Height) -> Result<Option<Certificate>, AnswerError> {
        Ok(match self.certified.get() {
            Some(certified) => certified.certificate(height)?,
            None => StoredFinality::new(self.store.clone()).certificate(height)?,
        })
    }

    fn headers(&self, range: HeightRange) -> Result<SyncMessage, AnswerError> {
        let HeightRange { from, to } = range;
        let mut certificates = Vec::new();
        let mut recent = 0;
        let mut last = Height(0);
        for height in (from.0..=to.0).rev().map(Height) {
            let is_end = height.0.is_multiple_of(self.epoch_blocks);
            if recent > RECENT_CERTIFICATES && !is_end {
                continue;
            }
            if let Some(certificate) = self.certificate(height)? {
                last = last.max(height);
                recent += 1;
                certificates.push(certificate);
            }
        }
        certificates.reverse();
        certificates.truncate(SyncMessage::CERTIFICATES_MAX);
        let mut headers = Vec::new();
        for height in from.0..=last.0 {
            let Some(header) = self.store.section(Height(height), Section::Header)? else { break };
            headers.push(header);
        }
        let size = headers.iter().map(|header| header.len()).sum::<usize>()
            + certificates.iter().map(alloy_rlp::Encodable::length).sum::<usize>();
        if size > HEADERS_SIZE_BYTES_MAX && to > from {
            // Long headers are rare: a shorter stretch, which a certificate ends as well, does.
            let half = Height(from.0 + (to.0 - from.0) / 2);
            return self.headers(HeightRange { from, to: half });
        }
        if headers.is_empty() {
            return Ok(SyncMessage::Missing(from));
        }
        Ok(SyncMessage::Headers(Headers { from, headers, certificates }))
    }

    fn parts(&self, height: Height, results: bool) -> Result<Option<BlockParts>, AnswerError> {
        let section = |section| self.store.section(height, section);
        let (body, extension, certificate) =
            (section(Section::Body)?, section(Section::Extension)?, section(Section::Certificate)?);
        let (Some(body), Some(extension), Some(certificate)) = (body, extension, certificate) else {
            return Ok(None);
        };
        let seal = Finality::decode(&certificate).map(|finality| finality.seal).unwrap_or_default();
        let (receipts, diff) = if results {
            (section(Section::Receipts)?.unwrap_or_default(), section(Section::Diff)?.unwrap_or_default())
        } else {
            (Bytes::new(), Bytes::new())
        };
        Ok(Some(BlockParts { body, extension, seal, receipts, diff }))
    }

    fn blocks(&self, wanted: WantBlocks) -> Result<SyncMessage, AnswerError> {
        let HeightRange { from, to } = wanted.range;
        let (mut blocks, mut size) = (Vec::new(), 0);
        for height in from.0..=to.0 {
            let Some(parts) = self.parts(Height(height), wanted.results == 1)? else { break };
            let next = alloy_rlp::Encodable::length(&parts);
            if blocks.is_empty() && next > PIECE_SIZE_BYTES {
                return Ok(piece_of(&parts, from, 0));
            }
            if !blocks.is_empty() && size + next > ANSWER_SIZE_BYTES {
                break;
            }
            size += next;
            blocks.push(parts);
        }
        if blocks.is_empty() {
            return Ok(SyncMessage::Missing(from));
        }
        Ok(SyncMessage::Blocks(Blocks { from, blocks }))
    }

    fn piece(&self, wanted: WantPiece) -> Result<SyncMessage, AnswerError> {
        let parts = self.parts(wanted.height, wanted.results == 1)?;
        let offset = usize::try_from(wanted.offset).unwrap_or(usize::MAX);
        Ok(parts.map_or(SyncMessage::Missing(wanted.height), |parts| piece_of(&parts, wanted.height, offset)))
    }

    fn digest(&self, range: HeightRange) -> Result<SyncMessage, AnswerError> {
        let mut all = Vec::new();
        for height in range.from.0..=range.to.0 {
            let Some(receipts) = self.store.section(Height(height), Section::Receipts)? else {
                return Ok(SyncMessage::Missing(Height(height)));
            };
            all.push(receipts);
        }
        Ok(SyncMessage::Digest(RangeDigest { range, digest: receipts_digest(all.iter()) }))
    }
}

fn piece_of(parts: &BlockParts, height: Height, offset: usize) -> SyncMessage {
    let whole: Bytes = alloy_rlp::encode(parts).into();
    let end = offset.saturating_add(PIECE_SIZE_BYTES).min(whole.len());
    match whole.get(offset..end) {
        Some(bytes) if !bytes.is_empty() => SyncMessage::Piece(Piece {
            height,
            offset: offset as u64,
            size_bytes: whole.len() as u64,
            bytes: Bytes::copy_from_slice(bytes),
        }),
        _ => SyncMessage::Missing(height),
    }
}
