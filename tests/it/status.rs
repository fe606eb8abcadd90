//! What happens, as JSON and as a page: `/api/v1/status` and `/` of the admin port.

mod page;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::rabbitmq;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, block, channel, features, subscription};

/// A Trigger without its Broker; the mistake is in line 6.
const BROKEN: &str = "apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: orphan
spec:
  broker: nowhere
  subscriber: {uri: 'http://localhost:9/'}
";

/// A dispatcher with something of everything: destinations that take, refuse, lose and are locked.
struct Scene {
    dispatcher: Dispatcher,
    subscribers: Vec<Subscriber>,
}

impl Scene {
    async fn new() -> Self {
        let ca = Ca::valid(
            "short-lived",
            OffsetDateTime::now_utc() + Duration::days(5) + Duration::hours(1),
        );
        let healthy = Subscriber::ok().await;
        let locked = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
        let failing = Subscriber::answering(|_| Reply::text(503, "the body stays out")).await;
        let sink = Subscriber::ok().await;
        let secret = format!(
            "http://localhost:{}/hook?token=hidden1&key=hidden2",
            failing.address().port()
        );
        let to = |subscriber: &Subscriber| format!("subscriber: {{uri: '{}'}}", subscriber.url());
        let buried = format!(
            "\ndelivery: {{retry: 1, backoffDelay: PT0.01S, deadLetterSink: {{uri: '{}'}}}}",
            sink.url()
        );
        let subscriptions = [
            (
                "healthy",
                to(&healthy).replace("'}", "a/path/as/long/as/that/of/a/function/of/some/team'}"),
            ),
            (
                "locked",
                format!(
                    "subscriber:\n  uri: {}\n  CACerts: {}",
                    locked.url(),
                    block(&ca.pem, 4)
                ),
            ),
            ("buried", to(&failing) + &buried),
            ("lost", format!("subscriber: {{uri: '{secret}'}}")),
        ];
        let yaml = format!(
            "{}---\n{}---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: calm}}\n",
            features("permissive"),
            channel(&subscriptions).replacen(
                "{name: c}",
                "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
                1
            )
        );
        let dispatcher = Dispatcher::standalone(&yaml).await;
        dispatcher.apply_to("broken.yaml", BROKEN).await;
        Self {
            dispatcher,
            subscribers: vec![healthy, locked, failing, sink],
        }
    }

    async fn send(&self, events: usize) {
        for id in 0..events {
            assert_eq!(
                send(
                    &plain(),
                    self.dispatcher.http_url("/default/c"),
                    &id.to_string()
                )
                .await,
                202
            );
        }
    }
}

