//! Every check has a receipt that fails it.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use bletchley_cryptlet::{
    policy::{CallRefusal, CallerRule, Policy},
    registry::{RegistryView, ReleaseStatus},
};
use bletchley_ledger::{
    Anchor, CallBounds, Delegate, DelegationRecord, Extension, Place, SignedReceipt, Status,
};
use bletchley_primitives::{Height, LedgerId, TimestampMs, decode_bounded};
use proptest::prelude::*;

use crate::world::{Behaviour, FUEL_LIMIT, Setup, World, call, key, place, sign};

fn good() -> (World, SignedReceipt, Place) {
    let world = World::new();
    let place = place(10);
    let receipt = (*world.answer(&call(1), &place)).clone();
    assert_eq!(world.check(&receipt, &place), Ok(()));
    (world, receipt, place)
}

/// Changes a receipt that is good, and signs it again as everybody whose signature it needs.
fn refused(change: impl FnOnce(&mut SignedReceipt)) -> String {
    let (world, mut receipt, place) = good();
    change(&mut receipt);
    world.check(&world.resign(receipt), &place).unwrap_err()
}

#[track_caller]
fn says(problem: &str, words: &str) {
    assert!(problem.contains(words), "{problem:?} does not say {words:?}");
}

#[test]
fn outputs_are_bound_to_what_was_signed() {
    let (world, mut receipt, place) = good();
    receipt.output = Bytes::from_static(b"swapped");
    says(&world.check(&receipt, &place).unwrap_err(), "digest");
}

#[test]
fn every_field_is_bound_by_the_signatures() {
    let (world, receipt, place) = good();
    let changes: [fn(&mut SignedReceipt); 7] = [
        |r| r.receipt.transaction.0 = B256::ZERO,
        |r| r.receipt.caller = Address::ZERO,
        |r| r.receipt.input_digest = keccak256("other input"),
        |r| r.receipt.occurrence = 1,
        |r| r.receipt.transcript = B256::repeat_byte(1),
        |r| r.receipt.fuel += 1,
        |r| r.receipt.status = Status::Failed,
    ];
    for change in changes {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        says(&world.check(&receipt, &place).unwrap_err(), "the first signature is by");
    }
}

#[test]
fn a_receipt_fits_its_ledger_and_its_heights() {
    let (world, receipt, place) = good();
    let elsewhere = Place { ledger: LedgerId(B256::repeat_byte(0x22)), ..place };
    says(&world.check(&receipt, &elsewhere).unwrap_err(), "for ledger");
    let at = |height| Place { height: Height(height), ..place };
    assert_eq!(world.check(&receipt, &at(10 + CallBounds::WINDOW_HEIGHTS)), Ok(()));
    says(&world.check(&receipt, &at(11 + CallBounds::WINDOW_HEIGHTS)).unwrap_err(), "valid from height");
    says(&world.check(&receipt, &at(9)).unwrap_err(), "valid from height");
    says(&refused(|r| r.receipt.valid_to.0 += 1), "valid from height");
    says(&refused(|r| r.receipt.valid_to = Height(0)), "valid from height");
}

#[test]
fn the_cryptlets_clock_is_near_the_blocks() {
    let (world, receipt, place) = good();
    let at = |time_ms| Place { time_ms: TimestampMs(time_ms), ..place };
    let skew = CallBounds::AS_OF_SKEW_MS_MAX;
    assert_eq!(world.check(&receipt, &at(place.time_ms.0 + skew)), Ok(()));
    says(&world.check(&receipt, &at(place.time_ms.0 + skew + 1)).unwrap_err(), "from the block's time");
    says(&world.check(&receipt, &at(place.time_ms.0 - skew - 1)).unwrap_err(), "from the block's time");
}

#[test]
fn signatures_are_the_cryptlets_and_those_of_registered_hosts() {
    let (world, good, place) = good();
    let with = |signatures| SignedReceipt { signatures, ..good.clone() };
    let host = &world.host_keys[0];
    let (stranger, cryptlet) = (key("stranger"), &world.cryptlet_key);
    for (signatures, words) in [
        (sign(&good, &stranger, &[host]), "the first signature is by"),
        (sign(&good, cryptlet, &[&stranger]), "signed as a host"),
        (sign(&good, host, &[cryptlet]), "the first signature is by"),
        (sign(&good, cryptlet, &[host, &stranger]), "it has 3 signatures"),
        (sign(&good, cryptlet, &[host, host]), "it has 3 signatures"),
        (sign(&good, cryptlet, &[]), "it has 1 signatures"),
        (Vec::new(), "it has 0 signatures"),
        (vec![bletchley_primitives::Signature([0; 65]); 2], "signature 0 is not a signature"),
    ] {
        says(&world.check(&with(signatures), &place).unwrap_err(), words);
    }
}

