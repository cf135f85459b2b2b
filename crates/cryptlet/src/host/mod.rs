//! The container that runs wasm components in this process: wasmtime, one profile, a fresh instance per call.

mod check;
mod engine;
pub mod limits;
mod linker;
mod state;
mod ticker;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_dyn_abi::DynSolType;
use alloy_primitives::{B256, Bytes};
use parking_lot::{Mutex, RwLock};
use wasmtime::{
    Engine, PoolConcurrencyLimitError, Store, Trap,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

pub use check::{CheckError, HANDLER, Interfaces, check, interfaces};
pub use engine::{PROFILE_NAME, WASMTIME_VERSION, profile};

use self::{
    state::{Abort, CallState, OUT_OF_FUEL},
    ticker::Ticker,
    wire::CryptletError,
};
use crate::{
    abi,
    aot::AotCache,
    container::{
        Container, FailureKind, INPUT_SIZE_BYTES_MAX, Invocation, LoadError, OUTPUT_SIZE_BYTES_MAX, Outcome,
        Outside, Status, UnavailableKind,
    },
    fetch::Fetcher,
    manifest::{Isolation, Manifest, World},
    package::{Package, PackageId},
    profile::ExecutionProfile,
};

/// Name of this implementation of the Container seam.
pub const CONTAINER_NAME: &str = "wasm-in-process";

/// The engine's words when a guest hands over more than [`limits::TRANSFER_SIZE_BYTES_MAX`]; it has no type for it.
const TRANSFER_REFUSED: &str = "too much data is being copied between the host and the guest";

/// Runs wasm components in this process.
pub struct WasmContainer {
    engine: Engine,
    profile: ExecutionProfile,
    linkers: BTreeMap<World, Linker<CallState>>,
    aot: Option<AotCache>,
    fetcher: Arc<dyn Fetcher>,
    packages: RwLock<HashMap<PackageId, Arc<Loaded>>>,
    /// One compilation at a time: each already uses every core.
    preparing: Mutex<()>,
    ticker: Ticker,
}

/// A package that is ready.
struct Loaded {
    manifest: Manifest,
    types: HashMap<String, MethodTypes>,
    memory_bytes_max: usize,
    pre: InstancePre<CallState>,
    handle: ComponentExportIndex,
}

struct MethodTypes {
    inputs: Vec<DynSolType>,
    outputs: Vec<DynSolType>,
}

/// Why the container could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine does not take the profile on this machine.
    #[error("the wasm engine does not start under profile {PROFILE_NAME}: {0}")]
    Engine(String),
    /// The backstop's thread does not start.
    #[error("the thread that keeps the time of cryptlet calls does not start: {0}")]
    Thread(#[from] std::io::Error),
}

impl WasmContainer {
    /// A container without packages. `aot` keeps compiled code between starts; `fetcher` gets outside data.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(aot: Option<AotCache>, fetcher: Arc<dyn Fetcher>) -> Result<Self, OpenError> {
        let failed = |error: wasmtime::Error| OpenError::Engine(first_line(&error));
        let engine = engine::engine().map_err(failed)?;
        let mut linkers = BTreeMap::new();
        for world in [World::Utility, World::Oracle] {
            linkers.insert(world, linker::linker(&engine, world).map_err(failed)?);
        }
        Ok(Self {
            profile: engine::profile(),
            linkers,
            aot,
            fetcher,
            packages: RwLock::default(),
            preparing: Mutex::new(()),
            ticker: Ticker::start(engine.clone())?,
            engine,
        })
    }

    /// Lets a package go; calls of it that run finish.
    pub fn unload(&self, package: &PackageId) {
        self.packages.write().remove(package);
    }

    /// The manifest of a package that is loaded.
    #[must_use]
    pub fn manifest(&self, package: &PackageId) -> Option<Manifest> {
        self.packages.read().get(package).map(|loaded| loaded.manifest.clone())
    }

    fn prepare(&self, package: &Package) -> Result<Loaded, LoadError> {
        let manifest = package.manifest().clone();
        check_demands(&manifest)?;
        check::check(package.code(), manifest.world)
            .map_err(|source| LoadError::Refused { name: manifest.name.clone(), source })?;
        let unusable = |stage| {
            let (name, profile) = (manifest.name.clone(), self.profile.name.clone());
            move |error: wasmtime::Error| LoadError::Unusable {
                name,
                stage,
                profile,
                reason: first_line(&error),
            }
        };
        let component = self.compile(package).map_err(unusable("compile"))?;
        let missing = |what: &str| unusable("link")(wasmtime::Error::msg(format!("there is no {what}")));
        let linker = self.linkers.get(&manifest.world).ok_or_else(|| missing("linker for its world"))?;
        let pre = linker.instantiate_pre(&component).map_err(unusable("link"))?;
        let handle = component
            .get_export_index(None, HANDLER)
            .and_then(|handler| component.get_export_index(Some(&handler), "handle"))
            .ok_or_else(|| missing("function `handle` in its handler"))?;
        let types = method_types(&manifest).ok_or_else(|| missing("known type in a method"))?;
        let memory_bytes_max =
            usize::try_from(manifest.limits.memory_bytes).unwrap_or(limits::MEMORY_SIZE_BYTES_MAX);
        Ok(Loaded { types, memory_bytes_max, pre, handle, manifest })
    }

    fn compile(&self, package: &Package) -> wasmtime::Result<Component> {
        let Some(aot) = &self.aot else { return Component::from_binary(&self.engine, package.code()) };
        let (component, origin) =
            aot.component(&self.engine, package.code(), package.code_sha256(), self.profile.digest())?;
        tracing::debug!(package = %package.manifest().name, ?origin, "host.compile");
        Ok(component)
    }

    /// Makes one instance and throws it away, so that what cannot be instantiated is refused now and not at its calls.
    fn rehearse(&self, loaded: Arc<Loaded>) -> Result<Arc<Loaded>, LoadError> {
        let limits = loaded.manifest.limits;
        let call = Invocation {
            call_id: B256::ZERO,
            ledger: B256::ZERO.into(),
            height: Default::default(),
            block_time: Default::default(),
            as_of: Default::default(),
            caller: Default::default(),
            method: String::new(),
            input: Bytes::new(),
            fuel_max: limits.fuel,
            timeout_ms: limits.timeout_ms,
            outside: Outside::Recorded(Arc::default()),
        };
        let unusable = |reason: String| LoadError::Unusable {
            name: loaded.manifest.name.clone(),
            stage: "start",
            profile: self.profile.name.clone(),
            reason,
        };
        let deadline = Instant::now() + Duration::from_millis(limits.timeout_ms);
        let _place = self
            .ticker
            .enter(limits::CONCURRENT_CALLS_MAX, Duration::from_millis(limits.timeout_ms))
            .ok_or_else(|| unusable("all instances of this host are taken, try again".to_owned()))?;
        let mut store = self
            .store(call, Arc::clone(&loaded), limits.fuel, limits.timeout_ms, deadline)
            .map_err(|error| unusable(first_line(&error)))?;
        loaded
            .pre
            .instantiate(&mut store)
            .and_then(|instance| {
                instance
                    .get_typed_func::<HandleParams<'_>, HandleResult>(&mut store, &loaded.handle)
                    .map(drop)
            })
            .map_err(|error| unusable(classify(&error, Phase::Start).reason().to_owned()))?;
        drop(store);
        Ok(loaded)
    }

    fn store(
        &self,
        call: Invocation,
        loaded: Arc<Loaded>,
        fuel: u64,
        timeout_ms: u64,
        deadline: Instant,
    ) -> wasmtime::Result<Store<CallState>> {
        let state = CallState::new(call, loaded, Arc::clone(&self.fetcher), deadline);
        let mut store = Store::try_new(&self.engine, state)?;
        store.limiter(|state| state);
        store.set_fuel(fuel)?;
        store.set_hostcall_fuel(limits::TRANSFER_SIZE_BYTES_MAX);
        store.set_max_component_handles(0);
        // One more: the epoch that is running is already partly over.
        store.set_epoch_deadline(timeout_ms / ticker::EPOCH_MS + 2);
        Ok(store)
    }

    fn run(&self, loaded: Arc<Loaded>, call: &Invocation, types: &MethodTypes) -> Outcome {
        let fuel = call.fuel_max.min(loaded.manifest.limits.fuel);
        let timeout_ms = call.timeout_ms.min(loaded.manifest.limits.timeout_ms);
        let timeout = Duration::from_millis(timeout_ms);
        let deadline = Instant::now() + timeout;
        let Some(_place) = self.ticker.enter(limits::CONCURRENT_CALLS_MAX, timeout) else {
            let reason = "all instances of this host are taken";
            return Outcome::not_run(Status::unavailable(UnavailableKind::Busy, reason));
        };
        let mut store = match self.store(call.clone(), Arc::clone(&loaded), fuel, timeout_ms, deadline) {
            Ok(store) => store,
            Err(error) => return Outcome::not_run(classify(&error, Phase::Start)),
        };
        let answer = answer(&mut store, &loaded, call);
        let fuel_used = fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let state = store.into_data();
        let (status, output) = match answer {
            Ok(output) => accept(output, types),
            Err(status) => (status, Bytes::new()),
        };
        let unused = status.is_recordable() && state.has_unused_record();
        let (status, output) = if unused {
            let reason = "the record holds fetches that the cryptlet does not make";
            (Status::unavailable(UnavailableKind::TranscriptMismatch, reason), Bytes::new())
        } else {
            (status, output)
        };
        let out_of_fuel =
            matches!(&status, Status::Failed(failure) if failure.kind == FailureKind::OutOfFuel);
        Outcome {
            status,
            output,
            fuel_used: if out_of_fuel { fuel } else { fuel_used },
            host_calls_digest: state.host_calls_digest,
            transcript: state.transcript,
        }
    }
}

