//! The data folder of a node: what stands where.

use std::path::{Path, PathBuf};

/// Folder that commands use when none is named.
pub const DEFAULT_DATA_DIR: &str = "bletchley-data";

/// Folder with the members of a consortium that runs on one computer.
const MEMBERS: &str = "members";
/// Draft of a consortium, which is also what the folder of its members is known by.
pub const CONSORTIUM: &str = "consortium.json";

/// Paths inside one node's data folder, or inside the folder of a consortium that runs on one computer.
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

    /// Whether this is the folder of a consortium that runs on one computer.
    #[must_use]
    pub fn is_consortium(&self) -> bool {
        self.consortium().exists()
    }

    /// Who founds a consortium, and on what terms.
    #[must_use]
    pub fn consortium(&self) -> PathBuf {
        self.members().join(CONSORTIUM)
    }

    /// Folder with a folder for each member, inside the folder of a consortium that runs on one computer.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.root.join(MEMBERS)
    }

    /// The data folder of a member, inside the folder of a consortium that runs on one computer.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        Self::new(self.members().join(name))
    }

    /// The folder of the consortium that this member's folder stands in, if it does.
    #[must_use]
    pub fn around(&self) -> Option<Self> {
        let members = std::path::absolute(&self.root).ok()?;
        let members = members.parent().filter(|folder| folder.ends_with(MEMBERS))?;
        Some(Self::new(members.parent()?)).filter(Self::is_consortium)
    }

    /// What a member's node is started with.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("member.toml")
    }

    /// What a member's node says while nobody watches it.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("node.log")
    }

    /// Keys of the named accounts: a node's own, or, where several members run on one computer to be tried out, those
    /// that all of them share. Members' own keys are never shared.
    #[must_use]
    pub fn account_keys(&self) -> PathBuf {
        self.around().map_or_else(|| self.keys(), |around| around.keys())
    }

    /// Endpoints and pid of the node that runs on this folder, while it runs.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.root.join("node.json")
    }

    /// Folders of the ledgers, by name.
    #[must_use]
    pub fn ledgers(&self) -> PathBuf {
        self.root.join("ledgers")
    }

    /// Blocks, snapshots and tables of one ledger.
    #[must_use]
    pub fn ledger(&self, name: &str) -> PathBuf {
        self.ledgers().join(name)
    }

    /// What this member asked to be admitted with.
    #[must_use]
    pub fn request(&self) -> PathBuf {
        self.root.join("request.json")
    }

    /// What engines remember of their own votes.
    #[must_use]
    pub fn consensus(&self) -> PathBuf {
        self.root.join("consensus")
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

    /// Addresses that the operator lets cryptlets fetch from, beside those of the ready-made ones.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources.json")
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
