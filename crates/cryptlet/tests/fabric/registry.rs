//! What the registry takes in, and what it gives back as of a height.

use alloy_primitives::{Address, B256, keccak256};
use bletchley_cryptlet::{
    keys::Signer,
    manifest::Manifest,
    package::Package,
    policy::{Policy, PolicyError},
    registry::{
        Entry, EntryError, HostEntry, RegistryView, Release, ReleaseStatus, SignedEntry, StatusChange,
    },
};
use bletchley_primitives::{Height, LedgerId};
use proptest::prelude::*;

use crate::world::{REGISTRY, World, key, package};

fn release(world: &World, package: &Package) -> Release {
    Release::of(package, world.publisher.address(), world.cryptlet_key.address())
}

fn offered(world: &World, entry: Entry, keys: &[&dyn Signer]) -> Result<(), EntryError> {
    let signed = entry.sign(REGISTRY, keys).unwrap();
    let decoded = SignedEntry::decode(&signed.encode())?;
    assert_eq!(decoded, signed);
    world.registry.with_index(|index| index.check(&decoded))
}

#[test]
fn a_release_is_what_its_publisher_signed() {
    let world = World::new();
    let next = package("1.1.0");
    let publisher = &world.publisher;
    let offer = |release: Release, keys: &[&dyn Signer]| offered(&world, Entry::Release(release), keys);
    assert_eq!(offer(release(&world, &next), &[publisher]), Ok(()));
    let stranger = key("stranger");
    assert!(matches!(offer(release(&world, &next), &[&stranger]), Err(EntryError::Signer { .. })));
    assert!(matches!(offer(release(&world, &next), &[]), Err(EntryError::SignatureCount { found: 0, .. })));
    assert!(matches!(
        offer(release(&world, &next), &[publisher, publisher]),
        Err(EntryError::SignatureCount { found: 2, .. })
    ));
    // Signed for another registry ledger.
    let elsewhere = Entry::Release(release(&world, &next)).sign(LedgerId(B256::ZERO), &[publisher]).unwrap();
    assert!(matches!(
        world.registry.with_index(|index| index.check(&elsewhere)),
        Err(EntryError::Signer { .. })
    ));
    let mut malformed = Entry::Release(release(&world, &next)).sign(REGISTRY, &[publisher]).unwrap();
    malformed.signatures[0].0[64] = 7;
    assert!(matches!(
        world.registry.with_index(|index| index.check(&malformed)),
        Err(EntryError::Malformed { .. })
    ));
}

