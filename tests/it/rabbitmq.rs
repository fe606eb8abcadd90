//! Channels on RabbitMQ.

mod access;
mod cluster;
mod held;
mod kept;
mod likeness;
mod outage;
mod parked;
mod ready;
mod request_reply;
mod retries;
mod texts;
mod traces;

use std::collections::HashMap;
use std::time::Duration;

use lapin::types::AMQPValue;

use crate::support::dispatcher::{Builder, Dispatcher, ready};
use crate::support::rabbitmq::{Client, header, namespace, shared};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{binary, eventually, eventually_some};

fn channel(namespace: &str) -> String {
    format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {{name: c, namespace: {namespace}}}\n"
    )
}

fn subscription(namespace: &str, name: &str, to: &Subscriber, delivery: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n  delivery: {{{delivery}}}\n",
        to.url()
    )
}

fn queue(namespace: &str, name: &str) -> String {
    format!("sealpost:channel:{namespace}:c:subscription:{namespace}:{name}")
}

fn on(uri: &str, yaml: &str) -> Builder {
    Dispatcher::of(yaml).env("SEALPOST_RABBITMQ_URI", uri)
}

/// Waits until RabbitMQ is connected and queues are declared.
async fn take_events(dispatcher: &Dispatcher, path: &str) {
    eventually_some("RabbitMQ is connected", || {
        dispatcher
            .log()
            .contains("Connected to RabbitMQ")
            .then_some(())
    })
    .await;
    dispatcher.until_serving().await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while send(&plain(), dispatcher.http_url(path), "first").await != 202 {
        assert!(std::time::Instant::now() < deadline, "no event is accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An event comes out as it went in: attributes of every type, empty and strange texts, headers
/// that are forwarded, data.
#[tokio::test(flavor = "multi_thread")]
async fn events_go_through_unchanged() {
    let (namespace, first, second) = (namespace(), Subscriber::ok().await, Subscriber::ok().await);
    let yaml = channel(&namespace)
        + &subscription(&namespace, "a", &first, "")
        + &subscription(&namespace, "b", &second, "format: json");
    let dispatcher = on(&shared(), &yaml).start().await;
    let path = format!("/{namespace}/c");
    take_events(&dispatcher, &path).await;
    let json = r#"{"specversion":"1.0","id":"i","source":"/s","type":"t","subject":"é x","n":-5,"b":true,"datacontenttype":"application/json","data":{"x":[1,2]}}"#;
    let request = plain()
        .post(dispatcher.http_url(&path))
        .header("content-type", "application/cloudevents+json");
    let request = request
        .header("x-request-id", "r1")
        .header("x-request-id", "r2")
        .body(json);
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    let body: Vec<u8> = (0..1024 * 1024u32).map(|at| (at % 251) as u8).collect();
    let request = event(&plain(), dispatcher.http_url(&path), "big")
        .header("content-type", "application/octet-stream");
    assert_eq!(
        request
            .body(body.clone())
            .send()
            .await
            .expect("an answer")
            .status(),
        202
    );
    let got = first.until(3).await;
    let by_id = |id: &str| {
        got.iter()
            .find(|event| event.id() == id)
            .expect("the event")
    };
    let event = by_id("i");
    assert_eq!(event.header("ce-subject"), Some("%C3%A9%20x"));
    assert_eq!(
        (event.header("ce-n"), event.header("ce-b")),
        (Some("-5"), Some("true"))
    );
    assert_eq!(event.headers.get_all("x-request-id").iter().count(), 2);
    assert_eq!(&event.body[..], br#"{"x":[1,2]}"#);
    assert_eq!(event.header("kn-namespace"), Some(namespace.as_str()));
    assert_eq!(by_id("big").body, body);
    let structured = second
        .until(3)
        .await
        .into_iter()
        .find(|event| event.body.len() < 1000 && event.body.windows(2).any(|w| w == b"-5"));
    let structured: serde_json::Value =
        serde_json::from_slice(&structured.expect("the event").body).expect("JSON");
    assert_eq!(
        (&structured["n"], &structured["b"]),
        (&(-5).into(), &true.into()),
        "types survive"
    );
    let object = dispatcher.object("channels", "c").await;
    assert_eq!(ready(&object)["status"], "True");
}

/// A queue is shared: two processes deliver everything once; when one is killed, the other one
/// takes over what it had.
#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_work_and_take_over() {
    let namespace = namespace();
    let subscriber =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(5))).await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let (mut one, two) = (
        on(&shared(), &yaml).start().await,
        on(&shared(), &yaml).start().await,
    );
    take_events(&one, &path).await;
    take_events(&two, &path).await;
    let client = plain();
    for id in 0..200 {
        assert_eq!(
            send(&client, one.http_url(&path), &format!("a{id}")).await,
            202
        );
    }
    let shares = || async {
        (
            one.counter("deliveries_delivered_total").await,
            two.counter("deliveries_delivered_total").await,
        )
    };
    let deadline = std::time::Instant::now() + crate::support::SOON;
    let (first, second) = loop {
        let shares = shares().await;
        if shares.0 + shares.1 >= 202 {
            break shares;
        }
        assert!(std::time::Instant::now() < deadline, "{shares:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(first > 20 && second > 20, "both work: {first}, {second}");
    let mut seen: HashMap<String, usize> = HashMap::new();
    subscriber
        .received()
        .iter()
        .for_each(|event| *seen.entry(event.id().to_owned()).or_default() += 1);
    assert!(
        seen.iter().all(|(id, count)| *count == 1 || id == "first"),
        "nothing is delivered by both"
    );

    for id in 0..200 {
        assert_eq!(
            send(&client, two.http_url(&path), &format!("b{id}")).await,
            202
        );
    }
    one.signal(rustix::process::Signal::KILL);
    one.ended().await;
    let ids = || {
        subscriber
            .received()
            .iter()
            .filter(|event| event.id().starts_with('b'))
            .map(|event| event.id().to_owned())
            .collect::<std::collections::HashSet<_>>()
    };
    eventually("the other one takes over", || ids().len() == 200).await;
}

/// What nobody took is parked with the reason; a message that is no event, too, and neither delays
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_parked() {
    let namespace = namespace();
    let subscriber = Subscriber::answering(|event| {
        Reply::text(if event.id() == "bad" { 422 } else { 200 }, "no")
    })
    .await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "retry: 2");
    let dispatcher = on(&shared(), &yaml).start().await;
    let path = format!("/{namespace}/c");
    take_events(&dispatcher, &path).await;
    let queue = queue(&namespace, "a");
    let client = Client::new(&shared()).await;
    client
        .put(
            &queue,
            "text/plain",
            &[("x-own", AMQPValue::Boolean(true))],
            b"no event",
        )
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "bad").await,
        202,
        "it is safe"
    );
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "good").await,
        202
    );
    eventually("the good one is delivered", || {
        subscriber
            .received()
            .iter()
            .any(|event| event.id() == "good")
    })
    .await;
    let parked = format!("{queue}:parked");
    let messages = [client.wait(&parked).await, client.wait(&parked).await];
    let undecodable = messages
        .iter()
        .find(|(_, body)| body == b"no event")
        .expect("parked");
    assert!(
        header(&undecodable.0, "x-sealpost-reason")
            .is_some_and(|reason| reason.contains("not an event"))
    );
    assert!(
        header(&undecodable.0, "x-own").is_some(),
        "it keeps what it had"
    );
    let (properties, body) = messages
        .iter()
        .find(|(_, body)| body != b"no event")
        .expect("parked");
    assert_eq!(header(properties, "cloudEvents_id").as_deref(), Some("bad"));
    assert_eq!(
        header(properties, "x-sealpost-status").as_deref(),
        Some("422")
    );
    assert_eq!(
        header(properties, "x-sealpost-attempts").as_deref(),
        Some("1")
    );
    assert_eq!(&body[..], br#"{"a":"b"}"#);
    assert_eq!(client.take(&queue).await, None, "nothing is left");
    assert_eq!(
        (
            dispatcher.counter("deliveries_parked_total").await,
            dispatcher.counter("deliveries_lost_total").await
        ),
        (1, 0)
    );
}

