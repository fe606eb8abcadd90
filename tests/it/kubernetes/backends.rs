//! InMemoryChannels on RabbitMQ (contract 11.4, 11.5).

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{reconciled, subscribe, until_marked};
use crate::support::cluster::Cluster;
use crate::support::cluster::objects::{channel, config_map, subscriber};
use crate::support::dispatcher::Dispatcher;
use crate::support::parked::Parked;
use crate::support::pod::Pod;
use crate::support::rabbitmq::{Client, namespace, shared};
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, eventually};

const BACKEND: &str = "messaging.knative.dev/backend";

async fn pod(cluster: &Cluster) -> Dispatcher {
    Pod::of(cluster)
        .await
        .env("SEALPOST_RABBITMQ_URI", &shared())
        .start()
        .await
}

/// Makes `at` (namespace and name), with an annotation if it is not null, and has it reconciled.
async fn served(cluster: &Cluster, at: &str, backend: Value, subscribers: &[Value]) {
    let mut object = channel(at, subscribers);
    if !backend.is_null() {
        object["metadata"]["annotations"][BACKEND] = backend;
    }
    let created = cluster.create(&object).await;
    let name = at.split('/').nth(1).expect("a name");
    let status = reconciled(name, &created["metadata"]["generation"]);
    cluster.merge_status("InMemoryChannel", at, &status).await;
}

/// Sends until it is accepted: queues are declared soon after they are configured.
async fn accepted(pod: &Dispatcher, at: &str, id: &str) {
    let deadline = Instant::now() + SOON;
    while send(&plain(), pod.http_url(&format!("/{at}")), id).await != 202 {
        assert!(Instant::now() < deadline, "{at} takes nothing");
    }
}

fn queue(at: &str, id: &str) -> String {
    let (namespace, name) = at.split_once('/').expect("a namespace and a name");
    format!("sealpost:channel:{namespace}:{name}:subscriber:{namespace}:{name}/{id}")
}

fn ids(subscriber: &Subscriber) -> Vec<String> {
    subscriber
        .received()
        .iter()
        .map(|event| event.id().to_owned())
        .collect()
}

/// Events of a channel on RabbitMQ outlive the process; of one in memory they do not. Which is
/// which is said by the annotation, the namespace's row, the default.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_chosen_by_config_map_and_annotation() {
    let (cluster, durable) = (Cluster::start().await, namespace());
    for namespace in ["t", &durable] {
        cluster.namespace(namespace).await;
    }
    let rows = [
        ("default-backend", "memory"),
        ("namespaces", &format!("{durable}: rabbitmq\n")),
    ];
    cluster
        .create(&config_map("config-imc-backend", &rows))
        .await;
    let sink = Subscriber::ok().await;
    let entries = [subscriber("s", &sink.url())];
    let (by_row, opted_out) = (format!("{durable}/a"), format!("{durable}/b"));
    // A name that no other test has in RabbitMQ.
    let annotated = format!("t/{durable}");
    served(&cluster, &by_row, Value::Null, &entries).await;
    served(&cluster, &opted_out, json!("memory"), &entries).await;
    served(&cluster, "t/plain", Value::Null, &entries).await;
    served(&cluster, &annotated, json!("rabbitmq"), &entries).await;
    let pod = pod(&cluster).await;
    for at in [&by_row, &opted_out, "t/plain", &annotated] {
        accepted(&pod, at, at).await;
    }
    sink.until(4).await;
    let uri = shared();
    assert_eq!(Client::ready(&uri, &queue(&by_row, "s")).await, Some(0));
    assert_eq!(Client::ready(&uri, &queue(&annotated, "s")).await, Some(0));
    assert_eq!(Client::ready(&uri, &queue(&opted_out, "s")).await, None);
    assert_eq!(Client::ready(&uri, &queue("t/plain", "s")).await, None);

    let backend = |text: &str| json!({"metadata": {"annotations": {BACKEND: text}}});
    cluster
        .merge("InMemoryChannel", &opted_out, &backend("tape"))
        .await;
    eventually("it is reported", || {
        !pod.logged(&["tape", "is no backend"]).is_empty()
    })
    .await;
    assert_eq!(
        send(&plain(), pod.http_url(&format!("/{opted_out}")), "5").await,
        202
    );
    sink.until(5).await;
    assert_eq!(
        Client::ready(&uri, &queue(&opted_out, "s")).await,
        None,
        "it stays where it is"
    );
}

/// What is in a queue when its channel moves is delivered, in both directions, to the subscriber as
/// it is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_moves_loses_nothing() {
    let (cluster, team) = (Cluster::start().await, namespace());
    cluster.namespace(&team).await;
    let at = format!("{team}/a");
    let closed = Subscriber::answering(|_| Reply::status(503)).await;
    let patient = |url: &str| {
        let mut entry = subscriber("s", url);
        entry["delivery"] =
            json!({"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"});
        entry
    };
    served(&cluster, &at, json!("rabbitmq"), &[patient(&closed.url())]).await;
    let pod = pod(&cluster).await;
    let backend = |text: &str| json!({"metadata": {"annotations": {BACKEND: text, "messaging.knative.dev/async-handler": "true"}}});
    let applied = || pod.logged(&["Configuration applied"]).len();
    accepted(&pod, &at, "on-rabbitmq").await;
    closed.until(1).await;

    let before = applied();
    cluster
        .merge("InMemoryChannel", &at, &backend("memory"))
        .await;
    eventually("it is in memory", || applied() > before).await;
    assert_eq!(
        send(&plain(), pod.http_url(&format!("/{at}")), "in-memory").await,
        202
    );
    let before = applied();
    cluster
        .merge("InMemoryChannel", &at, &backend("rabbitmq"))
        .await;
    eventually("it is on RabbitMQ", || applied() > before).await;
    accepted(&pod, &at, "on-rabbitmq-again").await;

    let open = Subscriber::ok().await;
    let patch = json!({"spec": {"subscribers": [patient(&open.url())]}});
    cluster.merge("InMemoryChannel", &at, &patch).await;
    open.until(3).await;
    let mut got = ids(&open);
    got.sort();
    assert_eq!(got, ["in-memory", "on-rabbitmq", "on-rabbitmq-again"]);
}

