//! What `deploy/observability/` holds: files that agree with each other, rules that promtool takes,
//! and queries that a real Prometheus answers about a real sealpost.

mod dashboards;
mod live;
mod prometheus;
mod rules;
mod rules_at_thresholds;
mod stack;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability")
}

fn text(path: &str) -> String {
    let path = directory().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name),
    )
    .expect("a page")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The series that a query is about: metrics of sealpost, upstream's, and recorded ones.
fn series(query: &str) -> BTreeSet<&str> {
    let beginnings = [
        "sealpost_",
        "sealpost:",
        "kn_eventing_",
        "http_server_",
        "http_client_",
        "process_",
    ];
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| {
            beginnings
                .iter()
                .any(|beginning| word.starts_with(beginning))
        })
        .collect()
}

/// The labels that a query selects or groups by.
fn labels(query: &str) -> BTreeSet<&str> {
    let between = |open: &'static str, close: char| {
        query
            .split(open)
            .skip(1)
            .filter_map(move |rest| rest.split(close).next())
            .flat_map(|part| part.split(','))
    };
    let selected = between("{", '}').filter_map(|part| part.split(['=', '!']).next());
    let grouped = between("by (", ')').chain(between("without (", ')'));
    let grouped = grouped.chain(between("on (", ')'));
    selected
        .chain(grouped)
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .collect()
}

/// Every metric and label of this query is documented, or recorded by a rule, or one that
/// Prometheus adds.
fn is_documented(query: &str, what: &str) {
    let (page, recorded) = (page("METRICS.md"), rules::recorded());
    for name in series(query) {
        let histogram = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name);
        let known = recorded.contains(name)
            || [name, histogram]
                .iter()
                .any(|name| page.contains(&format!("`{name}`")));
        assert!(known, "{what}: {name} is not in docs/METRICS.md");
    }
    for label in labels(query) {
        let own = ["cluster", "namespace", "pod", "job", "instance", "le"].contains(&label);
        assert!(
            own || page.contains(&format!("`{label}`")),
            "{what}: {label} is not in docs/METRICS.md"
        );
    }
}

#[test]
fn queries_are_understood() {
    let query = r#"sum by (a, b) (rate(sealpost_x_total{c="1",d!="2"}[5m])) / on (e) kn_eventing_y_bucket + sealpost:z:max + process_w"#;
    assert_eq!(
        series(query),
        BTreeSet::from([
            "kn_eventing_y_bucket",
            "process_w",
            "sealpost:z:max",
            "sealpost_x_total"
        ])
    );
    assert_eq!(labels(query), BTreeSet::from(["a", "b", "c", "d", "e"]));
}