async fn status(dispatcher: &Dispatcher) -> Value {
    let (code, text) = dispatcher.admin_text("/api/v1/status").await;
    assert_eq!(code, 200);
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until the status satisfies a condition.
async fn until(dispatcher: &Dispatcher, condition: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let status = status(dispatcher).await;
        if condition(&status) {
            return status;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the status stays {status:#}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn group<'s>(status: &'s Value, name: &str) -> &'s Value {
    let groups = status["groups"].as_array().expect("groups");
    groups
        .iter()
        .find(|group| group["name"] == name)
        .expect("the group")
}

fn row<'s>(status: &'s Value, name: &str) -> &'s Value {
    let rows = status["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["subscriptions"].as_array());
    rows.flatten()
        .find(|row| row["name"] == name)
        .expect("the row")
}

fn is_settled(status: &Value, events: u64) -> bool {
    let count = |name: &str, field: &str| row(status, name)["counts"][field].as_u64();
    count("healthy", "delivered") == Some(events)
        && count("locked", "delivered") == Some(events)
        && count("buried", "deadLettered") == Some(events)
        && count("lost", "lost") == Some(events)
}

/// A scene to which five events were sent, and its status when all of them have ended.
async fn settled() -> (Scene, Value) {
    let scene = Scene::new().await;
    scene.send(5).await;
    let status = until(&scene.dispatcher, |status| is_settled(status, 5)).await;
    (scene, status)
}

/// Every number; and nothing that is a secret.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_adds_up() {
    let (_scene, status) = settled().await;
    let counts = |name: &str, field: &str| {
        row(&status, name)["counts"][field]
            .as_u64()
            .expect("a number")
    };
    assert_eq!(
        (counts("buried", "retries"), counts("buried", "failures")),
        (5, 10)
    );
    assert_eq!(
        (
            counts("lost", "retries"),
            counts("lost", "failures"),
            counts("lost", "parked")
        ),
        (0, 5, 0)
    );
    for name in ["healthy", "locked", "buried", "lost"] {
        assert_eq!(
            (counts(name, "inFlight"), counts(name, "unfinished")),
            (0, 0),
            "{name}"
        );
    }
    assert_eq!(row(&status, "healthy")["lastError"], Value::Null);
    let error = &row(&status, "buried")["lastError"];
    assert_eq!(
        (error["leg"].as_str(), error["reason"].as_str()),
        (Some("subscriber"), Some("answered 503 Service Unavailable"))
    );

    let totals = &status["totals"];
    assert_eq!(
        (totals["accepted"].as_u64(), totals["enqueued"].as_u64()),
        (Some(5), Some(20))
    );
    assert_eq!(
        (totals["delivered"].as_u64(), totals["lost"].as_u64()),
        (Some(10), Some(5))
    );
    let text = status.to_string();
    assert!(
        text.contains("/hook\"") && !text.contains("hidden"),
        "{text}"
    );
    assert!(!text.contains("the body stays out"), "{text}");
}

/// Every lock, every problem, and the process itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_locks_and_problems() {
    let (_scene, status) = settled().await;
    let lock = |name: &str| {
        row(&status, name)["subscriber"]["lock"]
            .as_str()
            .expect("a lock")
    };
    assert_eq!((lock("healthy"), lock("locked")), ("http", "https-own"));
    let ends = row(&status, "locked")["subscriber"]["lastNotAfter"]
        .as_str()
        .expect("an end");
    let certificates = status["certificates"].as_array().expect("certificates");
    let own = certificates
        .iter()
        .find(|one| one["use"] == "ca-certs")
        .expect("the CACerts");
    assert_eq!(
        (own["subject"].as_str(), own["notAfter"].as_str()),
        (Some("CN=short-lived"), Some(ends))
    );
    assert_eq!(
        (own["destinations"].as_u64(), own["valid"].as_bool()),
        (Some(1), Some(true))
    );
    assert!(
        certificates.iter().any(|one| one["use"] == "server"),
        "{certificates:?}"
    );

    let problems = status["problems"].as_array().expect("problems");
    let problem = problems
        .iter()
        .find(|problem| problem["object"]["name"] == "orphan")
        .expect("the problem");
    assert!(
        problem["file"]
            .as_str()
            .expect("a file")
            .ends_with("/broken.yaml"),
        "{problem}"
    );
    assert_eq!(
        (problem["line"].as_u64(), problem["severity"].as_str()),
        (Some(6), Some("error"))
    );
    assert_eq!(problem["field"], "spec.broker");
    let orphan = row(&status, "orphan");
    assert_eq!(
        (&orphan["counts"], orphan["ready"]["status"].as_str()),
        (&Value::Null, Some("False"))
    );
    assert_eq!(group(&status, "nowhere")["storage"], Value::Null);
    assert_eq!(
        (
            group(&status, "calm")["kind"].as_str(),
            group(&status, "c")["acknowledge"].as_str()
        ),
        (Some("Broker"), Some("enqueue"))
    );

    let process = &status["process"];
    assert_eq!(
        (
            process["role"].as_str(),
            process["transportEncryption"].as_str()
        ),
        (Some("channel"), Some("permissive"))
    );
    assert_eq!(
        (process["ready"].as_bool(), &process["rabbitmqConnected"]),
        (Some(true), &Value::Null)
    );
}

/// Attempts that run, and events that wait, are there while they do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way() {
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(std::time::Duration::from_secs(3)))
            .await;
    let yaml = channel(&[("slow", format!("subscriber: {{uri: '{}'}}", slow.url()))]);
    let yaml = yaml.replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    );
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--concurrency")
        .arg("2")
        .start()
        .await;
    for id in 0..5 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    let count = |status: &Value, field: &str| row(status, "slow")["counts"][field].as_u64();
    let status = until(&dispatcher, |status| count(status, "inFlight") == Some(2)).await;
    assert_eq!(
        (count(&status, "unfinished"), count(&status, "delivered")),
        (Some(5), Some(0))
    );
}

