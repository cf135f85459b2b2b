//! What the state costs per ERC-20-like transfer (one sender's account, two balances of the token), in microseconds of
//! this thread's CPU: the tries alone, and all of staging and committing blocks of 10,000 transfers.
//!
//! `cargo run -p bletchley-evm --example state_cost [accounts …]`, by default 10000 100000 1000000.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, read by people"
)]

use alloy_primitives::{Address, B256, U256, address, keccak256};
use bletchley_evm::state::{AllocAccount, State, StateOptions};
use bletchley_evm::trie::{ContractHashes, Trie, TrieAccount};
use bletchley_ledger::Store;
use bletchley_primitives::Height;
use revm::state::{Account, AccountInfo, EvmState, EvmStorageSlot, TransactionId};

#[path = "../src/state/tests/store.rs"]
#[allow(dead_code)]
mod store;

const TRANSFERS: usize = 10_000;
const BLOCKS: usize = 8;
const TOKEN: Address = address!("00000000000000000000000000000000000000aa");

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// CPU time of all threads, in milliseconds.
fn process_cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: Vec<&str> = stat.split(' ').collect();
    10 * (ticks[13].parse::<u64>().unwrap() + ticks[14].parse::<u64>().unwrap())
}

struct Timer(f64);

impl Timer {
    fn lap(&mut self, total_us: &mut f64) {
        let now = cpu_ns();
        *total_us += (now - self.0) / 1000.0 / (BLOCKS * TRANSFERS) as f64;
        self.0 = now;
    }
}

/// A linear congruential generator (Knuth): the same transfers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn account(index: usize) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn balance_slot(account: Address) -> U256 {
    keccak256([account.into_word(), B256::ZERO].concat()).into()
}

/// `(from, to)` of every transfer of a block.
fn block(random: &mut Random, accounts: usize) -> Vec<(usize, usize)> {
    (0..TRANSFERS).map(|_| (random.below(accounts), random.below(accounts))).collect()
}

fn sorted(mut keys: Vec<(B256, usize)>) -> Vec<(B256, usize)> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn tries_alone(accounts: usize) {
    let account_keys: Vec<B256> = (0..accounts).map(|n| keccak256(account(n))).collect();
    let slot_keys: Vec<B256> =
        (0..accounts).map(|n| keccak256(balance_slot(account(n)).to_be_bytes::<32>())).collect();
    let entry = |nonce| TrieAccount::new(nonce, U256::from(10).pow(U256::from(18)), ContractHashes::NONE);
    let (mut state, mut token) = (Trie::default(), Trie::default());
    let all = |keys: &[B256]| sorted(keys.iter().copied().zip(0..).collect());
    for (key, _) in all(&account_keys) {
        state.insert(&key, entry(0));
    }
    for (key, _) in all(&slot_keys) {
        token.insert(&key, U256::from(1_000_000));
    }
    state.root();
    token.root();
    let (mut nonces, mut balances) = (vec![0u64; accounts], vec![1_000_000u64; accounts]);
    let mut random = Random(7);
    let (mut update_us, mut hash_us) = (0.0, 0.0);
    for _ in 0..BLOCKS {
        let block = block(&mut random, accounts);
        for (from, to) in &block {
            nonces[*from] += 1;
            balances[*from] -= 1;
            balances[*to] += 1;
        }
        let mut timer = Timer(cpu_ns());
        for (key, index) in sorted(block.iter().map(|(from, _)| (account_keys[*from], *from)).collect()) {
            state.insert(&key, entry(nonces[index]));
        }
        for (key, index) in
            sorted(block.iter().flat_map(|(from, to)| [*from, *to]).map(|n| (slot_keys[n], n)).collect())
        {
            token.insert(&key, U256::from(balances[index]));
        }
        timer.lap(&mut update_us);
        token.root();
        state.root();
        timer.lap(&mut hash_us);
    }
    let bytes = (state.size_bytes() + token.size_bytes()) / accounts;
    println!(
        "{accounts:>8} accounts: tries {:6.2} (update {update_us:.2}, hash {hash_us:.2}); {bytes} bytes an account with its balance",
        update_us + hash_us
    );
}

fn whole_state(accounts: usize) {
    let funds = U256::from(10).pow(U256::from(18));
    let tokens = U256::from(1_000_000);
    let token = AllocAccount {
        nonce: 1,
        code: vec![0x00].into(),
        storage: (0..accounts).map(|n| (balance_slot(account(n)), tokens)).collect(),
        ..Default::default()
    };
    let holders = (0..accounts).map(|n| (account(n), AllocAccount { balance: funds, ..Default::default() }));
    let store = store::DiffStore::default();
    let opened = State::open(holders.chain([(TOKEN, token)]), &store, StateOptions::default()).unwrap();
    let state = opened.state;
    store.push(opened.genesis_diff.unwrap());
    store.fold(Height(0)).unwrap();
    let (started, cpu) = (std::time::Instant::now(), process_cpu_ms());
    let again = State::open([], &store, StateOptions::default()).unwrap();
    let (open_ms, open_cpu_ms) = (started.elapsed().as_millis(), process_cpu_ms() - cpu);
    assert_eq!(again.root, opened.root);
    drop(again);

    let (mut nonces, mut balances) = (vec![0u64; accounts], vec![1_000_000u64; accounts]);
    let mut random = Random(7);
    let (mut stage_us, mut commit_us, mut diff_bytes) = (0.0, 0.0, 0);
    for height in 1..=BLOCKS {
        let mut journal = EvmState::default();
        let mut contract = Account::default();
        for (from, to) in block(&mut random, accounts) {
            nonces[from] += 1;
            let info = AccountInfo { nonce: nonces[from], balance: funds, ..Default::default() };
            let mut sender = Account::from(info);
            sender.mark_touch();
            journal.insert(account(from), sender);
            balances[from] -= 1;
            balances[to] += 1;
            for holder in [from, to] {
                let value = U256::from(balances[holder]);
                let slot = EvmStorageSlot::new_changed(tokens, value, TransactionId::ZERO);
                contract.storage.insert(balance_slot(account(holder)), slot);
            }
        }
        let view = state.head_view();
        contract.info = revm::database_interface::DatabaseRef::basic_ref(&view, TOKEN).unwrap().unwrap();
        contract.mark_touch();
        journal.insert(TOKEN, contract);
        let mut timer = Timer(cpu_ns());
        let staged = state.stage(view, journal).unwrap();
        timer.lap(&mut stage_us);
        diff_bytes = staged.diff.len() / TRANSFERS;
        timer.0 = cpu_ns();
        state.commit(staged, Height(height as u64)).unwrap();
        timer.lap(&mut commit_us);
    }
    let started = std::time::Instant::now();
    state.proof(Height(0), account(1), &[]).unwrap();
    let proof_ms = started.elapsed().as_millis();
    println!(
        "{:>17}: stage {stage_us:6.2} (keys, diff, tries), commit {commit_us:.2}; diff {diff_bytes} bytes; opened from a \
         snapshot in {open_ms} ms ({open_cpu_ms} ms of CPU); proof {BLOCKS} blocks back {proof_ms} ms",
        "whole state"
    );
}

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).map(|arg| arg.parse().unwrap()).collect();
    let sizes = if given.is_empty() { vec![10_000, 100_000, 1_000_000] } else { given };
    println!("microseconds of CPU per transfer, blocks of {TRANSFERS}");
    for accounts in sizes {
        tries_alone(accounts);
        whole_state(accounts);
    }
}
