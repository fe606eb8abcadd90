//! Thousands of channels, and of Triggers (contract 1.9, 2.11, 5.12).

use std::time::{Duration, Instant};

use serde_json::json;

use super::{cluster, reconciled, served, subscribe, until_answer, until_marked};
use crate::support::cluster::objects::{channel, object, subscriber};
use crate::support::cluster::{Cluster, Entry};
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;

/// Ready within seconds, all marked soon, one more subscriber at once, and a burst in few steps.
/// `SEALPOST_TEST_CHANNELS` makes it larger.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_channels() {
    let count = std::env::var("SEALPOST_TEST_CHANNELS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let cluster = cluster().await;
    let sink = Subscriber::ok().await;
    for number in 0..count {
        let name = format!("c{number}");
        let mut object = channel(
            &format!("t/{name}"),
            &["a", "b"].map(|who| subscriber(who, &sink.url())),
        );
        object["status"] = reconciled(&name, &1.into());
        cluster.create(&object).await;
    }
    let started = Instant::now();
    let pod = Pod::of(&cluster).await.start().await;
    let ready = (started.elapsed(), pod.cpu());
    assert!(ready.0 < Duration::from_secs(10), "{ready:?}");
    assert_eq!(
        send(&plain(), pod.http_url(&format!("/t/c{}", count - 1)), "1").await,
        202
    );
    sink.until(2).await;
    until_patched(&cluster, count).await;
    let marked = (started.elapsed(), pod.cpu());

    let one = Instant::now();
    subscribe(&cluster, "c7", &[subscriber("n", &sink.url())]).await;
    until_marked(&cluster, "c7", &[("uid-of-n", 1)]).await;
    let one = (one.elapsed(), pod.cpu().saturating_sub(marked.1));

    let applied = || pod.logged(&["Configuration applied"]).len();
    let (before, burst, cpu) = (applied(), Instant::now(), pod.cpu());
    let size = count.min(1000);
    for number in 0..size {
        subscribe(
            &cluster,
            &format!("c{number}"),
            &[subscriber("z", &sink.url())],
        )
        .await;
    }
    until_patched(&cluster, count + 1 + size).await;
    let burst = (burst.elapsed(), pod.cpu().saturating_sub(cpu));
    let steps = applied() - before;
    let (now, peak) = pod.memory_kib();
    eprintln!(
        "{count} channels (time, processor time): ready {ready:?}, marked {marked:?}, one more {one:?}, \
         a burst of {size} {burst:?} in {steps} steps; {now} KiB now and {peak} KiB at most"
    );
    assert!(steps <= size, "{steps}");
}

/// Waits until so many patches have succeeded.
async fn until_patched(cluster: &Cluster, count: usize) {
    let is_patch =
        |entry: &Entry| entry.verb == "patch" && entry.subresource == "status" && entry.code == 200;
    let patched = || cluster.log().iter().filter(|entry| is_patch(entry)).count();
    let deadline = Instant::now() + Duration::from_secs(60 + count as u64 / 10);
    while patched() < count {
        assert!(Instant::now() < deadline, "{} of {count}", patched());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Contract 2.9, 2.12: two hundred Subscriptions on one channel, while each patch of its status
/// takes as long as webhooks do: none is given up once it is under way, what comes meanwhile goes
/// with the next, and the last is marked right after it came.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_subscriptions_on_one_channel() {
    const COUNT: usize = 200;
    const TAKES: Duration = Duration::from_millis(200);
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("it has no webhooks") else {
        return;
    };
    let sink = Subscriber::ok().await;
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    fake.delay(TAKES, |parts| {
        parts.method == http::Method::PATCH
            && parts.uri.query().is_some_and(|q| q.contains("sealpost"))
    });
    let started = Instant::now();
    let mut subscribers = Vec::new();
    for number in 0..COUNT {
        subscribers.push(subscriber(&format!("s{number}"), &sink.url()));
        subscribe(&cluster, "a", &subscribers).await;
    }
    let asked = started.elapsed();
    let names: Vec<String> = (0..COUNT)
        .map(|number| format!("uid-of-s{number}"))
        .collect();
    let marked: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    until_marked(&cluster, "a", &marked).await;
    let took = started.elapsed();
    let patches = cluster
        .log()
        .iter()
        .filter(|entry| entry.verb == "patch" && entry.subresource == "status")
        .count();
    eprintln!(
        "{COUNT} Subscriptions within {asked:?}: marked after {took:?} by {patches} patches, none given up"
    );
    assert_eq!(fake.given_up(), 0, "what is under way is finished");
    assert!(
        patches <= 2 + (took.as_millis() / TAKES.as_millis()) as usize,
        "one after the other: {patches} in {took:?}"
    );
    assert!(
        took < asked + Duration::from_secs(10),
        "{asked:?}, {took:?}"
    );
    assert!(
        took < Duration::from_secs(44),
        "no slower than upstream's dispatcher in a cluster: {took:?}"
    );
    assert!(pod.logged(&["Could not be written"]).is_empty());
}

/// Two thousand Triggers: one change is in effect at once, and a burst in few steps.
#[tokio::test]
async fn two_thousand_triggers() {
    const COUNT: usize = 2000;
    let cluster = cluster().await;
    let (old, new) = (Subscriber::ok().await, Subscriber::ok().await);
    let mut paths = Vec::new();
    for number in 0..COUNT {
        let mut trigger = object("Trigger", &format!("t/t{number}"));
        trigger["spec"] = json!({"broker": "b", "filters": [{"exact": {"type": "test.event"}}]});
        let made = cluster.create(&trigger).await;
        cluster
            .merge_status(
                "Trigger",
                &format!("t/t{number}"),
                &json!({"subscriberUri": old.url()}),
            )
            .await;
        paths.push(format!(
            "/triggers/t/t{number}/{}",
            made["metadata"]["uid"].as_str().expect("a uid")
        ));
    }
    let started = Instant::now();
    let pod = Pod::filter(&cluster).await.start().await;
    let ready = started.elapsed();
    let ask = async |number: usize| {
        let request =
            event(&plain(), pod.http_url(&paths[number]), "i").header("ce-knativebrokerttl", "7");
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(
        (ask(0).await, ask(COUNT - 1).await, old.count()),
        (200, 200, 2)
    );
    let to_new = json!({"subscriberUri": new.url()});
    let one = Instant::now();
    cluster.merge_status("Trigger", "t/t7", &to_new).await;
    until_answer(1, async || {
        ask(7).await;
        u16::from(new.count() > 0)
    })
    .await;
    let one = one.elapsed();
    let applied = || pod.logged(&["Configuration applied"]).len();
    let (before, burst, reached) = (applied(), Instant::now(), new.count());
    for number in 1000..1500 {
        cluster
            .merge_status("Trigger", &format!("t/t{number}"), &to_new)
            .await;
    }
    until_answer(1, async || {
        ask(1499).await;
        u16::from(new.count() > reached)
    })
    .await;
    let (steps, now) = (applied() - before, pod.memory_kib().0);
    let burst = burst.elapsed();
    eprintln!(
        "{COUNT} Triggers: ready in {ready:?}, one in {one:?}, 500 in {burst:?} and {steps} steps, {now} KiB"
    );
    assert!(steps <= 250, "changes are taken together: {steps}");
}
