//! Reads the file of `--namespace-limits`: a YAML object with an entry for each namespace, and `*`
//! for each of the others.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::read::problem::{Problem, Severity, short};
use super::read::spelling::suggest_word;
use super::read::yaml::{ParsedDocument, parse_documents};
use crate::budget::{EventRate, LimitKind, NamespaceLimit, NamespaceLimitSet};
use crate::model::parse_byte_size;

/// Longest file that is read, in bytes: some ten thousand namespaces.
const LONGEST: u64 = 1 << 20;
/// The entry for namespaces that have none of their own.
const OTHERS: &str = "*";
/// The word that lifts a limit of `*`.
const NONE: &str = "none";
/// Most unfinished events: more than queues can count.
const MOST_EVENTS: u64 = 1_000_000_000;

/// The problem of a field, and its path.
struct FieldProblem {
    path: String,
    message: String,
}

/// Reads the text of a file of limits.
///
/// # Errors
/// If it cannot be read or is too long.
pub(crate) fn read_limits_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Reads the limits of namespaces in the text of this file.
///
/// # Errors
/// Gives every problem, with its line: of a file with a mistake, nothing is applied.
pub(crate) fn parse_namespace_limits(
    file: &str,
    text: &str,
) -> Result<NamespaceLimitSet, Vec<Problem>> {
    let of_file =
        |line, message: String| vec![Problem::of_file(Severity::Error, file, line, message)];
    let document = match parse_documents(text).as_slice() {
        [] => {
            let remedy = "it is empty: write an entry for each namespace, and \"*\" for the others";
            return Err(of_file(None, remedy.to_owned()));
        }
        [Ok(document)] => document.clone(),
        [Err(error)] => {
            let star = text.lines().any(|line| line.trim_start().starts_with('*'));
            let remedy = if star { "; write \"*\" in quotes" } else { "" };
            return Err(of_file(
                Some(error.line),
                format!("{}{remedy}", error.message),
            ));
        }
        _ => {
            return Err(of_file(
                None,
                "it has several documents: write one".to_owned(),
            ));
        }
    };
    let ParsedDocument { value, lines } = document;
    let Some(entries) = value.as_object() else {
        let remedy = "it is no object: write an entry for each namespace";
        return Err(of_file(lines.line_of_path(&value, ""), remedy.to_owned()));
    };
    read_entries(entries).map_err(|found| {
        let problem = |FieldProblem { path, message }: FieldProblem| Problem {
            field: path.clone(),
            ..Problem::of_file(
                Severity::Error,
                file,
                lines.line_of_path(&value, &path),
                message,
            )
        };
        found.into_iter().map(problem).collect()
    })
}

fn read_entries(entries: &Map<String, Value>) -> Result<NamespaceLimitSet, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let mut set = NamespaceLimitSet::default();
    // The others come first: what an entry does not set is theirs.
    if let Some(entry) = entries.get(OTHERS) {
        set.others = read_entry(OTHERS, entry, set.others, &mut problems);
    }
    for (namespace, entry) in entries.iter().filter(|(name, _)| *name != OTHERS) {
        if !is_namespace(namespace) {
            problems.push(FieldProblem {
                path: namespace.clone(),
                message: format!(
                    "{:?} is no name of a namespace: write a-z, 0-9 and -, or \"*\" for all others",
                    short(namespace)
                ),
            });
        }
        let limit = read_entry(namespace, entry, set.others, &mut problems);
        set.named.insert(namespace.clone(), limit);
    }
    if problems.is_empty() {
        Ok(set)
    } else {
        Err(problems)
    }
}

/// Reads the limits of one entry; `others` are those that it does not set.
fn read_entry(
    name: &str,
    entry: &Value,
    others: NamespaceLimit,
    problems: &mut Vec<FieldProblem>,
) -> NamespaceLimit {
    let mut limit = others;
    let Some(fields) = entry.as_object() else {
        problems.push(FieldProblem {
            path: name.to_owned(),
            message: format!("it has no limits: write {}", keys_text()),
        });
        return limit;
    };
    for (key, value) in fields {
        if let Err(message) = set_field(&mut limit, key, value) {
            problems.push(FieldProblem {
                path: format!("{name}.{key}"),
                message,
            });
        }
    }
    limit
}

