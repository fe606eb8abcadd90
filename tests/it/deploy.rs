//! What `deploy/` holds is what Knative's control plane and Kubernetes expect, as far as files can
//! show it: every YAML is read and compared with the statements of the contract.

mod disk;
mod drop_in;
pub(crate) mod helm;
mod image;
mod kustomize;
mod objects;
mod package;
mod rabbitmq;
mod running;
mod surroundings;

use std::collections::BTreeSet;
use std::fs;

use objects::{Object, below, container, directory, keys, list, text, texts};
use serde_json::{Value, json};

/// Variables in manifests that are flags of parts which are still to come.
const TO_COME: &[&str] = &[];

/// What is sent to clusters, whole.
fn sent() -> Vec<Object> {
    below("kubernetes")
        .into_iter()
        .filter(|object| !object.is_kustomization() && !is_patch(object))
        .collect()
}

/// Parts of objects, which kustomize puts over the whole ones.
fn is_patch(object: &Object) -> bool {
    let patches = [
        "drop-in/imc-dispatcher/image.yaml",
        "drop-in/mt-broker/",
        "rabbitmq-backend/connection.yaml",
        "scaling/replicas.yaml",
        "scaling-keda/replicas.yaml",
        "priority/name",
        "disk-backend/volume.yaml",
        "disk-backend-claim/volume.yaml",
        "admin-socket/",
        "namespace-limits/mount.yaml",
    ];
    patches
        .iter()
        .any(|patch| object.file.starts_with(&format!("kubernetes/{patch}")))
}

fn deployments() -> Vec<Object> {
    sent().into_iter().filter(Object::runs_pods).collect()
}

#[test]
fn every_document_is_an_object() {
    // What is below `observability` is for other programs, which tests/it/observability.rs asks.
    let all: Vec<Object> = below("")
        .into_iter()
        .filter(|object| !object.file.starts_with("observability/"))
        .collect();
    assert!(all.len() > 60, "{}", all.len());
    for object in all {
        assert!(object.value["apiVersion"].is_string(), "{}", object.file);
        assert!(!object.kind().is_empty(), "{}", object.file);
        assert!(
            object.is_kustomization() || !object.name().is_empty(),
            "{}",
            object.file
        );
    }
}

/// Two objects of one kind, namespace and name would overwrite each other.
#[test]
fn no_object_stands_twice() {
    let mut seen = BTreeSet::new();
    for object in sent() {
        let namespace = object.value["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            seen.insert((
                object.kind().to_owned(),
                namespace,
                object.name().to_owned()
            )),
            "{}",
            object.what()
        );
    }
}

/// Contract 0.1: the system namespace is a matter of the manifests; here it is always the same one,
/// so that a kustomization can change it. Contract 6.1: the root is where cert-manager looks for
/// it.
#[test]
fn everything_is_in_the_system_namespace() {
    let cluster = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterIssuer",
        "CustomResourceDefinition",
        "Bundle",
        "PriorityClass",
    ];
    for object in sent() {
        let namespace = &object.value["metadata"]["namespace"];
        let expected = match object.kind() {
            kind if cluster.contains(&kind) => Value::Null,
            _ if object.name() == "knative-eventing-selfsigned-ca" => json!("cert-manager"),
            _ => json!("knative-eventing"),
        };
        assert_eq!(*namespace, expected, "{}", object.what());
    }
}

#[test]
fn everything_has_the_recommended_labels() {
    for object in sent() {
        let labels = &object.value["metadata"]["labels"];
        let name = text(&labels["app.kubernetes.io/name"]);
        assert!(
            ["knative-eventing", "sealpost"].contains(&name),
            "{}",
            object.what()
        );
        assert!(
            !text(&labels["app.kubernetes.io/component"]).is_empty(),
            "{}",
            object.what()
        );
        assert_eq!(
            name == "sealpost",
            labels["app.kubernetes.io/part-of"] == "knative-eventing",
            "{}",
            object.what()
        );
    }
}

