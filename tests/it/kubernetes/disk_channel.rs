//! Channels on disk in a cluster: the kind DiskChannel with the rights of
//! `deploy/kubernetes/disk-channel` (contract 11.6 to 11.8), and InMemoryChannels on disk
//! (contract 11.4).

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::reconciled;
use crate::deploy::helm::variables_of;
use crate::support::cluster::objects::{channel, config_map, object, subscriber};
use crate::support::cluster::{Cluster, SYSTEM};
use crate::support::dispatcher::Dispatcher;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, binary, eventually};

const DISPATCHER: &str = "sealpost-disk-dispatcher";
const CONTROLLER: &str = "sealpost-disk-controller";
const KIND: &str = "DiskChannel";

async fn controller(cluster: &Cluster) -> Dispatcher {
    let pod = Pod::of_ours(cluster, CONTROLLER).await;
    let pod = pod.env("SEALPOST_ROLE", "controller");
    pod.env("SEALPOST_CHANNEL_KIND", KIND).start().await
}

fn text(volume: &TempDir) -> &str {
    volume.path().to_str().expect("a path")
}

async fn dispatcher(cluster: &Cluster, volume: &TempDir) -> Dispatcher {
    let pod = Pod::of_ours(cluster, DISPATCHER).await;
    let pod = pod.env("SEALPOST_CHANNEL_KIND", KIND);
    pod.env("SEALPOST_DATA_DIR", text(volume)).start().await
}

/// What Kubernetes writes about the pod of the dispatcher.
async fn endpoints(cluster: &Cluster) {
    let mut slice = object("EndpointSlice", &format!("{SYSTEM}/{DISPATCHER}-abc"));
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": DISPATCHER});
    slice["addressType"] = json!("IPv4");
    slice["endpoints"] = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]);
    cluster.apply(&slice).await;
}

fn is_ready(channel: &Value) -> bool {
    let conditions = channel["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn patient(url: &str) -> Value {
    let mut entry = subscriber("s", url);
    entry["delivery"] = json!({"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"});
    entry
}

/// Sends to a host name until it is accepted: queues are declared soon after they are configured.
async fn accepted(pod: &Dispatcher, host: &str, id: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let sent = event(&plain(), pod.http_url("/"), id).header("host", host);
        let sent = sent.send().await.expect("an answer");
        if sent.status() == 202 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{host} answers {}",
            sent.status()
        );
    }
}

/// Created, Ready with an address, a subscriber marked, an event to the address delivered; the
/// dispatcher is killed and nothing is lost; both have done no more than their roles allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_from_its_creation_to_its_events() {
    let (cluster, volume) = (Cluster::start().await, TempDir::new().expect("a directory"));
    cluster.namespace("team").await;
    let at = "team/feed";
    let _controller = controller(&cluster).await;
    let mut pod = dispatcher(&cluster, &volume).await;
    cluster.create(&object(KIND, at)).await;
    endpoints(&cluster).await;
    let ready = cluster.until(KIND, at, is_ready).await;
    let host = "feed-disk-kn-channel.team.svc.cluster.local";
    assert_eq!(ready["status"]["address"]["url"], format!("http://{host}"));
    let service = cluster.get("Service", "team/feed-disk-kn-channel").await;
    let service = service.expect("a Service");
    let owner = &service["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&json!(KIND), &ready["metadata"]["uid"])
    );
    assert_eq!(
        service["spec"]["externalName"],
        format!("{DISPATCHER}.{SYSTEM}.svc.cluster.local")
    );

    let closed = Subscriber::answering(|_| Reply::status(503)).await;
    let subscribed = |url: &str| json!({"spec": {"subscribers": [patient(url)]}});
    cluster.merge(KIND, at, &subscribed(&closed.url())).await;
    let marked = json!([{"uid": "uid-of-s", "observedGeneration": 1, "ready": "True"}]);
    cluster
        .until(KIND, at, |channel| {
            channel["status"]["subscribers"] == marked
        })
        .await;
    for id in ["1", "2", "3"] {
        accepted(&pod, host, id).await;
    }
    closed.until(1).await;
    pod.signal(Signal::KILL);
    pod.ended().await;
    let open = Subscriber::ok().await;
    cluster.merge(KIND, at, &subscribed(&open.url())).await;
    let _pod = dispatcher(&cluster, &volume).await;
    open.until(3).await;
    let got: BTreeSet<String> = open
        .received()
        .iter()
        .map(|it| it.id().to_owned())
        .collect();
    assert_eq!(got, BTreeSet::from(["1", "2", "3"].map(str::to_owned)));
    for account in [DISPATCHER, CONTROLLER] {
        let user = format!("system:serviceaccount:{SYSTEM}:{account}");
        let log = cluster.log().into_iter();
        let refused = log.filter(|entry| entry.user == user && [401, 403].contains(&entry.code));
        assert_eq!(refused.count(), 0, "{account}");
    }
}

