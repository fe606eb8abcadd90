//! `sealpost tap` and `sealpost explain`: what happens to events, as it happens, and what has become
//! of one.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::admin::AdminClient;
use super::event_text::format_line;
use super::print_remark;
use crate::cli::{ExplainOptions, LineOutput, TapOptions};
use crate::wire_text;

/// The time after which a dispatcher that sends nothing, not even a sign of life, is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// Prints what happens to events, until it is interrupted.
///
/// # Errors
/// Fails if the dispatcher cannot be reached, serves nothing of this name, refuses, or ends.
pub async fn run(options: &TapOptions) -> anyhow::Result<ExitCode> {
    let dispatcher = AdminClient::new(&options.admin)?;
    let answer = dispatcher
        .open(&format!("/api/v1/tap?{}", tap_query(options)))
        .await?;
    print_remark("Tapping, until Ctrl-C");
    tokio::select! {
        ended = print_lines(answer, options.lines.output) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what became of an event.
///
/// # Errors
/// Fails if the dispatcher cannot be reached, or does not know the event.
pub async fn explain(options: &ExplainOptions) -> anyhow::Result<ExitCode> {
    let mut query = Serializer::new(String::new());
    query.append_pair("id", &options.id);
    if let Some(source) = &options.source {
        query.append_pair("source", source);
    }
    let dispatcher = AdminClient::new(&options.admin)?;
    let path = format!("/api/v1/explain?{}", query.finish());
    let answer = dispatcher.open(&path).await?;
    let mut printer = LinePrinter::new(options.lines.output);
    if printer.print(&answer.bytes().await?)?.is_continue() {
        printer.finish()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tap_query(options: &TapOptions) -> String {
    let mut query = Serializer::new(String::new());
    let pairs = [
        ("kind", options.kind),
        ("name", options.name.as_deref()),
        ("namespace", options.namespace.as_deref()),
        ("filter", options.filter.as_deref()),
        ("data", options.data.then_some("true")),
    ];
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// Prints the lines of a response as they come, until nobody reads what is printed.
async fn print_lines(mut answer: reqwest::Response, output: LineOutput) -> anyhow::Result<()> {
    let mut printer = LinePrinter::new(output);
    loop {
        let piece = tokio::time::timeout(SILENCE, answer.chunk()).await;
        let piece = piece.context("the dispatcher has been silent for a minute")?;
        let Some(piece) = piece.context("the dispatcher is gone")? else {
            bail!("the dispatcher has ended")
        };
        if printer.print(&piece)?.is_break() {
            return Ok(());
        }
    }
}

/// Prints whole lines of pieces.
struct LinePrinter {
    output: LineOutput,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
}

impl LinePrinter {
    fn new(output: LineOutput) -> Self {
        Self {
            output,
            rest: Vec::new(),
        }
    }

    /// Prints the lines that end in this piece; breaks if nobody reads them.
    fn print(&mut self, piece: &[u8]) -> anyhow::Result<ControlFlow<()>> {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(ControlFlow::Continue(()));
        };
        let after = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, after);
        let mut shown = String::new();
        for line in whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            shown.push_str(&self.format(line)?);
        }
        super::print_on(&shown)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.print(b"\n").map(|_| ())
    }

    fn format(&self, line: &[u8]) -> anyhow::Result<String> {
        let what = "the dispatcher's answer is not understood";
        Ok(match self.output {
            LineOutput::Text => format_line(&serde_json::from_slice::<Value>(line).context(what)?),
            LineOutput::Json => {
                wire_text::escape_json(std::str::from_utf8(line).context(what)?) + "\n"
            }
        })
    }
}
