//! The tests of the rules stand close to each threshold: with one that is twice or half as high,
//! promtool sees each alert fail.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::rules::{self, TESTS, comparisons};
use super::text;

/// What is done to a threshold.
#[derive(Clone, Copy, Debug)]
enum ThresholdChange {
    Higher,
    Lower,
}

/// The comparison with another threshold; `None` if there is no such one.
fn changed(comparison: &str, change: ThresholdChange) -> Option<String> {
    let operator = [" > ", " < ", " == "]
        .into_iter()
        .find(|operator| comparison.contains(operator))?;
    let (left, right) = comparison.rsplit_once(operator)?;
    let zero: f64 = right
        .parse()
        .ok()
        .filter(|right: &f64| *right == 0.0)
        .unwrap_or(1.0);
    let right = match (zero == 0.0, operator, change) {
        (false, _, ThresholdChange::Higher) => format!("2 * {right}"),
        (false, _, ThresholdChange::Lower) => format!("0.5 * {right}"),
        (true, " == ", _) => "1".to_owned(),
        (true, _, ThresholdChange::Higher) => "1000000".to_owned(),
        (true, _, ThresholdChange::Lower) => "-1".to_owned(),
    };
    Some(format!("{left}{operator}{right}"))
}

/// The rules with one comparison of each alert changed, the one at this place; and the alerts that
/// have one there.
fn with_changed(place: usize, change: ThresholdChange) -> (String, BTreeSet<String>) {
    let (mut file, mut names) = (text("prometheus/rules.yaml"), BTreeSet::new());
    for (name, rule) in rules::alerts() {
        let Some(before) = comparisons(&rule).get(place).cloned() else {
            continue;
        };
        let Some(after) = changed(&before, change) else {
            continue;
        };
        let at = file.find(&format!("- alert: {name}\n")).expect("an alert");
        let (head, rest) = file.split_at(at);
        assert!(rest.contains(&before), "{name}: {before}");
        file = format!("{head}{}", rest.replacen(&before, &after, 1));
        names.insert(name);
    }
    (file, names)
}

/// The alerts of which promtool says that they are not as their tests expect.
fn failing(rules: &str) -> BTreeSet<String> {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("rules.yaml"), rules).expect("written");
    for file in TESTS {
        let tests = text(&format!("prometheus/{file}"));
        fs::write(directory.path().join(file), tests).expect("written");
    }
    let output = Command::new("promtool")
        .current_dir(directory.path())
        .args(["test", "rules"])
        .args(TESTS)
        .output();
    let output = output.expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("Unit Testing"), "{said}");
    let names = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("alertname: "));
    names
        .filter_map(|rest| rest.split([',', ' ']).next().map(str::to_owned))
        .collect()
}

/// What no test notices, of the comparisons at this place; and how many there are.
fn unnoticed(place: usize, change: ThresholdChange) -> (Vec<String>, usize) {
    let (rules, names) = with_changed(place, change);
    let failing = failing(&rules);
    let missed = names.difference(&failing);
    let missed = missed.map(|name| format!("{name}: {change:?} at {place}"));
    (missed.collect(), names.len())
}

#[test]
fn each_threshold_is_tested_on_both_sides() {
    let alerts = rules::alerts();
    let most = alerts.values().map(|rule| comparisons(rule).len()).max();
    let changes = [ThresholdChange::Higher, ThresholdChange::Lower];
    let tried = std::thread::scope(|scope| {
        let of_place = |place| changes.map(|change| scope.spawn(move || unnoticed(place, change)));
        let tries: Vec<_> = (0..most.expect("alerts")).flat_map(of_place).collect();
        let tried = tries.into_iter().map(|one| one.join().expect("tried"));
        tried.collect::<Vec<_>>()
    });
    let missed: Vec<&String> = tried.iter().flat_map(|(missed, _)| missed).collect();
    assert!(missed.is_empty(), "no test notices {missed:#?}");
    let seen: usize = tried.iter().map(|(_, seen)| seen).sum();
    assert!(seen > 100, "{seen}");
}

/// An alert that waits is tested just before its time: without the wait, each is noticed.
#[test]
fn each_wait_is_tested() {
    let file = text("prometheus/rules.yaml");
    let hasty: Vec<&str> = file
        .lines()
        .filter(|line| !line.starts_with("        for: "))
        .collect();
    let failing = failing(&hasty.join("\n"));
    let waiting = rules::alerts()
        .into_iter()
        .filter(|(_, rule)| rule["for"].is_string());
    let unnoticed: Vec<String> = waiting
        .map(|(name, _)| name)
        .filter(|name| !failing.contains(name))
        .collect();
    assert!(unnoticed.is_empty(), "no test notices {unnoticed:?}");
}
