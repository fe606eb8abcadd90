//! The last step of a log line: whatever its fields and its message hold, it stays one line, in
//! which nothing is hidden. Texts of others are [`WireText`](crate::wire_text::WireText) before
//! they come here; a text for which that was forgotten forges nothing either.
//!
//! `tracing_subscriber` escapes some control characters of messages, and none of fields that are
//! displayed; in JSON it escapes those below U+0020 only.

use std::fmt::{self, Debug, Display, Write as _};
use std::io::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::tracer::current_span;
use crate::wire_text::{escape_json, escaped_excerpt, is_hidden};

/// Longest message or field in bytes. Problems of a configuration, of which some name several
/// objects, fit.
const LONGEST: usize = 4096;

/// Ends each line that is logged in the scope of a span with the ids of the span, so that logs and
/// traces can be brought together.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithSpanIds<F> {
    /// The format of the line before.
    pub(super) format: F,
    /// The format of the ids.
    pub(super) ids: SpanIdFormat,
}

/// The forms that the ids of a span have at the end of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpanIdFormat {
    /// Fields for people.
    Text,
    /// Members of the line's JSON object.
    Json,
}

impl<S, N, F> FormatEvent<S, N> for WithSpanIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = current_span() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        let (trace_id, span_id) = (span.trace_id(), span.span_id());
        match self.ids {
            SpanIdFormat::Text => {
                writer.write_str(line.trim_end())?;
                writeln!(writer, " trace_id={trace_id} span_id={span_id}")
            }
            SpanIdFormat::Json => {
                writer.write_str(line.strip_suffix("}\n").unwrap_or(&line))?;
                writeln!(
                    writer,
                    ",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"}}"
                )
            }
        }
    }
}

/// Formats the fields of a line for people: `message name=value name="value"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFieldFormat;

impl<'w> FormatFields<'w> for TextFieldFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = LogLineWriter {
            writer,
            result: Ok(()),
            is_begun: false,
        };
        fields.record(&mut line);
        line.result
    }
}

struct LogLineWriter<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
    is_begun: bool,
}

impl LogLineWriter<'_> {
    fn add_field(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.write_field(field.name(), value);
        }
    }

    fn write_field(&mut self, name: &str, value: &str) -> fmt::Result {
        if std::mem::replace(&mut self.is_begun, true) {
            self.writer.write_char(' ')?;
        }
        match (name, self.writer.has_ansi_escapes()) {
            ("message", _) => {}
            // The name is written in italics, the equals sign dimmed.
            (name, true) => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            (name, false) => write!(self.writer, "{name}=")?,
        }
        self.writer.write_str(value)
    }
}

impl Visit for LogLineWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.add_field(field, &escaped_excerpt(value, LONGEST))
        } else {
            self.add_field(field, &quote(value))
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // The fields that the bridge from the crate `log` adds have been written already.
        if field.name().starts_with("log.") {
            return;
        }
        let plain = escaped_excerpt(format_args!("{value:?}"), LONGEST);
        if field.name() != "message" && looks_like_fields(&plain) {
            self.add_field(field, &quote(format_args!("{value:?}")));
        } else {
            self.add_field(field, &plain);
        }
    }
}

/// Puts a value in quotes, so that it is clear where it ends.
fn quote(value: impl Display) -> String {
    format!("\"{}\"", escaped_excerpt(QuotedValue(value), LONGEST))
}

/// A value whose quotes and backslashes are escaped when it is displayed.
struct QuotedValue<T>(T);

impl<T: Display> Display for QuotedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(QuoteEscaper(f), "{}", self.0)
    }
}

struct QuoteEscaper<'f, 'a>(&'f mut fmt::Formatter<'a>);

impl fmt::Write for QuoteEscaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['"', '\\']) {
            match part.char_indices().next_back() {
                Some((at, last @ ('"' | '\\'))) => {
                    write!(self.0, "{}\\{last}", part.get(..at).unwrap_or_default())?
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Returns true if a part of a value would be taken for another field: a blank, a name and `=`.
fn looks_like_fields(value: &str) -> bool {
    let is_name = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    value.split(' ').skip(1).any(|word| {
        word.split_once('=')
            .is_some_and(|(name, _)| !name.is_empty() && is_name(name))
    })
}

/// Makes writers of JSON lines to where another maker writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonLines<M>(pub(super) M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for JsonLines<M> {
    type Writer = JsonLineWriter<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        JsonLineWriter(self.0.make_writer())
    }
}

/// Writes whole lines of JSON, as they are handed in, with every hidden character escaped.
#[derive(Debug)]
pub(super) struct JsonLineWriter<W>(W);

impl<W: Write> Write for JsonLineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if text.chars().any(|c| is_hidden(c) && c != '\n') => {
                self.0.write_all(escape_json(text).as_bytes())?
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const HOSTILE: &str = "x\n2026-01-01T00:00:00Z ERROR sealpost: FORGED\u{1b}[31m\r\u{9b}2J\u{7f}\u{202e}\u{2028}\u{200b}\u{e0041}";

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Output {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("lock").clone()).expect("UTF-8")
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Every way that a text gets into a line.
    fn log_everything(text: &str) {
        let error = io::Error::other(text.to_owned());
        let span = tracing::info_span!("task", name = text, displayed = %text);
        let _entered = span.enter();
        tracing::error!(
            text,
            displayed = %text,
            debugged = ?text,
            failed = &error as &dyn std::error::Error,
            "{text}"
        );
        tracing::error!("{text}");
    }

