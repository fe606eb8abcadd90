//! Ready means served, liveness hangs on no backend, and everything that tells of an outage tells
//! the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{channel, on, subscription, take_events};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::rabbitmq::{Client, Node, namespace, shared};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, binary};

/// How often a probe is made, and how long its answer may take, as kubelets have it by default.
const PERIOD: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(1);

/// A channel in memory with a subscription of its own.
fn in_memory(namespace: &str, to: &Subscriber) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: m, namespace: {namespace}}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: kept, namespace: {namespace}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: m}}\n  subscriber: {{uri: '{}'}}\n",
        to.url()
    )
}

/// Probes as a kubelet makes them, until it is told to stop.
struct Kubelet {
    stop: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
    failed: JoinHandle<Vec<String>>,
}

impl Kubelet {
    /// Probes each URL, and wants this status from it.
    fn probing(targets: Vec<(String, u16)>) -> Self {
        let (stop, probes) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stopped, counted, started) = (Arc::clone(&stop), Arc::clone(&probes), Instant::now());
        let failed = tokio::spawn(async move {
            let (mut failed, mut period) = (Vec::new(), tokio::time::interval(PERIOD));
            while !stopped.load(Ordering::Relaxed) {
                period.tick().await;
                failed.extend(probe_all(&targets, started).await);
                counted.fetch_add(targets.len(), Ordering::Relaxed);
            }
            failed
        });
        Self {
            stop,
            probes,
            failed,
        }
    }

    /// How many probes there were, and those that failed.
    async fn ended(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.failed.await.expect("it has not panicked");
        (self.probes.load(Ordering::Relaxed), failed)
    }
}

/// Probes each URL once. Gives those that had another status than the one that is wanted of them.
async fn probe_all(targets: &[(String, u16)], started: Instant) -> Vec<String> {
    let mut failed = Vec::new();
    for (url, wanted) in targets {
        let status = probe(url).await;
        if status != *wanted {
            failed.push(format!("{url}: {status} after {:?}", started.elapsed()));
        }
    }
    failed
}

/// The status that a probe is answered with; 0 if there is no answer in time.
async fn probe(url: &str) -> u16 {
    let request = plain()
        .get(url)
        .header("user-agent", "kube-probe/1.34")
        .timeout(LIMIT);
    request
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

fn get(dispatcher: &Dispatcher, what: &str) -> String {
    let mut command = std::process::Command::new(binary());
    command.args([
        "get",
        what,
        "--admin",
        &format!("http://{}", dispatcher.admin),
    ]);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The line of a table that names an object.
fn line(table: &str, name: &str) -> String {
    let found = table
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name));
    found
        .unwrap_or_else(|| panic!("{name} is not in\n{table}"))
        .to_owned()
}

async fn status(dispatcher: &Dispatcher) -> Value {
    serde_json::from_str(&dispatcher.admin_text("/api/v1/status").await.1).expect("JSON")
}

/// A group of the status, and the first of its subscriptions.
fn group<'s>(status: &'s Value, name: &str) -> (&'s Value, &'s Value) {
    let groups = status["groups"].as_array().expect("groups");
    let group = groups
        .iter()
        .find(|group| group["name"] == name)
        .expect("the group");
    (group, &group["subscriptions"][0])
}

async fn until_ready_is(dispatcher: &Dispatcher, wanted: (u16, &str)) {
    let deadline = Instant::now() + SOON;
    loop {
        let (code, text) = dispatcher.admin_text("/readyz").await;
        if (code, text.trim_end()) == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{code} {text}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// RabbitMQ is away for some seconds (`SEALPOST_TEST_PAUSE` says how many): no probe of a process
/// fails that serves channels in memory as well, these go on, and `get`, status, numbers and log
/// name those that do not. A process that has nothing else is alive, and not ready.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_stops_nothing_else() {
    let pause =
        std::env::var("SEALPOST_TEST_PAUSE").map_or(3, |text| text.parse().expect("seconds"));
    let (namespace, durable, kept, node) = (
        namespace(),
        Subscriber::ok().await,
        Subscriber::ok().await,
        Node::start(),
    );
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &durable, "");
    let path = format!("/{namespace}/c");
    let only = on(&node.uri, &yaml).start().await;
    let mixed = on(&node.uri, &(yaml + &in_memory(&namespace, &kept)))
        .start()
        .await;
    take_events(&only, &path).await;
    take_events(&mixed, &path).await;
    until_ready_is(&mixed, (200, "ok")).await;
    let alive = |dispatcher: &Dispatcher| {
        vec![
            (dispatcher.http_url("/healthz"), 204),
            (dispatcher.http_url("/"), 204),
            (format!("http://{}/healthz", dispatcher.admin), 200),
        ]
    };
    let served = vec![(format!("http://{}/readyz", mixed.admin), 200)];
    let kubelet = Kubelet::probing([alive(&mixed), alive(&only), served].concat());

    node.stop();
    let away = Instant::now();
    until_ready_is(
        &mixed,
        (200, "ok; RabbitMQ is away: 1 of 2 channels is not served"),
    )
    .await;
    until_ready_is(&only, (503, "RabbitMQ is away")).await;
    all_tell_the_same(&mixed, &namespace).await;
    let mut sent = 0;
    while away.elapsed() < Duration::from_secs(pause) {
        let url = mixed.http_url(&format!("/{namespace}/m"));
        assert_eq!(send(&plain(), url, &format!("kept {sent}")).await, 202);
        assert_eq!(send(&plain(), mixed.http_url(&path), "away").await, 503);
        sent += 1;
        tokio::time::sleep(PERIOD).await;
    }
    assert_eq!(kept.until(sent).await.len(), sent, "each is delivered once");

    node.restart();
    take_events(&only, &path).await;
    take_events(&mixed, &path).await;
    all_is_well(&mixed).await;
    let (probes, failed) = kubelet.ended().await;
    eprintln!(
        "{probes} probes, {} failed; {sent} events in memory during {:?}",
        failed.len(),
        away.elapsed()
    );
    assert_eq!(failed, Vec::<String>::new());
    assert!(
        probes >= 7 * usize::try_from(pause).expect("a number"),
        "{probes}"
    );
}