type HandleParams<'a> = (&'a str, &'a [u8]);
type HandleResult = (Result<Vec<u8>, CryptletError>,);

impl Container for WasmContainer {
    fn name(&self) -> &'static str {
        CONTAINER_NAME
    }

    fn profile(&self) -> &ExecutionProfile {
        &self.profile
    }

    fn load(&self, package: &Package) -> Result<PackageId, LoadError> {
        let id = package.id();
        if self.is_loaded(&id) {
            return Ok(id);
        }
        let _one_at_a_time = self.preparing.lock();
        if self.is_loaded(&id) {
            return Ok(id);
        }
        let name = &package.manifest().name;
        if self.packages.read().len() >= limits::PACKAGES_MAX {
            return Err(LoadError::Full { name: name.clone(), max: limits::PACKAGES_MAX });
        }
        let loaded = self.rehearse(Arc::new(self.prepare(package)?))?;
        self.packages.write().insert(id, loaded);
        tracing::info!(package = %name, version = %package.manifest().version, %id, "host.loaded");
        Ok(id)
    }

    fn is_loaded(&self, package: &PackageId) -> bool {
        self.packages.read().contains_key(package)
    }

    fn invoke(&self, package: &PackageId, call: &Invocation) -> Outcome {
        let Some(loaded) = self.packages.read().get(package).map(Arc::clone) else {
            let reason = "this host has not loaded the package";
            return Outcome::not_run(Status::unavailable(UnavailableKind::NotLoaded, reason));
        };
        if call.input.len() > INPUT_SIZE_BYTES_MAX {
            let reason = format!("the input is longer than {INPUT_SIZE_BYTES_MAX} bytes");
            return Outcome::not_run(Status::failed(FailureKind::InputTooLarge, reason));
        }
        let Some(types) = loaded.types.get(&call.method) else {
            let method: String = call.method.chars().take(crate::manifest::NAME_SIZE_BYTES_MAX).collect();
            let reason = format!("{} has no method `{method}`", loaded.manifest.name);
            return Outcome::not_run(Status::failed(FailureKind::UnknownMethod, reason));
        };
        if !abi::is_canonical(&types.inputs, &call.input) {
            let reason = format!("the input is not the ABI encoding of {}", tuple_name(&types.inputs));
            return Outcome::not_run(Status::failed(FailureKind::InvalidInput, reason));
        }
        self.run(Arc::clone(&loaded), call, types)
    }
}