fn set_field(limit: &mut NamespaceLimit, key: &str, value: &Value) -> Result<(), String> {
    let kinds = LimitKind::ALL.into_iter();
    let Some(kind) = kinds.clone().find(|kind| kind.key() == key) else {
        let meant = suggest_word(key, kinds.map(LimitKind::key));
        let keys = keys_text();
        return Err(match meant {
            Some(meant) => format!("is not known, did you mean {meant}? There are {keys}"),
            None => format!("is not known: there are {keys}"),
        });
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let is_none = text == NONE;
    match kind {
        LimitKind::BufferedBytes if is_none => limit.buffered_bytes = None,
        LimitKind::QueueCapacity if is_none => limit.queue_capacity = None,
        LimitKind::Rate if is_none => limit.rate = None,
        LimitKind::BufferedBytes => limit.buffered_bytes = Some(parse_bytes(&text)?),
        LimitKind::QueueCapacity => limit.queue_capacity = Some(parse_events(&text)?),
        LimitKind::Rate => limit.rate = Some(parse_rate(&text)?),
    }
    Ok(())
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes = parse_byte_size(text).ok().filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| {
        "is no size: write a number of bytes, such as 65536 or 64KiB or 10MiB, or none".to_owned()
    })
}

fn parse_events(text: &str) -> Result<usize, String> {
    let events = text
        .parse()
        .ok()
        .filter(|it| (1..=MOST_EVENTS).contains(it));
    let events = events.and_then(|events| usize::try_from(events).ok());
    events.ok_or_else(|| {
        format!("is no number of events: write one from 1 to {MOST_EVENTS}, or none")
    })
}

fn parse_rate(text: &str) -> Result<EventRate, String> {
    EventRate::parse(text).ok_or_else(|| {
        "is no rate: write events in a second, a minute or an hour, such as 100/s, 6000/m or \
         1000/h, or none"
            .to_owned()
    })
}

fn keys_text() -> String {
    LimitKind::ALL.map(LimitKind::key).join(", ")
}

/// True for a name that a namespace can have (a label of RFC 1123).
fn is_namespace(name: &str) -> bool {
    let is_within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_within)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NamespaceLimitSet, Vec<String>> {
        let read = parse_namespace_limits("limits.yaml", text);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_entry_has_its_limits_and_else_those_of_the_others() {
        let text = "team-a:\n  rate: 100/s\n  bufferedBytes: 2MiB\n\
                    \"*\":\n  rate: 6000/m\n  queueCapacity: 500\n\
                    free:\n  rate: none\n  queueCapacity: none\n";
        let set = read(text).expect("limits");
        let texts = |name| LimitKind::ALL.map(|kind| set.of_namespace(name).text(kind));
        assert_eq!(texts("team-a"), ["2097152", "500", "100/s"]);
        assert_eq!(texts("anybody"), ["none", "500", "6000/m"]);
        assert_eq!(texts("free"), ["none", "none", "none"]);
    }

    #[test]
    fn mistakes_have_their_line_and_a_remedy() {
        for (text, expected) in [
            ("a:\n  rate: 100\n", "limits.yaml:2: a.rate: is no rate"),
            ("a:\n  rate: 0/s\n", "limits.yaml:2: a.rate: is no rate"),
            (
                "a:\n  Rate: 1/s\n",
                "limits.yaml:2: a.Rate: is not known, did you mean rate?",
            ),
            (
                "\n\na:\n  bufferedBytes: 10MB\n",
                "limits.yaml:4: a.bufferedBytes: is no size",
            ),
            (
                "a:\n  bufferedBytes: 0\n",
                "limits.yaml:2: a.bufferedBytes: is no size",
            ),
            (
                "a:\n  queueCapacity: -1\n",
                "limits.yaml:2: a.queueCapacity: is no number",
            ),
            (
                "a:\n  queueCapacity:\n",
                "limits.yaml:2: a.queueCapacity: is no number",
            ),
            ("a:\n", "limits.yaml:1: a: it has no limits"),
            (
                "Team_A:\n  rate: 1/s\n",
                "limits.yaml:1: Team_A: \"Team_A\" is no name",
            ),
            ("*:\n  rate: 1/s\n", "write \"*\" in quotes"),
            ("- a\n", "it is no object"),
            ("", "limits.yaml: it is empty"),
            ("a: {rate: 1/s}\n---\nb: {rate: 1/s}\n", "several documents"),
        ] {
            let problems = read(text).expect_err(text);
            assert!(problems[0].contains(expected), "{text}: {problems:?}");
        }
        let all = read("a:\n  rate: x\nb:\n  rate: y\n").expect_err("two");
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_name_that_is_written_twice_is_a_mistake() {
        assert!(read("a:\n  rate: 1/s\na:\n  rate: 2/s\n").is_err());
    }
}
