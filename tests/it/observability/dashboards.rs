//! The dashboards: what Grafana needs to show them, and what their readers need to understand them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{directory, is_documented, list, string, text, yaml};

/// Names of the files.
pub(super) fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(directory().join("grafana")).expect("a directory");
    let names = files.map(|file| {
        file.expect("a file")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|name| name.ends_with(".json")).collect()
}

/// All of them: name of the file, and the dashboard.
pub(super) fn all() -> Vec<(String, Value)> {
    let read = |name: String| {
        let dashboard = serde_json::from_str(&text(&format!("grafana/{name}")));
        let dashboard = dashboard.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, dashboard)
    };
    names().into_iter().map(read).collect()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"])
        .iter()
        .filter(|panel| panel["type"] != "row")
}

fn variables(dashboard: &Value) -> &[Value] {
    list(&dashboard["templating"]["list"])
}

/// What a dashboard asks Prometheus, as it stands in the file: title and query.
pub(super) fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| {
        let title = string(&panel["title"]).to_owned();
        let targets = list(&panel["targets"]).to_vec();
        targets
            .into_iter()
            .map(move |target| (title.clone(), string(&target["expr"]).to_owned()))
    };
    let of_variable = |variable: &Value| {
        let query = string(&variable["query"]["query"]);
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner
            .and_then(|inner| inner.rsplit_once(", "))
            .expect("label_values(series, label)");
        (
            format!("${}", string(&variable["name"])),
            format!("count by ({label}) ({series})"),
        )
    };
    let asked = variables(dashboard)
        .iter()
        .filter(|variable| variable["type"] == "query")
        .map(of_variable);
    panels(dashboard)
        .flat_map(of_panel)
        .chain(asked)
        .chain(marks(dashboard))
        .collect()
}

/// What a dashboard marks on its panels, without the comparison that most of the time nothing
/// passes: name and query.
fn marks(dashboard: &Value) -> Vec<(String, String)> {
    let of = |mark: &Value| {
        let query = string(&mark["expr"]);
        let query = query.strip_suffix(" > 0").unwrap_or(query);
        (string(&mark["name"]).to_owned(), query.to_owned())
    };
    list(&dashboard["annotations"]["list"])
        .iter()
        .map(of)
        .collect()
}

#[test]
fn there_is_one_for_each_question() {
    let expected = [
        "channel.json",
        "objectives.json",
        "overview.json",
        "process.json",
        "rabbitmq.json",
        "subscription.json",
        "tls.json",
    ];
    assert_eq!(names(), expected.map(str::to_owned).into());
}

#[test]
fn panels_explain_themselves() {
    for (name, dashboard) in all() {
        assert!(panels(&dashboard).count() >= 10, "{name}");
        let mut seen = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = format!("{name}: {}", string(&panel["title"]));
            assert!(seen.insert(title.clone()), "{title} stands twice");
            assert!(
                string(&panel["description"]).ends_with('.'),
                "{title}: a description"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!string(&defaults["unit"]).is_empty(), "{title}: a unit");
            assert!(
                !list(&defaults["thresholds"]["steps"]).is_empty(),
                "{title}: thresholds"
            );
            assert_eq!(
                panel["datasource"],
                serde_json::json!({"type": "prometheus", "uid": "${datasource}"}),
                "{title}"
            );
            assert!(!list(&panel["targets"]).is_empty(), "{title}: queries");
        }
    }
}

/// Grafana finds a dashboard by its uid, and draws each panel at its place.
#[test]
fn dashboards_are_what_grafana_takes() {
    for (name, dashboard) in all() {
        assert_eq!(
            dashboard["uid"],
            format!("sealpost-{}", name.trim_end_matches(".json")),
            "{name}"
        );
        assert_eq!(dashboard["schemaVersion"], 39, "{name}: Grafana 11");
        assert_eq!(
            variables(&dashboard)[0]["type"],
            "datasource",
            "{name}: others need it"
        );
        assert_eq!(variables(&dashboard)[0]["name"], "datasource", "{name}");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(&dashboard["panels"]) {
            assert!(
                ids.insert(panel["id"].as_u64()),
                "{name}: ids are one's own"
            );
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
            assert!(x + w <= 24 && h > 0, "{name}: {}", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(
                    cells.insert(cell),
                    "{name}: {} covers another panel",
                    panel["title"]
                );
            }
        }
    }
}

/// The variables by which every dashboard is narrowed to a cluster, a namespace, a pod; and its
/// queries are.
#[test]
fn dashboards_are_of_a_place() {
    let places = ["cluster", "namespace", "job", "pod", "instance"];
    for (name, dashboard) in all() {
        let first = variables(&dashboard).iter().skip(1).zip(places);
        first.for_each(|(variable, place)| assert_eq!(variable["name"], place, "{name}"));
        for (title, query) in queries(&dashboard) {
            if title.starts_with('$') {
                continue;
            }
            // What is recorded of objects is of all pods together.
            let needed = if query.contains("sealpost:") { 3 } else { 5 };
            for place in &places[..needed] {
                let narrowed = format!("{place}=~\"${place}\"");
                assert!(query.contains(&narrowed), "{name}: {title}: {place}");
            }
        }
    }
}

