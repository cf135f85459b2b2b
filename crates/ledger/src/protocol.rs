//! Versions of the rules that blocks follow. Members vote on which version holds from which block of the root ledger on; a
//! block of another ledger follows the version that holds at its anchor.

/// Version of every ledger at its genesis.
pub const PROTOCOL_VERSION_FIRST: u32 = 1;

/// From this version on, blocks of EVM ledgers may use twice the gas that their genesis document names.
pub const PROTOCOL_VERSION_WIDER_BLOCKS: u32 = 2;

/// The newest version that this program knows. A node stops before the first block of a later one.
pub const PROTOCOL_VERSION_NEWEST: u32 = PROTOCOL_VERSION_WIDER_BLOCKS;
