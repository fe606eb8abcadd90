//! Nothing is dropped behind our back: what RabbitMQ gives up comes back or is parked, and one
//! subscription's trouble is nobody else's.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Signal;

use super::{channel, on, queue, subscription, take_events};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::rabbitmq::{Client, Node, namespace};
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

async fn until(what: &str, limit: Duration, mut is_true: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + limit;
    while !is_true().await {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Messages in a queue, whether they are ready or held by somebody.
fn messages(node: &Node, name: &str) -> u64 {
    let queues = node.ctl(&["list_queues", "--no-table-headers", "name", "messages"]);
    let line = queues
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0)
}

/// A process that is killed again and again with the same events in its hands: RabbitMQ counts each
/// time as a failed delivery, and gives messages up by a limit, from a policy here, and by default
/// from version 4 on. None is dropped, and none is parked. `SEALPOST_TEST_KILLS=30` is the long
/// form.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_are_no_failed_deliveries() {
    let kills =
        std::env::var("SEALPOST_TEST_KILLS").map_or(6, |text| text.parse().expect("a number"));
    let (namespace, node) = (namespace(), Node::start());
    node.ctl(&[
        "set_policy",
        "--apply-to",
        "queues",
        "limit",
        "^sealpost:",
        r#"{"delivery-limit":2}"#,
    ]);
    let up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = std::sync::Arc::clone(&up);
    let subscriber = Subscriber::answering(move |_| {
        Reply::status(if is_up.load(std::sync::atomic::Ordering::Relaxed) {
            200
        } else {
            503
        })
    })
    .await;
    let delivery =
        "retry: 1000, backoffPolicy: linear, backoffDelay: PT0.2S, backoffMaxDelay: PT1S";
    let yaml = channel(&namespace)
        + &subscription(
            &namespace,
            "a",
            &subscriber,
            &delivery.replace(", backoffMaxDelay: PT1S", ""),
        );
    let path = format!("/{namespace}/c");
    let mut dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    for id in 0..50 {
        assert_eq!(
            send(&plain(), dispatcher.http_url(&path), &format!("event-{id}")).await,
            202
        );
    }
    for _ in 0..kills {
        let before = subscriber.count();
        eventually("some are tried", || subscriber.count() > before).await;
        dispatcher.signal(Signal::KILL);
        dispatcher.ended().await;
        dispatcher = on(&node.uri, &yaml).start().await;
    }
    up.store(true, std::sync::atomic::Ordering::Relaxed);
    let limit = Duration::from_secs(60);
    until("all are delivered", limit, async || {
        let taken = subscriber.received();
        let last: HashSet<&str> = taken
            .iter()
            .map(crate::support::subscriber::Received::id)
            .collect();
        last.len() == 51
            && messages(&node, &queue(&namespace, "a")) == 0
            && messages(&node, "sealpost:returned") == 0
    })
    .await;
    assert_eq!(
        messages(&node, &format!("{}:parked", queue(&namespace, "a"))),
        0,
        "none is parked"
    );
    until("RabbitMQ gave some up", limit, async || {
        dispatcher.counter("deliveries_delivered_total").await >= 40 || kills > 20
    })
    .await;
}

/// A subscription that is removed with events in delay queues, whose queue is deleted: its events
/// are parked when they are due, and those of others go on at their time.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_subscription_delays_nobody() {
    let count = 200;
    let (namespace, node) = (namespace(), Node::start());
    let gone = Subscriber::replying(&[503]).await;
    let other =
        Subscriber::answering(|event| Reply::status(if event.number < 5 { 503 } else { 200 }))
            .await;
    let delivery = "retry: 9, backoffPolicy: linear, backoffDelay: PT5S";
    let [a, b] = [("a", &gone), ("b", &other)]
        .map(|(name, to)| subscription(&namespace, name, to, delivery));
    let path = format!("/{namespace}/c");
    let patient = |yaml: &str| on(&node.uri, yaml).arg("--rabbitmq-patience").arg("PT1S");
    let dispatcher = patient(&(channel(&namespace) + &a)).start().await;
    take_events(&dispatcher, &path).await;
    for id in 0..count {
        assert_eq!(
            send(&plain(), dispatcher.http_url(&path), &id.to_string()).await,
            202
        );
    }
    until("all wait", Duration::from_secs(30), async || {
        dispatcher.counter("deliveries_deferred_total").await > count
            && messages(&node, &queue(&namespace, "a")) == 0
    })
    .await;
    // A connection that is there deletes the queue at once: what is due before is lost with it.
    let client = Client::new(&node.uri).await;
    dispatcher.apply(&(channel(&namespace) + &b)).await;
    eventually("it is gone", || {
        !dispatcher.logged(&["Subscription is gone"]).is_empty()
    })
    .await;
    client.delete_queue(&queue(&namespace, "a")).await;
    for id in 0..5 {
        until("it is taken", Duration::from_secs(10), async || {
            send(&plain(), dispatcher.http_url(&path), &format!("other-{id}")).await == 202
        })
        .await;
    }
    let twice = || other.received().len() >= 10;
    until(
        "the others are tried again in time",
        Duration::from_secs(25),
        async || twice(),
    )
    .await;
    let parked = format!("{}:parked", queue(&namespace, "a"));
    let kept = || messages(&node, &parked);
    let waits = || messages(&node, "sealpost:wait:4s") + messages(&node, "sealpost:returned");
    until("its events are due", Duration::from_secs(30), async || {
        waits() == 0
    })
    .await;
    // Those that were due between the removal and the deletion were in the queue that was deleted.
    eprintln!("{} of {} are parked", kept(), count + 1);
    assert!(kept() > count / 2, "{}", kept());
    for got in other
        .received()
        .iter()
        .filter(|event| event.number >= 5)
        .take(5)
    {
        let first = other
            .received()
            .into_iter()
            .find(|event| event.id() == got.id())
            .expect("the first attempt");
        let waited = got.at - first.at;
        assert!(
            waited < Duration::from_secs(9),
            "5 s of wait took {waited:?}"
        );
    }
}

