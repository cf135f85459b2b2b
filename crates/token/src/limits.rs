//! The named bounds of the format and of the mempool; `specs/token.md` lists those that consensus sees.

/// Longest encoded transaction.
pub const TX_SIZE_BYTES_MAX: usize = 128 << 10;
/// Most outputs that a transaction spends.
pub const INPUTS_MAX: usize = 512;
/// Most outputs that a transaction makes.
pub const OUTPUTS_MAX: usize = 512;
/// Most signatures of one transaction.
pub const SIGNATURES_MAX: usize = 16;
/// Most hash preimages of one transaction.
pub const PREIMAGES_MAX: usize = 16;
/// Most keys of an m-of-n lock.
pub const LOCK_KEYS_MAX: usize = 16;
/// Most tokens that one transaction issues.
pub const CLAIMS_MAX: usize = 512;
/// Most parts of one composite.
pub const PARTS_MAX: usize = 512;
/// Deepest nesting: a token that is no composite has depth 0, a composite one more than its deepest part.
pub const COMPOSITE_DEPTH_MAX: u8 = 8;
/// Most transactions that one transaction names as compensated.
pub const COMPENSATES_MAX: usize = 8;
/// Longest label of a token.
pub const LABEL_SIZE_BYTES_MAX: usize = 64;
/// Longest text of a peg.
pub const PEG_SIZE_BYTES_MAX: usize = 32;
/// Most decimals of an asset.
pub const DECIMALS_MAX: u8 = 36;
/// Longest namespace of a registry entry.
pub const NAMESPACE_SIZE_BYTES_MAX: usize = 32;
/// Longest name of a registry entry.
pub const NAME_SIZE_BYTES_MAX: usize = 128;
/// Longest version of a registry entry.
pub const VERSION_SIZE_BYTES_MAX: usize = 64;
/// Longest payload of a registry entry.
pub const PAYLOAD_SIZE_BYTES_MAX: usize = 64 << 10;
/// Most identifying properties of one thing, person or organisation.
pub const PROPERTIES_MAX: usize = 32;
/// Longest name of a property.
pub const PROPERTY_NAME_SIZE_BYTES_MAX: usize = 64;
/// Longest value of a property.
pub const PROPERTY_VALUE_SIZE_BYTES_MAX: usize = 1024;
/// Longest single factor of an identity proof.
pub const FACTOR_SIZE_BYTES_MAX: usize = 4096;
/// Most transactions of one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 1 << 16;
/// Longest encoded list of a block's transactions.
pub const BLOCK_SIZE_BYTES_MAX: usize = 16 << 20;
/// Longest encoded header.
pub const HEADER_SIZE_BYTES_MAX: usize = 512;
/// Longest encoded output proof.
pub const PROOF_SIZE_BYTES_MAX: usize = 8 << 10;

/// Most transactions that a proposer puts into one block, so that a block stays a fraction of a second of work.
pub const PROPOSE_TRANSACTIONS_MAX: usize = 20_000;
/// Most bytes of transactions that a proposer puts into one block.
pub const PROPOSE_SIZE_BYTES_MAX: usize = 8 << 20;
/// Most transactions that wait in the mempool.
pub const POOL_TRANSACTIONS_MAX: usize = 262_144;
/// Most bytes of transactions that wait in the mempool.
pub const POOL_SIZE_BYTES_MAX: usize = 192 << 20;
/// Most waiting transactions that other members sent: the rest of the mempool is for this node's clients.
pub const POOL_PEER_TRANSACTIONS_MAX: usize = POOL_TRANSACTIONS_MAX / 4 * 3;
/// Most bytes of waiting transactions that other members sent.
pub const POOL_PEER_SIZE_BYTES_MAX: usize = POOL_SIZE_BYTES_MAX / 4 * 3;
/// Most waiting transactions whose first signature is by one key.
pub const POOL_TRANSACTIONS_PER_SIGNER_MAX: usize = 65_536;
/// Longest chain of waiting transactions that spend each other's outputs.
pub const POOL_CHAIN_DEPTH_MAX: u32 = 256;
/// Most transactions in one submitted batch.
pub const SUBMIT_BATCH_MAX: usize = 16_384;
/// Most executed blocks that wait for commit or discard.
pub const PENDING_BLOCKS_MAX: usize = 32;
/// Most copies of the state for blocks above the head: one for each of this many chains.
pub const ABOVE_STATES_MAX: usize = 2;
/// Most items of one page of a query.
pub const PAGE_MAX: usize = 1000;
/// Most events of one lineage, those of the composites around the token included.
pub const LINEAGE_EVENTS_MAX: usize = 10_000;
