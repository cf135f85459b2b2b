//! Code that has broken out of the engine and runs natively in a worker, after the last wall stands: what it tries, and
//! what it meets. The prisoner tells what the system answered; where the answer is death, the node tells.
#![allow(unsafe_code, reason = "what a prisoner does")]

use std::{
    ffi::CStr,
    fs,
    io::{self, Write},
    os::fd::FromRawFd,
    sync::Arc,
};

use bletchley_cryptlet::{
    aot::{AotCache, AotSecret},
    confined::{ConfinedConfig, ConfinedContainer, Program},
    container::{Container, Status, UnavailableKind},
    fetch::NoFetcher,
    manifest::Isolation,
    package::Package,
    worker,
};
use tempfile::TempDir;

use crate::{guests, liar, support::invocation};

/// Argument of a worker that is a prisoner; the deed follows.
const ARGUMENT: &str = "--prisoner=";

/// Argument of a process that tells what walls its workers have.
const REFUSED: &str = "--tell-walls";

/// Ends the name of a deed that is done without the filter of system calls.
const UNFILTERED: &str = "-unfiltered";

/// Deeds that end the worker, and what the node says then.
const DEADLY: [(&str, &str); 18] = [
    ("open-file", SYSTEM_CALL),
    ("write-file", SYSTEM_CALL),
    ("open-socket", SYSTEM_CALL),
    ("fork", SYSTEM_CALL),
    ("thread", SYSTEM_CALL),
    ("exec", SYSTEM_CALL),
    ("ptrace", SYSTEM_CALL),
    ("mount", SYSTEM_CALL),
    ("unshare", SYSTEM_CALL),
    ("read-parent", SYSTEM_CALL),
    ("signal-others", SYSTEM_CALL),
    ("shared-memory", SYSTEM_CALL),
    ("file-in-memory", SYSTEM_CALL),
    ("new-code", SYSTEM_CALL),
    ("raise-limits", SYSTEM_CALL),
    ("stack-overflow", DEATH),
    ("write-code", DEATH),
    ("spin", "the cryptlet did not answer in time"),
];
/// The runtime's handler of that signal wants to call the system, which the filter forbids in its turn.
const DEATH: &str = "the worker ";
const SYSTEM_CALL: &str = "the worker made a forbidden system call";

/// Runs as a prisoner if this process was started as one.
pub(crate) fn run_if_asked() -> Option<std::process::ExitCode> {
    let argument = std::env::args().nth(1)?;
    let deed = argument.strip_prefix(ARGUMENT)?.to_owned();
    let filtered = !deed.ends_with(UNFILTERED);
    Some(worker::imprison(filtered, move || commit(deed.trim_end_matches(UNFILTERED))))
}

/// A container whose workers do this deed, and one beside it that goes on with its work. Prisoners do not compile, so
/// they get their code from a cache that honest workers fill.
pub(crate) struct Scene {
    honest: ConfinedContainer,
    prison: ConfinedContainer,
    package: Package,
    _folder: TempDir,
}

impl Scene {
    pub(crate) fn of(deed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(AotCache::open(folder.path(), AotSecret::new([9; 32].into())).unwrap());
        let open =
            |config| ConfinedContainer::open(config, Some(cache.clone()), Arc::new(NoFetcher)).unwrap();
        let package = guests::package("utility", guests::echo());
        let honest = open(ConfinedConfig::default());
        honest.load(&package, Isolation::Process).unwrap();
        let program = Program { argument: format!("{ARGUMENT}{deed}"), ..Program::default() };
        let prison = open(ConfinedConfig { program, ..ConfinedConfig::default() });
        prison.load(&package, Isolation::Process).unwrap();
        Self { honest, prison, package, _folder: folder }
    }

    /// Workers of the prison.
    pub(crate) fn workers(&self) -> usize {
        self.prison.workers().1
    }

    /// What comes of the deed.
    pub(crate) fn play(&self, timeout_ms: u64) -> Status {
        let mut call = invocation("echo", guests::input());
        call.timeout_ms = timeout_ms;
        let outcome = self.prison.invoke(&self.package.id(), &call);
        assert!(!outcome.status.is_recordable() && outcome.output.is_empty(), "{:?}", outcome.status);
        guests::is_alive(&self.honest);
        outcome.status
    }
}

fn comes_of(deed: &str) -> String {
    Scene::of(deed).play(5_000).reason().to_owned()
}

/// Each deed ends the worker that does it, and nothing else.
pub(crate) fn deeds_that_end_the_worker() {
    for (deed, expected) in DEADLY {
        let scene = Scene::of(deed);
        let spins = deed == "spin";
        let status = scene.play(if spins { 200 } else { 5_000 });
        assert!(status.reason().starts_with(expected), "{deed}: {status:?}");
        let kind = if spins { UnavailableKind::Timeout } else { UnavailableKind::HostFault };
        assert_eq!(status.code(), kind.code(), "{deed}");
        assert_eq!(scene.prison.workers().1, 0, "{deed}: the worker is still there");
    }
}

