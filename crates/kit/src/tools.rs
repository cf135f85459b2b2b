//! The tools that builds need and developers need not have: installed on first use, pinned by hash, each in a folder
//! of its own that appears whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bletchley_cryptlet::aot::{AOT_SECRET_SIZE_BYTES, AotCache, AotError, AotSecret};
use zeroize::Zeroizing;

use crate::process;

const NPM_PACKAGE: &str = include_str!("../tools/javascript/package.json");
const NPM_LOCK: &str = include_str!("../tools/javascript/package-lock.json");
const ZIG_WHEELS: &str = include_str!("../tools/c/requirements.txt");
const PYTHON_WHEELS: &str = include_str!("../tools/python/requirements.txt");
/// Oldest Node.js that the tools for JavaScript run on.
const NODE_MAJOR_MIN: u32 = 18;

/// Compiled components that stay: each build of a changed source adds one, Python's the largest.
const AOT_FOLDER_SIZE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Where tools are kept, and compiled components beside them.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
    cargo: Option<PathBuf>,
    rust_environment: Vec<(OsString, OsString)>,
}

/// Why a tool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no folder to keep them in.
    #[error("there is no folder to keep tools in: set XDG_CACHE_HOME or HOME")]
    NoFolder,
    /// A program that developers bring themselves.
    #[error("`{program}` is not on PATH, and {what} needs it: {advice}")]
    Missing {
        /// Which program.
        program: &'static str,
        /// What it is needed for.
        what: &'static str,
        /// How to get it.
        advice: &'static str,
    },
    /// A program that is too old.
    #[error("`{program}` is {found}, and {what} needs {wanted} or newer")]
    TooOld {
        /// Which program.
        program: &'static str,
        /// What it says it is.
        found: String,
        /// What it is needed for.
        what: &'static str,
        /// What would do.
        wanted: String,
    },
    /// The package manager failed.
    #[error(
        "cannot install {name} into {folder}, which is done once and needs {manager} to reach its registry:\n{words}"
    )]
    Install {
        /// What was to be installed.
        name: &'static str,
        /// Where to.
        folder: String,
        /// With what.
        manager: &'static str,
        /// What the package manager says.
        words: String,
    },
    /// A file or folder of the tools.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The cache of compiled components.
    #[error(transparent)]
    Aot(#[from] AotError),
}

