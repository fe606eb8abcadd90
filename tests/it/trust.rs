//! Each subscriber is trusted by its own certificates (contract TL-1 to TL-4, G-59).

use std::collections::HashSet;

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::pki::Ca;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{block, channel, eventually};

fn trusting(url: &str, ca: &str, sink: &Subscriber) -> String {
    let ca = block(ca, 4);
    format!(
        "subscriber:\n  uri: {url}\n  CACerts: {ca}delivery: {{deadLetterSink: {{uri: '{}'}}}}",
        sink.url()
    )
}

/// Two subscriptions to one URL with different CACerts: the right one is delivered, the other
/// dead-lettered, in every order and after swapping them (contract 2.25, G-59).
#[tokio::test(flavor = "multi_thread")]
async fn one_url_with_two_trusts() {
    let (right, wrong) = (Ca::new("right"), Ca::new("wrong"));
    let subscriber = Subscriber::secure(&right.issue(&["localhost"]), |_| Reply::status(200)).await;
    let (sink_a, sink_b) = (Subscriber::ok().await, Subscriber::ok().await);
    let yaml = |a: &Ca, b: &Ca| {
        let subscriptions = [
            ("a", trusting(&subscriber.url(), &a.pem, &sink_a)),
            ("b", trusting(&subscriber.url(), &b.pem, &sink_b)),
        ];
        channel(&subscriptions)
    };
    let dispatcher = Dispatcher::standalone(&yaml(&right, &wrong)).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    for round in 0..6 {
        let (a, b) = if round % 2 == 0 {
            (&right, &wrong)
        } else {
            (&wrong, &right)
        };
        if round > 0 {
            dispatcher.apply(&yaml(a, b)).await;
        }
        let (before, id) = (subscriber.count(), format!("{round}"));
        assert_eq!(send(&client, &url, &id).await, 202);
        let (buried, spared) = if round % 2 == 0 {
            (&sink_b, &sink_a)
        } else {
            (&sink_a, &sink_b)
        };
        assert_eq!(
            subscriber.count(),
            before + 1,
            "one of the two, round {round}"
        );
        let letters = buried.received();
        let letter = letters.last().expect("a dead letter");
        assert_eq!(
            (letter.id(), letter.header("ce-knativeerrorcode")),
            (id.as_str(), Some("500"))
        );
        assert!(spared.received().iter().all(|letter| letter.id() != id));
    }
}

/// Destinations that share trust share connections, whatever the order of their PEM; those that do
/// not never do.
#[tokio::test(flavor = "multi_thread")]
async fn equal_trust_shares_connections() {
    let (ca, other) = (Ca::new("shared"), Ca::new("other"));
    let subscriber = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
    let sink = Subscriber::ok().await;
    let both = format!("{}{}", ca.pem, other.pem);
    let turned = format!("# a comment\n{}\n{}", other.pem, ca.pem);
    let spec = |pem: &str| trusting(&subscriber.url(), pem, &sink);
    let dispatcher = Dispatcher::standalone(&channel(&[
        ("a", spec(&both)),
        ("b", spec(&turned)),
        ("c", spec(&ca.pem)),
    ]))
    .await;
    for id in 0..5 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    assert_eq!((subscriber.count(), sink.count()), (15, 0));
    assert!(
        subscriber.connections() <= 3,
        "{} connections",
        subscriber.connections()
    );
    let used: HashSet<usize> = subscriber
        .received()
        .iter()
        .map(|received| received.connection)
        .collect();
    assert!(used.len() >= 2, "different trust, another connection");
}

/// Contract TL-1, 3.9, 3.10, C21, C22: trust bundles of the system namespace count, others do not,
/// and what is no PEM is skipped; a change takes effect on the next delivery.
#[tokio::test(flavor = "multi_thread")]
async fn trust_bundles() {
    let ca = Ca::new("bundle");
    let subscriber = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
    let sink = Subscriber::ok().await;
    let spec = format!(
        "subscriber: {{uri: '{}'}}\ndelivery: {{deadLetterSink: {{uri: '{}'}}}}",
        subscriber.url(),
        sink.url()
    );
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec)])).await;
    let bundle = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bundle, namespace: {namespace}, labels: {{networking.knative.dev/trust-bundle: 'true'}}}}\ndata:\n  README: no certificate\n  ca.pem: {}binaryData: {{bundle.p12: MIIBAgMEBQY=}}\n",
            block(&ca.pem, 4)
        )
    };
    for (round, (namespace, trusted)) in [
        ("orders", false),
        ("knative-eventing", true),
        ("orders", false),
    ]
    .into_iter()
    .enumerate()
    {
        dispatcher.apply_to("bundle.yaml", &bundle(namespace)).await;
        let (delivered, buried) = (subscriber.count(), sink.count());
        let id = round.to_string();
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id).await,
            202
        );
        let expected = if trusted {
            (delivered + 1, buried)
        } else {
            (delivered, buried + 1)
        };
        assert_eq!((subscriber.count(), sink.count()), expected, "{namespace}");
    }
}