/// Instantiates and calls; `Err` is every way not to get an output.
fn answer(store: &mut Store<CallState>, loaded: &Loaded, call: &Invocation) -> Result<Vec<u8>, Status> {
    let instance = loaded.pre.instantiate(&mut *store).map_err(|error| classify(&error, Phase::Start))?;
    let handle = instance
        .get_typed_func::<HandleParams<'_>, HandleResult>(&mut *store, &loaded.handle)
        .map_err(|error| classify(&error, Phase::Call))?;
    let (answer,) = handle
        .call(&mut *store, (&call.method, &call.input))
        .map_err(|error| classify(&error, Phase::Call))?;
    answer.map_err(|error| match error {
        CryptletError::InvalidInput(reason) => Status::failed(FailureKind::InvalidInput, reason),
        CryptletError::Denied(reason) => Status::failed(FailureKind::Denied, reason),
        CryptletError::Internal(reason) => Status::failed(FailureKind::Internal, reason),
        CryptletError::Unavailable(reason) => Status::unavailable(UnavailableKind::SourceUnavailable, reason),
    })
}

fn accept(output: Vec<u8>, types: &MethodTypes) -> (Status, Bytes) {
    if output.len() > OUTPUT_SIZE_BYTES_MAX {
        return (Status::failed(FailureKind::OutputTooLarge, too_large()), Bytes::new());
    }
    if !abi::is_canonical(&types.outputs, &output) {
        let reason =
            format!("the cryptlet's output is not the ABI encoding of {}", tuple_name(&types.outputs));
        return (Status::failed(FailureKind::AbiViolation, reason), Bytes::new());
    }
    (Status::Ok, output.into())
}