/// Starts, new configurations and moves of the Lease are marked on every panel.
#[test]
fn dashboards_mark_starts_and_reloads() {
    for (name, dashboard) in all() {
        let marks: Vec<String> = marks(&dashboard)
            .into_iter()
            .map(|(mark, _)| mark)
            .collect();
        let expected = ["Started", "Configuration applied", "Lease moved"];
        assert_eq!(marks, expected, "{name}");
    }
}

/// Whoever sees a slow answer gets to a trace of one: panels of histograms ask for exemplars, which
/// the local Prometheus keeps, and the local Grafana leads from them to Jaeger.
#[test]
fn latencies_have_exemplars() {
    let mut asked = 0;
    for (name, dashboard) in all() {
        for target in panels(&dashboard).flat_map(|panel| list(&panel["targets"])) {
            let is_histogram = string(&target["expr"]).contains("_duration_seconds_bucket");
            assert_eq!(target["exemplar"] == true, is_histogram, "{name}: {target}");
            asked += usize::from(is_histogram);
        }
    }
    assert!(asked >= 7, "{asked}");
    let prometheus = yaml("compose.yaml")["services"]["prometheus"].clone();
    let keeps = |flag: &Value| flag == "--enable-feature=exemplar-storage";
    assert!(list(&prometheus["command"]).iter().any(keeps));
    let sources = yaml("grafana/provisioning/datasources/datasources.yaml");
    let sources = list(&sources["datasources"]);
    let jaeger = sources.iter().find(|one| one["type"] == "jaeger");
    let jaeger = &jaeger.expect("a datasource")["uid"];
    let leads = &sources[0]["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!(
        (&leads["name"], &leads["datasourceUid"]),
        (&"trace_id".into(), jaeger)
    );
}

/// A query names only variables of its dashboard, and a legend only labels that its query gives.
#[test]
fn variables_and_legends_are_there() {
    let words = |text: &str, before: &str| -> BTreeSet<String> {
        let rests = text.split(before).skip(1).map(str::to_owned);
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        rests
            .filter_map(|rest| rest.split(ends).next().map(str::to_owned))
            .collect()
    };
    for (name, dashboard) in all() {
        let known: BTreeSet<String> = variables(&dashboard)
            .iter()
            .map(|one| string(&one["name"]).to_owned())
            .collect();
        for (title, query) in queries(&dashboard) {
            let used = words(&query, "$")
                .into_iter()
                .filter(|word| !word.starts_with("__"));
            used.for_each(|word| assert!(known.contains(&word), "{name}: {title}: ${word}"));
        }
        for target in panels(&dashboard).flat_map(|panel| list(&panel["targets"])) {
            let query = string(&target["expr"]);
            for label in words(string(&target["legendFormat"]), "{{") {
                assert!(
                    super::labels(query).contains(label.as_str()),
                    "{name}: no {label} comes from {query}"
                );
            }
        }
    }
}

#[test]
fn queries_are_of_documented_metrics() {
    for (name, dashboard) in all() {
        queries(&dashboard)
            .iter()
            .for_each(|(title, query)| is_documented(query, &format!("{name}: {title}")));
    }
}

/// Links lead to dashboards that there are, with the variables that they have.
#[test]
fn links_lead_somewhere() {
    let all = all();
    let mut links = 0;
    for (name, dashboard) in &all {
        assert_eq!(
            dashboard["tags"],
            serde_json::json!(["sealpost"]),
            "{name}: the links of the others find it"
        );
        assert_eq!(
            dashboard["links"][0]["tags"], dashboard["tags"],
            "{name}: it links to the others"
        );
        let written = dashboard.to_string();
        for link in written
            .split("\"/d/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default())
        {
            let (uid, parameters) = link.split_once('?').expect("parameters");
            let (_, target) = all
                .iter()
                .find(|(_, one)| one["uid"] == uid)
                .unwrap_or_else(|| panic!("{name}: {link}"));
            let known: Vec<&str> = variables(target)
                .iter()
                .map(|one| string(&one["name"]))
                .collect();
            let given = parameters
                .split('&')
                .filter_map(|one| one.strip_prefix("var-")?.split('=').next());
            given.for_each(|variable| assert!(known.contains(&variable), "{name}: {link}"));
            links += 1;
        }
    }
    assert!(links >= 4, "{links}");
}

/// On a cluster they are ConfigMaps, one for each, none left out.
#[test]
fn kustomize_makes_a_config_map_of_each() {
    let kustomization = yaml("kustomization.yaml");
    let files = list(&kustomization["configMapGenerator"])
        .iter()
        .flat_map(|map| list(&map["files"]));
    let files: BTreeSet<String> = files
        .map(|file| string(file).trim_start_matches("grafana/").to_owned())
        .collect();
    assert_eq!(files, names());
    let Ok(output) = std::process::Command::new("kubectl")
        .arg("kustomize")
        .arg(directory())
        .output()
    else {
        eprintln!("no kubectl here: what kustomize makes of deploy/observability is not looked at");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rendered: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8_lossy(&output.stdout)).expect("YAML");
    assert_eq!(rendered.len(), names().len());
    for map in rendered {
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let (file, content) = map["data"]
            .as_object()
            .and_then(|data| data.iter().next())
            .expect("a file");
        assert_eq!(string(content), text(&format!("grafana/{file}")));
    }
}
