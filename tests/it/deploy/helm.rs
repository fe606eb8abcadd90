//! The chart, as Helm renders it: the objects of the kustomizations, and a dispatcher by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{container, directory, keys, list, text};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// Everything that there is as a kustomization, too.
const ALL: &[&str] = &[
    "knative.imcDispatcher.enabled=true",
    "knative.mtBrokerIngress.enabled=true",
    "knative.mtBrokerFilter.enabled=true",
    "rabbitmqChannel.enabled=true",
    "rabbitmqChannel.tokens=true",
    "rabbitmqBackend.enabled=true",
    "diskChannel.enabled=true",
    "diskChannel.tokens=true",
    "monitoring.enabled=true",
    "certificates.enabled=true",
    "namespaceLimits.*.bufferedBytes=32MiB",
    "namespaceLimits.*.queueCapacity=20000",
    "namespaceLimits.*.rate=500/s",
];

fn chart() -> PathBuf {
    directory().join("helm/sealpost")
}

/// The helm of this machine, or the one of tests/helm/fetch; nothing if there is neither.
fn helm(arguments: &[&str]) -> Option<Output> {
    let fetched = directory().join("../target/tools/bin/helm");
    let mut programs = [PathBuf::from("helm"), fetched].into_iter();
    let output = programs.find_map(|program| {
        let mut helm = Command::new(program);
        helm.args(arguments)
            .env("HELM_CACHE_HOME", std::env::temp_dir());
        helm.output().ok()
    });
    if output.is_none() {
        eprintln!("no helm here (tests/helm/fetch gets one): the chart is not rendered");
    }
    output
}

fn set<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|value| ["--set", *value]).collect()
}

fn documents(yaml: &[u8]) -> Vec<Value> {
    let read: Vec<Value> =
        serde_saphyr::from_multiple(std::str::from_utf8(yaml).expect("text")).expect("YAML");
    let objects = read.into_iter().filter(|value| !value.is_null());
    objects.collect()
}

/// What the chart becomes in the namespace of Knative; nothing without helm.
fn rendered(arguments: &[&str]) -> Option<Vec<Value>> {
    let chart = chart().display().to_string();
    let namespace = ["template", "sealpost", &chart, "-n", "knative-eventing"];
    let output = helm(&[&namespace, arguments].concat())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    Some(documents(&output.stdout))
}

/// Variables that the chart gives to the containers of the pods of this name, without those that
/// name places of the pod; nothing without helm.
pub(crate) fn variables_of(pods: &str, values: &[&str]) -> Option<Vec<(String, String)>> {
    let objects = rendered(&set(values))?;
    let mut named = objects.iter().filter(|it| it["metadata"]["name"] == pods);
    let pods = named.find(|object| runs_pods(object)).expect("pods");
    let variables = list(&container(pods)["env"]).iter();
    let of_all = variables.filter_map(|it| Some((it["name"].as_str()?, it["value"].as_str()?)));
    let of_all =
        of_all.filter(|(_, value)| !value.starts_with('/') && !value.starts_with("0.0.0.0"));
    Some(
        of_all
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Helm's own checks, with nothing that it finds doubtful.
#[test]
fn helm_finds_nothing_wrong() {
    let chart = chart().display().to_string();
    for values in [&[][..], ALL, &["standalone.enabled=true"]] {
        let lint = ["lint", "--strict", &chart];
        let Some(output) = helm(&[&lint, &set(values)[..]].concat()) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{values:?}: {said}");
    }
}

/// The labels and annotations by which Helm knows what is its own, which kustomize does not write.
fn without_helm(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    let labels = metadata["labels"].as_object_mut().expect("labels");
    for (label, value) in [
        ("app.kubernetes.io/managed-by", "Helm"),
        ("app.kubernetes.io/instance", "sealpost"),
        (
            "helm.sh/chart",
            concat!("sealpost-", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        assert_eq!(labels.remove(label).expect(label), value);
    }
    if let Some(annotations) = metadata.get_mut("annotations") {
        annotations
            .as_object_mut()
            .expect("annotations")
            .remove("helm.sh/resource-policy");
        if keys(annotations).is_empty() {
            metadata.remove("annotations");
        }
    }
    object
}

/// Objects by kind, namespace and name. What is a list with names is sorted: kustomize puts what a
/// patch adds before the rest, the chart puts it behind.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    for mut object in objects {
        let metadata = &object["metadata"];
        let name = format!(
            "{} {}/{}",
            text(&object["kind"]),
            metadata["namespace"].as_str().unwrap_or_default(),
            text(&metadata["name"])
        );
        if runs_pods(&object) {
            let pod = &mut object["spec"]["template"]["spec"];
            sort_by_name(&mut pod["containers"][0]["env"]);
            sort_by_name(&mut pod["containers"][0]["volumeMounts"]);
            sort_by_name(&mut pod["volumes"]);
        }
        assert!(named.insert(name.clone(), object).is_none(), "{name} twice");
    }
    named
}

fn runs_pods(object: &Value) -> bool {
    ["Deployment", "StatefulSet"].contains(&text(&object["kind"]))
}

fn sort_by_name(list: &mut Value) {
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(|one| text(&one["name"]).to_owned());
    }
}

/// What kustomize makes of these parts of deploy/kubernetes; nothing without kubectl.
fn kustomized(resources: &[&str], components: &[&str]) -> Option<Vec<Value>> {
    let overlay = tempfile::TempDir::new().expect("a directory");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(directory().join("kubernetes"))
        .arg(overlay.path())
        .status();
    assert!(copied.expect("cp runs").success());
    let paths = |parts: &[&str]| {
        let paths = parts.iter().map(|part| format!("kubernetes/{part}"));
        paths.collect::<Vec<String>>().join(", ")
    };
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{}]\ncomponents: [{}]\n",
        paths(resources),
        paths(components)
    );
    fs::write(overlay.path().join("kustomization.yaml"), kustomization).expect("written");
    let kubectl = Command::new("kubectl")
        .arg("kustomize")
        .arg(overlay.path())
        .output();
    let output = kubectl.ok()?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    Some(documents(&output.stdout))
}

