//! Nothing is held for longer than RabbitMQ's consumer timeout, after which it would be delivered
//! again, and again.

use std::collections::HashMap;
use std::time::Duration;

use super::{channel, on, subscription, take_events};
use crate::support::eventually;
use crate::support::rabbitmq::{Node, namespace};
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

/// A consumer timeout of 6 s that RabbitMQ applies within a second, instead of half an hour and a
/// minute.
const SHORT: &str = "application:set_env(rabbit, consumer_timeout, 6000), application:set_env(rabbit, channel_tick_interval, 1000).";

/// How often each event came, by its id.
fn times(subscriber: &Subscriber) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for received in subscriber.received() {
        *times.entry(received.id().to_owned()).or_default() += 1;
    }
    times
}

/// One subscriber never answers, another one takes its time: many more events wait than can be
/// finished within the timeout. Each attempt is made once, each dead letter is one.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_is_not_delivered_again_for_that() {
    let (hanging, slow, node) = (namespace(), namespace(), Node::start());
    node.ctl(&["eval", SHORT]);
    let never = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let late = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(2))).await;
    let dead = Subscriber::ok().await;
    let delivery = format!(
        "retry: 1, backoffPolicy: linear, backoffDelay: PT0.2S, timeout: PT10S, deadLetterSink: {{uri: '{}'}}",
        dead.url()
    );
    let yaml = channel(&hanging)
        + &subscription(&hanging, "never", &never, &delivery)
        + "---\n"
        + &channel(&slow)
        + &subscription(&slow, "late", &late, "");
    let dispatcher = on(&node.uri, &yaml)
        .arg("--rabbitmq-consumer-timeout=PT6S")
        .arg("--concurrency=2")
        .start()
        .await;
    let (hanging, slow) = (format!("/{hanging}/c"), format!("/{slow}/c"));
    take_events(&dispatcher, &hanging).await;
    take_events(&dispatcher, &slow).await;
    for (path, events) in [(&hanging, 3), (&slow, 11)] {
        for id in 0..events {
            assert_eq!(
                send(&plain(), dispatcher.http_url(path), &id.to_string()).await,
                202
            );
        }
    }
    let done = async || {
        dispatcher.counter("deliveries_delivered_total").await >= 12 && times(&dead).len() == 4
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !done().await {
        assert!(
            std::time::Instant::now() < deadline,
            "never {:?}, late {:?}",
            times(&never),
            times(&late)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let counts = |subscriber: &Subscriber| times(subscriber).into_values().collect::<Vec<_>>();
    assert_eq!(
        (counts(&never), counts(&dead), counts(&late)),
        (vec![2; 4], vec![1; 4], vec![1; 12])
    );
    eventually("nothing is left", || {
        let messages = node.ctl(&["list_queues", "--no-table-headers", "messages"]);
        messages.lines().all(|line| line.trim() == "0")
    })
    .await;
    assert_eq!(
        dispatcher
            .counter("rabbitmq_consumers_restarted_total")
            .await,
        0
    );
}