/// Our images are of this version, with a tag; nobody else's is named.
#[test]
fn images_are_of_this_version() {
    let image = concat!("sealpost:", env!("CARGO_PKG_VERSION"));
    let with: Vec<Object> = below("kubernetes")
        .into_iter()
        .filter(Object::runs_pods)
        .collect();
    // Patches of something else name no image.
    let others = [
        "rabbitmq-backend/",
        "disk-backend/",
        "admin-socket/",
        "namespace-limits/",
    ];
    let is_other = |object: &Object| {
        let of = |part: &&str| object.file.starts_with(&format!("kubernetes/{part}"));
        others.iter().any(of)
    };
    let (patches, with): (Vec<Object>, Vec<Object>) = with.into_iter().partition(is_other);
    assert_eq!((patches.len(), with.len()), (6, 10));
    for object in with {
        assert_eq!(
            container(&object.value)["image"],
            image,
            "{}",
            object.what()
        );
    }
    for object in below("") {
        assert!(
            !object.value.to_string().contains(":latest"),
            "{}",
            object.what()
        );
    }
}

#[test]
fn no_secret_stands_in_a_file() {
    for object in below("kubernetes") {
        assert_ne!(object.kind(), "Secret", "{}", object.what());
        let written = object.value.to_string();
        assert!(!written.contains("PRIVATE KEY"), "{}", object.what());
        let user_and_password = |rest: &str| {
            rest.split('/')
                .next()
                .is_some_and(|host| host.contains('@'))
        };
        assert!(
            !written.split("://").skip(1).any(user_and_password),
            "{}",
            object.what()
        );
        let secret = |name: &str| {
            ["URI", "USERNAME", "PASSWORD", "TOKEN", "KEY"]
                .iter()
                .any(|word| name.contains(word))
        };
        if object.runs_pods() {
            for variable in list(&container(&object.value)["env"])
                .iter()
                .filter(|one| secret(text(&one["name"])) && !text(&one["name"]).ends_with("_FILE"))
            {
                assert_eq!(keys(variable), ["name", "valueFrom"], "{}", object.what());
                assert_eq!(
                    keys(&variable["valueFrom"]),
                    ["secretKeyRef"],
                    "{}",
                    object.what()
                );
            }
        }
    }
}

/// A variable that no flag knows would be set in vain.
#[test]
fn variables_are_flags() {
    let mut run = std::process::Command::new(crate::support::binary());
    let help = String::from_utf8(
        run.args(["run", "--help"])
            .output()
            .expect("it runs")
            .stdout,
    )
    .expect("text");
    let known = |name: &str| {
        ['=', ']']
            .iter()
            .any(|end| help.contains(&format!("[env: {name}{end}")))
    };
    let mut used = BTreeSet::new();
    for object in below("kubernetes").into_iter().filter(Object::runs_pods) {
        let env = list(&container(&object.value)["env"]).to_vec();
        used.extend(
            env.iter()
                .map(|one| text(&one["name"]).to_owned())
                .filter(|name| name.starts_with("SEALPOST_")),
        );
    }
    assert!(used.contains("SEALPOST_RABBITMQ_URI"));
    for name in &used {
        assert!(
            known(name) || TO_COME.contains(&name.as_str()),
            "{name} is no flag of `sealpost run`"
        );
    }
    for name in TO_COME {
        assert!(used.contains(*name), "{name} is used nowhere");
        assert!(!known(name), "{name} has come: take it off the list");
    }
}