/// One set of objects, whichever of the two makes it.
#[test]
fn the_chart_is_the_kustomizations() {
    let alone = "policies.enabled=false";
    let channel = ["rabbitmqChannel.enabled=true", alone];
    let drop_in = ["knative.imcDispatcher.enabled=true", alone];
    let with = |part: &[&'static str], more: &[&'static str]| [part, more].concat();
    let everything: &[&str] = &[
        "drop-in/complete",
        "rabbitmq-channel",
        "disk-channel",
        "policies",
        "monitoring",
        "certificates/servers",
    ];
    let additions: &[&str] = &[
        "rabbitmq-channel-tokens",
        "disk-channel-tokens",
        "rabbitmq-backend",
        "namespace-limits",
    ];
    let rabbitmq: &[&str] = &["rabbitmq-channel"];
    let dispatcher: &[&str] = &["drop-in/complete/imc-dispatcher.yaml"];
    let scaled = "rabbitmqChannel.dispatcher.autoscaling.by";
    let (by_time, by_depth) = (format!("{scaled}=cpu"), format!("{scaled}=keda"));
    let first = [
        "priorityClass.create=true",
        "pod.priorityClassName=sealpost",
    ];
    let in_pod = ["diskBackend.enabled=true", "diskBackend.claim=false"];
    let disk = ["diskChannel.enabled=true", alone];
    let rows: [(Vec<&str>, &[&str], &[&str]); 9] = [
        (ALL.to_vec(), everything, additions),
        (channel.to_vec(), rabbitmq, &[]),
        (disk.to_vec(), &["disk-channel"], &[]),
        (with(&disk, &first), &["disk-channel"], &["priority"]),
        (
            with(&drop_in, &in_pod[..1]),
            dispatcher,
            &["disk-backend-claim"],
        ),
        (with(&drop_in, &in_pod), dispatcher, &["disk-backend"]),
        (
            [&channel[..], &[&*by_time]].concat(),
            rabbitmq,
            &["scaling"],
        ),
        (
            [&channel[..], &[&*by_depth]].concat(),
            rabbitmq,
            &["scaling-keda"],
        ),
        (with(&channel, &first), rabbitmq, &["priority"]),
    ];
    for (values, resources, components) in rows {
        let (Some(chart), Some(kustomized)) =
            (rendered(&set(&values)), kustomized(resources, components))
        else {
            return;
        };
        let chart = by_name(chart.into_iter().map(without_helm).collect());
        let kustomized = by_name(kustomized);
        assert_eq!(
            chart.keys().collect::<Vec<_>>(),
            kustomized.keys().collect::<Vec<_>>(),
            "{values:?}"
        );
        for (name, object) in &chart {
            assert_eq!(*object, kustomized[name], "{name}");
        }
    }
}

