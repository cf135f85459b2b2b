//! Lines of the log: for people, or one JSON object each. Every line names the member, and whatever its spans know:
//! ledger, height, trace.

use serde_json::{Map, Value};
use std::fmt::{self, Debug, Write};
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

static MEMBER: OnceLock<String> = OnceLock::new();

/// Says whose node this process is; each line names it from now on. The first name counts.
pub(crate) fn name_member(name: &str) {
    let _ = MEMBER.set(name.to_owned());
}

/// How lines look. Works over fields that [`tracing_subscriber::fmt::format::JsonFields`] wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// One JSON object a line; otherwise text for people.
    pub(crate) json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let written = extensions.get::<FormattedFields<N>>().map(|written| written.fields.as_str());
            if let Some(Ok(Value::Object(of_span))) = written.map(serde_json::from_str) {
                fields.0.extend(of_span);
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message");
        let (time, metadata) = (jiff::Timestamp::now(), event.metadata());
        let member = MEMBER.get().map(String::as_str);
        if self.json {
            let mut line = Map::new();
            line.insert("time".to_owned(), format!("{time:.3}").into());
            line.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
            line.insert("target".to_owned(), metadata.target().into());
            line.extend(member.map(|member| ("member".to_owned(), member.into())));
            line.extend(message.map(|message| ("message".to_owned(), message)));
            line.extend(fields.0);
            return writeln!(out, "{}", Value::Object(line));
        }
        write!(out, "{time:.3} {:>5} ", metadata.level().as_str())?;
        if let Some(member) = member {
            write!(out, "{member} ")?;
        }
        match &message {
            Some(Value::String(text)) => write!(out, "{}", text.escape_debug())?,
            Some(other) => write!(out, "{other}")?,
            None => write!(out, "{}", metadata.target())?,
        }
        for (name, value) in &fields.0 {
            match value {
                Value::String(text) if text.chars().all(|c| c.is_ascii_graphic()) => {
                    write!(out, " {name}={text}")?
                }
                other => write!(out, " {name}={other}")?,
            }
        }
        writeln!(out)
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use parking_lot::Mutex;
    use std::io;
    use std::sync::Arc;
    use tracing_subscriber::fmt::format::JsonFields;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, act: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Lines { json });
        tracing::subscriber::with_default(log.finish(), act);
        let bytes = kept.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn act() {
        let _ledger = tracing::error_span!("ledger", ledger = "evm").entered();
        let _request = tracing::info_span!("request", trace = "abc").entered();
        tracing::warn!(height = 7, peer = "two words", "a thing\nhappened");
    }

    #[test]
    fn a_line_knows_what_its_spans_know() {
        let line = logged(true, act);
        let line: Value = serde_json::from_str(line.trim()).unwrap();
        for (name, value) in
            [("ledger", "evm"), ("trace", "abc"), ("level", "warn"), ("message", "a thing\nhappened")]
        {
            assert_eq!(line.get(name).unwrap(), value, "{line}");
        }
        assert_eq!(line.get("height").unwrap(), 7);
        assert!(line.get("time").unwrap().as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn lines_for_people_stay_one_line() {
        let text = logged(false, act);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("a thing\\nhappened") && text.contains("height=7"), "{text}");
        assert!(text.contains("ledger=evm") && text.contains("peer=\"two words\""), "{text}");
    }
}