/// Contract 1.3, 1.4, 1.8, 1.21: what holds for every Deployment of ours.
#[test]
fn deployments_are_hardened() {
    let all = deployments();
    assert_eq!(all.len(), 7);
    for object in all {
        let deployment = &object.value;
        let pod = &deployment["spec"]["template"]["spec"];
        let what = object.what();
        assert_eq!(
            deployment["metadata"]["labels"]["bindings.knative.dev/exclude"], "true",
            "{what}"
        );
        assert_eq!(pod["enableServiceLinks"], false, "{what}");
        for key in ["hostNetwork", "initContainers"] {
            assert!(pod.get(key).is_none(), "{what}: {key}");
        }
        // The volume belongs to the group of the image's user; elsewhere, nothing is said of users.
        let has_data = what.ends_with("sealpost-disk-dispatcher");
        let group = json!({"fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch"});
        let expected = if has_data { &group } else { &Value::Null };
        assert_eq!(&pod["securityContext"], expected, "{what}");
        let container = container(deployment);
        for key in ["command", "args"] {
            assert!(container.get(key).is_none(), "{what}: {key}");
        }
        // Nothing is written but the admin socket, which controllers do not have, and the data;
        // credentials are read.
        let (volumes, mut mounts) = if what.ends_with("-controller") {
            (Value::Null, Value::Null)
        } else if what.ends_with("sealpost-rabbitmq-dispatcher") {
            objects::socket_and_credentials()
        } else {
            objects::admin_socket()
        };
        if let Some(mounts) = mounts.as_array_mut().filter(|_| has_data) {
            mounts.push(json!({"name": "sealpost-data", "mountPath": "/data"}));
        }
        assert_eq!(
            (&pod["volumes"], &container["volumeMounts"]),
            (&volumes, &mounts),
            "{what}"
        );
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(container["securityContext"], expected, "{what}");
        let start = &container["startupProbe"];
        assert_eq!(
            (&start["periodSeconds"], &start["failureThreshold"]),
            (&json!(2), &json!(30)),
            "{what}"
        );
        let has_replicas = !what.ends_with("-controller") && !has_data;
        let spread = list(&pod["topologySpreadConstraints"]);
        assert_eq!(spread.len(), usize::from(has_replicas), "{what}");
        for constraint in spread {
            assert_eq!(
                constraint["labelSelector"], deployment["spec"]["selector"],
                "{what}"
            );
        }
        for (probe, delay) in [("readinessProbe", Value::Null), ("livenessProbe", json!(5))] {
            let probe = &container[probe];
            assert_eq!(probe["periodSeconds"], 2, "{what}");
            assert_eq!(probe["timeoutSeconds"], 1, "{what}");
            assert_eq!(probe["failureThreshold"], 3, "{what}");
            assert_eq!(probe["initialDelaySeconds"], delay, "{what}");
            assert_eq!(probe["httpGet"]["scheme"], "HTTP", "{what}");
        }
    }
}

/// A selector that misses its own pods is refused by the API server; one that two Deployments share
/// makes them fight.
#[test]
fn selectors_select_their_own_pods() {
    let all = deployments();
    for object in &all {
        let selector = &object.value["spec"]["selector"]["matchLabels"];
        for other in &all {
            let labels = &other.value["spec"]["template"]["metadata"]["labels"];
            let selected = keys(selector)
                .iter()
                .all(|key| labels[*key] == selector[*key]);
            assert_eq!(
                selected,
                object.name() == other.name(),
                "{} selects {}",
                object.what(),
                other.what()
            );
        }
    }
}

/// No right on everything of a kind of things, and none for a whole group.
#[test]
fn no_role_has_a_wildcard() {
    let roles: Vec<Object> = sent()
        .into_iter()
        .filter(|object| object.kind().ends_with("Role"))
        .collect();
    assert_eq!(roles.len(), 22);
    for role in roles {
        for rule in list(&role.value["rules"]) {
            let words = ["apiGroups", "resources", "verbs"]
                .iter()
                .flat_map(|key| texts(&rule[*key]));
            assert!(
                words.into_iter().all(|word| !word.contains('*')),
                "{}: {rule}",
                role.what()
            );
        }
    }
}

/// The page for operators names every directory, every right, and no file that is not there.
#[test]
fn the_page_is_complete() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/KUBERNETES.md"))
        .expect("a page");
    for object in below("kubernetes")
        .iter()
        .filter(|object| object.is_kustomization())
    {
        let place = object.file.trim_end_matches("/kustomization.yaml");
        assert!(
            page.contains(&format!("deploy/{place}")),
            "deploy/{place} is not in docs/KUBERNETES.md"
        );
    }
    for role in sent()
        .iter()
        .filter(|object| object.kind().ends_with("Role"))
    {
        for resource in list(&role.value["rules"])
            .iter()
            .flat_map(|rule| texts(&rule["resources"]))
        {
            assert!(
                page.contains(&format!("`{resource}`")),
                "{resource} of {} is not explained",
                role.what()
            );
        }
    }
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
    for (at, _) in page.match_indices("deploy/kubernetes") {
        let path = page[at..]
            .split(ends)
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        assert!(
            directory().join("..").join(path).exists(),
            "{path} is in docs/KUBERNETES.md, but not there"
        );
    }
    for block in page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
    {
        let read: Result<Vec<Value>, _> = serde_saphyr::from_multiple(block);
        assert!(read.is_ok(), "{block}");
    }
}
