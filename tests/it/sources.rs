//! PingSources: events at the times of a schedule, over the same delivery.

use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::pki::Ca;
use crate::support::subscriber::{Reply, Subscriber};

fn ping(name: &str, spec: &str, sink: &str) -> String {
    format!(
        "---\napiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {{name: {name}}}\nspec:\n  schedule: '* * * * * *'\n  {spec}\n  sink: {sink}\n"
    )
}

/// In `strict`, to a sink with CACerts and to a Broker of this process; each event is new, and
/// retried as any other.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_sent_by_schedule() {
    let (ca, other) = (Ca::new("own"), Ca::new("other"));
    let identity = ca.issue(&["localhost"]);
    let secure = Subscriber::secure(&identity, |request| {
        Reply::status(if request.number == 0 { 503 } else { 200 })
    })
    .await;
    let untrusted = Subscriber::secure(&identity, |_| Reply::status(200)).await;
    let broker = Subscriber::ok().await;
    let sink = |to: &Subscriber, ca: &Ca| {
        format!(
            "{{uri: '{}', CACerts: {}}}",
            to.url(),
            serde_json::Value::from(ca.pem.as_str())
        )
    };
    let data = "contentType: application/json\n  data: '{\"message\": \"Hello\"}'\n  ceOverrides: {extensions: {tenant: a}}";
    let yaml = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec:\n  broker: b\n  filter: {{attributes: {{type: dev.knative.sources.ping}}}}\n  subscriber: {{uri: '{}'}}\n{}{}{}",
        broker.url(),
        ping("secure", data, &sink(&secure, &ca)),
        ping("untrusted", "timezone: UTC", &sink(&untrusted, &other)),
        ping(
            "local",
            "timezone: Europe/Berlin",
            "{ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}"
        )
    );
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--transport-encryption")
        .arg("strict")
        .start()
        .await;
    let got = secure.until(3).await;
    assert_eq!(got[0].id(), got[1].id(), "the first is tried again");
    assert_ne!(got[1].id(), got[2].id(), "each event is new");
    let event = &got[2];
    assert_eq!(event.header("ce-type"), Some("dev.knative.sources.ping"));
    assert_eq!(
        event.header("ce-source"),
        Some("/apis/v1/namespaces/default/pingsources/secure")
    );
    assert_eq!(
        (event.header("ce-tenant"), event.header("content-type")),
        (Some("a"), Some("application/json"))
    );
    assert!(
        event
            .header("ce-time")
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert_eq!(&event.body[..], br#"{"message": "Hello"}"#);
    assert_eq!(broker.until(1).await[0].header("ce-knativebrokerttl"), None);
    eventually("the loss is told", || {
        !dispatcher
            .logged(&["Event lost", "pingsource default/untrusted"])
            .is_empty()
    })
    .await;
    assert_eq!(
        untrusted.count(),
        0,
        "the sink's certificate is not one of the source's CACerts"
    );
}

/// A source that is changed sends the new event, one that is removed sends no more, and others are
/// not disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn sources_follow_the_manifests() {
    let (changed, removed, same) = (
        Subscriber::ok().await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let to = |sink: &Subscriber| format!("{{uri: '{}'}}", sink.url());
    let all = ping("changed", "data: one", &to(&changed))
        + &ping("removed", "", &to(&removed))
        + &ping("same", "", &to(&same));
    let mut dispatcher = Dispatcher::standalone(&all).await;
    for sink in [&changed, &removed, &same] {
        sink.until(1).await;
    }
    let fewer = ping("changed", "data: two", &to(&changed)) + &ping("same", "", &to(&same));
    dispatcher.apply(&fewer).await;
    let before = (removed.count(), same.count());
    eventually("the new data come", || {
        changed.received().iter().any(|event| event.body == "two")
    })
    .await;
    same.until(before.1 + 2).await;
    assert!(
        removed.count() <= before.0 + 1,
        "at most the one that was under way"
    );
    let mut seen: Vec<String> = same
        .received()
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), same.count(), "nothing is sent twice");
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
}
