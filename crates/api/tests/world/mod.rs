//! A ledger in memory with an engine that makes blocks when it is told to, and an interface over it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use bletchley_api::{ApiContext, ApiOptions, DevControl, DevError, DevMode, Feed};
use bletchley_crypto::SecretKey;
use bletchley_evm::{EvmLedger, Genesis, GenesisAccount, TxPlace};
use bletchley_ledger::{Machine, NoDelegate, ProposeContext, SharedStore};
use bletchley_primitives::TimestampMs;
use bletchley_storage::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub const CHAIN_ID: u64 = 31337;
pub const GENESIS_MS: u64 = 1_700_000_000_000;

/// Counts its calls in slot 0, logs the count under topic 0x11 and gives it back; with any input it reverts with that input.
pub const COUNTER: [u8; 40] =
    hex!("36601d5760005460010180600055600052601160206000a160206000f35b366000600037366000fd");

pub struct World {
    pub ledger: EvmLedger,
    pub context: ApiContext,
    pub feed: Arc<Feed>,
    pub control: Arc<Engine>,
    pub keys: Vec<SecretKey>,
}

/// Makes blocks one second apart.
pub struct Engine {
    ledger: EvmLedger,
    store: SharedStore,
    turn: Mutex<()>,
    automine: AtomicBool,
    interval_ms: AtomicU64,
    clock_ms: AtomicU64,
}

impl Engine {
    pub fn mine_one(&self) -> bool {
        let _turn = self.turn.lock();
        let time_ms = TimestampMs(self.clock_ms.fetch_add(1_000, Ordering::Relaxed) + 1_000);
        let machine = self.ledger.machine();
        let parent = machine.head().hash;
        let proposer = Address::repeat_byte(0xcb);
        let context = ProposeContext { parent, time_ms, proposer, allow_empty: true };
        let executed = machine.propose(&context).unwrap().expect("empty blocks are allowed");
        let (hash, transactions) = (executed.meta.hash, executed.transactions);
        self.store.append(&executed.into_stored(Bytes::new())).unwrap();
        machine.commit(hash).unwrap();
        transactions > 0
    }
}

impl DevControl for Engine {
    fn mine(&self, count: u64, interval_s: Option<u64>) -> Result<(), DevError> {
        for nth in 0..count {
            if nth > 0
                && let Some(interval_s) = interval_s
            {
                self.clock_ms.fetch_add(interval_s.saturating_sub(1) * 1_000, Ordering::Relaxed);
            }
            self.mine_one();
        }
        Ok(())
    }

    fn automine(&self) -> bool {
        self.automine.load(Ordering::Relaxed)
    }

    fn set_automine(&self, on: bool) -> Result<(), DevError> {
        self.automine.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn interval_ms(&self) -> Option<u64> {
        Some(self.interval_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    fn set_interval_ms(&self, interval_ms: Option<u64>) -> Result<(), DevError> {
        self.automine.store(false, Ordering::Relaxed);
        self.interval_ms.store(interval_ms.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }

    fn settle(&self, transaction: B256, _timeout: Duration) {
        let is_pending = || matches!(self.ledger.transaction(transaction), Ok(Some(found)) if matches!(found.place, TxPlace::Pending));
        while self.automine() && is_pending() && self.mine_one() {}
    }

    fn paused(&self, change: &mut dyn FnMut()) {
        let _turn = self.turn.lock();
        change();
    }
}

impl World {
    /// A development ledger with automine.
    pub fn dev() -> Self {
        Self::with(|genesis| genesis.dev = true)
    }

    /// A ledger like any other.
    pub fn plain() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Genesis)) -> Self {
        let keys: Vec<SecretKey> = (0u8..3).map(|n| SecretKey::from_seed(&[b'k', n])).collect();
        let mut genesis = Genesis::new(CHAIN_ID, TimestampMs(GENESIS_MS));
        for key in &keys {
            let balance = U256::from(10).pow(U256::from(21));
            genesis.alloc.insert(key.address(), GenesisAccount { balance, ..GenesisAccount::default() });
        }
        change(&mut genesis);
        let dev = genesis.dev;
        let store: SharedStore =
            if dev { Arc::new(MemoryStore::rewindable()) } else { Arc::new(MemoryStore::new()) };
        let feed = Arc::new(Feed::default());
        let ledger =
            EvmLedger::new(genesis, Arc::clone(&store), Arc::new(NoDelegate), Arc::clone(&feed) as _)
                .unwrap();
        let control = Arc::new(Engine {
            ledger: ledger.clone(),
            store,
            turn: Mutex::new(()),
            automine: AtomicBool::new(true),
            interval_ms: AtomicU64::new(0),
            clock_ms: AtomicU64::new(GENESIS_MS),
        });
        let mode = DevMode { accounts: keys.clone(), control: Arc::clone(&control) as _ };
        let options = ApiOptions {
            client_version: "bletchley/test".to_owned(),
            ws_stall_ms: 200,
            dev: dev.then_some(mode),
            ..ApiOptions::default()
        };
        let context = ApiContext::new(ledger.clone(), Arc::clone(&feed), options);
        Self { ledger, context, feed, control, keys }
    }

    pub fn address(&self, index: usize) -> Address {
        self.keys[index].address()
    }

    /// A body as it is, and its answer.
    pub fn raw(&self, body: &[u8]) -> Option<Value> {
        let answer = self.context.answer_here(body)?;
        Some(serde_json::from_slice(&answer).expect("every answer is JSON"))
    }

    /// A request, and the whole response.
    pub fn respond(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        self.raw(body.as_bytes()).expect("a request is answered")
    }

    /// The result of a request that must succeed.
    pub fn ok(&self, method: &str, params: Value) -> Value {
        let response = self.respond(method, params);
        match response.get("result") {
            Some(result) => result.clone(),
            None => panic!("{method}: {response}"),
        }
    }

    /// The error of a request that must fail.
    pub fn error(&self, method: &str, params: Value) -> Value {
        let response = self.respond(method, params);
        match response.get("error") {
            Some(error) => error.clone(),
            None => panic!("{method} should fail: {response}"),
        }
    }

    /// A signed transfer or call.
    pub fn signed(&self, from: usize, nonce: u64, to: TxKind, input: Bytes) -> Bytes {
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 200_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        };
        let bytes = self.keys[from].sign(tx.signature_hash()).0;
        let signature = Signature::new(
            U256::from_be_slice(&bytes[..32]),
            U256::from_be_slice(&bytes[32..64]),
            bytes[64] == 1,
        );
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
    }

    /// Creates the counter from account 0 at its nonce; needs automine. Gives its address.
    pub fn deploy_counter(&self) -> Address {
        let mut code = hex!("602880600b6000396000f3").to_vec();
        code.extend_from_slice(&COUNTER);
        let nonce = self.ledger.pool_nonce(&self.address(0));
        let raw = self.signed(0, nonce, TxKind::Create, code.into());
        self.ok("eth_sendRawTransaction", json!([raw]));
        self.address(0).create(nonce)
    }
}

/// `Error(string)` with this reason.
pub fn revert_with(reason: &str) -> Bytes {
    let mut data = hex!("08c379a0").to_vec();
    data.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    data.extend_from_slice(&U256::from(reason.len()).to_be_bytes::<32>());
    let mut text = reason.as_bytes().to_vec();
    text.resize(reason.len().div_ceil(32) * 32, 0);
    data.extend_from_slice(&text);
    data.into()
}
