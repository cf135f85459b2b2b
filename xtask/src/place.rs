//! Where things are: the checkout, the build folder, the folder for tools.

use anyhow::{Context, Result, anyhow};
use std::env;
use std::path::{Path, PathBuf};

/// The folders that tasks work with.
pub(crate) struct Place {
    /// The checkout's top folder.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Where tools are kept that a task installed; outside of every checkout, so that they are installed once.
    pub(crate) tools: PathBuf,
    /// Whether this runs unattended: what is missing is then an error and not a reason to skip.
    pub(crate) is_ci: bool,
}

impl Place {
    /// Finds the folders from cargo's and the user's environment.
    pub(crate) fn find() -> Result<Self> {
        // As cargo runs it, not as it was compiled: checkouts that share a target folder may share this binary.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest = manifest.context("xtask finds the checkout through cargo; run it as `cargo xtask`")?;
        let root = manifest
            .parent()
            .ok_or_else(|| anyhow!("xtask must lie in a folder of the checkout"))?
            .to_owned();
        let cache = cache_folder().context("looking for a folder to keep tools in")?;
        let is_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
            Some(dir) => root.join(dir),
            None if is_ci => cache.join("target"),
            None => root.join("target"),
        };
        Ok(Self { root, target, tools: cache.join("tools"), is_ci })
    }

    /// A binary of this workspace, as cargo leaves it.
    pub(crate) fn built(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// A path below the checkout.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

fn cache_folder() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = match base {
        Some(base) => base,
        None => PathBuf::from(
            env::var_os("HOME")
                .or_else(|| env::var_os("USERPROFILE"))
                .ok_or_else(|| anyhow!("HOME is not set"))?,
        )
        .join(".cache"),
    };
    Ok(base.join("bletchley"))
}
