//! `bletchley cryptlet`: write, publish, look up and call cryptlets.

mod call;
mod logs;
mod lookup;
mod project;
mod publish;

use crate::client::Client;
use anyhow::{Context, Result};
use bletchley_cryptlet::manifest::Manifest;
use clap::{Args, Subcommand};
use serde_json::Value;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet new hello --language python\n  bletchley cryptlet list rates\n  bletchley cryptlet show fx-rates --solidity > FxRates.sol\n  bletchley cryptlet call calendar isBusinessDay calendar=TARGET date=20240329"
)]
pub(super) struct CryptletCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a cryptlet from a template: javascript, typescript, python, c or rust.
    New(project::New),
    /// Build it: the component, the Solidity header, the ABI, the schema.
    Build(project::Build),
    /// Run its tests in the host of a node, offline.
    Test(project::Test),
    /// What is registered on the running node, and which hosts answer.
    List(lookup::List),
    /// One cryptlet: methods, versions, and the Solidity header that contracts import.
    Show(lookup::Show),
    /// Publish a built cryptlet in this member's name.
    Publish(publish::Publish),
    /// Deprecate a version: it answers by package id, and by name while no other version is active.
    Deprecate(publish::Deprecate),
    /// Revoke a version for good: it answers nothing any more.
    Revoke(publish::Revoke),
    /// Let this member's host fetch from the sources that a cryptlet declares.
    Allow(publish::Allow),
    /// Call a method through the CryptoDelegate, as a contract would; nothing is recorded.
    Call(call::Call),
    /// What a cryptlet wrote to its log on this member's host.
    Logs(logs::Logs),
}

impl CryptletCommand {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::New(command) => command.run(),
            Action::Build(command) => command.run(),
            Action::Test(command) => command.run(),
            Action::List(command) => command.run(),
            Action::Show(command) => command.run(),
            Action::Publish(command) => command.run(),
            Action::Deprecate(command) => command.run(),
            Action::Revoke(command) => command.run(),
            Action::Allow(command) => command.run(),
            Action::Call(command) => command.run(),
            Action::Logs(command) => command.run(),
        }
    }
}

/// A cryptlet as the node's registry has it.
struct Found {
    body: Value,
    manifest: Manifest,
}

impl Found {
    /// The cryptlet of this name.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    fn named(client: &Client, name: &str) -> Result<Self> {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let body = if is_name { client.find(&format!("/v1/cryptlets/{name}"))? } else { None };
        let body = body.with_context(|| {
            let known = names(client).unwrap_or_default().join(", ");
            format!("no cryptlet named {name:?} is registered; there are {known}")
        })?;
        let manifest = body.get("manifest").cloned().context("the node's answer has no manifest")?;
        Ok(Self { manifest: serde_json::from_value(manifest)?, body })
    }

    fn text(&self, key: &str) -> &str {
        text(&self.body, key)
    }
}

fn names(client: &Client) -> Result<Vec<String>> {
    let registry = client.rest("GET", "/v1/cryptlets", None)?;
    let mut names: Vec<String> =
        list(&registry, "cryptlets").iter().map(|cryptlet| text(cryptlet, "name").to_owned()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("?")
}
