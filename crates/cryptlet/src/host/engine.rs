//! The engine and its profile: every setting that an outcome depends on, in one place.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails, WasmFeatures,
};

use super::limits;
use crate::{
    container::{INPUT_SIZE_BYTES_MAX, OUTPUT_SIZE_BYTES_MAX, REASON_SIZE_BYTES_MAX},
    fetch::{PATH_SIZE_BYTES_MAX, RESPONSE_SIZE_BYTES_MAX},
    profile::ExecutionProfile,
    transcript::FETCHES_PER_CALL_MAX,
};

/// Exact version of the engine; the workspace pins it, a test compares it with the lock file.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// Name of the profile; a change of any setting below needs a new one.
pub const PROFILE_NAME: &str = "bletchley-wasm-1";

/// Stack of wasm code. Fits a thread of 2 MiB with the host's frames around it.
const WASM_STACK_SIZE_BYTES: usize = 512 * 1024;
/// Size of a core instance's or component's own tables in the pool.
const INSTANCE_SIZE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Memory of a slot that is put back in place rather than given back to the system: page faults cost more.
const MEMORY_RESIDENT_SIZE_BYTES: usize = 2 * 1024 * 1024;
/// The same of a table.
const TABLE_RESIDENT_SIZE_BYTES: usize = 64 * 1024;
/// Slots that stay warm.
const WARM_SLOTS_MAX: u32 = 64;

/// Features of wasm that guests may use; all of them deterministic (NaN canonicalization covers the floats). Left
/// out above all: threads, relaxed SIMD, 64-bit memories, garbage collection, exceptions, asynchronous components.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);
const FEATURE_NAMES: &str = "wasm2,tail-call,extended-const,multi-memory,component-model";

/// How many calls an engine runs at once. No outcome depends on it, nor does compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// As many as the host allows: the node's own process.
    Many,
    /// One: a confined worker, which has no threads and no `/proc`.
    One,
}

/// The engine of the profile.
pub(super) fn engine(places: Places) -> wasmtime::Result<Engine> {
    let mut config = config();
    config
        .parallel_compilation(places == Places::Many)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(places)));
    Engine::new(&config)
}

/// An engine that compiles for the profile and runs nothing, so it reserves no memory.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.parallel_compilation(false).allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_features(!FEATURES, false).wasm_features(FEATURES, true);
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_SIZE_BYTES)
        .concurrency_support(false)
        // Reasons hold no addresses, and a trap costs no walk of the stack.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .memory_init_cow(true);
    config
}

fn pool(places: Places) -> PoolingAllocationConfig {
    let (calls, pagemap) = match places {
        Places::Many => (limits::CONCURRENT_CALLS_MAX, Enabled::Auto),
        // The engine would open a file for it, which a jail forbids.
        Places::One => (1, Enabled::No),
    };
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(calls)
        .total_core_instances(calls * limits::CORE_INSTANCES_MAX)
        .total_memories(calls * limits::MEMORIES_MAX)
        .total_tables(calls * limits::TABLES_MAX)
        .max_core_instances_per_component(limits::CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::MEMORIES_MAX)
        .max_tables_per_component(limits::TABLES_MAX)
        .max_memory_size(limits::MEMORY_SIZE_BYTES_MAX)
        .max_component_instance_size(INSTANCE_SIZE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_SIZE_BYTES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(MEMORY_RESIDENT_SIZE_BYTES)
        .table_keep_resident(TABLE_RESIDENT_SIZE_BYTES)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .pagemap_scan(pagemap);
    pool
}

/// The profile that every outcome of this host is computed under.
#[must_use]
pub fn profile() -> ExecutionProfile {
    let flags: Vec<(&str, String)> = vec![
        // Where a stack overflows depends on the size of compiled frames.
        ("target", std::env::consts::ARCH.to_owned()),
        ("compiler", "cranelift-speed".to_owned()),
        ("nan-canonicalization", "on".to_owned()),
        ("wasm-features", FEATURE_NAMES.to_owned()),
        ("wasm-stack-bytes", WASM_STACK_SIZE_BYTES.to_string()),
        ("fuel-per-operator", "wasmtime-default".to_owned()),
        ("fuel-per-host-call", limits::HOST_CALL_FUEL.to_string()),
        ("fuel-per-host-call-byte", limits::HOST_CALL_BYTE_FUEL.to_string()),
        ("fuel-per-fetch", limits::FETCH_FUEL.to_string()),
        ("host-calls-max", limits::HOST_CALLS_MAX.to_string()),
        ("fetches-max", FETCHES_PER_CALL_MAX.to_string()),
        ("fetch-path-bytes-max", PATH_SIZE_BYTES_MAX.to_string()),
        ("fetch-response-bytes-max", RESPONSE_SIZE_BYTES_MAX.to_string()),
        ("log-message-bytes-max", limits::LOG_MESSAGE_SIZE_BYTES_MAX.to_string()),
        ("random-bytes-max", limits::RANDOM_SIZE_BYTES_MAX.to_string()),
        ("input-bytes-max", INPUT_SIZE_BYTES_MAX.to_string()),
        ("output-bytes-max", OUTPUT_SIZE_BYTES_MAX.to_string()),
        ("reason-bytes-max", REASON_SIZE_BYTES_MAX.to_string()),
        ("table-elements-max", limits::TABLE_ELEMENTS_MAX.to_string()),
    ];
    ExecutionProfile::new(PROFILE_NAME, WASMTIME_VERSION, &flags)
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::{PROFILE_NAME, Places, WASMTIME_VERSION, compiler, engine, profile};

    #[test]
    fn what_one_engine_of_the_profile_compiles_every_other_one_runs() {
        let digest = |engine: wasmtime::Result<wasmtime::Engine>| {
            let mut hasher = DefaultHasher::new();
            engine.map(|engine| engine.precompile_compatibility_hash().hash(&mut hasher)).unwrap_or_default();
            hasher.finish()
        };
        let many = digest(engine(Places::Many));
        assert_ne!(many, DefaultHasher::new().finish());
        assert_eq!(many, digest(engine(Places::One)));
        assert_eq!(many, digest(compiler()));
    }

    #[test]
    fn the_specification_lists_every_flag_with_its_value() {
        let specification = include_str!("../../../../specs/cryptlet.md");
        assert!(
            specification.contains(&format!("The profile `{PROFILE_NAME}` is wasmtime {WASMTIME_VERSION},"))
        );
        for (flag, value) in profile().flags {
            let line = specification
                .lines()
                .find(|line| line.starts_with("| ") && line.contains(&format!("`{flag}`")));
            assert!(
                line.is_some_and(|line| line.contains(&format!("`{value}`"))),
                "{flag}={value}: {line:?}"
            );
        }
    }

    #[test]
    fn the_profile_names_the_version_that_is_built() {
        let lock = include_str!("../../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n")));
    }
}
