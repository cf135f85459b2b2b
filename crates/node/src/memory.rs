//! Which pages the kernel gives this process.

/// Keeps the kernel from backing memory with pages of 2 MiB, which the allocator asks for: a page of which a few kilobytes are
/// used counts whole, and most of an idle member's memory was that. Where the kernel refuses, nothing is lost but memory.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    {
        let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
        // SAFETY: this option takes a number, and touches no memory of ours.
        #[allow(unsafe_code)]
        unsafe {
            libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused);
        }
    }
}
