//! Polling: bounds, shares, retries, staleness, live calls, repetition.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use alloy_primitives::{Address, B256};
use bletchley_cryptlet::{
    content::{Content, ContentId},
    fabric::{Evidence, FabricConfig, Reexecution},
    manifest::Isolation,
    policy::Policy,
    registry::{RegistryView, ReleaseStatus},
};
use bletchley_ledger::{Answer, Call, CallBounds, Delegate, Refusal, SignedReceipt, Status};
use bletchley_primitives::{Bytes, Height, keccak256};

use crate::world::{Behaviour, Setup, World, call, package, place};

fn is_pending(answer: &Answer) -> bool {
    matches!(answer, Answer::Pending)
}

fn one(behaviour: Behaviour) -> World {
    World::with(Setup { behaviours: vec![behaviour], ..Setup::default() })
}

#[test]
fn the_first_poll_starts_and_later_ones_give_the_same_receipt() {
    let world = World::new();
    assert!(is_pending(&world.fabric.poll(&call(1), &place(10))));
    assert_eq!(world.ready.recv().unwrap(), call(1).id());
    let Answer::Ready(first) = world.fabric.poll(&call(1), &place(10)) else { panic!("not ready") };
    let Answer::Ready(again) = world.fabric.poll(&call(1), &place(20)) else { panic!("not ready") };
    assert!(Arc::ptr_eq(&first, &again));
    assert!(first.receipt.answers(&call(1)));
    assert_eq!(first.receipt.call_id(), call(1).id());
    assert_eq!(first.output.as_ref(), b"RUEDSU");
    assert_eq!((first.receipt.valid_from, first.receipt.valid_to), (Height(10), Height(266)));
    assert_eq!(first.receipt.as_of_ms, place(10).time_ms);
    assert_eq!(world.containers[0].invocations_total(), 1);
    for height in [10, 20, 266] {
        assert_eq!(world.check(&first, &place(height)), Ok(()));
    }
}

#[test]
fn an_expired_or_early_receipt_is_made_again() {
    let world = World::new();
    let first = world.answer(&call(1), &place(10));
    for height in [11 + CallBounds::WINDOW_HEIGHTS, 5] {
        let next = world.answer(&call(1), &place(height));
        assert_ne!(next, first);
        assert_eq!(world.check(&next, &place(height)), Ok(()));
    }
    let mut late = place(6);
    late.time_ms.0 += CallBounds::AS_OF_SKEW_MS_MAX + 1;
    let next = world.answer(&call(1), &late);
    assert_eq!(next.receipt.as_of_ms, late.time_ms);
    assert_eq!(world.check(&next, &late), Ok(()));
}

#[test]
fn what_changed_in_the_registry_makes_a_receipt_stale() {
    let world = World::new();
    world.fabric.anchor();
    let first = world.answer(&call(1), &place(10));
    let newer = package("1.1.0");
    world.release(&newer);
    // The block that is being built keeps its anchor.
    assert_eq!(world.answer(&call(1), &place(10)), first);
    world.fabric.anchor();
    let second = world.answer(&call(1), &place(11));
    assert_eq!(second.receipt.package, newer.id().0);
    assert_eq!(world.check(&second, &place(11)), Ok(()));
    world.set_status(&newer, ReleaseStatus::Revoked);
    world.fabric.anchor();
    let third = world.answer(&call(1), &place(12));
    assert_eq!(third.receipt.package, world.package.id().0, "an older release answers again");
    world.set_status(&world.package, ReleaseStatus::Revoked);
    assert_eq!(world.fabric.anchor(), world.registry.anchor());
    let refusal = world.answer(&call(1), &place(13));
    assert!(refusal.is_refusal());
    assert_eq!(world.check(&refusal, &place(13)), Ok(()));
}