fn too_large() -> String {
    format!("the cryptlet hands over more than {OUTPUT_SIZE_BYTES_MAX} bytes")
}

fn tuple_name(types: &[DynSolType]) -> String {
    let names: Vec<_> = types.iter().map(DynSolType::sol_type_name).collect();
    format!("({})", names.join(","))
}

fn method_types(manifest: &Manifest) -> Option<HashMap<String, MethodTypes>> {
    let tuple = |parameters: &[crate::manifest::Parameter]| {
        parameters.iter().map(|parameter| abi::parse_type(&parameter.kind).ok()).collect::<Option<Vec<_>>>()
    };
    manifest
        .methods
        .iter()
        .map(|method| {
            let types = MethodTypes { inputs: tuple(&method.inputs)?, outputs: tuple(&method.outputs)? };
            Some((method.name.clone(), types))
        })
        .collect()
}

fn check_demands(manifest: &Manifest) -> Result<(), LoadError> {
    if manifest.isolation != Isolation::InProcess {
        return Err(LoadError::Isolation {
            name: manifest.name.clone(),
            asked: manifest.isolation.name(),
            given: Isolation::InProcess.name(),
        });
    }
    for (what, asked, max) in [
        ("limits.fuel", manifest.limits.fuel, limits::FUEL_MAX),
        ("limits.memory_bytes", manifest.limits.memory_bytes, limits::MEMORY_SIZE_BYTES_MAX as u64),
        ("limits.timeout_ms", manifest.limits.timeout_ms, limits::TIMEOUT_MS_MAX),
    ] {
        if asked > max {
            return Err(LoadError::TooDemanding { name: manifest.name.clone(), what, asked, max });
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Call,
}

/// What an error of the engine means for the call. Reasons are fixed words: no addresses, nothing of this host.
fn classify(error: &wasmtime::Error, phase: Phase) -> Status {
    if let Some(Abort(status)) = error.downcast_ref::<Abort>() {
        return status.clone();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::OutOfFuel => Status::failed(FailureKind::OutOfFuel, OUT_OF_FUEL),
            Trap::StackOverflow => {
                Status::failed(FailureKind::StackOverflow, "the cryptlet's stack overflowed")
            }
            Trap::Interrupt => {
                Status::unavailable(UnavailableKind::Timeout, "the cryptlet did not answer in time")
            }
            other => Status::failed(FailureKind::Trap, format!("the cryptlet trapped: {other}")),
        };
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Status::unavailable(UnavailableKind::Busy, "all instances of this host are taken");
    }
    if first_line(error).starts_with(TRANSFER_REFUSED)
        || error.root_cause().to_string().starts_with(TRANSFER_REFUSED)
    {
        return Status::failed(FailureKind::OutputTooLarge, too_large());
    }
    tracing::debug!(%error, "host.error");
    match phase {
        Phase::Start => {
            Status::unavailable(UnavailableKind::HostFault, "the host could not make an instance")
        }
        Phase::Call => Status::failed(
            FailureKind::AbiViolation,
            "the cryptlet broke the calling convention of components",
        ),
    }
}

fn first_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().chars().take(300).collect()
}