#[test]
fn the_registry_at_the_anchor_decides() {
    let (world, receipt, place) = good();
    let before = world.registry.anchor();
    world.set_status(&world.package, ReleaseStatus::Revoked);
    says(&world.check(&receipt, &place).unwrap_err(), "cryptlet fx-rates 1.0.0 is revoked");
    // A block from before the revocation stays good for ever.
    assert_eq!(
        world.check_record(&DelegationRecord { anchor: before, receipts: vec![receipt] }, &place),
        Ok(())
    );
}

#[test]
fn the_package_is_the_one_that_the_registry_names() {
    says(&refused(|r| r.receipt.package = B256::repeat_byte(7)), "ran, the registry names");
    says(&refused(|r| r.receipt.cryptlet = keccak256("unknown")), "no cryptlet 0x");
    says(&refused(|r| r.receipt.method = "rates".into()), "has no method rates");
    let (world, receipt, place) = good();
    world.release(&crate::world::package("1.1.0"));
    says(&world.check(&receipt, &place).unwrap_err(), "ran, the registry names");
    let mut pinned = receipt;
    pinned.receipt.cryptlet = world.package.id().0;
    assert_eq!(world.check(&world.resign(pinned), &place), Ok(()));
}

#[test]
fn policy_names_callers_hosts_and_evidence() {
    let (world, receipt, place) = good();
    let anchor = world.registry.anchor();
    let rule = |callers| vec![CallerRule { cryptlet: "fx-rates".into(), callers }];
    world.set_policy(|policy| Policy { callers: rule(vec![Address::repeat_byte(1)]), ..policy });
    says(&world.check(&receipt, &place).unwrap_err(), "may not call cryptlet fx-rates");
    world.set_policy(|policy| Policy { callers: rule(vec![receipt.receipt.caller]), ..policy });
    assert_eq!(world.check(&receipt, &place), Ok(()));
    world.set_policy(|policy| Policy { evidence: vec!["tpm2".into()], ..policy });
    says(&world.check(&receipt, &place).unwrap_err(), "asks for 1 hosts, 0 can answer");
    world.set_policy(|policy| Policy { hosts: vec![key("stranger").address()], ..policy });
    says(&world.check(&receipt, &place).unwrap_err(), "asks for 1 hosts, 0 can answer");
    assert_eq!(world.check_record(&DelegationRecord { anchor, receipts: vec![receipt] }, &place), Ok(()));
}

#[test]
fn the_profile_is_the_hosts_registered_one() {
    says(&refused(|r| r.receipt.profile = B256::repeat_byte(7)), "computed under profile");
    let (world, receipt, place) = good();
    world.admit(&world.host_keys[0], |entry| bletchley_cryptlet::registry::HostEntry {
        profile: B256::repeat_byte(7),
        ..entry
    });
    says(&world.check(&receipt, &place).unwrap_err(), "computed under profile");
}

#[test]
fn fields_go_with_the_status() {
    says(&refused(|r| r.receipt.profile = B256::ZERO), "its profile does not go with its status");
    says(&refused(|r| r.receipt.transcript = B256::ZERO), "its transcript does not go with its status");
    says(&refused(|r| r.receipt.fuel = FUEL_LIMIT + 1), "fuel");
    says(&refused(|r| r.receipt.status = Status::Unavailable), "does not go with its status");
    says(
        &refused(|r| {
            r.receipt.status = Status::Failed;
            r.output = Bytes::from_static(&[0xff]);
            r.receipt.output_digest = keccak256(&r.output);
        }),
        "its output does not go with its status",
    );
}

#[test]
fn parts_are_bounded() {
    says(
        &refused(|r| r.receipt.method = "m".repeat(CallBounds::METHOD_SIZE_BYTES_MAX + 1)),
        "its method has 65",
    );
    says(
        &refused(|r| {
            r.output = vec![0; CallBounds::OUTPUT_SIZE_BYTES_MAX + 1].into();
            r.receipt.output_digest = keccak256(&r.output);
        }),
        "its output has 65537",
    );
    let (world, mut receipt, place) = good();
    receipt.signatures = vec![receipt.signatures[0]; SignedReceipt::SIGNATURES_MAX + 1];
    says(&world.check(&receipt, &place).unwrap_err(), "its signatures has 34");
}

#[test]
fn records_are_bounded_and_anchored() {
    let (world, receipt, place) = good();
    let record = |anchor, count| DelegationRecord { anchor, receipts: vec![receipt.clone(); count] };
    let anchor = world.registry.anchor();
    let too_many = record(anchor, DelegationRecord::RECEIPTS_MAX + 1);
    says(&world.check_record(&too_many, &place).unwrap_err(), "1025 receipts");
    for wrong in [
        Anchor { height: anchor.height.next(), ..anchor },
        Anchor { block: bletchley_primitives::BlockHash(B256::ZERO), ..anchor },
        Anchor { ledger: LedgerId(B256::ZERO), ..anchor },
        Anchor::default(),
    ] {
        says(
            &world.check_record(&record(wrong, 1), &place).unwrap_err(),
            "not a final block of the registry",
        );
        // The anchor is checked without receipts too; one that names no registry is left to the chain of blocks.
        if wrong != Anchor::default() {
            let refused = world.check_record(&record(wrong, 0), &place);
            says(&refused.unwrap_err(), "not a final block of the registry");
        }
    }
    assert_eq!(world.check_record(&DelegationRecord::default(), &place), Ok(()));
    assert_eq!(world.check_record(&record(anchor, 0), &place), Ok(()));
}

