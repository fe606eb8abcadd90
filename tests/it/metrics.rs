//! Numbers for operators: what is counted where, and that senders cannot make series.

mod exposition;

use std::collections::BTreeSet;

use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::sender::{event, plain, raw, send};
use crate::support::subscriber::{Reply, Subscriber};

async fn until(dispatcher: &Dispatcher, name: &str, parts: &[&str], wanted: f64) {
    let deadline = std::time::Instant::now() + crate::support::SOON;
    loop {
        let found = dispatcher.series_value(name, parts).await;
        if (found - wanted).abs() < f64::EPSILON {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{name} {parts:?} stays {found}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn channel(subscriptions: &str) -> String {
    format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c, namespace: ns, annotations: {{messaging.knative.dev/async-handler: 'true'}}}}\nspec: {{}}\n{subscriptions}"
    )
}

fn subscription(name: &str, to: &Subscriber, delivery: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}, namespace: ns}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n  delivery: {{{delivery}}}\n",
        to.url()
    )
}

/// Whatever senders write, it makes no series (contract G-66). Every name and every label is
/// documented.
#[tokio::test(flavor = "multi_thread")]
async fn senders_make_no_series() {
    let sink = Subscriber::ok().await;
    let dispatcher = Dispatcher::of(&channel(&subscription("s", &sink, "")))
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/ns/c"), "first").await,
        202
    );
    until(&dispatcher, "sealpost_deliveries_unfinished", &[], 0.0).await;
    let before = dispatcher.admin_text("/metrics").await.1;
    for batch in 0..10 {
        let event = |n: usize| {
            format!(
                r#"{{"specversion":"1.0","id":"{n}","source":"/source/{n}","type":"type.{n}","subject":"subject{n}","x{n}":"{n}"}}"#
            )
        };
        let events: Vec<String> = (batch * 1000..(batch + 1) * 1000).map(event).collect();
        let request = plain()
            .post(dispatcher.http_url("/ns/c"))
            .header("host", format!("localhost:{batch}"));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request
            .body(format!("[{}]", events.join(",")))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 202);
    }
    eventually("all are delivered", || sink.count() > 10_000).await;
    until(&dispatcher, "sealpost_deliveries_unfinished", &[], 0.0).await;
    let after = dispatcher.admin_text("/metrics").await.1;
    assert_eq!(
        dispatcher
            .series_value("sealpost_channel_events_total", &["result=\"accepted\""])
            .await,
        10_001.0
    );
    let names = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, _)| series.to_owned())
            .collect()
    };
    assert_eq!(
        names(&before),
        names(&after),
        "the same series as after one event"
    );

    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md"))
        .expect("a page");
    for name in after
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
    {
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} is not in docs/METRICS.md"
        );
    }
    let labels = after
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('{'));
    for label in labels
        .flat_map(|(_, labels)| labels.split("\","))
        .filter_map(|pair| pair.split_once('='))
    {
        assert!(
            page.contains(&format!("`{}`", label.0)),
            "the label {} is not in docs/METRICS.md",
            label.0
        );
    }
}

/// A subscription whose event went to the dead letter sink, and one whose event was delivered.
struct NumbersScene {
    dispatcher: Dispatcher,
    fine: Subscriber,
    _others: [Subscriber; 2],
}

/// The labels of the series of `bad` and `good`.
const BAD: [&str; 3] = [
    "subscription_kind=\"subscription\"",
    "subscription_namespace=\"ns\"",
    "subscription_name=\"bad\"",
];
const GOOD: [&str; 3] = [
    "subscription_kind=\"subscription\"",
    "subscription_namespace=\"ns\"",
    "subscription_name=\"good\"",
];

fn with(of: [&'static str; 3], more: &[&'static str]) -> Vec<&'static str> {
    [&of[..], more].concat()
}

impl NumbersScene {
    /// Sends an event, and waits until both deliveries have ended.
    async fn start() -> Self {
        let (failing, dead, fine) = (
            Subscriber::replying(&[503]).await,
            Subscriber::ok().await,
            Subscriber::ok().await,
        );
        let delivery = format!(
            "retry: 2, backoffDelay: PT0.01S, backoffPolicy: linear, deadLetterSink: {{uri: '{}'}}",
            dead.url()
        );
        let yaml =
            channel(&(subscription("bad", &failing, &delivery) + &subscription("good", &fine, "")));
        let dispatcher = Dispatcher::of(&yaml).start().await;
        assert_eq!(send(&plain(), dispatcher.http_url("/ns/c"), "1").await, 202);
        let deliveries = "sealpost_subscription_deliveries_total";
        for labels in [
            with(BAD, &["outcome=\"dead_lettered\""]),
            with(GOOD, &["outcome=\"delivered\""]),
        ] {
            until(&dispatcher, deliveries, &labels, 1.0).await;
        }
        Self {
            dispatcher,
            fine,
            _others: [failing, dead],
        }
    }
}

