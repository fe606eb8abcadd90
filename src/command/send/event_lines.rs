//! Events that are read from lines, one in JSON on each (NDJSON), as CloudEvents write them.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use uuid::Uuid;

use crate::event::{AttributeLimit, Event, http as binding};

/// The longest line, in bytes.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// The lines of events, from a file or from standard input.
pub(super) struct EventLines {
    lines: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    /// The number of the last line that was read.
    number: u64,
    /// The event whose source and type stand for those that a line does not have.
    template: Event,
}

impl EventLines {
    /// Opens a file, or standard input if it is `-`.
    ///
    /// # Errors
    /// Fails if the file cannot be opened.
    pub(super) async fn open(path: &str, template: Event) -> anyhow::Result<Self> {
        let lines: Box<dyn AsyncRead + Send + Unpin> = if path == "-" {
            Box::new(tokio::io::stdin())
        } else {
            let file = tokio::fs::File::open(path).await;
            Box::new(file.with_context(|| format!("--events {path}"))?)
        };
        Ok(Self {
            lines: BufReader::new(lines),
            number: 0,
            template,
        })
    }

    /// Reads the event of the next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// Fails if the line is too long, or is no event.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.lines).take(LONGEST_LINE);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let place = || format!("line {}", self.number);
            if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                bail!("{}: it is longer than {LONGEST_LINE} bytes", place());
            }
            if !line.trim_ascii().is_empty() {
                return self.read_event(&line).with_context(place).map(Some);
            }
        }
    }

    fn read_event(&self, line: &[u8]) -> anyhow::Result<Event> {
        let mut event: Map<String, Value> =
            serde_json::from_slice(line).context("it is no JSON object")?;
        let id = || Uuid::new_v4().to_string();
        let template = |name: &str| self.template.get(name).unwrap_or_default().into_owned();
        for (name, value) in [
            ("specversion", "1.0".to_owned()),
            ("id", id()),
            ("source", template("source")),
            ("type", template("type")),
        ] {
            event.entry(name).or_insert(Value::String(value));
        }
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(binding::STRUCTURED))]);
        let body = Bytes::from(serde_json::to_vec(&event)?);
        let events = binding::decode(headers, body, AttributeLimit::default())?;
        events.into_iter().next().context("it is no event")
    }
}
