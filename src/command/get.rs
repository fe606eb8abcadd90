//! `sealpost get`: what a running dispatcher serves.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::admin::Dispatcher;
use super::print;
use crate::cli::{GetOptions, Output, Resource};
use crate::wire_text::{self, WireText};

/// Asks the dispatcher and prints its answer.
///
/// # Errors
/// If it cannot be reached, or has no object of the name.
pub async fn run(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let list = fetch(options).await?;
    let mut items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(name) = &options.name {
        items.retain(|item| text(item, "/metadata/name") == name.as_str());
        if items.is_empty() {
            bail!("no {} named {name:?}{}", options.resource.as_str(), in_namespace(options));
        }
    }
    print(&render(options, items)?)?;
    Ok(ExitCode::SUCCESS)
}

fn in_namespace(options: &GetOptions) -> String {
    options.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in namespace {namespace}"))
}

async fn fetch(options: &GetOptions) -> anyhow::Result<Value> {
    let namespace = options.namespace.as_ref().map_or_else(String::new, |namespace| format!("?namespace={namespace}"));
    let dispatcher = Dispatcher::new(&options.admin)?;
    dispatcher.get(&format!("/api/v1/{}{namespace}", options.resource.as_str())).await
}

fn render(options: &GetOptions, mut items: Vec<Value>) -> anyhow::Result<String> {
    if options.output == Output::Table {
        return Ok(table(options.resource, &items));
    }
    let whole = match (options.name.is_some(), items.len()) {
        (true, 1) => items.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    };
    match options.output {
        Output::Yaml => Ok(serde_saphyr::to_string(&whole)?),
        Output::Json | Output::Table => Ok(wire_text::visible(&serde_json::to_string_pretty(&whole)?) + "\n"),
    }
}

/// Columns as kubectl's, as wide as they need to be.
fn table(resource: Resource, items: &[Value]) -> String {
    let columns = columns(resource);
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect()];
    rows.extend(items.iter().map(|item| columns.iter().map(|(_, pointer)| cell(item, pointer)).collect()));
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Titles, and where the values are.
fn columns(resource: Resource) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![("NAMESPACE", "/metadata/namespace"), ("NAME", "/metadata/name")];
    match resource {
        Resource::Channels | Resource::Brokers | Resource::Sequences | Resource::Parallels => {
            columns.push(("URL", "/status/address/url"));
        }
        Resource::Triggers => {
            columns.push(("BROKER", "/spec/broker"));
            columns.push(("SUBSCRIBER_URI", "/status/subscriberUri"));
            columns.push(("FILTER_ERRORS", "/status/annotations/sealpost.dev~1filter-errors"));
        }
        Resource::RequestReplies => {
            columns.push(("BROKER", "/spec/brokerRef/name"));
            columns.push(("URL", "/status/address/url"));
        }
        Resource::Subscriptions => {
            columns.push(("CHANNEL", "/spec/channel/name"));
            columns.push(("SUBSCRIBER_URI", "/status/physicalSubscription/subscriberUri"));
        }
    }
    columns.extend([("READY", "status"), ("REASON", "reason")]);
    columns
}

/// The value at a pointer, or of the `Ready` condition where the pointer is a plain name.
fn cell(item: &Value, pointer: &str) -> String {
    if pointer.starts_with('/') {
        return WireText::of(text(item, pointer)).into();
    }
    let conditions = item.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| text(condition, "/type") == "Ready");
    WireText::of(ready.map_or("", |ready| text(ready, &format!("/{pointer}")))).into()
}

fn text<'v>(item: &'v Value, pointer: &str) -> &'v str {
    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
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
        assert_eq!(table(Resource::Channels, &items), expected);
    }

    /// Whoever writes an object, or makes one fail, writes into no other cell and moves no cursor.
    #[test]
    fn a_table_shows_what_is_hidden() {
        let items = [json!({"metadata": {"namespace": "n\nn", "name": "c\u{202e}"}, "status": {
            "address": {"url": "x".repeat(5000)},
            "conditions": [{"type": "Ready", "status": "False", "reason": "\u{1b}[31mFine\u{9b}"}]}})];
        let table = table(Resource::Channels, &items);
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(table.contains("n\\nn  ") && table.contains("c\\u{202e}") && table.contains("\\u{1b}[31mFine\\u{9b}"));
        assert!(table.contains("bytes more)") && table.len() < 2000, "{table}");
    }
}
