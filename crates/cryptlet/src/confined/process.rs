//! Starting and ending a worker's process.
#![allow(unsafe_code, reason = "starting a process in namespaces of its own, and waiting for it")]

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    time::{Duration, Instant},
};

use super::{Program, session::Fault};
use crate::worker::{
    CHANNEL, CODE, Limits, OUTPUT, Task,
    wire::{ANSWER_SIZE_BYTES_MAX, Channel, Frame, FromWorker, Jailed},
};

/// How long a worker may take to build its jail.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a worker may let the node wait for room to send.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptors are moved above here before they are put where a worker looks for them.
const ABOVE: RawFd = 64;
/// The allocator's only setting: take memory as it is needed, so that the limit on it means something.
const ENVIRONMENT: &std::ffi::CStr = c"MIMALLOC_ARENA_EAGER_COMMIT=0";

/// Everything that a namespace can hide.
const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
/// What is tried, best first: as anyone, as an administrator where user namespaces are switched off, without.
const TRIED: [i32; 3] = [NAMESPACES | libc::CLONE_NEWUSER, NAMESPACES, 0];

/// What a worker is born with.
pub(super) struct Birth<'a> {
    pub(super) program: &'a Program,
    pub(super) task: Task,
    pub(super) limits: Limits,
    pub(super) code: &'a File,
    pub(super) output: Option<&'a File>,
}

/// A worker. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    pid: libc::pid_t,
    pub(super) channel: Channel,
    pub(super) jailed: Jailed,
    ended: Option<i32>,
}

/// Texts and descriptors of the child, made before it exists: between birth and program it may only call the system.
struct Cradle {
    path: CString,
    arguments: Vec<CString>,
    maps: [(&'static std::ffi::CStr, CString); 3],
    /// Where from, where to.
    descriptors: Vec<(RawFd, RawFd)>,
}

impl Process {
    /// Starts a worker and waits until its jail stands. The calling thread must outlive the worker: the kernel ends the
    /// worker when that thread ends.
    pub(super) fn start(birth: &Birth<'_>) -> Result<Self, Fault> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(SEND_TIMEOUT))?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        let mut wanted = vec![(nothing.as_raw_fd(), 0), (nothing.as_raw_fd(), 1), (nothing.as_raw_fd(), 2)];
        wanted.extend([(theirs.as_raw_fd(), CHANNEL), (birth.code.as_raw_fd(), CODE)]);
        wanted.extend(birth.output.map(|output| (output.as_raw_fd(), OUTPUT)));
        let moved = wanted.iter().map(|(from, _)| above(*from)).collect::<io::Result<Vec<OwnedFd>>>()?;
        let descriptors =
            moved.iter().map(AsRawFd::as_raw_fd).zip(wanted.iter().map(|(_, to)| *to)).collect();
        let pid = born(&Cradle::new(birth, descriptors)?)?;
        drop(theirs);
        let channel = Channel::new(ours, ANSWER_SIZE_BYTES_MAX);
        let jailed = Jailed { namespaces: false, empty_root: false, landlock: 0, seccomp: false };
        let mut process = Self { pid, channel, jailed, ended: None };
        match process.receive(Instant::now() + START_TIMEOUT) {
            Ok(FromWorker::Jailed(jailed)) => process.jailed = jailed,
            Ok(_) => return Err(Fault::Broken("the worker does not speak the protocol".to_owned())),
            Err(Fault::TimedOut) => return Err(Fault::Broken("the worker's jail takes too long".to_owned())),
            Err(Fault::Gone | Fault::Broken(_)) => return Err(Fault::Broken(process.why())),
        }
        Ok(process)
    }

    /// The next frame, if it comes in time.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<FromWorker, Fault> {
        loop {
            if let Some(frame) = self.channel.take()? {
                return Ok(frame);
            }
            if !readable(self.channel.stream(), deadline)? {
                return Err(Fault::TimedOut);
            }
            self.channel.fill()?;
        }
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &impl Frame) -> Result<(), Fault> {
        Ok(self.channel.send(frame)?)
    }

    /// Process id, as this process sees it.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Ends the worker if it is not over yet, and says how it ended.
    pub(super) fn why(&mut self) -> String {
        let status = self.end();
        if libc::WIFSIGNALED(status) {
            match libc::WTERMSIG(status) {
                libc::SIGSYS => "the worker made a forbidden system call".to_owned(),
                libc::SIGKILL => "the worker was ended".to_owned(),
                libc::SIGXCPU => "the worker used up its processor time".to_owned(),
                signal => format!("the worker crashed with signal {signal}"),
            }
        } else {
            format!("the worker ended with code {}", libc::WEXITSTATUS(status))
        }
    }

    fn end(&mut self) -> i32 {
        if let Some(status) = self.ended {
            return status;
        }
        let mut status = 0;
        // SAFETY: the child is ours and has not been waited for, so its number is not another process's. One that is
        // dying already keeps the reason it dies of.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, &mut status, 0) < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
        self.ended = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A copy of a descriptor, out of the way of those that are given out; closed when a program starts.
fn above(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor, which is owned from here on.
    unsafe {
        let copy = libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, ABOVE);
        if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(copy)) }
    }
}

