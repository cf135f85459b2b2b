//! Ways to a TPM: the kernel's device, or the socket of a simulated one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Longest response of a TPM (MAX_RESPONSE_SIZE of every PC's).
pub(super) const RESPONSE_SIZE_BYTES_MAX: usize = 4096;
/// Tag, length and code.
pub(super) const HEADER_SIZE_BYTES: usize = 10;
/// How long a TPM may take: making a key takes seconds on slow ones.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Carries one command to a TPM and its response back.
pub trait Transport: Send {
    /// The response to a command.
    ///
    /// # Errors
    /// When the TPM does not answer.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// The TPM at a path: a socket, as simulated ones have, or a device such as `/dev/tpmrm0`.
///
/// # Errors
/// When there is none, or this user may not use it.
pub fn open(path: &Path) -> io::Result<Box<dyn Transport>> {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::metadata(path)?.file_type().is_socket() {
        return Ok(Box::new(UnixTransport::connect(path)?));
    }
    let device = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(Box::new(DeviceTransport(device)))
}

/// A simulated TPM on a socket of this machine.
#[derive(Debug)]
pub struct UnixTransport(UnixStream);

impl UnixTransport {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(stream))
    }
}

impl Transport for UnixTransport {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; HEADER_SIZE_BYTES];
        self.0.read_exact(&mut response)?;
        let size = response.get(2..6).and_then(|size| size.try_into().ok()).map_or(0, u32::from_be_bytes);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if !(HEADER_SIZE_BYTES..=RESPONSE_SIZE_BYTES_MAX).contains(&size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a response of impossible length"));
        }
        let mut rest = vec![0; size.saturating_sub(HEADER_SIZE_BYTES)];
        self.0.read_exact(&mut rest)?;
        response.extend(rest);
        Ok(response)
    }
}

/// The kernel's resource manager: one write is a command, one read its response.
#[derive(Debug)]
struct DeviceTransport(File);

impl Transport for DeviceTransport {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; RESPONSE_SIZE_BYTES_MAX];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}
