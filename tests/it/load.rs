//! Every event is accounted for: under load, through a stop, through changes.
//! `SEALPOST_TEST_EVENTS` sets how many events are sent (20,000 unless it is set).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::channel;
use crate::support::dispatcher::{Dispatcher, replace};
use crate::support::sender::{client, event, tls};
use crate::support::subscriber::{Received, Reply, Subscriber};

const CONCURRENCY: usize = 64;

fn events() -> usize {
    std::env::var("SEALPOST_TEST_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
}

/// Three subscribers, one of which refuses one event in ten, with a dead letter sink.
struct World {
    subscribers: Vec<Subscriber>,
    sink: Subscriber,
}

impl World {
    async fn new() -> Self {
        let flaky = |received: &Received| {
            let number: usize = received.id().parse().expect("a number");
            Reply::status(if number.is_multiple_of(10) { 503 } else { 202 })
        };
        let subscribers = vec![
            Subscriber::ok().await,
            Subscriber::ok().await,
            Subscriber::answering(flaky).await,
        ];
        Self {
            subscribers,
            sink: Subscriber::ok().await,
        }
    }

    fn yaml(&self, comment: usize) -> String {
        let names = ["a", "b", "flaky"];
        let spec = |subscriber: &Subscriber| {
            let (subscriber, sink) = (subscriber.url(), self.sink.url());
            format!(
                "subscriber: {{uri: '{subscriber}'}}\ndelivery: {{retry: {comment}, deadLetterSink: {{uri: '{sink}'}}}}"
            )
        };
        let subscriptions: Vec<_> = names
            .into_iter()
            .zip(self.subscribers.iter().map(spec))
            .collect();
        channel(&subscriptions)
    }

    /// How often each event reached each subscriber.
    fn seen(&self) -> Vec<HashMap<usize, usize>> {
        let ids = |subscriber: &Subscriber| {
            let mut seen = HashMap::new();
            for received in subscriber.received() {
                *seen
                    .entry(received.id().parse().expect("a number"))
                    .or_default() += 1;
            }
            seen
        };
        self.subscribers
            .iter()
            .chain([&self.sink])
            .map(ids)
            .collect()
    }

    /// Every accepted event reached both good subscribers once, and the flaky one or the sink.
    fn account_for(&self, accepted: &[usize], retries: usize) {
        let seen = self.seen();
        for id in accepted {
            let times = |at: usize| seen[at].get(id).copied().unwrap_or(0);
            let buried = id.is_multiple_of(10);
            assert_eq!((times(0), times(1)), (1, 1), "event {id}");
            assert!(
                (1..=1 + retries).contains(&times(2)),
                "event {id} came {} times",
                times(2)
            );
            assert_eq!(times(3), usize::from(buried), "event {id} in the sink");
        }
    }
}

/// Sends events until all are sent or nobody answers; those that were accepted, and how many were
/// answered otherwise.
async fn send_all(url: String, count: usize, sent: Arc<AtomicUsize>) -> (Vec<usize>, usize) {
    let mut senders = JoinSet::new();
    for _ in 0..CONCURRENCY {
        senders.spawn(send_some(sender(), url.clone(), count, Arc::clone(&sent)));
    }
    let (mut accepted, mut refused) = (Vec::new(), 0);
    while let Some(part) = senders.join_next().await {
        let (some, others) = part.expect("a sender");
        accepted.extend(some);
        refused += others;
    }
    (accepted, refused)
}

/// Waits until so many events are sent; how long that takes depends on how many there are.
async fn until_sent(sent: &AtomicUsize, count: usize) {
    let waiting = async {
        while sent.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), waiting)
        .await
        .expect("sent in time");
}

fn sender() -> Client {
    client(tls("", rustls::ALL_VERSIONS, &[]))
        .build()
        .expect("a client")
}

async fn send_some(
    client: Client,
    url: String,
    count: usize,
    sent: Arc<AtomicUsize>,
) -> (Vec<usize>, usize) {
    let (mut accepted, mut refused) = (Vec::new(), 0);
    loop {
        let id = sent.fetch_add(1, Ordering::Relaxed);
        if id >= count {
            return (accepted, refused);
        }
        match event(&client, &url, &id.to_string()).send().await {
            Ok(answer) if answer.status() == 202 => accepted.push(id),
            Ok(_) => refused += 1,
            Err(_) => return (accepted, refused),
        }
    }
}

/// Each 202 means three deliveries, or two and a dead letter; the counters say the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_accounted_for() {
    let world = World::new().await;
    let dispatcher = Dispatcher::standalone(&world.yaml(0)).await;
    let count = events();
    let (accepted, refused) =
        send_all(dispatcher.http_url("/default/c"), count, Arc::default()).await;
    assert_eq!((accepted.len(), refused), (count, 0));
    world.account_for(&accepted, 0);
    let buried = count.div_ceil(10) as u64;
    let counters = [
        dispatcher.counter("events_accepted_total").await,
        dispatcher.counter("deliveries_delivered_total").await,
        dispatcher.counter("deliveries_dead_lettered_total").await,
        dispatcher.counter("deliveries_lost_total").await,
        dispatcher.counter("deliveries_unfinished").await,
    ];
    assert_eq!(
        counters,
        [count as u64, 3 * count as u64 - buried, buried, 0, 0]
    );
}

/// The same with SIGTERM in the middle: whatever got its 202 is delivered, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_loses_nothing() {
    let world = World::new().await;
    let mut dispatcher = Dispatcher::standalone(&world.yaml(0)).await;
    let (count, sent) = (events(), Arc::new(AtomicUsize::new(0)));
    let sending = tokio::spawn(send_all(
        dispatcher.http_url("/default/c"),
        count,
        Arc::clone(&sent),
    ));
    until_sent(&sent, count / 2).await;
    dispatcher.signal(Signal::TERM);
    let (accepted, _refused) = sending.await.expect("sent");
    assert!(dispatcher.ended().await.success());
    assert!(
        accepted.len() > count / 4 && accepted.len() < count,
        "{} of {count}",
        accepted.len()
    );
    world.account_for(&accepted, 0);
    assert_eq!(dispatcher.logged(&["Stopped", "\"left\":0"]).len(), 1);
}

/// The same with the manifest rewritten fifty times: nothing is dropped, nothing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_rewrites_lose_and_double_nothing() {
    let world = World::new().await;
    let dispatcher = Dispatcher::standalone(&world.yaml(0)).await;
    let (count, sent) = (events(), Arc::new(AtomicUsize::new(0)));
    let sending = tokio::spawn(send_all(
        dispatcher.http_url("/default/c"),
        count,
        Arc::clone(&sent),
    ));
    for rewrite in 1..=50 {
        let share = count * rewrite / 52;
        until_sent(&sent, share).await;
        replace(
            &dispatcher.path("manifests/m.yaml"),
            &world.yaml(rewrite % 2),
        );
    }
    let (accepted, refused) = sending.await.expect("sent");
    assert_eq!((accepted.len(), refused), (count, 0));
    world.account_for(&accepted, 1);
    dispatcher.apply(&world.yaml(2)).await;
    assert_eq!(dispatcher.counter("deliveries_unfinished").await, 0);
}