#[test]
fn failures_are_recorded_with_their_reason() {
    for (behaviour, status, reason) in [
        (Behaviour::RefusesInput, Status::Failed, "invalid-input: unknown currency"),
        (Behaviour::Traps, Status::Trapped, "out-of-fuel: all fuel used"),
        (Behaviour::NeverAnswers, Status::Unavailable, "source-unavailable: no answer"),
        (Behaviour::Panics, Status::Unavailable, "host-fault: the container panicked"),
    ] {
        let world = one(behaviour);
        let receipt = world.answer(&call(1), &place(10));
        assert_eq!(receipt.receipt.status, status);
        assert_eq!(receipt.output.as_ref(), reason.as_bytes());
        assert_eq!(receipt.signatures.len(), 2);
        assert_eq!(world.check(&receipt, &place(10)), Ok(()));
    }
}

#[test]
fn a_host_gets_three_attempts() {
    let world = one(Behaviour::Flaky(2));
    assert_eq!(world.answer(&call(1), &place(10)).receipt.status, Status::Ok);
    assert_eq!(world.containers[0].invocations_total(), 3);
    let world = one(Behaviour::Flaky(3));
    assert_eq!(world.answer(&call(1), &place(10)).receipt.status, Status::Unavailable);
    assert_eq!(world.fabric.status().unavailable_total, 1);
    assert_eq!(world.containers[0].invocations_total(), 3);
}

#[test]
fn what_is_in_flight_is_bounded_and_nothing_is_forgotten() {
    let config = FabricConfig { workers: 2, in_flight_max: 4, ..FabricConfig::default() };
    let world = World::with(Setup { behaviours: vec![Behaviour::WaitsAtGate], config, ..Setup::default() });
    let calls: Vec<Call> = (0..10).map(call).collect();
    for call in &calls {
        assert!(is_pending(&world.fabric.poll(call, &place(10))));
    }
    let status = world.fabric.status();
    assert_eq!((status.in_flight, status.waiting), (4, 4), "more than that many are not even remembered");
    world.containers[0].open_gate();
    let mut open: BTreeSet<usize> = (0..calls.len()).collect();
    while !open.is_empty() {
        world.ready.recv().unwrap();
        open.retain(|at| is_pending(&world.fabric.poll(&calls[*at], &place(11))));
    }
    assert!(world.containers[0].running_most.load(Ordering::SeqCst) <= 2);
    assert_eq!(world.containers[0].invocations_total(), 10);
    assert_eq!(world.fabric.status().in_flight, 0);
}

#[test]
fn no_sender_takes_more_than_its_share() {
    let world = World::with(Setup {
        behaviours: vec![Behaviour::WaitsAtGate],
        policy: |policy| Policy { calls_per_sender_max: 2, ..policy },
        ..Setup::default()
    });
    for number in 0..5 {
        assert!(is_pending(&world.fabric.poll(&call(number), &place(10))));
    }
    assert_eq!(world.fabric.status().in_flight, 2);
    let modest = Call { sender: Address::repeat_byte(0xbb), ..call(9) };
    assert!(is_pending(&world.fabric.poll(&modest, &place(10))));
    assert_eq!(world.fabric.status().in_flight, 3);
    world.containers[0].open_gate();
    assert_eq!(world.answer(&modest, &place(10)).receipt.status, Status::Ok);
    for number in 0..5 {
        assert_eq!(world.answer(&call(number), &place(10)).receipt.status, Status::Ok);
    }
}

