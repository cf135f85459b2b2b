//! The jail that a worker puts around itself before it looks at anything: limits, an empty root, no capabilities, no
//! way to gain any, no file, no port, and a short list of system calls; anything else kills it.
#![allow(unsafe_code, reason = "system calls that no safe interface of the dependencies covers")]

use std::{fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};

use super::{syscalls, wire::Jailed};

/// Newest Landlock whose rules are asked for; an older kernel enforces what it knows.
const LANDLOCK: ABI = ABI::V7;
/// Address space: one call's memories are reserved at four times 4 GiB, guard pages beside them.
const ADDRESS_SPACE_SIZE_BYTES_MAX: u64 = 32 << 30;
/// Descriptors of a worker: its channel, its code, and an image for each memory of the component.
const FILES_MAX: u64 = 32;

/// What a worker may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Private writable memory, beside what the process has when it starts.
    pub data_size_bytes: u64,
    /// Processor time over its whole life.
    pub cpu_s: u64,
    /// Longest file in memory that it may write.
    pub file_size_bytes: u64,
}

/// Why a worker refuses to work: what it could not put around itself.
#[derive(Debug, thiserror::Error)]
#[error("the jail has no {wall}: {reason}")]
pub struct JailError {
    wall: &'static str,
    reason: String,
}

fn fails(wall: &'static str) -> impl Fn(io::Error) -> JailError {
    move |error| JailError { wall, reason: error.to_string() }
}

fn done(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts the jail around the calling process, which must have one thread. Without the filter of system calls only where
/// a test looks at the walls behind it.
///
/// # Errors
/// [`JailError`] when a wall that every supported kernel has does not stand. Namespaces are not among them: the answer
/// says whether they are there.
pub(crate) fn enter(limits: &Limits, filtered: bool) -> Result<Jailed, JailError> {
    // The node asked for all namespaces at once: who is first in one of processes is in the others too.
    let namespaces = std::process::id() == 1;
    limit(limits).map_err(fails("limits"))?;
    let empty_root = namespaces && empty_root().is_ok();
    drop_capabilities().map_err(fails("way to drop capabilities"))?;
    // SAFETY: plain flags of this process.
    unsafe {
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())
            .and_then(|()| done(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into()))
            // Last of what changes credentials, which clears it.
            .and_then(|()| done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).into()))
            .map_err(fails("flags"))?;
    }
    let landlock = landlock()?;
    if filtered {
        syscalls::allow(syscalls::Stage::Loading)
            .map_err(|error| JailError { wall: "filter of system calls", reason: error.to_string() })?;
    }
    Ok(Jailed { namespaces, empty_root, landlock, seccomp: true })
}

fn limit(limits: &Limits) -> io::Result<()> {
    let data = data_size_bytes()?.saturating_add(limits.data_size_bytes);
    for (resource, most) in [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NPROC, 0),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_NOFILE, FILES_MAX),
        (libc::RLIMIT_FSIZE, limits.file_size_bytes),
        (libc::RLIMIT_CPU, limits.cpu_s),
        (libc::RLIMIT_DATA, data),
        (libc::RLIMIT_AS, ADDRESS_SPACE_SIZE_BYTES_MAX),
    ] {
        let bound = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: reads the structure that it is given.
        done(unsafe { libc::setrlimit(resource, &bound) }.into())?;
    }
    Ok(())
}

/// Private writable memory of this process now.
fn data_size_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text
        .split_whitespace()
        .nth(5)
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages.saturating_mul(u64::try_from(page).unwrap_or(0)))
}

/// Exchanges the root for an empty folder that nothing can be written to.
fn empty_root() -> io::Result<()> {
    let (nothing, dot) = (std::ptr::null(), c".".as_ptr());
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: every pointer is to a constant text or null where that is allowed.
    unsafe {
        done(
            libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_PRIVATE, nothing.cast())
                .into(),
        )?;
        // A folder that is there on every system that this process could start on; it is covered, not changed.
        let folder = c"/proc".as_ptr();
        let options = c"size=4k,nr_inodes=1,mode=000".as_ptr();
        done(libc::mount(c"none".as_ptr(), folder, c"tmpfs".as_ptr(), flags, options.cast()).into())?;
        done(libc::chdir(folder).into())?;
        done(libc::syscall(libc::SYS_pivot_root, dot, dot))?;
        done(libc::umount2(dot, libc::MNT_DETACH).into())?;
        done(libc::chdir(c"/".as_ptr()).into())?;
        done(
            libc::mount(nothing, dot, nothing, flags | libc::MS_REMOUNT | libc::MS_RDONLY, nothing.cast())
                .into(),
        )
    }
}

fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let nothing = [0_u32; 6];
    // SAFETY: header and data have the layout of this version.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()) })
}

/// Forbids every file and port. Gives the version that is enforced.
fn landlock() -> Result<u8, JailError> {
    let fails = |error: landlock::RulesetError| JailError { wall: "Landlock", reason: error.to_string() };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(fails)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Ok(0),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(effective_abi as u8),
        _ => Ok(0),
    }
}
