//! `bletchley cryptlet logs`.

use super::super::Common;
use super::list;
use super::text;
use crate::client::Client;
use crate::output::Output;
use anyhow::Result;
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// How often a followed log is asked for what is new.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet logs hello\n  bletchley cryptlet logs hello --member regulator --follow\n\nEach host keeps its own lines, in memory, since its start."
)]
pub(super) struct Logs {
    /// Its name.
    name: String,
    /// Go on with what comes, until interrupted.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

impl Logs {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let client = Client::of(&self.common.folder()?)?;
        super::Found::named(&client, &self.name)?;
        let mut after = 0;
        loop {
            let path = format!("/v1/admin/cryptlets/{}/log?after={after}", self.name);
            let answer = client.rest("GET", &path, None)?;
            for line in list(&answer, "lines") {
                after = line.get("number").and_then(Value::as_u64).unwrap_or(after);
                show(output, &line);
            }
            if !self.follow {
                if after == 0 {
                    output.progress(format!("{} wrote nothing on this host since it started", self.name));
                }
                return Ok(());
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }
}

fn show(output: Output, line: &Value) {
    output.event(line);
    let time = line.get("timeMs").and_then(Value::as_i64).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(time).map(|time| format!("{time:.3}")).unwrap_or_default();
    output.line(format!("{} {:>5} {}", output.dim(&time), text(line, "level"), text(line, "message")));
}
