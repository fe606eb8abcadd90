//! The operator's events: `--system-events`.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::pki::Ca;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Received, Subscriber};
use crate::support::{block, channel, eventually, eventually_some};

const FAILING: &str = "dev.sealpost.destination.failing";
const RECOVERED: &str = "dev.sealpost.destination.recovered";
const PARKED: &str = "dev.sealpost.events.parked";
const EXPIRING: &str = "dev.sealpost.certificate.expiring";
const REFUSED: &str = "dev.sealpost.configuration.refused";

fn trigger(name: &str, url: &str) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n\
         spec: {{broker: ops, subscriber: {{uri: '{url}'}}}}\n"
    )
}

/// A Broker `default/ops` whose Trigger `all` leads to this sink.
fn broker(sink: &Subscriber) -> String {
    "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: ops}\n".to_owned()
        + &trigger("all", &sink.url())
}

fn telling(yaml: &str) -> Builder {
    let builder = Dispatcher::of(yaml);
    builder.arg("--system-events").arg("default/ops")
}

fn event_type(received: &Received) -> &str {
    received.header("ce-type").unwrap_or_default()
}

/// Waits for the first event of this type about this; gives it with its data.
async fn until(sink: &Subscriber, wanted: &str, subject: &str) -> (Received, Value) {
    let found = eventually_some(&format!("{wanted} {subject}"), || {
        sink.received().into_iter().find(|received| {
            event_type(received) == wanted
                && received.header("ce-subject").unwrap_or_default() == subject
        })
    })
    .await;
    let data = serde_json::from_slice(&found.body).expect("JSON");
    (found, data)
}

/// The begin and the end of a destination that fails, once each.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_destination_is_told_and_its_end() {
    let sink = Subscriber::ok().await;
    let flaky = Subscriber::answering(|received| {
        crate::support::subscriber::Reply::status(match received.id() {
            "good" => 200,
            _ => 503,
        })
    })
    .await;
    let url = format!("{}?token=secret-of-a-query", flaky.url());
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{url}'}}"))]) + &broker(&sink);
    let dispatcher = telling(&yaml).start().await;
    let channel = dispatcher.http_url("/default/c");
    for id in ["bad-1", "bad-2"] {
        assert_eq!(send(&plain(), &channel, id).await, 500);
    }
    let (told, data) = until(&sink, FAILING, "subscription/default/s").await;
    assert_eq!(told.header("ce-source"), Some("/sealpost"));
    assert_eq!(told.header("content-type"), Some("application/json"));
    assert!(
        told.header("ce-time")
            .is_some_and(|time| time.ends_with('Z'))
    );
    for (name, value) in [
        ("kind", "subscription"),
        ("namespace", "default"),
        ("name", "s"),
        ("destination", "subscriber"),
    ] {
        assert_eq!(data[name], value, "{data}");
    }
    assert!(
        data["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("503")),
        "{data}"
    );
    assert!(
        data["url"]
            .as_str()
            .is_some_and(|url| url.starts_with("http://localhost")),
        "{data}"
    );
    assert!(!data.to_string().contains("secret"), "{data}");
    assert_eq!(send(&plain(), &channel, "good").await, 202);
    let (_, data) = until(&sink, RECOVERED, "subscription/default/s").await;
    assert_eq!(
        (&data["removed"], &data["destination"]),
        (&Value::Bool(false), &"subscriber".into())
    );
    assert!(
        data["failures"]
            .as_u64()
            .is_some_and(|failures| failures >= 1),
        "{data}"
    );
    let of = |wanted: &str| {
        let received = sink.received();
        received
            .iter()
            .filter(|one| event_type(one) == wanted)
            .count()
    };
    assert_eq!([of(FAILING), of(RECOVERED)], [1, 1]);
    eventually("counted", || sink.count() == 2).await;
    assert_eq!(dispatcher.counter("system_events_sent_total").await, 2);
}

/// What nobody took, as a sum.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_told() {
    let (sink, broken) = (Subscriber::ok().await, Subscriber::replying(&[400]).await);
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", broken.url()))])
        .replace(
            "messaging.knative.dev/v1\nkind: InMemoryChannel",
            "messaging.knative.dev/v1alpha1\nkind: DiskChannel",
        )
        .replace(
            "apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel",
            "apiVersion: messaging.knative.dev/v1alpha1, kind: DiskChannel",
        )
        + &broker(&sink);
    let data = TempDir::new().expect("a directory");
    let path = data.path().to_str().expect("a path");
    let dispatcher = telling(&yaml).arg("--data-dir").arg(path).start().await;
    dispatcher.until_ready().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    let (_, data) = until(&sink, PARKED, "subscription/default/s").await;
    assert_eq!(
        (&data["count"], &data["parked"]),
        (&1.into(), &1.into()),
        "{data}"
    );
    assert!(
        data["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("400")),
        "{data}"
    );
}

