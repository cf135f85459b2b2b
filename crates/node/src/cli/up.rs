//! `bletchley up`.

use super::{announce, log};
use crate::ceremony::Draft;
use crate::config::API_PORT_DEFAULT;
use crate::containers::Cryptlets;
use crate::data::{DEFAULT_DATA_DIR, DataDir};
use crate::founding::{self, NAMES, Plan};
use crate::genesis::{EngineName, NetworkGenesis};
use crate::node::{Node, NodeConfig};
use crate::output::Output;
use crate::stopping::Signals;
use crate::supervisor::{Launch, Supervisor};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Members of a new consortium when no number is named: the fewest of which one may fail in any way.
const MEMBERS_DEFAULT: usize = 4;
/// Milliseconds between blocks when none are named.
const BLOCK_MS_DEFAULT: u64 = 200;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley up                                        four members, each a process of its own\n  bletchley up --members 7 --data /tmp/seven --port-base 9545\n  bletchley up --members 1 --dev                      one node for development\n  bletchley up --json | jq ."
)]
pub(super) struct Up {
    /// How many members a new consortium has; a folder that exists decides for itself. [default: 4, or 1 with --dev]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=(NAMES.len() as i64)))]
    members: Option<u8>,
    /// First port on the loopback interface: members' interfaces have PORT, PORT+1 and so on, their network PORT+100 and
    /// so on; 0 picks free ones. [default: those of the folder, 8545 when it is new]
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// A development ledger: standard accounts, a block for every transaction, methods that test suites expect.
    #[arg(long, conflicts_with_all = ["engine", "block_ms"])]
    dev: bool,
    /// Engine of a new consortium. [default: solo for one member, simplex for more]
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Milliseconds that blocks of a new consortium lie apart at least, while there is something to put into them.
    /// [default: 200]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    block_ms: Option<u64>,
    /// Keep the state of every block, not only of the last ones; development ledgers always do.
    #[arg(long)]
    archive: bool,
    /// Run every cryptlet in a confined process, those that ship with the node too.
    #[arg(long)]
    confine: bool,
    /// Members that are behind execute every block instead of taking over state that the validators certified.
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    log: log::LogOptions,
    /// Folder of the node, or of all members.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, env = "BLETCHLEY_DATA")]
    data: PathBuf,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Up {
    pub(super) fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let data = DataDir::new(&self.data);
        if data.is_consortium() {
            return self.consortium(&data, output);
        }
        if data.genesis().exists() {
            return self.alone(data, output);
        }
        if self.dev && self.members.is_some_and(|members| members != 1) {
            bail!("a development ledger has one member; leave out --dev, or name --members 1");
        }
        if self.dev || self.members == Some(1) {
            output.progress("making a new network");
            if let Some(engine) = self.engine.filter(|engine| *engine != EngineName::Solo) {
                bail!("one member agrees with itself: --engine {} is for two and more", engine.name());
            }
            founding::alone(&data, self.dev, self.block_ms.unwrap_or(BLOCK_MS_DEFAULT))?;
            return self.alone(data, output);
        }
        let members = self.members.map_or(MEMBERS_DEFAULT, usize::from);
        output.progress(format!("founding a consortium of {members}"));
        std::fs::create_dir_all(data.root()).with_context(|| format!("making {}", data.root().display()))?;
        let plan = Plan {
            members,
            engine: self.engine,
            block_ms: self.block_ms.unwrap_or(BLOCK_MS_DEFAULT),
            port_base: self.port_base.unwrap_or(API_PORT_DEFAULT),
        };
        founding::found(&data, &plan)?;
        self.run_members(&data, &Draft::read(&data.consortium())?, output)
    }

    /// One node in this process.
    fn alone(&self, data: DataDir, output: Output) -> Result<()> {
        log::start(&self.log.settings())?;
        let signals = Signals::catch()?;
        let genesis = NetworkGenesis::read(&data)?;
        self.agree(&data, &genesis)?;
        let port = self.port_base.unwrap_or(API_PORT_DEFAULT);
        let config = NodeConfig {
            data,
            member: None,
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            p2p: None,
            endpoints: BTreeMap::new(),
            archive: self.archive,
            cryptlets: Cryptlets::default().confining(self.confine),
            replay: self.replay,
            votes_at_once: false,
        };
        let node = Node::start(config, &|step| output.progress(step))?;
        announce::node(&node, output);
        node.run_until_stopped(signals.stopping(), output)
    }

    /// The consortium that the folder holds.
    fn consortium(&self, data: &DataDir, output: Output) -> Result<()> {
        let draft = Draft::read(&data.consortium())?;
        if let Some(first) = draft.members.first() {
            self.agree(data, &NetworkGenesis::read(&data.member(&first.name))?)?;
        }
        if let Some(port_base) = self.port_base {
            founding::move_ports(data, &draft, port_base)?;
        }
        self.run_members(data, &draft, output)
    }

    /// Refuses flags that ask for something else than what the folder holds.
    fn agree(&self, data: &DataDir, genesis: &NetworkGenesis) -> Result<()> {
        let folder = data.root().display();
        let members = genesis.members.len();
        if self.dev && !genesis.dev {
            bail!("{folder} holds a network that is not for development; choose another folder with --data");
        }
        if let Some(asked) = self.members.filter(|asked| usize::from(*asked) != members) {
            bail!(
                "{folder} holds a consortium of {members}, not of {asked}; members come and go by votes, or choose another \
                 folder with --data"
            );
        }
        let agreement = genesis.agreements.evm;
        if let Some(asked) = self.engine.filter(|asked| *asked != agreement.engine) {
            bail!(
                "the ledgers in {folder} agree by {}, not by {}; choose another folder with --data",
                agreement.engine.name(),
                asked.name()
            );
        }
        if let Some(asked) = self.block_ms.filter(|asked| *asked != agreement.block_ms) {
            bail!(
                "the blocks of the ledgers in {folder} lie {} ms apart, not {asked}; that was decided when they were \
                 founded: choose another folder with --data",
                agreement.block_ms
            );
        }
        Ok(())
    }

    fn run_members(&self, data: &DataDir, draft: &Draft, output: Output) -> Result<()> {
        let program = std::env::current_exe().context("finding this program's own file")?;
        let launches = draft
            .members
            .iter()
            .map(|member| Launch { name: member.name.clone(), data: data.member(&member.name) })
            .collect();
        let options = [(self.archive, "--archive"), (self.confine, "--confine"), (self.replay, "--replay")];
        let options: Vec<String> =
            options.into_iter().filter(|(asked, _)| *asked).map(|(_, option)| option.to_owned()).collect();
        let signals = Signals::catch()?;
        let progress = |step: &str| output.progress(step);
        let Some(supervisor) = Supervisor::start(&program, launches, &options, &signals, &progress)? else {
            return Ok(());
        };
        output.progress("waiting until the members agree");
        if !supervisor.await_agreement(&signals) && !signals.stopping().is_asked() {
            output.progress("some members are not ready yet; their logs say why");
        }
        if !signals.stopping().is_asked() {
            let ready: Vec<Value> = supervisor.ready().cloned().collect();
            announce::consortium(&ready, &data.root().display().to_string(), output);
        }
        supervisor.run_until_stopped(&signals, output)
    }
}
