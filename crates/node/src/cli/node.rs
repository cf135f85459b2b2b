//! `bletchley node`: one member's node, from a configuration file.

use super::{announce, log};
use crate::config::MemberConfig;
use crate::node::{Node, NodeConfig};
use crate::output::Output;
use crate::stopping::{Signals, Stopping};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct NodeCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a member's node and keep it running.
    #[command(
        after_help = "Examples:\n  bletchley node start --config bletchley-data/member.toml\n  bletchley node start --config /etc/bletchley/member.toml --json\n\n`bletchley member request` writes the file, with what each line means."
    )]
    Start(Start),
}

#[derive(Debug, Args)]
struct Start {
    /// The member's configuration file.
    #[arg(long, value_name = "FILE", env = "BLETCHLEY_CONFIG")]
    config: PathBuf,
    /// Keep the state of every block, whatever the configuration says.
    #[arg(long)]
    archive: bool,
    /// Run every cryptlet in a confined process, whatever the configuration says.
    #[arg(long)]
    confine: bool,
    /// When joining or coming back, execute every block instead of taking over state that the validators certified.
    #[arg(long)]
    replay: bool,
    /// Vote at once though this folder is older than what this member signed. Only when it did not vote since the copy was
    /// made, or when more than a third of the validators wait for the end of an epoch that can never come.
    #[arg(long)]
    vote_at_once: bool,
    /// Stop when the standard input closes: for whoever starts nodes as children.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl NodeCommand {
    pub(super) fn run(self) -> Result<()> {
        let Action::Start(start) = self.action;
        start.run()
    }
}

impl Start {
    fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let signals = Signals::catch()?;
        if self.until_stdin_closes {
            watch_stdin(signals.stopping().clone())?;
        }
        let file = MemberConfig::read(&self.config)?;
        let settings =
            log::Settings { level: file.log.level.clone(), json: file.log.json, file: file.log.file.clone() };
        log::start(&settings)?;
        let genesis = file.settle_genesis()?;
        file.check_against(&genesis)?;
        let config = NodeConfig {
            data: file.data(),
            p2p: (genesis.members.len() > 1).then_some(file.listen.p2p),
            api: file.listen.api,
            member: Some(file.member),
            endpoints: file.endpoints,
            archive: file.archive || self.archive,
            cryptlets: file.cryptlets.confining(self.confine),
            replay: file.replay || self.replay,
            votes_at_once: self.vote_at_once,
        };
        let node = Node::start(config, &|step| output.progress(step))?;
        announce::node(&node, output);
        node.run_until_stopped(signals.stopping(), output)
    }
}

/// Asks to stop at the end of the standard input.
fn watch_stdin(stopping: Arc<Stopping>) -> Result<()> {
    let watch = move || {
        let mut ignored = [0u8; 256];
        while std::io::stdin().lock().read(&mut ignored).is_ok_and(|size| size > 0) {}
        stopping.ask();
    };
    std::thread::Builder::new().name("watch-stdin".to_owned()).spawn(watch).context("starting a thread")?;
    Ok(())
}