/// What an operator may look at while RabbitMQ is away.
async fn all_tell_the_same(dispatcher: &Dispatcher, namespace: &str) {
    let channels = get(dispatcher, "channels");
    let (away, kept) = (line(&channels, "c"), line(&channels, "m"));
    assert!(
        away.contains("False") && away.contains("RabbitmqUnavailable"),
        "{channels}"
    );
    assert!(kept.contains("True"), "{channels}");
    assert!(line(&get(dispatcher, "subscriptions"), "a").contains("RabbitmqUnavailable"));
    let object = dispatcher.object("channels", "c").await;
    assert_eq!(ready(&object)["message"], "RabbitMQ is away");
    let subscriber = &object["status"]["subscribers"][0];
    assert_eq!(
        (&subscriber["ready"], &subscriber["message"]),
        (&"False".into(), &"RabbitMQ is away".into())
    );
    assert_eq!(
        dispatcher.object("channels", "m").await["status"]["subscribers"][0]["ready"],
        "True"
    );
    let status = status(dispatcher).await;
    let process = &status["process"];
    assert_eq!(
        (&process["ready"], &process["rabbitmqConnected"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        process["unserved"],
        "RabbitMQ is away: 1 of 2 channels is not served"
    );
    for (name, wanted) in [("c", "False"), ("m", "True")] {
        let (group, row) = group(&status, name);
        assert_eq!(
            (&group["ready"]["status"], &row["ready"]["status"]),
            (&wanted.into(), &wanted.into()),
            "{name}"
        );
    }
    dispatcher.until_counter("channels_unserved", 1).await;
    let metrics = dispatcher.admin_text("/metrics").await.1;
    let series = format!(
        "sealpost_subscription_unserved{{subscription_kind=\"subscription\",subscription_namespace=\"{namespace}\",subscription_name=\"a\"}} 1"
    );
    assert!(metrics.contains(&series), "{metrics}");
    crate::support::eventually("it is told", || {
        dispatcher
            .logged(&["WARN", "Channels are not served"])
            .len()
            == 1
    })
    .await;
}

/// Nothing of the outage is left, and it was told once.
async fn all_is_well(dispatcher: &Dispatcher) {
    until_ready_is(dispatcher, (200, "ok")).await;
    dispatcher.until_counter("channels_unserved", 0).await;
    let status = status(dispatcher).await;
    let (group, row) = group(&status, "c");
    assert_eq!(
        (&group["ready"]["status"], &row["ready"]["status"]),
        (&"True".into(), &"True".into())
    );
    assert!(status["process"]["unserved"].is_null(), "{status}");
    assert!(line(&get(dispatcher, "channels"), "c").contains("True"));
    let told = |text: &str| dispatcher.logged(&[text]).len();
    crate::support::eventually("its end is told", || {
        told("All channels are served again") == 1
    })
    .await;
    assert_eq!(told("Channels are not served"), 1);
}

/// A process that says it is ready takes events for each of its channels, from the first one on.
#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_queues_are_there() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let each = (0..40).map(|at| subscription(&namespace, &format!("s{at}"), &subscriber, ""));
    let yaml = channel(&namespace) + &each.collect::<String>();
    let dispatcher = on(&shared(), &yaml).start().await;
    let (deadline, mut said) = (Instant::now() + SOON, Vec::new());
    loop {
        let (code, text) = dispatcher.admin_text("/readyz").await;
        if code == 200 {
            break;
        }
        said.push(text.trim_end().to_owned());
        assert!(Instant::now() < deadline, "{said:?}");
    }
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url(&format!("/{namespace}/c")),
            "first"
        )
        .await,
        202,
        "{said:?}"
    );
    said.dedup();
    let known = |text: &String| {
        text == "RabbitMQ is away"
            || text.ends_with("of 40 queues on RabbitMQ are not declared yet")
    };
    assert!(!said.is_empty() && said.iter().all(known), "{said:?}");
    let lines = dispatcher.logged(&["Ready"]);
    assert!(lines[0].contains("not Ready yet"), "{lines:?}");
    // A subscription that is added later changes nothing of that.
    let more = subscription(&namespace, "later", &subscriber, "");
    let seen = Kubelet::probing(vec![(format!("http://{}/readyz", dispatcher.admin), 200)]);
    dispatcher.apply(&(yaml + &more)).await;
    dispatcher
        .until_object("subscriptions", "later", |object| {
            ready(object)["status"] == "True"
        })
        .await;
    assert_eq!(seen.ended().await.1, Vec::<String>::new());
}

