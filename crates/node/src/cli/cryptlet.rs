//! `bletchley cryptlet`.

use super::Common;
use crate::client::Client;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

#[derive(Debug, Args)]
pub(super) struct CryptletCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What is registered on the running node.
    #[command(after_help = "Example:\n  bletchley cryptlet list")]
    List {
        #[command(flatten)]
        common: Common,
    },
}

impl CryptletCommand {
    pub(super) fn run(self) -> Result<()> {
        let Action::List { common } = self.action;
        let output = common.output();
        let registry = Client::of(&common.folder()?)?.rest("GET", "/v1/cryptlets", None)?;
        let list = |key: &str| registry.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        output.heading("Cryptlets");
        for cryptlet in list("cryptlets") {
            let (name, version, status) =
                (text(&cryptlet, "name"), text(&cryptlet, "version"), text(&cryptlet, "status"));
            output.line(format!(
                "  {name:<14} {version:<8} {status:<11} {:<11} {}",
                text(&cryptlet, "language"),
                text(&cryptlet, "description")
            ));
            output.event(&cryptlet);
        }
        output.heading("Hosts");
        for host in list("hosts") {
            output.line(format!("  {:<14} evidence: {}", text(&host, "member"), text(&host, "evidence")));
            output.event(&host);
        }
        Ok(())
    }
}