/// Counters belong to a subscription as long as it is there, whatever of it changes, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn counters_live_as_long_as_their_subscription() {
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    let to = |subscriber: &Subscriber| format!("subscriber: {{uri: '{}'}}", subscriber.url());
    let dispatcher = Dispatcher::standalone(&channel(&[("s", to(&first))])).await;
    let url = dispatcher.http_url("/default/c");
    let delivered = |status: &Value| row(status, "s")["counts"]["delivered"].as_u64();
    assert_eq!(send(&plain(), &url, "1").await, 202);
    until(&dispatcher, |status| delivered(status) == Some(1)).await;
    dispatcher.apply(&channel(&[("s", to(&second))])).await;
    assert_eq!(send(&plain(), &url, "2").await, 202);
    until(&dispatcher, |status| delivered(status) == Some(2)).await;
    dispatcher.apply(&channel(&[])).await;
    let gone = status(&dispatcher).await;
    assert_eq!(group(&gone, "c")["subscriptions"], Value::Array(Vec::new()));
    dispatcher.apply(&channel(&[("s", to(&second))])).await;
    assert_eq!(delivered(&status(&dispatcher).await), Some(0));
}

/// A dispatcher with destinations that fail at first: one that takes each event at its second
/// attempt, one that lost the first event and took the others.
async fn recovering() -> (Dispatcher, [Subscriber; 2]) {
    let flaky =
        Subscriber::answering(|event| Reply::status(if event.number % 2 == 0 { 503 } else { 200 }))
            .await;
    let mended =
        Subscriber::answering(|event| Reply::status(if event.number == 0 { 400 } else { 200 }))
            .await;
    let to = |subscriber: &Subscriber| format!("subscriber: {{uri: '{}'}}", subscriber.url());
    let subscriptions = [
        (
            "flaky",
            to(&flaky) + "\ndelivery: {retry: 3, backoffDelay: PT0.01S}",
        ),
        ("mended", to(&mended)),
        (
            "unused",
            "subscriber: {uri: 'http://localhost:9/'}".to_owned(),
        ),
    ];
    let yaml = channel(&subscriptions[..2])
        + "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: quiet}\n"
        + &subscription(subscriptions[2].0, &subscriptions[2].1)
            .replace("name: c}", "name: quiet}");
    let dispatcher = Dispatcher::standalone(&yaml).await;
    for (id, status) in [("1", 500), ("2", 202), ("3", 202)] {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), id).await,
            status
        );
    }
    (dispatcher, [flaky, mended])
}

/// What went well after a failure is told apart from what still fails: each has its time.
#[tokio::test(flavor = "multi_thread")]
async fn what_recovered_is_told_apart() {
    let (dispatcher, _subscribers) = recovering().await;
    let status = status(&dispatcher).await;
    let time = |row: &Value, pointer: &str| {
        let text = row
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} of {row}"));
        OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time")
    };
    for (name, delivered, lost) in [("flaky", 3, 0), ("mended", 2, 1)] {
        let row = row(&status, name);
        assert_eq!(
            (
                row["counts"]["delivered"].as_u64(),
                row["counts"]["lost"].as_u64()
            ),
            (Some(delivered), Some(lost))
        );
        assert!(
            time(row, "/lastSuccess") >= time(row, "/lastError/time"),
            "{row}"
        );
    }
    assert!(
        time(row(&status, "mended"), "/lastSuccess") >= time(row(&status, "mended"), "/lastLost")
    );
    let keys = |name: &str| {
        row(&status, name)
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in ["lastSuccess", "lastLost", "lastDeadLetter"] {
        assert!(
            !keys("unused").contains(&key.to_owned()),
            "it never happened"
        );
        assert_eq!(
            keys("flaky").contains(&key.to_owned()),
            key == "lastSuccess"
        );
    }
}