impl Tools {
    /// Tools in `bletchley/guest-tools` below the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`.
    ///
    /// # Errors
    /// [`ToolError::NoFolder`].
    pub fn from_environment() -> Result<Self, ToolError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let cache = cache.ok_or(ToolError::NoFolder)?;
        let mut tools = Self::in_folder(cache.join("bletchley").join("guest-tools"));
        tools.cargo = set("CARGO");
        Ok(tools)
    }

    /// Tools in this folder, which is made when it is needed.
    #[must_use]
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder, cargo: None, rust_environment: Vec::new() }
    }

    /// The same with another cargo than the one in `$CARGO` or on PATH, and with variables for it such as `RUSTC`.
    #[must_use]
    pub fn with_rust(mut self, cargo: PathBuf, environment: Vec<(OsString, OsString)>) -> Self {
        self.cargo = Some(cargo);
        self.rust_environment = environment;
        self
    }

    /// Cargo, which developers bring.
    pub(crate) fn cargo(&self) -> Option<PathBuf> {
        self.cargo.clone().or_else(|| process::on_path("cargo"))
    }

    /// Variables for cargo.
    pub(crate) fn rust_environment(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.rust_environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Where the tools are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the packages for JavaScript, with `node_modules` in it.
    pub(crate) fn javascript(&self, progress: &dyn Fn(&str)) -> Result<PathBuf, ToolError> {
        let what = "building JavaScript";
        let advice = "install Node.js 20 or newer with npm";
        let node = process::on_path("node").ok_or(ToolError::Missing { program: "node", what, advice })?;
        check_node(&node, what)?;
        self.install("javascript", digest(&[NPM_LOCK]), progress, &|folder| {
            let npm = process::on_path("npm").ok_or(ToolError::Missing { program: "npm", what, advice })?;
            write(&folder.join("package.json"), NPM_PACKAGE)?;
            write(&folder.join("package-lock.json"), NPM_LOCK)?;
            let mut command = Command::new(npm);
            command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
            run_manager(command.current_dir(folder), "the tools for JavaScript", "npm", folder)
        })
    }

    /// Zig's C compiler.
    pub(crate) fn zig(&self, progress: &dyn Fn(&str)) -> Result<PathBuf, ToolError> {
        let folder = self.wheels("zig", "zig, a C compiler", ZIG_WHEELS, progress)?;
        Ok(folder.join("ziglang").join(format!("zig{}", std::env::consts::EXE_SUFFIX)))
    }

    /// The folder of the packages for Python, to stand in PYTHONPATH.
    pub(crate) fn python(&self, progress: &dyn Fn(&str)) -> Result<PathBuf, ToolError> {
        self.wheels("python", "the tools for Python", PYTHON_WHEELS, progress)
    }

    fn wheels(
        &self,
        key: &str,
        name: &'static str,
        list: &str,
        progress: &dyn Fn(&str),
    ) -> Result<PathBuf, ToolError> {
        self.install(key, digest(&[list]), progress, &|folder| {
            let python = python3(name)?;
            let wheels = folder.join("requirements.txt");
            write(&wheels, list)?;
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]);
            pip.args(["--disable-pip-version-check", "--root-user-action=ignore", "--only-binary", ":all:"]);
            pip.arg("--target").arg(folder).arg("-r").arg(&wheels);
            run_manager(&mut pip, name, "python3 -m pip", folder)
        })
    }

    /// The folder of a tool. What is half made has another name, and is never taken for the tool.
    fn install(
        &self,
        key: &str,
        version: String,
        progress: &dyn Fn(&str),
        make: &dyn Fn(&Path) -> Result<(), ToolError>,
    ) -> Result<PathBuf, ToolError> {
        static MAKING: AtomicU64 = AtomicU64::new(0);
        let folder = self.folder.join(format!("{key}-{version}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        progress(&format!("installing the tools for {key} into {} (once)", folder.display()));
        let serial = MAKING.fetch_add(1, Ordering::Relaxed);
        let making = self.folder.join(format!(".making-{key}-{}-{serial}", std::process::id()));
        let made = fs::create_dir_all(&making).map_err(|source| io_error(&making, source)).and_then(|()| {
            make(&making)?;
            match fs::rename(&making, &folder) {
                // Somebody else was faster: theirs is as good.
                Err(_) if folder.is_dir() => Ok(()),
                renamed => renamed.map_err(|source| io_error(&folder, source)),
            }
        });
        if making.exists() {
            let _ = fs::remove_dir_all(&making);
        }
        made.map(|()| folder)
    }

    /// Compiled components, so that a package is compiled once.
    pub(crate) fn aot(&self) -> Result<AotCache, ToolError> {
        let file = self.folder.join("aot-secret");
        if !file.is_file() {
            fs::create_dir_all(&self.folder).map_err(|source| io_error(&self.folder, source))?;
            let mut secret = Zeroizing::new([0; AOT_SECRET_SIZE_BYTES]);
            getrandom::fill(secret.as_mut_slice())
                .map_err(|error| io_error(&file, io::Error::other(error.to_string())))?;
            write_secret(&file, secret.as_slice()).map_err(|source| io_error(&file, source))?;
        }
        let folder = self.folder.join("aot");
        make_room(&folder);
        Ok(AotCache::open(&folder, AotSecret::from_file(&file)?)?)
    }
}

/// Takes the oldest compiled components away until what stays is within its bound. Trouble here costs disk, no test.
fn make_room(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut size_bytes: u64 = files.iter().map(|(_, size_bytes, _)| size_bytes).sum();
    for (_, file_size_bytes, path) in files {
        if size_bytes <= AOT_FOLDER_SIZE_BYTES_MAX {
            return;
        }
        if fs::remove_file(path).is_ok() {
            size_bytes = size_bytes.saturating_sub(file_size_bytes);
        }
    }
}

/// Python, which developers bring.
pub(crate) fn python3(what: &'static str) -> Result<PathBuf, ToolError> {
    let advice = "install Python 3.9 or newer with pip";
    process::on_path("python3").or_else(|| process::on_path("python")).ok_or(ToolError::Missing {
        program: "python3",
        what,
        advice,
    })
}

fn check_node(node: &Path, what: &'static str) -> Result<(), ToolError> {
    let ended = process::run(Command::new(node).arg("--version")).map_err(|source| io_error(node, source))?;
    let major = ended.words.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major >= NODE_MAJOR_MIN) {
        return Ok(());
    }
    Err(ToolError::TooOld { program: "node", found: ended.words, what, wanted: NODE_MAJOR_MIN.to_string() })
}

fn run_manager(
    command: &mut Command,
    name: &'static str,
    manager: &'static str,
    folder: &Path,
) -> Result<(), ToolError> {
    let ended = process::run(command).map_err(|source| io_error(folder, source))?;
    if ended.succeeded {
        return Ok(());
    }
    let folder = folder.display().to_string();
    Err(ToolError::Install { name, folder, manager, words: ended.words })
}

/// A short name for what is pinned: another list is another folder.
fn digest(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let mut name = hex::encode(hasher.finalize());
    name.truncate(12);
    name
}

fn write(path: &Path, text: &str) -> Result<(), ToolError> {
    fs::write(path, text).map_err(|source| io_error(path, source))
}

/// Only its owner may read it. Written aside first: another process must not read half of it.
fn write_secret(path: &Path, secret: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let making = path.with_extension(std::process::id().to_string());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&making)?.write_all(secret)?;
    // Whoever was first stays: a link does not replace.
    let linked = fs::hard_link(&making, path);
    fs::remove_file(&making)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn io_error(path: &Path, source: io::Error) -> ToolError {
    ToolError::Io { path: path.display().to_string(), source }
}
