//! `bletchley verify`.

use super::Common;
use crate::verify::{self, Options};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley verify bletchley-data\n  bletchley verify copy-from-another-member --genesis genesis.json --json\n\nExit status: 0 everything holds, 2 something does not, 1 it could not be read."
)]
pub(super) struct Verify {
    /// The folder to verify; a copy is as good as the original. Nothing in it is changed.
    #[arg(value_name = "DATA DIR")]
    folder: Option<PathBuf>,
    /// Genesis document to start from, when the folder's own is not to be trusted.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Also run every recorded deterministic cryptlet call again, from its transcript.
    #[arg(long)]
    reexecute: bool,
    #[command(flatten)]
    common: Common,
}

impl Verify {
    pub(super) fn run(self) -> Result<u8> {
        let output = self.common.output();
        let data = self.common.folder_in(self.folder.as_ref().unwrap_or(&self.common.data))?;
        let options = Options { genesis: self.genesis, reexecute: self.reexecute };
        Ok(if verify::verify(&data, &options, output)? { 0 } else { 2 })
    }
}
