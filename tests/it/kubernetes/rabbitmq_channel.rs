//! The kind RabbitmqChannel: its dispatcher and its controller, with the rights of
//! `deploy/kubernetes/rabbitmq-channel` (contract 11.6 to 11.8).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::binary;
use crate::support::cluster::objects::{features, object, subscriber, tls_secret};
use crate::support::cluster::{Cluster, Entry, SYSTEM};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

const DISPATCHER: &str = "sealpost-rabbitmq-dispatcher";
const CONTROLLER: &str = "sealpost-rabbitmq-controller";
const KIND: &str = "RabbitmqChannel";

async fn controller(cluster: &Cluster) -> Dispatcher {
    Pod::of_ours(cluster, CONTROLLER)
        .await
        .env("SEALPOST_ROLE", "controller")
        .start()
        .await
}

async fn dispatcher(cluster: &Cluster) -> Dispatcher {
    let pod = Pod::of_ours(cluster, DISPATCHER)
        .await
        .env("SEALPOST_CHANNEL_KIND", KIND);
    pod.env("SEALPOST_RABBITMQ_URI", &shared()).start().await
}

/// What Kubernetes writes about the pods of the dispatcher.
async fn endpoints(cluster: &Cluster, ready: &str) {
    let mut slice = object("EndpointSlice", &format!("{SYSTEM}/{DISPATCHER}-abc"));
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": DISPATCHER});
    slice["addressType"] = json!("IPv4");
    slice["endpoints"] =
        json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": ready == "ready"}}]);
    cluster.apply(&slice).await;
}

/// A cluster with a namespace that no other test has in RabbitMQ.
async fn cluster() -> (Cluster, String) {
    let (cluster, namespace) = (Cluster::start().await, namespace());
    cluster.namespace(&namespace).await;
    (cluster, namespace)
}

fn condition<'v>(channel: &'v Value, ty: &str) -> &'v Value {
    let conditions = channel["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == ty)
        .unwrap_or(&Value::Null)
}

/// The columns of `kubectl get rabbitmqchannels`: ready, reason, URL.
fn columns(channel: &Value) -> (&str, &str, &str) {
    let ready = condition(channel, "Ready");
    (
        ready["status"].as_str().unwrap_or_default(),
        ready["reason"].as_str().unwrap_or_default(),
        channel["status"]["address"]["url"]
            .as_str()
            .unwrap_or_default(),
    )
}

async fn until_ready(cluster: &Cluster, at: &str) -> Value {
    cluster
        .until(KIND, at, |channel| columns(channel).0 == "True")
        .await
}

/// Created, Ready with an address, a subscriber marked, an event to the address delivered; the
/// dispatcher is killed and nothing is lost; both have done no more than their roles allow, and the
/// controller never touched the subscribers.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_from_its_creation_to_its_events() {
    let (cluster, namespace) = cluster().await;
    let at = format!("{namespace}/feed");
    let _controller = controller(&cluster).await;
    let mut pod = dispatcher(&cluster).await;
    let mut channel = object(KIND, &at);
    channel["spec"] = json!({"delivery": {"deadLetterSink": {"uri": "http://dls.example/"}}});
    cluster.create(&channel).await;
    let waiting = cluster
        .until(KIND, &at, |channel| columns(channel).0 == "False")
        .await;
    let host = format!("feed-rmq-kn-channel.{namespace}.svc.cluster.local");
    assert_eq!(
        columns(&waiting),
        (
            "False",
            "DispatcherEndpointsDoesNotExist",
            &*format!("http://{host}")
        )
    );
    endpoints(&cluster, "ready").await;
    let ready = until_ready(&cluster, &at).await;
    assert_eq!(columns(&ready), ("True", "", &*format!("http://{host}")));
    assert_eq!(
        ready["status"]["observedGeneration"],
        ready["metadata"]["generation"]
    );
    assert_eq!(ready["status"]["deadLetterSinkUri"], "http://dls.example/");
    assert_eq!(
        ready["metadata"]["annotations"]["messaging.knative.dev/subscribable"],
        "v1"
    );
    let service = cluster
        .get("Service", &format!("{namespace}/feed-rmq-kn-channel"))
        .await
        .expect("a Service");
    assert_eq!(
        service["spec"]["externalName"],
        format!("{DISPATCHER}.{SYSTEM}.svc.cluster.local")
    );
    assert_eq!(
        service["metadata"]["ownerReferences"][0]["uid"],
        ready["metadata"]["uid"]
    );

    let closed = Subscriber::answering(|_| Reply::status(503)).await;
    let entry = |url: &str| {
        let mut entry = subscriber("s", url);
        entry["delivery"] =
            json!({"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"});
        entry
    };
    cluster
        .merge(
            KIND,
            &at,
            &json!({"spec": {"subscribers": [entry(&closed.url())]}}),
        )
        .await;
    let marked = json!([{"uid": "uid-of-s", "observedGeneration": 1, "ready": "True"}]);
    cluster
        .until(KIND, &at, |channel| {
            channel["status"]["subscribers"] == marked
        })
        .await;
    for id in ["1", "2", "3"] {
        accepted(&pod, &host, id).await;
    }
    closed.until(1).await;
    pod.signal(Signal::KILL);
    pod.ended().await;
    let open = Subscriber::ok().await;
    cluster
        .merge(
            KIND,
            &at,
            &json!({"spec": {"subscribers": [entry(&open.url())]}}),
        )
        .await;
    let _pod = dispatcher(&cluster).await;
    open.until(3).await;
    let got: BTreeSet<String> = open
        .received()
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    assert_eq!(got, BTreeSet::from(["1", "2", "3"].map(str::to_owned)));
    let channel = until_ready(&cluster, &at).await;
    assert_eq!(
        channel["status"]["subscribers"], marked,
        "the controller has left it alone"
    );
    only_what_the_roles_allow(&cluster);
}

