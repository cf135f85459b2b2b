//! Workers over their lives: shared with nobody, kept while they are used, gone with their node.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bletchley_cryptlet::{
    confined::{ConfinedConfig, ConfinedContainer, WORKERS_PER_LANE_MAX},
    container::{Container, LoadError, Status, UnavailableKind},
    fetch::NoFetcher,
    host::{WasmContainer, limits},
    isolation::Isolating,
    manifest::{Isolation, Limits, Manifest},
    package::Package,
};
use bletchley_primitives::LedgerId;

use crate::{guests, support::invocation};

/// Argument of a node that starts a worker, says so, and waits to be killed.
const VICTIM: &str = "--victim";
/// How long something that has been ended may still be seen.
const PATIENCE: Duration = Duration::from_secs(20);

fn open() -> ConfinedContainer {
    ConfinedContainer::open(ConfinedConfig::default(), None, Arc::new(NoFetcher)).unwrap()
}

fn spinning() -> Package {
    let text = guests::manifest("utility", "");
    let patient = Manifest { limits: Limits { fuel: limits::FUEL_MAX, ..text.limits }, ..text };
    Package::new(patient, guests::pure("", "(loop $l (br $l)) (unreachable)").into()).unwrap()
}

fn is_there(pid: i32) -> bool {
    // A zombie is over too: it waits for its parent, not for itself.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until_gone(pid: i32) {
    let started = Instant::now();
    while is_there(pid) {
        assert!(started.elapsed() < PATIENCE, "worker {pid} is still there");
        thread::yield_now();
    }
}