/// A subscription's numbers tell its story, and go with it (contract G-65).
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriptions_numbers_tell_its_story() {
    let scene = NumbersScene::start().await;
    let (dispatcher, fine) = (&scene.dispatcher, &scene.fine);
    let attempts = "sealpost_subscription_attempts_total";
    for (labels, wanted) in [
        (
            with(BAD, &["destination=\"subscriber\"", "result=\"5xx\""]),
            3.0,
        ),
        (
            with(BAD, &["destination=\"dead_letter_sink\"", "result=\"2xx\""]),
            1.0,
        ),
        (
            with(GOOD, &["destination=\"subscriber\"", "result=\"2xx\""]),
            1.0,
        ),
    ] {
        assert_eq!(
            dispatcher.series_value(attempts, &labels).await,
            wanted,
            "{labels:?}"
        );
    }
    assert_eq!(
        dispatcher
            .series_value("sealpost_subscription_retries_total", &BAD)
            .await,
        2.0
    );
    for gauge in ["in_flight", "queue_depth", "queue_oldest_seconds"] {
        assert_eq!(
            dispatcher
                .series_value(&format!("sealpost_subscription_{gauge}"), &BAD)
                .await,
            0.0,
            "{gauge}"
        );
    }

    dispatcher
        .apply(&channel(&subscription("good", fine, "")))
        .await;
    until(
        dispatcher,
        "sealpost_configurations_applied_total",
        &[],
        2.0,
    )
    .await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher
        .admin_text("/metrics")
        .await
        .1
        .contains("subscription_name=\"bad\"")
    {
        assert!(
            std::time::Instant::now() < deadline,
            "the series of what is gone stay"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The numbers of the process tell of the same event (contract OB-6).
#[tokio::test(flavor = "multi_thread")]
async fn a_process_counts_requests_and_what_it_runs_with() {
    let scene = NumbersScene::start().await;
    let dispatcher = &scene.dispatcher;
    let upstreams = [
        "messaging_destination_name=\"subscription:bad.ns\"",
        "http_response_status_code=\"200\"",
    ];
    let count = "kn_eventing_dispatch_duration_seconds_count";
    assert_eq!(
        dispatcher.series_value(count, &upstreams).await,
        1.0,
        "contract OB-6: the last hop, which is the dead letter sink"
    );
    let requests = [
        "http_request_method=\"POST\"",
        "url_scheme=\"http\"",
        "http_response_status_code=\"202\"",
    ];
    assert_eq!(
        dispatcher
            .series_value("http_server_request_duration_seconds_count", &requests)
            .await,
        1.0
    );
    assert!(
        dispatcher
            .series_value("sealpost_connections_total", &["listener=\"http\""])
            .await
            >= 1.0
    );
    assert_eq!(
        dispatcher
            .series_value("sealpost_configuration_problems", &["severity=\"error\""])
            .await,
        0.0
    );
    let ends = dispatcher
        .series_value(
            "sealpost_certificate_expiration_timestamp_seconds",
            &["use=\"server\""],
        )
        .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time")
        .as_secs_f64();
    assert!(
        ends > now,
        "the certificate of the development CA is valid: {ends}"
    );
}

/// An event that waits for its turn is seen: how many there are, and since when.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_shows_its_depth_and_age() {
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(std::time::Duration::from_secs(30)))
            .await;
    let yaml = channel(&subscription("s", &slow, ""));
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--concurrency")
        .arg("1")
        .start()
        .await;
    let events: Vec<String> = (0..4)
        .map(|n| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t"}}"#))
        .collect();
    let request = plain()
        .post(dispatcher.http_url("/ns/c"))
        .header("content-type", "application/cloudevents-batch+json");
    assert_eq!(
        request
            .body(format!("[{}]", events.join(",")))
            .send()
            .await
            .expect("an answer")
            .status(),
        202
    );
    let of_channel = [
        "subscription_name=\"s\"",
        "channel_kind=\"channel\"",
        "channel_name=\"c\"",
    ];
    until(&dispatcher, "sealpost_subscription_info", &of_channel, 1.0).await;
    until(
        &dispatcher,
        "sealpost_subscription_in_flight",
        &["subscription_name=\"s\""],
        1.0,
    )
    .await;
    until(
        &dispatcher,
        "sealpost_subscription_queue_depth",
        &["subscription_name=\"s\""],
        3.0,
    )
    .await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher
        .series_value(
            "sealpost_subscription_queue_oldest_seconds",
            &["subscription_name=\"s\""],
        )
        .await
        < 0.05
    {
        assert!(
            std::time::Instant::now() < deadline,
            "the oldest event has no age"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Why events are lost is counted by a short list of reasons, at the destination that failed last
/// (contract G-65).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_counted_by_its_reason() {
    let (refusing, failing) = (
        Subscriber::replying(&[404]).await,
        Subscriber::replying(&[503]).await,
    );
    let babbling = Subscriber::answering(|_| {
        Reply::text(200, "{").header("content-type", "application/cloudevents+json")
    })
    .await;
    let silent =
        Subscriber::answering(|_| Reply::status(200).after(std::time::Duration::from_secs(30)))
            .await;
    let nobody = Subscriber::ok().await;
    let sink = format!("deadLetterSink: {{uri: '{}'}}", failing.url());
    let yaml = channel(
        &[
            subscription("refused", &refusing, ""),
            subscription("buried", &refusing, &sink),
            subscription("late", &silent, "timeout: PT0.1S"),
            subscription("away", &nobody, ""),
            subscription("babbled", &babbling, "").replace(
                "spec:\n",
                &format!("spec:\n  reply: {{uri: '{}'}}\n", nobody.url()),
            ),
        ]
        .concat(),
    );
    drop(nobody);
    let dispatcher = Dispatcher::of(&yaml).start().await;
    let dropped = "sealpost_subscription_dropped_total";
    assert_eq!(
        dispatcher.series(dropped, &[]).await,
        Vec::<String>::new(),
        "series appear when something happens"
    );
    assert_eq!(send(&plain(), dispatcher.http_url("/ns/c"), "1").await, 202);
    for (name, destination, reason) in [
        ("refused", "subscriber", "status_4xx"),
        ("buried", "dead_letter_sink", "status_5xx"),
        ("late", "subscriber", "timeout"),
        ("away", "subscriber", "connect"),
        ("babbled", "reply", "reply"),
    ] {
        let labels = [
            ("subscription_name", name),
            ("outcome", "lost"),
            ("destination", destination),
            ("reason", reason),
        ];
        let labels = labels.map(|(label, value)| format!("{label}=\"{value}\""));
        until(
            &dispatcher,
            dropped,
            &labels.each_ref().map(String::as_str),
            1.0,
        )
        .await;
    }
    assert_eq!(dispatcher.series(dropped, &[]).await.len(), 5);
}

/// Prometheus' names for what the process uses; they stand for those of Go's runtime (contract
/// OB-10).
#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_measured() {
    let sink = Subscriber::ok().await;
    let dispatcher = Dispatcher::of(&channel(&subscription("s", &sink, "")))
        .start()
        .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time")
        .as_secs_f64();
    for (name, least, most) in [
        ("process_resident_memory_bytes", 1e6, 1e9),
        ("process_virtual_memory_bytes", 1e6, 1e13),
        ("process_open_fds", 6.0, 100.0),
        ("process_max_fds", 100.0, 1e10),
        ("process_threads", 2.0, 1000.0),
        ("process_start_time_seconds", now - 60.0, now + 1.0),
        ("sealpost_build_info", 1.0, 1.0),
        ("sealpost_tasks_alive", 4.0, 1000.0),
        ("sealpost_tasks_queued", 0.0, 1000.0),
        ("sealpost_workers", 1.0, 1000.0),
        ("sealpost_workers_busy_seconds_total", 1e-6, 60.0),
    ] {
        let found = dispatcher.series_value(name, &[]).await;
        assert!((least..=most).contains(&found), "{name} {found}");
    }
    assert_eq!(
        dispatcher.series("sealpost_rabbitmq_up", &[]).await,
        Vec::<String>::new(),
        "there is no RabbitMQ"
    );
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher
        .series_value("process_cpu_seconds_total", &[])
        .await
        < 0.01
    {
        assert!(std::time::Instant::now() < deadline, "no processor time");
    }
}

/// Contract OB-9: sizes of bodies, with the labels of the durations; by powers of four.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_measured() {
    let sink = Subscriber::answering(|_| Reply::text(200, "thanks")).await;
    let dispatcher = Dispatcher::of(&channel(&subscription("s", &sink, "")))
        .start()
        .await;
    let request = || event(&plain(), dispatcher.http_url("/ns/c"), "1");
    assert_eq!(
        request()
            .body("x".repeat(300))
            .send()
            .await
            .expect("an answer")
            .status(),
        202
    );
    let chunks = "POST /ns/c HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nce-specversion: 1.0\r\nce-id: 2\r\nce-source: /s\r\nce-type: t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    let answer = raw(dispatcher.http, chunks.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    sink.until(2).await;
    until(&dispatcher, "sealpost_deliveries_unfinished", &[], 0.0).await;
    let post = ["http_request_method=\"POST\"", "http_response_status_code"];
    let of_server = [&post[..], &["url_scheme=\"http\""]].concat();
    for (family, labels, sum, below) in [
        (
            "http_server_request_body_size_bytes",
            &of_server[..],
            308.0,
            [("64", 1.0), ("256", 1.0), ("1024", 2.0)],
        ),
        (
            "http_server_response_body_size_bytes",
            &of_server[..],
            0.0,
            [("64", 2.0), ("256", 2.0), ("1024", 2.0)],
        ),
        (
            "http_client_request_body_size_bytes",
            &post[..],
            308.0,
            [("64", 1.0), ("256", 1.0), ("1024", 2.0)],
        ),
    ] {
        assert_eq!(
            dispatcher
                .series_value(&format!("{family}_count"), labels)
                .await,
            2.0,
            "{family}"
        );
        assert_eq!(
            dispatcher
                .series_value(&format!("{family}_sum"), labels)
                .await,
            sum,
            "{family}"
        );
        for (bound, wanted) in below {
            let le = format!("le=\"{bound}\"");
            let found = dispatcher
                .series_value(&format!("{family}_bucket"), &[labels, &[&le]].concat())
                .await;
            assert_eq!(found, wanted, "{family} {bound}");
        }
    }
}

/// The next event of an ordered subscription waits as long as the one before it takes, and is seen
/// to.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_queue_shows_its_age() {
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(std::time::Duration::from_secs(30)))
            .await;
    let ordered = subscription("s", &slow, "");
    let ordered = ordered.replace(
        "{name: s,",
        "{name: s, annotations: {sealpost.dev/delivery-order: ordered},",
    );
    let dispatcher = Dispatcher::of(&channel(&ordered)).start().await;
    assert_eq!(send(&plain(), dispatcher.http_url("/ns/c"), "1").await, 202);
    until(&dispatcher, "sealpost_subscription_in_flight", &[], 1.0).await;
    let oldest = "sealpost_subscription_queue_oldest_seconds";
    assert_eq!(
        dispatcher.series_value(oldest, &[]).await,
        0.0,
        "none waits"
    );
    for id in ["2", "3"] {
        assert_eq!(send(&plain(), dispatcher.http_url("/ns/c"), id).await, 202);
    }
    until(&dispatcher, "sealpost_subscription_queue_depth", &[], 2.0).await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher.series_value(oldest, &[]).await < 0.05 {
        assert!(
            std::time::Instant::now() < deadline,
            "the event that waits for its turn has no age"
        );
    }
}