/// Contract RQ-8 to RQ-10: existing queues can be drained, whatever spelling they use.
#[tokio::test(flavor = "multi_thread")]
async fn other_spellings_are_understood() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    let (client, queue) = (Client::new(&shared()).await, queue(&namespace, "a"));
    let text = |text: &str| AMQPValue::LongString(text.into());
    for (id, prefix) in [
        ("bare", ""),
        ("ce", "ce-"),
        ("colon", "cloudEvents:"),
        ("under", "cloudEvents_"),
    ] {
        let name = |name: &str| format!("{prefix}{name}");
        let names = ["specversion", "id", "source", "type", "time"].map(name);
        let values = ["1.0", id, "/s", "t", "0001-01-01T00:00:00Z"].map(text);
        let mut headers: Vec<(&str, AMQPValue)> =
            names.iter().map(String::as_str).zip(values).collect();
        let number = format!("{prefix}number");
        headers.push((&number, AMQPValue::LongLongInt(7)));
        headers.push(("x-own", text("x")));
        client.put(&queue, "text/plain", &headers, b"data").await;
    }
    let structured = br#"{"specversion":"1.0","id":"json","source":"/s","type":"t","data":1}"#;
    client
        .put(
            &queue,
            "application/cloudevents+json; charset=utf-8",
            &[],
            structured,
        )
        .await;
    let got = subscriber.until(6).await;
    for id in ["bare", "ce", "colon", "under"] {
        let event = got.iter().find(|event| event.id() == id).expect(id);
        assert_eq!(
            (event.header("ce-number"), event.header("content-type")),
            (Some("7"), Some("text/plain")),
            "{id}"
        );
        assert_eq!(
            (event.header("ce-x-own"), &event.body[..]),
            (None, &b"data"[..]),
            "{id}"
        );
        assert_eq!(
            event.header("ce-time").is_some(),
            id != "bare",
            "contract RQ-8: a time that is not set"
        );
    }
    assert_eq!(
        &got.iter()
            .find(|event| event.id() == "json")
            .expect("structured")
            .body[..],
        b"1"
    );
}

