//! Frames between a node and its confined workers. Internal: both ends are the same binary. Each side treats what the
//! other sends as hostile: bounded first, then decoded, then checked against what was asked.
//!
//! A frame is `u32(length) || u8(version) || u8(kind) || RLP(fields)`; the length covers what follows it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

use crate::{
    container::{INPUT_SIZE_BYTES_MAX, REASON_SIZE_BYTES_MAX},
    manifest::MANIFEST_SIZE_BYTES_MAX,
    transcript::TRANSCRIPT_SIZE_BYTES_MAX,
};

/// Version of the protocol.
pub(crate) const PROTOCOL_VERSION: u8 = 1;
/// Longest frame to a worker: a call with a full record of its fetches.
pub(crate) const FRAME_SIZE_BYTES_MAX: usize = TRANSCRIPT_SIZE_BYTES_MAX + INPUT_SIZE_BYTES_MAX + 8 * 1024;
/// Longest frame from a worker: an output, its reason, and the names of its fetches.
pub(crate) const ANSWER_SIZE_BYTES_MAX: usize = 128 * 1024;
const _: () = assert!(MANIFEST_SIZE_BYTES_MAX + 1024 <= FRAME_SIZE_BYTES_MAX);

const LENGTH_SIZE_BYTES: usize = 4;
const HEADER_SIZE_BYTES: usize = 2;

/// What a node sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// Make a package ready; its compiled code is behind the descriptor that came with the worker.
    Load(Load),
    /// Run a call.
    Invoke(Box<Invoke>),
    /// What a fetch came to.
    Fetched(FetchedFrame),
    /// Compile the component behind the descriptor that came with the worker.
    Compile(Compile),
}

/// What a worker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromWorker {
    /// The jail is in place.
    Jailed(Jailed),
    /// The package is ready, or where it stopped.
    Loaded(Loaded),
    /// The cryptlet fetches.
    Fetch(Fetch),
    /// The cryptlet says something to the operator.
    Log(Log),
    /// The call is over.
    Answered(Box<Answered>),
}

/// Fields of [`ToWorker::Load`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Load {
    /// Canonical manifest.
    pub(crate) manifest: Bytes,
    /// Length of the compiled code.
    pub(crate) code_size_bytes: u64,
    /// Whether one instance is made for a try.
    pub(crate) rehearse: bool,
}

/// Fields of [`ToWorker::Compile`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Compile {
    /// Length of the component.
    pub(crate) code_size_bytes: u64,
}

/// Fields of [`ToWorker::Invoke`]: an [`Invocation`](crate::container::Invocation) with its budgets decided.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Invoke {
    pub(crate) call_id: B256,
    pub(crate) ledger: B256,
    pub(crate) height: u64,
    pub(crate) block_time_ms: u64,
    pub(crate) as_of_ms: u64,
    pub(crate) caller: Address,
    pub(crate) method: String,
    pub(crate) input: Bytes,
    pub(crate) fuel: u64,
    pub(crate) timeout_ms: u64,
    /// Whether fetches are answered from `record`.
    pub(crate) recorded: bool,
    /// Canonical transcript; empty unless `recorded`.
    pub(crate) record: Bytes,
}

/// Fields of [`ToWorker::Fetched`], as a transcript has them.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct FetchedFrame {
    pub(crate) result: u8,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Fields of [`FromWorker::Jailed`]: what the worker could put around itself.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Jailed {
    /// Whether it is alone in namespaces of its own.
    pub(crate) namespaces: bool,
    /// Whether its root is an empty folder.
    pub(crate) empty_root: bool,
    /// Version of Landlock that is enforced, 0 if none.
    pub(crate) landlock: u8,
    /// Whether a forbidden system call kills it.
    pub(crate) seccomp: bool,
}

/// Fields of [`FromWorker::Loaded`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Loaded {
    /// Empty when the package is ready, else `compile`, `link` or `start`.
    pub(crate) stage: String,
    /// The engine's words.
    pub(crate) reason: String,
}

/// Fields of [`FromWorker::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Fetch {
    pub(crate) source: String,
    pub(crate) path: String,
}

/// Fields of [`FromWorker::Log`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Log {
    pub(crate) level: u8,
    pub(crate) message: String,
}

/// Fields of [`FromWorker::Answered`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Answered {
    /// Code of the status.
    pub(crate) code: u8,
    pub(crate) reason: String,
    pub(crate) output: Bytes,
    pub(crate) fuel_used: u64,
    pub(crate) host_calls_digest: B256,
    /// Source and path of every fetch in order. What came of each the node knows better than the worker.
    pub(crate) fetches: Vec<Fetch>,
}

