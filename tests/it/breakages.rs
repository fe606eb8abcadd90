//! What breaks at night, and what the log says of it: a line when it begins, a line when it ends,
//! none for each event.

mod seen;

use std::time::Duration;

use rustix::process::Signal;
use time::OffsetDateTime;

use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{plain, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{block, channel, eventually};

/// Nobody listens there: the port is privileged, and no service of these tests has it.
const NOBODY: &str = "http://127.0.0.1:1/";

async fn send_some(dispatcher: &Dispatcher, count: usize) -> Vec<u16> {
    let mut answers = Vec::new();
    for id in 0..count {
        answers.push(send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await);
    }
    answers
}

fn with_sink(subscriber: &str, sink: &Subscriber) -> String {
    channel(&[(
        "s",
        format!(
            "{subscriber}\ndelivery: {{deadLetterSink: {{uri: '{}'}}}}",
            sink.url()
        ),
    )])
}

/// The first line says which version this is, and nothing is said of single events.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_down_is_told_once() {
    let sink = Subscriber::ok().await;
    let dispatcher = Dispatcher::of(&with_sink(
        &format!("subscriber: {{uri: '{NOBODY}'}}"),
        &sink,
    ))
    .start()
    .await;
    assert_eq!(send_some(&dispatcher, 20).await, [202; 20]);
    sink.until(20).await;
    let log = dispatcher.log();
    let first = log.lines().next().unwrap_or_default();
    assert!(
        first.contains("sealpost starts") && first.contains(env!("CARGO_PKG_VERSION")),
        "{log}"
    );
    let told = dispatcher.logged(&[
        "A destination fails",
        "subscription default/s",
        NOBODY,
        "\"WARN\"",
    ]);
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("could not connect"), "{log}");
    assert!(dispatcher.logged(&["Event lost"]).is_empty(), "{log}");
}

/// Losses are told in full once a minute; what came after is summed, at the end at the latest.
#[tokio::test(flavor = "multi_thread")]
async fn losses_are_summed() {
    let mut dispatcher = Dispatcher::standalone(&channel(&[(
        "s",
        format!("subscriber: {{uri: '{NOBODY}'}}"),
    )]))
    .await;
    assert_eq!(send_some(&dispatcher, 20).await, [500; 20]);
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 20);
    assert_eq!(
        dispatcher
            .logged(&["\"ERROR\"", "subscription default/s"])
            .len(),
        1,
        "{}",
        dispatcher.log()
    );
    dispatcher.signal(Signal::TERM);
    dispatcher.ended().await;
    let summed = dispatcher.logged(&["More events lost", "subscription default/s", "\"more\":19"]);
    assert_eq!(summed.len(), 1, "{}", dispatcher.log());
}

/// The end is a line, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_back_is_told() {
    let subscriber = Subscriber::replying(&[503, 503, 503, 200]).await;
    let sink = Subscriber::ok().await;
    let yaml = with_sink(
        &format!("subscriber: {{uri: '{}'}}", subscriber.url()),
        &sink,
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(send_some(&dispatcher, 6).await, [202; 6]);
    let begun = dispatcher.logged(&["A destination fails", "answered 503"]);
    let ended = dispatcher.logged(&[
        "A destination takes events again",
        "\"INFO\"",
        "\"failures\":3",
    ]);
    assert_eq!((begun.len(), ended.len()), (1, 1), "{}", dispatcher.log());
}

/// A wrong name, a name that DNS does not know, and a port that does not speak TLS: each in words,
/// without codes or numbers that only a program can read.
#[tokio::test(flavor = "multi_thread")]
async fn causes_are_words() {
    let (ca, sink) = (Ca::new("good"), Subscriber::ok().await);
    let named = Subscriber::secure(&ca.issue(&["other.example"]), |_| Reply::status(200)).await;
    let outdated = Ca::valid(
        "outdated",
        OffsetDateTime::now_utc() - time::Duration::days(1),
    );
    let plain_port = Subscriber::ok().await;
    let https = |address: &str| address.replace("http://", "https://");
    for (uri, pem, words) in [
        (named.url(), ca.pem.as_str(), "not valid for name"),
        (
            "http://nowhere.invalid/".to_owned(),
            "",
            "could not connect",
        ),
        (
            https(&plain_port.url()),
            &ca.pem,
            "is this its port for plain HTTP?",
        ),
        (
            https(&plain_port.url()),
            &outdated.pem,
            "no certificate of CACerts is valid now",
        ),
    ] {
        let pem = if pem.is_empty() {
            String::new()
        } else {
            format!("\n  CACerts: {}", block(pem, 4).trim_end())
        };
        let dispatcher = Dispatcher::standalone(&with_sink(
            &format!("subscriber:\n  uri: {uri}{pem}"),
            &sink,
        ))
        .await;
        assert_eq!(send_some(&dispatcher, 3).await, [202; 3], "{words}");
        let told = dispatcher.logged(&["A destination fails"]);
        assert!(
            told.len() == 1 && told[0].contains(words),
            "{words}: {}",
            dispatcher.log()
        );
        assert!(
            !told[0].contains("UNIX") && !told[0].contains("tls: TLS"),
            "{}",
            told[0]
        );
    }
}