/// Without a value, nothing is installed; each part brings what belongs to it, and no more.
#[test]
fn parts_are_had_alone() {
    let Some(nothing) = rendered(&[]) else {
        return;
    };
    assert_eq!(nothing.len(), 0, "{nothing:?}");
    for (part, workloads) in [
        (
            "knative.imcDispatcher.enabled=true",
            &["imc-dispatcher"][..],
        ),
        ("knative.mtBrokerFilter.enabled=true", &["mt-broker-filter"]),
        (
            "rabbitmqChannel.enabled=true",
            &[
                "sealpost-rabbitmq-controller",
                "sealpost-rabbitmq-dispatcher",
            ],
        ),
        (
            "diskChannel.enabled=true",
            &["sealpost-disk-controller", "sealpost-disk-dispatcher"],
        ),
        ("standalone.enabled=true", &["sealpost"]),
    ] {
        let objects = rendered(&set(&[part])).expect("helm is there");
        let named = |is_meant: &dyn Fn(&Value) -> bool| {
            let meant = objects.iter().filter(|object| is_meant(object));
            let mut names: Vec<&str> = meant
                .map(|object| text(&object["metadata"]["name"]))
                .collect();
            names.sort_unstable();
            names
        };
        let of = |kind: &str| named(&|object| object["kind"] == kind);
        assert_eq!(named(&runs_pods), workloads, "{part}");
        assert_eq!(of("NetworkPolicy"), workloads, "{part}");
        assert!(of("PodDisruptionBudget").len() <= workloads.len(), "{part}");
        assert_eq!(of("ServiceMonitor").len(), 0, "{part}");
    }
}

/// What is put over all pods reaches each of them.
#[test]
fn values_reach_every_pod() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = format!("image.repository=registry.example/s,image.digest={digest}");
    let over = [
        "image.pullPolicy=Always",
        "imagePullSecrets[0].name=pull",
        "pod.env[0].name=SEALPOST_CONCURRENCY",
        "pod.env[0].value=\"512\"",
        "systemEvents=ops/broker",
        "pod.nodeSelector.disk=fast",
        "pod.annotations.a=b",
        "pod.affinity.nodeAffinity.a=b",
        "pod.volumes[0].name=admin-token",
        "pod.volumes[0].secret.secretName=sealpost-admin",
        "pod.volumeMounts[0].name=admin-token",
        "pod.volumeMounts[0].mountPath=/etc/sealpost-admin",
        "standalone.enabled=true",
        "rabbitmqChannel.secretName=other",
        &image,
    ];
    let values = [ALL, &over].concat();
    let Some(objects) = rendered(&[&set(&values)[..], &["-n", "events"]].concat()) else {
        return;
    };
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let workloads: Vec<&Value> = objects.iter().filter(|object| runs_pods(object)).collect();
    assert_eq!(workloads.len(), 8);
    for deployment in workloads {
        let (pod, container) = (&deployment["spec"]["template"], container(deployment));
        assert_eq!(container["image"], format!("registry.example/s@{digest}"));
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "pull");
        assert_eq!(pod["spec"]["nodeSelector"]["disk"], "fast");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        let affinity = serde_json::json!({"nodeAffinity": {"a": "b"}});
        assert_eq!(pod["spec"]["affinity"], affinity);
        let secret = serde_json::json!({"secretName": "sealpost-admin"});
        let volume = serde_json::json!({"name": "admin-token", "secret": secret});
        assert_eq!(list(&pod["spec"]["volumes"]).last(), Some(&volume));
        let mount = serde_json::json!({"name": "admin-token", "mountPath": "/etc/sealpost-admin"});
        assert_eq!(list(&container["volumeMounts"]).last(), Some(&mount));
        let last = list(&container["env"]).last().expect("variables");
        assert_eq!(last["name"], "SEALPOST_CONCURRENCY");
        let told = serde_json::json!({"name": "SEALPOST_SYSTEM_EVENTS", "value": "ops/broker"});
        assert!(list(&container["env"]).contains(&told), "{container}");
        assert_eq!(deployment["metadata"]["namespace"], "events");
        let written = deployment.to_string();
        let renamed = text(&deployment["metadata"]["name"]) == "sealpost-rabbitmq-dispatcher";
        assert_eq!(written.contains("\"secretName\":\"other\""), renamed);
    }
    for binding in of_kind("ClusterRoleBinding").chain(of_kind("RoleBinding")) {
        assert_eq!(binding["subjects"][0]["namespace"], "events", "{binding}");
    }
    for certificate in of_kind("Certificate") {
        let names = certificate["spec"]["dnsNames"].to_string();
        assert!(names.contains(".events.svc.cluster.local"), "{names}");
    }
}