/// A stop hands back what is not under way, and loses nothing of what is.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_rest_in_the_queue() {
    let namespace = namespace();
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(100))).await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &slow, "");
    let path = format!("/{namespace}/c");
    let mut dispatcher = on(&shared(), &yaml)
        .arg("--concurrency")
        .arg("4")
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    let client = plain();
    for id in 0..100 {
        assert_eq!(
            send(&client, dispatcher.http_url(&path), &id.to_string()).await,
            202
        );
    }
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success(), "nothing is lost");
    assert!(
        slow.count() < 90,
        "it does not deliver all of the queue first: {}",
        slow.count()
    );
    let _second = on(&shared(), &yaml).start().await;
    let count = || {
        slow.received()
            .iter()
            .map(|event| event.id().to_owned())
            .collect::<std::collections::HashSet<_>>()
            .len()
    };
    eventually("all are delivered", || count() == 101).await;
    let duplicates = slow.count() - 101;
    assert!(
        duplicates <= 5,
        "a stop makes no duplicates to speak of: {duplicates}"
    );
}

/// A channel that nobody has subscribed to takes events, as Knative does; a subscription that is
/// removed gets no more, and its queue keeps what it has.
#[tokio::test(flavor = "multi_thread")]
async fn removed_subscriptions_keep_their_queue() {
    let namespace = namespace();
    let down = Subscriber::replying(&[503]).await;
    let delivery = "retry: 20, backoffPolicy: linear, backoffDelay: PT1H";
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &down, delivery);
    let path = format!("/{namespace}/c");
    let dispatcher = on(&shared(), &yaml)
        .arg("--rabbitmq-prefetch")
        .arg("1")
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    dispatcher.apply(&channel(&namespace)).await;
    eventually("it is unbound", || {
        !dispatcher.logged(&["Subscription is gone"]).is_empty()
    })
    .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "nobody").await,
        202
    );
    assert_eq!(dispatcher.counter("events_unrouted_total").await, 1);
    let up = Subscriber::ok().await;
    dispatcher
        .apply(&(channel(&namespace) + &subscription(&namespace, "a", &up, "")))
        .await;
    take_events(&dispatcher, &path).await;
    up.until(1).await;
    assert!(
        up.received().iter().all(|event| event.id() != "nobody"),
        "it came while nobody was subscribed"
    );
}