#[test]
fn digests_and_names_fit_the_manifest() {
    let world = World::new();
    type Change = fn(&mut Release);
    let changes: [(&str, Change); 4] = [
        ("name", |r| r.name = "fx-rate".into()),
        ("manifest digest", |r| r.manifest_digest = B256::ZERO),
        ("package id", |r| r.package = B256::ZERO),
        ("package id", |r| r.code_sha256 = B256::ZERO),
    ];
    for (field, change) in changes {
        let mut changed = release(&world, &package("1.1.0"));
        change(&mut changed);
        match offered(&world, Entry::Release(changed), &[&world.publisher]) {
            Err(EntryError::Differs { what, .. }) => assert_eq!(what, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let mut changed = release(&world, &package("1.1.0"));
    changed.manifest = vec![0xc0].into();
    assert!(matches!(
        offered(&world, Entry::Release(changed), &[&world.publisher]),
        Err(EntryError::Manifest(_))
    ));
}

#[test]
fn versions_increase_and_names_stay_with_their_publisher() {
    let world = World::new();
    let offer = |version: &str| {
        offered(&world, Entry::Release(release(&world, &package(version))), &[&world.publisher])
    };
    for version in ["1.0.0", "0.9.9", "1.0.0-rc.1"] {
        assert!(matches!(offer(version), Err(EntryError::VersionNotNewer { .. })), "{version}");
    }
    assert_eq!(offer("1.0.1"), Ok(()));
    let thief = key("thief");
    let taken = Release::of(&package("2.0.0"), thief.address(), thief.address());
    assert!(matches!(
        offered(&world, Entry::Release(taken.clone()), &[&thief]),
        Err(EntryError::NameTaken { .. })
    ));
    let publishers = vec![world.publisher.address()];
    world.set_policy(|policy| Policy { publishers, ..policy });
    assert!(matches!(
        offered(&world, Entry::Release(taken), &[&thief]),
        Err(EntryError::PublisherNotAllowed(_))
    ));
}

#[test]
fn only_administrators_set_policy_and_admit_hosts() {
    let world = World::new();
    let policy = |sequence| Policy { sequence, ..Policy::single_host(world.host_keys[0].address()) };
    let stranger = key("stranger");
    assert!(matches!(
        offered(&world, Entry::Policy(policy(1)), &[&stranger]),
        Err(EntryError::Signer { .. })
    ));
    assert!(matches!(
        offered(&world, Entry::Policy(policy(0)), &[&world.administrator]),
        Err(EntryError::Sequence { expected: 1, .. })
    ));
    assert_eq!(offered(&world, Entry::Policy(policy(1)), &[&world.administrator]), Ok(()));
    let alone = Policy { single_host_allowed: false, ..policy(1) };
    assert_eq!(
        offered(&world, Entry::Policy(alone), &[&world.administrator]),
        Err(EntryError::Policy(PolicyError::SingleHost))
    );
    let host = |sequence| HostEntry {
        host: stranger.address(),
        sequence,
        member: "Other Bank".into(),
        evidence: "software".into(),
        profile: B256::ZERO,
        claims: Vec::new(),
    };
    let offer = |host: HostEntry, keys: &[&dyn Signer]| offered(&world, Entry::Host(host), keys);
    let administrator = &world.administrator;
    assert_eq!(offer(host(0), &[&stranger, administrator]), Ok(()));
    assert!(matches!(offer(host(0), &[administrator, &stranger]), Err(EntryError::Signer { .. })));
    assert!(matches!(offer(host(0), &[&stranger, &stranger]), Err(EntryError::Signer { .. })));
    assert!(matches!(offer(host(1), &[&stranger, administrator]), Err(EntryError::Sequence { .. })));
    let unnamed = HostEntry { member: "a\nb".into(), ..host(0) };
    assert!(matches!(offer(unnamed, &[&stranger, administrator]), Err(EntryError::Text { .. })));
}

#[test]
fn status_changes_cannot_be_repeated_and_revocation_is_final() {
    let world = World::new();
    let package = world.package.id().0;
    let change =
        |sequence, status| Entry::Status(StatusChange { package, sequence, status, reason: "why".into() });
    let by = |entry: Entry, key: &dyn Signer| offered(&world, entry, &[key]);
    assert_eq!(by(change(0, ReleaseStatus::Deprecated), &world.publisher), Ok(()));
    assert_eq!(by(change(0, ReleaseStatus::Revoked), &world.administrator), Ok(()));
    assert!(matches!(by(change(0, ReleaseStatus::Revoked), &key("x")), Err(EntryError::Signer { .. })));
    let unknown =
        StatusChange { package: B256::ZERO, sequence: 0, status: ReleaseStatus::Revoked, reason: "w".into() };
    assert!(matches!(by(Entry::Status(unknown), &world.publisher), Err(EntryError::UnknownPackage(_))));
    world.set_status(&world.package, ReleaseStatus::Revoked);
    assert!(matches!(
        by(change(0, ReleaseStatus::Active), &world.publisher),
        Err(EntryError::Sequence { .. })
    ));
    assert!(matches!(by(change(1, ReleaseStatus::Active), &world.publisher), Err(EntryError::Revoked(_))));
}

#[test]
fn ids_resolve_as_of_a_height() {
    let world = World::new();
    let (first, second) = (world.package.clone(), package("1.1.0"));
    let registered = world.registry.anchor().height;
    world.release(&second);
    let both = world.registry.anchor().height;
    world.set_status(&second, ReleaseStatus::Deprecated);
    let deprecated = world.registry.anchor().height;
    world.set_status(&first, ReleaseStatus::Revoked);
    let revoked = world.registry.anchor().height;
    let name = keccak256("fx-rates");
    let at = |id: B256, height: Height| {
        world.registry.resolve(id, height).map(|found| (found.package.manifest.version.clone(), found.status))
    };
    let is = |version: &str, status| Some((version.to_owned(), status));
    assert_eq!(at(name, Height(registered.0 - 1)), None);
    assert_eq!(at(name, registered), is("1.0.0", ReleaseStatus::Active));
    assert_eq!(at(second.id().0, registered), None);
    assert_eq!(at(name, both), is("1.1.0", ReleaseStatus::Active));
    assert_eq!(at(first.id().0, both), is("1.0.0", ReleaseStatus::Active));
    assert_eq!(at(name, deprecated), is("1.0.0", ReleaseStatus::Active));
    assert_eq!(at(name, revoked), is("1.1.0", ReleaseStatus::Deprecated));
    assert_eq!(at(first.id().0, revoked), is("1.0.0", ReleaseStatus::Revoked));
    assert_eq!(at(first.id().0, deprecated), is("1.0.0", ReleaseStatus::Active));
    assert_eq!(at(B256::ZERO, revoked), None);
    assert!(world.registry.policy(Height(0)).is_none());
    assert!(world.registry.host(Address::ZERO, revoked).is_none());
}

#[test]
fn before_a_policy_nothing_is_published() {
    use bletchley_cryptlet::registry::{Index, Roots};
    let world = World::new();
    let index = Index::new(Roots { registry: REGISTRY, administrators: Vec::new() });
    let signed = Entry::Release(release(&world, &world.package)).sign(REGISTRY, &[&world.publisher]).unwrap();
    assert_eq!(index.check(&signed), Err(EntryError::NoPolicy));
}

#[test]
fn a_manifest_that_does_not_fit_an_entry_is_refused() {
    let world = World::new();
    let mut manifest = Manifest::decode(&package("1.1.0").manifest().encode()).unwrap();
    let method = manifest.methods[0].clone();
    manifest.methods = (0..60)
        .map(|number| bletchley_cryptlet::manifest::Method {
            name: format!("m{number}"),
            description: "x".repeat(1024),
            ..method.clone()
        })
        .collect();
    let long = Package::new(manifest, vec![1].into()).unwrap();
    assert!(matches!(
        offered(&world, Entry::Release(release(&world, &long)), &[&world.publisher]),
        Err(EntryError::ManifestTooLong(_))
    ));
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_entry(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(entry) = SignedEntry::decode(&bytes) {
            prop_assert_eq!(entry.encode().to_vec(), bytes);
        }
    }

    #[test]
    fn no_bit_of_an_entry_can_be_changed(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let world = World::new();
        let good = Entry::Release(release(&world, &package("1.1.0"))).sign(REGISTRY, &[&world.publisher]).unwrap();
        let mut bytes = good.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = SignedEntry::decode(&bytes) {
            prop_assert!(world.registry.with_index(|index| index.check(&changed)).is_err());
        }
    }
}