/// Limits of namespaces reach what keeps events, and nothing else; a change is followed, since the
/// whole ConfigMap is mounted.
#[test]
fn limits_reach_what_keeps_events() {
    let values = set(&[ALL, &["standalone.enabled=true"]].concat());
    let Some(objects) = rendered(&values) else {
        return;
    };
    let file = "/etc/sealpost/namespace-limits/limits.yaml";
    let told = serde_json::json!({"name": "SEALPOST_NAMESPACE_LIMITS", "value": file});
    let has = |object: &&Value| list(&container(object)["env"]).contains(&told);
    let workloads = objects.iter().filter(|object| runs_pods(object));
    let mut limited: Vec<&str> = workloads
        .filter(has)
        .map(|object| text(&object["metadata"]["name"]))
        .collect();
    limited.sort_unstable();
    assert_eq!(
        limited,
        [
            "imc-dispatcher",
            "sealpost",
            "sealpost-disk-dispatcher",
            "sealpost-rabbitmq-dispatcher"
        ]
    );
    let follows = |object: &Value| !object.to_string().contains("subPath");
    assert!(objects.iter().all(follows));
}

/// Values that are refused, and what is told of them.
const WRONG: &[(&str, &str)] = &[
    ("image.tagg=1", "/image"),
    (
        "standalone.transportEncryption=stict",
        "/standalone/transportEncryption",
    ),
    (
        "rabbitmqChannel.dispatcher.autoscaling.by=gpu",
        "/autoscaling/by",
    ),
    (
        "rabbitmqChannel.enabled=true,rabbitmqChannel.dispatcher.autoscaling.by=cpu,\
         rabbitmqChannel.dispatcher.autoscaling.minReplicas=11",
        "minReplicas, 11, is more than maxReplicas, 10",
    ),
    ("standalone.manifests.demo=x", "/standalone/manifests"),
    ("standalone=null", "standalone"),
    (
        "standalone.enabled=true,standalone.replicas=2,standalone.persistence.enabled=true",
        "standalone.replicas",
    ),
    ("namespaceLimits.a.ratee=1/s", "/namespaceLimits/a"),
    ("namespaceLimits.a.rate=500", "/namespaceLimits/a/rate"),
    ("namespaceLimits.a.rate=0/s", "/namespaceLimits/a/rate"),
    (
        "namespaceLimits.a.bufferedBytes=10MB",
        "/namespaceLimits/a/bufferedBytes",
    ),
    (
        "namespaceLimits.a.queueCapacity=0",
        "/namespaceLimits/a/queueCapacity",
    ),
    ("pod.affinity.podAfinity.a=b", "/pod/affinity"),
    (
        "standalone.enabled=true,pod.volumes[0].name=state",
        "pod.volumes: there is already one with the name state",
    ),
    (
        "rabbitmqBackend.enabled=true",
        "knative.imcDispatcher.enabled",
    ),
    ("backend.default=disk", "diskBackend.enabled"),
    (
        "backend.namespaces.a=rabbitmq,diskBackend.enabled=true,knative.imcDispatcher.enabled=true",
        "rabbitmqBackend.enabled",
    ),
];

/// A value that is none, of a wrong kind, or against another one is told with its place.
#[test]
fn wrong_values_are_refused() {
    let chart = chart().display().to_string();
    for &(value, told) in WRONG {
        let Some(output) = helm(&["template", "r", &chart, "--set", value]) else {
            return;
        };
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value}");
        assert!(complaint.contains(told), "{value}: {complaint}");
    }
}

/// A release may be called what YAML reads as a number; and a dispatcher of its own is watched, too.
#[test]
fn a_name_stays_a_name() {
    let chart = chart().display().to_string();
    let value = "standalone.enabled=true,monitoring.enabled=true,standalone.tlsSecret=y";
    let Some(output) = helm(&["template", "1e5", &chart, "--set", value]) else {
        return;
    };
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    let objects = documents(&output.stdout);
    for object in &objects {
        assert!(text(&object["metadata"]["name"]).starts_with("1e5"));
    }
    for kind in ["PodMonitor", "PrometheusRule"] {
        assert!(objects.iter().any(|object| object["kind"] == kind));
    }
}

/// That this is an object of its kind, by the schema of Kubernetes: a field that the kind does not
/// have would be gone when it is read and written.
fn is_of<T: DeserializeOwned + Serialize>(object: &Value) {
    let read: Result<T, _> = serde_json::from_value(object.clone());
    let name = &object["metadata"]["name"];
    assert!(read.is_ok(), "{name}: {:?}", read.err());
    let mut written = serde_json::to_value(read.ok()).expect("JSON");
    // What is written says of claims in a StatefulSet what they are; Kubernetes knows.
    let claims = written.pointer_mut("/spec/volumeClaimTemplates");
    for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
        let claim = claim.as_object_mut().expect("a claim");
        claim.retain(|key, _| !["apiVersion", "kind"].contains(&key.as_str()));
    }
    assert_eq!(written, *object, "{name}");
}

