//! Display of events on standard output, in the layout of Knative's `event_display`.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use crate::event::{Event, http as binding};
use crate::wire_text::{escape, escape_json};

/// Attributes of the specification, in the order in which they are shown.
const CORE: [&str; 8] = [
    "specversion",
    "type",
    "source",
    "subject",
    "id",
    "time",
    "dataschema",
    "datacontenttype",
];

/// Standard output, to which one whole event is written at a time.
#[derive(Debug)]
pub struct EventDisplay(Mutex<tokio::io::Stdout>);

impl Default for EventDisplay {
    fn default() -> Self {
        Self(Mutex::new(tokio::io::stdout()))
    }
}

impl EventDisplay {
    /// Shows an event; returns when it has been written.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) async fn show(&self, event: &Event) -> io::Result<()> {
        self.write(&format_event(event)).await
    }

    /// Shows an event as one line of JSON, as CloudEvents write it; returns when it has been
    /// written.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) async fn show_json(&self, event: &Event) -> io::Result<()> {
        let (_headers, json) = binding::encode_structured(event);
        let line = without_blanks(&String::from_utf8_lossy(&json));
        self.write(&(escape_json(&line) + "\n")).await
    }

    async fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = self.0.lock().await;
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await
    }
}

/// JSON without what stands between its parts: data are written as they came, perhaps on several
/// lines.
fn without_blanks(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        if is_text {
            is_text = is_escaped || *c != '"';
            is_escaped = !is_escaped && *c == '\\';
            return true;
        }
        is_text = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}

/// Text for an event, ending in a line break. Characters that would be hidden in values, such as
/// control characters, are escaped.
#[must_use]
pub(crate) fn format_event(event: &Event) -> String {
    let mut text = String::from("☁️  cloudevents.Event\nContext Attributes,\n");
    for name in CORE {
        if let Some(value) = event.get(name) {
            push_line(&mut text, &format!("{name}: {value}"));
        }
    }
    push_extensions(&mut text, event);
    if !event.data().is_empty() {
        text.push_str("Data,\n");
        format_data(event)
            .lines()
            .for_each(|data| push_line(&mut text, data));
    }
    text
}

fn push_extensions(text: &mut String, event: &Event) {
    let mut extensions: Vec<_> = event
        .attributes()
        .iter()
        .filter(|attribute| !CORE.contains(&attribute.name()))
        .collect();
    extensions.sort_by_key(|attribute| attribute.name());
    if !extensions.is_empty() {
        text.push_str("Extensions,\n");
    }
    for attribute in extensions {
        let line = format!("{}: {}", attribute.name(), attribute.text());
        push_line(text, &line);
    }
}

fn format_data(event: &Event) -> String {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(event.data()) {
        return serde_json::to_string_pretty(&json).unwrap_or_default();
    }
    match std::str::from_utf8(event.data()) {
        Ok(text) => text.to_owned(),
        Err(_) => STANDARD.encode(event.data()),
    }
}

/// Adds one indented line, safe for a terminal.
fn push_line(text: &mut String, content: &str) {
    text.push_str("  ");
    for (at, part) in content.split('\t').enumerate() {
        if at > 0 {
            text.push('\t');
        }
        escape(text, part);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderValue;

    #[test]
    fn layout_of_event_display() {
        let json = HeaderValue::from_static("application/json");
        let mut event = Event::new("1", "my/curl/command", "my.demo.event")
            .with_data(json, Bytes::from_static(br#"{"name":"Knative Demo"}"#));
        event.set("zext", "z");
        event.set("aext", "line\nbreak\u{1b}[31m\u{202e}");
        let expected = "☁️  cloudevents.Event
Context Attributes,
  specversion: 1.0
  type: my.demo.event
  source: my/curl/command
  id: 1
  datacontenttype: application/json
Extensions,
  aext: line\\nbreak\\u{1b}[31m\\u{202e}
  zext: z
Data,
  {
    \"name\": \"Knative Demo\"
  }
";
        assert_eq!(format_event(&event), expected);
    }

    #[test]
    fn json_is_one_line() {
        for (json, line) in [
            (
                "{\r\n\t\"a b\": [1, 2],\n \"c\": \" \\\" x\\\\\" }",
                "{\"a b\":[1,2],\"c\":\" \\\" x\\\\\"}",
            ),
            ("\" \"", "\" \""),
        ] {
            assert_eq!(without_blanks(json), line);
        }
    }

    #[test]
    fn data_that_is_no_text_is_shown_as_base64() {
        let binary = HeaderValue::from_static("application/octet-stream");
        let event = Event::new("1", "/s", "t").with_data(binary, Bytes::from_static(&[0xff, 0x00]));
        assert!(format_event(&event).ends_with("Data,\n  /wA=\n"));
    }
}