/// The queue of a subscription that is gone is deleted after a grace, where that is wanted, with
/// what is in it; one that has come back in time keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn queues_are_deleted_after_a_grace_if_wanted() {
    let (namespace, up) = (namespace(), Subscriber::ok().await);
    let down = Subscriber::replying(&[503]).await;
    let delivery = "retry: 20, backoffPolicy: linear, backoffDelay: PT1H";
    let [a, b] = ["a", "b"].map(|name| subscription(&namespace, name, &down, delivery));
    let path = format!("/{namespace}/c");
    let all = channel(&namespace) + &a + &b;
    let flags = [
        "--rabbitmq-prefetch",
        "1",
        "--rabbitmq-delete-after",
        "PT1S",
    ];
    let dispatcher = flags
        .into_iter()
        .fold(on(&shared(), &all), Builder::arg)
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    let parked = format!("{}:parked", queue(&namespace, "a"));
    let deadline = std::time::Instant::now() + crate::support::SOON;
    Client::new(&shared())
        .await
        .put(&queue(&namespace, "a"), "text/plain", &[], b"x")
        .await;
    while Client::ready(&shared(), &parked).await != Some(1) {
        assert!(
            std::time::Instant::now() < deadline,
            "what is no event is parked"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    dispatcher.apply(&channel(&namespace)).await;
    dispatcher
        .apply(&(channel(&namespace) + &subscription(&namespace, "b", &up, "")))
        .await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while Client::ready(&shared(), &queue(&namespace, "a"))
        .await
        .is_some()
    {
        assert!(std::time::Instant::now() < deadline, "it is deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    take_events(&dispatcher, &path).await;
    up.until(1).await;
    assert!(
        Client::ready(&shared(), &queue(&namespace, "b"))
            .await
            .is_some(),
        "it came back"
    );
    eventually("the parking queue is kept", || {
        !dispatcher
            .logged(&[":parked", "kept: it is in use"])
            .is_empty()
    })
    .await;
    assert_eq!(Client::ready(&shared(), &parked).await, Some(1));
}

/// Brokers on RabbitMQ by default, with filters, hop counts and replies.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_on_rabbitmq() {
    let namespace = namespace();
    let first = Subscriber::answering(|_| Reply::event("second", "r")).await;
    let second = Subscriber::ok().await;
    let trigger = |name: &str, ty: &str, to: &Subscriber| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  broker: b\n  filter: {{attributes: {{type: {ty}}}}}\n  subscriber: {{uri: '{}'}}\n",
            to.url()
        )
    };
    let yaml = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: {namespace}}}\n"
    );
    let yaml = yaml + &trigger("one", "test.event", &first) + &trigger("two", "second", &second);
    let dispatcher = on(&shared(), &yaml)
        .arg("--default-channel")
        .arg("rabbitmq")
        .start()
        .await;
    take_events(&dispatcher, &format!("/{namespace}/b")).await;
    let got = second.until(1).await.remove(0);
    assert_eq!(
        (got.header("ce-type"), got.header("ce-knativebrokerttl")),
        (Some("second"), None)
    );
    assert_eq!(first.count(), 1);
}

/// Ordered: one at a time, in the order of arrival, over retries and from one process to the next.
#[tokio::test(flavor = "multi_thread")]
async fn ordered_subscriptions_keep_the_order() {
    let namespace = namespace();
    let flaky =
        Subscriber::answering(|event| Reply::status(if event.number % 7 == 3 { 503 } else { 200 }))
            .await;
    let ordered = subscription(
        &namespace,
        "a",
        &flaky,
        "retry: 5, backoffPolicy: linear, backoffDelay: PT0.05S",
    );
    let annotation = "annotations: {sealpost.dev/delivery-order: ordered}, namespace";
    let yaml = channel(&namespace)
        + &ordered.replace("{name: a, namespace", &format!("{{name: a, {annotation}"));
    let path = format!("/{namespace}/c");
    let (mut one, two) = (
        on(&shared(), &yaml).start().await,
        on(&shared(), &yaml).start().await,
    );
    take_events(&one, &path).await;
    take_events(&two, &path).await;
    for id in 0..60 {
        assert_eq!(
            send(&plain(), two.http_url(&path), &format!("{id:03}")).await,
            202
        );
        if id == 30 {
            one.signal(rustix::process::Signal::TERM);
            assert!(one.ended().await.success());
        }
    }
    eventually("all are delivered", || {
        flaky.received().iter().any(|event| event.id() == "059")
    })
    .await;
    let delivered: Vec<_> = flaky
        .received()
        .into_iter()
        .filter(|event| event.id() != "first")
        .collect();
    let mut ids: Vec<&str> = delivered.iter().map(|event| event.id()).collect();
    ids.dedup();
    let expected: Vec<String> = (0..60).map(|id| format!("{id:03}")).collect();
    assert_eq!(ids, expected);
}