#[test]
fn many_threads_that_ask_the_same_run_it_once() {
    let world = World::new();
    let calls: Vec<Call> = (0..50).map(call).collect();
    let fabric = &world.fabric;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for call in &calls {
                    while is_pending(&fabric.poll(call, &place(10))) {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    assert!(world.containers[0].invocations.lock().values().all(|times| *times == 1));
    let receipts: Vec<SignedReceipt> =
        calls.iter().map(|call| (*world.answer(call, &place(10))).clone()).collect();
    assert_eq!(world.check_record(&world.record(receipts), &place(10)), Ok(()));
}

#[test]
fn finished_receipts_are_bounded() {
    let config = FabricConfig { ready_max: 3, ..FabricConfig::default() };
    let world = World::with(Setup { config, ..Setup::default() });
    for number in 0..20 {
        world.answer(&call(number), &place(10));
    }
    assert_eq!(world.fabric.status().ready, 3);
    // One that left is made again.
    assert_eq!(world.answer(&call(0), &place(10)).receipt.status, Status::Ok);
    let config = FabricConfig { ready_size_bytes_max: 1, ..FabricConfig::default() };
    let world = World::with(Setup { config, ..Setup::default() });
    for number in 0..5 {
        assert_eq!(world.answer(&call(number), &place(10)).receipt.status, Status::Ok);
    }
    assert_eq!(world.fabric.status().ready, 1);
}

#[test]
fn a_host_that_the_policy_does_not_name_signs_nothing() {
    let world = World::new();
    world.set_policy(|policy| Policy { hosts: vec![crate::world::key("other").address()], ..policy });
    world.admit(&crate::world::key("other"), |entry| entry);
    world.fabric.anchor();
    assert!(is_pending(&world.fabric.poll(&call(1), &place(10))));
    assert_eq!(world.ready.recv().unwrap(), call(1).id());
    assert!(is_pending(&world.fabric.poll(&call(1), &place(10))));
    assert_eq!(world.containers[0].invocations_total(), 0);
    assert!(matches!(world.fabric.run(&call(1), &place(10)), Err(Refusal::Bounds(_))));
    // Named again, it is asked again, at the same height.
    world.set_policy(|policy| Policy { hosts: vec![world.host_keys[0].address()], ..policy });
    world.fabric.anchor();
    assert_eq!(world.answer(&call(1), &place(10)).receipt.status, Status::Ok);
}

#[test]
fn the_isolation_that_policy_asks_for_reaches_the_host() {
    let world = World::new();
    let asked = || *world.containers[0].least.lock();
    assert_eq!(world.answer(&call(1), &place(10)).receipt.status, Status::Ok);
    assert_eq!(asked(), Isolation::InProcess);
    world.set_policy(|policy| Policy { isolation: Some(Isolation::Process), ..policy });
    world.fabric.anchor();
    assert_eq!(world.answer(&call(2), &place(10)).receipt.status, Status::Ok);
    assert_eq!(asked(), Isolation::Process);
    assert_eq!(world.fabric.run(&call(3), &place(10)).unwrap().receipt.status, Status::Ok);
    assert_eq!(asked(), Isolation::Process);
}

#[test]
fn readers_leave_no_record_and_get_nothing_that_could_stand_in_one() {
    let world = World::new();
    let live = world.fabric.run(&call(1), &place(10)).unwrap();
    let recorded = world.answer(&call(1), &place(10));
    assert_eq!((&live.receipt, &live.output), (&recorded.receipt, &recorded.output));
    assert_eq!(live.signatures.len(), recorded.signatures.len(), "gas comes out the same");
    assert!(world.check(&live, &place(10)).is_err());
    assert_eq!(world.containers[0].invocations_total(), 2, "the recorded one ran by itself");
    let unknown = Call { cryptlet: B256::ZERO, ..call(1) };
    assert!(world.fabric.run(&unknown, &place(10)).unwrap().is_refusal());
    let long = Call { input: vec![0; CallBounds::INPUT_SIZE_BYTES_MAX + 1].into(), ..call(1) };
    assert!(matches!(world.fabric.run(&long, &place(10)), Err(Refusal::Bounds(_))));
    world.containers[0].behave(Behaviour::NeverAnswers);
    assert_eq!(world.fabric.run(&call(2), &place(10)).unwrap().receipt.status, Status::Unavailable);
}

#[test]
fn readers_wait_for_a_place_no_longer_than_a_calls_time() {
    let config = FabricConfig { live_max: 1, ..FabricConfig::default() };
    let world = World::with(Setup {
        behaviours: vec![Behaviour::WaitsAtGate],
        config,
        policy: |policy| Policy { timeout_ms: 20, ..policy },
    });
    std::thread::scope(|scope| {
        let first = scope.spawn(|| world.fabric.run(&call(1), &place(10)));
        while world.containers[0].running_most.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(world.fabric.run(&call(2), &place(10)), Err(Refusal::Timeout(20)));
        world.containers[0].open_gate();
        assert_eq!(first.join().unwrap().unwrap().receipt.status, Status::Ok);
    });
    assert_eq!(world.fabric.run(&call(2), &place(10)).unwrap().receipt.status, Status::Ok);
}

#[test]
fn a_recorded_call_can_be_repeated_without_its_source() {
    let world = one(Behaviour::AsksSource("1.08"));
    let receipt = world.answer(&call(1), &place(10));
    assert_eq!(receipt.output.as_ref(), b"1.08");
    let evidence = world.content.get(ContentId(receipt.receipt.transcript)).unwrap().unwrap();
    let evidence = Evidence::decode(&evidence).unwrap();
    assert_eq!(evidence.transcript.fetches.len(), 1);
    assert_eq!(keccak256(&evidence.input), receipt.receipt.input_digest);
    let anchor = world.registry.anchor();
    world.containers[0].behave(Behaviour::AsksSource("9.99"));
    assert_eq!(world.fabric.reexecute(&receipt, &anchor), Reexecution::Match);
    world.containers[0].behave(Behaviour::Lies);
    let Reexecution::Mismatch(difference) = world.fabric.reexecute(&receipt, &anchor) else {
        panic!("must differ")
    };
    assert_eq!(difference.what, "output");
    // Evidence without the fetch: the run leaves it at its first host call.
    let honest = one(Behaviour::Honest);
    let pure = honest.answer(&call(1), &place(10));
    assert_eq!(honest.fabric.reexecute(&pure, &honest.registry.anchor()), Reexecution::Match);
    honest.containers[0].behave(Behaviour::AsksSource("1"));
    let Reexecution::Mismatch(difference) = honest.fabric.reexecute(&pure, &honest.registry.anchor()) else {
        panic!("must differ")
    };
    assert_eq!(difference.what, "host call");
    let mut lost = (*receipt).clone();
    lost.receipt.transcript = B256::repeat_byte(1);
    assert!(matches!(world.fabric.reexecute(&lost, &anchor), Reexecution::NotPossible(_)));
}

#[test]
fn stopping_ends_the_threads_and_leaves_calls_pending() {
    let config = FabricConfig { workers: 1, ..FabricConfig::default() };
    let world = World::with(Setup { behaviours: vec![Behaviour::WaitsAtGate], config, ..Setup::default() });
    for number in 0..4 {
        world.fabric.poll(&call(number), &place(10));
    }
    while world.containers[0].running_most.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| world.fabric.stop());
        while !world.fabric.status().stopped {
            std::thread::yield_now();
        }
        world.containers[0].open_gate();
    });
    assert_eq!(world.containers[0].invocations_total(), 1);
    assert!(is_pending(&world.fabric.poll(&call(3), &place(10))));
    assert_eq!(world.fabric.status().signed_total, 1);
}

#[test]
fn hostile_bytes_are_no_evidence() {
    use proptest::prelude::*;
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..200))| {
        if let Ok(evidence) = Evidence::decode(&bytes) {
            prop_assert_eq!(evidence.encode(), bytes);
        }
    });
    let evidence = Evidence {
        input: Bytes::from_static(b"in"),
        fuel_max: 5,
        host_calls: B256::repeat_byte(3),
        transcript: bletchley_cryptlet::transcript::Transcript::default(),
    };
    assert_eq!(Evidence::decode(&evidence.encode()).unwrap(), evidence);
}
