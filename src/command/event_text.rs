//! Lines about events, as people read them: of `tap` and of `explain`.

use serde_json::Value;

use crate::wire_text::WireText;

/// Where the word for what happened ends.
const WORD: usize = 12;

/// A line as text, with a line end; data follow it, indented.
pub(super) fn format_line(line: &Value) -> String {
    if text(line, "what") == "lines lost" {
        let lines = line.get("lines").and_then(Value::as_u64).unwrap_or(0);
        return format!("… {lines} lines lost: this reader is too slow for them\n");
    }
    let (time, what, id) = (short_time(line), text(line, "what"), text(line, "id"));
    let rest = match what.as_str() {
        "accepted" => accepted(line),
        "received" => format!(
            "for {}  {} from {}",
            place(line),
            text(line, "type"),
            text(line, "source")
        ),
        "attempt" => attempt(line),
        "wanted" => with_reason(wanted(line), line),
        "refused" => with_reason(refused(line), line),
        _ => with_reason(place(line), line),
    };
    format!("{time}  {what:WORD$}{id}  {rest}\n{}", data(line))
}

fn accepted(line: &Value) -> String {
    let (source, channel) = (text(line, "source"), place(line));
    let mut told = format!("{} from {source}  by {channel}", text(line, "type"));
    told.push_str(&arrival(line));
    let attributes = line.get("attributes").and_then(Value::as_object);
    for (name, value) in attributes.into_iter().flatten() {
        let value = WireText::new(value.as_str().unwrap_or_default());
        told.push_str(&format!("  {}={value}", WireText::new(name)));
    }
    told
}

fn refused(line: &Value) -> String {
    let status = line.get("status").and_then(Value::as_u64);
    let status = status.map_or_else(String::new, |status| format!("  {status}"));
    let told = format!("by {}{}{status}", place(line), arrival(line));
    // Of several events with one id, this is the one.
    match (text(line, "type"), text(line, "source")) {
        (kind, _) if kind.is_empty() => told,
        (kind, source) => format!("{kind} from {source}  {told}"),
    }
}

fn wanted(line: &Value) -> String {
    match text(line, "destination") {
        destination if destination.is_empty() => place(line),
        destination => format!("{}  to {destination}", place(line)),
    }
}

/// The way by which an event came, as far as it is known.
fn arrival(line: &Value) -> String {
    let by = [text(line, "via"), text(line, "by")];
    let by: Vec<&str> = by
        .iter()
        .map(String::as_str)
        .filter(|by| !by.is_empty())
        .collect();
    let mut told = String::new();
    if !by.is_empty() {
        told.push_str(&format!("  via {}", by.join(" of ")));
    }
    let peer = text(line, "peer");
    if !peer.is_empty() {
        told.push_str(&format!("  from {peer}"));
    }
    told
}

fn attempt(line: &Value) -> String {
    let number = line.get("attempt").and_then(Value::as_u64).unwrap_or(0);
    let status = line.get("status").and_then(Value::as_u64);
    let status = status.map_or_else(|| "no response".to_owned(), |status| status.to_string());
    let took = line.get("milliseconds").and_then(Value::as_f64);
    let stage = text(line, "stage");
    let told = format!(
        "{}  {stage} #{number}  {status}  {:.1} ms",
        place(line),
        took.unwrap_or(0.0)
    );
    with_reason(told, line)
}

fn with_reason(told: String, line: &Value) -> String {
    let reason = text(line, "reason");
    if reason.is_empty() {
        told
    } else {
        format!("{told}: {reason}")
    }
}

/// The subscription at which something happened, else the channel.
fn place(line: &Value) -> String {
    let subscription = text(line, "subscription");
    if subscription.is_empty() {
        text(line, "channel")
    } else {
        subscription
    }
}

/// The data, a line of theirs on each, if the line has some.
fn data(line: &Value) -> String {
    let field = |name: &str| line.get(name).and_then(Value::as_str);
    let Some(data) = field("data").or_else(|| field("data_base64")) else {
        return String::new();
    };
    let lines = data
        .lines()
        .map(|line| format!("    {}\n", super::printable(line)));
    let mut shown: String = lines.collect();
    let all = line.get("dataBytes").and_then(Value::as_u64).unwrap_or(0);
    if field("data").is_some_and(|data| (data.len() as u64) < all) {
        shown.push_str(&format!("    … of {all} bytes\n"));
    }
    shown
}

/// The time of day in UTC: the date is that of the reader, mostly.
fn short_time(line: &Value) -> String {
    let time = text(line, "time");
    match time.split_once('T') {
        Some((_date, time)) => format!("{time:13}"),
        None => time,
    }
}

fn text(line: &Value, name: &str) -> String {
    let text = line.get(name).and_then(Value::as_str);
    WireText::new(text.unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_line_has_the_id_and_the_word() {
        for (line, expected) in [
            (
                json!({"time": "2026-11-30T12:00:01.002Z", "what": "accepted", "id": "1", "source": "/s", "type": "t",
                    "channel": "broker default/br", "via": "http", "peer": "10.0.0.1", "attributes": {"subject": "a\u{1b}"}, "data": "{\n}", "dataBytes": 9}),
                "12:00:01.002Z  accepted    1  t from /s  by broker default/br  via http  from 10.0.0.1  subject=a\\u{1b}\n    {\n    }\n    … of 9 bytes\n",
            ),
            (
                json!({"time": "2026-11-30T12:00:01Z", "what": "attempt", "id": "1", "subscription": "trigger default/t",
                    "stage": "subscriber", "attempt": 2, "status": 503, "milliseconds": 1.25, "reason": "answered 503"}),
                "12:00:01Z      attempt     1  trigger default/t  subscriber #2  503  1.2 ms: answered 503\n",
            ),
            (
                json!({"time": "2026-11-30T12:00:01.1Z", "what": "dead letter", "id": "1", "subscription": "trigger default/t"}),
                "12:00:01.1Z    dead letter 1  trigger default/t\n",
            ),
            (
                json!({"time": "2026-11-30T12:00:01.1Z", "what": "refused", "id": "1", "channel": "channel default/c",
                    "via": "http", "peer": "10.0.0.1", "status": 401, "reason": "no token"}),
                "12:00:01.1Z    refused     1  by channel default/c  via http  from 10.0.0.1  401: no token\n",
            ),
            (
                json!({"time": "2026-11-30T12:00:01.1Z", "what": "refused", "id": "1", "source": "/s", "type": "t",
                    "channel": "channel default/c", "status": 400, "reason": "no"}),
                "12:00:01.1Z    refused     1  t from /s  by channel default/c  400: no\n",
            ),
            (
                json!({"time": "2026-11-30T12:00:01.1Z", "what": "wanted", "id": "1",
                    "subscription": "trigger default/t", "destination": "http://a/b", "reason": "ordered"}),
                "12:00:01.1Z    wanted      1  trigger default/t  to http://a/b: ordered\n",
            ),
            (
                json!({"what": "lines lost", "lines": 7}),
                "… 7 lines lost: this reader is too slow for them\n",
            ),
        ] {
            assert_eq!(format_line(&line), expected);
        }
    }
}
