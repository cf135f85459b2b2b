//! The container that runs every cryptlet in a confined process: its own namespaces, no file, no port, a short list of
//! system calls, bounded memory and time. What a call comes to is the same to the last bit as in the node's process.
//!
//! A worker belongs to one package and one ledger's calls of it, answers one call at a time, and is ended when it takes
//! too long. It computes; everything outside it stays here: fetches and their record, the log, keys, the check of what
//! comes back.

mod keeper;
mod pool;
mod process;
mod session;

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::fd::{AsRawFd, FromRawFd},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use alloy_primitives::{B256, Bytes};
use parking_lot::{Condvar, Mutex, RwLock};
use wasmtime::Engine;

pub use pool::{IDLE_MAX, PAUSE_MAX, PAUSE_MIN, WORKERS_MAX, WORKERS_PER_LANE_MAX};

use self::{
    keeper::{Keeper, Order},
    pool::{LaneId, Pool, Turn, Worker},
    process::Process,
    session::{Fault, Session},
};
use crate::{
    aot::{AOT_SIZE_BYTES_MAX, AotCache},
    container::{Container, Invocation, LoadError, Outcome, Status, UnavailableKind},
    fetch::Fetcher,
    host::{
        self, FetchingWorld, Methods, OpenError, Surroundings, check, first_line, limits, profile, timeout_of,
    },
    manifest::{Isolation, Manifest},
    package::{Package, PackageId},
    profile::ExecutionProfile,
    worker::{self, Limits, Task, wire},
};

/// Name of this implementation of the Container seam.
pub const CONTAINER_NAME: &str = "wasm-confined";

/// Private memory of a worker beside its cryptlet's own and its compiled code: engine, tables, records, and what the
/// allocator takes in advance, which it does in steps of 32 MiB.
pub const WORKER_DATA_SIZE_BYTES: u64 = 128 << 20;
/// Processor time of a worker over its life.
pub const WORKER_CPU_S_MAX: u64 = 600;
/// Private memory of a worker that compiles.
pub const COMPILER_DATA_SIZE_BYTES: u64 = 6 << 30;
/// Processor time of a worker that compiles.
pub const COMPILER_CPU_S_MAX: u64 = 600;
/// How long a compilation may take.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(900);
/// How long a worker may take to make a package ready.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What is started as a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Program whose `main` calls [`worker::run_if_asked`] first.
    pub path: PathBuf,
    /// Its first argument.
    pub argument: String,
}

impl Default for Program {
    /// The program that runs now, also when another has taken its place on disk since.
    fn default() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), argument: worker::ARGUMENT.to_owned() }
    }
}

/// How a confined container is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfinedConfig {
    /// What is started.
    pub program: Program,
    /// Whether a kernel that refuses namespaces is good enough. Landlock and the filter of system calls, which need no
    /// privilege, stand in any case.
    pub namespaces_required: bool,
}

/// What keeps a worker's code from the host, as far as the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walls {
    /// Namespaces of its own: user, mounts, processes, network, IPC, host name.
    pub namespaces: bool,
    /// An empty, read-only root.
    pub empty_root: bool,
    /// Version of Landlock that is enforced, 0 if none.
    pub landlock: u8,
    /// A forbidden system call ends it.
    pub seccomp: bool,
}

impl From<&wire::Jailed> for Walls {
    fn from(jailed: &wire::Jailed) -> Self {
        let wire::Jailed { namespaces, empty_root, landlock, seccomp } = *jailed;
        Self { namespaces, empty_root, landlock, seccomp }
    }
}

/// Runs wasm components in confined processes.
pub struct ConfinedContainer {
    config: ConfinedConfig,
    profile: ExecutionProfile,
    /// Compiles nothing here: names what other processes compile.
    engine: Engine,
    aot: Option<Arc<AotCache>>,
    surroundings: Arc<dyn Surroundings>,
    packages: RwLock<HashMap<PackageId, Arc<Prepared>>>,
    /// One compilation at a time: it takes much memory.
    preparing: Mutex<()>,
    pool: Arc<Mutex<Pool>>,
    /// A worker came back or went.
    turn: Condvar,
    walls: OnceLock<Walls>,
    /// Last: what is between calls is ended before the thread that started it.
    keeper: Keeper,
}

/// A package that is ready.
struct Prepared {
    methods: Methods,
    manifest: Bytes,
    code_sha256: B256,
    /// Its compiled code, where there is no cache to find it in.
    held: Option<(Arc<File>, u64)>,
}

