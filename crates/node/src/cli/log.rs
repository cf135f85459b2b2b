//! Where a node's log goes.

use crate::cryptlet_log;
use crate::logging::Lines;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Mutex;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How a node logs. The environment's `BLETCHLEY_LOG` overrides the level.
pub(super) struct Settings {
    pub(super) level: String,
    pub(super) json: bool,
    pub(super) file: Option<PathBuf>,
}

/// How the lines of a log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of commands that run a node in this process.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogOptions {
    /// What is logged: error, warn, info or debug, or by part, such as `info,bletchley_node=debug`. [env: BLETCHLEY_LOG]
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
    /// How the log's lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl LogOptions {
    pub(super) fn settings(&self) -> Settings {
        Settings { level: self.log.clone(), json: self.log_format == LogFormat::Json, file: None }
    }
}

/// Starts the log.
///
/// # Errors
/// When the level is none, or the file cannot be written.
pub(super) fn start(settings: &Settings) -> Result<()> {
    let filter = match EnvFilter::try_from_env("BLETCHLEY_LOG") {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&settings.level).with_context(|| {
            format!("{:?} is no log level; write error, warn, info or debug", settings.level)
        })?,
    };
    let writer = match &settings.file {
        Some(path) => {
            let file: File = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("opening the log {}", path.display()))?;
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let lines = Lines { json: settings.json };
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    let log = log.fmt_fields(JsonFields::new()).event_format(lines).with_filter(filter);
    let cryptlets = cryptlet_log::Writer.with_filter(filter_fn(cryptlet_log::concerns));
    let _ = tracing_subscriber::registry().with(log).with(cryptlets).try_init();
    Ok(())
}
