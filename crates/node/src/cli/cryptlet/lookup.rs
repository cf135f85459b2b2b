//! `bletchley cryptlet list` and `show`.

use super::super::Common;
use super::{Found, list, text};
use crate::client::Client;
use anyhow::Result;
use bletchley_cryptlet::manifest::Parameter;
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bletchley cryptlet list\n  bletchley cryptlet list exchange")]
pub(super) struct List {
    /// Only those whose name, description, publisher, language or methods contain it.
    text: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl List {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let client = Client::of(&self.common.folder()?)?;
        let wanted: String = url_encoded(self.text.as_deref().unwrap_or_default());
        let registry = client.rest("GET", &format!("/v1/cryptlets?text={wanted}"), None)?;
        output.heading("Cryptlets");
        for cryptlet in list(&registry, "cryptlets") {
            output.line(format!(
                "  {:<14} {:<8} {:<11} {:<11} {}",
                text(&cryptlet, "name"),
                text(&cryptlet, "version"),
                text(&cryptlet, "status"),
                text(&cryptlet, "language"),
                text(&cryptlet, "description")
            ));
            output.event(&cryptlet);
        }
        output.heading("Hosts");
        for host in list(&registry, "hosts") {
            output.line(format!("  {:<14} evidence: {}", text(&host, "member"), text(&host, "evidence")));
            output.event(&host);
        }
        Ok(())
    }
}

/// `text` as it stands behind `?`.
fn url_encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet show fx-rates\n  bletchley cryptlet show fx-rates --solidity > contracts/cryptlets/FxRates.sol"
)]
pub(super) struct Show {
    /// Its name.
    name: String,
    /// Print the Solidity library through which contracts call it, and nothing else.
    #[arg(long)]
    solidity: bool,
    #[command(flatten)]
    common: Common,
}

impl Show {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let found = Found::named(&Client::of(&self.common.folder()?)?, &self.name)?;
        output.event(&found.body);
        if self.solidity {
            output.line(found.text("solidity").trim_end());
            return Ok(());
        }
        let manifest = &found.manifest;
        output.heading(format!("{} {} ({})", manifest.name, manifest.version, found.text("status")));
        output.line(format!("  {}", manifest.description));
        output.line(format!("  {} by {}", manifest.language, manifest.publisher));
        output.line(format!("  package {}", output.dim(found.text("package"))));
        output.line(format!("  world {}, isolation {}", manifest.world.name(), manifest.isolation.name()));
        for source in &manifest.capabilities.fetch {
            output.line(format!("  fetches from {} ({})", source.url_prefix, source.name));
        }
        output.heading("Methods");
        for method in &manifest.methods {
            let (inputs, outputs) = (parameters(&method.inputs), parameters(&method.outputs));
            output.line(format!("  {}({inputs}) -> ({outputs})", output.bold(&method.name)));
            if !method.description.is_empty() {
                output.line(format!("      {}", method.description));
            }
        }
        output.heading("Versions");
        for version in list(&found.body, "versions") {
            let (number, status) = (text(&version, "version"), text(&version, "status"));
            output.line(format!("  {number:<10} {status:<11} {}", output.dim(text(&version, "package"))));
        }
        Ok(())
    }
}

fn parameters(list: &[Parameter]) -> String {
    let each = list.iter().map(|parameter| format!("{} {}", parameter.kind, parameter.name));
    each.collect::<Vec<_>>().join(", ")
}