/// From the chart to an event: pods with the variables that Helm renders serve a channel as soon as it
/// is created.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_the_chart_gets_events() {
    let (cluster, volume) = (Cluster::start().await, TempDir::new().expect("a directory"));
    let subscriber = Subscriber::ok().await;
    cluster.namespace("team").await;
    let begun = Instant::now();
    let mut pods = Vec::new();
    for name in [CONTROLLER, DISPATCHER] {
        let Some(variables) = variables_of(name, &["diskChannel.enabled=true"]) else {
            return;
        };
        let mut pod = Pod::of_ours(&cluster, name).await;
        for (name, value) in variables {
            pod = pod.env(&name, &value);
        }
        pods.push(pod.env("SEALPOST_DATA_DIR", text(&volume)).start().await);
    }
    let at = "team/feed";
    cluster.create(&object(KIND, at)).await;
    endpoints(&cluster).await;
    cluster.until(KIND, at, is_ready).await;
    let entry = json!({"spec": {"subscribers": [patient(&subscriber.url())]}});
    cluster.merge(KIND, at, &entry).await;
    cluster
        .until(KIND, at, |channel| {
            channel["status"]["subscribers"].is_array()
        })
        .await;
    let host = "feed-disk-kn-channel.team.svc.cluster.local";
    accepted(&pods[1], host, "from-a-chart").await;
    assert_eq!(subscriber.until(1).await[0].id(), "from-a-chart");
    println!("from the chart to the event: {:?}", begun.elapsed());
}

/// One process owns a volume: a second pod ends, and says who has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_pod_on_the_volume_ends() {
    let (cluster, volume) = (Cluster::start().await, TempDir::new().expect("a directory"));
    let pod = dispatcher(&cluster, &volume).await;
    let second = Pod::of_ours(&cluster, DISPATCHER).await;
    let second = second.env("SEALPOST_CHANNEL_KIND", KIND);
    let output = second.env("SEALPOST_DATA_DIR", text(&volume)).output();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let owner = format!("process {}", pod.id());
    assert!(
        told.contains(&owner) && told.contains(text(&volume)),
        "{told}"
    );
}

#[test]
fn the_kind_needs_a_directory() {
    let output = Command::new(binary())
        .args(["run", "--kubernetes", "--channel-kind", KIND])
        .env("SYSTEM_NAMESPACE", SYSTEM)
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told.contains("--data-dir") && told.contains("SEALPOST_DATA_DIR"),
        "{told}"
    );
}

/// Makes an InMemoryChannel with an annotation, and has it reconciled.
async fn served(cluster: &Cluster, at: &str, annotations: Value, subscribers: &[Value]) {
    let mut object = channel(at, subscribers);
    if let (Some(all), Value::Object(more)) = (
        object["metadata"]["annotations"].as_object_mut(),
        annotations,
    ) {
        all.extend(more);
    }
    let created = cluster.create(&object).await;
    let name = at.split('/').nth(1).expect("a name");
    let status = reconciled(name, &created["metadata"]["generation"]);
    cluster.merge_status("InMemoryChannel", at, &status).await;
}

/// The drop-in with a directory: a namespace's row and an annotation put channels on disk, whose
/// events outlive the process.
#[tokio::test(flavor = "multi_thread")]
async fn the_drop_in_keeps_channels_on_disk() {
    let (cluster, volume) = (Cluster::start().await, TempDir::new().expect("a directory"));
    for namespace in ["t", "team"] {
        cluster.namespace(namespace).await;
    }
    let rows = [
        ("default-backend", "memory"),
        ("namespaces", "team: disk\n"),
    ];
    cluster
        .create(&config_map("config-imc-backend", &rows))
        .await;
    let closed = Subscriber::answering(|_| Reply::status(503)).await;
    let entries = [patient(&closed.url())];
    served(&cluster, "team/a", json!({}), &entries).await;
    let on_disk = json!({"messaging.knative.dev/backend": "disk"});
    served(&cluster, "t/b", on_disk, &entries).await;
    let pod = async || {
        let pod = Pod::of(&cluster).await;
        pod.env("SEALPOST_DATA_DIR", text(&volume)).start().await
    };
    let mut first = pod().await;
    for at in ["team/a", "t/b"] {
        let deadline = Instant::now() + SOON;
        while send(&plain(), first.http_url(&format!("/{at}")), at).await != 202 {
            assert!(Instant::now() < deadline, "{at} takes nothing");
        }
    }
    closed.until(2).await;
    first.signal(Signal::KILL);
    first.ended().await;
    let open = Subscriber::ok().await;
    for at in ["team/a", "t/b"] {
        let patch = json!({"spec": {"subscribers": [patient(&open.url())]}});
        cluster.merge("InMemoryChannel", at, &patch).await;
    }
    let _second = pod().await;
    open.until(2).await;
}

/// Without a directory, a channel that is to be on disk is not served, and it is told why: durable
/// events are not kept in memory by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_directory_it_is_told_and_not_served() {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    let sink = Subscriber::ok().await;
    let on_disk = json!({"messaging.knative.dev/backend": "disk"});
    served(&cluster, "t/a", on_disk, &[subscriber("s", &sink.url())]).await;
    let pod = Pod::of(&cluster).await.listening().await;
    eventually("it is told", || {
        !pod.logged(&["SEALPOST_DATA_DIR"]).is_empty()
    })
    .await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 404);
    assert_eq!(sink.count(), 0);
}