/// Expired trust is an error that says which certificate and why.
#[tokio::test(flavor = "multi_thread")]
async fn expired_trust() {
    let until = OffsetDateTime::now_utc() + Duration::seconds(6);
    let ca = Ca::valid("short-lived", until);
    let subscriber = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
    let sink = Subscriber::ok().await;
    let yaml = channel(&[("s", trusting(&subscriber.url(), &ca.pem, &sink))]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "in time").await,
        202
    );
    assert_eq!(subscriber.count(), 1);
    eventually("it expires", || {
        OffsetDateTime::now_utc() > until + Duration::seconds(1)
    })
    .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "too late").await,
        202
    );
    assert_eq!((subscriber.count(), sink.count()), (1, 1));
    // The configuration is judged anew at that time, as it would be at a start.
    let problem = "CN=short-lived expired on";
    let is_not_ready = async || {
        let (_, status) = dispatcher.admin_text("/api/v1/status").await;
        status.contains("\"ready\":{\"status\":\"False\"") && status.contains(problem)
    };
    let deadline = OffsetDateTime::now_utc() + Duration::seconds(10);
    while !is_not_ready().await {
        assert!(OffsetDateTime::now_utc() < deadline, "it stays ready");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        dispatcher
            .logged(&["Configuration has an error", problem])
            .len(),
        1
    );
    let data = sink.received()[0]
        .header("ce-knativeerrordata")
        .expect("data")
        .to_owned();
    let data =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).expect("base64");
    let text = String::from_utf8(data).expect("text");
    assert!(
        text.contains("no certificate of CACerts is valid now: CN=short-lived is valid from"),
        "{text}"
    );
    // The time of day is told, too: on the day itself, the day alone would read as still valid.
    let end = until
        .replace_nanosecond(0)
        .expect("a time")
        .format(&Rfc3339);
    assert!(text.contains(&end.expect("a text")), "{text}");
}

/// Whatever is wrong with a destination from the start: its events are dead letters that say so, or
/// the sender is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_work_fails() {
    let expired = Ca::valid("long-gone", OffsetDateTime::now_utc() - Duration::days(1));
    let subscriber =
        Subscriber::secure(&expired.issue(&["localhost"]), |_| Reply::status(200)).await;
    let sink = Subscriber::ok().await;
    let sunk = format!("delivery: {{deadLetterSink: {{uri: '{}'}}}}", sink.url());
    let expired = format!(
        "subscriber:\n  uri: {}\n  CACerts: {}",
        subscriber.url(),
        block(&expired.pem, 4)
    );
    for (number, (spec, words)) in [
        (
            expired.trim_end(),
            "no certificate of CACerts is valid now: CN=long-gone is valid from",
        ),
        (
            "subscriber: {uri: 'https://localhost:1/', CACerts: junk}",
            "CACerts hold no certificate that can be read",
        ),
        (
            "subscriber: {uri: 'http://user:secret@localhost:1/'}",
            "contains a user name or password",
        ),
        (
            "subscriber: {ref: {apiVersion: v1, kind: Service, name: nobody}}",
            "there is no Service default/nobody",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let dispatcher =
            Dispatcher::standalone(&channel(&[("s", format!("{spec}\n{sunk}"))])).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            202,
            "{spec}"
        );
        let letters = sink.received();
        assert_eq!(letters.len(), number + 1, "{spec}");
        let data = letters[number].header("ce-knativeerrordata").expect("data");
        let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data)
            .expect("base64");
        let text = String::from_utf8(data).expect("text");
        assert!(text.contains(words) && !text.contains("secret"), "{text}");
        let object = dispatcher.object("subscriptions", "s").await;
        assert_eq!(ready(&object)["status"], "False", "{object}");
        let alone = Dispatcher::standalone(&channel(&[("s", spec.to_owned())])).await;
        assert_eq!(
            send(&plain(), alone.http_url("/default/c"), "i").await,
            500,
            "{spec}"
        );
    }
    assert_eq!(subscriber.count(), 0);
}