/// Sends to the host name of a channel until it is accepted: its queues are declared soon after it
/// is configured.
async fn accepted(pod: &Dispatcher, host: &str, id: &str) {
    let deadline = Instant::now() + crate::support::SOON;
    loop {
        let sent = event(&plain(), pod.http_url("/"), id)
            .header("host", host)
            .send()
            .await
            .expect("an answer");
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

fn only_what_the_roles_allow(cluster: &Cluster) {
    let of = |account: &str| {
        let user = format!("system:serviceaccount:{SYSTEM}:{account}");
        cluster
            .log()
            .into_iter()
            .filter(|entry| entry.user == user)
            .collect::<Vec<Entry>>()
    };
    for account in [DISPATCHER, CONTROLLER] {
        let refused: Vec<_> = of(account)
            .into_iter()
            .filter(|entry| [401, 403].contains(&entry.code))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
    let asked: BTreeSet<String> = of(CONTROLLER)
        .iter()
        .map(|entry| format!("{} {}/{}", entry.verb, entry.resource, entry.subresource))
        .collect();
    let allowed = [
        "list rabbitmqchannels/",
        "watch rabbitmqchannels/",
        "patch rabbitmqchannels/",
        "patch rabbitmqchannels/status",
        "list services/",
        "watch services/",
        // One that was made a moment ago, and has not been seen yet.
        "get services/",
        "create services/",
        "list endpointslices/",
        "watch endpointslices/",
        "list configmaps/",
        "watch configmaps/",
        "get configmaps/",
        "list secrets/",
        "watch secrets/",
        "get leases/",
        "create leases/",
        "update leases/",
    ];
    let more: Vec<_> = asked
        .iter()
        .filter(|line| !allowed.contains(&line.as_str()))
        .collect();
    assert!(more.is_empty(), "{more:?}");
    for patch in of(CONTROLLER)
        .iter()
        .filter(|entry| entry.subresource == "status")
    {
        assert_eq!(patch.body["status"].get("subscribers"), None, "{patch:?}");
    }
}

/// 4, 4.1, 4.8, 7.7, 1.16: modes, the Secret, audience and policies, endpoints, a dead letter sink
/// by reference; all live.
#[tokio::test]
async fn the_status_follows_its_surroundings() {
    let (cluster, namespace) = cluster().await;
    let at = format!("{namespace}/feed");
    endpoints(&cluster, "ready").await;
    let _controller = controller(&cluster).await;
    cluster.create(&object(KIND, &at)).await;
    let first = until_ready(&cluster, &at).await;
    let since = condition(&first, "Ready")["lastTransitionTime"].clone();

    cluster
        .apply(&features(&[("transport-encryption", "strict")]))
        .await;
    let missing = cluster
        .until(KIND, &at, |channel| {
            columns(channel).1 == "TLSSecretMissing"
        })
        .await;
    assert_eq!(
        missing["status"]["address"], first["status"]["address"],
        "the address stays"
    );
    let ca = Ca::new("rabbitmq");
    cluster
        .create(&tls_secret(
            &format!("{DISPATCHER}-server-tls"),
            &ca.issue(&["localhost"]),
            &ca.pem,
        ))
        .await;
    let strict = until_ready(&cluster, &at).await;
    assert_eq!(
        columns(&strict).2,
        format!("https://{DISPATCHER}.{SYSTEM}.svc.cluster.local/{namespace}/feed")
    );
    assert_eq!(strict["status"]["address"]["CACerts"], ca.pem);
    assert!(condition(&strict, "Ready")["lastTransitionTime"].as_str() >= since.as_str());

    let mut policy = object("EventPolicy", &format!("{namespace}/p"));
    policy["spec"] = json!({"to": [{"ref": {"apiVersion": "messaging.knative.dev/v1alpha1", "kind": KIND, "name": "feed"}}]});
    cluster.create(&policy).await;
    cluster
        .apply(&features(&[("authentication-oidc", "enabled")]))
        .await;
    let waiting = cluster
        .until(KIND, &at, |channel| {
            columns(channel).1 == "EventPoliciesNotReady"
        })
        .await;
    assert_eq!(
        waiting["status"]["address"]["audience"],
        format!("messaging.knative.dev/rabbitmqchannel/{namespace}/feed")
    );
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    cluster
        .merge_status("EventPolicy", &format!("{namespace}/p"), &ready)
        .await;
    let listed = until_ready(&cluster, &at).await;
    assert_eq!(listed["status"]["policies"][0]["name"], "p");

    endpoints(&cluster, "not ready").await;
    cluster
        .until(KIND, &at, |channel| {
            columns(channel).1 == "DispatcherEndpointsNotReady"
        })
        .await;
    endpoints(&cluster, "ready").await;
    until_ready(&cluster, &at).await;

    let reference = json!({"apiVersion": "v1", "kind": "Service", "name": "dls"});
    cluster
        .merge(
            KIND,
            &at,
            &json!({"spec": {"delivery": {"deadLetterSink": {"ref": reference}}}}),
        )
        .await;
    cluster
        .until(KIND, &at, |channel| {
            columns(channel).1 == "DeadLetterSinkNotResolved"
        })
        .await;
    let mut service = object("Service", &format!("{namespace}/dls"));
    service["spec"] = json!({"ports": [{"port": 80}]});
    cluster.create(&service).await;
    // Sinks are looked at from time to time, and whenever the channel changes.
    cluster
        .merge(
            KIND,
            &at,
            &json!({"metadata": {"labels": {"touched": "yes"}}}),
        )
        .await;
    let resolved = until_ready(&cluster, &at).await;
    assert_eq!(
        resolved["status"]["deadLetterSinkUri"],
        format!("http://dls.{namespace}.svc.cluster.local")
    );
    assert_eq!(
        condition(&resolved, "DeadLetterSinkResolved")["status"],
        "True"
    );
}

/// One controller writes; after a crash another one does within five seconds; what others have
/// undone is done again.
#[tokio::test]
async fn another_controller_takes_over() {
    let (cluster, namespace) = cluster().await;
    endpoints(&cluster, "ready").await;
    let first = controller(&cluster).await;
    cluster
        .create(&object(KIND, &format!("{namespace}/a")))
        .await;
    until_ready(&cluster, &format!("{namespace}/a")).await;
    let second = controller(&cluster).await;
    assert_eq!(second.admin_text("/readyz").await.0, 200);
    assert_eq!(second.admin_text("/healthz").await.0, 200);
    first.signal(Signal::KILL);
    let killed = Instant::now();
    cluster
        .create(&object(KIND, &format!("{namespace}/b")))
        .await;
    until_ready(&cluster, &format!("{namespace}/b")).await;
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );

    let at = format!("{namespace}/a");
    cluster
        .merge_status(KIND, &at, &json!({"conditions": null, "address": null}))
        .await;
    until_ready(&cluster, &at).await;
    let taken = format!("{namespace}/c");
    let mut service = object("Service", &format!("{taken}-rmq-kn-channel"));
    service["spec"] = json!({"ports": [{"port": 80}]});
    cluster.create(&service).await;
    cluster.create(&object(KIND, &taken)).await;
    let failed = cluster
        .until(KIND, &taken, |channel| {
            columns(channel).1 == "ChannelServiceFailed"
        })
        .await;
    assert_eq!(columns(&failed), ("False", "ChannelServiceFailed", ""));
}

/// A dispatcher of the kind without RabbitMQ is a mistake, and says so.
#[test]
fn the_kind_needs_rabbitmq() {
    let output = std::process::Command::new(binary())
        .args(["run", "--kubernetes", "--channel-kind", KIND])
        .env_clear()
        .env("SYSTEM_NAMESPACE", SYSTEM)
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SEALPOST_RABBITMQ_URI"));
}