/// What RabbitMQ drops by a policy's time to live is parked, counted and logged; what a limit of
/// length refuses, the sender is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_gives_up_is_parked_or_refused() {
    let (namespace, node) = (namespace(), Node::start());
    let down = Subscriber::replying(&[503]).await;
    let delivery = "retry: 1000, backoffPolicy: linear, backoffDelay: PT4S";
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &down, delivery);
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml)
        .arg("--rabbitmq-prefetch")
        .arg("1")
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    let name = queue(&namespace, "a");
    let (pattern, parked) = (format!("^{name}$"), format!("{name}:parked"));
    let policy = |definition: &str| {
        node.ctl(&[
            "set_policy",
            "--apply-to",
            "queues",
            "p",
            &pattern,
            definition,
        ])
    };
    policy(r#"{"message-ttl":500}"#);
    for id in 0..20 {
        assert_eq!(
            send(&plain(), dispatcher.http_url(&path), &id.to_string()).await,
            202
        );
    }
    until(
        "what is too old is parked",
        Duration::from_secs(60),
        async || messages(&node, &parked) >= 15,
    )
    .await;
    policy(r#"{"max-length":10}"#);
    let refused = async |id: usize| {
        send(&plain(), dispatcher.http_url(&path), &format!("full-{id}")).await != 202
    };
    let mut accepted = 0;
    while !refused(accepted).await {
        accepted += 1;
        assert!(accepted < 40, "a limit of length is told to the sender");
    }
    // What waited for its turn when the queue had become full waits elsewhere.
    let waiting = ["sealpost:wait:4s", "sealpost:wait:8s", "sealpost:wait:16s"];
    let kept = || {
        messages(&node, &name)
            + waiting
                .iter()
                .map(|wait| messages(&node, wait))
                .sum::<u64>()
    };
    let keeps_all = async || kept() >= accepted as u64;
    until(
        "nothing that was taken is dropped",
        Duration::from_secs(20),
        keeps_all,
    )
    .await;
    assert!(dispatcher.counter("rabbitmq_given_up_total").await >= 15);
    assert!(
        !dispatcher
            .logged(&["RabbitMQ gave it up: expired"])
            .is_empty()
    );
    let (properties, _) = Client::new(&node.uri).await.wait(&parked).await;
    let reason =
        crate::support::rabbitmq::header(&properties, "x-sealpost-reason").expect("a reason");
    assert!(reason.contains("expired"), "{reason}");
}

/// Queues as version 0.1 made them are drained as they are, and reported with the command that
/// mends them, which does.
#[tokio::test(flavor = "multi_thread")]
async fn queues_of_an_older_version_are_reported_and_drained() {
    let (namespace, node, subscriber) = (namespace(), Node::start(), Subscriber::ok().await);
    let client = Client::new(&node.uri).await;
    let name = queue(&namespace, "a");
    client.declare(&name).await;
    client.fill(&name, 20).await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher: Dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    eventually("it is drained", || subscriber.count() == 21).await;
    let reports = dispatcher.logged(&["A queue is there with other arguments", &name]);
    assert_eq!(reports.len(), 1, "it is told once");
    let report: serde_json::Value = serde_json::from_str(&reports[0]).expect("a line of JSON");
    let remedy = report["fields"]["remedy"]
        .as_str()
        .or(report["remedy"].as_str())
        .expect("a remedy");
    let arguments = remedy
        .strip_prefix("rabbitmqctl ")
        .expect("a command of rabbitmqctl");
    let arguments: Vec<String> = shell_words(arguments);
    node.ctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // A limit of length would have RabbitMQ drop the oldest, were it not for the policy.
    let pattern = r#"rabbit_policy:effective_definition(element(2, rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"NAME">>))))."#;
    let policy = node.ctl(&["eval", &pattern.replace("NAME", &name)]);
    assert!(
        policy.contains("sealpost:returned") && policy.contains("at-least-once"),
        "{policy}"
    );
}

/// The words of a command line with single quotes only.
fn shell_words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| {
        if index % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(str::to_owned).collect()
        }
    });
    words.collect()
}
