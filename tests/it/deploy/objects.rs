//! The YAML of `deploy/`, read as a cluster would read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// One document of one file.
pub(super) struct Object {
    /// Path of the file below `deploy/`.
    pub(super) file: String,
    pub(super) value: Value,
}

impl Object {
    pub(super) fn kind(&self) -> &str {
        text(&self.value["kind"])
    }

    pub(super) fn name(&self) -> &str {
        text(&self.value["metadata"]["name"])
    }

    /// A file that tells kustomize what to do, and is never sent to a cluster.
    pub(super) fn is_kustomization(&self) -> bool {
        self.file.ends_with("kustomization.yaml")
    }

    /// True if it is what makes pods, or a part of it with containers.
    pub(super) fn runs_pods(&self) -> bool {
        let containers = &self.value["spec"]["template"]["spec"]["containers"];
        ["Deployment", "StatefulSet"].contains(&self.kind()) && containers.is_array()
    }

    /// For messages.
    pub(super) fn what(&self) -> String {
        format!("{}: {} {}", self.file, self.kind(), self.name())
    }
}

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// All documents of the YAML files below `deploy/` + `part`.
pub(super) fn below(part: &str) -> Vec<Object> {
    let mut files = Vec::new();
    yaml_files(&directory().join(part), &mut files);
    assert!(!files.is_empty(), "deploy/{part} has files");
    files.iter().flat_map(|path| documents(path)).collect()
}

fn yaml_files(path: &Path, found: &mut Vec<PathBuf>) {
    // Templates of the chart are no YAML; deploy/helm.rs asks Helm what they become.
    if path.ends_with("deploy/helm") {
        return;
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a directory");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths.iter().for_each(|path| yaml_files(path, found));
    } else if path
        .extension()
        .is_some_and(|extension| extension == "yaml")
    {
        found.push(path.to_owned());
    }
}

fn documents(path: &Path) -> Vec<Object> {
    let file = path
        .strip_prefix(directory())
        .expect("below deploy")
        .to_string_lossy()
        .into_owned();
    let content = fs::read_to_string(path).expect("text");
    let values: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&content);
    assert!(values.is_ok(), "{file}: {values:?}");
    values
        .expect("YAML")
        .into_iter()
        .map(|value| Object {
            file: file.clone(),
            value,
        })
        .collect()
}

/// The one object of this kind and name below `deploy/` + `part`.
pub(super) fn one(part: &str, kind: &str, name: &str) -> Value {
    let mut found: Vec<Value> = below(part)
        .into_iter()
        .filter(|object| {
            !object.is_kustomization() && object.kind() == kind && object.name() == name
        })
        .map(|object| object.value)
        .collect();
    assert_eq!(found.len(), 1, "{kind} {name} below deploy/{part}");
    found.remove(0)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

/// The keys of a map, sorted.
pub(super) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default();
    keys.sort_unstable();
    keys
}

/// The only container of a Deployment or StatefulSet.
pub(super) fn container(deployment: &Value) -> &Value {
    let containers = list(&deployment["spec"]["template"]["spec"]["containers"]);
    assert_eq!(containers.len(), 1, "{}", deployment["metadata"]["name"]);
    &containers[0]
}

/// A right for each verb on each resource: `verb group/resource`, with `=name` where it is for one
/// object only.
pub(super) fn rights(role: &Value) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in list(&role["rules"]) {
        let mut known = vec!["apiGroups", "resources", "verbs"];
        let names: Vec<String> = match rule.get("resourceNames") {
            None => vec![String::new()],
            Some(names) => texts(names).iter().map(|name| format!("={name}")).collect(),
        };
        known.push("resourceNames");
        assert!(keys(rule).iter().all(|key| known.contains(key)), "{rule}");
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.extend(
                        names
                            .iter()
                            .map(|name| format!("{verb} {group}/{resource}{name}")),
                    );
                }
            }
        }
    }
    rights
}

/// Rights from a table of `(group/resource, verbs)`.
pub(super) fn table(rows: &[(&str, &str)]) -> BTreeSet<String> {
    let row = |(resource, verbs): &(&str, &str)| {
        verbs
            .split(' ')
            .map(|verb| format!("{verb} {resource}"))
            .collect::<Vec<String>>()
    };
    rows.iter().flat_map(row).collect()
}

/// Checks that a binding gives this role to this ServiceAccount of the system namespace, and to
/// nobody else.
pub(super) fn binds(part: &str, kind: &str, name: &str, role: &str, account: &str) {
    let binding = one(part, kind, name);
    let role_kind = if kind == "ClusterRoleBinding" {
        "ClusterRole"
    } else {
        "Role"
    };
    let role = serde_json::json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role});
    assert_eq!(binding["roleRef"], role, "{name}");
    let subject = serde_json::json!([{"kind": "ServiceAccount", "name": account, "namespace": "knative-eventing"}]);
    assert_eq!(binding["subjects"], subject, "{name}");
}

/// Where the admin socket and the credentials of RabbitMQ are: volumes, and where these are mounted.
pub(super) fn socket_and_credentials() -> (Value, Value) {
    let items = ["username", "password"].map(|name| json!({"key": name, "path": name}));
    let volumes = json!([
        {"name": "sealpost-run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "rabbitmq-credentials", "secret": {"secretName": "sealpost-rabbitmq", "items": items}},
    ]);
    let mounts = json!([
        {"name": "sealpost-run", "mountPath": "/run/sealpost"},
        {"name": "rabbitmq-credentials", "mountPath": "/etc/sealpost/rabbitmq", "readOnly": true},
    ]);
    (volumes, mounts)
}

/// Where the admin socket is: a volume, and where that is mounted.
pub(super) fn admin_socket() -> (Value, Value) {
    let volume =
        json!([{"name": "sealpost-run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    (
        volume,
        json!([{"name": "sealpost-run", "mountPath": "/run/sealpost"}]),
    )
}
