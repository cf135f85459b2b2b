//! Rows of a consortium: all validators and the loader share this machine's cores.

use crate::erc20::{BATCH, Population};
use crate::members::Consortium;
use crate::process::await_idle;
use crate::report::{Report, bounded};
use crate::rpc;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: usize = 10_000;
const SENDERS: usize = 10_000;
const FEW: usize = 4;
const MANY: usize = 7;
/// Over how long an idle consortium is watched.
const IDLE_WATCH: Duration = Duration::from_secs(20);
/// Most of one core that members use together once their cryptlets are compiled.
const IDLE_SHARE_MAX: f64 = 0.2;
/// Transfers before the clock starts.
const WARM_UP: usize = 2_000;
/// The load under which finality is measured from a client's side: this share of what was reached at most.
const STEADY_SHARE: f64 = 0.7;
/// And never more than what is asked at least.
const STEADY_MAX: f64 = 4_000.0;
const STEADY_SECONDS: f64 = 10.0;
/// How often a receipt is asked for.
const RECEIPT_POLL: Duration = Duration::from_millis(2);
/// Between two transactions whose finality is measured.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const MINED_TIMEOUT: Duration = Duration::from_secs(300);

/// What a load gave.
struct Load {
    transactions: u64,
    wall_s: f64,
    cpu_s: f64,
    finality_ms: f64,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.transactions as f64 / self.wall_s
    }
}

/// Measures every row.
pub(crate) fn measure(
    bin: &str,
    folder: &dyn Fn(&str) -> Result<String>,
    transactions: usize,
    say: &dyn Fn(&str),
    report: &mut Report,
) -> Result<()> {
    idle(bin, &folder("idle-members")?, say, report)?;
    let few = loaded(bin, &folder("four-members")?, transactions, say, report)?;
    say("seven members: the same load");
    let population = Population::new(ACCOUNTS, SENDERS);
    let seven = Consortium::with_population(bin, &folder("seven-members")?, MANY, &population)?;
    let mut nonces = population.nonces();
    send(&seven, &population, WARM_UP, &mut nonces)?;
    let many = send(&seven, &population, transactions, &mut nonces)?;
    seven.stop()?;
    report.figure("seven_per_s", "7 validators, ERC-20 transfers finalized", many.per_second(), "tx/s");
    let ratio = many.per_second() / few;
    report.push(bounded("seven_four_ratio", "7 members against 4, throughput", ratio, "x", 0.45, 0.6, false));
    Ok(())
}

fn idle(bin: &str, data: &str, say: &dyn Fn(&str), report: &mut Report) -> Result<()> {
    say("four members: start, then nothing to do");
    let first = Consortium::found(bin, data, FEW)?;
    let fresh = first.ready.as_secs_f64();
    await_idle(&|| first.cpu_s(), IDLE_SHARE_MAX)?;
    first.stop()?;
    let consortium = Consortium::start(bin, data, &[])?;
    report.push(bounded("members_ready_s", "four members ready, new folder", fresh, "s", 5.0, 3.0, true));
    report.figure("members_ready_again_s", "the same again", consortium.ready.as_secs_f64(), "s");
    await_idle(&|| consortium.cpu_s(), IDLE_SHARE_MAX)?;
    let before = consortium.cpu_s()?;
    std::thread::sleep(IDLE_WATCH);
    let share = (consortium.cpu_s()? - before) / IDLE_WATCH.as_secs_f64() * 100.0;
    report.push(bounded(
        "members_idle_cpu_pct",
        "idle consortium, CPU of all four together",
        share,
        "% of a core",
        6.0,
        2.0,
        true,
    ));
    let memory = consortium.resident_bytes()? as f64 / 1e6;
    report.push(bounded("members_idle_mb", "memory of all four, idle", memory, "MB", 800.0, 500.0, true));
    let shared_once = consortium.proportional_bytes()? as f64 / 1e6;
    report.figure("members_idle_pss_mb", "the same, shared pages counted once", shared_once, "MB");
    let finality = consortium.finality_ms()?;
    report.push(bounded(
        "empty_finality_ms",
        "empty blocks on loopback, finality p50",
        finality,
        "ms",
        40.0,
        25.0,
        true,
    ));
    consortium.stop()
}

