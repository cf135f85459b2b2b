//! Every bound of the interface in one place. A request beyond one is refused and changes nothing.

/// Longest HTTP body, and longest WebSocket message.
pub const REQUEST_SIZE_BYTES_MAX: usize = 15 << 20;
/// Longest package that is published: code, manifest, and what holds them together.
pub const PACKAGE_SIZE_BYTES_MAX: usize = 33 << 20;
/// Most requests in one batch.
pub const BATCH_REQUESTS_MAX: usize = 1_000;
/// Longest answer to one body: a single response, or all responses of a batch together.
pub const RESPONSE_SIZE_BYTES_MAX: usize = 64 << 20;
/// Most positional parameters of one request.
pub const PARAMS_MAX: usize = 16;
/// Longest method name that is repeated in an error.
pub const METHOD_ECHO_CHARS_MAX: usize = 64;
/// Time in which a body must have arrived.
pub const BODY_TIMEOUT_MS: u64 = 30_000;
/// Open connections; further ones wait in the operating system's backlog.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Time that an orderly stop gives to requests that are running.
pub const SHUTDOWN_GRACE_MS: u64 = 5_000;

/// Reading requests that run at once on threads of their own.
pub const READS_RUNNING_MAX: usize = 16;
/// Submissions that run at once; apart from reads, so that slow calls do not hold transactions up.
pub const SUBMITS_RUNNING_MAX: usize = 16;
/// Requests of each kind that run or wait for a thread; beyond this the server says that it is busy.
pub const QUEUED_MAX: usize = 1_024;
/// Longest body that is read on the connection's thread; longer ones, and batches, go to a thread of their own.
pub const INLINE_SIZE_BYTES_MAX: usize = 16 << 10;

/// Requests of one WebSocket that are in progress at once; further ones are not read until one has ended.
pub const WS_IN_PROGRESS_MAX: usize = 64;
/// Messages that wait to be written to one WebSocket; nothing more is queued until there is room.
pub const WS_QUEUE_MESSAGES_MAX: usize = 1_024;
/// Bytes that wait to be written to one WebSocket; nothing more is queued until there is room.
pub const WS_QUEUE_SIZE_BYTES_MAX: usize = 32 << 20;
/// Time that a message waits for room, unless the node sets another; then the peer is cut off.
pub const WS_STALL_MS: u64 = 10_000;
/// Queued messages that are written to the socket together.
pub const WS_WRITE_MESSAGES_MAX: usize = 128;
/// Subscriptions of one WebSocket.
pub const WS_SUBSCRIPTIONS_MAX: usize = 64;
/// Time between two pings; a peer that is silent for three of them is gone.
pub const WS_PING_INTERVAL_MS: u64 = 30_000;
/// Time that a last message may take to leave before the connection is dropped.
pub const WS_CLOSE_TIMEOUT_MS: u64 = 2_000;

/// Blocks that a subscriber may lag behind.
pub const FEED_BLOCKS_MAX: usize = 4_096;
/// Pooled transactions that a subscriber may lag behind.
pub const FEED_TRANSACTIONS_MAX: usize = 32_768;

/// Filters that exist at once.
pub const FILTERS_MAX: usize = 1_024;
/// A filter that is not asked for this long is removed.
pub const FILTER_AGE_MS_MAX: u64 = 5 * 60 * 1_000;
/// Transaction hashes that a pending-transaction filter keeps between two polls.
pub const FILTER_HASHES_MAX: usize = 20_000;
/// Blocks that a block filter reports in one poll.
pub const FILTER_BLOCKS_MAX: u64 = 10_000;
/// Storage slots in one `eth_getProof`.
pub const PROOF_SLOTS_MAX: usize = 1_024;
/// Time that `eth_sendRawTransactionSync` waits when its caller names none.
pub const SYNC_TIMEOUT_MS: u64 = 2_000;
/// Longest time that it waits.
pub const SYNC_TIMEOUT_MS_MAX: u64 = 30_000;
/// Blocks that one request of a development ledger may mine.
pub const DEV_MINE_BLOCKS_MAX: u64 = 10_000;
/// Time that a submission on a development ledger waits for its block.
pub const DEV_SETTLE_MS_MAX: u64 = 20_000;

/// Requests of the REST interface that read the ledgers at once; further ones wait their turn.
pub const REST_READS_RUNNING_MAX: usize = 8;
/// Checks of properties that run at once: each may take 256 MiB of memory for the time that its record asks for.
pub const REST_VERIFICATIONS_RUNNING_MAX: usize = 2;
/// Items of one page when the caller names no number.
pub const PAGE_DEFAULT: usize = 100;
/// Blocks of the EVM ledger, from the newest back, that are searched for contracts which recorded a token.
pub const RECORD_BLOCKS_MAX: u64 = 1_000_000;
/// Contracts whose transfers of a token are shown in its lineage; those that the token ledger acknowledges come first.
pub const RECORD_CONTRACTS_MAX: usize = 64;
/// How often the certificate of a new block is looked for before a request for a proof is refused.
pub const REST_CERTIFICATE_ASKS_MAX: usize = 30;
/// Pause between two looks, in milliseconds.
pub const REST_CERTIFICATE_WAIT_MS: u64 = 100;