/// Why a frame was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The other side is gone, or too slow.
    #[error("the channel broke: {0}")]
    Channel(#[from] std::io::Error),
    /// A frame breaks the protocol.
    #[error("a frame breaks the protocol: {0}")]
    Protocol(&'static str),
}

/// A kind of frame in one direction.
pub(crate) trait Frame: Sized {
    /// Its number and fields.
    fn write(&self, out: &mut Vec<u8>);
    /// The frame of this number and these fields.
    fn read(kind: u8, fields: &mut &[u8]) -> alloy_rlp::Result<Self>;
}

fn put(out: &mut Vec<u8>, kind: u8, fields: &impl Encodable) {
    out.push(kind);
    fields.encode(out);
}

const UNKNOWN: alloy_rlp::Error = alloy_rlp::Error::Custom("a frame of an unknown kind");

impl Frame for ToWorker {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Load(fields) => put(out, 1, fields),
            Self::Invoke(fields) => put(out, 2, fields.as_ref()),
            Self::Fetched(fields) => put(out, 3, fields),
            Self::Compile(fields) => put(out, 4, fields),
        }
    }

    fn read(kind: u8, fields: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Ok(match kind {
            1 => Self::Load(Decodable::decode(fields)?),
            2 => Self::Invoke(Box::new(Decodable::decode(fields)?)),
            3 => Self::Fetched(Decodable::decode(fields)?),
            4 => Self::Compile(Decodable::decode(fields)?),
            _ => return Err(UNKNOWN),
        })
    }
}

impl Frame for FromWorker {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Jailed(fields) => put(out, 1, fields),
            Self::Loaded(fields) => put(out, 2, fields),
            Self::Fetch(fields) => put(out, 3, fields),
            Self::Log(fields) => put(out, 4, fields),
            Self::Answered(fields) => put(out, 5, fields.as_ref()),
        }
    }

    fn read(kind: u8, fields: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Ok(match kind {
            1 => Self::Jailed(Decodable::decode(fields)?),
            2 => Self::Loaded(Decodable::decode(fields)?),
            3 => Self::Fetch(Decodable::decode(fields)?),
            4 => Self::Log(Decodable::decode(fields)?),
            5 => Self::Answered(Box::new(Decodable::decode(fields)?)),
            _ => return Err(UNKNOWN),
        })
    }
}

/// One end of the channel: a stream, and what of it was read ahead.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    ahead: Vec<u8>,
    size_bytes_max: usize,
}

impl Channel {
    /// An end that takes frames up to this length.
    pub(crate) const fn new(stream: UnixStream, size_bytes_max: usize) -> Self {
        Self { stream, ahead: Vec::new(), size_bytes_max }
    }

    /// The stream, to wait on.
    pub(crate) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(crate) fn send(&mut self, frame: &impl Frame) -> Result<(), FrameError> {
        let mut out = vec![0; LENGTH_SIZE_BYTES];
        out.push(PROTOCOL_VERSION);
        frame.write(&mut out);
        let size = u32::try_from(out.len().saturating_sub(LENGTH_SIZE_BYTES))
            .map_err(|_| FrameError::Protocol("too long to send"))?;
        if let Some(length) = out.first_chunk_mut::<LENGTH_SIZE_BYTES>() {
            *length = size.to_be_bytes();
        }
        Ok(self.stream.write_all(&out)?)
    }

    /// The next frame, if all of it has been read already.
    ///
    /// # Errors
    /// [`FrameError::Protocol`].
    pub(crate) fn take<F: Frame>(&mut self) -> Result<Option<F>, FrameError> {
        let Some(length) = self.ahead.first_chunk::<LENGTH_SIZE_BYTES>() else { return Ok(None) };
        let size = u32::from_be_bytes(*length) as usize;
        if !(HEADER_SIZE_BYTES..=self.size_bytes_max).contains(&size) {
            return Err(FrameError::Protocol("a length out of bounds"));
        }
        let end = LENGTH_SIZE_BYTES + size;
        let Some(frame) = self.ahead.get(LENGTH_SIZE_BYTES..end) else { return Ok(None) };
        let (&[version, kind], mut fields) =
            frame.split_first_chunk().ok_or(FrameError::Protocol("no header"))?;
        if version != PROTOCOL_VERSION {
            return Err(FrameError::Protocol("another version"));
        }
        let frame = F::read(kind, &mut fields).map_err(|_| FrameError::Protocol("fields do not decode"))?;
        if !fields.is_empty() {
            return Err(FrameError::Protocol("bytes after the fields"));
        }
        self.ahead.drain(..end);
        Ok(Some(frame))
    }

    /// Reads what is there, waiting for at least one byte.
    ///
    /// # Errors
    /// [`FrameError::Channel`], also when the other side is gone.
    pub(crate) fn fill(&mut self) -> Result<(), FrameError> {
        let mut bytes = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let read = bytes.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        self.ahead.extend_from_slice(read);
        Ok(())
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(crate) fn receive<F: Frame>(&mut self) -> Result<F, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.fill()?;
        }
    }
}

/// A reason within its bound.
pub(crate) fn is_reason(text: &str) -> bool {
    text.len() <= REASON_SIZE_BYTES_MAX
}