impl ConfinedContainer {
    /// A container without packages or workers. `aot` keeps compiled code between starts; `fetcher` gets outside data.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        config: ConfinedConfig,
        aot: Option<Arc<AotCache>>,
        fetcher: Arc<dyn Fetcher>,
    ) -> Result<Self, OpenError> {
        let engine = host::compiler().map_err(|error| OpenError::Engine(first_line(&error)))?;
        let pool = Arc::new(Mutex::new(Pool::default()));
        Ok(Self {
            keeper: Keeper::start(config.program.clone(), pool.clone())?,
            config,
            profile: profile(),
            engine,
            aot,
            surroundings: Arc::new(FetchingWorld(fetcher)),
            packages: RwLock::default(),
            preparing: Mutex::new(()),
            pool,
            turn: Condvar::new(),
            walls: OnceLock::new(),
        })
    }

    /// What the kernel gives a worker. Starts one the first time.
    ///
    /// # Errors
    /// Words for the operator, when no worker starts or its walls are not enough.
    pub fn walls(&self) -> Result<Walls, String> {
        if let Some(walls) = self.walls.get() {
            return Ok(*walls);
        }
        let nothing = memory_file(&[]).map_err(|error| error.to_string())?;
        self.start(Task::Serve, serving(0, 0), Arc::new(nothing), None).map_err(|fault| fault.to_string())?;
        self.walls.get().copied().ok_or_else(|| "no worker started".to_owned())
    }

    /// Process ids of the workers between calls, and how many workers there are.
    #[must_use]
    pub fn workers(&self) -> (Vec<i32>, usize) {
        let pool = self.pool.lock();
        (pool.idle_pids(), pool.live())
    }

    fn start(
        &self,
        task: Task,
        limits: Limits,
        code: Arc<File>,
        output: Option<Arc<File>>,
    ) -> Result<Process, Fault> {
        let process = self.keeper.order(Order { task, limits, code, output })?;
        let walls = Walls::from(&process.jailed);
        if self.config.namespaces_required && !walls.namespaces {
            let problem = "this kernel refuses namespaces, and the node is told to ask for them: allow user \
                           namespaces (user.max_user_namespaces), or set cryptlets.namespaces to `optional`";
            return Err(Fault::Broken(problem.to_owned()));
        }
        if walls.landlock == 0 && !walls.empty_root {
            let problem = "this kernel gives a worker neither Landlock nor an empty root: Linux 5.13 or later with \
                           Landlock, or user namespaces, are needed";
            return Err(Fault::Broken(problem.to_owned()));
        }
        let _ = self.walls.set(walls);
        Ok(process)
    }

    fn prepare(&self, package: &Package) -> Result<Prepared, LoadError> {
        let manifest = package.manifest();
        let name = &manifest.name;
        Methods::check_demands(manifest)?;
        check(package.code(), manifest.world)
            .map_err(|source| LoadError::Refused { name: name.clone(), source })?;
        let unusable = |stage, reason| LoadError::Unusable {
            name: name.clone(),
            stage,
            profile: self.profile.name.clone(),
            reason,
        };
        let failed = |fault: Fault| LoadError::Worker { name: name.clone(), reason: fault.to_string() };
        let methods = Methods::of(manifest.clone())
            .ok_or_else(|| unusable("link", "there is no known type in a method".to_owned()))?;
        let code = match self.cached(package.code_sha256()) {
            Some(code) => code,
            None => self.compile(package).map_err(failed)?.map_err(|reason| unusable("compile", reason))?,
        };
        let size = code.len() as u64;
        let file = Arc::new(memory_file(&code).map_err(|error| failed(error.into()))?);
        drop(code);
        let prepared = Prepared {
            methods,
            manifest: manifest.encode().into(),
            code_sha256: package.code_sha256(),
            held: Some((file, size)),
        };
        let (_, loaded) = self.serve(&prepared, true).map_err(failed)?;
        match ["compile", "link", "start"].into_iter().find(|stage| loaded.stage == *stage) {
            Some(stage) => Err(unusable(stage, loaded.reason)),
            None => Ok(Prepared { held: prepared.held.filter(|_| self.aot.is_none()), ..prepared }),
        }
    }

    fn cached(&self, code_sha256: B256) -> Option<Vec<u8>> {
        self.aot.as_ref()?.find(&self.engine, code_sha256, self.profile.digest())
    }

    /// Has a worker compile the component; the inner error is the compiler's.
    fn compile(&self, package: &Package) -> Result<Result<Vec<u8>, String>, Fault> {
        let limits = Limits {
            data_size_bytes: COMPILER_DATA_SIZE_BYTES,
            cpu_s: COMPILER_CPU_S_MAX,
            file_size_bytes: AOT_SIZE_BYTES_MAX as u64,
        };
        let (code, output) = (memory_file(package.code())?, Arc::new(empty_file()?));
        let mut process = self.start(Task::Compile, limits, Arc::new(code), Some(output.clone()))?;
        let size = package.code().len() as u64;
        let told = wire::ToWorker::Compile(wire::Compile { code_size_bytes: size });
        let answer = process.send(&told).and_then(|()| process.receive(Instant::now() + COMPILE_TIMEOUT));
        match answer {
            Ok(wire::FromWorker::Loaded(loaded)) if loaded.stage.is_empty() => {}
            Ok(wire::FromWorker::Loaded(loaded)) => return Ok(Err(loaded.reason)),
            Ok(_) => return Err(Fault::Broken("the compiling worker breaks the protocol".to_owned())),
            Err(Fault::Gone) => return Ok(Err(process.why())),
            Err(fault) => return Err(fault),
        }
        // Ended, so that nobody writes what is read now.
        drop(process);
        let compiled = read_all(&output)?;
        if let Some(aot) = &self.aot {
            aot.put(&self.engine, package.code_sha256(), self.profile.digest(), &compiled);
        }
        Ok(Ok(compiled))
    }

    /// Starts a worker of a package and has it take in the code.
    fn serve(&self, prepared: &Prepared, rehearse: bool) -> Result<(Process, wire::Loaded), Fault> {
        let (code, size) = match &prepared.held {
            Some(held) => held.clone(),
            None => {
                let missing = || Fault::Broken("the compiled code is no longer in the cache".to_owned());
                let code = self.cached(prepared.code_sha256).ok_or_else(missing)?;
                (Arc::new(memory_file(&code)?), code.len() as u64)
            }
        };
        let limits = serving(prepared.methods.manifest.limits.memory_bytes, size);
        let mut process = self.start(Task::Serve, limits, code, None)?;
        let load = wire::Load { manifest: prepared.manifest.clone(), code_size_bytes: size, rehearse };
        // A start function that spins is given what a call would get.
        let timeout = Duration::from_millis(prepared.methods.manifest.limits.timeout_ms);
        let deadline = Instant::now() + LOAD_TIMEOUT + timeout;
        match session::load(&mut process, load, deadline) {
            Ok(loaded) => Ok((process, loaded)),
            Err(Fault::Gone) => Err(Fault::Broken(process.why())),
            Err(fault) => Err(fault),
        }
    }

    /// A worker for a call, if there is one in time.
    fn worker(&self, id: LaneId, prepared: &Prepared, deadline: Instant) -> Result<Box<Worker>, Status> {
        let mut pool = self.pool.lock();
        loop {
            match pool.turn(id, Instant::now()) {
                Turn::Take(worker) => return Ok(worker),
                Turn::Rest(left) => {
                    let reason =
                        format!("the cryptlet's worker crashed and rests for {} ms", left.as_millis());
                    return Err(Status::unavailable(UnavailableKind::HostFault, reason));
                }
                Turn::Wait if self.turn.wait_until(&mut pool, deadline).timed_out() => {
                    let reason = "all workers of this host are taken";
                    return Err(Status::unavailable(UnavailableKind::Busy, reason));
                }
                Turn::Wait => {}
                Turn::Start(leaves) => {
                    drop(pool);
                    drop(leaves);
                    return self.started(id, prepared);
                }
            }
        }
    }

    fn started(&self, id: LaneId, prepared: &Prepared) -> Result<Box<Worker>, Status> {
        let problem = match self.serve(prepared, false) {
            Ok((process, loaded)) if loaded.stage.is_empty() => {
                tracing::debug!(pid = process.pid(), package = %id.1, "worker.started");
                return Ok(Box::new(Worker { process, busy: Duration::ZERO }));
            }
            Ok((_, loaded)) => format!("{}: {}", loaded.stage, loaded.reason),
            Err(fault) => fault.to_string(),
        };
        tracing::warn!(package = %id.1, problem, "worker.start");
        self.pool.lock().crashed(id, Instant::now());
        self.turn.notify_all();
        if prepared.held.is_none() && self.cached(prepared.code_sha256).is_none() {
            // Whoever calls again loads it again.
            self.packages.write().remove(&id.1);
        }
        Err(Status::unavailable(
            UnavailableKind::HostFault,
            format!("the cryptlet's worker does not start: {problem}"),
        ))
    }

    fn run(&self, id: LaneId, session: &Session<'_>, mut worker: Box<Worker>) -> Outcome {
        let started = Instant::now();
        match session.run(&mut worker.process) {
            Ok(outcome) => {
                worker.busy += started.elapsed();
                let worn = self.pool.lock().give_back(id, *worker, Instant::now());
                drop(worn);
                self.turn.notify_one();
                outcome
            }
            Err(Fault::TimedOut) => {
                tracing::debug!(pid = worker.process.pid(), package = %id.1, "worker.timeout");
                drop(worker);
                self.pool.lock().gone(id);
                self.turn.notify_all();
                let reason = "the cryptlet did not answer in time";
                Outcome::not_run(Status::unavailable(UnavailableKind::Timeout, reason))
            }
            Err(fault) => {
                let problem = match fault {
                    Fault::Gone => worker.process.why(),
                    other => other.to_string(),
                };
                tracing::warn!(pid = worker.process.pid(), package = %id.1, problem, "worker.crash");
                drop(worker);
                self.pool.lock().crashed(id, Instant::now());
                self.turn.notify_all();
                Outcome::not_run(Status::unavailable(UnavailableKind::HostFault, problem))
            }
        }
    }
}

