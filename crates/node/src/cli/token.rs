//! `bletchley token`: tokens of things, people and organisations, their owners, amounts.

mod build;
mod identity;
mod inspect;
mod issue;
mod money;
mod prove;
mod transfer;

use super::Common;
use crate::accounts::Accounts;
use crate::client::Client;
use crate::output::Output;
use crate::tokens::owner::{Key, keys_for};
use crate::tokens::{Final, TokenLedger, sign};
use anyhow::Result;
use bletchley_cryptlet::keys::Signer;
use bletchley_token::{Lock, TxBuilder};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Args)]
#[command(
    after_help = "A token is named by its id, or as issuer/class/serial, for instance manufacturer/screw/0001.\nAn owner is an account's name (see `bletchley accounts`), an address, 2-of:alice,bob,carol, or a lock:... of `bletchley token identity`.\n\nTry:\n  bletchley token issue --as manufacturer --class screw --serial 0001\n  bletchley token transfer manufacturer/screw/0001 --to alice\n  bletchley token lineage manufacturer/screw/0001"
)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issue tokens: things, a person, an organisation, or somebody anonymous.
    Issue(issue::Issue),
    /// Give a token to a new owner.
    Transfer(transfer::Transfer),
    /// Attach to a token: a contract that records it, or a document's digest.
    Record(transfer::Record),
    /// Build tokens into one whole.
    Compose(build::Compose),
    /// Take a whole apart.
    Decompose(build::Decompose),
    /// The story of a token: where it comes from, whose it was, what it was part of.
    Lineage(inspect::Lineage),
    /// A token as it stands.
    Show(inspect::Show),
    /// Check a token against the properties that it was made from; they do not leave this computer.
    Verify(inspect::Verify),
    /// Prove that an output exists, and whether it is spent; check such a proof offline.
    Proof(prove::Proof),
    /// What an owner has: tokens and amounts.
    Balance(money::Balance),
    /// Issue an amount of an asset, which is defined at its first issue.
    IssueAmount(money::IssueAmount),
    /// Pay an amount.
    Pay(money::Pay),
    /// Make an identity proof that others can send to: a password, a PIN, a key card, a template, or several of them.
    Identity(identity::IdentityCommand),
}

impl TokenCommand {
    pub(super) fn run(self) -> Result<u8> {
        match self.action {
            Action::Issue(command) => command.run().map(|()| 0),
            Action::Transfer(command) => command.run().map(|()| 0),
            Action::Record(command) => command.run().map(|()| 0),
            Action::Compose(command) => command.run().map(|()| 0),
            Action::Decompose(command) => command.run().map(|()| 0),
            Action::Lineage(command) => command.run().map(|()| 0),
            Action::Show(command) => command.run().map(|()| 0),
            Action::Verify(command) => command.run(),
            Action::Proof(command) => command.run().map(|()| 0),
            Action::Balance(command) => command.run().map(|()| 0),
            Action::IssueAmount(command) => command.run().map(|()| 0),
            Action::Pay(command) => command.run().map(|()| 0),
            Action::Identity(command) => command.run().map(|()| 0),
        }
    }
}

/// Options that every command on a token ledger has.
#[derive(Debug, Clone, Args)]
pub(super) struct OnLedger {
    #[command(flatten)]
    pub(super) common: Common,
    /// Which token ledger: one that a vote created and this member shares. [default: the first, which all members share]
    #[arg(long, value_name = "NAME")]
    pub(super) ledger: Option<String>,
}

impl std::ops::Deref for OnLedger {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// A connection to the node, and the accounts of its folder.
struct Session {
    client: Client,
    accounts: Accounts,
    output: Output,
}

impl Session {
    fn open(common: &OnLedger) -> Result<Self> {
        let data = common.folder()?;
        let client = Client::of(&data)?.on(common.ledger.as_deref());
        let accounts = Accounts::open(&data, client.is_dev()?)?;
        Ok(Self { client, accounts, output: common.output() })
    }

    fn ledger(&self) -> Result<TokenLedger<'_>> {
        TokenLedger::open(&self.client)
    }

    /// Keys of an issuer's name, and of whatever opens these locks.
    fn keys<'a>(
        &'a self,
        ledger: &TokenLedger<'_>,
        issuer: Option<&str>,
        locks: &[Lock],
        as_names: &[String],
    ) -> Result<Vec<Key<'a>>> {
        let mut keys = Vec::new();
        if let Some(name) = issuer {
            keys.push(Key::Account(self.accounts.signer(name)?));
        }
        for (at, lock) in locks.iter().enumerate() {
            if locks.iter().take(at).any(|earlier| earlier == lock) {
                continue;
            }
            keys.extend(keys_for(ledger, &self.accounts, lock, as_names)?);
        }
        Ok(keys)
    }

    /// Signs, sends, waits until final, and says so.
    fn settle(
        &self,
        ledger: &TokenLedger<'_>,
        builder: &TxBuilder,
        keys: &[Key<'_>],
        done: &str,
        mut event: Value,
    ) -> Result<()> {
        let signers: Vec<&dyn Signer> = keys.iter().map(Key::signer).collect();
        let Final { id, height } = ledger.settle(&sign(builder, &signers)?)?;
        if let Some(object) = event.as_object_mut() {
            object.insert("transaction".to_owned(), json!(id));
            object.insert("height".to_owned(), json!(height));
        }
        self.output.event(&event);
        self.output.line(format!("{done}: {} in block {height}", self.output.good("final")));
        self.output.line(self.output.dim(&format!("  transaction {id}")));
        Ok(())
    }
}
