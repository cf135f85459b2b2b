//! The container that runs wasm components in this process: wasmtime, one profile, a fresh instance per call.

mod check;
mod engine;
mod executor;
pub mod limits;
mod linker;
mod methods;
mod state;
mod ticker;
mod wire;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use wasmtime::component::Component;

pub use check::{CheckError, HANDLER, Interfaces, check, interfaces};
pub use engine::{PROFILE_NAME, WASMTIME_VERSION, profile};
pub(crate) use engine::{Places, compiler};
pub(crate) use executor::{Executor, Loaded, Patience, Unready, first_line, fuel_of, timeout_of};
pub(crate) use methods::{MethodTypes, Methods};
pub(crate) use state::{Surroundings, World as FetchingWorld};
pub(crate) use wire::LogLevel;

use self::ticker::{InFlight, Ticker};
use crate::{
    aot::AotCache,
    container::{Container, Invocation, LoadError, Outcome, Status, UnavailableKind},
    fetch::Fetcher,
    manifest::{Isolation, Manifest},
    package::{Package, PackageId},
    profile::ExecutionProfile,
};

/// Name of this implementation of the Container seam.
pub const CONTAINER_NAME: &str = "wasm-in-process";

/// Runs wasm components in this process.
pub struct WasmContainer {
    executor: Executor,
    aot: Option<Arc<AotCache>>,
    surroundings: Arc<dyn Surroundings>,
    packages: RwLock<HashMap<PackageId, Arc<Loaded>>>,
    /// One compilation at a time: each already uses every core.
    preparing: Mutex<()>,
    ticker: Ticker,
}

/// Why a container could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine does not take the profile on this machine.
    #[error("the wasm engine does not start under profile {PROFILE_NAME}: {0}")]
    Engine(String),
    /// The thread that keeps time or workers does not start.
    #[error("a thread of the cryptlet container does not start: {0}")]
    Thread(#[from] std::io::Error),
}

impl WasmContainer {
    /// A container without packages. `aot` keeps compiled code between starts; `fetcher` gets outside data.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(aot: Option<Arc<AotCache>>, fetcher: Arc<dyn Fetcher>) -> Result<Self, OpenError> {
        let executor = Executor::open(Places::Many).map_err(|error| OpenError::Engine(first_line(&error)))?;
        Ok(Self {
            aot,
            surroundings: Arc::new(FetchingWorld(fetcher)),
            packages: RwLock::default(),
            preparing: Mutex::new(()),
            ticker: Ticker::start(executor.engine.clone())?,
            executor,
        })
    }

    fn prepare(&self, package: &Package) -> Result<Arc<Loaded>, LoadError> {
        let manifest = package.manifest();
        Methods::check_demands(manifest)?;
        check::check(package.code(), manifest.world)
            .map_err(|source| LoadError::Refused { name: manifest.name.clone(), source })?;
        self.ready(package).map_err(|unready| LoadError::Unusable {
            name: manifest.name.clone(),
            stage: unready.stage,
            profile: self.executor.profile.name.clone(),
            reason: unready.reason,
        })
    }

    fn ready(&self, package: &Package) -> Result<Arc<Loaded>, Unready> {
        let component = self
            .compile(package)
            .map_err(|error| Unready { stage: "compile", reason: first_line(&error) })?;
        let methods = Methods::of(package.manifest().clone()).ok_or_else(|| Unready {
            stage: "link",
            reason: "there is no known type in a method".to_owned(),
        })?;
        let loaded = Arc::new(self.executor.link(&component, Arc::new(methods))?);
        let timeout = Duration::from_millis(package.manifest().limits.timeout_ms);
        let (_place, patience) = self.enter(timeout).ok_or_else(|| Unready {
            stage: "start",
            reason: "all instances of this host are taken, try again".to_owned(),
        })?;
        self.executor.rehearse(&loaded, Arc::clone(&self.surroundings), patience)?;
        Ok(loaded)
    }

    fn compile(&self, package: &Package) -> wasmtime::Result<Component> {
        let engine = &self.executor.engine;
        let Some(aot) = &self.aot else { return Component::from_binary(engine, package.code()) };
        let profile = self.executor.profile.digest();
        let (component, origin) = aot.component(engine, package.code(), package.code_sha256(), profile)?;
        tracing::debug!(package = %package.manifest().name, ?origin, "host.compile");
        Ok(component)
    }

    /// Takes a place for a call of this length.
    fn enter(&self, timeout: Duration) -> Option<(InFlight<'_>, Patience)> {
        let deadline = Instant::now() + timeout;
        let place = self.ticker.enter(limits::CONCURRENT_CALLS_MAX, timeout)?;
        let ticks = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) / ticker::EPOCH_MS;
        // One more: the epoch that is running is already partly over.
        Some((place, Patience { deadline, epochs: ticks.saturating_add(2) }))
    }
}

impl Container for WasmContainer {
    fn name(&self) -> &'static str {
        CONTAINER_NAME
    }

    fn profile(&self) -> &ExecutionProfile {
        &self.executor.profile
    }

    fn load(&self, package: &Package, least: Isolation) -> Result<PackageId, LoadError> {
        let id = package.id();
        let asked = least.max(package.manifest().isolation);
        if asked > Isolation::InProcess {
            return Err(LoadError::Isolation {
                name: package.manifest().name.clone(),
                asked: asked.name(),
                given: Isolation::InProcess.name(),
            });
        }
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
        let loaded = self.prepare(package)?;
        self.packages.write().insert(id, loaded);
        tracing::info!(package = %name, version = %package.manifest().version, %id, "host.loaded");
        Ok(id)
    }

    fn is_loaded(&self, package: &PackageId, least: Isolation) -> bool {
        least <= Isolation::InProcess && self.packages.read().contains_key(package)
    }

    fn unload(&self, package: &PackageId) {
        self.packages.write().remove(package);
    }

    fn manifest(&self, package: &PackageId) -> Option<Manifest> {
        self.packages.read().get(package).map(|loaded| loaded.methods.manifest.clone())
    }

    fn claims(&self) -> Vec<(&'static str, String)> {
        vec![("isolation", Isolation::InProcess.name().to_owned())]
    }

    fn invoke(&self, package: &PackageId, call: &Invocation) -> Outcome {
        let loaded = self.packages.read().get(package).map(Arc::clone);
        let Some(loaded) = loaded.filter(|_| call.isolation <= Isolation::InProcess) else {
            let reason = "this host has not loaded the package";
            return Outcome::not_run(Status::unavailable(UnavailableKind::NotLoaded, reason));
        };
        let types = match loaded.methods.admit(call) {
            Ok(types) => types,
            Err(status) => return Outcome::not_run(status),
        };
        let Some((_place, patience)) = self.enter(timeout_of(call, &loaded.methods)) else {
            let reason = "all instances of this host are taken";
            return Outcome::not_run(Status::unavailable(UnavailableKind::Busy, reason));
        };
        self.executor.run(&loaded, call, types, Arc::clone(&self.surroundings), patience)
    }
}