impl Container for ConfinedContainer {
    fn name(&self) -> &'static str {
        CONTAINER_NAME
    }

    fn profile(&self) -> &ExecutionProfile {
        &self.profile
    }

    fn load(&self, package: &Package, least: Isolation) -> Result<PackageId, LoadError> {
        let id = package.id();
        if self.is_loaded(&id, least) {
            return Ok(id);
        }
        let _one_at_a_time = self.preparing.lock();
        if self.is_loaded(&id, least) {
            return Ok(id);
        }
        let name = &package.manifest().name;
        if self.packages.read().len() >= limits::PACKAGES_MAX {
            return Err(LoadError::Full { name: name.clone(), max: limits::PACKAGES_MAX });
        }
        let prepared = self.prepare(package)?;
        self.packages.write().insert(id, Arc::new(prepared));
        tracing::info!(package = %name, version = %package.manifest().version, %id, "confined.loaded");
        Ok(id)
    }

    fn is_loaded(&self, package: &PackageId, _least: Isolation) -> bool {
        self.packages.read().contains_key(package)
    }

    fn unload(&self, package: &PackageId) {
        self.packages.write().remove(package);
        let retired = self.pool.lock().retire(Instant::now(), Some(package));
        drop(retired);
        self.turn.notify_all();
    }

    fn manifest(&self, package: &PackageId) -> Option<Manifest> {
        self.packages.read().get(package).map(|prepared| prepared.methods.manifest.clone())
    }

    fn claims(&self) -> Vec<(&'static str, String)> {
        let said = |wall: bool| if wall { "yes" } else { "no" }.to_owned();
        match self.walls() {
            Ok(walls) => vec![
                ("isolation", Isolation::Process.name().to_owned()),
                ("isolation.empty-root", said(walls.empty_root)),
                ("isolation.landlock", walls.landlock.to_string()),
                ("isolation.namespaces", said(walls.namespaces)),
                ("isolation.seccomp", said(walls.seccomp)),
            ],
            Err(problem) => {
                tracing::warn!(problem, "confined.walls");
                vec![("isolation", "none".to_owned())]
            }
        }
    }

    fn invoke(&self, package: &PackageId, call: &Invocation) -> Outcome {
        let Some(prepared) = self.packages.read().get(package).map(Arc::clone) else {
            let reason = "this host has not loaded the package";
            return Outcome::not_run(Status::unavailable(UnavailableKind::NotLoaded, reason));
        };
        let types = match prepared.methods.admit(call) {
            Ok(types) => types,
            Err(status) => return Outcome::not_run(status),
        };
        let timeout = timeout_of(call, &prepared.methods);
        let deadline = Instant::now() + timeout;
        let id = (call.ledger, *package);
        let worker = match self.worker(id, &prepared, deadline) {
            Ok(worker) => worker,
            Err(status) => return Outcome::not_run(status),
        };
        let surroundings = self.surroundings.as_ref();
        let session = Session { call, methods: &prepared.methods, types, surroundings, deadline, timeout };
        self.run(id, &session, worker)
    }
}