/// A certificate in CACerts that ends soon, once for all that it verifies.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_told() {
    let sink = Subscriber::ok().await;
    let soon = Ca::valid(
        "of-the-sink",
        time::OffsetDateTime::now_utc() + time::Duration::days(5),
    );
    let later = Ca::new("of-another-sink");
    let of = |name: &'static str, ca: &Ca| {
        let certs = block(&ca.pem, 6);
        (
            name,
            format!("subscriber:\n    uri: https://localhost:1/\n    CACerts: {certs}"),
        )
    };
    let yaml = channel(&[of("s", &soon), of("t", &soon), of("u", &later)]) + &broker(&sink);
    let dispatcher = telling(&yaml).start().await;
    let (_, data) = until(&sink, EXPIRING, "subscription/default/s").await;
    assert_eq!(data["destinations"], 2, "{data}");
    assert_eq!(
        (&data["use"], &data["expired"]),
        (&"trust".into(), &false.into())
    );
    assert!(
        data["certificate"]
            .as_str()
            .is_some_and(|of| of.contains("of-the-sink")),
        "{data}"
    );
    assert!(
        data["notAfter"]
            .as_str()
            .is_some_and(|end| end.ends_with('Z')),
        "{data}"
    );
    // The next look tells nothing again.
    dispatcher.apply_to("broken.yaml", "kind: [").await;
    eventually("refused", || {
        sink.received().iter().any(|one| event_type(one) == REFUSED)
    })
    .await;
    let told = sink.received();
    assert_eq!(
        told.iter()
            .filter(|one| event_type(one) == EXPIRING)
            .count(),
        1
    );
}

/// A part of the configuration that is not applied, at the start and later, once each.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_is_told() {
    let sink = Subscriber::ok().await;
    let bad = |name: &str| {
        format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}}}\n\
             spec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: none}}\n  \
             subscriber: {{uri: 'http://localhost:1/', CACert: x}}\n"
        )
    };
    let yaml = bad("first") + &broker(&sink);
    let dispatcher = telling(&yaml).start().await;
    let (_, data) = until(&sink, REFUSED, "subscription/default/first").await;
    assert_eq!(
        (&data["kind"], &data["name"]),
        (&"subscription".into(), &"first".into())
    );
    assert!(data["line"].is_u64() && data["file"].is_string(), "{data}");
    assert!(
        data["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{data}"
    );
    dispatcher.apply_to("more.yaml", &bad("second")).await;
    until(&sink, REFUSED, "subscription/default/second").await;
    let of_first = |one: &&Received| one.header("ce-subject") == Some("subscription/default/first");
    let fields: Vec<Value> = sink
        .received()
        .iter()
        .filter(of_first)
        .map(|one| serde_json::from_slice::<Value>(&one.body).expect("JSON")["field"].clone())
        .collect();
    let mut once = fields.clone();
    once.dedup();
    assert_eq!(fields, once, "each is told once");
}

/// Nothing is told about the deliveries of these events: not of a Trigger that fails, nor of what
/// it leads into.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_about_its_own_deliveries() {
    let (sink, broken) = (Subscriber::ok().await, Subscriber::replying(&[500]).await);
    let onward =
        "subscriber: {ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}";
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", broken.url()))])
        + &broker(&sink)
        + &trigger("broken", &broken.url())
        + &format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: onward}}\n\
             spec:\n  broker: ops\n  {onward}\n"
        );
    let dispatcher = telling(&yaml).start().await;
    dispatcher.apply_to("first.yaml", "kind: [").await;
    for name in ["trigger default/broken", "subscription default/s"] {
        let parts = ["A destination fails", name];
        eventually(name, || !dispatcher.logged(&parts).is_empty()).await;
    }
    // Destinations are looked at before the configuration: what had been told of them would have
    // come before this.
    dispatcher.apply_to("second.yaml", "kind: [").await;
    let of_second = |one: &Received| String::from_utf8_lossy(&one.body).contains("second.yaml");
    eventually("the second", || sink.received().iter().any(of_second)).await;
    let told = sink.received();
    assert!(
        told.iter().all(|one| event_type(one) == REFUSED),
        "{told:?}"
    );
    assert!(dispatcher.counter("system_events_lost_total").await > 0);
}

