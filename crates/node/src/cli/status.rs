//! `bletchley status`.

use super::{Common, top};
use crate::data::DataDir;
use crate::status::{Members, Tone, board};
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley status\n  bletchley status --data member-bank-a --json | jq .status.ledgers\n\nExit status: 0 all members that were asked are ready, 3 one is down or not ready."
)]
pub(super) struct Status {
    #[command(flatten)]
    common: Common,
}

/// Exit status when somebody is down or not ready.
const NOT_ALL_READY: u8 = 3;

impl Status {
    pub(super) fn run(self) -> Result<u8> {
        let output = self.common.output();
        let views = Members::of(&DataDir::new(&self.common.data))?.look();
        views.iter().for_each(|view| output.event(&view.json()));
        for line in board(&views, top::width()) {
            output.line(match line.tone {
                Tone::Heading => output.bold(&line.text),
                Tone::Plain => line.text,
                Tone::Bad => output.bad(&line.text),
                Tone::Dim => output.dim(&line.text),
            });
        }
        let ready = views.iter().all(|view| view.state.as_ref().is_ok_and(|report| report.ready));
        Ok(if ready { 0 } else { NOT_ALL_READY })
    }
}
