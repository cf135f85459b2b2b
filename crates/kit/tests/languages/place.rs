//! Where projects are made, and with which tools.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use bletchley_kit::{Language, Project, TestReport, Tools, create};
use tempfile::TempDir;

/// Where `cargo xtask test` unpacks rustc, cargo and the library for wasm, beside the folder of the kit's tools.
const RUST_FOLDER: &str = "tools/guest-rust";

/// The tools that developers get; Rust is theirs, and here what xtask brought, if rustup has no library for wasm.
pub(crate) fn tools() -> Tools {
    let tools = Tools::from_environment().unwrap();
    let folder = tools.folder().parent().unwrap().join(RUST_FOLDER);
    if folder.is_dir() { with_rust(tools, &folder) } else { tools }
}

fn with_rust(tools: Tools, folder: &Path) -> Tools {
    let usr = folder.join("usr");
    let libraries = env::join_paths([usr.join("lib/x86_64-linux-gnu"), usr.join("lib/llvm-14/lib")]).unwrap();
    let path = env::join_paths(
        std::iter::once(usr.join("bin")).chain(env::split_paths(&env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let environment: Vec<(OsString, OsString)> = vec![
        ("RUSTC".into(), usr.join("bin/rustc").into()),
        ("LD_LIBRARY_PATH".into(), libraries),
        ("PATH".into(), path),
    ];
    tools.with_rust(usr.join("bin/cargo"), environment)
}

/// A project in a folder that goes away with it.
pub(crate) struct Place {
    folder: PathBuf,
    _parent: TempDir,
}

impl Place {
    pub(crate) fn new(language: Language) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("hello");
        create(&folder, "hello", language).unwrap();
        Self { folder, _parent: parent }
    }

    pub(crate) fn open(&self) -> Project {
        Project::open(&self.folder).unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.join(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.folder.join(path), text).unwrap();
    }

    pub(crate) fn append(&self, path: &str, text: &str) {
        self.write(path, &(self.read(path) + text));
    }

    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replacen(from, to, 1));
    }

    pub(crate) fn test(&self) -> TestReport {
        self.open().test(&tools(), None, &|_| ()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The words of a build that fails.
    pub(crate) fn build_error(&self) -> String {
        self.open().build(&tools(), &|_| ()).expect_err("the build must fail").to_string()
    }
}
