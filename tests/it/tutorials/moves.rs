//! Moves: nothing that was answered 202 on the way is lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::types::AMQPValue;

use super::{PATIENCE, Step, Walk, steps};
use crate::support::rabbitmq::{Client, Node};
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

/// The ids that were answered 202.
type Accepted = Arc<Mutex<Vec<String>>>;

/// Sends until it is aborted, an event after the other, each until it is answered 202.
async fn keep_sending(url: String, accepted: Accepted) {
    let client = plain();
    for number in 0.. {
        let id = format!("order-{number}");
        loop {
            let answer = event(&client, &url, &id).send().await;
            if answer.is_ok_and(|answer| answer.status() == 202) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        accepted.lock().expect("whole").push(id);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn received(subscriber: &Subscriber) -> BTreeSet<String> {
    let taken = subscriber.received().into_iter();
    taken.map(|received| received.id().to_owned()).collect()
}

/// Events are sent all the time, and billing is away from the disk on, until the old events are
/// fetched.
#[tokio::test(flavor = "multi_thread")]
async fn from_memory_to_disk_to_rabbitmq() {
    let node = Node::start();
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let taking = Arc::clone(&taken);
    let subscriber = Subscriber::answering(move |received| {
        if !is_up.load(Ordering::Relaxed) {
            return Reply::status(503);
        }
        taking
            .lock()
            .expect("whole")
            .insert(received.id().to_owned());
        Reply::status(204)
    })
    .await;
    let mut walk = Walk::to(subscriber.address().port());
    walk.environment
        .push(("SEALPOST_RABBITMQ_URI", node.uri.clone()));
    let accepted = Accepted::default();
    let count = || accepted.lock().expect("whole").len();
    let url = walk.here("http://127.0.0.1:8080/shop/orders");
    let sender = tokio::spawn(keep_sending(url, Arc::clone(&accepted)));
    let mut stages = Vec::new();
    for step in &steps("## From memory to disk to RabbitMQ") {
        up.store(
            up.load(Ordering::Relaxed) || step.holds("--data-dir"),
            Ordering::Relaxed,
        );
        walk.take(step).await;
        if step.is("sh stays") {
            let before = count();
            until("events are accepted", || count() >= before + 30).await;
            stages.push(count());
        }
        if step.holds("--default-channel disk\n") {
            up.store(false, Ordering::Relaxed);
            let before = count();
            until("events are accepted while billing is away", || {
                count() >= before + 30
            })
            .await;
        }
    }
    assert_eq!(stages.len(), 4, "in memory, on disk, on RabbitMQ, both");
    sender.abort();
    let sent: BTreeSet<String> = accepted.lock().expect("whole").iter().cloned().collect();
    let missing = || {
        let taken = taken.lock().expect("whole");
        sent.difference(&taken).cloned().collect::<Vec<_>>()
    };
    until("all are delivered", || missing().is_empty()).await;
    eprintln!(
        "{} accepted, {stages:?} at the end of each stage, all delivered",
        sent.len()
    );
}

/// Queues as eventing-rabbitmq leaves them are emptied into ours.
#[tokio::test(flavor = "multi_thread")]
async fn from_eventing_rabbitmq_on_rabbitmq() {
    let node = Node::with_plugins("rabbitmq_shovel");
    let subscriber = Subscriber::ok().await;
    let mut walk = Walk::to(subscriber.address().port());
    walk.environment
        .push(("SEALPOST_RABBITMQ_URI", node.uri.clone()));
    node.write_ctl(&walk.path("bin/rabbitmqctl"));
    let old = "shop.billing.0f9c2a52-3f0e-4a8e-9c7d-5b8d1e6f7a90";
    let client = Client::new(&node.uri).await;
    client.declare(old).await;
    for number in 0..100 {
        let id = format!("old-{number}");
        let headers = [
            ("specversion", "1.0"),
            ("content-type", "application/json"),
            ("time", "2026-11-30T10:00:00Z"),
            ("id", id.as_str()),
            ("source", "/shop"),
            ("type", "com.example.order"),
        ];
        let headers = headers.map(|(name, value)| (name, AMQPValue::LongString(value.into())));
        client
            .put(old, "application/json", &headers, br#"{"total": 12}"#)
            .await;
    }
    let steps = steps("## From eventing-rabbitmq");
    assert!(steps.iter().all(|step| !matches!(step, Step::Interrupt)));
    for step in &steps {
        walk.take(step).await;
    }
    until("all are delivered", || received(&subscriber).len() == 100).await;
    let first = subscriber.until(1).await;
    assert_eq!(first[0].header("ce-type"), Some("com.example.order"));
    assert_eq!(first[0].header("ce-time"), Some("2026-11-30T10:00:00Z"));
    assert_eq!(first[0].body, r#"{"total": 12}"#);
}
