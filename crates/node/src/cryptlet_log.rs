//! What cryptlets wrote to their logs on this host lately: a bounded book in memory, filled by the events that the
//! container logs, whatever the node's own log level is.

use bletchley_api::rest::LogLine;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of all cryptlets together that are kept; the oldest leave first.
const LINES_MAX: usize = 4_096;
/// Crate whose events are cryptlets' words.
const TARGET: &str = "bletchley_cryptlet";
/// Message of such an event.
const MESSAGE: &str = "cryptlet.log";

struct Book {
    lines: VecDeque<(String, LogLine)>,
    next: u64,
}

static BOOK: Mutex<Book> = Mutex::new(Book { lines: VecDeque::new(), next: 1 });

/// The newest `max` lines of a cryptlet after number `after`, oldest first.
pub(crate) fn lines(cryptlet: &str, after: u64, max: usize) -> Vec<LogLine> {
    let book = BOOK.lock();
    let newest = book.lines.iter().rev().filter(|(name, line)| name == cryptlet && line.number > after);
    let mut found: Vec<LogLine> = newest.take(max).map(|(_, line)| line.clone()).collect();
    found.reverse();
    found
}

/// Whether an event may be a cryptlet's.
pub(crate) fn concerns(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target().starts_with(TARGET)
}

/// Writes the book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer;

impl<S: Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        if !said.is_cryptlet {
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut book = BOOK.lock();
        let number = book.next;
        book.next = number.saturating_add(1);
        if book.lines.len() >= LINES_MAX {
            book.lines.pop_front();
        }
        let line = LogLine {
            number,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            level: name_of(*event.metadata().level()),
            message: said.message,
        };
        book.lines.push_back((said.cryptlet, line));
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

#[derive(Default)]
struct Said {
    is_cryptlet: bool,
    cryptlet: String,
    message: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "cryptlet" => value.clone_into(&mut self.cryptlet),
            "said" => value.clone_into(&mut self.message),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.is_cryptlet = format!("{value:?}") == MESSAGE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_cryptlets_lines_are_kept_and_others_are_not() {
        let book = tracing_subscriber::registry().with(Writer.with_filter(filter_fn(concerns)));
        tracing::subscriber::with_default(book, || {
            tracing::debug!(target: "bletchley_cryptlet::host", cryptlet = "lines-kept", said = "one\ttwo", "cryptlet.log");
            tracing::info!(target: "bletchley_cryptlet::host", cryptlet = "lines-kept", said = "other", "host.loaded");
            tracing::info!(target: "elsewhere", cryptlet = "lines-kept", said = "stranger", "cryptlet.log");
            for number in 0..LINES_MAX {
                tracing::warn!(target: "bletchley_cryptlet::host", cryptlet = "lines-many", said = %number, "cryptlet.log");
            }
        });
        // The first line has left: so many came after it.
        assert!(lines("lines-kept", 0, 10).is_empty());
        let many = lines("lines-many", 0, 2);
        assert_eq!(many.iter().map(|line| line.level).collect::<Vec<_>>(), ["warn", "warn"]);
        let last = many.last().map_or(0, |line| line.number);
        assert!(lines("lines-many", last, 10).is_empty());
        assert_eq!(lines("lines-many", last - 3, 10).len(), 3);
    }
}
