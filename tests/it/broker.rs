//! Brokers and Triggers in one process (contract BI-1 to BI-11, BF-1 to BF-16, TF-3).

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{event, plain, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};

fn broker() -> String {
    "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n".to_owned()
}

fn trigger(name: &str, filter: &str, subscriber: &Subscriber) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\nspec:\n  broker: b\n  filter: {{attributes: {{{filter}}}}}\n  subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    )
}

/// The documentation's own example and its own curl command, in `strict`: 202 over h2, and the
/// event displayed; over http: 404.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_documentation() {
    let yaml = include_str!("../../deploy/standalone/default-broker-example.yaml");
    let builder = Dispatcher::of(yaml)
        .arg("--namespace")
        .arg("transport-encryption-test");
    let dispatcher = builder
        .arg("--transport-encryption")
        .arg("strict")
        .start()
        .await;
    let host = "broker-ingress.knative-eventing.svc.cluster.local";
    let curl = |url: String| {
        let mut command = tokio::process::Command::new("curl");
        command.args([
            "-sv",
            "-X",
            "POST",
            "-H",
            "content-type: application/json",
            "-H",
            "ce-specversion: 1.0",
        ]);
        command.args([
            "-H",
            "ce-source: my/curl/command",
            "-H",
            "ce-type: my.demo.event",
        ]);
        command.args([
            "-H",
            "ce-id: 6cf17c7b-30b1-45a6-80b0-4cf58c92b947",
            "-d",
            r#"{"name":"Knative Demo"}"#,
        ]);
        command.arg("--cacert").arg(dispatcher.path("state/ca.crt"));
        for (port, address) in [(443, dispatcher.https), (80, dispatcher.http)] {
            command
                .arg("--connect-to")
                .arg(format!("{host}:{port}:{address}"));
        }
        command.arg(url).output()
    };
    let answer = curl(format!("https://{host}/transport-encryption-test/br"))
        .await
        .expect("curl is installed");
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(
        said.contains("< HTTP/2 202") && said.contains("< allow: POST, OPTIONS"),
        "{said}"
    );
    let expected = [
        "☁️  cloudevents.Event\nContext Attributes,\n  specversion: 1.0\n  type: my.demo.event\n  source: my/curl/command\n",
        "  id: 6cf17c7b-30b1-45a6-80b0-4cf58c92b947\n  datacontenttype: application/json\nExtensions,\n  knativearrivaltime: ",
        "Z\nData,\n  {\n    \"name\": \"Knative Demo\"\n  }\n",
    ];
    let printed = dispatcher.printed();
    assert!(
        expected.iter().all(|part| printed.contains(part)),
        "{printed}"
    );
    let answer = curl(format!("http://{host}/transport-encryption-test/br"))
        .await
        .expect("curl is installed");
    assert!(String::from_utf8_lossy(&answer.stderr).contains("< HTTP/1.1 404"));
    let broker = dispatcher.object("brokers", "br").await;
    assert_eq!(
        broker["status"]["address"]["CACerts"],
        dispatcher.ca().as_str()
    );
    assert_eq!(
        broker["status"]["addresses"].as_array().map(Vec::len),
        Some(1),
        "strict advertises https only"
    );
}

/// Contract TF-3.
#[tokio::test(flavor = "multi_thread")]
async fn filters_by_attributes() {
    let (all, typed, present) = (
        Subscriber::ok().await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let yaml = broker()
        + &trigger("all", "", &all)
        + &trigger("typed", "type: wanted", &typed)
        + &trigger("present", "tenant: ''", &present);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/b"));
    for (ty, tenant) in [
        ("wanted", None),
        ("other", Some("a b")),
        ("wanted", Some("%41")),
    ] {
        let mut request = client
            .post(&url)
            .header("ce-specversion", "1.0")
            .header("ce-id", "i")
            .header("ce-source", "/s");
        request = request.header("ce-type", ty);
        if let Some(tenant) = tenant {
            request = request.header("ce-tenant", tenant);
        }
        assert_eq!(request.send().await.expect("an answer").status(), 202);
    }
    assert_eq!((all.count(), typed.count(), present.count()), (3, 2, 2));
}

/// Contract BI-5, BI-6, BF-9, G-56: the hop count is lowered, never believed above the maximum,
/// hidden from subscribers.
#[tokio::test(flavor = "multi_thread")]
async fn hops_are_counted() {
    let (subscriber, sink) = (Subscriber::replying(&[400]).await, Subscriber::ok().await);
    let yaml = broker()
        + &trigger("t", "", &subscriber)
        + &format!(
            "  delivery: {{deadLetterSink: {{uri: '{}'}}}}\n",
            sink.url()
        );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let url = dispatcher.http_url("/default/b");
    for (sent, status, left) in [
        (None, 202, Some("255")),
        (Some("5"), 202, Some("4")),
        (Some("nonsense"), 202, Some("255")),
        (Some("2147483647"), 202, Some("255")),
        (Some("99999999999999"), 202, Some("255")),
        (Some("2"), 202, Some("1")),
        (Some("1"), 400, None),
        (Some("0"), 400, None),
        (Some("-3"), 400, None),
    ] {
        let before = sink.count();
        let request = event(&plain(), &url, "i");
        let request = sent.into_iter().fold(request, |request, sent| {
            request.header("ce-knativebrokerttl", sent)
        });
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{sent:?}");
        let letters = sink.received();
        assert_eq!(
            letters
                .get(before)
                .and_then(|letter| letter.header("ce-knativebrokerttl")),
            left,
            "{sent:?} contract DP-33"
        );
        let at = letters
            .last()
            .and_then(|letter| letter.header("ce-knativearrivaltime"))
            .expect("a time");
        assert!(at.ends_with('Z'), "contract BI-5");
    }
    assert!(
        subscriber
            .received()
            .iter()
            .all(|received| received.header("ce-knativebrokerttl").is_none()),
        "contract BF-9"
    );
}

/// Replies of Triggers re-enter their Broker inside the process; a loop ends by the hop count and
/// is accounted for (contract BF-14).
#[tokio::test(flavor = "multi_thread")]
async fn replies_re_enter_and_loops_end() {
    let first = Subscriber::answering(|_| Reply::event("second", "r")).await;
    let second = Subscriber::ok().await;
    let yaml = broker()
        + &trigger("one", "type: test.event", &first)
        + &trigger("two", "type: second", &second);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/b"), "i").await,
        202
    );
    assert_eq!(
        (first.count(), second.count()),
        (1, 1),
        "a sync broker has delivered the reply, too"
    );
    assert_eq!(second.received()[0].header("ce-type"), Some("second"));

    // Two Triggers, each of which answers with what the other one wants.
    let ping = Subscriber::answering(|_| Reply::event("pong", "p")).await;
    let pong = Subscriber::answering(|_| Reply::event("test.event", "p")).await;
    let sink = Subscriber::ok().await;
    let letters = format!(
        "  delivery: {{deadLetterSink: {{uri: '{}'}}}}\n",
        sink.url()
    );
    let yaml = broker()
        + &trigger("ping", "type: test.event", &ping)
        + &letters
        + &trigger("pong", "type: pong", &pong)
        + &letters;
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--broker-max-ttl")
        .arg("20")
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/b"), "i").await,
        202
    );
    assert_eq!((ping.count(), pong.count(), sink.count()), (10, 10, 1));
    assert_eq!(
        sink.received()[0].header("ce-knativeerrorcode"),
        Some("400"),
        "contract BF-14"
    );
    for (counter, expected) in [("delivered", 19), ("dead_lettered", 1), ("lost", 0)] {
        assert_eq!(
            dispatcher
                .counter(&format!("deliveries_{counter}_total"))
                .await,
            expected,
            "{counter}"
        );
    }
}