/// A queue that RabbitMQ refuses to declare, here since another client has it for itself, stops
/// nobody: what is sent to it waits, and the process is ready and says which one is not served, and
/// why.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_refused_stops_no_other() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let locked = (channel(&namespace) + &subscription(&namespace, "locked", &subscriber, ""))
        .replace("name: c", "name: d");
    let yaml =
        channel(&namespace) + &subscription(&namespace, "a", &subscriber, "") + "---\n" + &locked;
    let client = Client::new(&shared()).await;
    client
        .lock_queue(&format!(
            "sealpost:channel:{namespace}:d:subscription:{namespace}:locked"
        ))
        .await;
    let dispatcher = on(&shared(), &yaml).start().await;
    let why = format!(
        "1 of 2 channels is not served: channel {namespace}/d: RabbitMQ refuses its queue: RESOURCE_LOCKED"
    );
    let is_ready = async || {
        let (status, text) = dispatcher.admin_text("/readyz").await;
        status == 200 && text.starts_with(&format!("ok; {why}"))
    };
    let deadline = Instant::now() + crate::support::SOON;
    while !is_ready().await {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            dispatcher.admin_text("/readyz").await
        );
        tokio::time::sleep(PERIOD).await;
    }
    let to = |channel: &str| dispatcher.http_url(&format!("/{namespace}/{channel}"));
    assert_eq!(send(&plain(), to("c"), "not held up").await, 202);
    subscriber.until(1).await;
    assert_eq!(send(&plain(), to("d"), "waits").await, 202);
    let channels = get(&dispatcher, "channels");
    assert!(
        line(&channels, "c").contains("True")
            && line(&channels, "d").contains("RabbitmqUnavailable"),
        "{channels}"
    );
    dispatcher.until_counter("channels_unserved", 1).await;
    crate::support::eventually("it is told", || {
        dispatcher.logged(&["Channels are not served", &why]).len() == 1
    })
    .await;
    drop(client);
    until_ready_is(&dispatcher, (200, "ok")).await;
    assert_eq!(send(&plain(), to("d"), "taken").await, 202);
    let came = subscriber.until(3).await;
    assert!(
        came.iter().any(|event| event.id() == "waits"),
        "what waited comes when the queue is there"
    );
    crate::support::eventually("its end is told", || {
        dispatcher.logged(&["served again"]).len() == 1
    })
    .await;
}

/// A process that starts without RabbitMQ serves what is in memory; it waits a moment before it
/// says that it is ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_rabbitmq() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its address");
    let uri = format!("amqp://guest:guest@{closed}/%2f");
    let yaml = channel(&namespace)
        + &subscription(&namespace, "a", &subscriber, "")
        + &in_memory(&namespace, &subscriber);
    let dispatcher = on(&uri, &yaml).start().await;
    let started = Instant::now();
    let url = dispatcher.http_url(&format!("/{namespace}/m"));
    assert_eq!(send(&plain(), &url, "early").await, 202);
    assert_eq!(
        dispatcher.admin_text("/readyz").await,
        (503, "RabbitMQ is away\n".to_owned())
    );
    until_ready_is(
        &dispatcher,
        (200, "ok; RabbitMQ is away: 1 of 2 channels is not served"),
    )
    .await;
    assert!(
        started.elapsed() > Duration::from_secs(8),
        "after {:?}",
        started.elapsed()
    );
    assert_eq!(send(&plain(), &url, "late").await, 202);
    subscriber.until(2).await;
}