/// Runs `sealpost parked` for these manifests, with this on its standard input. Gives its exit code
/// and what it has written to its standard output.
async fn run_parked(
    manifests: std::path::PathBuf,
    arguments: Vec<String>,
    input: &str,
) -> (Option<i32>, String) {
    let mut child = tokio::process::Command::new(binary())
        .arg("parked")
        .args(arguments)
        .arg("-f")
        .arg(manifests)
        .env("SEALPOST_RABBITMQ_URI", shared())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes())
        .await
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// `sealpost parked`: counts, shows, puts back, and deletes only when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_looked_after() {
    let namespace = namespace();
    let subscriber =
        Subscriber::answering(|event| Reply::status(if event.number < 3 { 422 } else { 200 }))
            .await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let mut dispatcher = on(&shared(), &yaml).start().await;
    let path = format!("/{namespace}/c");
    take_events(&dispatcher, &path).await;
    for id in ["second", "third"] {
        assert_eq!(send(&plain(), dispatcher.http_url(&path), id).await, 202);
    }
    let manifests = dispatcher.path("manifests");
    let parked = |arguments: &[&str], input: &'static str| {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        run_parked(manifests.clone(), arguments.collect(), input)
    };
    let name = format!("{namespace}/a");
    let counted = |count: usize| (Some(0), format!("subscription {name}: {count}\n"));
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while parked(&["list"], "").await != counted(3) {
        assert!(std::time::Instant::now() < deadline, "three are parked");
    }
    let (_, shown) = parked(&["show", &name], "").await;
    assert!(
        shown.contains("3 parked\n")
            && shown.contains("id second, type test.event, 9 bytes: answered 422"),
        "{shown}"
    );
    assert!(
        shown.contains("attempts 1, status 422, parked at 20"),
        "{shown}"
    );
    assert!(
        parked(&["show", &name, "--older-than", "PT1H"], "")
            .await
            .1
            .contains(": 0 parked")
    );
    let (code, asked) = parked(&["drop", &name], "no\n").await;
    assert!(
        code == Some(1) && asked.contains("Drop up to 3") && asked.contains("Nothing dropped"),
        "{asked}"
    );
    assert_eq!(
        parked(&["list"], "").await,
        counted(3),
        "looking changes nothing"
    );
    assert!(
        parked(&["replay", &name], "")
            .await
            .1
            .contains(": 3 replayed")
    );
    eventually("they are delivered", || subscriber.count() == 6).await;
    let client = Client::new(&shared()).await;
    client
        .put(
            &format!("{}:parked", queue(&namespace, "a")),
            "text/plain",
            &[],
            b"x",
        )
        .await;
    assert!(parked(&["show"], "").await.1.contains("no event, 1 bytes"));
    assert!(
        parked(&["drop", "--yes"], "")
            .await
            .1
            .contains(": 1 dropped")
    );
    assert_eq!(parked(&["list"], "").await, counted(0));
    assert_eq!(parked(&["list", "no/such"], "").await.0, Some(1));
    dispatcher.signal(rustix::process::Signal::TERM);
    dispatcher.ended().await;
    let (first, others) = (
        dispatcher.logged(&["Event parked"]),
        dispatcher.logged(&["More events parked", "\"more\":2"]),
    );
    assert_eq!((first.len(), others.len()), (1, 1), "{}", dispatcher.log());
}

/// What waits is RabbitMQ's to hold: a subscriber that is down costs no memory here.
/// `SEALPOST_TEST_EVENTS=200000` is the long form.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_down_costs_no_memory() {
    let count = std::env::var("SEALPOST_TEST_EVENTS")
        .map_or(20_000, |text| text.parse().expect("a number"));
    let (namespace, mut down) = (namespace(), Subscriber::ok().await);
    let delivery = "retry: 1000, backoffPolicy: linear, backoffDelay: PT0.5S";
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &down, delivery);
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    down.stop().await;
    Client::new(&shared())
        .await
        .fill(&queue(&namespace, "a"), count)
        .await;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while dispatcher.counter("delivery_retries_total").await < 2_000 {
        assert!(std::time::Instant::now() < deadline, "it is tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (now, peak) = dispatcher.memory_kib();
    eprintln!("{count} events wait: {now} KiB resident, {peak} KiB at most");
    assert!(peak < 150 * 1024, "{peak} KiB");
    assert!(
        dispatcher.counter("deliveries_unfinished").await <= 260,
        "as many as are prefetched"
    );
}

/// The example of the documentation.
#[tokio::test(flavor = "multi_thread")]
async fn the_example() {
    let dispatcher = on(
        &shared(),
        include_str!("../../deploy/standalone/rabbitmq.yaml"),
    )
    .start()
    .await;
    take_events(&dispatcher, "/default/orders").await;
    eventually("it is displayed", || {
        dispatcher.printed().contains("id: first")
    })
    .await;
}
