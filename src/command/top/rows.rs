//! What was seen at one look: the rows of the table, and the process as a whole.

use std::collections::HashMap;

use serde_json::Value;

use super::super::printable;
use super::state::{StateLevel, StateReason, count, read_reasons, read_unfinished, seconds, text};

/// A Subscription or Trigger.
#[derive(Clone, Debug)]
pub(super) struct TopRow {
    pub(super) kind: String,
    /// `NAMESPACE/NAME`.
    pub(super) name: String,
    /// The channel or Broker that it is of.
    pub(super) group: String,
    pub(super) destination: String,
    pub(super) reasons: Vec<StateReason>,
    /// Its oldest events that take long, in words.
    pub(super) oldest_unfinished: Vec<String>,
    /// Events delivered in a second; `None` before the second look.
    pub(super) rate: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) unfinished: Option<u64>,
    pub(super) retries: u64,
    pub(super) dead_letters: u64,
    /// Events that are lost, since the start, or parked now.
    pub(super) lost: u64,
    pub(super) last_error: String,
    /// The time of the last error in seconds since the epoch; 0 if there was none.
    pub(super) error_time: i64,
    delivered: u64,
}

/// All that was seen at one look.
#[derive(Clone, Debug, Default)]
pub(super) struct TopSnapshot {
    pub(super) rows: Vec<TopRow>,
    /// One line about the process.
    pub(super) process: String,
    pub(super) is_ready: bool,
    /// True while events are refused, since a disk has no room for them.
    pub(super) is_disk_full: bool,
    /// The time of the dispatcher, by RFC 3339.
    pub(super) time: String,
    /// Number of errors of the configuration.
    pub(super) errors: usize,
    seconds: f64,
}

impl TopSnapshot {
    /// Reads the document of `/api/v1/status`; of one namespace, if one is given.
    pub(super) fn read(status: &Value, namespace: Option<&str>) -> Self {
        let time = text(status, "time");
        let now = seconds(time).unwrap_or_default();
        let groups = status.get("groups").and_then(Value::as_array);
        let mut rows = Vec::new();
        for group in groups.into_iter().flatten() {
            let subscriptions = group.get("subscriptions").and_then(Value::as_array);
            let shown = subscriptions.into_iter().flatten();
            let shown = shown.filter(|row| {
                namespace.is_none_or(|namespace| text(row, "namespace") == namespace)
            });
            rows.extend(shown.map(|row| TopRow::read(row, group)));
        }
        let process = status.get("process").unwrap_or(&Value::Null);
        let problems = status.get("problems").and_then(Value::as_array);
        let errors = problems.into_iter().flatten();
        Self {
            rows,
            process: process_line(process),
            is_ready: process.get("ready").and_then(Value::as_bool) == Some(true),
            is_disk_full: process.pointer("/disk/full").is_some_and(Value::is_string),
            time: printable(time),
            errors: errors
                .filter(|problem| text(problem, "severity") == "error")
                .count(),
            seconds: fractional_seconds(time, now),
        }
    }

    /// The same, with rates since the look before.
    pub(super) fn after(mut self, before: &Self) -> Self {
        let took = self.seconds - before.seconds;
        let known = before.rows.iter().map(|row| (row.key(), row.delivered));
        let known: HashMap<_, _> = known.collect();
        for row in &mut self.rows {
            if let Some(delivered) = known.get(&row.key())
                && took > 0.0
            {
                // A process that has begun anew has delivered less.
                let more = row.delivered.saturating_sub(*delivered);
                row.rate = Some(as_f64(more) / took);
            }
        }
        self
    }

    /// Number of rows that are broken, and that are doubtful.
    pub(super) fn attention(&self) -> [usize; 2] {
        [StateLevel::Broken, StateLevel::Doubtful]
            .map(|level| self.rows.iter().filter(|row| row.level() == level).count())
    }
}

impl TopRow {
    fn read(row: &Value, group: &Value) -> Self {
        let name = |of: &Value| format!("{}/{}", text(of, "namespace"), text(of, "name"));
        let to = ["subscriber", "reply"]
            .into_iter()
            .find_map(|leg| row.get(leg).filter(|to| to.is_object()));
        let error = row.get("lastError").unwrap_or(&Value::Null);
        let unfinished = row.pointer("/counts/unfinished");
        Self {
            kind: printable(text(row, "kind")),
            name: printable(&name(row)),
            group: printable(&format!("{} {}", text(group, "kind"), name(group))),
            destination: printable(to.map_or("", |to| text(to, "url"))),
            reasons: read_reasons(row),
            oldest_unfinished: read_unfinished(row),
            rate: None,
            in_flight: count(row, "inFlight"),
            unfinished: unfinished.and_then(Value::as_u64),
            retries: count(row, "retries"),
            dead_letters: count(row, "deadLettered"),
            lost: count(row, "lost") + count(row, "parked"),
            last_error: printable(text(error, "reason")),
            error_time: seconds(text(error, "time")).unwrap_or(0),
            delivered: count(row, "delivered"),
        }
    }

    fn key(&self) -> (String, String, String) {
        (self.kind.clone(), self.name.clone(), self.group.clone())
    }

    /// How bad the worst of its reasons is.
    pub(super) fn level(&self) -> StateLevel {
        let worst = self.reasons.first();
        worst.map_or(StateLevel::Fine, |reason| reason.level)
    }

    /// The state in a word or two.
    pub(super) fn word(&self) -> &str {
        let is_working = self.rate.is_some_and(|rate| rate > 0.0);
        match self.reasons.first().map(|reason| reason.word.as_str()) {
            // What was delivered between two looks the dispatcher may have no time of.
            Some("Idle") if is_working => "Working",
            Some(word) => word,
            None => "Not known",
        }
    }

    /// What is to be said of it at length: reasons with more than a word.
    pub(super) fn told(&self) -> impl Iterator<Item = &StateReason> {
        let reasons = self.reasons.iter();
        reasons.filter(|reason| !reason.text.is_empty() || reason.level > StateLevel::Fine)
    }
}

fn process_line(process: &Value) -> String {
    let mut line = format!(
        "sealpost {}  {} from {}",
        text(process, "version"),
        text(process, "role"),
        text(process, "configuration")
    );
    for name in ["missing", "unserved"] {
        let why = text(process, name);
        if !why.is_empty() {
            line.push_str("  ");
            line.push_str(why);
        }
    }
    printable(&line)
}

/// A time in seconds, as exact as it is told.
fn fractional_seconds(time: &str, whole: i64) -> f64 {
    let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits: String = fraction
        .chars()
        .take_while(char::is_ascii_digit)
        .take(9)
        .collect();
    let fraction = format!("0.{digits}0").parse::<f64>().unwrap_or(0.0);
    as_f64(u64::try_from(whole).unwrap_or(0)) + fraction
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times are far below 2^53"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}
