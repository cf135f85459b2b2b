//! Every bound of a call in this host. Those that an outcome depends on are part of the profile.

/// Calls that run at once.
pub const CONCURRENT_CALLS_MAX: u32 = 32;
/// Packages held at once.
pub const PACKAGES_MAX: usize = 256;
/// Core instances of a component: CPython comes as 38, each of its libraries one.
pub const CORE_INSTANCES_MAX: u32 = 64;
/// Linear memories of a component.
pub const MEMORIES_MAX: u32 = 4;
/// Tables of a component.
pub const TABLES_MAX: u32 = 16;
/// Elements of a table.
pub const TABLE_ELEMENTS_MAX: usize = 32 * 1024;
/// Most memory that a manifest may ask for.
pub const MEMORY_SIZE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most fuel that a manifest may ask for.
pub const FUEL_MAX: u64 = 20_000_000_000;
/// Most time that a manifest may ask for.
pub const TIMEOUT_MS_MAX: u64 = 60_000;

/// Host calls of one call.
pub const HOST_CALLS_MAX: u32 = 4096;
/// Fuel of a host call.
pub const HOST_CALL_FUEL: u64 = 1_000;
/// Fuel of each byte that a host call moves in or out.
pub const HOST_CALL_BYTE_FUEL: u64 = 4;
/// Fuel of a fetch, beside that of a host call.
pub const FETCH_FUEL: u64 = 100_000;
/// Longest log message.
pub const LOG_MESSAGE_SIZE_BYTES_MAX: usize = 1024;
/// Most random bytes of one host call.
pub const RANDOM_SIZE_BYTES_MAX: u32 = 4096;
/// Bytes that one host call, or the answer, may make the engine copy out of the guest: above every bound of its own,
/// so that those speak first.
pub const TRANSFER_SIZE_BYTES_MAX: usize = 256 * 1024;
