//! What a signature costs, one by one and in batches with claims: `cargo run -p bletchley-crypto --example batch_cost`.
//! CPU of all threads, by the kernel's accounting.
#![allow(clippy::print_stdout, clippy::expect_used)]

use bletchley_crypto::{SecretKey, Signed, keccak256, recover_all, recover_claimed, recover_key};

/// Clock ticks of the kernel's accounting: 100 a second on every Linux that is met today.
const TICKS_PER_SECOND: f64 = 100.0;
const MEASURED_S: f64 = 1.5;

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("no /proc");
    let after = stat.rsplit_once(')').expect("no name").1;
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

fn measure(what: &str, signatures: usize, mut run: impl FnMut()) {
    let (start, mut rounds) = (cpu_s(), 0);
    while cpu_s() - start < MEASURED_S {
        run();
        rounds += 1;
    }
    let each = (cpu_s() - start) * 1e6 / (rounds * signatures) as f64;
    println!("{what:<44} {each:>6.1} us");
}

fn signed(count: usize, signers: usize) -> Vec<Signed> {
    (0..count)
        .map(|number| {
            let digest = keccak256(number.to_be_bytes());
            let signature = SecretKey::from_seed(&(number % signers).to_be_bytes()).sign(digest);
            Signed { digest, signature, claimed: recover_key(digest, &signature).ok() }
        })
        .collect()
}

fn main() {
    let items: Vec<_> = signed(1024, 1024).iter().map(|item| (item.digest, item.signature)).collect();
    measure("one by one", items.len(), || drop(recover_all(&items)));
    for count in [16, 32, 64, 128, 256, 1024] {
        for signers in [count, (count / 16).max(1)] {
            let items = signed(count, signers);
            measure(&format!("{count} at once, by {signers}"), count, || drop(recover_claimed(&items)));
        }
    }
    let mut items = signed(1024, 1024);
    if let [first, second, ..] = items.as_mut_slice() {
        first.claimed = second.claimed;
    }
    measure("1024 at once, one claim false", items.len(), || drop(recover_claimed(&items)));
}
