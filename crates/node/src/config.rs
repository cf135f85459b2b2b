//! What a member's node is started with: one TOML file, unknown keys refused, paths relative to the file.

use crate::containers::Cryptlets;
use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest configuration file.
const CONFIG_SIZE_BYTES_MAX: u64 = 256 << 10;
/// Port on which other members' nodes are expected when nothing else is said.
pub const P2P_PORT_DEFAULT: u16 = 30300;
/// Port of the interfaces when nothing else is said: what Ethereum tools try first.
pub const API_PORT_DEFAULT: u16 = 8545;

/// A member's configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MemberConfig {
    /// Which member this node is.
    pub member: String,
    /// Data folder.
    #[serde(default = "here")]
    pub data: PathBuf,
    /// Genesis document; copied into the data folder at the first start and compared at each later one.
    #[serde(default = "genesis")]
    pub genesis: PathBuf,
    /// Keep the state of every block, not only of the last ones.
    #[serde(default)]
    pub archive: bool,
    /// Execute every block when joining or coming back, instead of taking over certified state.
    #[serde(default)]
    pub replay: bool,
    /// Where the node listens.
    #[serde(default)]
    pub listen: Listen,
    /// Other members' endpoints, where they differ from the genesis document's.
    #[serde(default)]
    pub endpoints: BTreeMap<String, String>,
    /// What the node writes about itself.
    #[serde(default)]
    pub log: Log,
    /// How cryptlets are run.
    #[serde(default)]
    pub cryptlets: Cryptlets,
}

/// Where a node listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listen {
    /// For other members' nodes.
    #[serde(default = "p2p")]
    pub p2p: SocketAddr,
    /// For clients: JSON-RPC, WebSocket, REST. Port 0 picks a free one.
    #[serde(default = "api")]
    pub api: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self { p2p: p2p(), api: api() }
    }
}

/// What a node writes about itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Log {
    /// What is worth a line: `error`, `warn`, `info`, `debug`, or a filter such as `warn,bletchley_node=debug`.
    #[serde(default = "level")]
    pub level: String,
    /// One JSON object a line instead of text.
    #[serde(default)]
    pub json: bool,
    /// File that lines are appended to; the error stream when none is named.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: level(), json: false, file: None }
    }
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

fn genesis() -> PathBuf {
    PathBuf::from("genesis.json")
}

const fn p2p() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), P2P_PORT_DEFAULT)
}

const fn api() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), API_PORT_DEFAULT)
}

fn level() -> String {
    "warn".to_owned()
}

impl MemberConfig {
    /// Reads a file; its relative paths become relative to the folder that it stands in.
    ///
    /// # Errors
    /// When there is none, it does not parse, or it names no member.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {shown}"))?.len();
        if size_bytes > CONFIG_SIZE_BYTES_MAX {
            bail!("{shown} has {size_bytes} bytes; a configuration has at most {CONFIG_SIZE_BYTES_MAX}");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("opening {shown}"))?;
        let mut config: Self = toml::from_str(&text).with_context(|| format!("reading {shown}"))?;
        if config.member.is_empty() {
            bail!("{shown} names no member; write `member = \"...\"` with a name of the genesis document");
        }
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        config.data = folder.join(&config.data);
        config.genesis = folder.join(&config.genesis);
        config.log.file = config.log.file.map(|file| folder.join(file));
        Ok(config)
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> DataDir {
        DataDir::new(tidied(&self.data))
    }

    /// The genesis document: that of the data folder, which must agree with the one named here; at the first start
    /// the latter is copied there.
    ///
    /// # Errors
    /// When there is none, or the two disagree.
    pub fn settle_genesis(&self) -> Result<NetworkGenesis> {
        let data = self.data();
        if !data.genesis().exists() {
            if !self.genesis.exists() {
                bail!(
                    "there is no genesis document at {}; put there what `bletchley genesis build` made for everybody",
                    self.genesis.display()
                );
            }
            let genesis = NetworkGenesis::read_file(&self.genesis)?;
            genesis.write(&data)?;
            return Ok(genesis);
        }
        let kept = NetworkGenesis::read(&data)?;
        if self.genesis.exists() && !same_file(&self.genesis, &data.genesis()) {
            let given = NetworkGenesis::read_file(&self.genesis)?;
            if given != kept {
                bail!(
                    "{} holds consortium {} (genesis {}), but {} is the genesis document of {} ({}); name another data \
                     folder, or the genesis document that this one started from",
                    data.root().display(),
                    kept.name,
                    kept.digest(),
                    self.genesis.display(),
                    given.name,
                    given.digest()
                );
            }
        }
        Ok(kept)
    }

    /// Checks that the endpoints name members.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check_against(&self, genesis: &NetworkGenesis) -> Result<()> {
        for (name, endpoint) in &self.endpoints {
            let Some(member) = genesis.member(name) else {
                bail!(
                    "the configuration has an endpoint for {name:?}, but {} has no such member; its members are {}",
                    genesis.name,
                    genesis.member_names()
                );
            };
            let moved = bletchley_consortium::Member { endpoint: endpoint.clone(), ..member.clone() };
            moved.check()?;
        }
        Ok(())
    }

    /// Text of a file for this member, with what each line means.
    #[must_use]
    pub fn text(member: &str, listen: &Listen, endpoints: &BTreeMap<String, String>) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let mut text = format!(
            "# A member's node: bletchley node start --config member.toml
# Paths are relative to this file. Unknown keys are refused.

# Which member of the genesis document this node is.
member = {member}
# Folder with the keys and the ledgers.
data = \".\"
# What the ledgers start from; the same for every member (bletchley genesis inspect).
genesis = \"genesis.json\"
# Keep the state of every block, not only of the last ones.
archive = false
# When joining or coming back, execute every block instead of taking over state that the validators certified.
replay = false

[listen]
# For the nodes of other members. They connect to the endpoint in the genesis document, which must lead here.
p2p = \"{p2p}\"
# For clients: JSON-RPC, WebSocket, REST. Whoever reaches it can read the ledgers; port 0 picks a free one.
api = \"{api}\"

[log]
# error, warn, info, debug, or a filter such as \"warn,bletchley_node=debug\".
level = \"warn\"
# One JSON object a line.
json = false
# Lines go to the error stream unless a file is named.
# file = \"node.log\"

# Other members' endpoints, where they have moved since the genesis document was made.
[endpoints]
",
            member = quoted(member),
            p2p = listen.p2p,
            api = listen.api,
        );
        if endpoints.is_empty() {
            text.push_str("# bank-b = \"node.bank-b.example:30300\"\n");
        }
        for (name, endpoint) in endpoints {
            text.push_str(&format!("{} = {}\n", quoted(name), quoted(endpoint)));
        }
        text
    }
}

/// Without `.` components, so that what people are shown is what they would write.
fn tidied(path: &Path) -> PathBuf {
    let tidy: PathBuf =
        path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect();
    if tidy.as_os_str().is_empty() { here() } else { tidy }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