/// Kinds of others, whose schemas are not here.
const OTHERS: &[&str] = &[
    "Bundle",
    "Certificate",
    "ClusterIssuer",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
    "TriggerAuthentication",
];

fn is_of_its_kind(object: &Value) -> bool {
    match text(&object["kind"]) {
        "ClusterRole" => is_of::<ClusterRole>(object),
        "ClusterRoleBinding" => is_of::<ClusterRoleBinding>(object),
        "ConfigMap" => is_of::<ConfigMap>(object),
        "CustomResourceDefinition" => is_of::<CustomResourceDefinition>(object),
        "Deployment" => is_of::<Deployment>(object),
        "HorizontalPodAutoscaler" => is_of::<HorizontalPodAutoscaler>(object),
        "NetworkPolicy" => is_of::<NetworkPolicy>(object),
        "PersistentVolumeClaim" => is_of::<PersistentVolumeClaim>(object),
        "PodDisruptionBudget" => is_of::<PodDisruptionBudget>(object),
        "PriorityClass" => is_of::<PriorityClass>(object),
        "Role" => is_of::<Role>(object),
        "RoleBinding" => is_of::<RoleBinding>(object),
        "Service" => is_of::<Service>(object),
        "ServiceAccount" => is_of::<ServiceAccount>(object),
        "StatefulSet" => is_of::<StatefulSet>(object),
        other => {
            assert!(OTHERS.contains(&other), "{other}: which schema?");
            return false;
        }
    }
    true
}

/// Every object of every kustomization has the fields of its kind in Kubernetes 1.33, and no others.
#[test]
fn kustomizations_are_of_their_kinds() {
    let known = super::sent()
        .iter()
        .filter(|object| is_of_its_kind(&object.value))
        .count();
    assert!(known > 50, "{known}");
}

#[test]
fn the_chart_is_of_its_kinds() {
    let more = [
        "standalone.enabled=true",
        "standalone.tlsSecret=tls",
        "standalone.rabbitmqSecret=r",
        "standalone.persistence.enabled=true",
        "standalone.persistence.storageClassName=fast",
        "standalone.transportEncryption=strict",
        "rabbitmqChannel.dispatcher.autoscaling.by=cpu",
        "priorityClass.create=true",
        "pod.nodeSelector.a=b",
    ];
    let Some(objects) = rendered(&set(&[ALL, &more].concat())) else {
        return;
    };
    let known = objects
        .iter()
        .filter(|object| is_of_its_kind(object))
        .count();
    assert!(known > 50, "{known}");
}

fn values(directory: &Path, yaml: &str) -> String {
    let file = directory.join("values.yaml");
    fs::write(&file, yaml).expect("written");
    file.display().to_string()
}

/// From values to an event: what the chart writes into the ConfigMap is served under the variables
/// that it gives to the container, which are flags.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_in_values_are_served() {
    let (directory, subscriber) = (
        tempfile::TempDir::new().expect("a directory"),
        Subscriber::ok().await,
    );
    let yaml = format!(
        "standalone:\n  enabled: true\n  transportEncryption: permissive\n  manifests:\n    demo.yaml:\n      \
         - {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, metadata: {{name: c}}}}\n      \
         - apiVersion: messaging.knative.dev/v1\n        kind: Subscription\n        metadata: {{name: s}}\n        \
         spec:\n          channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n          \
         subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    );
    let values = values(directory.path(), &yaml);
    let Some(objects) = rendered(&["-f", &values]) else {
        return;
    };
    let of_kind = |kind: &str| {
        let mut found = objects.iter().filter(|object| object["kind"] == kind);
        found.next().expect(kind)
    };
    let container = container(of_kind("Deployment"));
    assert_eq!(
        container["args"],
        serde_json::json!(["run", "-f", "/etc/sealpost/manifests"])
    );
    let mut builder = Dispatcher::of(text(&of_kind("ConfigMap")["data"]["demo.yaml"]));
    for variable in list(&container["env"]) {
        let (name, value) = (text(&variable["name"]), text(&variable["value"]));
        // Places of the pod and ports for everybody are not for this machine.
        if !value.starts_with('/') && !value.starts_with("0.0.0.0") {
            builder = builder.env(name, value);
        }
    }
    let dispatcher = builder.start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "from-a-chart").await,
        202
    );
    assert_eq!(subscriber.until(1).await[0].id(), "from-a-chart");
}
