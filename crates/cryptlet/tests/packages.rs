//! What is committed under `cryptlets/` is whole: digests, manifests, bundles and headers agree with each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bletchley_cryptlet::{
    header,
    manifest::Manifest,
    package::{Package, PackageError, package_id},
};
use support::cryptlet;

const NAMES: [&str; 2] = ["calendar", "fx-rates"];

#[test]
fn the_committed_components_are_those_of_the_digest_file() {
    let sums = include_str!("../../../cryptlets/SHA256SUMS");
    assert_eq!(sums.lines().count(), NAMES.len());
    for name in NAMES {
        let digest = hex::encode(cryptlet(name).code_sha256());
        assert!(sums.contains(&format!("{digest}  {name}/{name}.wasm\n")), "{name} is {digest}");
    }
}

#[test]
fn packages_survive_their_bundle_and_every_change_shows_in_the_id() {
    for name in NAMES {
        let package = cryptlet(name);
        assert_eq!(Package::decode(&package.encode()).unwrap(), package);
        assert_eq!(package_id(package.manifest(), package.code_sha256()), package.id());
        let mut code = package.code().to_vec();
        code[100] ^= 1;
        assert_ne!(Package::new(package.manifest().clone(), code.into()).unwrap().id(), package.id());
        let mut manifest: Manifest = package.manifest().clone();
        manifest.limits.fuel += 1;
        assert_ne!(Package::new(manifest, package.code().clone()).unwrap().id(), package.id());
        let bundle = package.encode();
        for cut in [0, 1, 5, 200, bundle.len() - 1] {
            assert!(Package::decode(&bundle[..cut]).is_err(), "{name} {cut}");
        }
        assert!(Package::decode(&[bundle, vec![0]].concat()).is_err());
    }
}

#[test]
fn a_folder_without_its_files_says_which_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = |file: &str| match Package::from_folder(folder.path()) {
        Err(PackageError::Read { path, .. }) => assert!(path.ends_with(file), "{path}"),
        other => panic!("{other:?}"),
    };
    missing("cryptlet.toml");
    let manifest = include_str!("../../../cryptlets/calendar/cryptlet.toml");
    std::fs::write(folder.path().join("cryptlet.toml"), manifest).unwrap();
    missing("calendar.wasm");
    std::fs::write(folder.path().join("calendar.wasm"), []).unwrap();
    assert!(matches!(Package::from_folder(folder.path()), Err(PackageError::CodeSize { .. })));
    std::fs::write(folder.path().join("cryptlet.toml"), format!("{manifest}\nwages = 1\n")).unwrap();
    assert!(matches!(Package::from_folder(folder.path()), Err(PackageError::Manifest(_))));
}

#[test]
fn headers_name_the_package_and_every_method_twice() {
    for name in NAMES {
        let package = cryptlet(name);
        let source = header::solidity(&package);
        assert_eq!(header::package_in(&source), Some(package.id()));
        for method in &package.manifest().methods {
            assert_eq!(
                source.matches(&format!("    function {}(", method.name)).count(),
                2,
                "{name}.{}",
                method.name
            );
        }
        let methods = package.manifest().methods.len();
        assert_eq!(header::json_abi(&package).as_array().map(Vec::len), Some(methods));
    }
}