/// Memory is bounded where the process asks for it: the asking fails, the worker may go on.
pub(crate) fn memory_that_is_not_given() {
    for (deed, size_mib_max) in [("memory-bomb", 256), ("reserve-address-space", 64 << 10)] {
        let told = comes_of(deed);
        let size = told.strip_prefix("refused after ").and_then(|told| told.strip_suffix(" MiB"));
        let size: u64 = size.unwrap_or_else(|| panic!("{deed}: {told}")).parse().unwrap();
        assert!(size < size_mib_max, "{deed}: {size} MiB");
    }
}

/// The walls behind the filter hold without it.
pub(crate) fn walls_behind_the_filter() {
    let scene = Scene::of("nothing-unfiltered");
    let walls = scene.prison.walls().unwrap();
    let denied = ["Permission denied", "No such file", "Operation not permitted"];
    for deed in ["open-file", "write-file", "mount", "raise-limits", "exec", "look-at-parent"] {
        let told = comes_of(&format!("{deed}{UNFILTERED}"));
        assert!(denied.iter().any(|words| told.contains(words)), "{deed}: {told}");
    }
    let told = comes_of(&format!("connect{UNFILTERED}"));
    let unreachable = told.contains("Network is unreachable") || told.contains("Permission denied");
    assert!(unreachable, "connect: {told}");
    let told = comes_of(&format!("read-parent{UNFILTERED}"));
    assert!(told.contains("No such process") || told.contains("not permitted"), "read-parent: {told}");
    if walls.namespaces {
        let told = comes_of(&format!("signal-others{UNFILTERED}"));
        assert!(told.contains("No such process") || told.contains("not permitted"), "signal-others: {told}");
    }
}

/// Limits that the kernel keeps by ending the process, or by refusing to go on.
pub(crate) fn a_bomb_of_bytes_is_cut_at_the_limit_of_files() {
    let told = comes_of(&format!("write-bomb{UNFILTERED}"));
    assert!(told.contains("File too large") || told.contains("crashed with signal 25"), "{told}");
}

/// What a worker can see: its channel. And what the kernel shows of it to those outside.
pub(crate) fn what_is_there_to_see() {
    let scene = Scene::of("look-around");
    assert_eq!(scene.play(5_000).reason(), "environment 0, descriptors 3");
    let walls = scene.prison.walls().unwrap();
    let (idle, live) = scene.prison.workers();
    assert_eq!((idle.len(), live), (1, 1));
    let status = fs::read_to_string(format!("/proc/{}/status", idle[0])).unwrap();
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "Threads:\t1",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(walls.seccomp && walls.landlock > 0, "{walls:?}");
    // What this kernel gives whoever asks is what the worker must have.
    let given = namespaces_are_given();
    eprintln!("namespaces given here: {given}; {walls:?}");
    assert_eq!((walls.namespaces, walls.empty_root), (given, given));
    for name in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(of(&idle[0].to_string()) != of("self"), given, "{name}");
    }
}

/// Where the kernel refuses namespaces, the other walls stand and the host says so; unless it is told to ask for them.
pub(crate) fn a_kernel_that_refuses_namespaces() {
    let program = std::env::current_exe().unwrap();
    let mut command = if namespaces_are_given() {
        // In a namespace of users where nobody may make another one, without any capability.
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \"$0\" \"$1\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(program);
        command
    } else {
        std::process::Command::new(program)
    };
    let output = command.arg(REFUSED).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, "namespaces no, landlock yes, seccomp yes; required: refused\n", "{output:?}");
}

/// Tells what a worker's walls are in this process, if it was started for that.
pub(crate) fn tell_walls_if_asked() -> Option<std::process::ExitCode> {
    if std::env::args().nth(1)? != REFUSED {
        return None;
    }
    let said = |wall: bool| if wall { "yes" } else { "no" };
    let container = ConfinedContainer::open(ConfinedConfig::default(), None, Arc::new(NoFetcher)).unwrap();
    let walls = container.walls().unwrap();
    guests::is_alive(&container);
    let config = ConfinedConfig { namespaces_required: true, ..ConfinedConfig::default() };
    let strict = ConfinedContainer::open(config, None, Arc::new(NoFetcher)).unwrap();
    let package = guests::package("utility", guests::echo());
    let refused = strict.walls().is_err() && strict.load(&package, Isolation::Process).is_err();
    println!(
        "namespaces {}, landlock {}, seccomp {}; required: {}",
        said(walls.namespaces),
        said(walls.landlock > 0),
        said(walls.seccomp),
        if refused { "refused" } else { "taken" }
    );
    Some(std::process::ExitCode::SUCCESS)
}

/// Whether this kernel gives a process namespaces of its own with power over its mounts.
fn namespaces_are_given() -> bool {
    let program = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"])
        .args(["mount", "-t", "tmpfs", "none", "/proc"])
        .output();
    program.is_ok_and(|output| output.status.success())
}

