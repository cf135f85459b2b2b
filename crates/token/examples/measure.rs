//! Prints what a transfer costs in CPU time, stage by stage: `cargo run -p bletchley-token --example measure`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for people to read"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use bletchley_crypto::recover_all;
use bletchley_ledger::Machine;
use bletchley_token::{TokenId, TokenRecord, TxBuilder};
use std::time::Instant;
use support::{LEDGER, Ledger, key, lock};

const TOKENS: usize = 20_000;
const ROUNDS: usize = 4;
const CLAIMS: usize = 500;
const BATCH: usize = 100;

/// CPU time of all threads of this process, in microseconds (10 ms fine on Linux).
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field =
        |n: usize| after.split_whitespace().nth(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    (field(11) + field(12)) * 10_000
}

#[derive(Default)]
struct Stage {
    cpu_us: u64,
    wall_us: u128,
}

impl Stage {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (cpu_us(), Instant::now());
        let result = work();
        self.cpu_us += cpu_us() - cpu;
        self.wall_us += wall.elapsed().as_micros();
        result
    }

    fn print(&self, name: &str, count: usize) {
        let per = |us: f64| us / count as f64;
        println!(
            "{name:<24} {:>7.2} us CPU  {:>7.2} us wall",
            per(self.cpu_us as f64),
            per(self.wall_us as f64)
        );
    }
}

fn main() {
    let ledger = Ledger::new();
    let other = Ledger::new();
    let maker = key("maker");
    let mut tokens: Vec<(TokenId, bletchley_token::OutputRef)> = Vec::new();
    for batch in 0..TOKENS / CLAIMS {
        let records = (0..CLAIMS)
            .map(|i| TokenRecord::thing(maker.address(), "part", &format!("{batch}-{i}")).unwrap());
        let records: Vec<_> = records.map(|record| (record, String::new(), lock("owner"))).collect();
        let ids: Vec<TokenId> = records.iter().map(|(record, _, _)| record.id()).collect();
        let tx = TxBuilder::issue(LEDGER, maker.address(), records).sign(&[&maker]);
        ledger.submit(&tx).unwrap();
        tokens.extend(ids.into_iter().zip((0..).map(|position| tx.output(position))));
    }
    let block = ledger.block();
    let prepared = other.machine.prepare(block.block.clone()).unwrap();
    let executed = other.machine.execute(prepared).unwrap();
    other.keep(&executed);

    let owner = key("owner");
    let owner_address = owner.address();
    let [mut recover, mut submit, mut propose, mut commit, mut prepare, mut execute] =
        std::array::from_fn::<_, 6, _>(|_| Stage::default());
    for _ in 0..ROUNDS {
        let txs: Vec<_> = tokens
            .iter()
            .map(|(token, output)| {
                TxBuilder::transfer(LEDGER).spend(*output).token(*token, lock("owner")).sign(&[&owner])
            })
            .collect();
        for ((_, output), tx) in tokens.iter_mut().zip(&txs) {
            *output = tx.output(0);
        }
        let signatures: Vec<_> =
            txs.iter().map(|tx| (tx.id.0, tx.transaction.witness.signatures[0])).collect();
        recover.time(|| assert!(recover_all(&signatures).iter().all(|found| *found == Ok(owner_address))));
        submit.time(|| {
            for batch in txs.chunks(BATCH) {
                assert!(ledger.machine.submit_batch(batch).iter().all(Result::is_ok));
            }
        });
        let block = propose.time(|| ledger.propose().unwrap());
        assert_eq!(block.transactions as usize, TOKENS);
        commit.time(|| ledger.keep(&block));
        let prepared = prepare.time(|| other.machine.prepare(block.block.clone()).unwrap());
        let executed = execute.time(|| other.machine.execute(prepared).unwrap());
        assert_eq!(executed, block);
        other.keep(&executed);
    }
    let count = TOKENS * ROUNDS;
    println!("{count} transfers of unique tokens, blocks of {TOKENS}");
    recover.print("recovery alone", count);
    submit.print("submit (with recovery)", count);
    propose.print("propose", count);
    commit.print("append + commit", count);
    prepare.print("prepare (with recovery)", count);
    execute.print("execute", count);
    let sum = [&submit, &propose, &commit].iter().map(|stage| stage.cpu_us).sum::<u64>();
    println!("a proposer spends {:.2} us CPU per transfer, recovery included", sum as f64 / count as f64);
    let mut open = Stage::default();
    let again = open.time(|| ledger.reopen());
    assert_eq!(again.machine.head(), ledger.machine.head());
    open.print("open, per output made", again.machine.output_counts().0 as usize);
}