pub(crate) fn a_crash_or_a_hang_leaves_other_calls_alone() {
    let container = open();
    let (echo, spin) = (guests::package("utility", guests::echo()), spinning());
    container.load(&echo, Isolation::Process).unwrap();
    let spinner = container.load(&spin, Isolation::Process).unwrap();
    thread::scope(|scope| {
        let hang = scope.spawn(|| {
            let mut call = invocation("echo", guests::input());
            call.timeout_ms = 1_000;
            container.invoke(&spinner, &call)
        });
        while !hang.is_finished() {
            let outcome = container.invoke(&echo.id(), &invocation("echo", guests::input()));
            assert_eq!(outcome.status, Status::Ok);
        }
        let outcome = hang.join().unwrap();
        assert_eq!(outcome.status.code(), UnavailableKind::Timeout.code());
    });
    let (idle, live) = container.workers();
    assert_eq!((idle.len(), live), (1, 1), "the one that hung is gone, the other is kept");
    // A worker that dies between calls costs one answer, and its lane a short rest.
    let pid = idle[0];
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let call = invocation("echo", guests::input());
    let outcome = container.invoke(&echo.id(), &call);
    assert_eq!(outcome.status.code(), UnavailableKind::HostFault.code(), "{:?}", outcome.status);
    let started = Instant::now();
    while container.invoke(&echo.id(), &call).status != Status::Ok {
        assert!(started.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

pub(crate) fn workers_are_kept_shared_with_nobody_and_gone_at_the_end() {
    let container = open();
    let echo = guests::package("utility", guests::echo());
    let other = guests::package(
        "utility",
        guests::pure("(func)", &guests::answer("(local.get $input)", "(local.get $input_size)")),
    );
    for package in [&echo, &other] {
        container.load(package, Isolation::Process).unwrap();
    }
    assert_eq!(container.workers(), (vec![], 0), "nothing runs before the first call");
    let answered_by = |package: &Package, ledger: u8| {
        let before: BTreeSet<i32> = container.workers().0.into_iter().collect();
        let mut call = invocation("echo", guests::input());
        call.ledger = LedgerId(alloy_primitives::B256::repeat_byte(ledger));
        assert_eq!(container.invoke(&package.id(), &call).status, Status::Ok);
        let after: BTreeSet<i32> = container.workers().0.into_iter().collect();
        after.difference(&before).copied().collect::<Vec<_>>()
    };
    assert_eq!(answered_by(&echo, 1).len(), 1, "a first call starts a worker");
    assert_eq!(answered_by(&echo, 1).len(), 0, "a second call finds it");
    assert_eq!(answered_by(&echo, 2).len(), 1, "another ledger has its own");
    assert_eq!(answered_by(&other, 1).len(), 1, "and so has another package");
    thread::scope(|scope| {
        for _ in 0..WORKERS_PER_LANE_MAX * 2 {
            scope.spawn(|| {
                let call = invocation("echo", guests::input());
                assert_eq!(container.invoke(&echo.id(), &call).status, Status::Ok);
            });
        }
    });
    let (idle, live) = container.workers();
    assert!(live <= WORKERS_PER_LANE_MAX + 3 && idle.len() == live, "{live}");
    container.unload(&echo.id());
    assert_eq!(container.workers().1, 1, "a package that goes takes its workers with it");
    drop(container);
    for pid in idle {
        assert!(!is_there(pid), "{pid}");
    }
}

/// Starts a worker, says its number, and waits to be killed.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    if std::env::args().nth(1)? != VICTIM {
        return None;
    }
    let container = open();
    let spin = spinning();
    let id = container.load(&guests::package("utility", guests::echo()), Isolation::Process).unwrap();
    let spinner = container.load(&spin, Isolation::Process).unwrap();
    assert_eq!(container.invoke(&id, &invocation("echo", guests::input())).status, Status::Ok);
    println!("{}", container.workers().0[0]);
    // At work when the end comes: it would never look at its channel.
    container.invoke(&spinner, &invocation("echo", guests::input()));
    Some(ExitCode::SUCCESS)
}

pub(crate) fn a_node_that_is_killed_leaves_no_worker_behind() {
    let mut node =
        Command::new(std::env::current_exe().unwrap()).arg(VICTIM).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let idle: i32 = line.trim().parse().unwrap();
    // The other one is at work: found as the other child of the same node.
    let started = Instant::now();
    let all = loop {
        let all = children(node.id());
        if all.len() == 2 {
            break all;
        }
        assert!(started.elapsed() < PATIENCE, "{all:?}");
        thread::yield_now();
    };
    assert!(all.contains(&idle), "{idle} {all:?}");
    node.kill().unwrap();
    node.wait().unwrap();
    for pid in all {
        wait_until_gone(pid);
    }
}

fn children(of: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).unwrap();
    let all = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    all.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

pub(crate) fn first_party_code_may_stay_near_and_nothing_else() {
    let near = Arc::new(WasmContainer::open(None, Arc::new(NoFetcher)).unwrap());
    let confined = Arc::new(open());
    let ours = guests::package("utility", guests::echo());
    let theirs = guests::package(
        "utility",
        guests::pure("(func)", &guests::answer("(local.get $input)", "(local.get $input_size)")),
    );
    let both = Isolating::new(near.clone(), Some(confined.clone()), [ours.id()]);
    let mut call = invocation("echo", guests::input());
    for package in [&ours, &theirs] {
        both.load(package, Isolation::InProcess).unwrap();
        assert_eq!(both.invoke(&package.id(), &call).status, Status::Ok);
    }
    assert!(
        near.is_loaded(&ours.id(), Isolation::InProcess)
            && !near.is_loaded(&theirs.id(), Isolation::InProcess)
    );
    assert_eq!(confined.workers().1, 1, "theirs runs in a worker");
    // Policy asks for more: ours moves out too, and is not answered near meanwhile.
    call.isolation = Isolation::Process;
    assert_eq!(both.invoke(&ours.id(), &call).status.code(), UnavailableKind::NotLoaded.code());
    both.load(&ours, Isolation::Process).unwrap();
    assert_eq!(both.invoke(&ours.id(), &call).status, Status::Ok);
    assert_eq!(confined.workers().1, 2);
    // A manifest can ask for it as well, and a container that has no processes says so.
    let strict = Package::new(guests::manifest("utility", ""), guests::echo().into()).unwrap();
    let strict = Manifest { isolation: Isolation::Process, ..strict.manifest().clone() };
    let strict = Package::new(strict, guests::echo().into()).unwrap();
    let alone = Isolating::new(near, None, [strict.id(), ours.id()]);
    for package in [&strict, &theirs] {
        let refused = alone.load(package, Isolation::InProcess);
        assert!(matches!(refused, Err(LoadError::Isolation { asked: "process", .. })), "{refused:?}");
    }
    let claims = both.claims();
    assert!(claims.contains(&("isolation", "process".to_owned())), "{claims:?}");
    assert!(claims.contains(&("isolation.seccomp", "yes".to_owned())), "{claims:?}");
}