/// So many at once, then one a second; and not one for each of hundreds of errors.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_limited() {
    let sink = Subscriber::ok().await;
    let bad = |number: usize| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: bad-{number}}}\n\
             spec: {{broker: ops, subscriber: {{uri: 'no url'}}}}\n"
        )
    };
    let yaml = broker(&sink) + &(0..33).map(bad).collect::<String>();
    let _dispatcher = telling(&yaml).start().await;
    let received = sink.until(33).await;
    let took = received[32].at.duration_since(received[0].at);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let burst = received[29].at.duration_since(received[0].at);
    assert!(burst < took, "{burst:?}");
}

/// A Broker whose channel only is here, as in a cluster: the hop is counted.
#[tokio::test(flavor = "multi_thread")]
async fn the_channel_of_a_broker_gets_them_in_the_brokers_place() {
    let sink = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))])
        .replace("name: c}", "name: ops-kne-trigger}");
    let dispatcher = telling(&yaml).start().await;
    dispatcher.apply_to("broken.yaml", "kind: [").await;
    let (told, _) = until(&sink, REFUSED, "").await;
    assert_eq!(told.header("ce-knativebrokerttl"), Some("255"));
}

/// The roles of upstream's broker tell what they know, by the way that they know.
#[tokio::test(flavor = "multi_thread")]
async fn relay_roles_tell_what_they_know() {
    let (ops, broken) = (Subscriber::ok().await, Subscriber::replying(&[503]).await);
    let broker = |name: &str, url: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}}}\nstatus:\n  \
             address: {{url: '{url}default/{name}'}}\n  annotations: {{knative.dev/channelAddress: '{url}channel'}}\n"
        )
    };
    let uid = "2c7c1f6e-6f2d-4b59-9d0f-1b1f0a7d9a10";
    let trigger = |name: &str, broker: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}, uid: {uid}}}\n\
             spec: {{broker: {broker}, subscriber: {{uri: 'http://not.used/'}}}}\nstatus: {{subscriberUri: '{}'}}\n",
            broken.url()
        )
    };
    let yaml = broker("ops", &ops.url())
        + &broker("b", &broken.url())
        + &trigger("of-ops", "ops")
        + &trigger("t", "b");
    let role = async |role: &str| telling(&yaml).arg("--role").arg(role).start().await;
    let (ingress, filter) = (role("ingress").await, role("filter").await);
    // The channel of a Broker takes nothing.
    assert_eq!(
        send(&plain(), ingress.http_url("/default/b"), "1").await,
        500
    );
    let (told, data) = until(&ops, FAILING, "broker/default/b").await;
    assert_eq!(
        (told.path.as_str(), &data["destination"]),
        ("/channel", &"channel".into())
    );
    assert_eq!(told.header("ce-knativebrokerttl"), Some("255"));
    // The subscriber of a Trigger takes nothing; of a Trigger of these events nothing is told.
    for name in ["of-ops", "t"] {
        let url = filter.http_url(&format!("/triggers/default/{name}/{uid}"));
        let sent = event(&plain(), url, "2")
            .header("ce-knativebrokerttl", "9")
            .send()
            .await;
        assert_eq!(sent.expect("an answer").status(), 503);
    }
    let (told, data) = until(&ops, FAILING, "trigger/default/t").await;
    assert_eq!(
        (told.path.as_str(), &data["destination"]),
        ("/default/ops", &"subscriber".into())
    );
    let of_ops = |one: &Received| one.header("ce-subject") == Some("trigger/default/of-ops");
    assert!(!ops.received().iter().any(of_ops));
}

/// A name that nothing has is said; a text that is no name is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_is_said() {
    let dispatcher = Dispatcher::of(&channel(&[]));
    let dispatcher = dispatcher
        .arg("--system-events")
        .arg("default/none")
        .start()
        .await;
    let parts = [
        "--system-events names no Broker and no channel",
        "default/none",
    ];
    eventually("said", || !dispatcher.logged(&parts).is_empty()).await;
    let ended = tokio::process::Command::new(crate::support::binary())
        .args(["run", "-f", "x", "--system-events", "ops"])
        .output()
        .await
        .expect("it runs");
    assert_eq!(ended.status.code(), Some(2));
}
