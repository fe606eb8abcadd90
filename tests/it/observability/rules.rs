//! The rules: promtool takes them and tests them, every alert is explained, and clusters get the
//! same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{directory, is_documented, list, page, string, text, yaml};

fn rules() -> Vec<Value> {
    let file = yaml("prometheus/rules.yaml");
    list(&file["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]).to_vec())
        .collect()
}

/// Recorded series: name and query.
pub(super) fn records() -> Vec<(String, String)> {
    let record = |rule: &Value| {
        Some((
            rule["record"].as_str()?.to_owned(),
            string(&rule["expr"]).to_owned(),
        ))
    };
    rules().iter().filter_map(record).collect()
}

/// Names of recorded series.
pub(super) fn recorded() -> BTreeSet<String> {
    records().into_iter().map(|(name, _)| name).collect()
}

/// Alerts: name and rule.
pub(super) fn alerts() -> BTreeMap<String, Value> {
    rules()
        .into_iter()
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule)))
        .collect()
}

/// What an alert compares, without its thresholds.
pub(super) fn compared(rule: &Value) -> Vec<String> {
    let part = |part: &str| match part
        .strip_prefix("absent(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => inner.to_owned(),
        None => {
            let operators = [" > ", " < ", " == "];
            let at = operators
                .iter()
                .find_map(|operator| part.rfind(operator))
                .expect("a comparison");
            assert!(
                part[at + 3..].chars().all(|c| " *.=0123456789".contains(c)),
                "{part}: with a number"
            );
            part[..at].to_owned()
        }
    };
    comparisons(rule).iter().map(|one| part(one)).collect()
}

/// The comparisons of an alert, without what joins them.
pub(super) fn comparisons(rule: &Value) -> Vec<String> {
    let flat = string(&rule["expr"]).split_whitespace().collect::<Vec<_>>();
    let flat = flat.join(" ").replace("( ", "").replace(" )", "");
    let parts = flat.split(" and ").flat_map(|part| part.split(" or "));
    parts.map(str::to_owned).collect()
}

/// The files of tests.
pub(super) const TESTS: [&str; 2] = ["rules.test.yaml", "objectives.test.yaml"];

