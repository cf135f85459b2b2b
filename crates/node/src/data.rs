//! The data folder of a node: what stands where.

use std::path::{Path, PathBuf};

/// Folder that commands use when none is named.
pub const DEFAULT_DATA_DIR: &str = "bletchley-data";

/// Paths inside one node's data folder.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// The folder at `root`; nothing is created.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the ledgers start from, and what verification starts from.
    #[must_use]
    pub fn genesis(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// Endpoints and pid of the node that runs on this folder, while it runs.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.root.join("node.json")
    }

    /// Blocks, snapshots and tables of one ledger.
    #[must_use]
    pub fn ledger(&self, name: &str) -> PathBuf {
        self.root.join("ledgers").join(name)
    }

    /// Keys, encrypted.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Code and transcripts by digest.
    #[must_use]
    pub fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    /// Secret that seals compiled cryptlets.
    #[must_use]
    pub fn compiled_secret(&self) -> PathBuf {
        self.root.join("compiled-secret")
    }

    /// Compiled cryptlets.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.root.join("compiled")
    }
}
