//! `sealpost get`: prints what a running dispatcher serves.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::admin::AdminClient;
use super::print;
use crate::cli::{GetOptions, GetOutput, GetResource};
use crate::wire_text::{self, WireText};

/// Asks the dispatcher for its objects, and prints them.
///
/// # Errors
/// Fails if the dispatcher cannot be reached, or has no object of the name.
pub async fn run(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let list = fetch_objects(options).await?;
    let mut items = list
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(name) = &options.name {
        items.retain(|item| text(item, "/metadata/name") == name.as_str());
        if items.is_empty() {
            bail!(
                "no {} named {name:?}{}",
                options.resource.as_str(),
                namespace_suffix(options)
            );
        }
    }
    print(&render_objects(options, items)?)?;
    Ok(ExitCode::SUCCESS)
}

fn namespace_suffix(options: &GetOptions) -> String {
    options
        .namespace
        .as_ref()
        .map_or_else(String::new, |namespace| {
            format!(" in namespace {namespace}")
        })
}

async fn fetch_objects(options: &GetOptions) -> anyhow::Result<Value> {
    let namespace = options
        .namespace
        .as_ref()
        .map_or_else(String::new, |namespace| format!("?namespace={namespace}"));
    let dispatcher = AdminClient::new(&options.admin)?;
    dispatcher
        .get(&format!("/api/v1/{}{namespace}", options.resource.as_str()))
        .await
}

fn render_objects(options: &GetOptions, mut items: Vec<Value>) -> anyhow::Result<String> {
    if options.output == GetOutput::Table {
        return Ok(render_table(options.resource, &items));
    }
    let whole = match (options.name.is_some(), items.len()) {
        (true, 1) => items.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    };
    match options.output {
        GetOutput::Yaml => Ok(serde_saphyr::to_string(&whole)?),
        GetOutput::Json | GetOutput::Table => {
            Ok(wire_text::escape_json(&serde_json::to_string_pretty(&whole)?) + "\n")
        }
    }
}

/// A table with the columns of `kubectl get`, each as wide as it needs to be.
fn render_table(resource: GetResource, items: &[Value]) -> String {
    let columns = columns(resource);
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    let mut rows: Vec<Vec<String>> = vec![titles.collect()];
    rows.extend(items.iter().map(|item| {
        let cells = columns.iter().map(|(_, pointer)| cell(item, pointer));
        cells.collect()
    }));
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths = (0..columns.len()).map(|column| width(column).unwrap_or(0));
    let widths: Vec<usize> = widths.collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The title of each column, and the JSON pointer of its values.
fn columns(resource: GetResource) -> Vec<(&'static str, &'static str)> {
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
    [&name, own, &ready].concat()
}

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

/// The value at a pointer, or, if the pointer is a plain name, that field of the condition `Ready`.
fn cell(item: &Value, pointer: &str) -> String {
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
