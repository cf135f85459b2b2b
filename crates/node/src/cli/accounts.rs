//! `bletchley accounts`.

use super::Common;
use crate::accounts::Accounts;
use crate::genesis::NetworkGenesis;
use anyhow::Result;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bletchley accounts --data bletchley-data")]
pub(super) struct AccountsCommand {
    #[command(flatten)]
    common: Common,
}

impl AccountsCommand {
    pub(super) fn run(self) -> Result<()> {
        let (data, output) = (self.common.folder()?, self.common.output());
        let genesis = NetworkGenesis::read(&data)?;
        for account in Accounts::open(&data, genesis.dev)?.list() {
            output.line(format!("  {:<18} {}", account.name, account.address));
            output.event(&json!({ "name": account.name, "address": account.address }));
        }
        Ok(())
    }
}
