//! The write-ahead log of the height that is being decided: what this member said and saw is durable before it speaks,
//! so that after a crash it says nothing else.
//!
//! Two files take turns, by the height's parity; each height begins at the front of its file. A record is its length,
//! a check and its bytes. The check covers the height and the check before it, so that reading stops at the end, at a
//! torn write, and at what is left of an older height.

use crate::codec::{Decoded, Malformed, Reader, Writer};
use crate::context::{At, Digest, Voter};
use crate::core::Entry;
use crate::message::payload;
use arc_malachitebft_core_consensus::{Input, ProposedValue};
use arc_malachitebft_core_types::{Round, Timeout, TimeoutKind, Validity, ValueOrigin};
use bletchley_consensus::{Payload, PeerId};
use bletchley_crypto::Domain;
use commonware_runtime::{Blob, Error, ReadOptions, Storage, WriteOptions};

const CHECK_DOMAIN: Domain = Domain("bletchley/tendermint/log/1");
/// Bytes before each record: length and check.
const FRAME_SIZE_BYTES: usize = 12;
/// Longest record: a payload.
const RECORD_SIZE_BYTES_MAX: usize = Payload::SIZE_BYTES_MAX + 16;

/// One record.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// An input of the rules.
    Entry(Entry),
    /// A payload that this member proposed or found valid: it may be locked on it.
    Payload(Payload),
}

impl Record {
    /// None for inputs that need not survive.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut to = Writer::default();
        match self {
            Self::Entry(Input::Vote(vote)) => to.byte(1).vote(vote),
            Self::Entry(Input::Proposal(proposal)) => to.byte(2).proposal(proposal),
            Self::Entry(Input::PolkaCertificate(polka)) => to.byte(3).polka(polka),
            Self::Entry(Input::TimeoutElapsed(timeout)) => {
                let kind = match timeout.kind {
                    TimeoutKind::Propose => 0,
                    TimeoutKind::Prevote => 1,
                    TimeoutKind::Precommit => 2,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
                };
                to.byte(4).byte(kind).round(timeout.round)
            }
            Self::Entry(Input::ProposedValue(value, _)) => {
                let valid_round = u64::try_from(value.valid_round.as_i64().saturating_add(1)).unwrap_or(0);
                to.byte(5).height(value.height).round(value.round).height(At(valid_round));
                to.put(value.proposer.0.0).put(value.value.0).byte(u8::from(value.validity.is_valid()))
            }
            Self::Entry(_) => return None,
            Self::Payload(payload) => to.byte(6).put(alloy_rlp::encode(payload)),
        };
        Some(to.0)
    }

    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut from = Reader(bytes);
        let record = match from.byte()? {
            1 => Self::Entry(Input::Vote(from.vote()?)),
            2 => Self::Entry(Input::Proposal(from.proposal()?)),
            3 => Self::Entry(Input::PolkaCertificate(from.polka()?)),
            4 => {
                let kind = match from.byte()? {
                    0 => TimeoutKind::Propose,
                    1 => TimeoutKind::Prevote,
                    2 => TimeoutKind::Precommit,
                    _ => return Err(Malformed),
                };
                Self::Entry(Input::TimeoutElapsed(Timeout::new(from.round()?, kind)))
            }
            5 => {
                let (height, round, valid_round) = (from.height()?, from.round()?, from.u64()?);
                let valid_round = valid_round.checked_sub(1).and_then(|round| u32::try_from(round).ok());
                let (proposer, value) = (Voter(PeerId(from.hash()?)), Digest(from.hash()?));
                let validity = Validity::from_bool(from.byte()? == 1);
                let valid_round = valid_round.map_or(Round::Nil, Round::Some);
                let value = ProposedValue { height, round, valid_round, proposer, value, validity };
                Self::Entry(Input::ProposedValue(value, ValueOrigin::Consensus))
            }
            6 => Self::Payload(payload(from.rest())?),
            _ => return Err(Malformed),
        };
        from.end().map(|()| record)
    }
}

/// The log of one ledger.
pub(crate) struct Wal<B> {
    even: B,
    odd: B,
    height: u64,
    offset: u64,
    check: [u8; 8],
    unsynced: bool,
}

fn check(height: u64, before: [u8; 8], bytes: &[u8]) -> [u8; 8] {
    let digest = CHECK_DOMAIN.digest(&[&height.to_be_bytes(), &before, bytes]);
    digest.first_chunk().copied().unwrap_or_default()
}

async fn read<B: Blob>(blob: &B, size: u64, offset: u64, len: usize) -> Option<Vec<u8>> {
    if offset.checked_add(len as u64)? > size {
        return None;
    }
    let read = blob.read_at(offset, len, ReadOptions::default()).await.ok()?;
    Some(read.coalesce().as_ref().to_vec())
}

impl<B: Blob> Wal<B> {
    /// Opens the log at a height, and says what it holds of it.
    pub(crate) async fn open<E>(
        context: &E,
        partition: &str,
        height: u64,
    ) -> Result<(Self, Vec<Record>), Error>
    where
        E: Storage<Blob = B>,
    {
        let (even, even_size) = context.open(partition, b"even").await?;
        let (odd, odd_size) = context.open(partition, b"odd").await?;
        let mut wal = Self { even, odd, height, offset: 0, check: [0; 8], unsynced: false };
        let size = if height.is_multiple_of(2) { even_size } else { odd_size };
        let mut records = Vec::new();
        while let Some((record, next, sum)) = wal.next(size).await {
            records.push(record);
            (wal.offset, wal.check) = (next, sum);
        }
        Ok((wal, records))
    }

    const fn blob(&self) -> &B {
        if self.height.is_multiple_of(2) { &self.even } else { &self.odd }
    }

    async fn next(&self, size: u64) -> Option<(Record, u64, [u8; 8])> {
        let frame = read(self.blob(), size, self.offset, FRAME_SIZE_BYTES).await?;
        let mut frame = Reader(&frame);
        let len = usize::try_from(u32::from_be_bytes(frame.array().ok()?)).ok()?;
        let sum: [u8; 8] = frame.array().ok()?;
        if len == 0 || len > RECORD_SIZE_BYTES_MAX {
            return None;
        }
        let at = self.offset.checked_add(FRAME_SIZE_BYTES as u64)?;
        let bytes = read(self.blob(), size, at, len).await?;
        if check(self.height, self.check, &bytes) != sum {
            return None;
        }
        Some((Record::decode(&bytes).ok()?, at.checked_add(len as u64)?, sum))
    }

    /// Forgets the height before; its records are overwritten two heights later.
    pub(crate) const fn begin(&mut self, height: u64) {
        self.height = height;
        self.offset = 0;
        self.check = [0; 8];
        self.unsynced = false;
    }

    /// Appends records; they are durable after [`Wal::sync`].
    pub(crate) async fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut to = Writer::default();
        for bytes in records.iter().filter_map(Record::encode) {
            self.check = check(self.height, self.check, &bytes);
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            to.put(len.to_be_bytes()).put(self.check).put(bytes);
        }
        if to.0.is_empty() {
            return Ok(());
        }
        let (at, len) = (self.offset, to.0.len() as u64);
        // A length of zero ends the log, so that what stood there before is not read again.
        to.put([0; FRAME_SIZE_BYTES]);
        self.blob().write_at(at, to.0, WriteOptions::default()).await?;
        self.offset = at.saturating_add(len);
        self.unsynced = true;
        Ok(())
    }

    /// Makes what was appended durable.
    pub(crate) async fn sync(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.unsynced) {
            self.blob().sync().await?;
        }
        Ok(())
    }
}
