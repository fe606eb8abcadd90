//! Live events beside a replay: how long they take with it and without it.
//! `SEALPOST_TEST_EVENTS=1000000` retains so many, and demands the promise of the figures, too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;
use crate::support::sender::event;
use crate::support::{SOON, eventually};

/// Live events of each measurement, and the time between two of them.
const LIVE: usize = 300;
const APART: Duration = Duration::from_millis(10);

fn retained() -> Option<usize> {
    std::env::var("SEALPOST_TEST_EVENTS").ok()?.parse().ok()
}

/// Batches of events that are to be retained: what the filter of the replay wants is one in a
/// hundred of them.
async fn retain(dispatcher: &Dispatcher, count: usize) {
    let client = plain();
    for batch in 0..count.div_ceil(1000) {
        let each = (batch * 1000..count.min((batch + 1) * 1000)).map(|id| {
            let kind = if id % 100 == 0 { "wanted" } else { "other" };
            serde_json::json!({"specversion": "1.0", "id": format!("r{id}"), "source": "/s", "type": kind, "data": "x".repeat(200)})
        });
        let batch = serde_json::Value::from_iter(each).to_string();
        let request = client.post(dispatcher.http_url("/default/c"));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request.body(batch).send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
    }
}

/// Sends live events; gives the times from each request to the arrival of its event, sorted.
async fn live(dispatcher: &Dispatcher, subscriber: &Subscriber, name: &str) -> Vec<Duration> {
    let client = plain();
    let mut sent = HashMap::new();
    for number in 0..LIVE {
        let id = format!("{name}{number}");
        sent.insert(id.clone(), Instant::now());
        let request = event(&client, dispatcher.http_url("/default/c"), &id).send();
        assert_eq!(request.await.expect("an answer").status(), 202);
        tokio::time::sleep(APART).await;
    }
    let arrived = || {
        let received = subscriber.received().into_iter();
        let own = received
            .filter(|it| sent.contains_key(it.id()) && it.header("ce-sealpostreplay").is_none());
        own.map(|it| it.at - sent[it.id()]).collect::<Vec<_>>()
    };
    eventually("live events arrive", || arrived().len() == LIVE).await;
    let mut times = arrived();
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_go_first() {
    let count = retained().unwrap_or(3000);
    let subscriber = Subscriber::ok().await;
    let data = TempDir::new().expect("a directory");
    // What is retained is wanted by nobody, until it is replayed.
    let yaml = channel(&[]);
    let dispatcher = on(&data, &yaml).start().await;
    retain(&dispatcher, count).await;
    dispatcher
        .apply(&(yaml + &subscription("s", "", &subscriber.url())))
        .await;
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    let alone = live(&dispatcher, &subscriber, "alone").await;
    let command = by_socket(&dispatcher, "replay");
    let begin = Instant::now();
    let child = command.start(&[
        "default/s",
        "--from",
        "earliest",
        "--filter",
        "type = 'wanted'",
    ]);
    let beside = live(&dispatcher, &subscriber, "beside").await;
    let ended = tokio::time::timeout(SOON * 10, crate::support::parked::ended(child));
    let ended = ended.await.expect("it ends");
    let took = begin.elapsed();
    let wanted = count.div_ceil(100);
    assert_eq!(
        ended.stdout,
        format!("subscription default/s: {wanted} replayed\n")
    );
    let by_replay = subscriber
        .received()
        .into_iter()
        .filter(|it| it.header("ce-sealpostreplay").is_some());
    let arrivals: Vec<Instant> = by_replay.map(|it| it.at).collect();
    assert_eq!(arrivals.len(), wanted);
    let first = *arrivals.iter().min().expect("one") - begin;
    eprintln!(
        "{wanted} of {count} replayed in {took:?}, the first after {first:?}; live events: p50 {:?} alone, {:?} beside; p99 {:?} alone, {:?} beside",
        alone[LIVE / 2],
        beside[LIVE / 2],
        p99(&alone),
        p99(&beside)
    );
    if retained().is_some() {
        let limit = p99(&alone).mul_f64(1.2) + Duration::from_millis(1);
        assert!(p99(&beside) <= limit, "live events are slower");
    }
}