/// Loads four members, then lets one of them join anew; gives transfers finalized in a second.
fn loaded(
    bin: &str,
    data: &str,
    transactions: usize,
    say: &dyn Fn(&str),
    report: &mut Report,
) -> Result<f64> {
    say("four members: as fast as they can");
    let population = Population::new(ACCOUNTS, SENDERS);
    let mut four = Consortium::with_population(bin, data, FEW, &population)?;
    let mut nonces = population.nonces();
    let load = full_speed(&four, &population, transactions, &mut nonces, report)?;
    let mut sent = load.transactions + WARM_UP as u64;
    let pace = (load.per_second() * STEADY_SHARE).min(STEADY_MAX);
    say(&format!("four members: {pace:.0} transfers a second"));
    let (steady, p50, p99) = steady(&four, &population, pace, &mut nonces)?;
    sent += steady;
    report.figure("steady_per_s", "a steady load", pace, "tx/s");
    report.push(bounded(
        "steady_finality_ms",
        "finality p50 under it, a client's send to its receipt",
        p50,
        "ms",
        500.0,
        250.0,
        true,
    ));
    report.figure("steady_finality_p99_ms", "the same, p99", p99, "ms");
    report.figure(
        "loaded_mb",
        "memory of all four after the load",
        four.resident_bytes()? as f64 / 1e6,
        "MB",
    );
    join(&mut four, bin, sent, say, report)?;
    four.stop()?;
    Ok(load.per_second())
}

/// One member without its ledgers comes back, by each of the two ways.
fn join(four: &mut Consortium, bin: &str, sent: u64, say: &dyn Fn(&str), report: &mut Report) -> Result<()> {
    let height = four.members.first().context("no member")?.height()?;
    let joiner = four.members.last_mut().context("no member")?;
    say("a joiner: one member without its ledgers, executing every block");
    let replay = joiner.join_anew(bin, height, &["--replay"])?.as_secs_f64();
    report.push(bounded(
        "joiner_per_s",
        "a joiner catching up by replay",
        sent as f64 / replay,
        "tx/s",
        12e3,
        20e3,
        false,
    ));
    report.figure("joiner_s", "from its start to the others' height", replay, "s");
    say("a joiner: one member without its ledgers, taking certified results over");
    let snapshot = joiner.join_anew(bin, height, &[])?.as_secs_f64();
    report.figure("snapshot_per_s", "a joiner by snapshot", sent as f64 / snapshot, "tx/s");
    report.figure("snapshot_s", "from its start to the others' height", snapshot, "s");
    Ok(())
}

/// Warm-up, then the load as fast as four members take it.
fn full_speed(
    four: &Consortium,
    population: &Population,
    transactions: usize,
    nonces: &mut [u64],
    report: &mut Report,
) -> Result<Load> {
    send(four, population, WARM_UP, nonces)?;
    let load = send(four, population, transactions, nonces)?;
    report.push(bounded(
        "four_per_s",
        "4 validators, ERC-20 transfers finalized, loader beside them",
        load.per_second(),
        "tx/s",
        4e3,
        7e3,
        false,
    ));
    report.figure(
        "four_cpu_us",
        "CPU of all four for a transfer",
        load.cpu_s * 1e6 / load.transactions as f64,
        "us",
    );
    report.push(bounded(
        "four_finality_ms",
        "finality p50 under that load, making to keeping",
        load.finality_ms,
        "ms",
        500.0,
        250.0,
        true,
    ));
    Ok(load)
}

/// Only the load on four members and what it costs: for comparing two builds within minutes.
pub(crate) fn measure_load(
    bin: &str,
    folder: &dyn Fn(&str) -> Result<String>,
    transactions: usize,
    report: &mut Report,
) -> Result<()> {
    let population = Population::new(ACCOUNTS, SENDERS);
    let four = Consortium::with_population(bin, &folder("four-members")?, FEW, &population)?;
    await_idle(&|| four.cpu_s(), IDLE_SHARE_MAX)?;
    full_speed(&four, &population, transactions, &mut population.nonces(), report)?;
    report.figure(
        "loaded_mb",
        "memory of all four after the load",
        four.resident_bytes()? as f64 / 1e6,
        "MB",
    );
    four.stop()
}

