//! The last hour of subscriptions: `GET /api/v1/history[?subscription=NS/NAME]`, as columns with a
//! place for each minute, the running one last.

use serde::Serialize;
use time::OffsetDateTime;
use url::form_urlencoded;

use super::status::format_time;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{HistoryMinute, SeriesKey, ShownHistory};
use crate::wire_text::WireText;

#[derive(Serialize)]
struct HistoryDocument {
    time: String,
    items: Vec<HistoryItem>,
}

/// The history of one subscription. Durations are milliseconds, ages seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryItem {
    kind: &'static str,
    namespace: String,
    name: String,
    /// The start of the first minute.
    from: String,
    delivered: Vec<u32>,
    undelivered: Vec<u32>,
    attempts: Vec<u32>,
    failed: Vec<u32>,
    p50: Vec<Option<f32>>,
    p99: Vec<Option<f32>>,
    depth: Vec<u32>,
    age: Vec<f32>,
    concurrency: Vec<u32>,
}

impl HistoryItem {
    fn new(key: &SeriesKey, shown: &ShownHistory) -> Self {
        let first = i64::try_from(shown.first_minute.saturating_mul(60)).unwrap_or(i64::MAX);
        let from = OffsetDateTime::from_unix_timestamp(first);
        let column = |value: fn(&HistoryMinute) -> u32| shown.minutes.iter().map(value).collect();
        let tenths = |value: f32| (value * 1000.0).round() / 1000.0;
        let duration = |value: fn(&HistoryMinute) -> Option<f32>| {
            let values = shown.minutes.iter().map(value);
            values.map(|value| value.map(tenths)).collect()
        };
        Self {
            kind: key.kind,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            from: from.map(format_time).unwrap_or_default(),
            delivered: column(|minute| minute.delivered),
            undelivered: column(|minute| minute.undelivered),
            attempts: column(|minute| minute.attempts),
            failed: column(|minute| minute.failed),
            p50: duration(|minute| minute.p50),
            p99: duration(|minute| minute.p99),
            depth: column(|minute| minute.depth),
            age: shown
                .minutes
                .iter()
                .map(|minute| tenths(minute.age))
                .collect(),
            concurrency: column(|minute| minute.concurrency),
        }
    }
}

/// Returns the histories that are asked for, as JSON.
///
/// # Errors
/// Fails with a line of text if the query is not understood.
pub(super) fn render_json(counters: &ProcessCounters, query: &str) -> Result<String, String> {
    let mut wanted = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "subscription" {
            let name = WireText::new(name);
            return Err(format!(
                "{name} is not known: use subscription=NAMESPACE/NAME"
            ));
        }
        wanted = Some(value.into_owned());
    }
    let is_wanted = |key: &SeriesKey| {
        let name = format!("{}/{}", key.namespace, key.name);
        wanted.as_ref().is_none_or(|wanted| *wanted == name)
    };
    let shown = counters.series.histories();
    let items = shown.iter().filter(|(key, _)| is_wanted(key));
    let document = HistoryDocument {
        time: format_time(OffsetDateTime::now_utc()),
        items: items
            .map(|(key, shown)| HistoryItem::new(key, shown))
            .collect(),
    };
    serde_json::to_string(&document).map_err(|error| error.to_string())
}