fn serving(memory_bytes: u64, code_size_bytes: u64) -> Limits {
    // Images of the cryptlet's memories are in files in memory, the memories themselves are private.
    let own = WORKER_DATA_SIZE_BYTES.saturating_add(code_size_bytes.saturating_mul(2));
    Limits {
        data_size_bytes: own.saturating_add(memory_bytes),
        cpu_s: WORKER_CPU_S_MAX,
        file_size_bytes: memory_bytes.max(code_size_bytes),
    }
}

#[allow(unsafe_code, reason = "a file that is in memory only")]
fn empty_file() -> std::io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a constant name; what comes back is a descriptor of ours.
    unsafe {
        let descriptor = libc::memfd_create(c"cryptlet".as_ptr(), flags);
        if descriptor < 0 { Err(std::io::Error::last_os_error()) } else { Ok(File::from_raw_fd(descriptor)) }
    }
}

/// A file in memory with these bytes, sealed: nobody changes them any more.
#[allow(unsafe_code, reason = "sealing")]
fn memory_file(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = empty_file()?;
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: plain numbers.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    if sealed < 0 { Err(std::io::Error::last_os_error()) } else { Ok(file) }
}

/// All of a file, whatever place in it a worker left.
fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(AOT_SIZE_BYTES_MAX)];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}
