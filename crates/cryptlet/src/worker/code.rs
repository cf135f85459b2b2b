//! Code that a worker is given behind a descriptor, as memory that it can only read.
#![allow(unsafe_code, reason = "mapping a descriptor")]

use std::{io, ptr};

/// Mapped code; unmapped when it is dropped.
pub(super) struct Code {
    at: *mut libc::c_void,
    size: usize,
}

impl Code {
    /// Maps the first `size_bytes` behind a descriptor.
    pub(super) fn map(descriptor: i32, size_bytes: u64) -> io::Result<Self> {
        let size = usize::try_from(size_bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: a new private mapping at a place of the kernel's choice.
        let at =
            unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ, libc::MAP_PRIVATE, descriptor, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { at, size }) }
    }

    /// The code.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable over this length until `self` is dropped, from a file that the node sealed against
        // writing and shrinking.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.size) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, which nothing borrows any more.
        unsafe { libc::munmap(self.at, self.size) };
    }
}
