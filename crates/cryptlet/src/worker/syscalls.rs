//! The system calls of a worker. Everything that is not here kills the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// How far a worker has come: filters add up, so the list only gets shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The engine starts and takes in compiled code; no code of the cryptlet runs.
    Loading,
    /// Code of the cryptlet runs: no new executable memory, no new descriptor.
    Running,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The processor is not one of those that a filter can be made for.
    #[error("no filter for {}", std::env::consts::ARCH)]
    Processor,
    /// It cannot be made.
    #[error(transparent)]
    Backend(#[from] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error(transparent)]
    Kernel(#[from] seccompiler::Error),
}

/// Position of the flags and of the protection among the arguments of `mmap`; of the protection in `mprotect`.
const MMAP_PROTECTION: u8 = 2;
const MMAP_FLAGS: u8 = 3;
const MPROTECT_PROTECTION: u8 = 2;
/// Bits of `mmap`'s flags that say whether memory is shared.
const MAP_TYPE: u64 = 0x0f;

fn masked(argument: u8, mask: u64, value: i32) -> Result<SeccompCondition, FilterError> {
    let value = u64::try_from(value).unwrap_or(u64::MAX);
    Ok(SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask), value)?)
}

fn equal(argument: u8, value: u32) -> Result<SeccompCondition, FilterError> {
    Ok(SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into())?)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(stage: Stage) -> Result<Rules, FilterError> {
    let always = [
        // The channel.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_close,
        // Memory of its own.
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_brk,
        // Traps of wasm code arrive as signals.
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        // Locks, time and randomness of the runtime; none of them reaches the cryptlet.
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        // The allocator asks which part of memory is near, on machines that have several.
        libc::SYS_getcpu,
        libc::SYS_membarrier,
        libc::SYS_restart_syscall,
        // The end.
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let loading = [
        // Images of memories, as the engine makes them.
        libc::SYS_memfd_create,
        libc::SYS_fcntl,
        // The engine looks how many processors there are; no file opens, but the question is not deadly yet.
        libc::SYS_openat,
        libc::SYS_statx,
        libc::SYS_sched_getaffinity,
        libc::SYS_sysinfo,
        // Handlers of the signals above; the next stage's filter.
        libc::SYS_rt_sigaction,
        libc::SYS_prctl,
        libc::SYS_seccomp,
    ];
    let mut rules: Rules = always.into_iter().map(|call| (call, vec![])).collect();
    // Shared memory escapes the limit on private memory.
    let private = masked(MMAP_FLAGS, MAP_TYPE, libc::MAP_PRIVATE)?;
    let exec = u64::try_from(libc::PROT_EXEC).unwrap_or(u64::MAX);
    let own = equal(0, std::process::id())?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    match stage {
        Stage::Loading => {
            rules.extend(loading.into_iter().map(|call| (call, vec![])));
            rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![private])?]);
            rules.insert(libc::SYS_mprotect, vec![]);
        }
        Stage::Running => {
            let data = masked(MMAP_PROTECTION, exec, 0)?;
            rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![private, data])?]);
            let data = masked(MPROTECT_PROTECTION, exec, 0)?;
            rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![data])?]);
        }
    }
    Ok(rules)
}

/// From now on the calling thread, the only one, has these system calls alone.
pub(crate) fn allow(stage: Stage) -> Result<(), FilterError> {
    let processor = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Processor)?;
    let filter =
        SeccompFilter::new(rules(stage)?, SeccompAction::KillProcess, SeccompAction::Allow, processor)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