#[test]
fn a_refusal_is_what_everyone_derives() {
    let (world, receipt, place) = good();
    let allowed = call(1);
    let unknown = bletchley_ledger::Call { cryptlet: keccak256("nothing"), ..call(2) };
    let derived = (*world.answer(&unknown, &place)).clone();
    assert!(derived.is_refusal());
    assert_eq!(derived.output.as_ref(), CallRefusal::Unknown(unknown.cryptlet).to_string().as_bytes());
    assert_eq!(world.check(&derived, &place), Ok(()));
    let invented = SignedReceipt::refused(&allowed, &place, "the registry has no policy");
    says(&world.check(&invented, &place).unwrap_err(), "the call may run");
    says(
        &world.check(&SignedReceipt::refused(&unknown, &place, "because"), &place).unwrap_err(),
        "the registry says: no cryptlet 0x",
    );
    let changes: [fn(&mut SignedReceipt); 7] = [
        |r| r.signatures = vec![bletchley_primitives::Signature([1; 65])],
        |r| r.receipt.package = B256::repeat_byte(1),
        |r| r.receipt.fuel = 1,
        |r| r.receipt.profile = B256::repeat_byte(1),
        |r| r.receipt.transcript = B256::repeat_byte(1),
        |r| r.receipt.as_of_ms.0 += 1,
        |r| r.receipt.valid_to.0 += 1,
    ];
    for change in changes {
        let mut receipt = derived.clone();
        change(&mut receipt);
        says(&world.check(&receipt, &place).unwrap_err(), "does not go with its status");
    }
    // A refusal is made for one height; a later block derives its own.
    says(&world.check(&derived, &crate::world::place(11)).unwrap_err(), "valid from height");
    assert_eq!(world.check_record(&world.record(vec![receipt, derived]), &place), Ok(()));
}

#[test]
fn the_first_bad_receipt_is_named() {
    let (world, receipt, place) = good();
    let mut bad = receipt.clone();
    bad.output = Bytes::from_static(b"swapped");
    let error = world.verifier().check(&world.record(vec![receipt, bad]), &place).unwrap_err();
    assert!(matches!(error, bletchley_ledger::RecordError::Receipt { index: 1, .. }), "{error}");
}

/// Every bit of every kind of receipt: either it does not decode, or it does not hold.
#[test]
fn no_bit_of_a_receipt_can_be_changed() {
    for behaviour in [Behaviour::Honest, Behaviour::Traps, Behaviour::NeverAnswers] {
        let world = World::with(Setup { behaviours: vec![behaviour], ..Setup::default() });
        let place = place(10);
        let receipt = world.answer(&call(1), &place);
        let verifier = world.verifier();
        let bytes = alloy_rlp::encode(&*receipt);
        assert!(verifier.check(&world.record(vec![(*receipt).clone()]), &place).is_ok());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(changed) = decode_bounded::<SignedReceipt>(&changed, bytes.len()) {
                    assert!(
                        verifier.check(&world.record(vec![changed]), &place).is_err(),
                        "bit {bit} of byte {at} may be changed"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_part_of_a_receipt_can_be_changed(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (world, place) = (World::new(), place(10));
        let receipt = world.answer(&call(seed), &place);
        let bytes = alloy_rlp::encode(&*receipt);
        let mut changed = bytes.clone();
        for (at, byte) in changes {
            changed[at.index(bytes.len())] = byte;
        }
        prop_assume!(changed != bytes);
        if let Ok(changed) = decode_bounded::<SignedReceipt>(&changed, bytes.len()) {
            prop_assert!(world.check(&changed, &place).is_err());
        }
    }

    #[test]
    fn hostile_bytes_are_canonical_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(receipt) = decode_bounded::<SignedReceipt>(&bytes, 600) {
            prop_assert_eq!(alloy_rlp::encode(&receipt), bytes.clone());
        }
        if let Ok(extension) = Extension::decode(&bytes) {
            prop_assert_eq!(extension.encode().to_vec(), bytes);
        }
    }

    /// Damaged real bytes come further into the decoders than random ones.
    #[test]
    fn a_damaged_extension_is_canonical_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let place = place(10);
        let receipt = SignedReceipt::refused(&call(1), &place, "the registry has no policy");
        let record = DelegationRecord { anchor: Anchor::default(), receipts: vec![receipt] };
        let extension = Extension { record, ..Extension::at(place.time_ms) };
        let mut bytes = extension.encode().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(extension) = Extension::decode(bytes) {
                prop_assert_eq!(extension.encode().to_vec(), bytes);
            }
        }
    }
}