fn commit(deed: &str) -> String {
    let last = |what: i64| format!("{what}: {}", io::Error::last_os_error());
    // SAFETY: nothing here is meant to be safe; every pointer is to a constant text or null.
    unsafe {
        match deed {
            "open-file" => {
                fs::read("/etc/passwd").map_or_else(|error| error.to_string(), |_| "read".to_owned())
            }
            "write-file" => fs::write("/tmp/bomb", b"bomb")
                .map_or_else(|error| error.to_string(), |()| "wrote".to_owned()),
            "open-socket" => last(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into()),
            "fork" => last(libc::fork().into()),
            "thread" => std::thread::Builder::new()
                .spawn(|| ())
                .map_or_else(|error| error.to_string(), |_| "spawned".to_owned()),
            "connect" => std::net::TcpStream::connect("127.0.0.1:1")
                .map_or_else(|error| error.to_string(), |_| "connected".to_owned()),
            "look-at-parent" => {
                fs::read("/proc/1/mem").map_or_else(|error| error.to_string(), |_| "read".to_owned())
            }
            "write-bomb" => bomb(),
            "exec" => {
                let program: &CStr = c"/proc/self/exe";
                last(libc::execl(program.as_ptr(), program.as_ptr(), std::ptr::null::<libc::c_char>()).into())
            }
            "ptrace" => last(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)),
            "mount" => last(
                libc::mount(c"none".as_ptr(), c"/".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()).into(),
            ),
            "unshare" => last(libc::unshare(libc::CLONE_NEWUSER).into()),
            "read-parent" => {
                let mut stolen = [0_u8; 16];
                let local = libc::iovec { iov_base: stolen.as_mut_ptr().cast(), iov_len: stolen.len() };
                let remote = libc::iovec { iov_base: 0x40_0000 as *mut _, iov_len: stolen.len() };
                last(libc::process_vm_readv(libc::getppid(), &local, 1, &remote, 1, 0) as i64)
            }
            "signal-others" => last(libc::kill(-1, 0).into()),
            "shared-memory" => {
                let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                last(libc::mmap(std::ptr::null_mut(), 1 << 20, libc::PROT_WRITE, flags, -1, 0) as i64)
            }
            "file-in-memory" => last(libc::memfd_create(c"bomb".as_ptr(), 0).into()),
            "new-code" => {
                let (code, flags) =
                    (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                last(libc::mmap(std::ptr::null_mut(), 4096, code, flags, -1, 0) as i64)
            }
            "raise-limits" => {
                let most = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
                last(libc::setrlimit(libc::RLIMIT_DATA, &most).into())
            }
            "stack-overflow" => overflow(1).to_string(),
            "write-code" => {
                let code = commit as fn(&str) -> String as *mut u8;
                code.write_volatile(0xcc);
                "wrote".to_owned()
            }
            "spin" => loop {
                std::hint::spin_loop();
            },
            "memory-bomb" => grow(1 << 20, libc::PROT_READ | libc::PROT_WRITE),
            "reserve-address-space" => grow(1 << 30, libc::PROT_NONE),
            "look-around" => look_around(),
            _ => match deed.strip_prefix(liar::PREFIX) {
                Some(name) => liar::lie(name),
                None => "no such deed".to_owned(),
            },
        }
    }
}

#[allow(unconditional_recursion, reason = "that is the deed")]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + frame[usize::try_from(depth % 512).unwrap()]
}

/// Takes memory, and touches it, until there is no more.
fn grow(step: usize, protection: i32) -> String {
    let mut taken = 0_usize;
    loop {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: new memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), step, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return format!("refused after {} MiB", taken >> 20);
        }
        if protection & libc::PROT_WRITE != 0 {
            // SAFETY: the memory just mapped.
            unsafe { at.cast::<u8>().write_bytes(7, step) };
        }
        taken += step;
    }
}

/// Writes into a file in memory, which is all that there is to write to.
fn bomb() -> String {
    // SAFETY: a new descriptor.
    let mut file = unsafe { fs::File::from_raw_fd(libc::memfd_create(c"bomb".as_ptr(), 0)) };
    loop {
        if let Err(error) = file.write_all(&[7; 1 << 16]) {
            return error.to_string();
        }
    }
}

fn look_around() -> String {
    let environment = std::env::vars_os().filter(|(name, _)| name != "MIMALLOC_ARENA_EAGER_COMMIT").count();
    // Writing nothing is allowed, and fails where there is no descriptor.
    // SAFETY: no byte is read.
    let open = |descriptor: &i32| unsafe { libc::write(*descriptor, std::ptr::null(), 0) } == 0
        || io::Error::last_os_error().raw_os_error() != Some(libc::EBADF);
    let descriptors: Vec<_> = (0..64).filter(open).map(|descriptor| descriptor.to_string()).collect();
    format!("environment {environment}, descriptors {}", descriptors.join(" "))
}