/// Whoever scrapes gets the form that it asks for, compressed if it likes.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_the_form_that_is_asked_for() {
    let dispatcher = Dispatcher::standalone(&crate::support::channel(&[])).await;
    let get = |accept: &'static str, encoding: &'static str| {
        let request = plain().get(format!("http://{}/metrics", dispatcher.admin));
        request
            .header("accept", accept)
            .header("accept-encoding", encoding)
            .send()
    };
    let plain_text = get("text/plain", "identity").await.expect("an answer");
    assert_eq!(
        plain_text.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(plain_text.headers().get("content-encoding").is_none());
    let plain_text = plain_text.text().await.expect("a text");
    assert!(
        plain_text.contains("# TYPE sealpost_events_accepted_total counter\n")
            && !plain_text.contains("# EOF")
    );
    let open_metrics = get(
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        "gzip",
    )
    .await
    .expect("an answer");
    let header = |name: &str| {
        open_metrics.headers()[name]
            .to_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(
        header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(
        (header("content-encoding"), header("vary")),
        ("gzip".to_owned(), "accept, accept-encoding".to_owned())
    );
    let compressed = open_metrics.bytes().await.expect("a body");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*compressed), &mut text)
        .expect("gzip");
    assert!(
        text.contains("# TYPE sealpost_events_accepted counter\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
    assert!(text.contains("sealpost_events_accepted_total 0\n"));
    assert!(
        compressed.len() * 3 < text.len(),
        "{} of {}",
        compressed.len(),
        text.len()
    );
    let mut families: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all, "each family is described once");
}