/// The tests of all files.
pub(super) fn tests() -> Vec<Value> {
    let of = |file: &&str| list(&yaml(&format!("prometheus/{file}"))["tests"]).to_vec();
    TESTS.iter().flat_map(of).collect()
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool")
        .current_dir(directory().join("prometheus"))
        .args(arguments)
        .output();
    let output = output
        .expect("promtool runs: it is in Debian's package prometheus, which .ci/run installs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[test]
fn promtool_takes_them() {
    let said = promtool(&["check", "rules", "rules.yaml"]);
    assert!(
        said.contains(&format!("{} rules found", rules().len())),
        "{said}"
    );
    promtool(&["check", "config", "prometheus.yaml"]);
}

#[test]
fn promtool_tests_them() {
    let said = promtool(&[&["test", "rules"], &TESTS[..]].concat());
    assert_eq!(said.matches("SUCCESS").count(), TESTS.len(), "{said}");
}

/// Each alert fires in one of those tests; in another one, which has its series too, it does not;
/// and it does not before its time.
#[test]
fn each_alert_is_tested_both_ways() {
    let tests = tests();
    let mut fires: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for case in tests.iter().flat_map(|test| list(&test["alert_rule_test"])) {
        let counts = fires
            .entry(string(&case["alertname"]).to_owned())
            .or_default();
        counts[usize::from(list(&case["exp_alerts"]).is_empty())] += 1;
    }
    for (name, rule) in alerts() {
        let [fires, silent] = fires.remove(&name).unwrap_or_default();
        assert!(fires >= 1, "{name} never fires");
        assert!(
            silent >= if rule["for"].is_string() { 2 } else { 1 },
            "{name} is never silent"
        );
    }
    assert!(fires.is_empty(), "of no alert: {fires:?}");
}

/// Whoever is called learns which cluster and namespace it is, and which pod, if it is of one.
#[test]
fn alerts_keep_the_labels_of_their_place() {
    for case in tests()
        .iter()
        .flat_map(|test| list(&test["alert_rule_test"]))
    {
        let name = string(&case["alertname"]);
        for labels in list(&case["exp_alerts"])
            .iter()
            .map(|alert| &alert["exp_labels"])
            .filter(|_| name != "SealpostAbsent")
        {
            for label in ["cluster", "namespace", "job"] {
                assert!(labels[label].is_string(), "{name} has lost {label}");
            }
            let has_pod = labels["pod"].is_string();
            let is_whole = labels["objective"].is_string() || labels["lease"].is_string();
            assert_eq!(has_pod, !is_whole, "{name}: {labels}");
        }
    }
}

/// No rule drops the labels of a place by naming others: `by` has them, and `without` does not.
#[test]
fn aggregations_keep_cluster_and_namespace() {
    let places = ["cluster", "namespace", "job"];
    for rule in rules() {
        let query = string(&rule["expr"]);
        let kept = |open: &'static str| {
            let inner = query.split(open).skip(1);
            inner.filter_map(|rest| rest.split(')').next())
        };
        for by in kept(" by (") {
            let has = |place: &&str| by.split(", ").any(|label| label == *place);
            assert!(places.iter().all(has), "{query}");
        }
        for without in kept(" without (") {
            let dropped = without
                .split(", ")
                .find(|label| places.contains(label) || ["pod", "instance"].contains(label));
            assert_eq!(dropped, None, "{query}");
        }
        for open in ["sum(", "max(", "min(", "avg(", "count("] {
            assert!(!query.contains(open), "{query}: by what?");
        }
    }
}

/// Each alert says how bad it is, what happened, and where it is explained; the page explains no
/// other.
#[test]
fn each_alert_is_in_the_runbook() {
    let runbook = page("RUNBOOK.md");
    let explained: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let alerts = alerts();
    assert!(alerts.len() > 20, "{}", alerts.len());
    for (name, rule) in &alerts {
        assert!(
            ["critical", "warning", "info"].contains(&string(&rule["labels"]["severity"])),
            "{name}"
        );
        let annotations = &rule["annotations"];
        assert!(!string(&annotations["summary"]).is_empty(), "{name}");
        assert!(string(&annotations["description"]).contains('.'), "{name}");
        assert_eq!(
            annotations["runbook_url"],
            format!("docs/RUNBOOK.md#{}", name.to_lowercase()),
            "{name}"
        );
    }
    assert_eq!(explained, alerts.keys().map(String::as_str).collect());
}

/// The alerts and the recorded series that a text names. Queues on RabbitMQ have names of the same
/// form, modules in log lines nearly so.
fn named_rules(text: &str) -> BTreeSet<&str> {
    let queues = ["broker", "channel", "delay", "returned", "wait"];
    let is_alert = |word: &str| {
        let rest = word.strip_prefix("Sealpost");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let is_series = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        let is_series = |parts: &[&str]| parts[0] == "sealpost" && !parts.contains(&"");
        parts.len() == 3 && is_series(&parts) && !queues.contains(&parts[1])
    };
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let words = words.map(|word| word.trim_matches(':'));
    words
        .filter(|word| is_alert(word) || is_series(word))
        .collect()
}

/// What pages say of alerts and recorded series is about ones that there are.
#[test]
fn pages_name_rules_that_are_there() {
    assert_eq!(
        named_rules(
            "`sealpost:a_b:sum`, SealpostDown: sealpost:wait:4s, sealpost:1.0, sealpost::a"
        ),
        BTreeSet::from(["SealpostDown", "sealpost:a_b:sum"])
    );
    let (alerts, recorded) = (alerts(), recorded());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("a directory");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut named = 0;
    for path in pages.chain([root.join("README.md")]) {
        let written = fs::read_to_string(&path).expect("a page");
        for name in named_rules(&written) {
            named += 1;
            assert!(
                alerts.contains_key(name) || recorded.contains(name),
                "{} names {name}, which is in no rules file",
                path.display()
            );
        }
    }
    assert!(named > 60, "{named} are named");
}

/// Rules are made of what is documented; what is recorded is used.
#[test]
fn rules_are_of_documented_metrics() {
    for rule in rules() {
        is_documented(string(&rule["expr"]), &rule.to_string());
    }
    for name in recorded() {
        let uses = |rule: &Value| {
            rule["record"] != name.as_str() && super::series(string(&rule["expr"])).contains(&*name)
        };
        assert!(rules().iter().any(uses), "{name} is used by no rule");
    }
}

/// An alert that a certificate ends comes after cert-manager should have renewed it, so that it
/// does not come in vain.
#[test]
fn renewal_comes_before_the_alert() {
    let servers = directory().join("../kubernetes/certificates/servers");
    let hours = |path: std::path::PathBuf| -> Vec<u64> {
        let written = fs::read_to_string(path).expect("a file");
        let found = written.lines().filter_map(|line| {
            line.trim()
                .strip_prefix("renewBefore: ")?
                .strip_suffix("h0m0s")
        });
        found
            .map(|hours| hours.parse().expect("a number"))
            .collect()
    };
    let files = fs::read_dir(servers).expect("a directory");
    let renewed: Vec<u64> = files
        .flat_map(|file| hours(file.expect("a file").path()))
        .collect();
    assert_eq!(renewed.len(), 5, "{renewed:?}");
    let alert = alerts()
        .remove("SealpostServerCertificateExpires")
        .expect("an alert");
    let days = string(&alert["expr"])
        .split(" < ")
        .nth(1)
        .and_then(|number| number.strip_suffix(" * 86400"));
    let days: u64 = days.expect("days").parse().expect("a number");
    assert!(
        renewed.iter().all(|hours| *hours > days * 24),
        "{renewed:?}"
    );
}

/// The Prometheus operator gets the same groups.
#[test]
fn clusters_get_the_same_rules() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/monitoring/rules.yaml");
    let object: Value =
        serde_saphyr::from_str(&fs::read_to_string(path).expect("a file")).expect("YAML");
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(
        object["spec"]["groups"],
        yaml("prometheus/rules.yaml")["groups"]
    );
}

/// A Prometheus template's braces and a YAML file's quotes are easily mixed up.
#[test]
fn no_annotation_is_cut() {
    for line in text("prometheus/rules.yaml").lines() {
        assert_eq!(
            line.matches("{{").count(),
            line.matches("}}").count(),
            "{line}"
        );
    }
}
