//! What is wrong with a subscription, in the words of the status page.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::printable;

/// Seconds after a failed attempt for which a row counts as failing.
const RECENT: i64 = 60;
/// Seconds after an event was lost or dead-lettered for which that is shown.
const LONG_AGO: i64 = 3600;
/// Seconds before the end of a certificate from which it is shown, and from which it is bad.
const SOON: i64 = 21 * 24 * 3600;
const VERY_SOON: i64 = 7 * 24 * 3600;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StateLevel {
    #[default]
    Fine,
    Doubtful,
    Broken,
}

/// One reason for which a subscription needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateReason {
    pub(super) level: StateLevel,
    pub(super) word: &'static str,
    pub(super) text: String,
}

/// What is known of a row when it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct JudgedRow<'r> {
    pub(super) row: &'r Value,
    /// True if its channel is served here.
    pub(super) is_served: bool,
    /// Events that were delivered since the look before.
    pub(super) delivered: Option<u64>,
    /// Seconds since the epoch.
    pub(super) now: i64,
}

/// The reasons for which a row needs attention, the worst first.
pub(super) fn judge(judged: JudgedRow<'_>) -> Vec<StateReason> {
    let mut reasons = Vec::new();
    judge_readiness(judged, &mut reasons);
    for leg in ["subscriber", "reply", "deadLetterSink"] {
        judge_trust(judged, leg, &mut reasons);
    }
    judge_attempts(judged, &mut reasons);
    judge_outcomes(judged, &mut reasons);
    // The order of equal ones stays.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.level));
    reasons
}

fn judge_readiness(judged: JudgedRow<'_>, reasons: &mut Vec<StateReason>) {
    let ready = judged.row.get("ready").filter(|ready| !ready.is_null());
    let status = ready.map_or("", |ready| text(ready, "status"));
    let why = || {
        let parts = ["reason", "message"].map(|name| ready.map_or("", |ready| text(ready, name)));
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(": ")
    };
    match (status, ready.is_some()) {
        ("False", _) => push(reasons, StateLevel::Broken, "Not ready", &why()),
        ("True", _) | (_, false) => {}
        _ => push(reasons, StateLevel::Doubtful, "Not ready yet", &why()),
    }
    let has_counts = judged.row.get("counts").is_some_and(Value::is_object);
    if !has_counts && judged.is_served && status != "False" {
        let why = "no events are delivered".to_owned();
        push(reasons, StateLevel::Broken, "Not served", &why);
    }
}

fn judge_trust(judged: JudgedRow<'_>, leg: &str, reasons: &mut Vec<StateReason>) {
    let Some(to) = judged.row.get(leg).filter(|to| to.is_object()) else {
        return;
    };
    if text(to, "lock") == "https-nobody" {
        let why = format!("{leg}: nothing of its CACerts can be read, so nothing is sent");
        push(reasons, StateLevel::Broken, "No trust", &why);
    }
    let left = |name: &str| Some(seconds(text(to, name))? - judged.now);
    let (Some(first), Some(last)) = (left("firstNotAfter"), left("lastNotAfter")) else {
        return;
    };
    let days = first / 86400;
    let (level, word, why) = if last < 0 {
        (
            StateLevel::Broken,
            "Expired",
            "its CACerts have expired".to_owned(),
        )
    } else if first < 0 {
        let why = "a certificate of its CACerts has expired".to_owned();
        (StateLevel::Doubtful, "Certificate", why)
    } else if first < SOON {
        let level = if first < VERY_SOON {
            StateLevel::Broken
        } else {
            StateLevel::Doubtful
        };
        let why = format!("a certificate of its CACerts ends in {days} days");
        (level, "Certificate", why)
    } else {
        return;
    };
    push(reasons, level, word, &format!("{leg}: {why}"));
}

fn judge_attempts(judged: JudgedRow<'_>, reasons: &mut Vec<StateReason>) {
    let Some(error) = judged
        .row
        .get("lastError")
        .filter(|error| error.is_object())
    else {
        return;
    };
    let Some(at) = seconds(text(error, "time")) else {
        return;
    };
    if judged.now - at >= RECENT {
        return;
    }
    let why = format!(
        "{}: {} at {}",
        text(error, "leg"),
        text(error, "reason"),
        text(error, "destination")
    );
    let has_recovered = judged.has_recovered(text(error, "time"));
    if !has_recovered && judged.delivered.unwrap_or(0) == 0 {
        push(reasons, StateLevel::Broken, "Failing", &why);
    } else if !has_recovered {
        push(reasons, StateLevel::Doubtful, "Retrying", &why);
    }
}

