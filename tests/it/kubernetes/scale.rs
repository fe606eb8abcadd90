//! Thousands of channels (control-plane.md 1.9, 2.11).

use std::time::{Duration, Instant};

use super::{cluster, reconciled, subscribe, until_marked};
use crate::support::cluster::objects::{channel, subscriber};
use crate::support::eventually;
use crate::support::pod::Pod;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// Ready within seconds, all marked soon, one more subscriber at once, and a burst in few steps.
/// `SEALPOST_TEST_CHANNELS` makes it larger.
#[tokio::test]
async fn a_thousand_channels() {
    let count = std::env::var("SEALPOST_TEST_CHANNELS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let cluster = cluster().await;
    let sink = Subscriber::ok().await;
    for number in 0..count {
        let name = format!("c{number}");
        let mut object = channel(&format!("t/{name}"), &["a", "b"].map(|who| subscriber(who, &sink.url())));
        object["status"] = reconciled(&name, &1.into());
        cluster.create(&object).await;
    }
    let started = Instant::now();
    let pod = Pod::of(&cluster).await.start().await;
    let ready = started.elapsed();
    assert!(ready < Duration::from_secs(10), "{ready:?}");
    assert_eq!(send(&plain(), pod.http_url(&format!("/t/c{}", count - 1)), "1").await, 202);
    sink.until(2).await;
    let patched = || cluster.log().iter().filter(|entry| entry.verb == "patch" && entry.code == 200).count();
    let deadline = Instant::now() + Duration::from_secs(60);
    while patched() < count {
        assert!(Instant::now() < deadline, "{} of {count}", patched());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let marked = started.elapsed();

    let one = Instant::now();
    subscribe(&cluster, "c7", &[subscriber("n", &sink.url())]).await;
    until_marked(&cluster, "c7", &[("uid-of-n", 1)]).await;
    let one = one.elapsed();

    let applied = || pod.logged(&["Configuration applied"]).len();
    let (before, burst) = (applied(), Instant::now());
    for number in 0..count.min(1000) {
        subscribe(&cluster, &format!("c{number}"), &[subscriber("z", &sink.url())]).await;
    }
    eventually("the burst is applied", || patched() >= 2 * count.min(1000)).await;
    until_marked(&cluster, &format!("c{}", count.min(1000) - 1), &[("uid-of-z", 1)]).await;
    let steps = applied() - before;
    let (now, peak) = pod.memory_kib();
    eprintln!(
        "{count} channels: ready in {ready:?}, marked after {marked:?}, one more in {one:?}, \
         a burst in {:?} and {steps} steps, {now} KiB now and {peak} KiB at most",
        burst.elapsed()
    );
    assert!(steps <= count, "{steps}");
}
