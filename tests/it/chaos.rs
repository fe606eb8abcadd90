//! Nothing is lost on RabbitMQ, whoever is killed: every event that was answered 202 reaches every subscription or its dead
//! letter sink.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::rabbitmq::Node;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn manifests(good: &Subscriber, slow: &Subscriber, refusing: &Subscriber, sink: &Subscriber) -> String {
    let mut yaml =
        String::from("apiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {name: c}\n");
    for (name, subscriber) in [("good", good), ("slow", slow), ("refusing", refusing)] {
        yaml += &format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n  delivery: {{retry: 3, backoffPolicy: linear, backoffDelay: PT0.05S, deadLetterSink: {{uri: '{}'}}}}\n",
            subscriber.url(),
            sink.url()
        );
    }
    yaml
}

/// Sends an event until it is answered 202, to wherever sealpost is at the moment.
async fn send_one(client: &Client, url: &Mutex<String>, id: usize) {
    loop {
        let to = url.lock().expect("lock").clone();
        let answer = event(client, to, &id.to_string()).send().await;
        if answer.is_ok_and(|answer| answer.status() == 202) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn send_all(count: usize, url: Arc<Mutex<String>>, sent: Arc<AtomicUsize>) {
    let mut senders = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..32 {
        let (url, sent, next, client) = (Arc::clone(&url), Arc::clone(&sent), Arc::clone(&next), plain());
        senders.spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= count {
                    return;
                }
                send_one(&client, &url, id).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    senders.join_all().await;
}

/// Ids that came, and how many came more than once.
fn ids(subscriber: &Subscriber, taken: impl Fn(&str) -> bool) -> (HashSet<String>, usize) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for event in subscriber.received().iter().filter(|event| taken(event.id())) {
        *seen.entry(event.id().to_owned()).or_default() += 1;
    }
    let duplicates = seen.values().map(|count| count - 1).sum();
    (seen.into_keys().collect(), duplicates)
}

/// `SEALPOST_TEST_EVENTS=100000 SEALPOST_TEST_KILLS=20 SEALPOST_TEST_RESTARTS=3` is the long form.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whoever_is_killed() {
    let count = number("SEALPOST_TEST_EVENTS", 4_000);
    let (kills, restarts) = (number("SEALPOST_TEST_KILLS", 3), number("SEALPOST_TEST_RESTARTS", 1));
    let refuses = |id: &str| id.ends_with('7');
    let (node, good, sink) = (Node::start(), Subscriber::ok().await, Subscriber::ok().await);
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(2))).await;
    let refusing = Subscriber::answering(move |event| Reply::status(if refuses(event.id()) { 422 } else { 200 })).await;
    let yaml = manifests(&good, &slow, &refusing, &sink);
    let start = || Dispatcher::of(&yaml).env("SEALPOST_RABBITMQ_URI", &node.uri).start();
    let mut dispatcher = start().await;
    let url = Arc::new(Mutex::new(dispatcher.http_url("/default/c")));
    let sent = Arc::new(AtomicUsize::new(0));
    let mut sending = JoinSet::new();
    sending.spawn(send_all(count, Arc::clone(&url), Arc::clone(&sent)));
    for step in 1..=kills {
        let until = count * step / (kills + 1) * fastrand::usize(80..=100) / 100;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
        while sent.load(Ordering::Relaxed) < until {
            assert!(tokio::time::Instant::now() < deadline, "sending goes on: {sent:?} of {until}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        dispatcher.signal(Signal::KILL);
        dispatcher.ended().await;
        if step * restarts / kills > (step - 1) * restarts / kills {
            node.stop();
            node.restart();
        }
        dispatcher = start().await;
        *url.lock().expect("lock") = dispatcher.http_url("/default/c");
    }
    sending.join_all().await;
    let all = |subscriber: &Subscriber| ids(subscriber, |_| true).0.len();
    for _ in 0..30 {
        if all(&good) == count && all(&slow) == count && all(&sink) == count / 10 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eventually("good", || all(&good) == count).await;
    eventually("slow", || all(&slow) == count).await;
    eventually("the dead letter sink", || all(&sink) == count / 10).await;
    eventually("refusing", || ids(&refusing, |id| !refuses(id)).0.len() == count - count / 10).await;
    let duplicates: usize = [&good, &slow, &sink].iter().map(|subscriber| ids(subscriber, |_| true).1).sum();
    let duplicates = duplicates + ids(&refusing, |id| !refuses(id)).1;
    eprintln!(
        "{count} events, {kills} kills, {restarts} restarts of RabbitMQ: {duplicates} of {} deliveries twice",
        count * 3
    );
    // Each kill may repeat what is under way, which weighs more in a short run.
    let allowed = (count * 3 / 100).max(kills * 500);
    assert!(duplicates < allowed, "{duplicates} duplicates");
}
