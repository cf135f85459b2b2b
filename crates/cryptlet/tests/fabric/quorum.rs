//! Several hosts: each repeats what the first one says before it signs.

use bletchley_cryptlet::policy::Policy;
use bletchley_ledger::{Answer, Delegate, Status};

use crate::world::{Behaviour, Setup, World, call, place, sign};

fn two_of(behaviours: Vec<Behaviour>) -> World {
    let policy = |policy| Policy { quorum: 2, single_host_allowed: false, ..policy };
    World::with(Setup { behaviours, policy, ..Setup::default() })
}

#[test]
fn two_of_three_sign_in_the_order_of_their_addresses() {
    let world = two_of(vec![Behaviour::Honest; 3]);
    let receipt = world.answer(&call(1), &place(10));
    assert_eq!(receipt.signatures.len(), 3);
    assert_eq!(world.check(&receipt, &place(10)), Ok(()));
    let hosts: Vec<_> = world.host_keys.iter().collect();
    let mut other = (*receipt).clone();
    for (signers, words) in [
        (vec![hosts[0]], "it has 2 signatures"),
        (vec![hosts[0], hosts[0]], "ascending"),
        (hosts.clone(), "it has 4 signatures"),
    ] {
        other.signatures = sign(&receipt, &world.cryptlet_key, &signers);
        let problem = world.check(&other, &place(10)).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
    other.signatures = sign(&receipt, &world.cryptlet_key, &hosts[..2]);
    other.signatures.swap(1, 2);
    let problem = world.check(&other, &place(10)).unwrap_err();
    assert!(problem.contains("ascending"), "{problem}");
}

#[test]
fn a_host_that_comes_to_something_else_does_not_sign() {
    let world = two_of(vec![Behaviour::Honest, Behaviour::Lies, Behaviour::Honest]);
    let receipt = world.answer(&call(1), &place(10));
    assert_eq!(receipt.receipt.status, Status::Ok);
    assert_eq!(receipt.output.as_ref(), b"RUEDSU");
    assert_eq!(world.check(&receipt, &place(10)), Ok(()));
}

#[test]
fn without_agreement_there_is_no_receipt() {
    let world = two_of(vec![Behaviour::Lies, Behaviour::Honest]);
    assert!(matches!(world.fabric.poll(&call(1), &place(10)), Answer::Pending));
    world.ready.recv().unwrap();
    assert!(matches!(world.fabric.poll(&call(1), &place(10)), Answer::Pending));
    assert_eq!(world.fabric.status().signed_total, 0);
}

#[test]
fn another_host_is_tried_when_one_cannot_answer() {
    let world =
        two_of(vec![Behaviour::NeverAnswers, Behaviour::AsksSource("1.08"), Behaviour::AsksSource("x")]);
    let receipt = world.answer(&call(1), &place(10));
    assert_eq!((receipt.receipt.status, receipt.output.as_ref()), (Status::Ok, &b"1.08"[..]));
    assert_eq!(world.check(&receipt, &place(10)), Ok(()));
    let world = two_of(vec![Behaviour::NeverAnswers; 2]);
    let receipt = world.answer(&call(1), &place(10));
    assert_eq!(receipt.receipt.status, Status::Unavailable);
    assert_eq!(world.check(&receipt, &place(10)), Ok(()));
}
