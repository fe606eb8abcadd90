//! `sealpost get`: prints what a running dispatcher serves.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::admin::AdminClient;
use super::print;
use crate::cli::{GetOptions, GetOutput, GetResource};
use crate::wire_text::{self, WireText};

/// The pause between two looks at what is served.
const LOOK: Duration = Duration::from_secs(1);

/// Asks the dispatcher for its objects, and prints them.
///
/// # Errors
/// Fails if the dispatcher cannot be reached, or has no object of the name.
pub async fn run(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let dispatcher = AdminClient::new(&options.admin)?;
    if options.watch {
        tokio::select! {
            ended = watch_objects(options, &dispatcher) => ended?,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let items = fetch_objects(options, &dispatcher).await?;
    if let Some(name) = &options.name
        && items.is_empty()
    {
        bail!(
            "no {} named {name:?}{}",
            options.resource.as_str(),
            namespace_suffix(options)
        );
    }
    print(&render_objects(options, items)?)?;
    Ok(ExitCode::SUCCESS)
}

fn namespace_suffix(options: &GetOptions) -> String {
    options
        .scope
        .namespace()
        .map_or_else(String::new, |namespace| {
            format!(" in namespace {namespace}")
        })
}

/// The objects that are asked for, in the order of their names.
async fn fetch_objects(
    options: &GetOptions,
    dispatcher: &AdminClient,
) -> anyhow::Result<Vec<Value>> {
    let namespace = options
        .scope
        .namespace()
        .map_or_else(String::new, |namespace| format!("?namespace={namespace}"));
    let mut list = dispatcher
        .get(&format!("/api/v1/{}{namespace}", options.resource.as_str()))
        .await?;
    let items = list.get_mut("items").map(Value::take);
    let mut items = match items {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    if let Some(name) = &options.name {
        items.retain(|item| text(item, "/metadata/name") == name.as_str());
    }
    items.sort_by_cached_key(object_name);
    Ok(items)
}

/// Namespace, name and kind of an object, which no other one has.
fn object_name(item: &Value) -> [String; 3] {
    ["/metadata/namespace", "/metadata/name", "/kind"].map(|pointer| text(item, pointer).to_owned())
}

/// Prints the objects, then each that is new or has changed, and once more each that is gone, until
/// nobody reads that.
async fn watch_objects(options: &GetOptions, dispatcher: &AdminClient) -> anyhow::Result<()> {
    let mut known = BTreeMap::new();
    let mut widths = None;
    loop {
        let items = fetch_objects(options, dispatcher).await?;
        let now: BTreeMap<[String; 3], Value> = items
            .into_iter()
            .map(|item| (object_name(&item), item))
            .collect();
        let is_new = |(name, item): &(&[String; 3], &Value)| known.get(*name) != Some(*item);
        let mut changed: Vec<Value> = now
            .iter()
            .filter(is_new)
            .map(|(_, item)| item.clone())
            .collect();
        let gone = known.iter().filter(|(name, _)| !now.contains_key(*name));
        changed.extend(gone.map(|(_, item)| with_reason_gone(item.clone())));
        if !changed.is_empty() || widths.is_none() {
            let text = render_changed(options, &changed, &mut widths)?;
            if super::print_on(&text)?.is_break() {
                return Ok(());
            }
        }
        known = now;
        tokio::time::sleep(LOOK).await;
    }
}

/// An object that is not served any more, as its last line shows it.
fn with_reason_gone(mut item: Value) -> Value {
    let gone = json!([{ "type": "Ready", "status": "False", "reason": "Deleted" }]);
    if let Some(status) = item.get_mut("status") {
        status["conditions"] = gone;
    }
    item
}

/// Objects that have changed: lines of a table whose columns stay where they were, or one object
/// after the other.
fn render_changed(
    options: &GetOptions,
    items: &[Value],
    widths: &mut Option<Vec<usize>>,
) -> anyhow::Result<String> {
    match options.output {
        GetOutput::Table | GetOutput::Wide => {
            let columns = columns(options.resource, options.output);
            let is_first = widths.is_none();
            let mut rows = table_rows(&columns, items);
            let wide = rows.widths();
            let widths = widths.get_or_insert_with(|| vec![0; wide.len()]);
            for (width, now) in widths.iter_mut().zip(wide) {
                *width = now.max(*width);
            }
            if !is_first {
                rows.0.remove(0);
            }
            Ok(rows.render(widths))
        }
        GetOutput::Yaml => {
            let documents = items.iter().map(serde_saphyr::to_string);
            let documents: Result<Vec<_>, _> = documents.collect();
            let documents = documents?;
            Ok(documents
                .iter()
                .map(|document| format!("---\n{document}"))
                .collect())
        }
        GetOutput::Json => Ok(items
            .iter()
            .map(|item| wire_text::escape_json(&item.to_string()) + "\n")
            .collect()),
    }
}

fn render_objects(options: &GetOptions, mut items: Vec<Value>) -> anyhow::Result<String> {
    if matches!(options.output, GetOutput::Table | GetOutput::Wide) {
        let columns = columns(options.resource, options.output);
        let rows = table_rows(&columns, &items);
        return Ok(rows.render(&rows.widths()));
    }
    let whole = match (options.name.is_some(), items.len()) {
        (true, 1) => items.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    };
    match options.output {
        GetOutput::Yaml => Ok(serde_saphyr::to_string(&whole)?),
        GetOutput::Json | GetOutput::Table | GetOutput::Wide => {
            Ok(wire_text::escape_json(&serde_json::to_string_pretty(&whole)?) + "\n")
        }
    }
}

/// The cells of a table, line by line, with the titles first.
struct TableRows(Vec<Vec<String>>);

fn table_rows(columns: &[(&str, &str)], items: &[Value]) -> TableRows {
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    let mut rows: Vec<Vec<String>> = vec![titles.collect()];
    rows.extend(items.iter().map(|item| {
        let cells = columns.iter().map(|(_, pointer)| cell(item, pointer));
        cells.collect()
    }));
    TableRows(rows)
}

impl TableRows {
    /// The widths that the columns need.
    fn widths(&self) -> Vec<usize> {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }

    fn render(&self, widths: &[usize]) -> String {
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("   ").trim_end().to_owned() + "\n"
        };
        self.0.iter().map(line).collect()
    }
}

/// The title of each column, and the JSON pointer of its values.
fn columns(resource: GetResource, output: GetOutput) -> Vec<(&'static str, &'static str)> {
    let own: &[_] = match resource {
        GetResource::Channels
        | GetResource::Brokers
        | GetResource::Sequences
        | GetResource::Parallels => &[("URL", "/status/address/url")],
        GetResource::Triggers => &TRIGGER_COLUMNS,
        GetResource::RequestReplies => &REQUEST_REPLY_COLUMNS,
        GetResource::Subscriptions => &SUBSCRIPTION_COLUMNS,
    };
    let name = [
        ("NAMESPACE", "/metadata/namespace"),
        ("NAME", "/metadata/name"),
    ];
    let ready = [("READY", "status"), ("REASON", "reason")];
    let wide: &[_] = match (output, resource) {
        (GetOutput::Wide, GetResource::Channels | GetResource::Brokers) => &WIDE_CHANNEL_COLUMNS,
        (GetOutput::Wide, GetResource::Triggers) => &WIDE_TRIGGER_COLUMNS,
        (GetOutput::Wide, GetResource::Subscriptions) => &WIDE_SUBSCRIPTION_COLUMNS,
        (GetOutput::Wide, _) => &[MESSAGE],
        _ => &[],
    };
    [&name, own, &ready, wide].concat()
}

const MESSAGE: (&str, &str) = ("MESSAGE", "message");
const WIDE_CHANNEL_COLUMNS: [(&str, &str); 4] = [
    ("KIND", "/kind"),
    ("SUBSCRIBERS", "/status/subscribers"),
    ("DEAD_LETTER_SINK_URI", "/status/deadLetterSinkUri"),
    MESSAGE,
];
const WIDE_TRIGGER_COLUMNS: [(&str, &str); 2] = [
    ("DEAD_LETTER_SINK_URI", "/status/deadLetterSinkUri"),
    MESSAGE,
];
const WIDE_SUBSCRIPTION_COLUMNS: [(&str, &str); 3] = [
    ("REPLY_URI", "/status/physicalSubscription/replyUri"),
    (
        "DEAD_LETTER_SINK_URI",
        "/status/physicalSubscription/deadLetterSinkUri",
    ),
    MESSAGE,
];

const TRIGGER_COLUMNS: [(&str, &str); 3] = [
    ("BROKER", "/spec/broker"),
    ("SUBSCRIBER_URI", "/status/subscriberUri"),
    (
        "FILTER_ERRORS",
        "/status/annotations/sealpost.dev~1filter-errors",
    ),
];
const REQUEST_REPLY_COLUMNS: [(&str, &str); 2] = [
    ("BROKER", "/spec/brokerRef/name"),
    ("URL", "/status/address/url"),
];
const SUBSCRIPTION_COLUMNS: [(&str, &str); 2] = [
    ("CHANNEL", "/spec/channel/name"),
    (
        "SUBSCRIBER_URI",
        "/status/physicalSubscription/subscriberUri",
    ),
];

/// The value at a pointer, which is its length if it is a list; or, if the pointer is a plain name,
/// that field of the condition `Ready`.
fn cell(item: &Value, pointer: &str) -> String {
    if let Some(Value::Array(values)) = item.pointer(pointer) {
        return values.len().to_string();
    }
    if pointer.starts_with('/') {
        return WireText::new(text(item, pointer)).into();
    }
    let conditions = item
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ready = conditions
        .into_iter()
        .find(|condition| text(condition, "/type") == "Ready");
    WireText::new(ready.map_or("", |ready| text(ready, &format!("/{pointer}")))).into()
}

fn text<'v>(item: &'v Value, pointer: &str) -> &'v str {
    item.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render_table(resource: GetResource, items: &[Value]) -> String {
        let rows = table_rows(&columns(resource, GetOutput::Table), items);
        rows.render(&rows.widths())
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let items = [json!({"metadata": {"namespace": "default", "name": "c"},
            "status": {"address": {"url": "http://127.0.0.1:8080/default/c"}, "conditions": [{"type": "Addressable", "status": "Unknown"}, {"type": "Ready", "status": "True"}]}})];
        let expected = "\
NAMESPACE   NAME   URL                               READY   REASON
default     c      http://127.0.0.1:8080/default/c   True
";
        assert_eq!(render_table(GetResource::Channels, &items), expected);
    }

    /// Whoever writes an object, or makes one fail, writes into no other cell and moves no cursor.
    #[test]
    fn a_table_shows_what_is_hidden() {
        let items = [
            json!({"metadata": {"namespace": "n\nn", "name": "c\u{202e}"}, "status": {
            "address": {"url": "x".repeat(5000)},
            "conditions": [{"type": "Ready", "status": "False", "reason": "\u{1b}[31mFine\u{9b}"}]}}),
        ];
        let table = render_table(GetResource::Channels, &items);
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(
            table.contains("n\\nn  ")
                && table.contains("c\\u{202e}")
                && table.contains("\\u{1b}[31mFine\\u{9b}")
        );
        assert!(
            table.contains("bytes more)") && table.len() < 2000,
            "{table}"
        );
    }
}
