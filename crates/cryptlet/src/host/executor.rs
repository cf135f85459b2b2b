//! The engine at work: links compiled components and runs their calls. The same code runs in the node's process and in
//! a confined worker; what surrounds a call is handed in.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, Bytes};
use wasmtime::{
    Engine, PoolConcurrencyLimitError, Store, Trap,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

use super::{
    check::HANDLER,
    engine::{self, Places},
    limits, linker,
    methods::{MethodTypes, Methods, too_large},
    state::{Abort, CallState, OUT_OF_FUEL, Surroundings},
    wire::CryptletError,
};
use crate::{
    container::{FailureKind, Invocation, Outcome, Outside, Status, UnavailableKind},
    manifest::World,
    profile::ExecutionProfile,
};

/// The engine's words when a guest hands over more than [`limits::TRANSFER_SIZE_BYTES_MAX`]; it has no type for it.
const TRANSFER_REFUSED: &str = "too much data is being copied between the host and the guest";

type HandleParams<'a> = (&'a str, &'a [u8]);
type HandleResult = (Result<Vec<u8>, CryptletError>,);

/// An engine of the profile with its linkers.
pub(crate) struct Executor {
    pub(crate) engine: Engine,
    pub(crate) profile: ExecutionProfile,
    linkers: BTreeMap<World, Linker<CallState>>,
}

/// A package that is ready.
pub(crate) struct Loaded {
    pub(crate) methods: Arc<Methods>,
    pub(super) memory_bytes_max: usize,
    pre: InstancePre<CallState>,
    handle: ComponentExportIndex,
}

/// How long a call may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// When it is too late to fetch.
    pub(crate) deadline: Instant,
    /// Ticks of the engine's epoch after which the code is stopped.
    pub(crate) epochs: u64,
}

/// Where a package stopped on its way, and the engine's words.
#[derive(Debug)]
pub(crate) struct Unready {
    /// `compile`, `link` or `start`.
    pub(crate) stage: &'static str,
    /// First line of the engine's words.
    pub(crate) reason: String,
}

impl Executor {
    /// An engine for as many calls at once.
    pub(crate) fn open(places: Places) -> wasmtime::Result<Self> {
        let engine = engine::engine(places)?;
        let mut linkers = BTreeMap::new();
        for world in [World::Utility, World::Oracle] {
            linkers.insert(world, linker::linker(&engine, world)?);
        }
        Ok(Self { profile: engine::profile(), linkers, engine })
    }

    /// Links a compiled component.
    pub(crate) fn link(&self, component: &Component, methods: Arc<Methods>) -> Result<Loaded, Unready> {
        let unready = |error: wasmtime::Error| Unready { stage: "link", reason: first_line(&error) };
        let missing = |what: &str| unready(wasmtime::Error::msg(format!("there is no {what}")));
        let manifest = &methods.manifest;
        let linker = self.linkers.get(&manifest.world).ok_or_else(|| missing("linker for its world"))?;
        let pre = linker.instantiate_pre(component).map_err(unready)?;
        let handle = component
            .get_export_index(None, HANDLER)
            .and_then(|handler| component.get_export_index(Some(&handler), "handle"))
            .ok_or_else(|| missing("function `handle` in its handler"))?;
        let memory_bytes_max =
            usize::try_from(manifest.limits.memory_bytes).unwrap_or(limits::MEMORY_SIZE_BYTES_MAX);
        Ok(Loaded { methods, memory_bytes_max, pre, handle })
    }

    /// Makes one instance and throws it away, so that what cannot be instantiated is refused now and not at its calls.
    pub(crate) fn rehearse(
        &self,
        loaded: &Arc<Loaded>,
        surroundings: Arc<dyn Surroundings>,
        patience: Patience,
    ) -> Result<(), Unready> {
        let limits = loaded.methods.manifest.limits;
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
            isolation: Default::default(),
        };
        let unready = |reason: String| Unready { stage: "start", reason };
        let mut store = self
            .store(call, loaded, limits.fuel, surroundings, patience)
            .map_err(|error| unready(first_line(&error)))?;
        loaded
            .pre
            .instantiate(&mut store)
            .and_then(|instance| {
                instance
                    .get_typed_func::<HandleParams<'_>, HandleResult>(&mut store, &loaded.handle)
                    .map(drop)
            })
            .map_err(|error| unready(classify(&error, Phase::Start).reason().to_owned()))
    }

    fn store(
        &self,
        call: Invocation,
        loaded: &Arc<Loaded>,
        fuel: u64,
        surroundings: Arc<dyn Surroundings>,
        patience: Patience,
    ) -> wasmtime::Result<Store<CallState>> {
        let state = CallState::new(call, Arc::clone(loaded), surroundings, patience.deadline);
        let mut store = Store::try_new(&self.engine, state)?;
        store.limiter(|state| state);
        store.set_fuel(fuel)?;
        store.set_hostcall_fuel(limits::TRANSFER_SIZE_BYTES_MAX);
        store.set_max_component_handles(0);
        store.set_epoch_deadline(patience.epochs);
        Ok(store)
    }

    /// Runs a call that was admitted, in a fresh instance.
    pub(crate) fn run(
        &self,
        loaded: &Arc<Loaded>,
        call: &Invocation,
        types: &MethodTypes,
        surroundings: Arc<dyn Surroundings>,
        patience: Patience,
    ) -> Outcome {
        let fuel = fuel_of(call, &loaded.methods);
        let mut store = match self.store(call.clone(), loaded, fuel, surroundings, patience) {
            Ok(store) => store,
            Err(error) => return Outcome::not_run(classify(&error, Phase::Start)),
        };
        let answer = answer(&mut store, loaded, call);
        let fuel_used = fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let state = store.into_data();
        let (status, output) = match answer {
            Ok(output) => types.accept(output),
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

/// Fuel of a call: the lesser of what the caller and the manifest allow.
pub(crate) fn fuel_of(call: &Invocation, methods: &Methods) -> u64 {
    call.fuel_max.min(methods.manifest.limits.fuel)
}

/// Time of a call: the lesser of what the caller and the manifest allow.
pub(crate) fn timeout_of(call: &Invocation, methods: &Methods) -> Duration {
    Duration::from_millis(call.timeout_ms.min(methods.manifest.limits.timeout_ms))
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

pub(crate) fn first_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().chars().take(300).collect()
}