/// What was parked in a cluster is found by its name, as `parked list` shows it and without the
/// channel's, and goes back.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_looked_after() {
    let cluster = super::cluster().await;
    // A name that no other test has in RabbitMQ.
    let name = namespace();
    let at = format!("t/{name}");
    let sink =
        Subscriber::answering(|event| Reply::status(if event.number < 2 { 422 } else { 200 }))
            .await;
    served(
        &cluster,
        &at,
        json!("rabbitmq"),
        &[subscriber("s", &sink.url())],
    )
    .await;
    let directory = tempfile::TempDir::new().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let socket = socket.to_str().expect("a path");
    let pod = Pod::of(&cluster)
        .await
        .env("SEALPOST_RABBITMQ_URI", &shared())
        .env("SEALPOST_ADMIN_SOCKET", socket);
    let pod = pod.start().await;
    accepted(&pod, &at, "1").await;
    accepted(&pod, &at, "2").await;
    let (by_url, by_socket) = (
        Parked::with(&["--admin", &format!("http://{}", pod.admin)]),
        Parked::default().env("SEALPOST_ADMIN_SOCKET", socket),
    );
    let deadline = Instant::now() + SOON;
    while by_url.run(&["list"]).await.stdout != format!("subscriber {at}/s: 2\n") {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            by_url.run(&["list"]).await
        );
    }
    let shown = by_url.run(&["show", &format!("{at}/s")]).await;
    assert!(
        shown.stdout.contains("id 1, type") && shown.stdout.contains("id 2, type"),
        "{shown:?}"
    );
    assert_eq!(
        by_url.run(&["replay", "t/s"]).await.code,
        Some(1),
        "it is refused without a token"
    );
    assert_eq!(
        by_socket.run(&["replay", "t/s"]).await.stdout,
        format!("subscriber {at}/s: 2 replayed\n")
    );
    sink.until(4).await;
    assert_eq!(
        by_url.run(&["list", &format!("{at}/s")]).await.stdout,
        format!("subscriber {at}/s: 0\n")
    );
}

/// Contract 5.10, 11.5: a Trigger's Subscription is deleted and made anew, with another uid, under
/// the same name; a process is killed meanwhile. What was published before and after arrives, in
/// order.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_made_anew_finds_its_queue() {
    let cluster = super::cluster().await;
    // A name that no other test has in RabbitMQ.
    let name = namespace();
    let at = format!("t/{name}");
    let closed = Subscriber::answering(|_| Reply::status(503)).await;
    let entry = |uid: &str, url: &str| {
        let mut entry = subscriber("br-trigger", url);
        entry["uid"] = json!(uid);
        entry["delivery"] =
            json!({"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"});
        entry
    };
    served(
        &cluster,
        &at,
        json!("rabbitmq"),
        &[entry("first", &closed.url())],
    )
    .await;
    let pod = pod(&cluster).await;
    until_marked(&cluster, &name, &[("first", 1)]).await;
    for id in ["1", "2", "3"] {
        accepted(&pod, &at, id).await;
    }
    closed.until(3).await;
    subscribe(&cluster, &name, &[]).await;
    until_marked(&cluster, &name, &[]).await;
    assert_eq!(
        send(&plain(), pod.http_url(&format!("/{at}")), "gap").await,
        202,
        "to nobody, as upstream"
    );
    pod.signal(Signal::KILL);

    let pod = self::pod(&cluster).await;
    let open = Subscriber::ok().await;
    subscribe(&cluster, &name, &[entry("second", &open.url())]).await;
    until_marked(&cluster, &name, &[("second", 1)]).await;
    open.until(3).await;
    accepted(&pod, &at, "4").await;
    open.until(4).await;
    let got = ids(&open);
    assert_eq!(got.last().map(String::as_str), Some("4"));
    let mut before = got[..3].to_vec();
    before.sort();
    assert_eq!(before, ["1", "2", "3"]);
    let shown = pod.object("channels", &name).await;
    assert_eq!(
        shown["status"]["subscribers"],
        json!([{"uid": "second", "ready": "True"}])
    );
}

/// A channel that should be durable is not kept in memory by mistake: it is not served, and the
/// cluster is told.
#[tokio::test]
async fn without_rabbitmq_it_is_told_and_not_served() {
    let cluster = super::cluster().await;
    served(
        &cluster,
        "t/a",
        json!("rabbitmq"),
        &[subscriber("s", "http://localhost:1/")],
    )
    .await;
    served(&cluster, "t/b", Value::Null, &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    let told = cluster
        .until_logged("a Warning", |entry| entry.resource == "events")
        .await;
    let message = told.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("SEALPOST_RABBITMQ_URI"), "{message}");
    assert_eq!(told.body["type"], "Warning");
    assert_eq!(send(&plain(), pod.http_url("/t/b"), "1").await, 202);
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "2").await, 404);
    let channel = cluster
        .get("InMemoryChannel", "t/a")
        .await
        .expect("a channel");
    assert_eq!(channel["status"].get("subscribers"), None);
}
