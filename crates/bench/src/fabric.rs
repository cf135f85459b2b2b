//! What isolation costs: starting a worker, a call in it and beside it, and what lies in memory while nobody calls.

use crate::process::{children, cpu_s, proportional_bytes};
use crate::report::{Report, bounded};
use alloy_primitives::{Address, B256, Bytes};
use anyhow::{Context, Result, bail};
use bletchley_cryptlet::confined::{ConfinedConfig, ConfinedContainer, Program};
use bletchley_cryptlet::container::{Container, Invocation, Outside, Status};
use bletchley_cryptlet::fetch::NoFetcher;
use bletchley_cryptlet::host::WasmContainer;
use bletchley_cryptlet::manifest::{Isolation, Manifest};
use bletchley_cryptlet::package::Package;
use bletchley_primitives::{Height, LedgerId, TimestampMs};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Calls in a round; a tick of the kernel's accounting is a hundredth of a second, so that a round has many.
const CALLS: u32 = 20_000;
/// Workers that are started.
const STARTS: u8 = 40;
/// Packages that are registered and not called.
const IDLE: u32 = 64;

/// Measures with `program` as the workers' program.
pub(crate) fn measure(program: &str, report: &mut Report) -> Result<()> {
    let calendar = package("calendar")?;
    let near = WasmContainer::open(None, Arc::new(NoFetcher))?;
    let config = ConfinedConfig {
        program: Program { path: found(program)?, ..Program::default() },
        ..Default::default()
    };
    let folder = tempfile::tempdir()?;
    let secret = bletchley_cryptlet::aot::AotSecret::new([1; 32].into());
    let cache = Arc::new(bletchley_cryptlet::aot::AotCache::open(folder.path(), secret)?);
    let confined = ConfinedContainer::open(config, Some(cache), Arc::new(NoFetcher))?;
    near.load(&calendar, Isolation::InProcess)?;
    confined.load(&calendar, Isolation::Process)?;

    starts(&confined, &calendar, report)?;
    let near_us = calls(&near, &calendar)?;
    let confined_us = calls(&confined, &calendar)?;
    report.figure("call_near_us", "a call of `calendar` in the node's process", near_us.0, "us CPU");
    report.figure("call_confined_us", "the same confined, both processes", confined_us.0, "us CPU");
    report.figure("call_near_clock_us", "the same on the clock, in process", near_us.1, "us");
    report.figure("call_confined_clock_us", "the same on the clock, confined", confined_us.1, "us");
    idle(&confined, &calendar, report)
}

/// From the decision to start a worker to its first answer.
fn starts(confined: &ConfinedContainer, package: &Package, report: &mut Report) -> Result<()> {
    let before = own_cpu_s()?;
    let mut clock_ms: Vec<f64> = (1..=STARTS)
        .map(|number| {
            confined.unload(&package.id());
            confined.load(package, Isolation::Process)?;
            let call = Invocation { ledger: LedgerId(B256::repeat_byte(number)), ..call(package)? };
            let started = Instant::now();
            answered(confined, package, &call)?;
            Ok(started.elapsed().as_secs_f64() * 1e3)
        })
        .collect::<Result<_>>()?;
    clock_ms.sort_by(f64::total_cmp);
    let middle = clock_ms.get(clock_ms.len() / 2).copied().unwrap_or_default();
    report.figure("worker_start_ms", "a worker: start, jail, code, first answer (median)", middle, "ms");
    // Each round starts two: one for a try as the package is loaded, one that answers.
    let each = (own_cpu_s()? - before) * 1e3 / f64::from(STARTS) / 2.0;
    report.figure("worker_start_cpu_ms", "the same, CPU of both processes", each, "ms CPU");
    Ok(())
}

/// CPU and clock microseconds of a warm call.
fn calls(container: &dyn Container, package: &Package) -> Result<(f64, f64)> {
    let call = call(package)?;
    answered(container, package, &call)?;
    let (before, started) = (own_cpu_s()?, Instant::now());
    for _ in 0..CALLS {
        answered(container, package, &call)?;
    }
    let clock = started.elapsed().as_secs_f64();
    let per_call = |seconds: f64| seconds * 1e6 / f64::from(CALLS);
    Ok((per_call(own_cpu_s()? - before), per_call(clock)))
}

fn idle(confined: &ConfinedContainer, package: &Package, report: &mut Report) -> Result<()> {
    let workers: Vec<u32> = children(std::process::id())?;
    let worker = workers.first().context("no worker is kept")?;
    report.figure(
        "worker_memory_mb",
        "a warm worker, its share of what it shares",
        mb(proportional_bytes(*worker)?),
        "MB",
    );
    confined.unload(&package.id());
    let packages: Vec<Package> = (0..IDLE).map(|number| another(package, number)).collect::<Result<_>>()?;
    let before = proportional_bytes(std::process::id())?;
    for package in &packages {
        confined.load(package, Isolation::Process)?;
    }
    let each = proportional_bytes(std::process::id())?.saturating_sub(before) / u64::from(IDLE);
    report.push(bounded(
        "idle_cryptlet_mb",
        "a registered cryptlet that nobody calls",
        mb(each),
        "MB",
        1.0,
        0.2,
        true,
    ));
    Ok(())
}

/// The same code under another version: another package.
fn another(package: &Package, number: u32) -> Result<Package> {
    let manifest = Manifest { version: format!("9.0.{number}"), ..package.manifest().clone() };
    Ok(Package::new(manifest, package.code().clone())?)
}

fn answered(container: &dyn Container, package: &Package, call: &Invocation) -> Result<()> {
    let outcome = container.invoke(&package.id(), call);
    if outcome.status != Status::Ok {
        bail!("{}: {:?}", container.name(), outcome.status);
    }
    Ok(())
}

fn call(package: &Package) -> Result<Invocation> {
    let input = package.manifest().encode_call("weekday", &json!([20_261_122]))?;
    Ok(Invocation {
        call_id: B256::repeat_byte(1),
        ledger: LedgerId(B256::repeat_byte(2)),
        height: Height(3),
        block_time: TimestampMs(1_793_448_000_000),
        as_of: TimestampMs(1_793_448_000_000),
        caller: Address::repeat_byte(4),
        method: "weekday".to_owned(),
        input: Bytes::from(input),
        fuel_max: u64::MAX,
        timeout_ms: u64::MAX,
        outside: Outside::Live,
        isolation: Isolation::InProcess,
    })
}

fn package(name: &str) -> Result<Package> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cryptlets").join(name);
    Ok(Package::from_folder(&folder)?)
}

/// A program as the shell finds it.
fn found(program: &str) -> Result<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return Ok(path.canonicalize()?);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&folders).map(|folder| folder.join(path));
    all.find(|path| path.is_file()).with_context(|| format!("no program {program}"))
}

fn own_cpu_s() -> Result<f64> {
    let own = std::process::id();
    crate::process::family_cpu_s(own).or_else(|_| cpu_s(own))
}

fn mb(size_bytes: u64) -> f64 {
    size_bytes as f64 / 1e6
}
