//! Every target over its seeds, over what was once found, and over inputs made of the seeds, the same each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bletchley_fuzz::{TARGETS, Target, Verdict, mutate, target};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// No input that the mutator makes may ask for more memory at once. They have at most some two hundred kilobytes, and what they
/// honestly need is a twentieth of this; a length field that is believed before its bytes are there asks for more.
const ALLOCATION_SIZE_BYTES_MAX: usize = 16 << 20;

/// Environment variable that multiplies the number of inputs, for a longer look.
const FACTOR: &str = "BLETCHLEY_FUZZ_FACTOR";

/// Inputs that were defects once: target and bytes in hexadecimal.
const REGRESSIONS: &[(&str, &str)] = &[];

/// The system's allocator, which remembers the largest request.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator unchanged, whose contract is the same.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, and `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Runs one input; a defect is described so that it can be repeated.
fn run(target: &Target, origin: &str, bytes: &[u8]) -> Result<Verdict, String> {
    LARGEST.store(0, Ordering::Relaxed);
    let verdict = catch_unwind(|| (target.check)(bytes));
    let largest = LARGEST.load(Ordering::Relaxed);
    let found =
        |problem: String| Err(format!("{}, {origin}: {problem}\n  {}", target.name, hex::encode(bytes)));
    match verdict {
        Ok(_) if largest > ALLOCATION_SIZE_BYTES_MAX => {
            found(format!("it asked for {largest} bytes at once"))
        }
        Ok(verdict) => Ok(verdict),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            found(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned())
        }
    }
}

/// Numbers of one target's inputs: no two targets have the same.
fn number(target: &Target, nth: u32) -> u64 {
    let name = target.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    name.wrapping_add(nth.into())
}

fn smoke(target: &Target, factor: u32, defects: &mut Vec<String>) {
    let seeds = (target.seeds)();
    for (nth, seed) in seeds.iter().enumerate() {
        match run(target, &format!("valid example {nth}"), seed) {
            Ok(Verdict::Accepted) => {}
            Ok(Verdict::Refused) => defects.push(format!("{}: valid example {nth} is refused", target.name)),
            Err(defect) => defects.push(defect),
        }
    }
    let (mut accepted, mut refused) = (0, 0);
    for number in (0..target.smoke_runs.saturating_mul(factor)).map(|nth| number(target, nth)) {
        match run(target, &format!("seed number {number}"), &mutate::input(&seeds, number)) {
            Ok(Verdict::Accepted) => accepted += 1,
            Ok(Verdict::Refused) => refused += 1,
            Err(defect) => {
                // One is enough to look at.
                defects.push(defect);
                return;
            }
        }
    }
    // Otherwise the target looks at nothing, or the mutator changes nothing.
    if refused == 0 {
        defects.push(format!("{}: none of {accepted} changed inputs was refused", target.name));
    }
}

/// Otherwise the test below could not fail.
fn defects_are_noticed() {
    let fake = |check| Target { name: "fake", check, seeds: Vec::new, smoke_runs: 0 };
    let panics = run(&fake(|_| panic!("a broken promise")), "seed number 7", &[0xab]);
    assert_eq!(panics.unwrap_err(), "fake, seed number 7: a broken promise\n  ab");
    let believes = |bytes: &[u8]| {
        let buffer: Vec<u8> = Vec::with_capacity(usize::from(bytes[0]) << 20);
        if std::hint::black_box(buffer).is_empty() { Verdict::Accepted } else { Verdict::Refused }
    };
    assert_eq!(run(&fake(believes), "", &[1]), Ok(Verdict::Accepted));
    assert!(run(&fake(believes), "", &[17]).unwrap_err().contains("17825792 bytes"));
}

/// One test for all, one target after the other: the allocator counts for the whole process.
#[test]
fn no_input_breaks_a_promise() {
    defects_are_noticed();
    let factor = std::env::var(FACTOR).map_or(1, |factor| factor.parse().expect(FACTOR));
    let mut defects = Vec::new();
    for (name, bytes) in REGRESSIONS {
        let target = target(name).expect(name);
        defects.extend(run(target, "found before", &hex::decode(bytes).unwrap()).err());
    }
    for target in TARGETS {
        smoke(target, factor, &mut defects);
    }
    assert!(defects.is_empty(), "{} defects:\n{}", defects.len(), defects.join("\n"));
}

/// The libFuzzer crate is no member of the workspace, so nothing else would notice.
#[test]
fn libfuzzer_has_a_binary_for_each_target() {
    let manifest = include_str!("../libfuzzer/Cargo.toml");
    let bins: BTreeSet<&str> =
        manifest.split("[[bin]]").skip(1).map(|bin| bin.split('"').nth(1).unwrap()).collect();
    assert_eq!(bins, TARGETS.iter().map(|target| target.name).collect());
}
