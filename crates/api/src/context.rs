//! What every request can reach: the ledger, its feed, and what the node says about itself.

use crate::access::AccessPolicy;
use crate::dev_control::DevMode;
use crate::error::RpcError;
use crate::feed::Feed;
use crate::ledgers::LedgerMounts;
use crate::limits::{DEV_SETTLE_MS_MAX, SYNC_TIMEOUT_MS, SYNC_TIMEOUT_MS_MAX, WS_STALL_MS};
use crate::operation::Operation;
use crate::pool::Pool;
use crate::refusal;
use crate::trace;
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, keccak256};
use bletchley_evm::{EvmLedger, SubmitError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Says whether something holds, and if not, why.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How the node presents itself.
#[derive(Clone)]
pub struct ApiOptions {
    /// Answer of `web3_clientVersion`, such as `bletchley/0.1.0/linux-x86_64`.
    pub client_version: String,
    /// Which web pages and host names are accepted.
    pub access: AccessPolicy,
    /// Present on development ledgers only.
    pub dev: Option<DevMode>,
    /// How long a WebSocket may fail to take its notifications before it is cut off.
    pub ws_stall_ms: u64,
    /// Answer of `/livez`.
    pub healthy: Probe,
    /// Answer of `/readyz`, which adds [`Operation::reasons`].
    pub ready: Probe,
    /// What operators see, and what is counted.
    pub operation: Operation,
    /// Ledgers that are served beside the first one.
    pub ledgers: LedgerMounts,
    /// How many peers are connected.
    pub peers: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The name of a cryptlet or package, by the 32 bytes that contracts call it by; none when it is not registered.
    pub cryptlet_name: Arc<dyn Fn(B256) -> Option<String> + Send + Sync>,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            client_version: format!("bletchley/{}", env!("CARGO_PKG_VERSION")),
            access: AccessPolicy::default(),
            dev: None,
            ws_stall_ms: WS_STALL_MS,
            healthy: Arc::new(|| Ok(())),
            ready: Arc::new(|| Ok(())),
            operation: Operation::default(),
            ledgers: LedgerMounts::default(),
            peers: Arc::new(|| 0),
            cryptlet_name: Arc::new(|_| None),
        }
    }
}

impl fmt::Debug for ApiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiOptions")
            .field("client_version", &self.client_version)
            .field("access", &self.access)
            .field("dev", &self.dev)
            .finish_non_exhaustive()
    }
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ApiContext(Arc<Inner>);

struct Inner {
    ledger: EvmLedger,
    feed: Arc<Feed>,
    options: ApiOptions,
    pool: Pool,
}

impl fmt::Debug for ApiContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiContext").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl ApiContext {
    /// A context over `ledger`, which was opened with `feed` as its observer.
    #[must_use]
    pub fn new(ledger: EvmLedger, feed: Arc<Feed>, options: ApiOptions) -> Self {
        Self(Arc::new(Inner { ledger, feed, options, pool: Pool::default() }))
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &EvmLedger {
        &self.0.ledger
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// How the node presents itself.
    #[must_use]
    pub fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    pub(crate) fn dev(&self) -> Option<&DevMode> {
        self.0.options.dev.as_ref()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Hands raw transactions to the ledger together; on a development ledger waits until their blocks are made.
    pub(crate) fn submit_batch(&self, raws: &[Bytes]) -> Vec<Result<B256, RpcError>> {
        let results = self.submit_followed(raws);
        if self.dev().is_some() {
            for hash in results.iter().filter_map(|result| result.as_ref().ok()) {
                self.settle(*hash);
            }
        }
        results.into_iter().map(|result| result.map_err(|error| refusal::submit(&error))).collect()
    }

    /// A transaction's hash is that of its bytes, so that it can be followed before its block could come.
    fn submit_followed(&self, raws: &[Bytes]) -> Vec<Result<B256, SubmitError>> {
        let Some(trace) = trace::followed_now() else { return self.ledger().submit_batch(raws) };
        let Operation { followed, ledger, .. } = &self.options().operation;
        let hashes: Vec<B256> = raws.iter().map(keccak256).collect();
        hashes.iter().for_each(|hash| followed.follow(ledger, *hash, trace));
        let results = self.ledger().submit_batch(raws);
        for (hash, problem) in hashes.iter().zip(results.iter().map(|result| result.as_ref().err())) {
            match problem {
                None | Some(SubmitError::AlreadyKnown) => {}
                Some(error) => {
                    tracing::info!(ledger, transaction = %hash, %trace, %error, "transaction.refused");
                    followed.forget(*hash);
                }
            }
        }
        results
    }

    /// Header of the head.
    pub(crate) fn head_header(&self) -> Result<Header, RpcError> {
        let height = self.ledger().head().height;
        self.ledger()
            .header(height)
            .map_err(|error| refusal::read(&error))?
            .ok_or_else(RpcError::header_not_found)
    }

    /// Submits one transaction and waits up to `timeout_ms` for its block.
    pub(crate) fn submit_and_wait(&self, raw: Bytes, timeout_ms: Option<u64>) -> Result<B256, RpcError> {
        let mut blocks = self.feed().blocks();
        let hash = self.submit_batch(&[raw]).pop().unwrap_or_else(|| Err(RpcError::internal("no result")))?;
        let timeout_ms = timeout_ms.unwrap_or(SYNC_TIMEOUT_MS).min(SYNC_TIMEOUT_MS_MAX);
        let is_mined = || matches!(self.ledger().receipt(hash), Ok(Some(_)));
        if is_mined() {
            return Ok(hash);
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Ok(hash) };
        // This runs on a thread that may block; a block that comes wakes it, whatever it holds.
        let wait = async { while blocks.recv().await.is_ok_and(|_| !is_mined()) {} };
        let _ = runtime.block_on(tokio::time::timeout(Duration::from_millis(timeout_ms), wait));
        Ok(hash)
    }

    /// On a development ledger, waits for the transaction's block where one is to be expected.
    pub(crate) fn settle(&self, hash: B256) {
        if let Some(dev) = self.dev() {
            dev.control.settle(hash, Duration::from_millis(DEV_SETTLE_MS_MAX));
        }
    }

    /// Answers one JSON-RPC body on this thread, as the server would, and `None` for notifications: for callers inside
    /// the process, tests and benchmarks. Subscriptions need a connection and are refused.
    #[must_use]
    pub fn answer_here(&self, body: &[u8]) -> Option<Vec<u8>> {
        crate::dispatch::run(self, body, None)
    }
}
