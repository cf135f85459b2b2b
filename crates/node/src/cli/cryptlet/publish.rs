//! `bletchley cryptlet publish`, `deprecate`, `revoke` and `allow`.

use super::super::Common;
use super::{Found, list, text};
use crate::client::Client;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use bletchley_cryptlet::package::Package;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest wait for a registration to become final.
const FINAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked.
const FINAL_CHECK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet publish                     the cryptlet in this folder\n  bletchley cryptlet publish ./hello --member north-bank\n\nA cryptlet that fetches needs each host's leave: --allow-sources gives this one's, `bletchley cryptlet allow` that of others."
)]
pub(super) struct Publish {
    /// Folder with `cryptlet.toml` and the built component.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Let this member's host fetch from the sources that it declares.
    #[arg(long)]
    allow_sources: bool,
    #[command(flatten)]
    common: Common,
}

impl Publish {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let package = Package::from_folder(&self.folder).with_context(|| {
            format!(
                "reading the cryptlet in {}; `bletchley cryptlet build` makes its component",
                self.folder.display()
            )
        })?;
        let client = Client::of(&self.common.folder()?)?;
        let manifest = package.manifest();
        let published = client.send_bytes("/v1/admin/cryptlets", &package.encode())?;
        let id = package.id().to_string();
        output.progress("registering it on the consortium's registry");
        await_version(&client, &manifest.name, &id, "active")?;
        if self.allow_sources && !manifest.capabilities.fetch.is_empty() {
            allow(&client, &id, output)?;
        }
        let mut event = published;
        if let Some(object) = event.as_object_mut() {
            object.insert("name".to_owned(), json!(manifest.name));
            object.insert("version".to_owned(), json!(manifest.version));
        }
        output.event(&event);
        output.line(format!("{} {} is {}", manifest.name, manifest.version, output.good("registered")));
        output.line(format!("  package {}", output.dim(&id)));
        if !self.allow_sources {
            for source in &manifest.capabilities.fetch {
                output.line(format!(
                    "  it fetches from {}: each host's operator allows that with `bletchley cryptlet allow {}`",
                    source.url_prefix, manifest.name
                ));
            }
        }
        if let Some(method) = manifest.methods.first() {
            let inputs = method.inputs.iter().map(|input| format!(" {}=…", input.name)).collect::<String>();
            output.line(format!("  try: bletchley cryptlet call {} {}{inputs}", manifest.name, method.name));
        }
        Ok(())
    }
}

/// Waits until the registry says this of the package.
fn await_version(client: &Client, name: &str, package: &str, status: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        if let Some(found) = client.find(&format!("/v1/cryptlets/{name}"))? {
            let stands =
                |version: &Value| text(version, "package") == package && text(version, "status") == status;
            if list(&found, "versions").iter().any(stands) {
                return Ok(());
            }
        }
        if started.elapsed() > FINAL_TIMEOUT {
            bail!(
                "the registration was accepted and is not final after {FINAL_TIMEOUT:?}; `bletchley status` says whether blocks are made"
            );
        }
        std::thread::sleep(FINAL_CHECK);
    }
}

fn allow(client: &Client, package: &str, output: Output) -> Result<()> {
    let answer = client.rest("POST", &format!("/v1/admin/cryptlets/{package}/sources"), None)?;
    for address in list(&answer, "allowed") {
        output.line(format!("  this host may fetch from {}", address.as_str().unwrap_or("?")));
    }
    output.event(&answer);
    Ok(())
}

/// Which version of a cryptlet is meant.
#[derive(Debug, Args)]
struct Version {
    /// Its name.
    name: String,
    /// Which version; the newest when none is named.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Why, for those who read the registry.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    common: Common,
}

impl Version {
    fn set(self, status: &str) -> Result<()> {
        let output = self.common.output();
        let client = Client::of(&self.common.folder()?)?;
        let found = Found::named(&client, &self.name)?;
        let wanted = self.version.unwrap_or_else(|| found.manifest.version.clone());
        let versions = list(&found.body, "versions");
        let version = versions.iter().find(|version| text(version, "version") == wanted);
        let version = version.with_context(|| {
            let known: Vec<&str> = versions.iter().map(|version| text(version, "version")).collect();
            format!("{} has no version {wanted}; it has {}", self.name, known.join(", "))
        })?;
        let package = text(version, "package");
        let body = json!({ "status": status, "reason": self.reason });
        let answer = client.rest("PUT", &format!("/v1/admin/cryptlets/{package}/status"), Some(&body))?;
        await_version(&client, &self.name, package, status)?;
        output.event(&answer);
        output.line(format!("{} {wanted} is {status}", self.name));
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bletchley cryptlet deprecate hello --version 1.0.0 --reason \"use 1.1.0\""
)]
pub(super) struct Deprecate {
    #[command(flatten)]
    version: Version,
}

impl Deprecate {
    pub(super) fn run(self) -> Result<()> {
        self.version.set("deprecated")
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bletchley cryptlet revoke hello --version 1.0.0 --reason \"wrong rounding\""
)]
pub(super) struct Revoke {
    #[command(flatten)]
    version: Version,
}

impl Revoke {
    pub(super) fn run(self) -> Result<()> {
        self.version.set("revoked")
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bletchley cryptlet allow weather --member regulator")]
pub(super) struct Allow {
    /// Its name.
    name: String,
    #[command(flatten)]
    common: Common,
}

impl Allow {
    pub(super) fn run(self) -> Result<()> {
        let client = Client::of(&self.common.folder()?)?;
        let found = Found::named(&client, &self.name)?;
        if found.manifest.capabilities.fetch.is_empty() {
            bail!("{} fetches nothing: there is nothing to allow", self.name);
        }
        allow(&client, found.text("package"), self.common.output())
    }
}