/// A channel as a subscriber, a broker as a reply address, a channel as a dead letter sink: all
/// inside the process.
#[tokio::test(flavor = "multi_thread")]
async fn channels_lead_to_channels() {
    let subscriber = Subscriber::ok().await;
    let yaml = format!(
        "{}---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec:\n  broker: b\n  subscriber: {{ref: {{apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}}}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {{name: c}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}}\n  subscriber: {{uri: '{}'}}\n",
        broker(),
        subscriber.url()
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/b"), "i").await,
        202
    );
    assert_eq!(subscriber.until(1).await[0].id(), "i");
}

/// One bad Trigger among good ones: nothing else is touched, it gets nothing, and `get` says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_trigger_gets_nothing() {
    let (good, bad) = (Subscriber::ok().await, Subscriber::ok().await);
    let yaml = broker() + &trigger("good", "", &good) + &trigger("bad", "Type: x", &bad);
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--https-when-disabled")
        .start()
        .await;
    assert_eq!(
        send(
            &trusting(&dispatcher.ca()),
            dispatcher.https_url("/default/b"),
            "i"
        )
        .await,
        202
    );
    assert_eq!((good.count(), bad.count()), (1, 0));
    let object = dispatcher.object("triggers", "bad").await;
    assert_eq!(ready(&object)["status"], "False");
    let message = ready(&object)["message"].as_str().expect("a message");
    assert!(message.contains("Type"), "{message}");
    assert_eq!(
        ready(&dispatcher.object("triggers", "good").await)["status"],
        "True"
    );
}

/// Contract TF-1, TF-4, TF-5, TF-12: `filters` in every dialect, and it alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn filters_of_every_dialect() {
    let filters = [
        ("exact", "[{exact: {type: wanted}}]"),
        ("prefix", "[{prefix: {type: wan, source: /}}]"),
        ("suffix", "[{suffix: {type: ted}}]"),
        (
            "all",
            "[{all: [{exact: {type: wanted}}, {exact: {tenant: a}}]}]",
        ),
        (
            "any",
            "[{any: [{exact: {type: other}}, {exact: {tenant: a}}]}]",
        ),
        ("not", "[{not: {exact: {tenant: a}}}]"),
        (
            "cesql",
            "[{cesql: \"type LIKE 'want%' AND EXISTS tenant\"}]",
        ),
        ("missing", "[{cesql: \"nosuch = 'x' OR TRUE\"}]"),
        (
            "two",
            "[{exact: {type: wanted}}, {not: {cesql: \"tenant = 'a'\"}}]",
        ),
    ];
    let mut subscribers = Vec::new();
    let mut yaml = broker();
    for (name, filters) in filters {
        let subscriber = Subscriber::ok().await;
        let with = format!("  filters: {filters}\n  subscriber:");
        yaml.push_str(&trigger(name, "type: ignored", &subscriber).replace("  subscriber:", &with));
        subscribers.push(subscriber);
    }
    let dispatcher = Dispatcher::standalone(&yaml).await;
    for (ty, tenant) in [
        ("wanted", Some("a")),
        ("wanted", Some("b")),
        ("wanted", None),
        ("other", None),
    ] {
        let request = plain()
            .post(dispatcher.http_url("/default/b"))
            .header("ce-specversion", "1.0");
        let mut request = request
            .header("ce-id", "i")
            .header("ce-source", "/s")
            .header("ce-type", ty);
        if let Some(tenant) = tenant {
            request = request.header("ce-tenant", tenant);
        }
        assert_eq!(request.send().await.expect("an answer").status(), 202);
    }
    let counts: Vec<usize> = subscribers.iter().map(Subscriber::count).collect();
    assert_eq!(counts, [3, 3, 3, 1, 2, 3, 2, 0, 1]);
}