    /// A wrapper that was forgotten: no line that is not ours, no control character, and nothing
    /// endless.
    #[test]
    fn nothing_forges_a_line_for_people() {
        let output = Output::default();
        let to = output.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || to.clone())
            .with_ansi(false);
        let log = tracing_subscriber::registry()
            .with(layer.fmt_fields(TextFieldFormat).with_target(false));
        tracing::subscriber::with_default(log, || {
            log_everything(HOSTILE);
            log_everything(&"x".repeat(1_000_000));
        });
        let text = output.text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            text.lines()
                .all(|line| line.contains(" ERROR task{name=") && line.len() < 8 * LONGEST)
        );
        assert!(!text.chars().any(|c| is_hidden(c) && c != '\n'));
        assert!(
            text.contains("displayed=x\\n2026-01-01T00:00:00Z ERROR sealpost: FORGED\\u{1b}[31m"),
            "{text}"
        );
    }

    #[test]
    fn nothing_forges_a_line_of_json() {
        let output = Output::default();
        let to = output.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || JsonLineWriter(to.clone()))
            .json();
        let log = tracing_subscriber::registry().with(layer.flatten_event(true));
        tracing::subscriber::with_default(log, || log_everything(HOSTILE));
        let text = output.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.chars().any(|c| is_hidden(c) && c != '\n'));
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["message"], HOSTILE, "the value is the same");
        }
    }

    /// Lines in the scope of a recorded span carry its ids, and are the same else.
    #[test]
    fn lines_of_a_span_carry_its_ids() {
        let output = Output::default();
        let (to_text, to_json) = (output.clone(), output.clone());
        let text = tracing_subscriber::fmt::layer()
            .with_writer(move || to_text.clone())
            .fmt_fields(TextFieldFormat)
            .map_event_format(|format| WithSpanIds {
                format: format.with_ansi(false),
                ids: SpanIdFormat::Text,
            });
        let json = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(move || JsonLineWriter(to_json.clone()))
            .map_event_format(|format| WithSpanIds {
                format,
                ids: SpanIdFormat::Json,
            });
        let log = tracing_subscriber::registry().with(text).with(json);
        tracing::subscriber::with_default(log, || {
            for flags in [TraceFlags::default(), TraceFlags::SAMPLED] {
                let span =
                    SpanContext::new(7.into(), 8.into(), flags, false, TraceState::default());
                let _scope = Context::new().with_remote_span_context(span).attach();
                tracing::info_span!("task", name = "x").in_scope(|| tracing::warn!(a = 1, "Said"));
            }
        });
        let written = output.text();
        let lines: Vec<&str> = written.lines().collect();
        let [text, json, text_of_span, json_of_span] = lines[..] else {
            panic!("four lines: {written}")
        };
        let ids = format!(" trace_id={:032x} span_id={:016x}", 7, 8);
        assert!(text.ends_with("Said a=1"), "{text}");
        let after_time = |line: &str| line.split_once("  WARN").expect("a level").1.to_owned();
        assert_eq!(after_time(text_of_span), after_time(text) + &ids);
        let object = |line: &str| {
            let mut object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            object["timestamp"] = serde_json::Value::Null;
            object
        };
        let (mut wanted, found) = (object(json), object(json_of_span));
        assert_eq!(wanted.get("trace_id"), None);
        wanted["trace_id"] = format!("{:032x}", 7).into();
        wanted["span_id"] = format!("{:016x}", 8).into();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_value_is_not_taken_for_other_fields() {
        for (value, is_quoted) in [
            ("subscription default/s", false),
            ("a=b", false),
            ("1 reason=fine", true),
            ("--x a:1=b c", false),
        ] {
            assert_eq!(looks_like_fields(value), is_quoted, "{value}");
        }
        assert_eq!(quote("a \"b\"\n\\"), "\"a \\\"b\\\"\\n\\\\\"");
    }
}