fn judge_outcomes(judged: JudgedRow<'_>, reasons: &mut Vec<StateReason>) {
    let count = |name: &str| count(judged.row, name);
    let is_recent = |name: &str| {
        let at = seconds(text(judged.row, name));
        at.is_some_and(|at| judged.now - at < LONG_AGO)
    };
    if is_recent("lastLost") {
        let level = if judged.has_recovered(text(judged.row, "lastLost")) {
            StateLevel::Doubtful
        } else {
            StateLevel::Broken
        };
        let why = format!("{} since the start, nobody has them", count("lost"));
        push(reasons, level, "Lost events", &why);
    }
    if count("filterLimitExceeded") > 0 {
        let why = format!(
            "{} events did not pass: docs/FILTERS.md",
            count("filterLimitExceeded")
        );
        push(reasons, StateLevel::Doubtful, "Filter limit", &why);
    }
    if count("parked") > 0 {
        let why = format!("{} events now: sealpost parked list", count("parked"));
        push(reasons, StateLevel::Doubtful, "Parked", &why);
    }
    if is_recent("lastDeadLetter") {
        let why = format!("{} since the start", count("deadLettered"));
        push(reasons, StateLevel::Doubtful, "Dead letters", &why);
    }
}

impl JudgedRow<'_> {
    /// True if an event was delivered at this time or after it.
    fn has_recovered(&self, time: &str) -> bool {
        let success = instant(text(self.row, "lastSuccess"));
        matches!((success, instant(time)), (Some(success), Some(time)) if success >= time)
    }
}

fn push(reasons: &mut Vec<StateReason>, level: StateLevel, word: &'static str, text: &str) {
    let text = printable(text);
    reasons.push(StateReason { level, word, text });
}

/// A count of a row; 0 if it has none.
pub(super) fn count(row: &Value, name: &str) -> u64 {
    let counts = row.get("counts");
    let count = counts.and_then(|counts| counts.get(name));
    count.and_then(Value::as_u64).unwrap_or(0)
}

/// A text of an object; empty if it has none.
pub(super) fn text<'v>(of: &'v Value, name: &str) -> &'v str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The seconds since the epoch of a time by RFC 3339.
pub(super) fn seconds(time: &str) -> Option<i64> {
    instant(time).map(OffsetDateTime::unix_timestamp)
}

fn instant(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_worst_comes_first() {
        let now = seconds("2026-11-30T12:00:00Z").expect("a time");
        let error = json!({"time": "2026-11-30T11:59:30Z", "leg": "subscriber", "reason": "answered 503", "destination": "http://a/"});
        let words = |row: Value, delivered| {
            let judged = JudgedRow {
                row: &row,
                is_served: true,
                delivered,
                now,
            };
            let reasons = judge(judged);
            reasons.iter().map(|reason| reason.word).collect::<Vec<_>>()
        };
        for (row, delivered, expected) in [
            (json!({"counts": {}}), None, &[][..]),
            (json!({"counts": null}), None, &["Not served"]),
            (
                json!({"ready": {"status": "False", "reason": "X"}}),
                None,
                &["Not ready"],
            ),
            (
                json!({"ready": {"status": "Unknown"}, "counts": {}}),
                None,
                &["Not ready yet"],
            ),
            (
                json!({"counts": {"parked": 2}, "lastError": error}),
                Some(0),
                &["Failing", "Parked"],
            ),
            (
                json!({"counts": {}, "lastError": error}),
                Some(3),
                &["Retrying"],
            ),
            (
                json!({"counts": {}, "lastError": error, "lastSuccess": "2026-11-30T11:59:31Z"}),
                None,
                &[],
            ),
            (
                json!({"counts": {"lost": 1}, "lastLost": "2026-11-30T11:30:00Z"}),
                None,
                &["Lost events"],
            ),
            (
                json!({"counts": {"lost": 1}, "lastLost": "2026-11-30T10:30:00Z"}),
                None,
                &[],
            ),
            (
                json!({"counts": {}, "subscriber": {"firstNotAfter": "2026-12-02T00:00:00Z", "lastNotAfter": "2027-12-02T00:00:00Z"}}),
                None,
                &["Certificate"],
            ),
            (
                json!({"counts": {}, "reply": {"firstNotAfter": "2026-11-02T00:00:00Z", "lastNotAfter": "2026-11-02T00:00:00Z"}}),
                None,
                &["Expired"],
            ),
        ] {
            assert_eq!(words(row.clone(), delivered), expected, "{row}");
        }
    }
}
