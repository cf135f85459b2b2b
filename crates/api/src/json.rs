//! Serialized results, bounded while they are written.

use crate::error::{RpcError, code};
use crate::limits::RESPONSE_SIZE_BYTES_MAX;
use serde::Serialize;
use std::io;

/// A finished JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) Vec<u8>);

/// What a method answers.
pub(crate) type Reply = Result<Json, RpcError>;

impl Json {
    pub(crate) fn null() -> Self {
        Self(b"null".to_vec())
    }

    /// Serializes `value` unless it grows beyond [`RESPONSE_SIZE_BYTES_MAX`].
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Reply {
        let mut writer = BoundedWriter { bytes: Vec::with_capacity(128), full: false };
        match serde_json::to_writer(&mut writer, value) {
            Ok(()) => Ok(Self(writer.bytes)),
            Err(_) if writer.full => Err(too_large()),
            Err(error) => Err(RpcError::internal(format!("writing the result as JSON: {error}"))),
        }
    }

    /// A number as Ethereum writes quantities: hexadecimal without leading zeros.
    pub(crate) fn quantity(value: impl Into<alloy_primitives::U256>) -> Reply {
        Self::of(&value.into())
    }
}

pub(crate) fn too_large() -> RpcError {
    RpcError::new(
        code::RESPONSE_TOO_LARGE,
        format!("response too large: more than {RESPONSE_SIZE_BYTES_MAX} bytes; ask for less at once"),
    )
}

struct BoundedWriter {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(chunk.len()) > RESPONSE_SIZE_BYTES_MAX {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
