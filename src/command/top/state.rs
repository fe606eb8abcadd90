//! The state of a subscription, as the dispatcher judges it, and its unfinished events.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StateLevel {
    #[default]
    Fine,
    Doubtful,
    Broken,
}

impl StateLevel {
    fn read(word: &str) -> Self {
        match word {
            "broken" => Self::Broken,
            "doubtful" => Self::Doubtful,
            _ => Self::Fine,
        }
    }
}

/// One thing that there is to say of the state of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateReason {
    pub(super) level: StateLevel,
    pub(super) word: String,
    /// More of it; empty if the word says all.
    pub(super) text: String,
}

/// What there is to say of a row, the worst first.
pub(super) fn read_reasons(row: &Value) -> Vec<StateReason> {
    let reasons = row.get("reasons").and_then(Value::as_array);
    let reasons = reasons.into_iter().flatten();
    let read = reasons.map(|reason| StateReason {
        level: StateLevel::read(text(reason, "level")),
        word: printable(text(reason, "word")),
        text: printable(text(reason, "text")),
    });
    read.collect()
}

/// The oldest events of a row that take long, each in words.
pub(super) fn read_unfinished(row: &Value) -> Vec<String> {
    let events = row.get("oldestUnfinished").and_then(Value::as_array);
    let events = events.into_iter().flatten();
    let described = events.map(|event| {
        let number = event.get("attempts").and_then(Value::as_u64);
        let number = number.unwrap_or(0).saturating_add(1);
        let when = match (text(event, "nextAttempt"), text(event, "underWaySince")) {
            ("", since) => format!("under way since {since}"),
            (next, _) => format!("at {next}"),
        };
        printable(&format!(
            "{} from {}: {}, attempt {number} {when}",
            text(event, "id"),
            text(event, "source"),
            text(event, "leg")
        ))
    });
    described.collect()
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
    let time = OffsetDateTime::parse(time, &Rfc3339).ok();
    time.map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_dispatcher_says_is_read() {
        let row = json!({
            "reasons": [
                {"level": "broken", "word": "Failing", "text": "answered\u{1b} 503"},
                {"level": "doubtful", "word": "Parked", "text": ""},
                {"level": "fine", "word": "Retrying"},
            ],
            "oldestUnfinished": [
                {"id": "1", "source": "/s", "leg": "subscriber", "attempts": 2, "nextAttempt": "T"},
                {"id": "2", "source": "/s", "leg": "reply", "attempts": 0, "underWaySince": "U"},
            ],
        });
        let reasons = read_reasons(&row);
        let levels: Vec<_> = reasons.iter().map(|reason| reason.level).collect();
        assert_eq!(
            levels,
            [StateLevel::Broken, StateLevel::Doubtful, StateLevel::Fine]
        );
        assert_eq!(reasons[0].word, "Failing");
        assert!(!reasons[0].text.contains('\u{1b}'), "{reasons:?}");
        assert_eq!(
            read_unfinished(&row),
            [
                "1 from /s: subscriber, attempt 3 at T",
                "2 from /s: reply, attempt 1 under way since U"
            ]
        );
        assert!(read_reasons(&json!({})).is_empty() && read_unfinished(&json!({})).is_empty());
    }
}
