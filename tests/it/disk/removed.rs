//! Subscriptions that go, come back, or stay away.

use tempfile::TempDir;

use super::{away, delivery, disk_channel, disk_subscription, in_directory, sorted_ids};
use crate::support::eventually;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// A subscription that was removed keeps what waited for it, and gets nothing of what comes
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_comes_back_finds_what_waited() {
    let data = TempDir::new().expect("a directory");
    let gone = away().await;
    let back = Subscriber::ok().await;
    let other = Subscriber::ok().await;
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT0.2S");
    let with = |subscriber: &Subscriber| {
        disk_channel("c")
            + &disk_subscription("c", "a", &other, "")
            + &disk_subscription("c", "b", subscriber, &patient)
    };
    let without = disk_channel("c") + &disk_subscription("c", "a", &other, "");
    let dispatcher = in_directory(&with(&gone), data.path()).start().await;
    let url = dispatcher.http_url("/default/c");
    for id in ["1", "2"] {
        assert_eq!(send(&plain(), &url, id).await, 202);
    }
    other.until(2).await;
    dispatcher.apply(&without).await;
    assert_eq!(send(&plain(), &url, "3").await, 202);
    other.until(3).await;
    dispatcher.apply(&with(&back)).await;
    assert_eq!(send(&plain(), &url, "4").await, 202);
    assert_eq!(sorted_ids(&back.until(3).await), ["1", "2", "4"]);
    eventually("the others have come", || other.count() == 4).await;
}

/// The same if it is the process that is started without the subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_was_away_over_a_restart_finds_what_waited() {
    let data = TempDir::new().expect("a directory");
    let gone = away().await;
    let back = Subscriber::ok().await;
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT0.2S");
    let with = |subscriber: &Subscriber| {
        disk_channel("c") + &disk_subscription("c", "b", subscriber, &patient)
    };
    for (yaml, id) in [(with(&gone), "1"), (disk_channel("c"), "2")] {
        let mut dispatcher = in_directory(&yaml, data.path()).start().await;
        let url = dispatcher.http_url("/default/c");
        assert_eq!(send(&plain(), &url, id).await, 202);
        dispatcher.signal(rustix::process::Signal::TERM);
        assert!(dispatcher.ended().await.success(), "{}", dispatcher.log());
    }
    let dispatcher = in_directory(&with(&back), data.path()).start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "3").await,
        202
    );
    assert_eq!(sorted_ids(&back.until(2).await), ["1", "3"]);
}

/// With `--disk-delete-after`, what waited is given up, and said so.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_deleted_when_its_subscription_has_been_gone_for_long() {
    let data = TempDir::new().expect("a directory");
    let gone = away().await;
    let back = Subscriber::ok().await;
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT0.2S");
    let with = |subscriber: &Subscriber| {
        disk_channel("c") + &disk_subscription("c", "b", subscriber, &patient)
    };
    let dispatcher = in_directory(&with(&gone), data.path())
        .arg("--disk-delete-after")
        .arg("PT0.5S")
        .start()
        .await;
    let url = dispatcher.http_url("/default/c");
    assert_eq!(send(&plain(), &url, "1").await, 202);
    dispatcher.apply(&disk_channel("c")).await;
    eventually("it is deleted", || {
        let told = ["was deleted with the events in it", "\"events\":1"];
        !dispatcher.logged(&told).is_empty()
    })
    .await;
    dispatcher.apply(&with(&back)).await;
    assert_eq!(send(&plain(), &url, "2").await, 202);
    assert_eq!(back.until(1).await[0].id(), "2");
}
