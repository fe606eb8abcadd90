//! The report of the responses to the events that were sent.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::command::{self, print, printable};
use crate::tls::refusal;
use crate::wire_text::WireText;

/// The largest number of latencies that are kept for the percentiles.
const MAX_LATENCIES: usize = 1_000_000;

/// The outcome of sending one event.
pub(super) struct SendOutcome {
    /// The id of the event.
    id: String,
    /// The status, with scheme and version of HTTP; or the reason why there is no response.
    outcome: Result<(reqwest::StatusCode, String), String>,
    /// The beginning of the response's text, escaped.
    text: String,
    /// The time from the request to the end of the response.
    latency: Duration,
}

impl SendOutcome {
    /// The outcome of a response; of its text at most `max` bytes are read.
    pub(super) async fn from_response(
        id: String,
        mut response: reqwest::Response,
        started: Instant,
        max: usize,
    ) -> Self {
        let protocol = format!("{} {:?}", response.url().scheme(), response.version());
        let status = response.status();
        let mut text = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            text.extend_from_slice(&piece);
            if text.len() > max {
                text.truncate(max);
                break;
            }
        }
        let text = WireText::new(String::from_utf8_lossy(&text).trim_end()).into();
        Self {
            id,
            outcome: Ok((status, protocol)),
            text,
            latency: started.elapsed(),
        }
    }

    /// The outcome of a request without a response.
    pub(super) fn failed(id: String, error: &reqwest::Error, started: Instant) -> Self {
        Self {
            id,
            outcome: Err(printable(&send_failure_reason(error))),
            text: String::new(),
            latency: started.elapsed(),
        }
    }

    fn summary_line(&self) -> String {
        let millis = self.latency.as_secs_f64() * 1e3;
        let text = if self.text.is_empty() {
            String::new()
        } else {
            format!("  {}", self.text)
        };
        match &self.outcome {
            Ok((status, protocol)) => {
                format!("{status}  {protocol}  {}  {millis:.1} ms{text}\n", self.id)
            }
            Err(error) => format!("failed  {}  {error}\n", self.id),
        }
    }
}

/// The reason why there is no response, and the remedy if a flag is one.
fn send_failure_reason(error: &reqwest::Error) -> String {
    let told = command::request_failure_reason(error);
    let remedy = if refusal::is_unknown_issuer(&told) {
        ": give the certificate of its CA with --ca FILE"
    } else {
        ""
    };
    told + remedy
}

/// The outcomes so far, counted.
pub(super) struct SendReport {
    /// The number of events that were answered, or not.
    sent: u64,
    /// The number of events that are to be sent; `None` if it is not known.
    count: Option<u64>,
    accepted: u64,
    /// The number of events that were not accepted, by status or `failed`.
    rejected: BTreeMap<String, u64>,
    /// The latencies of the first [`MAX_LATENCIES`] responses.
    latencies: Vec<Duration>,
    started: Instant,
    /// The progress bar; `None` if one event is sent.
    bar: Option<ProgressBar>,
}

impl SendReport {
    /// A report of `count` events, if that is known. Unless it is one, a terminal shows a progress
    /// bar.
    pub(super) fn new(count: Option<u64>) -> Self {
        let bar = (count != Some(1)).then(|| {
            let Some(count) = count else {
                return ProgressBar::new_spinner();
            };
            let bar = ProgressBar::new(count);
            match ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            sent: 0,
            count,
            accepted: 0,
            rejected: BTreeMap::new(),
            latencies: Vec::new(),
            started: Instant::now(),
            bar,
        }
    }

    /// Counts an outcome. It is printed if the event is the only one, or was not accepted.
    pub(super) fn add(&mut self, answer: &SendOutcome) -> anyhow::Result<()> {
        self.sent += 1;
        let accepted = matches!(&answer.outcome, Ok((status, _)) if status.is_success());
        if accepted {
            self.accepted += 1;
        } else {
            let kind = answer
                .outcome
                .as_ref()
                .map_or_else(|_| "failed".to_owned(), |(status, _)| status.to_string());
            *self.rejected.entry(kind).or_default() += 1;
        }
        if self.latencies.len() < MAX_LATENCIES {
            self.latencies.push(answer.latency);
        }
        match &self.bar {
            Some(bar) if accepted || !bar.is_hidden() => {
                if !accepted {
                    bar.suspend(|| print(&answer.summary_line()))?;
                }
                bar.inc(1);
                Ok(())
            }
            _ => print(&answer.summary_line()),
        }
    }

    /// True if every event was accepted.
    pub(super) fn all_accepted(&self) -> bool {
        self.accepted == self.count.unwrap_or(self.sent)
    }

    /// What was sent before something that is no event.
    pub(super) fn stopped(&self) -> String {
        let events = if self.sent == 1 { "event" } else { "events" };
        let (sent, accepted) = (self.sent, self.accepted);
        format!("{sent} {events} sent ({accepted} accepted), and nothing from here on")
    }

    /// Prints the summary, if more than one event was sent.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let Some(bar) = self.bar.take() else {
            return Ok(());
        };
        bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        let others: String = self
            .rejected
            .iter()
            .map(|(kind, count)| format!(", {count} {kind}"))
            .collect();
        print(&format!(
            "{} of {} accepted{others}; {:.0} events/s, p50 {:.1} ms, p99 {:.1} ms\n",
            self.accepted,
            self.count.unwrap_or(self.sent),
            self.latencies.len() as f64 / seconds.max(1e-9),
            self.percentile(50),
            self.percentile(99),
        ))
    }

    /// The latency in milliseconds that this many in a hundred responses did not exceed.
    fn percentile(&self, part: usize) -> f64 {
        let index = (self.latencies.len() * part / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies
            .get(index)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}