/// Waits until there is something to read, or the deadline passes.
fn readable(stream: &UnixStream, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last fraction of a millisecond is waited for and not spun through.
        let left_ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut wanted = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, as said.
        let ready = unsafe { libc::poll(&mut wanted, 1, left_ms) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

impl Cradle {
    fn new(birth: &Birth<'_>, descriptors: Vec<(RawFd, RawFd)>) -> io::Result<Self> {
        let Limits { data_size_bytes, cpu_s, file_size_bytes } = birth.limits;
        let numbers = [data_size_bytes, cpu_s, file_size_bytes].map(|number| number.to_string());
        let texts = [birth.program.argument.as_str(), birth.task.name()];
        let arguments = std::iter::once("bletchley")
            .chain(texts)
            .chain(numbers.iter().map(String::as_str))
            .map(CString::new)
            .collect::<Result<_, _>>()?;
        let path = birth.program.path.as_os_str().as_encoded_bytes();
        // SAFETY: asks for two numbers.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        let maps = [
            (c"/proc/self/setgroups", CString::new("deny")?),
            (c"/proc/self/uid_map", CString::new(format!("0 {user} 1"))?),
            (c"/proc/self/gid_map", CString::new(format!("0 {group} 1"))?),
        ];
        Ok(Self { path: CString::new(path)?, arguments, maps, descriptors })
    }
}

/// Makes the child: in namespaces if the kernel lets it.
fn born(cradle: &Cradle) -> io::Result<libc::pid_t> {
    let arguments: Vec<_> =
        cradle.arguments.iter().map(|text| text.as_ptr()).chain(std::iter::once(ptr::null())).collect();
    let environment = [ENVIRONMENT.as_ptr(), ptr::null()];
    for flags in TRIED {
        let flags = libc::c_long::from(flags | libc::SIGCHLD);
        // SAFETY: like fork: a copy of this process with one thread, which makes system calls over memory that was
        // prepared before, and becomes another program or ends.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
        match libc::pid_t::try_from(pid) {
            // SAFETY: this is the child; pointers end with null.
            Ok(0) => unsafe { grow_up(cradle, arguments.as_ptr(), environment.as_ptr()) },
            Ok(pid) if pid > 0 => return Ok(pid),
            _ => {}
        }
    }
    Err(io::Error::last_os_error())
}

/// The child's way to its program. Makes no allocation, takes no lock, returns never.
///
/// # Safety
/// Only in a fresh child; both lists end with null.
unsafe fn grow_up(
    cradle: &Cradle,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> ! {
    /// A worker that did not get as far as its program.
    const UNBORN: i32 = 127;
    // SAFETY: system calls over memory that outlives them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // What a terminal sends to the node is the node's to act on.
        libc::setsid();
        for (path, text) in &cradle.maps {
            // Fails where there is no user namespace, which changes nothing then.
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file >= 0 {
                libc::write(file, text.as_ptr().cast(), text.as_bytes().len());
                libc::close(file);
            }
        }
        let mut next = 0;
        for (from, to) in &cradle.descriptors {
            if libc::dup2(*from, *to) < 0 {
                libc::_exit(UNBORN);
            }
            next = to + 1;
        }
        libc::syscall(libc::SYS_close_range, next, u32::MAX, 0);
        libc::execve(cradle.path.as_ptr(), arguments, environment);
        libc::_exit(UNBORN)
    }
}