/// On RabbitMQ what nobody takes is parked, and not lost.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events() {
    let (namespace, failing) = (
        rabbitmq::namespace(),
        Subscriber::answering(|_| Reply::status(400)).await,
    );
    let yaml = format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {{name: c, namespace: {namespace}}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s, namespace: {namespace}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n",
        failing.url()
    );
    let dispatcher = Dispatcher::of(&yaml)
        .env("SEALPOST_RABBITMQ_URI", &rabbitmq::shared())
        .start()
        .await;
    let deadline = std::time::Instant::now() + SOON;
    while send(
        &plain(),
        dispatcher.http_url(&format!("/{namespace}/c")),
        "1",
    )
    .await
        != 202
    {
        assert!(std::time::Instant::now() < deadline, "no event is accepted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let count = |status: &Value, field: &str| row(status, "s")["counts"][field].as_u64();
    let status = until(&dispatcher, |status| count(status, "parked") == Some(1)).await;
    assert_eq!(
        (count(&status, "lost"), count(&status, "delivered")),
        (Some(0), Some(0))
    );
    until(&dispatcher, |status| count(status, "unfinished") == Some(0)).await;
    assert_eq!(status["process"]["rabbitmqConnected"], true);
    let metrics = dispatcher.admin_text("/metrics").await.1;
    let why = "outcome=\"parked\",destination=\"subscriber\",reason=\"status_4xx\"} 1";
    let dropped = |line: &str| {
        line.starts_with("sealpost_subscription_dropped_total{") && line.ends_with(why)
    };
    assert!(metrics.lines().any(dropped), "{metrics}");
    assert_eq!(
        (
            group(&status, "c")["storage"].as_str(),
            group(&status, "c")["acknowledge"].as_str()
        ),
        (Some("rabbitmq"), Some("enqueue"))
    );
}

/// The roles show where they send to, whether they know it, and what became of events.
#[tokio::test(flavor = "multi_thread")]
async fn relays() {
    let yaml = "apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: b}
status:
  address: {url: 'http://broker/default/b'}
  annotations: {knative.dev/channelAddress: 'http://channel/?secret=hidden'}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec:
  broker: b
  subscriber: {uri: 'http://not.used/'}
status: {subscriberUri: 'https://subscriber/path?secret=hidden'}
";
    for (role, name, url, lock) in [
        ("ingress", "b", "http://channel/", "http"),
        ("filter", "t", "https://subscriber/path", "https-system"),
    ] {
        let dispatcher = Dispatcher::of(yaml).arg("--role").arg(role).start().await;
        let status = status(&dispatcher).await;
        assert_eq!(status["process"]["role"], role);
        let shown = row(&status, name);
        assert_eq!(
            (
                shown["subscriber"]["url"].as_str(),
                shown["subscriber"]["lock"].as_str()
            ),
            (Some(url), Some(lock))
        );
        assert_eq!(
            (
                &shown["counts"]["delivered"],
                &shown["counts"]["unfinished"]
            ),
            (&0.into(), &Value::Null)
        );
        assert!(!status.to_string().contains("hidden"), "{status}");
        let path = if role == "ingress" {
            "/default/b"
        } else {
            "/triggers/default/t/uid"
        };
        let request =
            event(&plain(), dispatcher.http_url(path), "1").header("ce-knativebrokerttl", "7");
        assert_eq!(
            request.send().await.expect("an answer").status(),
            500,
            "nobody is there"
        );
        let status = until(&dispatcher, |status| {
            row(status, name)["counts"]["returned"] == 1
        })
        .await;
        let error = &row(&status, name)["lastError"];
        assert!(role == "ingress" || error["leg"] == "subscriber", "{error}");
        assert!(!status.to_string().contains("hidden"), "{status}");
    }
}

/// A PingSource is seen, and what became of its events.
#[tokio::test(flavor = "multi_thread")]
async fn sources_are_shown() {
    let sink = Subscriber::ok().await;
    let yaml = format!(
        "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {{name: tick}}\nspec:\n  schedule: '* * * * * *'\n  sink: {{uri: '{}'}}\n",
        sink.url()
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let status = until(&dispatcher, |status| {
        row(status, "tick")["counts"]["delivered"].as_u64() > Some(0)
    })
    .await;
    assert_eq!(group(&status, "tick")["kind"], "PingSource");
    assert_eq!(
        row(&status, "tick")["subscriber"]["url"],
        format!("{}", sink.url())
    );
    assert_eq!(
        status["process"]["leads"],
        Value::Null,
        "there is no cluster"
    );
}

/// Neither page nor JSON may be kept, guessed about or framed; and nothing can be changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_is_strict() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/api/v1/status", "application/json"),
    ] {
        let url = format!("http://{}{path}", dispatcher.admin);
        let response = plain().get(&url).send().await.expect("an answer");
        let header = |name: &str| response.headers()[name].to_str().expect("text");
        assert_eq!(
            (header("content-type"), header("cache-control")),
            (kind, "no-store")
        );
        assert_eq!(
            (header("x-content-type-options"), header("referrer-policy")),
            ("nosniff", "no-referrer")
        );
        if path == "/" {
            let policy = header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; script-src 'sha256-")
                    && !policy.contains("unsafe"),
                "{policy}"
            );
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        }
        assert_eq!(
            event(&plain(), &url, "1")
                .send()
                .await
                .expect("an answer")
                .status(),
            405
        );
    }
}

/// A channel of the memory, and a thousand subscriptions to nobody.
fn thousand() -> String {
    let mut yaml = channel(&[]);
    for n in 0..1000 {
        yaml.push_str(&subscription(
            &format!("s{n:04}"),
            &format!("subscriber: {{uri: 'http://localhost:9/to/{n}'}}"),
        ));
    }
    yaml
}