/// Sends through all members at once; the clock stops when the slowest member has kept the last transfer.
fn send(
    consortium: &Consortium,
    population: &Population,
    transactions: usize,
    nonces: &mut [u64],
) -> Result<Load> {
    let lanes = population.lanes(transactions, nonces);
    let transactions = lanes.iter().map(Vec::len).sum::<usize>() as u64;
    let lanes: Vec<Vec<String>> = lanes.iter().map(|lane| rpc::batches(lane, BATCH)).collect();
    let urls = consortium.urls();
    let from = urls.iter().map(|url| head(url)).collect::<Result<Vec<u64>>>()?;
    let (cpu, wall) = (consortium.cpu_s()?, Instant::now());
    rpc::post_lanes_to(&urls, lanes)?;
    for (url, from) in urls.iter().zip(from) {
        rpc::await_mined(url, from, transactions, MINED_TIMEOUT)?;
    }
    Ok(Load {
        transactions,
        wall_s: wall.elapsed().as_secs_f64(),
        cpu_s: consortium.cpu_s()? - cpu,
        finality_ms: consortium.finality_ms()?,
    })
}

fn head(url: &str) -> Result<u64> {
    rpc::quantity(&rpc::call(url, "eth_blockNumber", &json!([]))?)
}

/// A steady load, and beside it single transactions whose way to a receipt is timed; gives how many were sent, p50 and p99.
fn steady(
    consortium: &Consortium,
    population: &Population,
    pace: f64,
    nonces: &mut [u64],
) -> Result<(u64, f64, f64)> {
    let transactions = (pace * STEADY_SECONDS) as usize;
    let (load, probes) = population.split_probes(transactions, nonces);
    let sent = (load.len() + probes.len()) as u64;
    let bodies = rpc::batches(&load, BATCH);
    let urls = consortium.urls();
    let from = urls.iter().map(|url| head(url)).collect::<Result<Vec<u64>>>()?;
    let ends = AtomicBool::new(false);
    let mut times = std::thread::scope(|scope| -> Result<Vec<f64>> {
        let probing = scope.spawn(|| probe(&urls, &probes, &ends));
        let started = Instant::now();
        let outcome = bodies.into_iter().zip(urls.iter().cycle()).enumerate().try_for_each(
            |(index, (body, url))| -> Result<()> {
                let due = Duration::from_secs_f64((index * BATCH) as f64 / pace);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
                rpc::post_lanes(url, vec![vec![body]])
            },
        );
        ends.store(true, Ordering::Relaxed);
        let times = probing.join().map_err(|_| anyhow::anyhow!("the probe failed"))?;
        outcome?;
        times
    })?;
    if times.is_empty() {
        bail!("no transaction became final under the steady load");
    }
    let unsent = probes.len().saturating_sub(times.len()) as u64;
    if let Some((url, from)) = urls.first().zip(from.first()) {
        rpc::await_mined(url, *from, sent - unsent, MINED_TIMEOUT)?;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() - 1) as f64 * share) as usize).copied().unwrap_or_default();
    Ok((sent - unsent, at(0.5), at(0.99)))
}

/// Sends one transaction after another through the members in turn; how long each took to its receipt, in milliseconds.
fn probe(urls: &[String], probes: &[Vec<u8>], ends: &AtomicBool) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for (raw, url) in probes.iter().zip(urls.iter().cycle()) {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let raw = alloy_primitives::hex::encode_prefixed(raw);
        let started = Instant::now();
        let hash = rpc::call(url, "eth_sendRawTransaction", &json!([raw]))?;
        while rpc::call(url, "eth_getTransactionReceipt", &json!([hash]))?.is_null() {
            if started.elapsed() > MINED_TIMEOUT {
                bail!("no receipt of {hash} after {MINED_TIMEOUT:?}");
            }
            std::thread::sleep(RECEIPT_POLL);
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PROBE_INTERVAL);
    }
    Ok(times)
}
