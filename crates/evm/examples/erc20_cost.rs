//! What an ERC-20 transfer costs a node, by stage, in microseconds of CPU: admission, building, keeping, following
//! with the transactions in the pool, and replay without.
//!
//! `cargo run -p bletchley-evm --example erc20_cost [accounts] [transactions a block] [blocks]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    unsafe_code,
    missing_docs
)]

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_rlp::Decodable;
use bletchley_crypto::{PublicKey, SecretKey};
use bletchley_evm::{EvmLedger, Genesis, GenesisAccount, NoObserver};
use bletchley_ledger::{Executed, Machine, NoDelegate, ProposeContext, SharedStore};
use bletchley_primitives::TimestampMs;
use bletchley_storage::MemoryStore;
use std::{collections::BTreeMap, sync::Arc};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKEN: Address = Address::repeat_byte(0x70);
const CHAIN: u64 = 31_337;
const SENDERS_MAX: usize = 20_000;

/// CPU time of the whole process in microseconds: admission and roots use several threads.
fn cpu_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every system this runs on, and `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn balance_slot(holder: Address) -> B256 {
    let mut bytes = holder.into_word().to_vec();
    bytes.extend_from_slice(&[0; 32]);
    keccak256(bytes)
}

fn open(genesis: &Genesis) -> (EvmLedger, SharedStore) {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let ledger =
        EvmLedger::new(genesis.clone(), store.clone(), Arc::new(NoDelegate), Arc::new(NoObserver)).unwrap();
    (ledger, store)
}

struct Stages(BTreeMap<&'static str, f64>);

impl Stages {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = cpu_us();
        let result = work();
        *self.0.entry(name).or_default() += cpu_us() - start;
        result
    }

    fn print(&self, title: &str, txs: usize) {
        let total: f64 = self.0.values().sum();
        let parts: Vec<String> =
            self.0.iter().map(|(name, us)| format!("{name} {:.2}", us / txs as f64)).collect();
        println!("{title}: {:.2} us/tx = {}", total / txs as f64, parts.join(" + "));
    }
}

fn sign(key: &SecretKey, nonce: u64, to: Address) -> Bytes {
    let mut input = hex!("a9059cbb").to_vec();
    input.extend_from_slice(to.into_word().as_slice());
    input.extend_from_slice(&U256::ONE.to_be_bytes::<32>());
    let tx = TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 80_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(TOKEN),
        value: U256::ZERO,
        access_list: Default::default(),
        input: input.into(),
    };
    let signature = key.sign(tx.signature_hash()).0;
    let (rs, v) = signature.split_at(64);
    let signature = alloy_primitives::Signature::from_bytes_and_parity(rs, v[0] == 1);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let accounts = arguments.next().unwrap_or(100_000);
    let per_block = arguments.next().unwrap_or(10_000);
    let blocks = arguments.next().unwrap_or(5);
    let senders = accounts.min(SENDERS_MAX);
    let keys: Vec<SecretKey> = (0..senders).map(|n| SecretKey::from_seed(&n.to_be_bytes())).collect();
    let mut holders: Vec<Address> = keys.iter().map(SecretKey::address).collect();
    holders.extend((senders..accounts).map(|n| Address::from_word(keccak256(n.to_be_bytes()))));

    let artifact: serde_json::Value =
        serde_json::from_str(include_str!("../../../contracts/artifacts/Erc20.json")).unwrap();
    let code = hex::decode(artifact["deployedBytecode"].as_str().unwrap()).unwrap();
    let mut token = GenesisAccount { code: code.into(), nonce: 1, ..GenesisAccount::default() };
    let mut genesis = Genesis::new(CHAIN, TimestampMs(1_700_000_000_000));
    for holder in &holders {
        let balance = U256::from(10).pow(U256::from(24));
        genesis.alloc.insert(*holder, GenesisAccount { balance, ..GenesisAccount::default() });
        token.storage.insert(balance_slot(*holder), U256::from(1u64 << 60).into());
    }
    genesis.alloc.insert(TOKEN, token);

    let (ledger, store) = open(&genesis);
    let machine = ledger.machine();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = told.clone();
    ledger.on_local(move |txs| listener.lock().extend_from_slice(txs));
    let mut nonces = vec![0u64; senders];
    let mut seed = 99u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut stages = Stages(BTreeMap::new());
    let mut made: Vec<Executed> = Vec::new();
    let mut all = 0;
    for block in 0..blocks {
        let raws: Vec<Bytes> = (0..per_block)
            .map(|_| {
                let from = random(senders);
                let nonce = nonces[from];
                nonces[from] += 1;
                sign(&keys[from], nonce, holders[random(accounts)])
            })
            .collect();
        stages.time("1 admission with recovery", || {
            for batch in raws.chunks(100) {
                assert!(ledger.submit_batch(batch).iter().all(Result::is_ok));
            }
        });
        let context = ProposeContext {
            parent: machine.head().hash,
            time_ms: TimestampMs(1_700_000_000_000 + block as u64 * 1000),
            proposer: Address::repeat_byte(0xcb),
            allow_empty: false,
        };
        let executed = stages.time("2 propose", || machine.propose(&context)).unwrap().unwrap();
        all += executed.transactions as usize;
        made.push(executed.clone());
        let hash = executed.meta.hash;
        store.append(&executed.into_stored(Bytes::new())).unwrap();
        stages.time("3 commit", || machine.commit(hash)).unwrap();
    }
    println!("{accounts} accounts, {blocks} blocks, {all} transactions");
    stages.print("node", all);

    let claims: BTreeMap<Bytes, PublicKey> =
        told.lock().drain(..).map(|(raw, key)| (raw, key.unwrap())).collect();
    for way in [Way::Pooled, Way::Claimed, Way::Heard, Way::Replay] {
        follow(&genesis, &made, all, &claims, way);
    }
}

/// How a follower comes to a block's transactions.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Members sent them before, without claims of who signed.
    Pooled,
    /// Members sent them before, with claims.
    Claimed,
    /// The block was quicker than they were, not quicker than their claims.
    Heard,
    /// From the block alone.
    Replay,
}

/// Takes over the blocks.
fn follow(genesis: &Genesis, made: &[Executed], all: usize, claims: &BTreeMap<Bytes, PublicKey>, way: Way) {
    let (replica, store) = open(genesis);
    let machine = replica.machine();
    let mut stages = Stages(BTreeMap::new());
    let height = |executed: &Executed| executed.meta.height;
    for executed in made {
        let txs = Vec::<Bytes>::decode(&mut executed.block.body.as_ref()).unwrap();
        // Members send what they have in batches of this kind.
        for batch in txs.chunks(400) {
            let claimed =
                || batch.iter().map(|raw| (raw.clone(), claims.get(raw).copied())).collect::<Vec<_>>();
            let admitted = match way {
                Way::Pooled => stages.time("0 admission from peers", || replica.submit_from_peers(batch)),
                Way::Claimed => {
                    let claimed = claimed();
                    stages.time("0 admission from peers", || replica.submit_claimed(claimed).0)
                }
                Way::Heard => {
                    let claimed = claimed();
                    stages.time("0 hearing claims", || replica.note_claims(&claimed));
                    continue;
                }
                Way::Replay => continue,
            };
            assert!(admitted.iter().all(Result::is_ok), "{}", height(executed));
        }
        let prepared = stages.time("1 prepare", || machine.prepare(executed.block.clone())).unwrap();
        let ours = stages.time("2 execute", || machine.execute(prepared)).unwrap();
        assert_eq!(ours.meta, executed.meta);
        store.append(&ours.into_stored(Bytes::new())).unwrap();
        stages.time("3 commit", || machine.commit(executed.meta.hash)).unwrap();
    }
    stages.print(&format!("{way:?}"), all);
}
