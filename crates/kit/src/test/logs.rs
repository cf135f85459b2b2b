//! What a cryptlet logs while a test runs, taken from the host's own lines.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Most lines that are kept of one call.
const LINES_MAX: usize = 200;
/// Name of the host's event for a line of a cryptlet.
const EVENT: &str = "cryptlet.log";

/// Does something, and gives the lines that cryptlets logged on this thread meanwhile.
pub(super) fn of<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let done = tracing::subscriber::with_default(Lines(Arc::clone(&lines)), act);
    let lines = std::mem::take(&mut *lines.lock());
    (done, lines)
}

struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("bletchley_cryptlet")
    }

    fn new_span(&self, _attributes: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let mut lines = self.0.lock();
        if words.is_log && lines.len() < LINES_MAX {
            let level = event.metadata().level().as_str().to_ascii_lowercase();
            lines.push(format!("{level}: {}", words.said));
        }
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// What kind of event it is, and the line.
#[derive(Default)]
struct Words {
    is_log: bool,
    said: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "said" {
            value.clone_into(&mut self.said);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.is_log = format!("{value:?}") == EVENT;
        }
    }
}