/// A certificate in CACerts that expires while the process runs is told when it does, whether there
/// are events or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_expires_is_told() {
    let ca = Ca::valid(
        "short",
        OffsetDateTime::now_utc() + time::Duration::seconds(4),
    );
    let spec = format!(
        "subscriber:\n  uri: https://localhost:1/\n  CACerts: {}",
        block(&ca.pem, 4)
    );
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec)])).await;
    let told = || {
        dispatcher.logged(&[
            "A certificate in CACerts has expired",
            "CN=short",
            "subscription default/s",
        ])
    };
    eventually("it is told", || !told().is_empty()).await;
    assert!(
        told().len() == 1 && told()[0].contains("Z\""),
        "{}",
        dispatcher.log()
    );
}

/// A handshake that fails names the peer, and says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handshake_names_its_peer() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--transport-encryption")
        .arg("permissive")
        .start()
        .await;
    let url = dispatcher.https_url("/default/c");
    let refused = trusting(&Ca::new("another").pem)
        .post(&url)
        .body("x")
        .send()
        .await;
    assert!(refused.is_err(), "the development CA is not trusted");
    eventually("it is told", || {
        !dispatcher
            .logged(&["TLS handshake failed", "\"peer\":\"127.0.0.1:"])
            .is_empty()
    })
    .await;
    let told = dispatcher.logged(&["TLS handshake failed"]);
    assert!(
        told.len() == 1 && told[0].contains("does it trust the CA?"),
        "{told:?}"
    );
}

/// `Ready` is not said while RabbitMQ is away, and the log says what is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn without_rabbitmq_it_is_not_ready() {
    let yaml = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n";
    let dispatcher = Dispatcher::of(yaml)
        .arg("--default-channel")
        .arg("rabbitmq");
    let dispatcher = dispatcher
        .env("SEALPOST_RABBITMQ_URI", "amqp://127.0.0.1:1/")
        .launch()
        .await;
    eventually("it is told", || {
        !dispatcher
            .logged(&["Started, not Ready yet", "RabbitMQ"])
            .is_empty()
    })
    .await;
    assert!(dispatcher.logged(&["\"message\":\"Ready\""]).is_empty());
    assert_eq!(dispatcher.admin_text("/readyz").await.0, 503);
}

/// The first signal says what is waited for, and that another one waits for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_says_what_is_waited_for() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(1))).await;
    let mut dispatcher = Dispatcher::standalone(&channel(&[(
        "s",
        format!("subscriber: {{uri: '{}'}}", slow.url()),
    )]))
    .await;
    let url = dispatcher.http_url("/default/c");
    let sending = tokio::spawn(async move { send(&plain(), url, "1").await });
    slow.until(1).await;
    dispatcher.signal(Signal::INT);
    assert_eq!(sending.await.expect("sent"), 202);
    assert!(dispatcher.ended().await.success());
    let told = dispatcher.logged(&[
        "Stopping",
        "\"deliveries\":1",
        "another Ctrl-C or SIGTERM ends them at once",
    ]);
    assert_eq!(told.len(), 1, "{}", dispatcher.log());
}

/// A variable that nothing reads is named, without its value.
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_variable_is_named() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .env("SEALPOST_MAX_CONECTIONS", "s3cret")
        .start()
        .await;
    let told = dispatcher.logged(&[
        "SEALPOST_MAX_CONECTIONS",
        "did you mean SEALPOST_MAX_CONNECTIONS?",
    ]);
    assert!(
        told.len() == 1 && !dispatcher.log().contains("s3cret"),
        "{}",
        dispatcher.log()
    );
}
